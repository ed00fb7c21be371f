"""The declarations of the options, a module for each group of them.

An option is declared here and nowhere else; `settings` puts the groups together. What a pool is made of is in
`notebooks`, `pool` and `sessions`; the other groups are about the service as a whole.
"""
