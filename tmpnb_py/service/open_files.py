"""How many files the process may have open, and how many its connections need."""

from __future__ import annotations

import resource

_BESIDE = 200  # of the process itself: libraries, the engine's connections, logs
_EACH = 3  # a visitor's connection, its upstream's, and the pinned socket
_MOST_TO_THE_WEB = 2048  # of 84 kB each, measured with notebooks that do not take what they asked for
_ENOUGH = 1 << 20  # some systems allow a thousand million, for which some libraries make tables


def files_needed(max_connections: int) -> int:
    """How many files so many connections may need open at once."""
    return _BESIDE + _EACH * max_connections


def connections_that_fit(files: int) -> int:
    """How many connections so many open files suffice for."""
    return max(1, (files - _BESIDE) // _EACH)


def web_connections_that_fit(files: int) -> int:
    """How many connections the web proxy may have: a quarter of the files at most, two each, and bounded memory."""
    return max(16, min(_MOST_TO_THE_WEB, files // 8))


def open_files_limit() -> int:
    """How many files this process may open once it has raised its soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return _ENOUGH
    return max(soft, min(hard, _ENOUGH))


def raise_open_files_limit() -> int:
    """Raise the soft limit as far as possible without privileges. Returns the limit."""
    limit = open_files_limit()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit
