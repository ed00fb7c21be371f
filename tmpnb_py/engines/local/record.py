"""The local engine's records of its containers, in files, so that a restarted orchestrator finds them.

Each container has a directory in the pool's: its identity (`container.json`, written once), its state (`state`,
replaced atomically; `claim`, which only one claimant can create), its supervisor's report (`status`: how it ended)
and its log. The directory is renamed into place once it is complete, and renamed away before it is removed. So a
crash leaves either a whole record or a leftover that `leftovers` finds.

Used by the local engine only; synchronous, from any thread. Raises `OSError`; the engine translates.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tmpnb_py.core import boot_clock, files, host_names, links
from tmpnb_py.core.models import State
from tmpnb_py.engines.docker.options import is_id
from tmpnb_py.engines.local.process import Process

_PRIVATE = 0o700
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW, _OLD = ".new-", ".old-"
_CLAIM = "claim"
_STATE = re.compile(rf"(starting|ready)|claimed ([0-9]{{1,12}})(?: [0-9a-f]+)?(?: ({boot_clock.PATTERN}))?")
_NAME = "session-name"
_KEPT = ("container.json", "state", _CLAIM, "status", _NAME)
_LOG_KEPT = 64 * 1024
_LAST_WORDS_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class NotebookRecord:
    """A container's identity. `directory` is its private directory without a sandbox ("" with one)."""

    id: str
    token: str
    config_digest: str
    created_unix: float
    process: Process
    sandboxed: bool
    directory: str = ""
    cgroups: tuple[str, ...] = ()
    base_url: str = links.ROOT


@dataclasses.dataclass(frozen=True, slots=True)
class SupervisorStatus:
    """What the supervisor has reported: the sandbox's first process (its outer pid) and the exit status."""

    init_pid: int | None = None
    pid_namespace: int | None = None
    exit_status: int | None = None


class RecordStore:
    """The records of one pool."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, container_id: str) -> Path:
        """Where a container's record is. Raises `ValueError` for what can't be an id."""
        if not is_id(container_id):
            raise ValueError("not a container's id")
        return self.directory / container_id

    def make(self) -> None:
        """Create the directory if it is missing."""
        self.directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)

    def check(self) -> None:
        """Check that the directory exists and is writable."""
        list(self.directory.iterdir())
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise PermissionError(f"{self.directory} cannot be written")

    def ids(self) -> list[str]:
        """The ids of all containers with a record."""
        return [path.name for path in self.directory.iterdir() if is_id(path.name)]

    # --- creation

    def begin(self, container_id: str) -> tuple[int, int]:
        """Create an unnamed directory. Returns descriptors: it for the log keeper, its status for the supervisor."""
        path = self.path(container_id)
        if path.exists():
            raise FileExistsError(f"the record of {container_id} exists")
        new = path.with_name(_NEW + container_id)
        new.mkdir(mode=_PRIVATE)
        (new / "log").touch(mode=0o600)
        return os.open(new, _DIRECTORY), _open_append(new / "status")

    def commit(self, record: NotebookRecord, session_name: str = "") -> None:
        """Complete the directory and rename it into place."""
        path = self.path(record.id)
        new = path.with_name(_NEW + record.id)
        values = dataclasses.asdict(record)
        if record.base_url == links.ROOT:  # so that an older version, which knows no other, can read it
            del values["base_url"]
        _write(new / "container.json", json.dumps(values))
        _write(new / _NAME, session_name)  # in a file of its own: older versions read no record with more fields
        _write(new / "state", State.STARTING.value)
        new.rename(path)

    # --- reading and updating

    def read(self, container_id: str) -> NotebookRecord | None:
        """Read a record; None if it is invalid. Raises `FileNotFoundError` if there is none."""
        path = self.path(container_id)
        try:
            return self.of_copy(container_id, {"container.json": (path / "container.json").read_bytes()})
        except FileNotFoundError:
            if path.is_dir():
                return None
            raise

    def of_copy(self, container_id: str, copy: Mapping[str, bytes]) -> NotebookRecord | None:
        """Parse the record in a copy; None if it is invalid."""
        try:
            return _record(container_id, json.loads(copy["container.json"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def session_name(self, container_id: str) -> str:
        """What its own host is called by; "" where an older version has started it."""
        try:
            return host_names.session_name((self.path(container_id) / _NAME).read_text())
        except (OSError, ValueError):
            return ""

    def state(self, container_id: str, created_unix: float) -> tuple[State, float | None, str]:
        """Return state, time of the claim and the claim's stamp. An undecidable state counts as claimed."""
        path = self.path(container_id)
        try:
            text = (path / (_CLAIM if (path / _CLAIM).exists() else "state")).read_text()
        except (OSError, ValueError):
            text = ""
        match = _STATE.fullmatch(text)
        if match is None:
            return State.CLAIMED, created_unix, ""
        return (State(match[1]), None, "") if match[1] else (State.CLAIMED, float(match[2]), match[3] or "")

    def mark(self, container_id: str, state: State) -> None:
        """Replace the state, durably. Raises `FileNotFoundError` if there is no record."""
        _write(self.path(container_id) / "state", state.value)

    def claim(self, container_id: str, unix_time: float, claimant: str) -> bool:
        """Mark a READY record CLAIMED, durably. True for exactly one caller.

        The claim is a file that only one caller can create, complete from the start. Raises `FileNotFoundError` if
        there is no record.
        """
        path = self.path(container_id)
        mine = f"{State.CLAIMED.value} {max(0, int(unix_time))} {claimant}"
        if not (path / _CLAIM).exists() and (path / "state").read_text() == State.READY.value:
            new = path / f"{_CLAIM}-{claimant}-{secrets.token_hex(4)}"
            _write(new, f"{mine} {boot_clock.stamp()}".rstrip())
            with contextlib.suppress(FileExistsError):
                (path / _CLAIM).hardlink_to(new)
            new.unlink()
            files.sync_directory(path)
        return (path / _CLAIM).exists() and f"{(path / _CLAIM).read_text()} ".startswith(f"{mine} ")

    def status(self, container_id: str) -> SupervisorStatus:
        """Read what the supervisor has written so far."""
        try:
            text = (self.path(container_id) / "status").read_text(errors="replace")
        except OSError:
            return SupervisorStatus()
        values: dict[str, Any] = {}
        for line in text.splitlines():
            with contextlib.suppress(ValueError, TypeError):
                values |= json.loads(line)
        return SupervisorStatus(*(_int(values.get(name)) for name in ("child-pid", "pid-namespace", "exit-code")))

    # --- restoring records that something else removed

    def copy(self, container_id: str) -> dict[str, bytes]:
        """A record's files except its log; {} if unreadable."""
        found = {}
        for name in _KEPT:
            with contextlib.suppress(OSError):
                found[name] = (self.path(container_id) / name).read_bytes()
        return found

    def write_again(self, container_id: str, copy: Mapping[str, bytes]) -> None:
        """Restore a record that was removed. Its log and its future exit status are lost."""
        path = self.path(container_id)
        new = path.with_name(_NEW + container_id)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)
        new.mkdir(mode=_PRIVATE)
        for name, content in {"log": b"", **copy}.items():
            _write(new / name, content.decode(errors="replace"))
        new.rename(path)

    # --- the log

    def log_lines(self, container_id: str, lines: int) -> tuple[str, ...]:
        """Return the last lines of the log, from its last 64 KiB."""
        path = self.path(container_id)
        last = b"".join(_tail(path / name) for name in ("log.old", "log"))[-_LOG_KEPT:]
        return tuple(last.decode(errors="replace").splitlines()[-lines:]) if lines > 0 else ()

    def await_log(self, container_id: str) -> None:
        """Wait up to a second until the last output of an ended notebook is in its log.

        Processes that it left may still hold its output open.
        """
        end, deadline = self.path(container_id) / "log.end", time.monotonic() + _LAST_WORDS_SECONDS
        while not end.exists() and time.monotonic() < deadline:
            time.sleep(_LAST_WORDS_SECONDS / 100)

    # --- removal

    def remove(self, container_id: str) -> None:
        """Rename the directory away, then remove it. Succeeds if there is none."""
        path = self.path(container_id)
        old = path.with_name(f"{_OLD}{container_id}")
        for one in (path, path.with_name(_NEW + container_id)):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(old, ignore_errors=True)
                one.rename(old)
        shutil.rmtree(old, ignore_errors=True)

    def leftovers(self, older_than: float = -math.inf) -> Iterator[str]:
        """Ids of unnamed directories that a crash left more than `older_than` seconds ago, or ever."""
        for path in self.directory.iterdir():
            container_id = path.name.removeprefix(_NEW).removeprefix(_OLD)
            if container_id != path.name and is_id(container_id):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_ctime > older_than:
                        yield container_id


def _record(container_id: str, values: dict[str, Any]) -> NotebookRecord | None:
    process = values.pop("process")
    values["cgroups"] = tuple(map(str, values["cgroups"]))
    record = NotebookRecord(
        process=Process(int(process["pid"]), int(process["started"]), process["boot_id"]), **values
    )
    return record if record.id == container_id and links.is_base(record.base_url) else None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _open_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _write(path: Path, text: str) -> None:
    files.replace(path, text.encode())


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_KEPT))
            return file.read(_LOG_KEPT)
    except FileNotFoundError:
        return b""  # the log keeper is switching files
