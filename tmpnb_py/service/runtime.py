"""What the process needs of its machine: the runtime directory, the pool's lock (one manager per pool and machine,
decision 2), and room for open files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import resource
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import structlog

from tmpnb_py.core.errors import PoolLockedError, SettingsError

_log = structlog.get_logger(__name__)

_FILES_BESIDE = 200  # of the process itself: libraries, the engine's connections, logs
_FILES_EACH = 3  # a visitor's connection, its upstream's, and the pinned socket
_MARK = ".tmpnb-py"  # an empty file that says whose directory it is in
_PARTS = ("sockets", "local", "static")
_OWN_DIRECTORY = "Choose a directory of your own, empty or not there yet, with --runtime-dir."
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
    """Make the directory (0700), or take up the one that is there if it is ours. Raises `SettingsError`.

    A directory is ours if it is empty or holds what an earlier process left: it is made private, so a mistaken path
    (/tmp, a home) must be refused instead.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = path.lstat()
        if problem := _why_not_ours(path, facts):
            raise SettingsError(f"runtime_dir {path} {problem}", remedy=_OWN_DIRECTORY)
        path.chmod(0o700)  # one that was there before may be open to others
        (path / _MARK).touch(mode=0o600)
    except OSError as error:
        raise SettingsError(f"runtime_dir {path}: {error.strerror}", remedy=_OWN_DIRECTORY) from error


@contextlib.contextmanager
def borrowed_runtime_dir(path: Path) -> Iterator[None]:
    """The directory for a command beside or without a service. One that was not there goes again afterwards.

    (Left behind by root, it would be refused to a service that runs as another user.) Raises `SettingsError`.
    """
    made = not path.exists()
    prepare_runtime_dir(path)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                _remove_unused(path)


def _remove_unused(path: Path) -> None:
    """Remove a directory in which no pool is managed and no container has anything. Raises `OSError` otherwise."""
    for lock in path.glob("*.lock"):
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.unlink()
    for part in _PARTS:
        if (path / part).is_dir():
            (path / part / ".hosts").unlink(missing_ok=True)
            (path / part).rmdir()
    (path / _MARK).unlink(missing_ok=True)
    path.rmdir()


def _why_not_ours(path: Path, facts: os.stat_result) -> str:
    """Why a directory cannot be our runtime directory; "" where it can. Raises `OSError`."""
    if not stat.S_ISDIR(facts.st_mode):
        return "is no directory"
    if facts.st_uid != os.geteuid():
        return f"belongs to {user_name(facts.st_uid)}"
    if facts.st_mode & (stat.S_ISVTX | stat.S_IWOTH):
        return "is open to all users of this machine"
    names = {entry.name for entry in os.scandir(path)}
    if not names or _MARK in names:
        return ""
    # Ours from before there was a mark, or one whose mark somebody's cleaning has taken.
    private = not facts.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if private and any(name in _PARTS or name.endswith(".lock") for name in names):
        return ""
    return "holds other files and would be closed to other users"


def user_name(uid: int) -> str:
    """A user of this machine, in words."""
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


def line_path(runtime_dir: Path, pool: str) -> Path:
    """Where it is written down who waits in line."""
    return runtime_dir / f"{pool}.line"


class PoolLock:
    """The pool's lock in a runtime directory, held while the context is. The kernel gives it back after `kill -9`.

    It has two halves. The lock on the file is for everybody who sees this directory, from whichever container. The
    name of a socket is for whoever comes while the directory is being removed, and makes a new one with a new file:
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
        try:
            self._file = self._locked()
            self._name = self._named()
            self._keep_directory()
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._let_go()

    def _let_go(self) -> None:
        for descriptor in filter(None, (self._file, self._kept_directory)):
            os.close(descriptor)
        self._file = self._kept_directory = None
        if self._name is not None:
            self._name.close()
            self._name = None

    def _locked(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise _locked_error(self._pool, holder) from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _named(self) -> socket.socket | None:
        """Bind the name. Where it is somebody else's, who only wants to be in the way, the file alone counts."""
        place = hashlib.sha256(str(self._path.resolve()).encode()).hexdigest()[:32]
        address = f"\0tmpnb-py/{os.geteuid()}/{place}"
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            name.setblocking(False)
            name.bind(address)
            name.listen(16)
        except OSError:
            name.close()
            if (holder := _holder_of(address)) is not None:
                raise _locked_error(self._pool, str(holder)) from None
            return None
        return name

    def _keep_directory(self) -> None:
        """Systemd's cleaner of temporary files leaves alone what is below a locked directory (tmpfiles.d(5))."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._kept_directory = descriptor
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def keep(self) -> None:
        """Called about once a second: keep the file fresh, and make it anew where somebody has removed it.

        Raises `PoolLockedError` where another process has the new one.
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
        """Whoever asks who has the name is answered by the kernel, and waits for nothing more."""
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


def _locked_error(pool: str, holder: str) -> PoolLockedError:
    return PoolLockedError(
        f'the pool "{pool}" is managed by another tmpnb-py, process {holder}',
        remedy="Stop that one first, or give this one a pool of its own with --pool-name.",
    )


def _holder_of(address: str) -> int | None:
    """The process of this user that listens there; None where there is none."""
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
