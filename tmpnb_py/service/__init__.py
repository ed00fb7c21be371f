"""Assembles a service from its parts, starts and stops it, and takes its sockets and locks. For the commands.

`app` is the service, `served_pools` its pools, each a `served_pool`; `serve` runs it and heeds signals, `upgrade` has
another process follow it. `front` is a front end of its own; `listeners` and `web_servers` are of both.
"""
