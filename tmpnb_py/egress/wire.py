"""A connection's two ends as streams, with time limits and the notebook's rate. Used by `exchange`.

Reading from one end stops while the other does not take what was read, so what is in memory for a connection is
bounded. No end is waited for without a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable

HEAD_SECONDS = 15.0  # for a whole head, however slowly it comes
_IDLE_SECONDS = 300.0  # in which no byte came in either direction
_WRITE_SECONDS = 60.0
_CLOSE_SECONDS = 5.0
_PIECE = 1 << 16

Meter = Callable[[int, bool], Awaitable[None]]


class IdleError(Exception):
    """Nothing has happened for too long, or the other end takes nothing."""


class Clock:
    """When something last happened on a connection, at either end."""

    __slots__ = ("moved_at",)

    def __init__(self) -> None:
        self.moved_at = time.monotonic()


class End:
    """One end of a connection. `clock` is both ends'; `meter` counts what is read, and waits for the rate.

    `inside`: it is the notebook's.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: Clock, meter: Meter, *, inside: bool
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._meter = meter
        self._inside = inside

    @classmethod
    async def of(cls, sock: socket.socket, clock: Clock, meter: Meter, *, inside: bool) -> End:
        """The end of a connected socket. Raises `OSError`."""
        reader, writer = await asyncio.open_connection(sock=sock, limit=_PIECE)
        return cls(reader, writer, clock, meter, inside=inside)

    async def read(self) -> bytes:
        """What came next; b"" at the end. Raises `OSError`, `IdleError`."""
        while True:
            wait = self._clock.moved_at + _IDLE_SECONDS - time.monotonic()
            if wait <= 0:
                raise IdleError
            try:
                async with asyncio.timeout(wait):
                    data = await self._reader.read(_PIECE)
            except TimeoutError:
                continue  # the other end may have moved
            self._clock.moved_at = time.monotonic()
            await self._meter(len(data), self._inside)
            return data

    async def write(self, data: bytes) -> None:
        """Send, and wait while the other side is behind. Raises `OSError`, `IdleError`."""
        self._writer.write(data)
        self._clock.moved_at = time.monotonic()
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._writer.drain()
        except TimeoutError as error:
            raise IdleError from error

    def end(self) -> None:
        """Send no more."""
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write_eof()

    async def close(self) -> None:
        """Close once what has been written was sent, but soon, also where the other side takes nothing."""
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._writer.wait_closed()
        except (TimeoutError, asyncio.CancelledError):
            self._writer.transport.abort()
            raise
        except OSError:  # of the connection's end
            pass


async def pump(source: End, sink: End) -> None:
    """Copy to the end of `source`, and pass that on."""
    while data := await source.read():
        await sink.write(data)
    sink.end()
