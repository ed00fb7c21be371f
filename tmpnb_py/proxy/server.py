"""The proxy as a whole: its listener's protocol factory, the routing of requests, its sweep and its shutdown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Protocol

from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.links import Route, Targets
from tmpnb_py.core.models import Refusal, State
from tmpnb_py.core.quota_keys import plain_address
from tmpnb_py.core.tasks import Tasks, event_or_time
from tmpnb_py.options.live import Derived, LiveOptions
from tmpnb_py.pools.activity import Channel
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.answers import ErrorPage, Page
from tmpnb_py.proxy.client import ClientConnection
from tmpnb_py.proxy.compress import Budget
from tmpnb_py.proxy.cors import Cors, admitted, shows_token, without_cookie
from tmpnb_py.proxy.counters import Counters
from tmpnb_py.proxy.exchange import ClientSide, Exchange, UpstreamPool
from tmpnb_py.proxy.header_rules import ClientFacts, get_all, is_trusted
from tmpnb_py.proxy.limits import Admission, ProxyLimits
from tmpnb_py.proxy.presence import Watch, readable, request_came
from tmpnb_py.proxy.request import Request
from tmpnb_py.proxy.strictness import METHODS, BadRequestError
from tmpnb_py.proxy.upstream import Dial, Upstream, UpstreamConnection, UpstreamState

__all__ = ["ErrorPage", "Page", "Proxy"]

_SWEEP_SECONDS = 1.0
_LATE_AT_A_TIME = 10  # hung up on before others get their turn: about 0.3 ms


class Sessions(Protocol):
    """Who knows the running sessions: a `Site`."""

    def session(self, container_id: str, /) -> Container | None:
        """The claimed container that requests for this id go to, if it can be dialled."""


class Proxy:
    """Accepts visitors' connections and leads each request to its notebook or to our own application."""

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
        self._session = sessions.session
        self._budget = Budget(time.monotonic())
        self._application = Upstream(application, self._budget)
        self.error_page = error_page
        self.counters = counters
        self.limits = options.derive(ProxyLimits.of)
        self._cors = options.derive(Cors.of)
        self._hosts = hosts
        self._targets = Targets(options.current.base_url)
        self.draining = False
        self._trusted = options.current.trusted_proxies
        self._upstreams: dict[str, Upstream] = {}
        self._clients: set[ClientConnection] = set()
        self._admission = Admission()
        self._nobody_left = asyncio.Event()
        self._dials = Tasks()

    # --- what the composition root uses

    def client_factory(self) -> ClientConnection:
        """The protocol factory for `loop.create_server`."""
        return ClientConnection(self)

    def moved(self, container: Container) -> None:
        """A container is in another state than before. When it ends, its connections do."""
        self._know(container)
        if container.state is State.REMOVING:
            self.drop(container.id)

    def _know(self, container: Container) -> None:
        """A container may have been started below another base: its visitors' open pages go on asking there."""
        self._targets.know(container.base_url)

    def response_timeout(self, upstream: UpstreamPool) -> float:
        """How long to wait for the beginning of an answer, in seconds."""
        limits = self.limits.value
        if upstream is not self._application:
            return limits.response_timeout
        return max(limits.response_timeout, limits.application_timeout)

    def drop(self, container_id: str) -> None:
        """A session has ended: close every connection to its container, and with them its tunnels."""
        upstream = self._upstreams.pop(container_id, None)
        if upstream is not None:
            upstream.close()

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
        for upstream in (*self._upstreams.values(), self._application):
            upstream.sweep(now)

    async def shut_down(self, timeout_seconds: float) -> None:
        """Finish what is under way, at most for `timeout_seconds`; then close everything."""
        self.draining = True
        for client in self.clients:
            client.drain()
        if self._clients:
            self._nobody_left.clear()
            await event_or_time(self._nobody_left, timeout_seconds)
        for client in self.clients:
            client.abort()
        await self._dials.close()
        for upstream in (*self._upstreams.values(), self._application):
            upstream.close()
        await asyncio.sleep(0)  # lets the transports report that they are closed

    # --- what there is at a moment

    @property
    def clients(self) -> tuple[ClientConnection, ...]:
        """The visitors' connections."""
        return tuple(self._clients)

    @property
    def upstreams(self) -> dict[str, UpstreamState]:
        """The connections to each notebook server, by its container's id, and to our own application, by ""."""
        return {"": self._application.state, **{key: one.state for key, one in self._upstreams.items()}}

    @property
    def compressing(self) -> int:
        """How many answers are being compressed."""
        return self._budget.answers

    @property
    def dialling(self) -> int:
        """How many connections to servers are being made."""
        return len(self._dials)

    # --- what connections use

    def facts(self, peername: object) -> ClientFacts:
        """Who a connection comes from."""
        address = plain_address(str(peername[0])) if isinstance(peername, tuple) and peername else "unknown"
        return ClientFacts(address, trusted=is_trusted(address, self._trusted))

    def opened(self, client: ClientConnection) -> None:
        """A connection was accepted; one too many is closed at once."""
        self._clients.add(client)
        self.counters.open_connections = len(self._clients)
        limits = self.limits.value
        refusal = self._admission.enter(
            client.facts, in_all=limits.max_connections, each=limits.max_connections_per_address
        )
        if self.draining:
            refusal = Refusal.SHUTTING_DOWN
        if refusal is not None:
            self.counters.refused_connections[refusal] += 1
            client.abort()

    def lost(self, client: ClientConnection) -> None:
        """A connection is gone."""
        self._clients.discard(client)
        self._admission.leave(client.facts)
        self.counters.open_connections = len(self._clients)
        if not self._clients:
            self._nobody_left.set()

    def counted(self, status: int) -> None:
        """An answer has begun."""
        self.counters.responses[status // 100] += 1

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a short piece of work that ends with its connection; `shut_down` cancels what is left."""
        return self._dials.start("proxy-dial", work)

    def exchange(self, client: ClientSide, request: Request, facts: ClientFacts) -> Exchange:
        """Route a request. What belongs to no live session is answered by our own application.

        So is what was sent to a name that is none of ours: it refuses that. Raises `BadRequestError` (501) for a
        method that only a notebook's server may know (RFC 9110 §9.1).
        """
        container, target = None, request.target
        route = self._targets.match(request.target) if self._hosts.value.answer_to(request.fields.hosts) else None
        if route is not None:
            target = route.target
            container = self._session(route.session_id) if route.path is not None else None
            cors = self._cors.value
            if container is not None and cors.origins and not self._lets_in(request, container, route.query):
                container, request.answer_headers = None, []  # our own application has them itself
            elif container is not None and _is_strangers(request, container, route):
                container = None
        attempt = watch = None
        if container is None and request.method not in METHODS:
            raise BadRequestError(501, "a method that is not known here")
        if container is not None and route is not None and route.path is not None:
            if not target.startswith(container.base_path):
                target = route.moved_to(container.base_path)
            attempt = request_came(container, request, route.path, route.query)
            watch = _watch(container, request, route.path) if request.websocket else None
        else:
            target = self._targets.own(target, route)
        upstream = self._application if container is None else self._upstream(container)
        head = request.head(target, facts, own=container is None)
        return Exchange(client, request, upstream, head, container, attempt, watch)

    def _lets_in(self, request: Request, container: Container, query: bytes) -> bool:
        """Whether a request goes to the notebook, made fit for it where an allowed page of another site sends it.

        Our own application answers preflights, and old clients that ask for what they did not claim.
        """
        origin, cors = request.foreign_origin, self._cors.value
        headers = cors.answer_headers(origin)
        request.answer_headers = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        if not origin or not cors.allows(origin):
            return True
        if request.method == b"OPTIONS" and get_all(request.headers, b"access-control-request-method"):
            return False
        request.admitted = True
        if not container.token or shows_token(request.headers, query, container.token):
            request.headers = admitted(request.headers)
        elif origin not in cors.tokenless:
            request.headers = without_cookie(request.headers)
        elif container.tokenless_origin == origin:
            request.headers = admitted(request.headers, container.token)
        else:
            return False
        return True

    def _upstream(self, container: Container) -> Upstream:
        upstream = self._upstreams.get(container.id)
        if upstream is None:
            upstream = self._upstreams[container.id] = Upstream(partial(_dial, container), self._budget)
        return upstream


def _is_strangers(request: Request, container: Container, route: Route) -> bool:
    """Whether Jupyter has sent a browser without the notebook's cookie to its login page (Tornado's `?next=`).

    Our own application says there whose notebook that is. Whoever comes otherwise gets the server's own page.
    """
    is_sent = route.path == b"login" and route.query.startswith(b"next=")
    return is_sent and bool(container.token) and request.fields.navigates


def _watch(container: Container, request: Request, path: bytes) -> Watch:
    """Who looks on at a WebSocket, if the server agrees to it. What is read must not be compressed."""
    watch = Watch(container, path)
    if watch.channel is not Channel.OTHER:
        request.headers = readable(request.headers)
    return watch


async def _dial(container: Container, factory: Callable[[], UpstreamConnection]) -> UpstreamConnection:
    """Connect to where a container is now: one that was restarted may be somewhere else."""
    endpoint = container.endpoint
    assert endpoint is not None  # noqa: S101  (`Sessions.session` gives only what can be dialled)
    return await endpoint.connect(factory)
