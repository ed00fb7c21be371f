"""The proxy as a whole: its listener's protocol factory, the routing of requests, its sweep and its shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Coroutine

from tmpnb_py.headers import ClientFacts, Network, is_trusted, request_headers, serialize
from tmpnb_py.idle import is_activity
from tmpnb_py.metrics import Counters
from tmpnb_py.pool import Container, Pool
from tmpnb_py.proxy.answers import ErrorPage, Page
from tmpnb_py.proxy.client import ClientConnection
from tmpnb_py.proxy.exchange import Exchange, Request
from tmpnb_py.proxy.upstream import Dial, Upstream
from tmpnb_py.routes import match

__all__ = ["ErrorPage", "Page", "Proxy", "ProxyLimits"]

_SWEEP_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class ProxyLimits:
    """What one client may take. Times in seconds, sizes in bytes."""

    max_head_size: int = 32 * 1024
    max_connections: int = 10_000
    head_timeout: float = 15.0
    body_timeout: float = 60.0
    write_timeout: float = 60.0
    keepalive_timeout: float = 75.0
    connect_timeout: float = 10.0
    response_timeout: float = 300.0


class Proxy:
    """Accepts visitors' connections and leads each request to its notebook or to our own application."""

    def __init__(
        self,
        pool: Pool,
        *,
        application: Dial,
        error_page: ErrorPage,
        counters: Counters,
        limits: ProxyLimits,
        trusted_proxies: tuple[Network, ...] = (),
    ) -> None:
        self._pool = pool
        self._application = Upstream(application)
        self.error_page = error_page
        self.counters = counters
        self.limits = limits
        self.draining = False
        self._trusted = trusted_proxies
        self._upstreams: dict[str, Upstream] = {}
        self._clients: set[ClientConnection] = set()
        self._nobody_left = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what the composition root uses

    def client_factory(self) -> ClientConnection:
        """The protocol factory for `loop.create_server`."""
        return ClientConnection(self)

    def drop(self, container_id: str) -> None:
        """A session has ended: close every connection to its container, and with them its tunnels."""
        upstream = self._upstreams.pop(container_id, None)
        if upstream is not None:
            upstream.close()

    async def run(self) -> None:
        """Close what has waited for too long, once a second, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """One round of `run()`."""
        for client in [client for client in self._clients if client.deadline <= now]:
            client.timed_out()
        for upstream in (*self._upstreams.values(), self._application):
            upstream.sweep(now)

    async def shut_down(self, timeout_seconds: float) -> None:
        """Finish what is under way, at most for `timeout_seconds`; then close everything."""
        self.draining = True
        for client in tuple(self._clients):
            client.drain()
        if self._clients:
            self._nobody_left.clear()
            # Not wait_for: that of Python 3.11 forgets a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._nobody_left.wait()
        for client in tuple(self._clients):
            client.abort()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for upstream in (*self._upstreams.values(), self._application):
            upstream.close()
        await asyncio.sleep(0)  # lets the transports report that they are closed

    # --- what connections use

    def facts(self, peername: object) -> ClientFacts:
        """Who a connection comes from."""
        address = str(peername[0]) if isinstance(peername, tuple) and peername else "unknown"
        return ClientFacts(address, trusted=is_trusted(address, self._trusted))

    def opened(self, client: ClientConnection) -> None:
        """A connection was accepted; one too many is closed at once."""
        self._clients.add(client)
        self.counters.open_connections = len(self._clients)
        if len(self._clients) > self.limits.max_connections or self.draining:
            self.counters.refused_connections += 1
            client.abort()

    def lost(self, client: ClientConnection) -> None:
        """A connection is gone."""
        self._clients.discard(client)
        self.counters.open_connections = len(self._clients)
        if not self._clients:
            self._nobody_left.set()

    def counted(self, status: int) -> None:
        """An answer has begun."""
        self.counters.responses[status // 100] += 1

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a short piece of work that ends with its connection; `shut_down` cancels what is left."""
        task = asyncio.get_running_loop().create_task(work, name="proxy-dial")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def exchange(self, client: ClientConnection, request: Request, facts: ClientFacts) -> Exchange:
        """Route a request. What belongs to no live session is answered by our own application."""
        container, target = None, request.target
        route = match(request.target)
        if route is not None and route.path is not None:
            container = self._pool.session(route.session_id)
        if container is not None and route is not None and route.path is not None:
            target = route.target
            self._stamp(container, request, route.path, route.query)
        head = serialize(
            b"%b %b HTTP/1.1" % (request.method, target),
            self._headers(request, facts),
        )
        upstream = self._application if container is None else self._upstream(container)
        return Exchange(client, request, upstream, head, container)

    def _headers(self, request: Request, facts: ClientFacts) -> list[tuple[bytes, bytes]]:
        headers = request_headers(request.headers, facts, websocket=request.websocket)
        if request.chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
        if request.version == "1.0" and not any(name.lower() == b"host" for name, _ in headers):
            headers.insert(0, (b"Host", b"localhost"))
        return headers

    def _stamp(self, container: Container, request: Request, path: bytes, query: bytes) -> None:
        now = time.monotonic()
        container.stamp_presence(now)
        if not request.websocket and is_activity(
            request.method.decode(), path.decode("latin-1"), query.decode("latin-1")
        ):
            container.stamp_activity(now)

    def _upstream(self, container: Container) -> Upstream:
        upstream = self._upstreams.get(container.id)
        if upstream is None:
            endpoint = container.endpoint
            assert endpoint is not None  # noqa: S101  (`Pool.session` gives only what can be dialled)
            upstream = self._upstreams[container.id] = Upstream(endpoint.connect)
        return upstream
