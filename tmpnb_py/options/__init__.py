"""Every option: how it is declared, read from its sources, checked, and changed in a running service.

To add an option, declare it in `groups` and read it where it acts. Everything above `core` may read `settings` and
`live`; only the command line reads `sources` to make settings.
"""
