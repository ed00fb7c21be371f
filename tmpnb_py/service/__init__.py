"""Assembles a service of its parts, starts and stops it, and takes what it needs of its machine."""
