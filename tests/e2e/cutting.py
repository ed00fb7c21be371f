"""A front or a network between browser and service: it cuts connections again and again, or falls silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path


class Front:
    """Passes bytes on to a port of loopback, or to a Unix socket, until told otherwise."""

    def __init__(self, place: int | Path) -> None:
        self.cuts = 0
        self._place = place
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        both = {writer}
        self._writers |= both
        try:
            with contextlib.suppress(OSError):
                onwards, back = await self._connected()
                both.add(back)
                self._writers.add(back)
                await asyncio.gather(self._pass_on(reader, back), self._pass_on(onwards, writer))
        finally:
            for one in both:
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()
            self._writers -= both

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._place, Path):
            return await asyncio.open_unix_connection(self._place)
        return await asyncio.open_connection("127.0.0.1", self._place)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    def fall_silent(self) -> None:
        """As when a laptop is closed: nothing passes any more, and nobody is told."""
        self._flows.clear()

    async def cut(self, every: float) -> None:
        """Cut all connections, every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(every)
            self.cuts += 1
            for writer in tuple(self._writers):
                writer.transport.abort()


@contextlib.asynccontextmanager
async def front(place: int | Path, host: str = "127.0.0.1") -> AsyncIterator[tuple[Front, str]]:
    """A front to a port or a Unix socket, with its address, which is one of `host`."""
    made = Front(place)
    server = await asyncio.start_server(made.accepted, host, 0)
    written = f"[{host}]" if ":" in host else host
    try:
        yield made, f"http://{written}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        made._flows.set()
        while made._writers:
            for writer in tuple(made._writers):
                writer.transport.abort()
            await asyncio.sleep(0.01)
