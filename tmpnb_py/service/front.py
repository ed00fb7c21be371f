"""The composition root of a front end: builds route table, link and proxy; owns start and stop (`tmpnb-py front`)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tmpnb_py import __version__
from tmpnb_py.core.branding import Branding
from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.links import Links
from tmpnb_py.core.tasks import Tasks, event_or_time, finish_unless
from tmpnb_py.engines.swarm.link import tls
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.fronts.copies import Copies
from tmpnb_py.fronts.hub import contexts_of, renew
from tmpnb_py.fronts.link import Link
from tmpnb_py.fronts.pipes import Ways
from tmpnb_py.fronts.proxy import FrontProxy, Orchestrator, OwnPages
from tmpnb_py.fronts.table import Table
from tmpnb_py.fronts.wire import SHARED
from tmpnb_py.options.groups.swarm import DEFAULT_SECRET
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.counters import Counters, ProxyMetrics
from tmpnb_py.service import listen
from tmpnb_py.service.hangup import Hangup
from tmpnb_py.service.listeners import ADMIN, BACKLOG, PATIENCE_SECONDS, VISITORS, Listeners, activated
from tmpnb_py.service.open_files import raise_open_files_limit
from tmpnb_py.service.reload import announce, reload_with
from tmpnb_py.service.serve import signals
from tmpnb_py.service.web_servers import WebServers
from tmpnb_py.shared_files.mirror import Mirror
from tmpnb_py.site.metrics import CONTENT_TYPE, SiteMetrics
from tmpnb_py.tracing.spans import Tracing
from tmpnb_py.tracing.switch import tracing
from tmpnb_py.web import static
from tmpnb_py.web.branding import read_branding
from tmpnb_py.web.respond import proxy_error_page

_FIRST_SECONDS = 2.0
_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True)
class _Look:
    """How this front end's own pages look: those that say that something is away."""

    branding: Branding
    links: Links
    language: str

    @classmethod
    def of(cls, settings: Settings) -> _Look:
        """As the options say. Raises `SettingsError`."""
        return cls(read_branding(settings), Links(settings.base_url), settings.language)


class Front:
    """One front end. Use `async with front.running()`; then `stop()` for a clean end."""

    def __init__(
        self, settings: Settings, listeners: Listeners | None = None, *, tracing: Tracing | None = None
    ) -> None:
        """`listeners` has the sockets that need not be bound. Raises `SettingsError` where the secret is unusable."""
        self.options = LiveOptions(settings)
        self.listeners = listeners or Listeners()
        self.counters = Counters()
        self._broke = asyncio.Event()
        self._fault: BaseException | None = None
        self._tasks = Tasks(self._vital_ended)
        self._names: tuple[str, ...] = ()  # until it listens
        self._hosts = self.options.derive(lambda current: listen.hosts(current, self._names))
        self._ways = Ways(self._relays)
        self.table = Table(self._ways, came=self._moved, ended=self._ended, tracing=tracing)
        self.mirror = Mirror()
        self._orchestrator = Orchestrator(lambda: self.link, self.options)
        self._read = settings  # as they were read; in force are those with what the orchestrator has told
        self._shared = _shared({})
        self._look = _Look.of(settings)
        metrics = SiteMetrics((), ProxyMetrics(self.counters), _FrontMetrics(self), version=__version__)
        self.web = WebServers(
            _own_application(self), _admin_application(metrics), max_head_size=settings.max_head_size
        )
        self.proxy = FrontProxy(
            self.table,
            orchestrator=self._orchestrator,
            own=OwnPages(self.web.dial, self.mirror.has),
            is_away=lambda container: self._ways.is_away(self.table.node_of(container.id)),
            error_page=lambda status, **asked: proxy_error_page(self._look, status, **asked),
            counters=self.counters,
            options=self.options,
            hosts=self._hosts,
        )
        self._contexts = contexts_of(settings)
        self.link = Link(
            settings.front_orchestrator,
            self._contexts,
            self.table,
            options=self._share,
            lost=self.proxy.hang_up,
        )
        self._copies = Copies(self.link.files, self.mirror)
        self._servers: list[asyncio.Server] = []

    def _relays(self) -> Relays:
        settings = self.options.current
        contexts = tls.Contexts(settings.swarm_secret or DEFAULT_SECRET)
        return Relays(settings.swarm_relays, contexts, "", lambda _node, _event: None)

    def _moved(self, container: Container) -> None:
        self.proxy.moved(container)

    def _ended(self, container: Container) -> None:
        self.proxy.upstreams.drop(container.id)

    def _share(self, told: Mapping[str, str]) -> None:
        """Take on the orchestrator's options; what it does not tell is at its default."""
        self._shared = _shared(told)
        change = self.options.replace(self._read.model_copy(update=self._shared))
        if change.changed:
            _log.info("options_shared", options=list(change.changed))

    def reload(self, settings: Settings) -> None:
        """Take on what can change while it runs, and read the secret again; what the orchestrator told stays."""
        self._read = settings
        change = self.options.replace(settings.model_copy(update=self._shared))
        settings = change.settings
        renew(self._contexts)
        try:
            self._look = _Look.of(settings)
        except SettingsError as error:
            _log.error("reload_failed", error=error.message, remedy=error.remedy)
        announce(change)

    # --- start and stop

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Front]:
        """Listen from the first moment; on leaving, whatever is left is ended at once."""
        try:
            self._names = await listen.own_names()
            self.options.renew(self._hosts)
            await self._listen()
            self._tasks.start("link", self.link.run())
            self._tasks.start("reports", self.link.report())
            self._tasks.start("files", self._copies.run())
            self._tasks.start("proxy", self.proxy.run())
            self._tasks.start("first visitors", self._let_in(), ended=self._letting_in_ended)
            yield self
        finally:
            self._close_listeners()
            await self._tasks.close()
            await self.proxy.shut_down(0)
            await self._orchestrator.close()
            await self._ways.close()
            await self.web.close()

    async def _let_in(self) -> None:
        """Accept visitors once their notebooks are known: else the first ones would be led there by the orchestrator,
        and their WebSockets would end with that. Where there is none, they are told so after a moment."""
        await event_or_time(self.link.knows, _FIRST_SECONDS)
        for server in self._servers:
            await server.start_serving()

    def _letting_in_ended(self, name: str, error: BaseException | None) -> None:
        if error is not None:
            self._vital_ended(name, error)

    def _vital_ended(self, name: str, error: BaseException | None) -> None:
        self._fault = self._fault or error or RuntimeError(f"the task {name} has ended")
        _log.critical("task_died", task=name, exc_info=error, hint="the front end ends; notebooks stay")
        self._broke.set()

    async def until(self, asked_to_stop: asyncio.Event) -> None:
        """Wait until somebody asks for the end, or the front end cannot go on (`stop` then raises why)."""
        await finish_unless(self._broke, asked_to_stop.wait(), name="until")

    async def stop(self, forced: asyncio.Event) -> None:
        """Stop accepting, let open requests finish, report for the last time."""
        await finish_unless(forced, self._stop(), name="stop")
        if self._fault is not None:
            raise self._fault

    async def _stop(self) -> None:
        self._close_listeners()  # nobody waits in the kernel's line for a front end that ends
        patience = PATIENCE_SECONDS if self.listeners.is_activated else 0.0
        await self.proxy.shut_down(self.options.current.shutdown_timeout, patience=patience)
        await self.link.report_once()
        _log.info("front_stopped", sessions=len(self.table))

    def _close_listeners(self) -> None:
        for server in self._servers:
            server.close()
        self.listeners.close()

    @property
    def port(self) -> int:
        """The port that visitors connect to."""
        return self.listeners.port(VISITORS)

    @property
    def admin_port(self) -> int:
        """The port of the metrics."""
        return self.listeners.port(ADMIN)

    async def _listen(self) -> None:
        settings, loop = self.options.current, asyncio.get_running_loop()
        raise_open_files_limit()
        await self.web.set_up()
        await asyncio.to_thread(partial(self.listeners.bind, settings, fronts=False))
        for sock in self.listeners.duplicates(VISITORS):
            self._servers.append(
                await loop.create_server(self.proxy.client_factory, sock=sock, backlog=BACKLOG, start_serving=False)
            )
            sock.listen(BACKLOG)  # who comes from now on is let in as soon as `_let_in` does
        await self.web.listen_for_operator(self.listeners.duplicates(ADMIN))
        _log.info(
            "front_listening",
            url=Links(settings.base_url).on(listen.url(settings.ip, self.port)),
            admin=listen.url(settings.admin_ip, self.admin_port),
        )


def _shared(told: Mapping[str, str]) -> Mapping[str, object]:
    """The values of all options that the orchestrator tells; what it does not tell is at its default."""
    theirs = Settings.model_validate(dict(told))
    return {name: getattr(theirs, name) for name in SHARED}


def _admin_application(metrics: SiteMetrics) -> web.Application:
    """What monitoring asks: nothing of it is secret, and nothing can be changed."""
    app = web.Application()

    async def render(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app.router.add_get("/metrics", render)
    app.router.add_get("/healthz", healthz)
    return app


def _own_application(front: Front) -> web.Application:
    """What visitors, and load balancers, are answered by the front end itself."""

    async def healthz(_: web.Request) -> web.Response:
        """Whether visitors are to be sent here: not before there was an orchestrator, as no notebook is known yet."""
        if front.link.up.is_set() or front.table.epoch:
            state = "up" if front.link.up.is_set() else "away"
            return web.json_response({"status": "ok", "orchestrator": state, "sessions": len(front.table)})
        return web.json_response({"status": "starting"}, status=503, headers={"Retry-After": "2"})

    @web.middleware
    async def options(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != "OPTIONS":
            return await handler(request)
        answer = await healthz(request)
        return web.Response(status=204, headers={"Allow": "GET, HEAD, OPTIONS"}) if answer.status == 200 else answer

    app = web.Application(middlewares=[options])
    static.add_routes(app, front.mirror)
    app.router.add_get("/healthz", healthz)
    return app


class _FrontMetrics(Collector):
    def __init__(self, front: Front) -> None:
        self._front = front

    def collect(self) -> Iterator[Metric]:
        """What only a front end has."""
        link, table = self._front.link, self._front.table
        yield GaugeMetricFamily(
            "tmpnb_front_orchestrator_up", "Whether the orchestrator is connected.", value=float(link.up.is_set())
        )
        yield GaugeMetricFamily("tmpnb_front_sessions", "Sessions that this front end knows.", value=len(table))
        yield GaugeMetricFamily(
            "tmpnb_front_mirrored_bytes",
            "Shared static files that it has itself.",
            value=self._front.mirror.used,
        )
        losses = CounterMetricFamily("tmpnb_front_orchestrator_losses", "How often the orchestrator was lost.")
        losses.add_metric([], link.losses)
        yield losses


async def serve_front(settings: Settings, reread: Callable[[], Settings], hangup: Hangup) -> None:
    """Serve until SIGTERM or SIGINT; a second one forces. Raises `TmpnbError` for an operator's mistakes.

    `reread` reads the settings anew, for SIGHUP.
    """
    async with tracing(os.environ) as traced, signals() as (asked_to_stop, forced):
        front = Front(settings, Listeners(activated(os.environ)), tracing=traced)
        with hangup.handled(stop=asked_to_stop.set, reload=partial(reload_with, reread, front.reload)):
            async with front.running():
                await front.until(asked_to_stop)
                _log.info("stopping", hint="a second signal forces")
                await front.stop(forced)
