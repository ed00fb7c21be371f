"""Files that are written whole: a crash, a power failure or a full disk leaves no part of one. Raises `OSError`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; a full disk takes a part first."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def replace(path: Path, data: bytes) -> int:
    """Replace a file, or make it, for its owner only (0600). Returns its inode.

    After a crash it is the old one or the new one. That it is the new one is certain after `sync_directory`.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
            inode = os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
        new.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)  # half of it would only fill a disk that is full
        raise
    return inode


def sync_directory(path: Path) -> None:
    """Have on the disk what a directory's files are called."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
