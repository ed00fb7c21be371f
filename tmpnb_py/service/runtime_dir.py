"""The directories of a service, private to its user.

The runtime directory has sockets, locks, the line and the static files, and may be empty after a reboot. The state
directory has what must outlive that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.state_file import M, StateFile

_MARK = ".tmpnb-py"  # an empty file that says whose directory it is in
_PARTS = ("sockets", "local", "static")
_OWN_DIRECTORY = "Choose a directory of your own, empty or not there yet, with --{option}."


def prepare_runtime_dir(path: Path) -> None:
    """Create the directory (mode 0700), or use an existing one if it is ours. Raises `SettingsError`.

    A directory is ours if it is empty or holds what an earlier process left. It is made private, so a mistaken path
    (/tmp, a home) must be refused.
    """
    _prepare(path, "runtime-dir")


def prepare_state_dir(path: Path) -> None:
    """The same for the state directory."""
    _prepare(path, "state-dir")


def _prepare(path: Path, option: str) -> None:
    remedy, name = _OWN_DIRECTORY.format(option=option), option.replace("-", "_")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = path.lstat()
        if problem := _why_not_ours(path, facts):
            raise SettingsError(f"{name} {path} {problem}", remedy=remedy)
        path.chmod(0o700)  # one that was there before may be open to others
        (path / _MARK).touch(mode=0o600)
    except OSError as error:
        raise SettingsError(f"{name} {path}: {error.strerror}", remedy=remedy) from error


@contextlib.contextmanager
def borrowed_runtime_dir(path: Path) -> Iterator[None]:
    """Use the directory for a command that runs beside or without a service. One created here is removed again.

    (If root left one behind, a service that runs as another user would refuse it.) Raises `SettingsError`.
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
    """A user of this machine by name, or by number if there is none."""
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


def locked_pools(runtime_dir: Path) -> list[str]:
    """The pools that a process has managed from here, whether or not one still does, by their names in the engine."""
    return sorted(path.name.removesuffix(".lock") for path in runtime_dir.glob("*.lock"))


def line_path(runtime_dir: Path, pool: str) -> Path:
    """The file that stores a pool's line."""
    return runtime_dir / f"{pool}.line"


def state_path(state_dir: Path, pool: str) -> Path:
    """The file with a service's bookings and announcements, by the name of its first pool."""
    return state_dir / f"{pool}.json"


def arrivals_path(state_dir: Path, pool: str) -> Path:
    """The file with the counts of a pool's arrivals."""
    return state_dir / f"{pool}.arrivals"


def state_file(path: Path, model: type[M], version: int) -> StateFile[M]:
    """A file of the state directory, which is made when something is to be kept."""
    return StateFile(path, model, version=version, prepare=lambda: prepare_state_dir(path.parent))
