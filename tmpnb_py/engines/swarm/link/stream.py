"""One of many streams on a connection: to whoever opens or accepts it a transport like a socket's.

Bytes keep their order both ways, each direction ends for itself, and there is back pressure: a side may send
`frames.WINDOW` bytes, and then as many as the other side says that it has passed on. What somebody does not read is
kept here, so much of it and no more: bytes that wait are put together, as a notebook that says two at a time would
else cost thirty times as much.

How it ends is told as well. Whoever closes ends it behind the last bytes, without an error. Whatever else ends it (an
abort, a lost connection, a mistake here) is an error to the other side, so what is cut off does not look complete.
"""

from __future__ import annotations

import asyncio
import enum
import errno
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

import structlog

from tmpnb_py.engines.swarm.link import frames
from tmpnb_py.engines.swarm.link.frames import FRAME, WINDOW, FrameError

log = structlog.get_logger(__name__)

_HIGH, _LOW = 64 * 1024, 16 * 1024  # unsent bytes at which the writer is paused, and goes on
_SMALL = 1024  # bytes of a write that is put together with what waits before it


class Carrier(Protocol):
    """What a stream asks of its connection."""

    def say(self, kind: int, number: int, content: bytes = b"") -> None: ...

    def wants_turn(self, stream: Stream) -> None: ...

    def forget(self, number: int) -> None: ...


class Life(enum.Enum):
    """How far a stream is."""

    OPENING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()  # closed by us; what waits is still sent
    CLOSED = enum.auto()


class Stream(asyncio.Transport):
    """One of them. `wanted` names the notebook: notebooks take turns, and in each its streams."""

    def __init__(self, carrier: Carrier, number: int, wanted: bytes) -> None:
        super().__init__()
        self.wanted = wanted
        self._carrier = carrier
        self._number = number
        self._protocol: Any = None
        self._life = Life.OPENING
        self._unsent: deque[bytes | bytearray | memoryview] = deque()
        self._unsent_size = 0
        self._credit = WINDOW
        self._writing_paused = False
        self._eof_due = False  # once all that is unsent has been sent
        self._eof_sent = False
        self._unread = bytearray()
        self._room = WINDOW  # what the other side may send, by what it was told
        self._passed_on = 0  # of which it was not told yet
        self._reading_paused = False
        self._eof_came = False
        self._eof_told = False
        self._code = 0

    # --- as a transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes when it is this stream's turn."""
        if self._life is not Life.OPEN or self._eof_due or not data:
            return
        self._append(data)
        self._unsent_size += len(data)
        if self._credit:
            self._carrier.wants_turn(self)
        if self._unsent_size > _HIGH and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        last = self._unsent[-1] if self._unsent else None
        if last is None or len(data) > _SMALL or len(last) > FRAME - _SMALL or isinstance(last, memoryview):
            self._unsent.append(data if isinstance(data, bytes) else bytes(data))
            return
        if isinstance(last, bytes):
            last = self._unsent[-1] = bytearray(last)
        last += data

    def can_write_eof(self) -> bool:
        """Each direction ends for itself."""
        return True

    def write_eof(self) -> None:
        """Say that nothing follows what has been written."""
        if self._life is Life.OPEN and not self._eof_due:
            self._eof_due = True
            self._carrier.wants_turn(self)

    def close(self) -> None:
        """Take nothing more; end once what has been written is sent."""
        if self._life is Life.OPEN:
            self._life = Life.CLOSING
            self._unread.clear()
            self._carrier.wants_turn(self)

    def fail(self, code: int) -> None:
        """As `close`, and tell the other side why, as an `errno`."""
        self._code = code
        self.close()

    def abort(self) -> None:
        """End at once. To the other side it is an error: bytes may be missing."""
        self._abort(self._code or errno.ECONNRESET)

    def _abort(self, code: int) -> None:
        if self._life is not Life.CLOSED:
            self._carrier.say(frames.END, self._number, frames.number(code))
            self._finish(None)

    def is_closing(self) -> bool:
        """Whether it is of no further use."""
        return self._life in (Life.CLOSING, Life.CLOSED)

    def is_reading(self) -> bool:
        """Whether what comes is passed on."""
        return not self._reading_paused and self._life is Life.OPEN

    def pause_reading(self) -> None:
        """Keep what comes here; the other side is not told to send more."""
        self._reading_paused = True

    def resume_reading(self) -> None:
        """Pass on what has come, from the loop's next turn on."""
        self._reading_paused = False
        if self._unread or self._eof_came:
            asyncio.get_running_loop().call_soon(self._read_on)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for their turn, or for leave to be sent."""
        return self._unsent_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """When the writer is told to go on, and to pause."""
        return _LOW, _HIGH

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """They are fixed."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell somebody else from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told."""
        return cast(asyncio.BaseProtocol, self._protocol)

    # --- opening

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Bytes flow from here on."""
        self._protocol = protocol
        self._life = Life.OPEN
        protocol.connection_made(self)

    def accept(self, protocol: asyncio.BaseProtocol) -> None:
        """Answer whoever has opened it, unless they have given up."""
        if self._life is Life.OPENING:
            self._carrier.say(frames.OPENED, self._number)
            self.begin(protocol)

    def refuse(self, code: int) -> None:
        """Answer that it cannot be, and why, as an `errno`."""
        if self._life is Life.OPENING:
            self._abort(code)

    # --- sending, when it is its turn

    @property
    def can_send(self) -> bool:
        """Whether data waits that may be sent."""
        return bool(self._unsent) and self._credit > 0

    def next_frames(self, out: list[bytes | bytearray | memoryview]) -> int:
        """Append what goes out now: one frame of data, and the end behind the last. Returns the bytes of data."""
        size = self._next_data(out) if self.can_send else 0
        if not self._unsent:
            if self._life is Life.CLOSING:
                out += (frames.head(frames.END, self._number, 4), frames.number(self._code))
                self._finish(None)
            elif self._eof_due and not self._eof_sent and self._life is Life.OPEN:
                self._eof_sent = True
                out.append(frames.head(frames.EOF, self._number))
        return size

    def _next_data(self, out: list[bytes | bytearray | memoryview]) -> int:
        first = self._unsent[0]
        size, most = len(first), min(self._credit, FRAME)
        if size > most:
            self._unsent[0], first, size = memoryview(first)[most:], memoryview(first)[:most], most
        else:
            self._unsent.popleft()
        self._credit -= size
        self._unsent_size -= size
        out += (frames.head(frames.DATA, self._number, size), first)
        if self._writing_paused and self._unsent_size <= _LOW:
            self._writing_paused = False
            self._told(self._protocol.resume_writing)
        return size

    # --- what the other side says

    def data_came(self, data: bytes) -> None:
        """Pass on bytes, or keep them while reading is paused."""
        self._room -= len(data)
        if self._room < 0 or not data or self._eof_came or self._life is Life.OPENING:
            raise FrameError("more than was allowed")
        if self._life is not Life.OPEN:
            return
        if self._reading_paused or self._unread:
            self._unread += data
        else:
            self._pass_on(data)

    def credit_came(self, amount: int) -> None:
        """The other side has passed on so many bytes."""
        self._credit += amount
        if not 0 < amount <= WINDOW or self._credit > WINDOW:
            raise FrameError("more was passed on than was sent")
        if self._unsent:
            self._carrier.wants_turn(self)

    def eof_came(self) -> None:
        """Nothing follows what has come."""
        if self._eof_came or self._life is Life.OPENING:
            raise FrameError("an end that cannot be")
        self._eof_came = True
        if not self._unread and not self._reading_paused:
            self._tell_eof()

    def end_came(self, error: Exception | None) -> None:
        """The other side has closed it, or the connection is lost (`error`). What has come is passed on at once.

        Also to who has paused reading: it is not much, and nobody would be told of the end else.
        """
        self._pass_on_unread()
        self._tell_eof()
        if self._life is not Life.CLOSED:
            self._finish(error)

    def _read_on(self) -> None:
        if not self._reading_paused:
            self._pass_on_unread()
        if not self._reading_paused:
            self._tell_eof()

    def _pass_on_unread(self) -> None:
        if self._unread:
            data = bytes(self._unread)
            self._unread.clear()
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        self._passed_on += len(data)
        if self._passed_on * 2 >= WINDOW and self._life is Life.OPEN:
            self._carrier.say(frames.CREDIT, self._number, frames.number(self._passed_on))
            self._room += self._passed_on
            self._passed_on = 0
        self._told(self._protocol.data_received, data)

    def _tell_eof(self) -> None:
        if self._eof_came and not self._eof_told and self._life is Life.OPEN:
            self._eof_told = True
            if not self._told(self._protocol.eof_received):
                self.close()

    def _told(self, told: Callable[..., Any], *arguments: object) -> Any:
        """Tell whoever uses this one. As with asyncio, a mistake there ends this one, and none of the others.

        They would lose more than their connection: frames of theirs may have been taken to be sent just now.
        """
        try:
            return told(*arguments)
        except Exception:
            log.exception("stream_failed")
            self.abort()
        return None

    def _drop_unsent(self) -> None:
        self._unsent.clear()
        self._unsent_size = 0

    def _finish(self, error: Exception | None) -> None:
        opened = self._life is not Life.OPENING
        self._life = Life.CLOSED
        self._drop_unsent()
        self._unread.clear()
        self._carrier.forget(self._number)
        if opened:
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)
