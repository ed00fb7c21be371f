"""The leg from the proxy to a notebook server (or to our own application): connections, reuse, answers.

What a container sends is hostile. An answer is parsed by llhttp in its strict mode, and only what was parsed is
sent on: heads are made anew, chunks re-framed, a body with a length counted. So no malformed or second answer can
leak into anybody's response, and a connection is reused only when its framing is beyond doubt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import cast

import httptools

from tmpnb_py.headers import Headers, get_all, is_websocket_upgrade, response_headers, serialize
from tmpnb_py.proxy.exchange import Exchange
from tmpnb_py.proxy.tunnel import Tunnel

MAX_IDLE = 64  # connections kept for reuse per container
IDLE_SECONDS = 60.0
_MAX_HEAD = 64 * 1024

Dial = Callable[[Callable[[], "UpstreamConnection"]], Awaitable["UpstreamConnection"]]


class Upstream:
    """The connections to one notebook server. Belongs to exactly one container."""

    __slots__ = ("_connections", "_dial", "_idle", "closed")

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._idle: list[UpstreamConnection] = []
        self._connections: set[UpstreamConnection] = set()
        self.closed = False

    def take_idle(self) -> UpstreamConnection | None:
        """The connection used last, if one is free."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closing:
                return connection
        return None

    async def connect(self, timeout_seconds: float) -> UpstreamConnection:
        """A fresh connection. Raises `OSError` or `TimeoutError`."""
        async with asyncio.timeout(timeout_seconds):
            return await self._dial(lambda: UpstreamConnection(self))

    def opened(self, connection: UpstreamConnection) -> None:
        """Called by a connection of ours."""
        self._connections.add(connection)
        if self.closed:
            connection.abort()

    def release(self, connection: UpstreamConnection) -> None:
        """Take a connection back whose answer was complete and may be followed by another."""
        if self.closed or len(self._idle) >= MAX_IDLE:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """Called by a connection of ours."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.pop(0).close()

    def close(self) -> None:
        """Close every connection, in use or not."""
        self.closed = True
        for connection in tuple(self._connections):
            connection.abort()


class UpstreamConnection(asyncio.Protocol):
    """One connection to a notebook server; serves one exchange at a time."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self.idle_since = 0.0
        self.reused = False
        self._paused = False
        self._reset()

    def _reset(self) -> None:
        """Forget the last answer. A parser of its own for each makes its state beyond doubt."""
        self._parser = httptools.HttpResponseParser(self)
        self._out: list[bytes] = []
        self._length = -1  # bytes still to come of a body with a known length
        self._counting = False  # those bytes now pass without the parser
        self._complete = False
        self._excess = False
        self._failed = False
        self._keep_alive = False
        self._ends_with_connection = False
        self._chunk_output = False
        self._bodyless = False
        self._head_size = 0
        self._in_body = False
        self._new_head()

    def _new_head(self) -> None:
        self._status = 0
        self._reason = b""
        self._headers: Headers = []
        self._informational = False

    # --- what the exchange does

    @property
    def is_closing(self) -> bool:
        """Whether this connection is of no further use."""
        return self._transport is None or self._transport.is_closing()

    def begin(self, exchange: Exchange) -> None:
        """Send an exchange's head, and what there is of its body."""
        assert self._transport is not None  # noqa: S101  (connected before it is handed out)
        self._exchange = exchange
        exchange.connection = self
        self._transport.write(exchange.head)
        for part in exchange.request.body:
            self.send_body(part)
        exchange.request.body.clear()
        if exchange.request.complete:
            self.end_body()

    def send_body(self, part: bytes) -> None:
        """Pass a part of the request's body on."""
        exchange, transport = self._exchange, self._transport
        if exchange is None or transport is None:
            return
        exchange.body_forwarded = True
        if exchange.request.chunked:
            transport.writelines((b"%x\r\n" % len(part), part, b"\r\n"))
        else:
            transport.write(part)

    def end_body(self) -> None:
        """The request's body is complete."""
        exchange, transport = self._exchange, self._transport
        if exchange is not None and transport is not None and exchange.request.chunked:
            transport.write(b"0\r\n\r\n")

    def pause(self) -> None:
        """The client does not keep up: stop reading."""
        if self._transport is not None and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """The client keeps up again."""
        if self._transport is not None and self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """Close after what is buffered has been sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; nobody waits for what is under way."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._upstream.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_upstream(data)
            return
        if self._exchange is None:
            self.abort()  # bytes that nobody asked for
            return
        if self._counting:
            self._counted(data)
        else:
            self._parsed(data)
        self._flush()

    def eof_received(self) -> bool:
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
        self._upstream.lost(self)
        self._transport = None
        if self._tunnel is not None:
            self._tunnel.end()
            return
        exchange = self._exchange
        if exchange is None:
            return
        self._exchange = None
        exchange.connection = None
        if self._ends_with_connection and exc is None:
            if self._chunk_output:
                exchange.client.write(b"0\r\n\r\n")
            exchange.client.response_done(exchange)
        elif self.reused and exchange.can_retry:
            exchange.client.retry(exchange)
        else:
            exchange.client.upstream_failed(exchange, 502)

    # --- reading an answer

    def _counted(self, data: bytes) -> None:
        size = len(data)
        if size < self._length:
            self._length -= size
            self._out.append(data)
            return
        self._excess = size > self._length
        self._out.append(data[: self._length])
        self._complete = True

    def _parsed(self, data: bytes) -> None:
        if not self._in_body:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if self._complete:
                self._excess = True  # a whole answer and then rubbish: deliver the one, drop the other
            else:
                self._failed = True
        if not self._in_body and not self._complete and self._head_size > _MAX_HEAD:
            self._failed = True

    def _flush(self) -> None:
        """Send on what one read gave, in one write, and end the exchange when its answer is complete."""
        exchange = self._exchange
        if exchange is None:
            return
        if self._failed:
            self._exchange = exchange.connection = None
            self.abort()
            exchange.client.upstream_failed(exchange, 502)
            return
        if self._out:
            if self._in_body and not exchange.response_started:
                exchange.response_started = True
                exchange.client.response_started(self._status)
            exchange.client.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
            self._out.clear()
        if self._complete:
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = exchange.connection = None
        reusable = self._keep_alive and not self._excess and exchange.request.complete
        if reusable:
            self.reused = True
            self.resume()
            self._reset()
            self._upstream.release(self)
        else:
            self.close()
        exchange.client.response_done(exchange)

    def _switch(self, rest: bytes) -> None:
        """101: from here on bytes flow."""
        exchange, transport = self._exchange, self._transport
        if exchange is None or transport is None:
            return
        if self._failed or self._status != 101:
            self._failed = True
            return
        self._exchange = exchange.connection = None
        self._tunnel = exchange.client.upgrade(exchange, transport, b"".join(self._out) + rest)
        self._out.clear()

    # --- httptools callbacks

    def on_message_begin(self) -> None:
        if self._complete:
            self._excess = True

    def on_status(self, reason: bytes) -> None:
        if not self._complete:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._complete and not self._in_body:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if self._complete or exchange is None:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            self._interim(exchange)
            return
        self._in_body = True
        self._keep_alive = self._parser.should_keep_alive()
        head = self._response_head(exchange)
        if not self._failed:
            self._out.append(head)
        if self._bodyless:
            self._complete = True

    def _interim(self, exchange: Exchange) -> None:
        """A 1xx answer (RFC 9110 §15.2): passed on to who can read it; 101 only to who asked for it."""
        if self._status == 101:
            if not exchange.request.websocket or not is_websocket_upgrade(self._headers):
                self._failed = True
                return
            headers = response_headers(self._headers, base_path=exchange.base_path, websocket=True)
            self._out.append(serialize(b"HTTP/1.1 101 Switching Protocols", headers))
            return
        self._informational = True
        if exchange.request.version == "1.1":
            headers = response_headers(self._headers, base_path=exchange.base_path)
            self._out.append(serialize(b"HTTP/1.1 %d %b" % (self._status, self._reason), headers))

    def _response_head(self, exchange: Exchange) -> bytes:
        request = exchange.request
        headers = response_headers(self._headers, base_path=exchange.base_path)
        codings = get_all(self._headers, b"transfer-encoding")
        lengths = get_all(self._headers, b"content-length")
        self._bodyless = request.method == b"HEAD" or self._status in (204, 304)
        if codings and [coding.lower() for coding in codings] != [b"chunked"]:
            self._failed = True
        if lengths and self._status != 204:
            headers.append((b"Content-Length", lengths[0]))
        elif not self._bodyless:
            self._ends_with_connection = not codings
            self._chunk_output = request.version == "1.1"
            if self._chunk_output:
                headers.append((b"Transfer-Encoding", b"chunked"))
            else:
                request.keep_alive = False  # an HTTP/1.0 client reads such a body up to the end of the connection
        if lengths and not self._bodyless:
            self._length = int(lengths[0])
        if exchange.client.will_close(request):
            headers.append((b"Connection", b"close"))
        elif request.version == "1.0":
            headers.append((b"Connection", b"keep-alive"))
        return serialize(b"HTTP/1.1 %d %b" % (self._status, self._reason), headers)

    def on_body(self, body: bytes) -> None:
        if self._complete:
            self._excess = True
        elif self._chunk_output:
            self._out += (b"%x\r\n" % len(body), body, b"\r\n")
        else:
            self._out.append(body)
            if self._length > 0:
                self._length -= len(body)
                self._counting = self._length > 0

    def on_message_complete(self) -> None:
        if self._status == 101:
            return
        if self._informational:
            self._new_head()
            return
        if not self._complete:
            self._complete = True
            if self._chunk_output and not self._ends_with_connection:
                self._out.append(b"0\r\n\r\n")
