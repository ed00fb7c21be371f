"""Who waits in line, and who was given what, written down: a service that starts again goes on where it ended.

A file of JSON lines in the runtime directory: one for each who comes, one for each change, one for each who goes.
Appended to and never waited for: what is written outlives the process, a crash included, though not the machine's
own, which ends all notebooks as well. A ticket's id opens its place, so the directory is the service's user's alone
(0700), and so is the file. Of addresses nothing is kept. Called from the event loop; a line costs a few microseconds.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pydantic
import structlog

_SLACK = 1000  # lines that may be of no use any more before the file is written anew
_PAUSES = (1.0, 600.0)  # seconds until writing is tried again after it failed: at first, and at most

_log = structlog.get_logger(__name__)


class Entry(pydantic.BaseModel):
    """One ticket: its id, the document it is for, and since when it waits (Unix seconds).

    `container` is what it was given, `told` whether its visitor knows. `until` (Unix seconds) is how long it is kept
    unless they are seen again; None while they are thought to be there.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    id: str = pydantic.Field(pattern="^[0-9a-f]{32}$")
    target: str
    since: float = pydantic.Field(allow_inf_nan=False)
    container: str = ""
    told: bool = False
    until: float | None = pydantic.Field(default=None, allow_inf_nan=False)


class _Gone(pydantic.BaseModel):
    """A ticket that is no more."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    id: str


_LINE: pydantic.TypeAdapter[Entry | _Gone] = pydantic.TypeAdapter(Entry | _Gone)


class LineStore:
    """The file at `path`, or none. Where it cannot be written the line goes on without, and the log says so once."""

    def __init__(self, path: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._lines = 0
        self._file: int | None = None
        self._pause = 0.0
        self._next_try = 0.0

    def open(self, longest_away: float) -> list[Entry]:
        """Begin, with the tickets that there were, in the order of their line. Each of them has an `until`.

        It has passed for those who were not seen for `longest_away` seconds because no service ran.
        """
        written, found = 0.0, []
        if self._path is not None:
            with contextlib.suppress(OSError):  # none, as at the first start; writing tells what else is wrong
                written = self._path.stat().st_mtime
                found = _read(self._path.read_bytes().splitlines())
        now = self._clock()
        until = now + longest_away if now - written <= longest_away else written + longest_away
        for one in found:
            self._entries[one.id] = one if one.until is not None else one.model_copy(update={"until": until})
        self._write_anew()
        return list(self._entries.values())

    def add(self, entry: Entry) -> None:
        """Somebody has joined the line, at its end."""
        self._entries[entry.id] = entry
        self._append(entry.model_dump_json())

    def change(self, ticket_id: str, **fields: object) -> None:
        """Something about a ticket is otherwise; nothing happens where it is not in the book, or is so already."""
        entry = self._entries.get(ticket_id)
        if entry is None or all(getattr(entry, name) == value for name, value in fields.items()):
            return
        self._entries[ticket_id] = entry.model_copy(update=fields)
        self._append(self._entries[ticket_id].model_dump_json())

    def remove(self, ticket_id: str) -> None:
        """A ticket is no more, or never was."""
        if self._entries.pop(ticket_id, None) is not None:
            self._append(_Gone(id=ticket_id).model_dump_json())

    def keep(self) -> None:
        """Called about once a second: the file stays, stays fresh, does not grow for ever, and is mended."""
        if not self._is_there() or self._lines > 2 * len(self._entries) + _SLACK:
            self._write_anew()

    def forget(self) -> None:
        """No ticket is any more."""
        self._entries.clear()

    def close(self) -> None:
        """Stop writing. The file stays for the next start, unless it would be empty."""
        self._is_there()
        self._let_go()
        if self._path is not None and not self._entries:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _is_there(self) -> bool:
        """Whether what is written can be found again; as of now, then. Some systems tidy up old files."""
        if self._file is None:
            return False
        try:
            os.utime(self._file)
            return os.fstat(self._file).st_nlink > 0
        except OSError:
            return False

    def _append(self, line: str) -> None:
        if self._file is None:
            return
        try:
            _write(self._file, f"{line}\n".encode())
            self._lines += 1
        except OSError as error:
            self._broke(error)

    def _write_anew(self) -> None:
        if self._path is None or self._clock() < self._next_try:
            return
        new = self._path.with_name(f"{self._path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._let_go()
        try:
            self._file = os.open(new, flags, 0o600)
            _write(self._file, b"".join(b"%b\n" % one.model_dump_json().encode() for one in self._entries.values()))
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
            hint = "after a restart those who wait now would begin at the end of the line"
            _log.warning("line_not_written", file=str(self._path), error=error.strerror, hint=hint)
        first, longest = _PAUSES
        self._pause = min(2 * self._pause, longest) or first
        self._next_try = self._clock() + self._pause

    def _let_go(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None


def _write(file: int, data: bytes) -> None:
    """All of it; a full disk takes a part first."""
    while data:
        data = data[os.write(file, data) :]


def _read(lines: Iterable[bytes]) -> list[Entry]:
    """The tickets after all these lines. A crash may have torn the last one; what is none is passed over."""
    entries: dict[str, Entry] = {}
    for line in lines:
        try:
            told = _LINE.validate_json(line)
        except pydantic.ValidationError:
            continue
        if isinstance(told, Entry):
            entries[told.id] = told
        else:
            entries.pop(told.id, None)
    return list(entries.values())
