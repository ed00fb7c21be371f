"""After a WebSocket upgrade: bytes both ways, never parsed and re-made.

`FrameWatcher` only looks on (opcodes and lengths, client to server) to tell a person from a keep-alive: it can
neither stall nor alter what passes.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from tmpnb_py.proxy.timed import write_eof

if TYPE_CHECKING:
    from tmpnb_py.pool import Container

# RFC 6455 §11.8: continuation, text and binary; close, ping and pong are not data.
_DATA_OPCODES = frozenset((0, 1, 2))


class FrameWatcher:
    """Follows one direction of a WebSocket connection, in any fragmentation (RFC 6455 §5.2)."""

    __slots__ = ("_data", "_head", "_skip")

    def __init__(self) -> None:
        self._head = b""  # the beginning of a frame that does not tell its length yet
        self._skip = 0  # how much of the present frame is still to come
        self._data = False

    def feed(self, chunk: bytes) -> bool:
        """Whether any of these bytes belong to a data frame."""
        if not chunk:
            return False
        seen = self._skip > 0 and self._data
        chunk, self._head = self._head + chunk, b""
        position, end = self._skip, len(chunk)
        while position < end:
            self._data = chunk[position] & 0x0F in _DATA_OPCODES
            seen = seen or self._data
            size = _frame_size(chunk, position)
            if size is None:
                self._head = chunk[position:]
                position = end
            else:
                position += size
        self._skip = position - end
        return seen


def _frame_size(data: bytes, start: int) -> int | None:
    """The length of the frame that begins at `start`, its head included; None where that is not known yet."""
    if len(data) < start + 2:
        return None
    second = data[start + 1]
    size, extended = second & 0x7F, 0
    if size >= 126:
        extended = 2 if size == 126 else 8
        if len(data) < start + 2 + extended:
            return None
        size = int.from_bytes(data[start + 2 : start + 2 + extended], "big")
    return 2 + extended + (4 if second & 0x80 else 0) + size


class TunnelEnd(Protocol):
    """What a tunnel needs of the two connections that it joins."""

    def write(self, data: bytes) -> None: ...

    def tunnel_ended(self) -> None: ...


class ClientEnd(TunnelEnd, Protocol):
    """The end that watches the time for both."""

    def half_open(self) -> None: ...

    def upstream_paused(self, *, paused: bool) -> None: ...


class Tunnel:
    """Two connections joined after a 101; ends when either is lost."""

    __slots__ = (
        "_client",
        "_client_transport",
        "_container",
        "_ended",
        "_half_closed",
        "_upstream",
        "_upstream_transport",
        "_watcher",
    )

    def __init__(
        self,
        client: ClientEnd,
        client_transport: asyncio.Transport,
        upstream: TunnelEnd,
        upstream_transport: asyncio.Transport,
        container: Container | None,
    ) -> None:
        self._client = client
        self._client_transport = client_transport
        self._upstream = upstream
        self._upstream_transport = upstream_transport
        self._container = container
        self._watcher = FrameWatcher()
        self._half_closed: asyncio.Transport | None = None
        self._ended = False
        if container is not None:
            container.connection_opened(time.monotonic())

    def from_client(self, data: bytes) -> None:
        """Bytes from the visitor; a data frame among them is activity."""
        if self._watcher.feed(data) and self._container is not None:
            self._container.stamp_activity(time.monotonic())
        self._upstream.write(data)

    def from_upstream(self, data: bytes) -> None:
        """Bytes from the notebook server."""
        self._client.write(data)

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

    def end(self) -> None:
        """Close both sides after what is buffered has been sent; may be called twice."""
        if self._ended:
            return
        self._ended = True
        if self._container is not None:
            self._container.connection_closed(time.monotonic())
        self._client.tunnel_ended()
        self._upstream.tunnel_ended()
