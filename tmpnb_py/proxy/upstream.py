"""The leg from the proxy to a notebook server (or to our own application): connections, and their reuse.

What a container sends is hostile: `answer_reader` reads it, and a connection is reused only when the framing of its
answer is beyond doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import Awaitable, Callable
from typing import cast

from tmpnb_py.core.errors import AwayError
from tmpnb_py.proxy.answer_reader import AnswerReader
from tmpnb_py.proxy.compress import Budget
from tmpnb_py.proxy.exchange import Exchange
from tmpnb_py.proxy.framing import MalformedError, chunk
from tmpnb_py.proxy.tunnel import Tunnel

MAX_IDLE = 64  # connections kept for reuse per container
IDLE_SECONDS = 60.0
_CLOSING_SECONDS = 30.0  # for what a server that has been hung up on still has to take
_BACKLOG_SECONDS = 0.02
_MAX_SALVAGE = 1024 * 1024

Dial = Callable[[Callable[[], "UpstreamConnection"]], Awaitable["UpstreamConnection"]]


@dataclasses.dataclass(frozen=True, slots=True)
class UpstreamState:
    """How many connections there are to a server at a moment, and how many of them are idle or closing."""

    open: int
    idle: int
    closing: int


class Upstream:
    """The connections to one notebook server. Belongs to exactly one container."""

    __slots__ = ("_closing", "_connections", "_dial", "_idle", "_turn", "budget", "closed")

    def __init__(self, dial: Dial, budget: Budget) -> None:
        self._dial = dial
        self.budget = budget
        self._idle: list[UpstreamConnection] = []
        self._closing: dict[UpstreamConnection, float] = {}
        self._connections: set[UpstreamConnection] = set()
        self._turn = asyncio.Lock()
        self.closed = False

    @property
    def state(self) -> UpstreamState:
        """What connections there are now."""
        return UpstreamState(len(self._connections), len(self._idle), len(self._closing))

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


class UpstreamConnection(asyncio.Protocol):
    """One connection to a notebook server; serves one exchange at a time."""

    __slots__ = (
        "_answer",
        "_eof",
        "_exchange",
        "_reading_paused",
        "_tunnel",
        "_upstream",
        "idle_since",
        "reused",
        "transport",
    )

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._answer = AnswerReader(upstream.budget)
        self.transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._reading_paused = False
        self._eof = False
        self.reused = False
        self.idle_since = 0.0

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
            part = chunk(part, last=last)
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
        rest = self._answer.closed() if self._eof else None
        if rest is not None:
            if rest:
                exchange.client.write(rest)
            exchange.client.response_done(exchange)
        elif (self.reused or isinstance(exc, AwayError)) and exchange.can_retry:
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
        answer = self._answer
        if answer.framing is None:
            data = answer.read_heads(exchange, data, out)
            if answer.framing is None:
                if answer.switched:
                    self._switch(exchange, b"".join((*out, data)))
                elif out:
                    exchange.client.write(b"".join(out))
                return
        done, rest = answer.read_body(data, out)
        if not exchange.response_started:
            exchange.client.response_started(exchange, answer.status, whole=done)
        if out:
            exchange.client.write(out[0] if len(out) == 1 else b"".join(out))
        if done:
            self._finish(exchange, excess=bool(rest))

    def _switch(self, exchange: Exchange, first: bytes) -> None:
        """101: from here on bytes flow; `first` is what the client gets of it."""
        self._exchange = exchange.connection = None
        exchange.client.upgrade(exchange, self, first)

    def _finish(self, exchange: Exchange, *, excess: bool) -> None:
        self._exchange = exchange.connection = None
        transport = self.transport
        if (
            self._answer.keep_alive
            and not excess
            and exchange.request.complete
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        ):
            self.reused = True
            self.set_reading(wanted=True)
            self._answer.reset()
            self._upstream.release(self)
        else:
            self.abort()
        exchange.client.response_done(exchange)
