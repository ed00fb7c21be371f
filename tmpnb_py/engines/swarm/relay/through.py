"""A notebook's connection on its node, and the stream that leads to it: what comes on one goes out on the other.

Each is read only as fast as the other takes it, and each direction ends for itself, so whoever opened the stream
might as well have dialled the notebook's socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from typing import cast

from tmpnb_py.engines.swarm.link.stream import Stream

FLUSH_SECONDS = 10.0  # in which a notebook may still take what it was sent by a visitor who has left
_MOST_SALVAGED = 256 * 1024


class _Half(asyncio.Protocol):
    """One of the two; `other` is the other's transport."""

    def __init__(self, other: asyncio.Transport) -> None:
        self._other = other
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._other.write(data)

    def eof_received(self) -> bool:
        if not self._other.is_closing():
            with contextlib.suppress(OSError):  # it is gone already, and that is reported soon after
                self._other.write_eof()
        return True

    def pause_writing(self) -> None:
        if not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_closing():
            self._other.resume_reading()


class _StreamHalf(_Half):
    """What is told of the stream."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        self._other.close()
        asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._other.abort)  # no-op for what is closed
        self.ended.set()


class Through(_Half):
    """What is told of the notebook's connection; the protocol to dial it with. The stream is accepted with it."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._stream = stream
        self._transport: asyncio.Transport | None = None
        self._half: _StreamHalf | None = None

    async def until_ended(self) -> None:
        """Wait until both are closed; if cancelled, close them."""
        try:
            await self.ended.wait()
            if self._half is not None:
                await self._half.ended.wait()
        finally:
            self._stream.abort()
            if self._transport is not None:
                self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        if self._stream.is_closing():  # whoever asked for it has given up
            self._transport.abort()
            return
        self._half = _StreamHalf(self._transport)
        self._stream.accept(self._half)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._stream.close()
        else:
            self._salvage()
            self._stream.fail(getattr(exc, "errno", None) or errno.ECONNRESET)
        self._transport = None
        self.ended.set()

    def _salvage(self) -> None:
        """Pass on what the notebook said before it hung up in the middle of an upload ("413").

        The failed write closes the transport before it has read; the socket is still open in this callback.
        """
        connection = self._transport.get_extra_info("socket") if self._transport is not None else None
        salvaged = 0
        while connection is not None and salvaged < _MOST_SALVAGED:
            try:
                data = os.read(connection.fileno(), 65536)
            except OSError:
                return
            if not data:
                self._stream.write_eof()
                return
            salvaged += len(data)
            self._stream.write(data)
