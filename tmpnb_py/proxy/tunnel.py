"""After a WebSocket upgrade: bytes both ways, never parsed and re-made. A `Watch` observes the client's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from tmpnb_py.proxy.deadlines import write_eof
from tmpnb_py.proxy.frames import CLOSE_FOR_RESTART, FrameEdges

if TYPE_CHECKING:
    from tmpnb_py.proxy.presence import Watch
    from tmpnb_py.proxy.traces import FirstReply


class TunnelEnd(Protocol):
    """What a tunnel needs of the two connections that it joins."""

    def write(self, data: bytes) -> None: ...

    def tunnel_ended(self) -> None: ...


class ClientEnd(TunnelEnd, Protocol):
    """The end that watches the time for both."""

    def half_open(self) -> None: ...

    def tunnel_closed(self) -> None: ...

    def upstream_paused(self, *, paused: bool) -> None: ...


class Tunnel:
    """Two connections joined after a 101; ends when either is lost."""

    __slots__ = (
        "_client",
        "_client_transport",
        "_edges",
        "_ended",
        "_half_closed",
        "_reply",
        "_upstream",
        "_upstream_transport",
        "_watch",
    )

    def __init__(
        self,
        client: ClientEnd,
        client_transport: asyncio.Transport,
        upstream: TunnelEnd,
        upstream_transport: asyncio.Transport,
        watch: Watch | None,
    ) -> None:
        self._client = client
        self._client_transport = client_transport
        self._upstream = upstream
        self._upstream_transport = upstream_transport
        self._watch = watch
        self._reply: FirstReply | None = None
        self._half_closed: asyncio.Transport | None = None
        self._ended = False
        self._edges = FrameEdges()
        if watch is not None:
            watch.opened()

    def from_client(self, data: bytes) -> None:
        """Bytes from the visitor; what a person says in them is activity."""
        self._upstream.write(data)
        if self._watch is not None:
            self._watch.feed(data)

    def from_upstream(self, data: bytes) -> None:
        """Bytes from the notebook server."""
        self._edges.feed(data)
        self._client.write(data)
        if self._reply is not None:
            self._hear_reply(data)

    def began_with(self, data: bytes) -> None:
        """What the notebook server sent together with its agreement; the client has it already."""
        self._edges.feed(data)
        if self._reply is not None:
            self._hear_reply(data)

    def wait_for(self, reply: FirstReply) -> None:
        """Have `reply` hear what a kernel sends, until it has heard what it waits for."""
        if self._watch is not None and self._watch.listen_for(reply):
            self._reply = reply

    def _hear_reply(self, data: bytes) -> None:
        reply = self._reply
        if reply is not None:
            reply.feed(data)
            if reply.is_over:
                self._reply = None

    def client_keeps_up(self, *, keeps_up: bool) -> None:
        """Back-pressure from the client's side: read the server only as fast as the client takes it."""
        self._set_reading(self._upstream_transport, wanted=keeps_up)

    def upstream_keeps_up(self, *, keeps_up: bool) -> None:
        """Back-pressure from the server's side."""
        self._client.upstream_paused(paused=not keeps_up)
        self._set_reading(self._client_transport, wanted=keeps_up)

    def _set_reading(self, transport: asyncio.Transport, *, wanted: bool) -> None:
        # Resuming after an end of file would report that end again.
        if transport.is_closing() or transport is self._half_closed:
            return
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def half_closed(self, *, by_client: bool) -> bool:
        """Pass an end of file on; True keeps the connection open for the other direction."""
        ends = (self._client_transport, self._upstream_transport)
        closed, other = ends if by_client else ends[::-1]
        if self._half_closed not in (None, closed) or other.is_closing():
            self.end()
            return False
        if self._half_closed is None:
            self._half_closed = closed
            write_eof(other)
            self._client.half_open()
        return True

    def end_for_restart(self) -> None:
        """End; tell the client that it may connect again at once, as far as that fits between two frames."""
        if self._ended or self._half_closed is not None or not self._edges.is_at_edge:
            self.end()
            return
        self._end()
        self._client.write(CLOSE_FOR_RESTART)
        self._client.tunnel_closed()
        self._upstream.tunnel_ended()

    def end(self) -> None:
        """Close both sides after what is buffered has been sent; may be called twice."""
        if self._ended:
            return
        self._end()
        self._client.tunnel_ended()
        self._upstream.tunnel_ended()

    def _end(self) -> None:
        self._ended = True
        if self._reply is not None:
            self._reply.ended()
        if self._watch is not None:
            self._watch.closed()
