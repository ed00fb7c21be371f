"""What the process needs of its machine: the runtime directory, the pool's lock (one manager per pool and machine,
decision 2), and room for open files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

from tmpnb_py.errors import PoolLockedError, SettingsError

_FILES_BESIDE = 200  # of the process itself: libraries, the engine's connections, logs
_FILES_EACH = 3  # a visitor's connection, its upstream's, and the pinned socket
_FILES_ENOUGH = 1 << 20  # some systems allow a thousand million, for which some libraries make tables


def files_needed(max_connections: int) -> int:
    """How many files may have to be open at once."""
    return _FILES_BESIDE + _FILES_EACH * max_connections


def connections_that_fit(files: int) -> int:
    """For how many connections so many open files are enough."""
    return max(1, (files - _FILES_BESIDE) // _FILES_EACH)


def open_files_limit() -> int:
    """How many files this process may have open once it has raised its soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return _FILES_ENOUGH
    return max(soft, min(hard, _FILES_ENOUGH))


def raise_open_files_limit() -> int:
    """Raise the soft limit as far as that needs no privilege; returns the limit. Each connection is a file or two."""
    limit = open_files_limit()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def prepare_runtime_dir(path: Path) -> None:
    """Make the directory (0700) or check the one that is there. Raises `SettingsError`."""
    remedy = "Choose a directory of your own with --runtime-dir."
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = path.lstat()
    except OSError as error:
        raise SettingsError(f"runtime_dir {path}: {error.strerror}", remedy=remedy) from error
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise SettingsError(f"runtime_dir {path} belongs to somebody else, or is no directory", remedy=remedy)
    path.chmod(0o700)  # one that was there before may be open to others


def line_path(runtime_dir: Path, pool: str) -> Path:
    """Where it is written down who waits in line."""
    return runtime_dir / f"{pool}.line"


@contextlib.contextmanager
def lock_pool(runtime_dir: Path, pool: str) -> Iterator[None]:
    """Hold the pool's lock. The kernel gives it back even after `kill -9`. Raises `PoolLockedError`."""
    path = runtime_dir / f"{pool}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise PoolLockedError(
                f'the pool "{pool}" is managed by another tmpnb-py, process {holder}',
                remedy="Stop that one first, or give this one a pool of its own with --pool-name.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
