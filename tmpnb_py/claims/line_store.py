"""The tickets on disk, so that a service that starts again goes on where it ended: the line, and what was given away.

A file of JSON lines in the runtime directory: an entry when a ticket joins the line and at each change of it, and its
id alone when it is gone. Lines are appended without `fsync`: they survive a crash of the process, and not one of the
machine, which ends all notebooks as well. A ticket's id opens its place, so only the service's user may read the
directory (0700) and the file (0600). No addresses are stored. Called from the event loop; a line costs a few
microseconds. Older and newer versions read each other's files, so an entry's fields stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pydantic
import structlog

from tmpnb_py.core.files import write_all

_SLACK = 1000  # outdated lines after which the file is written anew
_PAUSES = (1.0, 600.0)  # seconds until writing is tried again after a failure: the first time, and at most

_log = structlog.get_logger(__name__)


class Entry(pydantic.BaseModel):
    """One ticket: its id, the document it is for, and since when it waits (Unix seconds).

    `container` is the id of the notebook that it was given, "" for none; `told` says whether that was announced.
    `until` (Unix seconds) is how long the ticket is kept unless its visitor is seen again; None while the visitor is
    thought to be there. `booking` is the class whose link the visitor came by; it is written only where there is one,
    as older versions know no such field.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    id: str = pydantic.Field(pattern="^[0-9a-f]{32}$")
    target: str
    since: float = pydantic.Field(allow_inf_nan=False)
    container: str = ""
    told: bool = False
    until: float | None = pydantic.Field(default=None, allow_inf_nan=False)
    booking: str = pydantic.Field(default="", pattern="^(?:[0-9a-f]{8})?$")


class _Gone(pydantic.BaseModel):
    """A ticket that is kept no longer."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    id: str


_LINE: pydantic.TypeAdapter[Entry | _Gone] = pydantic.TypeAdapter(Entry | _Gone)


class LineStore:
    """The file at `path`, or none (None). While it cannot be written the line goes on; the log says so once.

    `clock` gives Unix seconds.
    """

    def __init__(self, path: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._lines = 0
        self._file: int | None = None
        self._pause = 0.0
        self._next_try = 0.0
        self._is_ours = False  # until it is opened

    def open(self, longest_away: float) -> list[Entry]:
        """Read the file and begin to write. Returns the tickets in the order of their line, each with an `until`.

        After `hand_on` it is what another process has made of it, and nothing else, that counts.
        `until` has passed for visitors who could not be seen for `longest_away` seconds, as no service ran.
        """
        written, found = 0.0, []
        self._is_ours = True
        self._entries.clear()
        if self._path is not None:
            with contextlib.suppress(OSError):  # as at the first start; writing logs all else
                written = self._path.stat().st_mtime
                found = _read(self._path.read_bytes().splitlines())
        now = self._clock()
        until = now + longest_away if now - written <= longest_away else written + longest_away
        for entry in found:
            self._entries[entry.id] = entry if entry.until is not None else entry.model_copy(update={"until": until})
        self._write_anew()
        return list(self._entries.values())

    def __contains__(self, ticket_id: str) -> bool:
        return ticket_id in self._entries

    def add(self, entry: Entry) -> None:
        """Append a ticket that has joined the line."""
        self._entries[entry.id] = entry
        self._append(entry)

    def update(self, ticket_id: str, **fields: object) -> None:
        """Change fields of an entry. No-op if the ticket is unknown or nothing changes."""
        entry = self._entries.get(ticket_id)
        if entry is None or all(getattr(entry, name) == value for name, value in fields.items()):
            return
        self._entries[ticket_id] = entry.model_copy(update=fields)
        self._append(self._entries[ticket_id])

    def remove(self, ticket_id: str) -> None:
        """Remove an entry. No-op if the ticket is unknown."""
        if self._entries.pop(ticket_id, None) is not None:
            self._append(_Gone(id=ticket_id))

    def maintain(self) -> None:
        """Keep the file fresh and short, and write it anew if it is missing or broken. Called about once a second."""
        if not self._touch() or self._lines > 2 * len(self._entries) + _SLACK:
            self._write_anew()

    def hand_on(self) -> None:
        """Let another process have the file, as it is now. From here on nothing is written, nor is it removed."""
        self._touch()
        self._let_go()
        self._is_ours = False

    def take_back(self) -> None:
        """Write again, what was known before and what has changed since."""
        self._is_ours = True
        self._write_anew()

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()

    def close(self) -> None:
        """Stop writing. The file stays for the next start, unless it would be empty."""
        self._touch()
        self._let_go()
        if self._path is not None and self._is_ours and not self._entries:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _touch(self) -> bool:
        """Set the file's time to now. False if it is not there (any more): some systems delete old files."""
        if self._file is None:
            return False
        try:
            os.utime(self._file)
            return os.fstat(self._file).st_nlink > 0
        except OSError:
            return False

    def _append(self, entry: Entry | _Gone) -> None:
        if self._file is None:
            return
        try:
            write_all(self._file, _line(entry))
            self._lines += 1
        except OSError as error:
            self._broke(error)

    def _write_anew(self) -> None:
        if self._path is None or not self._is_ours or self._clock() < self._next_try:
            return
        new = self._path.with_name(f"{self._path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._let_go()
        try:
            self._file = os.open(new, flags, 0o600)
            write_all(self._file, b"".join(_line(entry) for entry in self._entries.values()))
            new.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)  # half of it would only fill a disk that is full
            self._broke(error)
            return
        self._lines, self._pause, self._next_try = len(self._entries), 0.0, 0.0

    def _broke(self, error: OSError) -> None:
        self._let_go()
        if not self._pause:
            hint = "after a restart those who wait now would lose their places in line"
            _log.warning("line_not_written", file=str(self._path), error=error.strerror, hint=hint)
        first, longest = _PAUSES
        self._pause = min(2 * self._pause, longest) or first
        self._next_try = self._clock() + self._pause

    def _let_go(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None


def _line(entry: Entry | _Gone) -> bytes:
    unknown = {"booking"} if isinstance(entry, Entry) and not entry.booking else None
    return entry.model_dump_json(exclude=unknown).encode() + b"\n"


def _read(lines: Iterable[bytes]) -> list[Entry]:
    """The entries after all these lines. Skips what is no line of ours: a crash may have torn the last one."""
    entries: dict[str, Entry] = {}
    for line in lines:
        try:
            read = _LINE.validate_json(line)
        except pydantic.ValidationError:
            continue
        if isinstance(read, Entry):
            entries[read.id] = read
        else:
            entries.pop(read.id, None)
    return list(entries.values())
