"""Upgrades without a gap: an old process starts the new one and hands listeners, pool and idle connections on to it.

Both talk over a pair of sockets that only the two of them have (`channel`), in the messages of `wire`. `old` is the
side of the process that is followed, `new` that of the one that follows it.
"""
