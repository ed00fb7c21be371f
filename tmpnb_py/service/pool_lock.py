"""One manager per pool and machine (decision 2): the lock that a process holds as long as it manages a pool."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import structlog

from tmpnb_py.core.errors import PoolLockedError, SettingsError
from tmpnb_py.service.runtime_dir import prepare_runtime_dir

_ASKING = 16  # processes that ask at once who holds it

_log = structlog.get_logger(__name__)


class PoolLock:
    """The pool's lock in a runtime directory, held in a `with` block. The kernel releases it after `kill -9`.

    It has two halves. The lock on a file works for every process that sees the directory, from any container. The
    name of a socket works even if the directory was removed and another process makes a new one with a new file:
    names in Linux's abstract namespace (unix(7)) are in no directory.
    """

    def __init__(self, runtime_dir: Path, pool: str) -> None:
        self._directory = runtime_dir
        self._path = runtime_dir / f"{pool}.lock"
        self._pool = pool
        self._file: int | None = None
        self._kept_directory: int | None = None
        self._name: socket.socket | None = None
        self._is_broken = False

    def __enter__(self) -> PoolLock:
        """Take it. Raises `PoolLockedError`."""
        self.take()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def take(self, given: Sequence[int] = ()) -> None:
        """Take it, for the first time or again; no-op while it is held. Raises `PoolLockedError`.

        `given` are the descriptors of a process that has it, and that lets go of it later (`descriptors`): between
        the two nobody else can come, as the kernel's lock is on what is open (flock(2)). They are closed at the end.
        """
        if self._file is not None:
            return
        try:
            if given:
                self._take_over(*given)
            else:
                self._file = self._locked()
                self._name = self._named()
            self._keep_directory()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let another process have the pool. Idempotent."""
        for descriptor in filter(None, (self._file, self._kept_directory)):
            os.close(descriptor)
        self._file = self._kept_directory = None
        if self._name is not None:
            self._name.close()
            self._name = None

    def descriptors(self) -> tuple[int, ...]:
        """Copies of what the lock is on, for the process that is to have it. The caller closes them."""
        held = [self._file, None if self._name is None else self._name.fileno()]
        return tuple(os.dup(one) for one in held if one is not None)

    def _take_over(self, file: int, name: int | None = None) -> None:
        self._file = file
        if name is not None:
            self._name = socket.socket(fileno=name)
            self._name.listen(_ASKING)  # which also has the kernel name this process as the holder (unix(7))
        _sign(file)

    def forget(self) -> None:
        """Release it for good: there is no such pool any more."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self.release()

    def _locked(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sign(descriptor)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise _locked_error(self._pool, holder) from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _named(self) -> socket.socket | None:
        """Bind the name. If another user holds it, who can only want to be in the way, the file alone counts."""
        place = hashlib.sha256(str(self._path.resolve()).encode()).hexdigest()[:32]
        address = f"\0tmpnb-py/{os.geteuid()}/{place}"
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            name.setblocking(False)
            name.bind(address)
            name.listen(_ASKING)
        except OSError:
            name.close()
            if (holder := _holder_of(address)) is not None:
                raise _locked_error(self._pool, str(holder)) from None
            return None
        return name

    def _keep_directory(self) -> None:
        """Lock the directory: systemd-tmpfiles cleans nothing below a locked one (tmpfiles.d(5))."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._kept_directory = descriptor
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def keep(self) -> None:
        """Keep the file fresh, and create it again if it was removed. To be called about once a second.

        Raises `PoolLockedError` if another process holds the new one.
        """
        if self._file is None:
            return
        try:
            self._answer()
            os.utime(self._file)  # some systems tidy up old files
            if _is_same(self._file, self._path):
                self._is_broken = False
                return
            self._make_anew()
        except (OSError, SettingsError) as error:
            if not self._is_broken:
                _log.error("lock_not_kept", file=str(self._path), error=str(error))
            self._is_broken = True

    def _answer(self) -> None:
        """Accept connections of processes that ask who holds the name: the kernel tells them our process id."""
        while self._name is not None:
            try:
                self._name.accept()[0].close()
            except BlockingIOError:
                return

    def _make_anew(self) -> None:
        prepare_runtime_dir(self._directory)
        new, old = self._locked(), self._file
        self._file = new
        for descriptor in filter(None, (old, self._kept_directory)):
            os.close(descriptor)
        self._kept_directory = None
        self._keep_directory()
        hint = "sessions go on; those whose sockets were removed too are lost at the next restart"
        _log.error("runtime_dir_cleaned", directory=str(self._directory), hint=hint)


def lock_pool(runtime_dir: Path, pool: str) -> PoolLock:
    """The pool's lock, to be taken with `with`. Raises `PoolLockedError`."""
    return PoolLock(runtime_dir, pool)


def _sign(file: int) -> None:
    """Write this process's id into the locked file."""
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)


def _locked_error(pool: str, holder: str) -> PoolLockedError:
    return PoolLockedError(
        f'the pool "{pool}" is managed by another tmpnb-py, process {holder}',
        remedy="Stop that one first, or give this one a pool of its own with --pool-name.",
    )


def _holder_of(address: str) -> int | None:
    """The process id of this user's process that listens there; None if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        asking.setblocking(False)
        try:
            asking.connect(address)
        except OSError:
            return None
        pid, uid, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid) if uid == os.geteuid() else None


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
