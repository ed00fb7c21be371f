"""All connections to a node's notebooks on one connection to its relay: frames, at both ends.

To whoever opens one, a `Stream` is a transport like a socket's. What all streams say in one turn of the event loop
leaves as one write, so one TLS record and one system call serve many requests: that is what makes the way through a
relay cheap.

**What keeps one notebook from holding up another.** A side may send `WINDOW` bytes on a stream, and then as many as
the other side says that it has passed on; what does not read on costs so much memory there, and nobody else's time.
So the connection itself is always read on. What waits to be sent waits by stream, and notebooks take turns, a frame
each; the connection's own buffers are kept short, so that a turn comes soon.

**What comes from the other side** is a holder of the secret's; it is bounded and checked nevertheless. Whatever
cannot be (an unknown frame, more bytes than were allowed, a stream that was never opened) ends the connection.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import TypeVar, cast

import structlog

from tmpnb_py.core.errors import AwayError
from tmpnb_py.engines.swarm.link import frames
from tmpnb_py.engines.swarm.link.frames import FRAME, HEAD_SIZE, FrameError
from tmpnb_py.engines.swarm.link.stream import Stream

log = structlog.get_logger(__name__)

P = TypeVar("P", bound=asyncio.BaseProtocol)

MOST_STREAMS = 100_000  # on one connection
_MOST_WANTED = 1024  # bytes of what is wanted, which stay with each stream
_MOST_WAITING = 4 * MOST_STREAMS  # frames that carry no data, while the other side reads nothing
_BURST = 256 * 1024  # bytes sent in a turn of the loop

_BUFFERED = 128 * 1024  # bytes of the connection's own that wait, before streams have to wait
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # tcp(7) of Linux; Python 3.11 has no name for it
_SILENCE_MS = 30_000  # in which nothing of what was sent, not even a question of the kernel's, is acknowledged

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
        self._plain: list[bytes | bytearray | memoryview] = []  # frames without data, which go first
        self._turns: dict[bytes, dict[Stream, None]] = {}  # those with something to send, by notebook, in turn
        self._is_due = False
        self._paused = False
        self._is_cut = False

    def __len__(self) -> int:
        return len(self._streams)

    def take_over(self, writer: asyncio.StreamWriter) -> None:
        """Use a connection on which all has been said that is said in lines."""
        self._writer = writer  # which would close the connection if nobody had it any more
        transport = cast(asyncio.Transport, writer.transport)
        transport.set_write_buffer_limits(high=_BUFFERED)
        _tune(writer.get_extra_info("socket"))
        transport.set_protocol(self)
        self.connection_made(transport)

    def close(self) -> None:
        """Cut the connection. The streams end with it, in the loop's next turn."""
        self._is_cut = True
        if self._transport is not None:
            self._transport.abort()

    async def open(self, wanted: bytes, factory: Callable[[], P]) -> P:
        """A new stream to what is `wanted`. Raises `OSError`: the other side's, or `AwayError` where that is lost."""
        if self._transport is None or self._is_cut:
            raise AwayError("the connection is lost")
        self._last = number = self._last + 1
        stream = self._streams[number] = Stream(self, number, wanted)
        opened: asyncio.Future[asyncio.BaseProtocol] = self._loop.create_future()
        self._opening[number] = (opened, factory)
        self.say(frames.OPEN, number, wanted)
        if number == frames.LAST:
            self.close()  # after four thousand million: the next connection begins anew
        try:
            return cast(P, await opened)
        except asyncio.CancelledError:
            stream.abort()
            raise

    # --- sending

    def say(self, kind: int, number: int, content: bytes = b"") -> None:
        """Send a frame without data, before all that waits."""
        if self._transport is None or self._is_cut:
            return
        if len(self._plain) > _MOST_WAITING:
            self.close()
            return
        self._plain.append(frames.head(kind, number, len(content)))
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
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what has gathered: the notebooks in turn, a frame each."""
        self._is_due = False
        if self._transport is None or self._is_cut or self._paused:
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
            while end - at >= HEAD_SIZE and not self._is_cut:
                head, number = frames.read_head(data, at)
                size = head & 0xFFFFFF
                if size > FRAME:
                    raise FrameError("a frame is too long")
                after = at + HEAD_SIZE + size
                if after > end:
                    break
                self._frame_came(head >> 24, number, data[at + HEAD_SIZE : after])
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
        if kind == frames.OPEN:
            self._open_came(number, content)
        elif stream is None:
            if number > self._last or (not frames.DATA <= kind <= frames.END and kind != frames.OPENED):
                raise FrameError("a frame of no stream")
        elif kind == frames.DATA:
            stream.data_came(content)
        elif kind == frames.CREDIT:
            stream.credit_came(frames.number_of(content))
        elif kind == frames.EOF:
            stream.eof_came()
        elif kind == frames.END:
            self._ended(number, _error_of(frames.number_of(content)))
        elif kind == frames.OPENED and number in self._opening:
            self._opened(stream, *self._opening.pop(number))
        else:
            raise FrameError("an unknown frame")

    def _open_came(self, number: int, content: bytes) -> None:
        if self._accept is None or number <= self._last or len(content) > _MOST_WANTED:
            raise FrameError("a stream that cannot be")
        self._last = number
        if len(self._streams) >= MOST_STREAMS:
            self.say(frames.END, number, frames.number(errno.EMFILE))
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
        stream = self._streams.get(number)
        if stream is not None:  # else what another one's end led to has ended it
            stream.end_came(error)


def _error_of(code: int) -> OSError | None:
    """What an end's number means; `OSError` makes the kind of error of it that dialling would raise."""
    if not code:
        return None
    if code not in errno.errorcode:  # `os.strerror` fails for what is no C int
        code = errno.ECONNRESET
    return OSError(code, os.strerror(code))


def _tune(connection: socket.socket) -> None:
    """Keep what the kernel holds unsent short, so that turns come soon, and notice an other side without power."""
    connection.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _BUFFERED)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
