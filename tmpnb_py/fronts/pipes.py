"""How a front end's proxy connects: to notebooks by their nodes' relays, and to the orchestrator.

The orchestrator's are connections of their own over the stack's TLS, each joined to a pair of sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from tmpnb_py.core.models import RelayedAddress
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.swarm.link.lines import Connection
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.fronts.wire import Route
from tmpnb_py.jupyter.endpoint import Endpoint

P = TypeVar("P", bound=asyncio.BaseProtocol)

_RELAY_SECONDS = 3.0  # for which a request waits for a relay that is just coming (back)
_CHUNK = 256 * 1024
STALLED_SECONDS = 120.0  # in which whoever is put through takes nothing of what it is sent
FLUSH_SECONDS = 10.0


async def piped(remote: Connection, factory: Callable[[], P], tasks: Tasks) -> P:
    """A protocol whose transport is the stream; bytes flow until either side ends."""
    try:
        protocol, pair = await paired(factory)
    except BaseException:
        remote[1].close()
        raise
    tasks.start("front-pipe", join(pair, remote))
    return protocol


async def paired(factory: Callable[[], P]) -> tuple[P, Connection]:
    """A protocol and the other end of its connection, which is a pair of sockets. Raises `OSError`."""
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        theirs.setblocking(False)
        pair = await asyncio.open_unix_connection(sock=theirs)
        protocol = (await asyncio.get_running_loop().create_unix_connection(factory, sock=ours))[1]
    except BaseException:
        for one in (ours, theirs):
            one.close()
        raise
    return protocol, pair


async def join(one: Connection, other: Connection) -> None:
    """Connect two connections until either side ends; then both are closed. (TLS has no half-closed connections.)

    Whoever takes nothing of what it is sent is cut off after a while: else each connection to it would stay here.
    """
    try:
        async with asyncio.TaskGroup() as group:
            pumps = (group.create_task(_pump(one, other)), group.create_task(_pump(other, one)))
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(_flushed(one[1]), _flushed(other[1]))
    finally:
        one[1].close()
        other[1].close()


async def _flushed(writer: asyncio.StreamWriter) -> None:
    """Close it once what is left has been taken, or after a while without that."""
    writer.close()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(FLUSH_SECONDS) as left:
            await writer.wait_closed()
    if left.expired():
        writer.transport.abort()


async def _pump(source: Connection, sink: Connection) -> None:
    """Bytes from one to the other until either ends. Closing both ends the pump of the other direction."""
    try:
        with contextlib.suppress(OSError):
            while data := await source[0].read(_CHUNK):
                if sink[1].is_closing():
                    break
                sink[1].write(data)
                async with asyncio.timeout(STALLED_SECONDS):
                    await sink[1].drain()
    finally:
        source[1].close()
        sink[1].close()


class Ways:
    """How notebooks are reached from this front end: through their nodes' relays, or on this machine."""

    def __init__(self, relays: Callable[[], Relays]) -> None:
        """`relays` is called when the first route needs them: there may be none."""
        self._make = relays
        self._relays: Relays | None = None

    def __call__(self, route: Route) -> Endpoint:
        """The way to a route's notebook. Raises `OSError` where there is none from here."""
        assert route.place is not None  # noqa: S101 - asked of those only
        address = route.place.address
        if route.place.node:
            address = RelayedAddress(route.place.node, route.id, partial(self._dial, route))
        if address is None:
            raise ConnectionRefusedError("a place that is none")
        return Endpoint(address)

    def is_away(self, node: str) -> bool:
        """Whether a node's relay does not answer at present, so that its notebooks may well live on."""
        return bool(node) and self._relays is not None and node not in self._relays.nodes

    async def close(self) -> None:
        """Cut what is connected."""
        if self._relays is not None:
            await self._relays.close()

    async def _dial(self, route: Route, factory: Callable[[], P]) -> P:
        relays = self._relays
        if relays is None:
            relays = self._relays = self._make()
            relays.open()
        assert route.place is not None  # noqa: S101
        node = route.place.node
        await relays.wait_for(frozenset((node,)), _RELAY_SECONDS)
        return await relays.dial(node, route.pool, route.id, factory)
