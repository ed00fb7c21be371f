"""The runtime directory and the pool's lock: one manager per pool and machine (decision 2)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tmpnb_py.errors import PoolLockedError, SettingsError


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
