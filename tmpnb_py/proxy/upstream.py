"""The leg from the proxy to a notebook server (or to our own application): connections, reuse, answers.

What a container sends is hostile. Heads are read strictly and made anew, chunks are re-framed, a body with a length
is counted. So no malformed or second answer can leak into anybody's response, and a connection is reused only when
its framing is beyond doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import time
from collections.abc import Awaitable, Callable
from typing import cast

from tmpnb_py.proxy import compress
from tmpnb_py.proxy.answers import date
from tmpnb_py.proxy.exchange import Exchange
from tmpnb_py.proxy.framing import STATUS_LINE, ChunkedReader, MalformedError, find_head
from tmpnb_py.proxy.head_cache import AnswerHead, answer_head
from tmpnb_py.proxy.header_rules import serialize_fields
from tmpnb_py.proxy.request import Request
from tmpnb_py.proxy.strictness import accepts_handshake
from tmpnb_py.proxy.tunnel import Tunnel

MAX_IDLE = 64  # connections kept for reuse per container
IDLE_SECONDS = 60.0
_CLOSING_SECONDS = 30.0  # for what a server that has been hung up on still has to take
_BACKLOG_SECONDS = 0.02
_MAX_HEADS = 64 * 1024  # of one answer with all its interim ones
_MAX_SALVAGE = 1024 * 1024

Dial = Callable[[Callable[[], "UpstreamConnection"]], Awaitable["UpstreamConnection"]]


class Upstream:
    """The connections to one notebook server. Belongs to exactly one container."""

    __slots__ = ("_closing", "_connections", "_dial", "_idle", "_turn", "closed")

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._idle: list[UpstreamConnection] = []
        self._closing: dict[UpstreamConnection, float] = {}
        self._connections: set[UpstreamConnection] = set()
        self._turn = asyncio.Lock()
        self.closed = False

    def take_idle(self) -> UpstreamConnection | None:
        """The connection used last, if one is free."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closing:
                return connection
        return None

    async def connect(self, timeout_seconds: float) -> UpstreamConnection:
        """A fresh connection; it may be closing already. Raises `OSError` or `TimeoutError`."""
        async with asyncio.timeout(timeout_seconds):
            try:
                return await self._connect()
            except BlockingIOError:  # unix(7): the server is busy and its backlog is full
                async with self._turn:  # one looks again, however many wait
                    while not self.closed:
                        with contextlib.suppress(BlockingIOError):
                            return await self._connect()
                        await asyncio.sleep(_BACKLOG_SECONDS)
                raise ConnectionAbortedError("the session has ended") from None

    async def _connect(self) -> UpstreamConnection:
        return self._opened(await self._dial(lambda: UpstreamConnection(self)))

    def _opened(self, connection: UpstreamConnection) -> UpstreamConnection:
        # Not in `connection_made`: a dial that is cancelled after it is never reported as lost by uvloop.
        if self.closed:
            connection.abort()
        if connection.transport is not None:
            self._connections.add(connection)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Take a connection back whose answer was complete and may be followed by another."""
        if self.closed or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def closing(self, connection: UpstreamConnection) -> None:
        """Called by a connection of ours that closes once the server has taken what is buffered."""
        self._closing[connection] = time.monotonic() + _CLOSING_SECONDS

    def lost(self, connection: UpstreamConnection) -> None:
        """Called by a connection of ours."""
        self._connections.discard(connection)
        self._closing.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Close what has been idle, or closing, for too long."""
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.pop(0).abort()
        for connection in [one for one, deadline in self._closing.items() if deadline <= now]:
            connection.abort()

    def close(self) -> None:
        """Close every connection, in use or not."""
        self.closed = True
        for connection in tuple(self._connections):
            connection.abort()


class _Framing(enum.Enum):
    """How the body of an answer ends (RFC 9112 §6.3)."""

    NONE = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    CLOSE = enum.auto()


class UpstreamConnection(asyncio.Protocol):
    """One connection to a notebook server; serves one exchange at a time."""

    __slots__ = (
        "_chunk_output",
        "_chunks",
        "_eof",
        "_exchange",
        "_framing",
        "_gzip",
        "_heads_size",
        "_keep_alive",
        "_left",
        "_reading_paused",
        "_received",
        "_status",
        "_tunnel",
        "_upstream",
        "idle_since",
        "reused",
        "transport",
    )

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._reading_paused = False
        self._eof = False
        self.reused = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        """Forget the last answer."""
        self._received = b""  # the beginning of a head
        self._heads_size = 0
        self._status = 0
        self._framing: _Framing | None = None  # None until the final head has come
        self._left = 0
        self._chunks: ChunkedReader | None = None
        self._chunk_output = False
        self._gzip: compress.Gzip | None = None
        self._keep_alive = False

    # --- what the exchange does

    @property
    def is_closing(self) -> bool:
        """Whether this connection is of no further use."""
        return self.transport is None or self.transport.is_closing()

    def begin(self, exchange: Exchange) -> None:
        """Send an exchange's head."""
        self._exchange = exchange
        exchange.connection = self
        self.write(exchange.head)

    def send_body(self, part: bytes, *, last: bool) -> None:
        """Pass a part of the request's body on."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.request.chunked:
            part = _chunk(part) + (b"0\r\n\r\n" if last else b"")
        if part:
            self.write(part)

    def write(self, data: bytes) -> None:
        """Send bytes to the server."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def set_reading(self, *, wanted: bool) -> None:
        """Read on, or not because the client does not keep up."""
        if self.is_closing or wanted is not self._reading_paused or self.transport is None:
            return
        self._reading_paused = not wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def abort(self) -> None:
        """Close at once; nobody waits for what is under way."""
        if self.transport is not None:
            self.transport.abort()

    def enter(self, tunnel: Tunnel) -> None:
        """From here on bytes flow, unread."""
        self._tunnel = tunnel

    def tunnel_ended(self) -> None:
        """Called by the tunnel: close once what is buffered has been sent, if that happens soon."""
        if self.transport is not None:
            self.transport.close()
            self._upstream.closing(self)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_upstream(data)
            return
        exchange = self._exchange
        if exchange is None:
            self.abort()  # bytes that nobody asked for
            return
        try:
            self._read(exchange, data)
        except MalformedError:
            self._exchange = exchange.connection = None
            self.abort()
            exchange.client.upstream_failed(exchange, 502)

    def eof_received(self) -> bool:
        self._eof = True
        if self._tunnel is not None:
            return self._tunnel.half_closed(by_client=False)
        return False

    def pause_writing(self) -> None:
        self._keeps_up(yes=False)

    def resume_writing(self) -> None:
        self._keeps_up(yes=True)

    def _keeps_up(self, *, yes: bool) -> None:
        if self._exchange is not None:
            self._exchange.client.upstream_paused(paused=not yes)
        elif self._tunnel is not None:
            self._tunnel.upstream_keeps_up(keeps_up=yes)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._exchange is not None and not self._reading_paused:
            self._salvage()
        self._upstream.lost(self)
        self.transport = None
        if self._tunnel is not None:
            self._tunnel.end()
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        exchange.connection = None
        if self._framing is _Framing.CLOSE and self._eof:
            if self._chunk_output:
                exchange.client.write(b"0\r\n\r\n")
            exchange.client.response_done(exchange)
        elif self.reused and exchange.can_retry:
            exchange.client.retry(exchange)
        else:
            exchange.client.upstream_failed(exchange, 502)

    def _salvage(self) -> None:
        """Read what the server said before it hung up in the middle of an upload ("413").

        The failed write closes the transport before it has read; the socket is still open in this callback.
        """
        connection = self.transport.get_extra_info("socket") if self.transport is not None else None
        salvaged = 0
        while connection is not None and self._exchange is not None and salvaged < _MAX_SALVAGE:
            try:
                data = os.read(connection.fileno(), 65536)
            except OSError:
                return
            if not data:
                self._eof = True
                return
            salvaged += len(data)
            self.data_received(data)

    # --- reading an answer

    def _read(self, exchange: Exchange, data: bytes) -> None:
        """Pass on what one read gave, in one write, and end the exchange when its answer is complete."""
        out: list[bytes] = []
        if self._framing is None:
            data = self._read_heads(exchange, self._received + data, out)
        framing = self._framing
        if framing is None:
            if out:
                exchange.client.write(b"".join(out))
            return
        done, rest = framing is _Framing.NONE, data
        if not done:
            done, rest = self._read_body(data, out)
        if not exchange.response_started:
            exchange.client.response_started(exchange, self._status, whole=done)
        if out:
            exchange.client.write(out[0] if len(out) == 1 else b"".join(out))
        if done:
            self._finish(exchange, excess=bool(rest))

    def _read_heads(self, exchange: Exchange, received: bytes, out: list[bytes]) -> bytes:
        """Read interim answers and the final head. What follows it is returned, an incomplete one kept."""
        while self._framing is None:
            found = find_head(received, STATUS_LINE, _MAX_HEADS - self._heads_size)
            if found is None:
                self._received = received
                return b""
            end = found[1]
            self._heads_size += end
            head, received = answer_head(received[:end]), received[end:]
            if head.status >= 200:
                self._status = head.status
                out.append(self._framed(exchange, head))
            elif head.status == 101:
                self._switch(exchange, head, out, received)
                return b""
            elif exchange.request.version == "1.1":  # RFC 9110 §15.2: HTTP/1.0 knows no interim answers
                out.append(head.passed_on(exchange.base_path, cookies=not exchange.request.admitted) + b"\r\n")
        self._received = b""
        return received

    def _framed(self, exchange: Exchange, head: AnswerHead) -> bytes:
        """The final answer's head, and how its body is read and written (RFC 9112 §6.3)."""
        request, status, length = exchange.request, head.status, head.length
        framing = b""
        self._keep_alive = head.keep_alive
        offered = head.compressible and _may_be_compressed(exchange)
        compressed = offered and _is_compressed(request, head)
        if length is not None and status != 204 and not compressed:
            framing = b"Content-Length: %d\r\n" % length
        if request.method == b"HEAD" or status in (204, 304):
            self._framing = _Framing.NONE
            if head.chunked or (length and status == 204):
                self._keep_alive = False  # what announces a body here may well send one
        elif length is not None:
            self._left = length
            self._framing = _Framing.LENGTH if length else _Framing.NONE
            if compressed:
                self._gzip, self._chunk_output = compress.Gzip(), True
                framing = b"Transfer-Encoding: chunked\r\n"
        else:
            self._framing = _Framing.CHUNKED if head.chunked else _Framing.CLOSE
            self._chunks = ChunkedReader() if head.chunked else None
            self._chunk_output = request.version == "1.1"
            if self._chunk_output:
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                request.keep_alive = False  # HTTP/1.0 reads such a body up to the end of the connection
        if offered and not compressed and status == 200:
            framing += b"Vary: Accept-Encoding\r\n"
        framing += _added(exchange, head)
        passed_on = head.compressed if compressed else head.passed_on
        return b"%b%b\r\n" % (passed_on(exchange.base_path, cookies=not request.admitted), framing)

    def _read_body(self, data: bytes, out: list[bytes]) -> tuple[bool, bytes]:
        """Whether the body is complete, and what came after it."""
        done, rest = False, b""
        if self._framing is _Framing.LENGTH:
            data, rest = (data[: self._left], data[self._left :]) if len(data) > self._left else (data, b"")
            self._left -= len(data)
            done = self._left == 0
        elif self._chunks is not None:
            data = self._chunks.feed(data)
            done, rest = self._chunks.done, self._chunks.rest
        if self._gzip is not None:
            data = self._gzip.feed(data, last=done)
        if data:
            out.append(_chunk(data) if self._chunk_output else data)
        if done and self._chunk_output:
            out.append(b"0\r\n\r\n")
        return done, rest

    def _finish(self, exchange: Exchange, *, excess: bool) -> None:
        self._exchange = exchange.connection = None
        transport = self.transport
        if (
            self._keep_alive
            and not excess
            and exchange.request.complete
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        ):
            self.reused = True
            self.set_reading(wanted=True)
            self._reset()
            self._upstream.release(self)
        else:
            self.abort()
        exchange.client.response_done(exchange)

    def _switch(self, exchange: Exchange, head: AnswerHead, out: list[bytes], rest: bytes) -> None:
        """101: from here on bytes flow, for who asked for it (RFC 6455 §4.2.2)."""
        request = exchange.request
        if not request.websocket or not accepts_handshake(request.headers, head.headers):
            raise MalformedError("an upgrade that nobody asked for")
        kept = head.passed_on(exchange.base_path, cookies=not request.admitted, websocket=True)
        out += (kept, serialize_fields(request.answer_headers), b"\r\n", rest)
        self._exchange = exchange.connection = None
        exchange.client.upgrade(exchange, self, b"".join(out))
        out.clear()


def _added(exchange: Exchange, head: AnswerHead) -> bytes:
    """Our own headers of the final answer, whatever its framing."""
    request, added = exchange.request, b""
    if exchange.client.will_close(request):
        added = b"Connection: close\r\n"
    elif request.version == "1.0":
        added = b"Connection: keep-alive\r\n"
    if not head.dated:
        added += b"Date: %b\r\n" % date()
    if request.answer_headers:
        added += serialize_fields(request.answer_headers)
    return added


def _may_be_compressed(exchange: Exchange) -> bool:
    """Whether a request is for something that is compressed on its way, if it can be."""
    request, base_path = exchange.request, exchange.base_path
    if base_path is None or not request.target.startswith(base_path):
        return False
    return compress.is_offered(request.method, request.target.removeprefix(base_path))


def _is_compressed(request: Request, head: AnswerHead) -> bool:
    if head.status == 304:
        return compress.was_given(request.headers, head.headers)
    return compress.is_wanted(request.version, request.headers)


def _chunk(data: bytes) -> bytes:
    """One chunk of a body; nothing for nothing, because an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
