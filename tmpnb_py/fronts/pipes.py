"""Connections over the stack's TLS for a proxy that wants plain ones: a pair of sockets, joined to the stream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import SocketAddress
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.swarm import wire
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.engines.swarm.wire import Question
from tmpnb_py.fronts.wire import Route
from tmpnb_py.jupyter.endpoint import Endpoint

P = TypeVar("P", bound=asyncio.BaseProtocol)
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_RELAY_SECONDS = 3.0  # for which a request waits for a relay that is just coming (back)


async def piped(remote: Stream, factory: Callable[[], P], tasks: Tasks) -> P:
    """A protocol whose transport is the stream; bytes flow until either side ends."""
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        theirs.setblocking(False)
        pair = await asyncio.open_unix_connection(sock=theirs)
        protocol = (await asyncio.get_running_loop().create_unix_connection(factory, sock=ours))[1]
    except BaseException:
        for one in (ours, theirs):
            one.close()
        remote[1].close()
        raise
    tasks.start("front-pipe", wire.join(pair, remote))
    return protocol


class Ways:
    """How notebooks are reached from this front end: through their nodes' relays, or on this machine."""

    def __init__(self, relays: Callable[[], Relays]) -> None:
        """`relays` is called when the first route needs them: there may be none."""
        self._make = relays
        self._relays: Relays | None = None
        self._tasks = Tasks()

    def __call__(self, route: Route) -> Endpoint:
        """The way to a route's notebook. Raises `OSError` where there is none from here."""
        assert route.place is not None  # noqa: S101 - asked of those only
        if route.place.node:
            return RelayEndpoint(route, self._reach, self._tasks)
        address = route.place.address
        if address is None:
            raise ConnectionRefusedError("a place that is none")
        return Endpoint(address)

    def is_away(self, node: str) -> bool:
        """Whether a node's relay does not answer at present, so that its notebooks may well live on."""
        return bool(node) and self._relays is not None and node not in self._relays.nodes

    async def close(self) -> None:
        """Cut what is connected."""
        await self._tasks.close()
        if self._relays is not None:
            await self._relays.close()

    async def _reach(self, route: Route) -> Stream:
        relays = self._relays
        if relays is None:
            relays = self._relays = self._make()
            relays.open()
        assert route.place is not None  # noqa: S101
        await relays.wait_for(frozenset((route.place.node,)), _RELAY_SECONDS)
        link = relays.of(route.place.node)
        return await link.connect(Question(do="connect", pool=route.pool, id=route.id))


class RelayEndpoint(Endpoint):
    """A notebook on another node: each connection is put through by that node's relay."""

    def __init__(self, route: Route, reach: Callable[[Route], Awaitable[Stream]], tasks: Tasks) -> None:
        self._route = route
        self._reach = reach
        self._pipes = tasks
        super().__init__(_NO_SOCKET)

    def _pin(self) -> None:
        """There is nothing here that could be swapped."""

    async def connect(self, factory: Callable[[], P]) -> P:
        """A new connection. Raises `OSError`."""
        if self._closed:
            raise ConnectionRefusedError("this endpoint is closed")
        try:
            remote = await self._reach(self._route)
        except EngineError as error:
            raise ConnectionRefusedError(error.message) from error
        return await piped(remote, factory, self._pipes)


_NO_SOCKET = SocketAddress("/nonexistent")
