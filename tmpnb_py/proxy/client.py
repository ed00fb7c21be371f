"""The leg from a visitor to the proxy: requests in, answers out.

One request is read and answered at a time (`request_reader`). A refusal closes the connection.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import secrets
import time
from collections.abc import Coroutine
from typing import Protocol

from tmpnb_py.core.errors import AwayError, is_our_lack
from tmpnb_py.core.turns import Turns
from tmpnb_py.options.live import Derived
from tmpnb_py.proxy.answers import ErrorPage, is_overflow, last_answer
from tmpnb_py.proxy.counters import Counters
from tmpnb_py.proxy.deadlines import ConnectionState, Phase, TimedConnection
from tmpnb_py.proxy.exchange import Exchange, UpstreamPool, UpstreamSide
from tmpnb_py.proxy.framing import MalformedError
from tmpnb_py.proxy.header_rules import ClientFacts
from tmpnb_py.proxy.limits import ProxyLimits
from tmpnb_py.proxy.request import Request
from tmpnb_py.proxy.request_reader import RequestReader
from tmpnb_py.proxy.tunnel import Tunnel

_LINGER_SECONDS = 5.0  # without anything from a client that has its last answer
_LONGEST_LINGER = 30.0
_CLOSING_SECONDS = 1.0  # for a client's own closing frame
_MOST_GIVEN = 100 * 1024  # bytes of a request that is given away: what another process takes in one message
_MAX_UNREAD = 4 * 1024  # bytes of pipelined requests up to which a client's leaving is still noticed


class Gateway(Protocol):
    """What a client's connection asks of the proxy that it belongs to (`proxy.server`)."""

    counters: Counters
    limits: Derived[ProxyLimits]
    error_page: ErrorPage
    draining: bool
    holding: bool
    turns: Turns

    def facts(self, peername: object) -> ClientFacts: ...

    def opened(self, client: ClientConnection) -> None: ...

    def lost(self, client: ClientConnection) -> None: ...

    def counted(self, status: int) -> None: ...

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]: ...

    def exchange(self, client: ClientConnection, request: Request, facts: ClientFacts) -> Exchange: ...

    def response_timeout(self, upstream: UpstreamPool) -> float: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """A client's connection on its way to another process: a descriptor, and what was read of its next request.

    `place` is that request's, where this process has begun to answer it.
    """

    descriptor: int
    unread: bytes
    place: str = ""


class ClientConnection(TimedConnection):
    """One connection of a visitor. `deadline` is when the proxy's sweep calls `timed_out()`."""

    __slots__ = (
        "_dialling",
        "_exchange",
        "_half_closed",
        "_is_known",
        "_last_response",
        "_lingers_until",
        "_phase",
        "_place",
        "_proxy",
        "_reader",
        "_tunnel",
        "_upstream_paused",
        "facts",
    )

    def __init__(self, proxy: Gateway, facts: ClientFacts | None = None) -> None:
        """`facts` are given where who is at the other end is known otherwise than by its address."""
        super().__init__(proxy.counters, proxy.limits.value.write_timeout)
        self._proxy = proxy
        self._is_known = facts is not None
        self.facts = facts or ClientFacts("")
        self._phase = Phase.HEAD
        self._reader = RequestReader()
        self._place = ""  # of the next request
        self._exchange: Exchange | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._tunnel: Tunnel | None = None
        self._last_response = False
        self._lingers_until = 0.0
        self._half_closed = False
        self._upstream_paused = False

    @property
    def state(self) -> ConnectionState:
        """What this connection is doing now."""
        transport = self._transport
        return ConnectionState(
            phase=self._phase,
            has_exchange=self._exchange is not None,
            unread=len(self._reader.received),
            buffered=0 if transport is None else transport.get_write_buffer_size(),
            is_reading=transport is not None and transport.is_reading(),
            writing_paused=self._writing_paused,
            upstream_paused=self._upstream_paused,
            half_closed=self._half_closed,
        )

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._is_known:
            self.facts = self._proxy.facts(transport.get_extra_info("peername"))
        self._arm(self._keepalive_timeout(self._proxy.limits.value.head_timeout))
        self._proxy.opened(self)
        if self._reader.received and not transport.is_closing():
            self._rearm()
            self._read()

    def data_received(self, data: bytes) -> None:
        self._counters.bytes_received += len(data)
        if self._tunnel is not None:
            self._tunnel.from_client(data)
            if self._half_closed:  # only the notebook's end sends no more
                self._rearm()
        elif self._phase is Phase.LINGER:
            if not self._unsent:
                self._arm(min(_LINGER_SECONDS, self._lingers_until - time.monotonic()))
        else:
            reader = self._reader
            head_begins = self._phase is Phase.HEAD and not reader.received
            reader.received += data
            self._read()
            if head_begins and reader.received and self._phase is Phase.HEAD:
                self._rearm()

    def eof_received(self) -> bool:
        self._half_closed = True
        if self._tunnel is not None:
            self._rearm()
            return self._tunnel.half_closed(by_client=True)
        if self._phase is Phase.ANSWER and not self._waits_in_line():
            self._rearm()
            return True
        return False

    def _waits_in_line(self) -> bool:
        """Whether an end of file means that the visitor has left.

        A client may half-close after its last request and still read the answer, and nothing tells it from one
        that has gone. But a visitor who asks for a notebook, or waits in line, and has most likely left must not
        be given one.
        """
        exchange = self._exchange
        return exchange is not None and exchange.container is None and exchange.request.may_wait_in_line

    def pause_writing(self) -> None:
        super().pause_writing()
        self._let_upstream_read(allowed=False)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._rearm()
        self._let_upstream_read(allowed=True)

    def _let_upstream_read(self, *, allowed: bool) -> None:
        if self._tunnel is not None:
            self._tunnel.client_keeps_up(keeps_up=allowed)
        elif self._exchange is not None and self._exchange.connection is not None:
            self._exchange.connection.set_reading(wanted=allowed)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._reader.received = b""
        self._proxy.lost(self)
        if self._tunnel is not None:
            self._tunnel.end()
        if self._dialling is not None:
            self._dialling.cancel()
        self._drop_exchange()

    # --- reading requests

    def _read(self) -> None:
        """Use what has been received, as far as that is possible now."""
        try:
            reader = self._reader
            while reader.received and self._step():
                pass
        except MalformedError as refused:
            self._refuse(refused.status)
        self._update_reading()

    def _step(self) -> bool:
        """Read a head or a piece of a body. False where nothing more can be done with what is there."""
        if self._phase is Phase.HEAD:
            if self._proxy.holding:
                return False
            request = self._reader.head(self.facts, self._proxy.limits.value.max_head_size)
            if request is None:
                return False
            self._start(request)
            return True
        if self._phase is Phase.ANSWER:
            return self._reader.skip_line_after_body()
        exchange = self._exchange
        if self._phase is Phase.BODY and exchange is not None and exchange.connection is not None:
            self._pass_body_on(exchange, exchange.connection)
            return True
        return False

    def _pass_body_on(self, exchange: Exchange, connection: UpstreamSide) -> None:
        request = exchange.request
        data = self._reader.body(request)
        if request.complete:
            self._phase = Phase.ANSWER
        if exchange.attempt is not None:
            exchange.attempt.feed(data)
        if exchange.container is None:
            exchange.keep(data)
        connection.send_body(data, last=request.complete)
        self._rearm()

    # --- one exchange

    def _start(self, request: Request) -> None:
        """Route a request and send it on: at once where a connection is free, else after dialling."""
        self._phase = Phase.ANSWER if request.complete else Phase.BODY
        self._upstream_paused = False
        if request.method == b"POST":  # which may wait in line
            request.place = self._place or secrets.token_hex(16)
        self._place = ""
        self._exchange = exchange = self._proxy.exchange(self, request, self.facts)
        self._rearm()
        is_new = request.websocket or exchange.is_first
        connection = None if is_new else exchange.upstream.take_idle()
        if connection is not None:
            self._send(exchange, connection)
        else:
            self._dial(exchange)

    def _send(self, exchange: Exchange, connection: UpstreamSide) -> None:
        connection.begin(exchange)
        if self._writing_paused:
            connection.set_reading(wanted=False)

    def _dial(self, exchange: Exchange) -> None:
        self._dialling = self._proxy.spawn(self._connect(exchange))

    async def _connect(self, exchange: Exchange) -> None:
        connection, status = None, 502
        if exchange.is_first and exchange.turn is None:
            exchange.turn = await self._proxy.turns.take()
        try:
            connection = await exchange.upstream.connect(self._proxy.limits.value.connect_timeout)
        except TimeoutError:
            status = 504
        except OSError as error:
            if is_our_lack(error) or isinstance(error, AwayError):
                status = 503
        self._dialling = None
        if self._exchange is not exchange or self._transport is None:
            exchange.end_turn()
            if connection is not None:
                connection.abort()
        elif connection is None or connection.is_closing:
            self.upstream_failed(exchange, status)
        else:
            self._send(exchange, connection)
            self._read()  # the part of the body that came meanwhile

    def _drop_exchange(self) -> Exchange | None:
        """Give an exchange up: nobody waits for its answer any more."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.end_turn()
            if exchange.trace is not None:
                exchange.trace.ended("given_up")
            if exchange.connection is not None:
                exchange.connection.abort()
        return exchange

    # --- what the upstream's side calls

    def response_started(self, exchange: Exchange, status: int, *, whole: bool) -> None:
        """The answer's head is about to be written, `whole` with its body. How long the rest takes is not limited."""
        exchange.response_started = True
        exchange.end_turn()
        if exchange.attempt is not None:
            exchange.answered(status, time.monotonic())
        if exchange.trace is not None:
            exchange.trace.answered(status)
        self._counters.responses[status // 100] += 1
        if not whole:
            self._rearm()

    def will_close(self, request: Request) -> bool:
        """Whether this is the connection's last answer; asked once, when its head is made.

        A refused WebSocket is: frames that were sent early must not be taken for a request.
        """
        if (
            not request.keep_alive
            or not request.complete
            or request.websocket
            or (self._half_closed and not self._reader.received)
            or self._proxy.draining
        ):
            self._last_response = True
        return self._last_response

    def response_done(self, exchange: Exchange) -> None:
        """The answer's last byte has been written."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        if exchange.trace is not None:
            exchange.trace.ended()
        unread = self._reader.received
        if self._phase is Phase.BODY or (self._last_response and (unread or exchange.request.websocket)):
            self._linger()
        elif self._last_response or not exchange.request.keep_alive or self._proxy.draining:
            self._close()
        else:
            self._phase = Phase.HEAD
            if self._half_closed and not unread:
                self._close()
            else:
                self._rearm()
                if unread or self._proxy.holding:
                    self._read()

    def retry(self, exchange: Exchange) -> None:
        """Send the request again on a fresh connection: the reused one was closed before it answered."""
        if exchange is self._exchange and self._transport is not None:
            self._dial(exchange)

    def upstream_failed(self, exchange: Exchange, status: int) -> None:
        """There is no answer to pass on: answer with `status`, or close where half an answer was sent."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        exchange.end_turn()
        if exchange.trace is not None:
            exchange.trace.ended(str(status))
        if exchange.response_started:
            self.abort()
        else:
            self._respond(status, exchange.request)

    def upstream_paused(self, *, paused: bool) -> None:
        """Back-pressure: the notebook server cannot take more of what the client sends, or can again."""
        self._upstream_paused = paused
        if self._phase in (Phase.BODY, Phase.TUNNEL):
            self._rearm()
            self._update_reading()

    def upgrade(self, exchange: Exchange, upstream: UpstreamSide, first: bytes) -> None:
        """Switch to a tunnel after a 101; `first` is its head with what followed it."""
        transport, upstream_transport = self._transport, upstream.transport
        if transport is None or upstream_transport is None or exchange is not self._exchange:
            upstream.abort()
            return
        self._exchange = None
        self._phase = Phase.TUNNEL
        self._upstream_paused = False
        self._proxy.counted(101)
        self._counters.open_tunnels += 1
        self._tunnel = tunnel = Tunnel(self, transport, upstream, upstream_transport, exchange.watch)
        if exchange.trace is not None and (reply := exchange.trace.switched()) is not None:
            tunnel.wait_for(reply)
        tunnel.began_with(first.partition(b"\r\n\r\n")[2])
        upstream.enter(tunnel)
        self._rearm()
        if self._writing_paused:
            tunnel.client_keeps_up(keeps_up=False)
        self.write(first)
        early, self._reader.received = self._reader.received, b""
        self._set_reading(paused=False)
        if early:
            tunnel.from_client(early)
        if self._half_closed:
            tunnel.half_closed(by_client=True)

    def tunnel_ended(self) -> None:
        """Called by the tunnel once: close after sending what is buffered."""
        self._counters.open_tunnels -= 1
        self._close()

    def tunnel_closed(self) -> None:
        """Called by the tunnel once, instead: the client has been sent a closing frame, and is to close, too.

        RFC 6455 §7.1.1: what it still sends must not destroy that frame.
        """
        self._counters.open_tunnels -= 1
        self._tunnel = None
        self._linger()
        self._arm(_CLOSING_SECONDS)

    def half_open(self) -> None:
        """The tunnel's other end sends no more: this one has to close before its deadline."""
        self._half_closed = True
        self._rearm()

    # --- ending

    def timed_out(self) -> None:
        """Called by the proxy's sweep once `deadline` has passed."""
        if self._transport is None or self._gets_more_time():
            return
        exchange = self._exchange
        if self._transport.is_closing() or self._writing_paused:
            self.abort()
        elif (self._half_closed or self._reading_paused) and self._wrote:
            self._rearm()
        elif exchange is not None and not exchange.response_started:
            self._drop_exchange()
            late_server = exchange.request.complete or self._upstream_paused or exchange.connection is None
            self._respond(504 if late_server else 408, exchange.request)
        elif exchange is not None or self._phase is not Phase.HEAD:
            self.abort()
        elif self._reader.received:
            self._respond(408, None)
        else:
            self._close()

    def _rearm(self) -> None:
        """Set the deadline of what this phase waits for."""
        limits, exchange = self._proxy.limits.value, self._exchange
        if self._phase is Phase.LINGER:
            seconds = limits.write_timeout if self._count_unsent() else _LINGER_SECONDS
        elif self._phase is Phase.HEAD and self._proxy.holding:
            seconds = math.inf
        elif self._phase is Phase.HEAD:
            begun = bool(self._reader.received)
            seconds = limits.head_timeout if begun else self._keepalive_timeout(limits.keepalive_timeout)
        elif self._phase is Phase.BODY:
            seconds = limits.response_timeout if self._upstream_paused else limits.body_timeout
        elif self._phase is Phase.TUNNEL:
            seconds = limits.response_timeout if self._upstream_paused else math.inf
        elif exchange is not None and not exchange.response_started:
            seconds = self._proxy.response_timeout(exchange.upstream)
        else:
            seconds = limits.write_timeout if self._reading_paused else math.inf
        # One that has half-closed, or is not read from, may be gone for good: only writing to it can tell.
        self._arm(min(seconds, limits.write_timeout) if self._half_closed else seconds)

    def _keepalive_timeout(self, seconds: float) -> float:
        """How long to wait for a request to begin: `seconds`, or longer for a proxy that keeps its connections.

        The end that closes first may close a connection into which a request is just being sent, and most proxies
        cannot send it again (RFC 9112 §9.3.1). Some also keep connections that they have not used yet.
        """
        return max(seconds, self._proxy.limits.value.proxy_keepalive_timeout) if self.facts.trusted else seconds

    def drain(self, patience: float) -> None:
        """At most one more answer on this connection; tunnels close now, idle connections after `patience` seconds.

        A request may be on its way on an idle connection. Answered as the last one, it need not be sent again.
        """
        self._last_response = True
        if self._tunnel is not None:
            self._tunnel.end_for_restart()
        elif self._phase is Phase.HEAD:
            if patience > 0:
                self._arm(patience)
            else:
                self._close()

    # --- when another process is to read what clients ask for

    def hold_changed(self) -> None:
        """The proxy has begun to hold requests back, or ended it."""
        if self._phase is Phase.HEAD and self._transport is not None:
            self._rearm()
            self._read()

    @property
    def waits_for_us(self) -> bool:
        """Whether our own application has a whole request of this client and has answered nothing yet."""
        return self._exchange is not None and self._exchange.may_come_again

    def goes_on_with(self, given: Given) -> None:
        """Before it is made: another process has read this on the same socket."""
        self._reader.received = given.unread
        self._place = given.place

    def hand_on(self) -> Given | None:
        """Give this connection away, between two requests; None while that cannot be.

        A request that waits for our own application's answer, and has none of it, is given away with it. The client
        notices nothing: the socket is the same, and what has been read and not used goes with it.
        """
        transport, unread = self._transport, self._reader.received
        if transport is None or self._is_known or self._half_closed:
            return None
        if transport.is_closing() or transport.get_write_buffer_size():
            return None
        place = self._place
        if self._phase is not Phase.HEAD:
            again = None if self._exchange is None else self._exchange.as_it_came
            if self._exchange is None or again is None or len(again) + len(unread) > _MOST_GIVEN:
                return None
            unread, place = again + unread, self._exchange.request.place
        try:
            given = Given(os.dup(transport.get_extra_info("socket").fileno()), unread, place)
        except OSError:  # no descriptor is free: later
            return None
        self._drop_exchange()
        transport.abort()  # which closes our descriptor only
        return given

    def _refuse(self, status: int) -> None:
        """Refuse what was just read: a head, or the framing of a body whose beginning was passed on."""
        exchange = self._drop_exchange()
        if exchange is not None and exchange.response_started:
            self.abort()
        else:
            received = self._reader.received
            overflow = received if is_overflow(status, received) else b""
            self._respond(status, exchange.request if exchange else None, overflow=overflow)

    def _respond(self, status: int, request: Request | None, *, overflow: bytes = b"") -> None:
        """An answer of the proxy's own; always the connection's last."""
        self._proxy.counted(status)
        self.write(last_answer(status, request, self._proxy.error_page, overflow=overflow))
        self._linger()

    def _linger(self) -> None:
        """Close so that the last answer arrives: say that it was the last, and discard what still comes.

        RFC 9112 §9.6: closing with unread data resets the connection and can destroy the answer.
        """
        if self._half_closed:  # nothing more can come
            self._close()
            return
        self._phase = Phase.LINGER
        self._lingers_until = time.monotonic() + _LONGEST_LINGER
        self._reader.received = b""
        self._finish_writing()
        self._rearm()

    def _close(self) -> None:
        """Close once what is buffered has been sent, as long as the client takes it."""
        if self._transport is None:
            return
        self._phase = Phase.LINGER
        self._transport.close()
        self._rearm()

    def _update_reading(self) -> None:
        """Read only what can be used; while little is unread, read on to notice that the client leaves."""
        if self._phase is Phase.ANSWER:
            full = len(self._reader.received) >= _MAX_UNREAD
            if full is not self._reading_paused:
                self._set_reading(paused=full)
                self._rearm()
        elif self._phase is Phase.BODY:
            self._set_reading(paused=self._upstream_paused or bool(self._reader.received))
        elif self._phase is Phase.HEAD:
            self._set_reading(paused=self._proxy.holding)
