"""The proxy as a whole: its listener's protocol factory, whom it lets in, its sweep and its shutdown."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator

from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.models import Refusal, State
from tmpnb_py.core.quota_keys import plain_address
from tmpnb_py.core.tasks import Tasks, event_or_time
from tmpnb_py.core.turns import Turns, processors
from tmpnb_py.options.live import Derived, LiveOptions
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.answers import ErrorPage
from tmpnb_py.proxy.client import ClientConnection, Given
from tmpnb_py.proxy.counters import Counters
from tmpnb_py.proxy.exchange import UpstreamPool
from tmpnb_py.proxy.header_rules import ClientFacts, is_trusted
from tmpnb_py.proxy.limits import OpenConnections, ProxyLimits
from tmpnb_py.proxy.routing import Router, Sessions
from tmpnb_py.proxy.upstream import Dial
from tmpnb_py.proxy.upstreams import Upstreams

_SWEEP_SECONDS = 1.0
_ANSWERS_SECONDS = 0.005
_LATE_AT_A_TIME = 10  # hung up on before others get their turn: about 0.3 ms
# Of the first requests of notebooks. One keeps a processor busy only in parts: server and kernel take turns.
_TURNS_FOR_EACH_PROCESSOR = 2
_TURN_SECONDS = 0.05


class Proxy:
    """Accepts visitors' connections and routes each request to its notebook or to our own application."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        application: Dial,
        error_page: ErrorPage,
        counters: Counters,
        options: LiveOptions,
        hosts: Derived[Hosts],
    ) -> None:
        """`hosts` are the names that are answered to."""
        self.upstreams = Upstreams(application)
        self._router = Router(sessions, self.upstreams, options, hosts)
        self.exchange = self._router.exchange
        self.error_page = error_page
        self.counters = counters
        self.limits = options.derive(ProxyLimits.of)
        self.draining = False
        self.holding = False
        self.turns = Turns(_TURNS_FOR_EACH_PROCESSOR * processors(), _TURN_SECONDS)
        self._trusted = options.derive(lambda current: current.trusted_proxies)
        self._clients: set[ClientConnection] = set()
        self._open = OpenConnections()
        self._nobody_left = asyncio.Event()
        self._dials = Tasks()

    # --- what the composition root uses

    def client_factory(self) -> ClientConnection:
        """The protocol factory for `loop.create_server`."""
        return ClientConnection(self)

    def forwarded_client(self) -> ClientConnection:
        """The same for a connection of a front end that has proved to be ours: what it says of its visitor counts."""
        return ClientConnection(self, ClientFacts("", trusted=True))

    def moved(self, container: Container) -> None:
        """A container is in another state than before. When it ends, its connections do."""
        self._router.know(container)
        if container.state is State.REMOVING:
            self.upstreams.drop(container.id)

    def response_timeout(self, upstream: UpstreamPool) -> float:
        """How long to wait for the beginning of an answer, in seconds."""
        limits = self.limits.value
        if upstream is not self.upstreams.application:
            return limits.response_timeout
        return max(limits.response_timeout, limits.application_timeout)

    async def run(self) -> None:
        """Close what has waited for too long, once a second, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for number, _ in enumerate(self._sweep(time.monotonic()), 1):
                if number % _LATE_AT_A_TIME == 0:
                    await asyncio.sleep(0)

    def sweep(self, now: float) -> None:
        """One round of `run()`."""
        for _ in self._sweep(now):
            pass

    def _sweep(self, now: float) -> Iterator[None]:
        """Yields after each client that was late: thousands at once must not hold up the others."""
        for client in [client for client in self._clients if client.deadline <= now]:
            if client.deadline <= now:
                client.timed_out()
                yield
        self.upstreams.sweep(now)

    def hold(self, *, on: bool) -> None:
        """Read no further request, until told to again. What is under way goes on."""
        self.holding = on
        for client in self.clients:
            client.hold_changed()

    async def answered(self, timeout_seconds: float) -> None:
        """While requests are held back: wait until our own application has answered those that it has."""
        for _ in range(round(timeout_seconds / _ANSWERS_SECONDS)):
            if not any(client.waits_for_us for client in self._clients):
                return
            await asyncio.sleep(_ANSWERS_SECONDS)

    def hand_on(self, give: Callable[[Given], None]) -> None:
        """While requests are held back: give away every connection that can be given away now."""
        for client in self.clients:
            if (given := client.hand_on()) is not None:
                give(given)

    async def take_on(self, given: Given) -> None:
        """Serve a connection that another process has given away. Takes the descriptor over."""
        try:
            sock = socket.socket(fileno=given.descriptor)
        except OSError:  # no socket, or one whose client has gone
            os.close(given.descriptor)
            return
        client = self.client_factory()
        client.goes_on_with(given)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: client, sock)
        except OSError:  # the client has gone meanwhile
            sock.close()

    async def shut_down(self, timeout_seconds: float, *, patience: float = 0.0) -> None:
        """Finish what is under way, at most for `timeout_seconds`; then close everything.

        `patience` is for how many seconds a connection without a request may still send one.
        """
        self.draining = True
        self.hold(on=False)
        for client in self.clients:
            client.drain(min(patience, timeout_seconds))
        if self._clients:
            self._nobody_left.clear()
            await event_or_time(self._nobody_left, timeout_seconds)
        for client in self.clients:
            client.abort()
        await self._dials.close()
        self.upstreams.close()
        await asyncio.sleep(0)  # lets the transports report that they are closed

    # --- snapshots

    @property
    def clients(self) -> tuple[ClientConnection, ...]:
        """The visitors' connections."""
        return tuple(self._clients)

    @property
    def dialling(self) -> int:
        """How many connections to servers are being made."""
        return len(self._dials)

    # --- what connections use

    def facts(self, peername: object) -> ClientFacts:
        """Who a connection comes from."""
        address = plain_address(str(peername[0])) if isinstance(peername, tuple) and peername else "unknown"
        return ClientFacts(address, trusted=is_trusted(address, self._trusted.value))

    def opened(self, client: ClientConnection) -> None:
        """Count a connection that was accepted; close it at once where it is one too many."""
        self._clients.add(client)
        self.counters.open_connections = len(self._clients)
        limits = self.limits.value
        refusal = self._open.enter(
            client.facts, in_all=limits.max_connections, each=limits.max_connections_per_address
        )
        if self.draining:
            refusal = Refusal.SHUTTING_DOWN
        if refusal is not None:
            self.counters.refused_connections[refusal] += 1
            client.abort()

    def lost(self, client: ClientConnection) -> None:
        """Stop counting a connection that is gone."""
        self._clients.discard(client)
        self._open.leave(client.facts)
        self.counters.open_connections = len(self._clients)
        if not self._clients:
            self._nobody_left.set()

    def counted(self, status: int) -> None:
        """Count an answer by its status."""
        self.counters.responses[status // 100] += 1

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a short piece of work that ends with its connection; `shut_down` cancels what is left."""
        return self._dials.start("proxy-dial", work)
