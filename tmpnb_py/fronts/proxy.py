"""The proxy of a front end: as the orchestrator's, but that whatever is for none of its sessions goes to that.

The front end itself answers load balancers' health checks, and asks for static files that it has a copy of.

So does a notebook's request whose route has not come yet, and one that only the orchestrator's machine can reach:
the orchestrator's own proxy leads it on. While the orchestrator is away the answer is 503 with `Retry-After`; who
asks for a notebook waits a while for it to come back. No request is sent twice: one that was on its way when the
orchestrator ended may have claimed a notebook.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.links import Targets
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.fronts.link import Link
from tmpnb_py.fronts.pipes import piped
from tmpnb_py.options.live import Derived, LiveOptions
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.answers import ErrorPage
from tmpnb_py.proxy.client import ClientConnection
from tmpnb_py.proxy.counters import Counters
from tmpnb_py.proxy.exchange import ClientSide, Exchange, UpstreamPool, UpstreamSide
from tmpnb_py.proxy.header_rules import ClientFacts
from tmpnb_py.proxy.request import Request
from tmpnb_py.proxy.routing import Sessions
from tmpnb_py.proxy.server import Proxy
from tmpnb_py.proxy.upstream import Dial
from tmpnb_py.proxy.upstreams import Upstreams

P = TypeVar("P", bound=asyncio.BaseProtocol)
T = TypeVar("T")

_AGAIN_SECONDS = 0.1
_SHORT_WAIT = 2.0  # of anybody, for an orchestrator that is just being started anew


class Orchestrator:
    """What visitors want of the orchestrator, on connections over the link."""

    def __init__(self, link: Callable[[], Link], options: LiveOptions) -> None:
        self._link = link
        self._options = options
        self._tasks = Tasks()

    @property
    def is_up(self) -> bool:
        """Whether it is there."""
        return self._link().up.is_set()

    async def dial(self, factory: Callable[[], P]) -> P:
        """A connection to its proxy. Raises `OSError`."""
        link = self._link()
        await link.wait_up(_SHORT_WAIT)
        return await piped(await link.forward(), factory, self._tasks)

    async def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what needs a connection, as soon as there is one, for as long as who asks for a notebook may wait.

        What fails has sent nothing yet. Raises `OSError`.
        """
        deadline = time.monotonic() + self._options.current.front_wait
        while True:
            await self._link().wait_up(deadline - time.monotonic())
            try:
                return await work()
            except OSError:
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)

    async def close(self) -> None:
        """Cut what is connected."""
        await self._tasks.close()


class _Patient:
    """The orchestrator's connections for requests that wait until it is there."""

    def __init__(self, upstreams: Upstreams, orchestrator: Orchestrator) -> None:
        self._upstreams = upstreams
        self._orchestrator = orchestrator

    def take_idle(self) -> UpstreamSide | None:
        # One that stops leaves its idle connections open for a moment, and takes no new claim.
        return self._upstreams.application.take_idle() if self._orchestrator.is_up else None

    async def connect(self, timeout_seconds: float) -> UpstreamSide:
        return await self._orchestrator.wait(lambda: self._upstreams.application.connect(timeout_seconds))


# What load balancers ask, under whatever name they know a server by. HAProxy's own check is one of the first two.
_CHECKS = frozenset(((b"OPTIONS", b"*"), (b"OPTIONS", b"/"), (b"GET", b"/healthz"), (b"HEAD", b"/healthz")))


@dataclasses.dataclass(frozen=True)
class OwnPages:
    """What a front end answers itself: health checks, and the static files of the trees that it `has`."""

    dial: Dial
    has: Callable[[str], bool]


class FrontProxy(Proxy):
    """Leads visitors to the notebooks that it knows, and to the orchestrator."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        orchestrator: Orchestrator,
        own: OwnPages,
        is_away: Callable[[Container], bool],
        error_page: ErrorPage,
        counters: Counters,
        options: LiveOptions,
        hosts: Derived[Hosts],
    ) -> None:
        """`is_away`: whether a session's machine is out of reach at present."""
        super().__init__(
            sessions,
            application=orchestrator.dial,
            error_page=error_page,
            counters=counters,
            options=options,
            hosts=hosts,
        )
        self._is_away = is_away
        self._patient = _Patient(self.upstreams, orchestrator)
        self._own = self.upstreams.add(own.dial)
        self._has_files = own.has
        self._paths = Targets(options.current.base_url)
        self._hosts = hosts
        self.exchange = self._exchange

    def client_factory(self) -> ClientConnection:
        """The protocol factory for `loop.create_server`."""
        return FrontConnection(self)

    def _exchange(self, client: ClientSide, request: Request, facts: ClientFacts) -> Exchange:
        """As the orchestrator's proxy does, but for our own pages; who asks for a notebook is patient."""
        exchange = self._router.exchange(client, request, facts)
        if exchange.container is None:
            if self._is_own(request):
                exchange.upstream = self._own
            elif request.method == b"POST":
                exchange.upstream = self._patient
        return exchange

    def _is_own(self, request: Request) -> bool:
        tree = self._paths.static_tree(request.target)
        if tree:
            return self._has_files(tree) and self._hosts.value.answer_to(request.fields.hosts)
        return (request.method, self._paths.own(request.target, None).partition(b"?")[0]) in _CHECKS

    def response_timeout(self, upstream: UpstreamPool) -> float:
        """How long to wait for the beginning of an answer, in seconds."""
        return super().response_timeout(self.upstreams.application if upstream is self._patient else upstream)

    def hang_up(self) -> None:
        """The orchestrator has fallen silent: whoever waits for its answer is told so now."""
        self.upstreams.drop_application()

    def status_of(self, exchange: Exchange, status: int) -> int:
        """503 says: come again. So it is for what is away, and not gone."""
        if exchange.container is None:
            return 503
        return 503 if status in (502, 504) and self._is_away(exchange.container) else status


class FrontConnection(ClientConnection):
    """A visitor's connection to a front end."""

    __slots__ = ("_front",)

    def __init__(self, proxy: FrontProxy) -> None:
        super().__init__(proxy)
        self._front = proxy

    def upstream_failed(self, exchange: Exchange, status: int) -> None:
        """No answer, or none that can be passed on."""
        super().upstream_failed(exchange, self._front.status_of(exchange, status))
