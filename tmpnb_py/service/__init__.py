"""Assembles a service from its parts, starts and stops it, and takes its sockets and locks. For the commands."""
