"""A relay's way to notebooks without TLS and without a relay: streams over a pair of sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import Address, RelayedAddress
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.swarm.link.stream import Stream
from tmpnb_py.engines.swarm.link.streams import Streams
from tmpnb_py.engines.swarm.relay.through import Through
from tmpnb_py.jupyter.endpoint import Endpoint

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Way:
    """Leads to servers by what they are called; `cut` loses it as a relay is lost."""

    def __init__(self) -> None:
        self.places: dict[str, Address] = {}
        self.ours: Streams
        self.theirs: Streams
        self.tasks = Tasks()

    async def open(self) -> None:
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        self.ours = Streams(lost=lambda: None)
        self.theirs = Streams(self._wanted, lost=lambda: None)
        await loop.create_unix_connection(lambda: self.ours, sock=near)
        await loop.create_unix_connection(lambda: self.theirs, sock=far)

    def cut(self) -> None:
        self.theirs.close()

    def address(self, name: str, place: Address) -> RelayedAddress:
        """Where a server is, as the Swarm engine would tell it."""
        self.places[name] = place

        async def dial(factory: Callable[[], Any]) -> Any:
            return await self.ours.open(name.encode(), factory)

        return RelayedAddress("n1", name, dial)

    def _wanted(self, stream: Stream) -> None:
        self.tasks.start("through", self._put_through(stream))

    async def _put_through(self, stream: Stream) -> None:
        """As `Relay` does."""
        try:
            endpoint = Endpoint(self.places[stream.wanted.decode()])
            try:
                through = await endpoint.connect(lambda: Through(stream))
            finally:
                endpoint.close()
        except OSError as error:
            stream.refuse(error.errno or errno.ECONNREFUSED)
        except EngineError:
            stream.refuse(errno.ECONNREFUSED)
        else:
            await through.until_ended()

    async def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        await self.tasks.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def a_way() -> AsyncIterator[Way]:
    way = Way()
    await way.open()
    try:
        yield way
    finally:
        await way.close()
