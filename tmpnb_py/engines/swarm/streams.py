"""All connections to a node's notebooks on one connection to its relay: frames, at both ends.

To whoever opens one, a `Stream` is a transport like a socket's: bytes in order both ways, half-closing, and back
pressure. What all streams say within one turn of the event loop leaves as one write, so one TLS record and one system
call serve many requests: that is what makes the way through a relay cheap.

**What keeps one notebook from holding up another.** A side may send `WINDOW` bytes on a stream, and then as many as
the other side says that it has passed on; what does not read on costs so much memory there, and nobody else's time.
So the connection itself is always read on. What waits to be sent waits by stream, and notebooks take turns, a frame
each; the connection's own buffers are kept short, so that a turn comes soon.

**What comes from the other side** is a holder of the secret's; it is bounded and checked nevertheless. Whatever
cannot be (an unknown frame, more bytes than were allowed, a stream that was never opened) ends the connection.

A frame is a byte that says what it is, three bytes with the length of what follows, four with the stream's number.
Numbers are given by who opens, rise, and are never used twice: frames that cross the end of their stream on the way
are told from nonsense by that.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import os
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

import structlog

from tmpnb_py.core.errors import AwayError

log = structlog.get_logger(__name__)

P = TypeVar("P", bound=asyncio.BaseProtocol)

WINDOW = 256 * 1024  # bytes of a stream that may be on the way or not passed on
FRAME = 64 * 1024  # bytes that follow a head, at most
MOST_STREAMS = 100_000  # on one connection
_MOST_WAITING = 4 * MOST_STREAMS  # frames that carry no data, while the other side reads nothing
_HIGH, _LOW = 64 * 1024, 16 * 1024  # unsent bytes of a stream at which its writer is paused, and goes on
_BURST = 256 * 1024  # bytes sent in a turn of the loop
_LAST = (1 << 32) - 1
_HEAD = struct.Struct(">II")
_AMOUNT = struct.Struct(">I")

_OPEN, _OPENED, _DATA, _CREDIT, _EOF, _END = range(1, 7)


class FrameError(Exception):
    """The other side said what cannot be."""


class Life(enum.Enum):
    """How far a stream is."""

    OPENING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()  # closed by us; what waits is still sent
    CLOSED = enum.auto()


class Stream(asyncio.Transport):
    """One of them. `wanted` names the notebook: notebooks take turns, and in each its streams."""

    def __init__(self, streams: Streams, number: int, wanted: bytes) -> None:
        super().__init__()
        self.wanted = wanted
        self._streams = streams
        self._number = number
        self._protocol: Any = None
        self._life = Life.OPENING
        self._unsent: deque[bytes | memoryview] = deque()
        self._unsent_size = 0
        self._credit = WINDOW
        self._writing_paused = False
        self._eof_due = False  # once all that is unsent has been sent
        self._eof_sent = False
        self._unread: deque[bytes] = deque()
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
        self._unsent.append(data if isinstance(data, bytes) else bytes(data))
        self._unsent_size += len(data)
        if self._credit:
            self._streams.wants_turn(self)
        if self._unsent_size > _HIGH and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        """Each direction ends for itself."""
        return True

    def write_eof(self) -> None:
        """Say that nothing follows what has been written."""
        if self._life is Life.OPEN and not self._eof_due:
            self._eof_due = True
            self._streams.wants_turn(self)

    def close(self) -> None:
        """Take nothing more; end once what has been written is sent."""
        if self._life is Life.OPEN:
            self._life = Life.CLOSING
            self._unread.clear()
            self._streams.wants_turn(self)

    def fail(self, code: int) -> None:
        """As `close`, and tell the other side why, as an `errno`."""
        self._code = code
        self.close()

    def abort(self) -> None:
        """End at once."""
        if self._life is not Life.CLOSED:
            self._streams.say(_END, self._number, _AMOUNT.pack(self._code))
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
            self._streams.soon(self._read_on)

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
            self._streams.say(_OPENED, self._number)
            self.begin(protocol)

    def refuse(self, code: int) -> None:
        """Answer that it cannot be, and why, as an `errno`."""
        if self._life is Life.OPENING:
            self._code = code
            self.abort()

    # --- sending, when it is its turn

    @property
    def can_send(self) -> bool:
        """Whether data waits that may be sent."""
        return bool(self._unsent) and self._credit > 0

    def next_frames(self, out: list[bytes | memoryview]) -> int:
        """Append what goes out now: one frame of data, and the end behind the last. Returns the bytes of data."""
        size = self._next_data(out) if self.can_send else 0
        if not self._unsent:
            if self._life is Life.CLOSING:
                out += (_HEAD.pack(_END << 24 | _AMOUNT.size, self._number), _AMOUNT.pack(self._code))
                self._finish(None)
            elif self._eof_due and not self._eof_sent and self._life is Life.OPEN:
                self._eof_sent = True
                out.append(_HEAD.pack(_EOF << 24, self._number))
        return size

    def _next_data(self, out: list[bytes | memoryview]) -> int:
        first = self._unsent[0]
        size, most = len(first), min(self._credit, FRAME)
        if size > most:
            self._unsent[0], first, size = memoryview(first)[most:], memoryview(first)[:most], most
        else:
            self._unsent.popleft()
        self._credit -= size
        self._unsent_size -= size
        out += (_HEAD.pack(_DATA << 24 | size, self._number), first)
        if self._writing_paused and self._unsent_size <= _LOW:
            self._writing_paused = False
            self._protocol.resume_writing()
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
            self._unread.append(data)
        else:
            self._pass_on(data)

    def credit_came(self, amount: int) -> None:
        """The other side has passed on so many bytes."""
        self._credit += amount
        if not 0 < amount <= WINDOW or self._credit > WINDOW:
            raise FrameError("more was passed on than was sent")
        if self._unsent:
            self._streams.wants_turn(self)

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
        while self._unread:
            self._pass_on(self._unread.popleft())
        self._tell_eof()
        if self._life is not Life.CLOSED:
            self._finish(error)

    def _read_on(self) -> None:
        while self._unread and not self._reading_paused:
            self._pass_on(self._unread.popleft())
        if not self._unread and not self._reading_paused:
            self._tell_eof()

    def _pass_on(self, data: bytes) -> None:
        self._passed_on += len(data)
        if self._passed_on * 2 >= WINDOW and self._life is Life.OPEN:
            self._streams.say(_CREDIT, self._number, _AMOUNT.pack(self._passed_on))
            self._room += self._passed_on
            self._passed_on = 0
        try:
            self._protocol.data_received(data)
        except Exception:  # as asyncio: a mistake of ours ends this one, and none of the others
            log.exception("stream_failed")
            self.abort()

    def _tell_eof(self) -> None:
        if self._eof_came and not self._eof_told and self._life is Life.OPEN:
            self._eof_told = True
            if not self._protocol.eof_received():
                self.close()

    def _drop_unsent(self) -> None:
        self._unsent.clear()
        self._unsent_size = 0

    def _finish(self, error: Exception | None) -> None:
        opened = self._life is not Life.OPENING
        self._life = Life.CLOSED
        self._drop_unsent()
        self._unread.clear()
        self._streams.forget(self._number)
        if opened:
            self._streams.soon(self._protocol.connection_lost, error)


Accept = Callable[[Stream], None]


class Streams(asyncio.Protocol):
    """One connection with all its streams. One end opens them; the other has `accept`, which is given each.

    It looks at what is `wanted`, raises `FrameError` if that is nonsense, and accepts or refuses, now or later.
    `lost` is called once the connection has ended.
    """

    def __init__(self, accept: Accept | None = None, *, lost: Callable[[], object]) -> None:
        self._accept = accept
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, Stream] = {}
        self._opening: dict[int, tuple[asyncio.Future[asyncio.BaseProtocol], Callable[[], asyncio.BaseProtocol]]] = {}
        self._last = 0  # the number given last
        self._transport: asyncio.Transport | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._rest = b""
        self._plain: list[bytes | memoryview] = []  # frames without data, which go first
        self._turns: dict[bytes, dict[Stream, None]] = {}  # those with something to send, by notebook, in turn
        self._is_due = False
        self._paused = False
        self.soon = self._loop.call_soon

    def __len__(self) -> int:
        return len(self._streams)

    def take_over(self, writer: asyncio.StreamWriter) -> None:
        """Use a connection on which all has been said that is said in lines."""
        self._writer = writer  # which would close the connection if nobody had it any more
        transport = cast(asyncio.Transport, writer.transport)
        transport.set_protocol(self)
        self.connection_made(transport)

    def close(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    async def open(self, wanted: bytes, factory: Callable[[], P]) -> P:
        """A new stream to what is `wanted`. Raises `OSError`: the other side's, or `AwayError` where that is lost."""
        if self._transport is None:
            raise AwayError("the connection is lost")
        self._last = number = self._last + 1
        stream = self._streams[number] = Stream(self, number, wanted)
        opened: asyncio.Future[asyncio.BaseProtocol] = self._loop.create_future()
        self._opening[number] = (opened, factory)
        if number == _LAST:
            self.close()  # after four thousand million: the next connection begins anew
        self.say(_OPEN, number, wanted)
        try:
            return cast(P, await opened)
        except asyncio.CancelledError:
            stream.abort()
            raise

    # --- sending

    def say(self, kind: int, number: int, content: bytes = b"") -> None:
        """Send a frame without data, before all that waits."""
        if len(self._plain) > _MOST_WAITING:
            self.close()
            return
        self._plain.append(_HEAD.pack(kind << 24 | len(content), number))
        if content:
            self._plain.append(content)
        self._flush_soon()

    def wants_turn(self, stream: Stream) -> None:
        """A stream has something to send."""
        turn = self._turns.get(stream.wanted)
        if turn is None:
            self._turns[stream.wanted] = {stream: None}
        else:
            turn[stream] = None
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._is_due and not self._paused:
            self._is_due = True
            self.soon(self._flush)

    def _flush(self) -> None:
        """Send what has gathered: the notebooks in turn, a frame each."""
        self._is_due = False
        if self._transport is None or self._paused:
            return
        out, self._plain = self._plain, []
        turns, size = self._turns, 0
        while turns and size < _BURST:
            notebook = next(iter(turns))
            turn = turns[notebook]
            stream = next(iter(turn))
            del turn[stream]
            size += stream.next_frames(out)
            if stream.can_send:
                turn[stream] = None
            del turns[notebook]
            if turn:
                turns[notebook] = turn
        if out:
            self._transport.write(b"".join(out))
        if turns:
            self._flush_soon()

    def forget(self, number: int) -> None:
        """A stream has ended."""
        self._streams.pop(number, None)
        self._opening.pop(number, None)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        self._transport = self._writer = None
        self._turns.clear()
        self._plain.clear()
        for number in list(self._streams):
            self._ended(number, AwayError("the connection is lost"))
        self._lost()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        try:
            while end - at >= _HEAD.size:
                head, number = _HEAD.unpack_from(data, at)
                size = head & 0xFFFFFF
                if size > FRAME:
                    raise FrameError("a frame is too long")
                after = at + _HEAD.size + size
                if after > end:
                    break
                self._frame_came(head >> 24, number, data[at + _HEAD.size : after])
                at = after
        except FrameError as error:
            log.warning("streams_broken", error=str(error))
            self._rest = b""
            self.close()
            return
        self._rest = data[at:]

    # --- what the other side says

    def _frame_came(self, kind: int, number: int, content: bytes) -> None:
        stream = self._streams.get(number)
        if kind == _OPEN:
            self._open_came(number, content)
        elif stream is None:
            if number > self._last or (not _DATA <= kind <= _END and kind != _OPENED):
                raise FrameError("a frame of no stream")
        elif kind == _DATA:
            stream.data_came(content)
        elif kind == _CREDIT:
            stream.credit_came(_amount(content))
        elif kind == _EOF:
            stream.eof_came()
        elif kind == _END:
            code = _amount(content)
            self._ended(number, OSError(code, os.strerror(code)) if code else None)
        elif kind == _OPENED and number in self._opening:
            self._opened(stream, *self._opening.pop(number))
        else:
            raise FrameError("an unknown frame")

    def _open_came(self, number: int, content: bytes) -> None:
        if self._accept is None or number <= self._last:
            raise FrameError("a stream that cannot be")
        self._last = number
        if len(self._streams) >= MOST_STREAMS:
            self.say(_END, number, _AMOUNT.pack(errno.EMFILE))
            return
        stream = self._streams[number] = Stream(self, number, content)
        self._accept(stream)

    def _opened(
        self,
        stream: Stream,
        opened: asyncio.Future[asyncio.BaseProtocol],
        factory: Callable[[], asyncio.BaseProtocol],
    ) -> None:
        if opened.done():
            stream.abort()
            return
        protocol = factory()
        stream.begin(protocol)
        opened.set_result(protocol)

    def _ended(self, number: int, error: Exception | None) -> None:
        waiting = self._opening.pop(number, None)
        if waiting is not None and not waiting[0].done():
            waiting[0].set_exception(error or ConnectionRefusedError(errno.ECONNREFUSED, "nothing answers there"))
        self._streams[number].end_came(error)


def _amount(content: bytes) -> int:
    if len(content) != _AMOUNT.size:
        raise FrameError("not a number")
    return int(_AMOUNT.unpack(content)[0])
