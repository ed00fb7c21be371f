"""The leg from a visitor to the proxy: requests in, answers out.

Everything that arrives here is hostile. llhttp parses it in strict mode; what it accepts is checked once more for
what a proxy must not pass on (`checks`), and everything else is refused and the connection closed. One exchange is
under way at a time; what is pipelined waits, and reading pauses meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, cast

import httptools

from tmpnb_py.headers import ClientFacts, Headers, serialize
from tmpnb_py.proxy.checks import BadRequestError, check
from tmpnb_py.proxy.exchange import Exchange, Request
from tmpnb_py.proxy.tunnel import Tunnel

if TYPE_CHECKING:
    from tmpnb_py.proxy.server import Proxy
    from tmpnb_py.proxy.upstream import UpstreamConnection

_LINGER_SECONDS = 2.0
_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}


class ClientConnection(asyncio.Protocol):
    """One connection of a visitor. `deadline` is when the proxy's sweep calls `timed_out()`."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._transport: asyncio.Transport | None = None
        self._facts = ClientFacts("")
        self._tunnel: Tunnel | None = None
        self._exchange: Exchange | None = None
        self._incoming: Request | None = None  # the request whose body is arriving
        self._waiting: list[Request] = []  # pipelined requests
        self._dialling: asyncio.Task[None] | None = None
        self._last_response = False
        self._lingering = False
        self._writing_paused = False
        self._reading_paused = False
        self._upstream_paused = False
        self.deadline = math.inf
        self._new_parser()

    def _new_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._new_head()

    def _new_head(self) -> None:
        self._in_head = False
        self._head_size = 0
        self._target = b""
        self._headers: Headers = []
        self._refused: BadRequestError | None = None

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._facts = self._proxy.facts(transport.get_extra_info("peername"))
        self._proxy.opened(self)
        self.deadline = time.monotonic() + self._proxy.limits.head_timeout

    def data_received(self, data: bytes) -> None:
        self._proxy.counters.bytes_received += len(data)
        if self._tunnel is not None:
            self._tunnel.from_client(data)
        elif not self._lingering:
            self._parse(data)

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            return self._tunnel.half_closed(by_client=True)
        # A client may half-close after its last request and still read the answer.
        self._last_response = True
        return self._exchange is not None and self._exchange.request.complete and not self._lingering

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self._exchange is not None and self._exchange.connection is not None:
            self._exchange.connection.pause()
        elif self._tunnel is not None:
            self._tunnel.client_keeps_up(keeps_up=False)

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._exchange is not None and self._exchange.connection is not None:
            self._exchange.connection.resume()
        elif self._tunnel is not None:
            self._tunnel.client_keeps_up(keeps_up=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._proxy.lost(self)
        self._waiting.clear()
        if self._tunnel is not None:
            self._tunnel.end()
        if self._dialling is not None:
            self._dialling.cancel()
        exchange, self._exchange = self._exchange, None
        if exchange is not None and exchange.connection is not None:
            exchange.connection.abort()

    # --- parsing

    def _parse(self, data: bytes) -> None:
        size_before = self._head_size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade_request(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refused or BadRequestError(400, "malformed request"))
            return
        if self._in_head:
            self._head_size = size_before + len(data)
            if self._head_size > self._proxy.limits.max_head_size:
                self._refused = BadRequestError(431, "the request's head is too large")
        if self._refused is not None:
            self._refuse(self._refused)
        self._update_reading()

    def _after_upgrade_request(self, rest: bytes) -> None:
        """llhttp stops behind a request that offers an upgrade; only WebSocket is passed on."""
        request = self._exchange.request if self._exchange is not None else None
        if self._waiting:
            request = self._waiting[-1]
        self._new_parser_keeping_refusal()
        if request is not None and request.websocket:
            request.body.append(rest)  # frames sent early wait for the 101
            request.complete = True
        elif rest and self._refused is None:
            self._parse(rest)

    def _new_parser_keeping_refusal(self) -> None:
        refused = self._refused
        self._new_parser()
        self._refused = refused

    def on_message_begin(self) -> None:
        self._new_head()
        self._in_head = True
        if self._exchange is None:
            self.deadline = time.monotonic() + self._proxy.limits.head_timeout

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes later is a trailer; RFC 9110 §6.5.1 lets a proxy leave them out
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        if self._refused is not None:
            return
        try:
            request = check(self._parser, self._target, self._headers, max_size=self._proxy.limits.max_head_size)
        except BadRequestError as refused:
            self._refused = refused
            return
        self._incoming = request
        self.deadline = time.monotonic() + self._proxy.limits.body_timeout
        if self._exchange is None and not self._waiting:
            self._start(request)
        else:
            self._waiting.append(request)

    def on_body(self, part: bytes) -> None:
        request, exchange = self._incoming, self._exchange
        if request is None:
            return
        self.deadline = time.monotonic() + self._proxy.limits.body_timeout
        if exchange is not None and exchange.request is request and exchange.connection is not None:
            exchange.connection.send_body(part)
        else:
            request.body.append(part)

    def on_message_complete(self) -> None:
        request, exchange = self._incoming, self._exchange
        self._incoming = None
        if request is None:
            return
        request.complete = True
        self.deadline = math.inf
        if exchange is not None and exchange.request is request:
            self.deadline = time.monotonic() + self._proxy.limits.response_timeout
            if exchange.connection is not None:
                exchange.connection.end_body()

    # --- one exchange

    def _start(self, request: Request) -> None:
        """Route a request and send it on: at once where a connection is free, else after dialling."""
        self._exchange = exchange = self._proxy.exchange(self, request, self._facts)
        if request.complete:
            self.deadline = time.monotonic() + self._proxy.limits.response_timeout
        connection = None if request.websocket else exchange.upstream.take_idle()
        if connection is not None:
            self._send(exchange, connection)
        else:
            self._dial(exchange)

    def _send(self, exchange: Exchange, connection: UpstreamConnection) -> None:
        connection.begin(exchange)
        if self._writing_paused:
            connection.pause()

    def _dial(self, exchange: Exchange) -> None:
        self._dialling = self._proxy.spawn(self._connect(exchange))

    async def _connect(self, exchange: Exchange) -> None:
        connection, failed = None, 0
        try:
            connection = await exchange.upstream.connect(self._proxy.limits.connect_timeout)
        except TimeoutError:
            failed = 504
        except OSError:
            failed = 502
        self._dialling = None
        if connection is None:
            self.upstream_failed(exchange, failed)
        elif self._exchange is exchange and self._transport is not None:
            self._send(exchange, connection)
            self._update_reading()
        else:
            connection.close()

    # --- what the upstream's side calls

    def write(self, data: bytes) -> None:
        """Send bytes of an answer."""
        if self._transport is not None:
            self._proxy.counters.bytes_sent += len(data)
            self._transport.write(data)

    def response_started(self, status: int) -> None:
        """The answer's head is about to be written; how long its body takes is its own affair."""
        self._proxy.counted(status)
        if self._exchange is not None and self._exchange.request.complete:
            self.deadline = math.inf

    def will_close(self, request: Request) -> bool:
        """Whether this is the connection's last answer; asked once, when its head is made."""
        if not request.keep_alive or not request.complete or self._proxy.draining:
            self._last_response = True
        return self._last_response

    def response_done(self, exchange: Exchange) -> None:
        """The answer's last byte has been written."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        if not exchange.request.complete:
            self._linger()
        elif self._refused is not None:
            self._respond(self._refused.status, exchange.request)
        elif self._last_response or not exchange.request.keep_alive or self._proxy.draining:
            self._close()
        elif self._waiting:
            self._start(self._waiting.pop(0))
            self._update_reading()
        else:
            self.deadline = time.monotonic() + self._proxy.limits.keepalive_timeout
            self._update_reading()

    def retry(self, exchange: Exchange) -> None:
        """A reused connection was closed before it answered: once more on a fresh one."""
        if exchange is self._exchange and self._transport is not None:
            self._dial(exchange)

    def upstream_failed(self, exchange: Exchange, status: int) -> None:
        """No answer, or none that can be passed on. A half-sent answer ends with the connection."""
        if exchange is not self._exchange or self._transport is None:
            return
        if exchange.response_started:
            self._transport.abort()
            return
        self._exchange = None
        self._respond(status, exchange.request)

    def upstream_paused(self, *, paused: bool) -> None:
        """The notebook server does not keep up with an upload, or does again."""
        self._upstream_paused = paused
        self._update_reading()

    def upgrade(self, exchange: Exchange, upstream: asyncio.Transport, first: bytes) -> Tunnel | None:
        """A 101 came: `first` is its head and whatever followed it. From here on bytes flow."""
        if self._transport is None:
            upstream.abort()
            return None
        self._exchange = None
        self.deadline = math.inf
        self._proxy.counted(101)
        self._tunnel = Tunnel(self._transport, upstream, exchange.container, self._proxy.counters)
        self.write(first)
        for early in exchange.request.body:
            if early:
                self._tunnel.from_client(early)
        self._update_reading()
        return self._tunnel

    # --- ending

    def timed_out(self) -> None:
        """Called by the proxy's sweep once `deadline` has passed."""
        exchange, self.deadline = self._exchange, math.inf
        if self._lingering or self._transport is None:
            self._abort()
        elif exchange is None:
            if self._in_head:
                self._respond(408, None)
            else:
                self._close()
        elif not exchange.response_started:
            self._exchange = None
            if exchange.connection is not None:
                exchange.connection.abort()
            self._respond(504 if exchange.request.complete else 408, exchange.request)
        elif not exchange.request.complete:
            self._abort()

    def drain(self) -> None:
        """No further request on this connection; tunnels and idle connections close now."""
        self._last_response = True
        if self._tunnel is not None:
            self._tunnel.end()
        elif self._exchange is None:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        self._abort()

    def _refuse(self, refused: BadRequestError) -> None:
        """Refuse what was just read, after what came before it has been answered."""
        self._refused = refused
        exchange = self._exchange
        if exchange is not None and exchange.request.complete:
            self._update_reading()
            return
        if exchange is not None:
            self._exchange = None
            if exchange.connection is not None:
                exchange.connection.abort()
            if exchange.response_started:
                self._abort()
                return
        self._respond(refused.status, exchange.request if exchange else None)

    def _respond(self, status: int, request: Request | None) -> None:
        """An answer of the proxy's own; always the connection's last."""
        page = self._proxy.error_page(status, wants_html=request is not None and request.wants_html)
        headers = [
            (b"Content-Type", page.content_type),
            (b"Content-Length", b"%d" % len(page.body)),
            (b"Cache-Control", b"no-store"),
            (b"Connection", b"close"),
        ]
        if status in (502, 503, 504):
            headers.append((b"Retry-After", b"5"))
        head = serialize(b"HTTP/1.1 %d %b" % (status, _REASONS[status]), headers)
        self._proxy.counted(status)
        self.write(head if request is not None and request.method == b"HEAD" else head + page.body)
        self._linger()

    def _linger(self) -> None:
        """Close so that the last answer arrives: say that it was the last, and discard what still comes.

        RFC 9112 §9.6: closing with unread data resets the connection and can destroy the answer.
        """
        self._lingering = True
        self._waiting.clear()
        self.deadline = time.monotonic() + _LINGER_SECONDS
        if self._transport is not None and not self._transport.is_closing():
            self._set_reading(paused=False)
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _update_reading(self) -> None:
        """Read on only where what comes can be passed on or is the next request's beginning."""
        if self._lingering or self._transport is None or self._transport.is_closing():
            return
        exchange = self._exchange
        pending = exchange is not None and (
            exchange.request.websocket or (exchange.connection is None and not exchange.request.complete)
        )
        self._set_reading(paused=bool(self._waiting) or self._upstream_paused or pending or self._refused is not None)

    def _set_reading(self, *, paused: bool) -> None:
        if self._transport is None or paused == self._reading_paused:
            return
        self._reading_paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
