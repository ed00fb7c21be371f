"""The composition root: assembles the site with its pools, the pages and the proxy; owns start and stop.

`serve.serve()` is what the command line runs, round the `Service` here; tests bring an engine of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

import structlog

from tmpnb_py import __version__
from tmpnb_py.core.errors import SettingsError, find_known
from tmpnb_py.core.links import Links
from tmpnb_py.core.tasks import Tasks, finish_unless
from tmpnb_py.fronts.hub import Hub
from tmpnb_py.options.live import Change, LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.proxy.answers import Page
from tmpnb_py.proxy.counters import Counters, ProxyMetrics
from tmpnb_py.proxy.server import Proxy
from tmpnb_py.service import listen
from tmpnb_py.service.listeners import ADMIN, BACKLOG, FRONT, PATIENCE_SECONDS, VISITORS, Listeners
from tmpnb_py.service.reload import announce
from tmpnb_py.service.served_pool import ServedPool
from tmpnb_py.service.served_pools import Maker, ServedPools
from tmpnb_py.service.upgrade.former import Former
from tmpnb_py.service.upgrade.new import Predecessor
from tmpnb_py.service.web_servers import WebServers
from tmpnb_py.site.metrics import SiteMetrics
from tmpnb_py.tracing.spans import Tracing
from tmpnb_py.web.application import admin_application, public_application
from tmpnb_py.web.branding import read_branding
from tmpnb_py.web.context import Context
from tmpnb_py.web.documents import Documents
from tmpnb_py.web.respond import proxy_error_page
from tmpnb_py.workshops.preview import Preview

_LOCK_SECONDS = 1.0
_LISTING_SECONDS = 25.0
_POLL_SECONDS = 0.005
_SETTLE_SECONDS = 5.0  # for claims that are being made durable, which take some milliseconds
_ACCEPTED_SECONDS = 0.05
_ANSWER_SECONDS = 0.5  # for our own answers that are under way; what still has none then waits for a notebook

_log = structlog.get_logger(__name__)


class Service:
    """A site with its pools, its pages and its proxy. Use `async with service.running()`; then `stop()`."""

    def __init__(
        self,
        settings: Settings,
        maker: Maker,
        *,
        listeners: Listeners | None = None,
        preview: Preview | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`maker` makes what pools work with. `listeners` has the sockets that need not be bound.

        `preview` is a folder whose workshops are shown in place of the image's. `tracing` is None where it is off.
        """
        self.options = LiveOptions(settings)
        self.listeners = listeners or Listeners()
        self.pools = ServedPools(
            self.options,
            maker,
            preview=preview,
            tracing=tracing,
            ended=self._vital_ended,
            optional=_optional_ended,
        )
        self._tracing = tracing
        self.site = self.pools.site
        counters = Counters()
        self.metrics = SiteMetrics(self.site, ProxyMetrics(counters), version=__version__)
        self._own_names: tuple[str, ...] = ()  # until it listens
        self._hosts = self.options.derive(lambda settings: listen.hosts(settings, self._own_names))
        self._context = self._assemble_context(is_preview=preview is not None)
        self.web = WebServers(
            public_application(self._context, self.pools.static_files, preview),
            admin_application(self._context),
            max_head_size=settings.max_head_size,
        )
        self.proxy = Proxy(
            self.site,
            application=self.web.dial,
            error_page=self._error_page,
            counters=counters,
            options=self.options,
            hosts=self._hosts,
        )
        self.site.subscribe(self.proxy.moved)
        self.fronts = Hub(
            self.site, self.proxy, self.options, files=[self.pools.static_files], term=lambda: self.pools.term
        )
        self.metrics.add(self.fronts)
        self._servers: list[asyncio.Server] = []
        self._proxying, self._managing = Tasks(self._vital_ended), Tasks(self._vital_ended)
        self._following = Tasks(_optional_ended)
        self._predecessor: Predecessor | None = None
        self._is_followed = False
        self._broke = asyncio.Event()
        self._fault: BaseException | None = None
        self._stopped = False

    def _assemble_context(self, *, is_preview: bool) -> Context:
        context = Context(
            self.options,
            self.site,
            self.metrics,
            offers=self.pools.offers,
            documents=Documents(self.pools.offers),
            hosts=self._hosts,
            branding=read_branding(self.options.current, is_preview=is_preview),
        )
        links = context.links
        context.tracing = self._tracing
        context.own_url = lambda: links.on(listen.url(self.options.current.ip, self.port))
        return context

    def _error_page(self, status: int, *, wants_html: bool, languages: str) -> Page:
        return proxy_error_page(self._context, status, wants_html=wants_html, languages=languages)

    # --- how it does

    @property
    def served(self) -> ServedPool:
        """The default pool."""
        return self.pools.default

    @property
    def port(self) -> int:
        """The port that visitors connect to (the kernel's choice where 0 was asked for)."""
        return self.listeners.port(VISITORS)

    @property
    def admin_port(self) -> int:
        """The port of the operator's listener."""
        return self.listeners.port(ADMIN)

    @property
    def secret(self) -> bytes:
        """What proofs are made with that do not outlive the service."""
        return self._context.secret

    @property
    def formers(self) -> tuple[Former, ...]:
        """The processes of before the last upgrades that still serve what was open then, the newest first."""
        return () if self._predecessor is None else self._predecessor.formers

    def upgrade_by(self, upgrade: Callable[[], Awaitable[int]]) -> None:
        """Let the operator's listener ask for an upgrade."""
        self._context.upgrade = upgrade

    @property
    def is_follower(self) -> bool:
        """Whether it has taken over from another process."""
        return self._predecessor is not None

    @property
    def has_stopped(self) -> bool:
        """Whether `stop` has come to its end."""
        return self._stopped

    @property
    def fault(self) -> BaseException | None:
        """What the service cannot go on after."""
        return self._fault

    # --- reload

    def reload(self, settings: Settings) -> Change:
        """Take on what can change while the service runs; the log says of each option whether it did."""
        change = self.options.replace(settings)
        self._read_files(change.settings)
        self.pools.reload()
        announce(change, pool=change.settings.pool_name)
        return change

    def _read_files(self, settings: Settings) -> None:
        """Read the operator's files again, even where the options that name them are the same."""
        try:
            self._context.branding = read_branding(settings)
        except SettingsError as error:
            _log.error("reload_failed", error=error.message, remedy=error.remedy)

    # --- start

    @contextlib.asynccontextmanager
    async def running(self, predecessor: Predecessor | None = None) -> AsyncIterator[Service]:
        """Listen from the first moment, then work; on leaving, whatever is left is ended at once.

        Where connections wait until somebody accepts them, because a `predecessor` or a service manager has been
        listening, it accepts them only once it knows every session.
        """
        try:
            await self._prepare(tidy=predecessor is None)
            if predecessor is not None:
                await self._take_over(predecessor)
            self.pools.restore()
            if predecessor is not None:
                predecessor.line_restored(self.site)
                self._manage()
                await self._listed()
                await self._accept()
                predecessor.serving()
                self.listeners.refuse_unused()
                self._follow(self.formers)
            elif self.listeners.is_activated:
                self._manage()
                with contextlib.suppress(TimeoutError):
                    await self._listed()
                await self._accept()
            else:
                await self._accept()
                self._manage()
            self._proxying.start("proxy", self.proxy.run())
            self._log_listening()
            yield self
        finally:
            await self._end_everything()

    async def _prepare(self, *, tidy: bool) -> None:
        """All that neither needs the pool nor changes anything in it, but for `tidy`."""
        await asyncio.to_thread(self.listeners.bind, self.options.current)
        self._own_names = await listen.own_names()
        self.options.renew(self._hosts)
        await self.web.set_up()
        await self.pools.load(tidy=tidy)

    async def _take_over(self, predecessor: Predecessor) -> None:
        """Prepare all the rest, too, and wait for the pool. Raises `UpgradeError`, `PoolLockedError`."""
        self._predecessor = predecessor
        self._context.formers = lambda: self.formers
        await self.pools.prepare()
        self._context.secret = await predecessor.pool(self.site, self._tracing)
        self.pools.take_locks(predecessor.locks)

    def _follow(self, formers: Iterable[Former]) -> None:
        """Hear processes of before, which serve what was open then."""
        for former in formers:
            self._following.start(f"former-{former.pid}", former.follow(self.site, self.proxy))

    def _manage(self) -> None:
        self.pools.start()
        self._managing.start("lock", self._keep_locked())

    async def _listed(self) -> None:
        """Wait until every session is known. Raises what breaks the service before.

        Raises `TimeoutError` also where the engine is down, as waiting does not help then.
        """
        for _ in range(round(_LISTING_SECONDS / _POLL_SECONDS)):
            if self._fault is not None:
                raise self._fault
            if self.site.listed:
                return
            if any(pool.engine_down for pool in self.site.pools.values()):
                break
            await asyncio.sleep(_POLL_SECONDS)
        raise TimeoutError("the engine does not list its containers")

    async def _accept(self) -> None:
        """Let visitors and the operator in."""
        loop = asyncio.get_running_loop()
        for sock in self.listeners.duplicates(VISITORS):
            self._servers.append(await loop.create_server(self.proxy.client_factory, sock=sock, backlog=BACKLOG))
        await self.web.listen_for_operator(self.listeners.duplicates(ADMIN))
        if self.options.current.front_port:
            await self.fronts.open(self.listeners.duplicates(FRONT))

    def _log_listening(self) -> None:
        settings = self.options.current
        _log.info(
            "listening",
            url=Links(settings.base_url).on(listen.url(settings.ip, self.port)),
            admin=listen.url(settings.admin_ip, self.admin_port),
            pool=settings.pool_name,
            pool_size=settings.pool_size,
        )

    async def _keep_locked(self) -> None:
        while True:
            await asyncio.sleep(_LOCK_SECONDS)
            self.pools.keep_locked()

    def _vital_ended(self, name: str, error: BaseException | None) -> None:
        """A task that the service cannot be without has ended by itself: so does the service."""
        self._fault = self._fault or error or RuntimeError(f"the task {name} has ended")
        if find_known(error) is None:  # which says all that there is to say
            _log.critical("task_died", task=name, exc_info=error, hint="the service ends; notebooks stay")
        self._broke.set()

    async def until(self, asked_to_stop: asyncio.Event) -> None:
        """Wait until somebody asks for the end, or the service cannot go on (`stop` then raises why)."""
        await finish_unless(self._broke, asked_to_stop.wait(), name="until")

    # --- when another process is to follow this one

    @property
    def is_busy(self) -> bool:
        """Whether visitors have connections here, or notebooks have some to the web."""
        return bool(self.proxy.clients or self.pools.web_room.open)

    def locks(self) -> Mapping[str, tuple[int, ...]]:
        """Copies of what the pools' locks are on, for the process that is to have them."""
        return self.pools.locks()

    def release_locks(self) -> None:
        """Let another process have the pools."""
        self.pools.release_locks()

    def open_elsewhere(self, container_id: str) -> int:
        """How many of a session's open connections are at front ends, or at processes of before this one."""
        return self.fronts.open_of(container_id) + sum(one.opened.get(container_id, 0) for one in self.formers)

    async def suspend(self) -> None:
        """Accept nobody, read no further request, give nothing away. The pool is free, but for its lock."""
        self._stop_listening()
        await self.web.stop_listening()
        self.proxy.hold(on=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self.pools.settle()
        await self.proxy.answered(_ANSWER_SECONDS)
        await self._managing.close()
        await self.pools.hand_on()

    async def resume(self) -> None:
        """Take the pool again, as it is now, and go on. Raises `PoolLockedError`."""
        try:
            await self.pools.take_back(anew=self._is_followed)
            self._manage()
            with contextlib.suppress(TimeoutError):
                await self._listed()
            for former in self.formers:
                former.take_back(self.site, anew=self._is_followed)
            await self._accept()
        except BaseException as error:
            self._vital_ended("resume", error)
            raise
        self._is_followed = False
        self._follow(one for one in self.formers if one.is_passed_on)
        self.proxy.hold(on=False)

    def retire(self) -> None:
        """Another process serves: end what cannot be handed on, but for the visitors' connections."""
        self._is_followed = True
        self.pools.stop_claims()
        self.fronts.forget_open()
        self.fronts.retire()
        self.web.retire()
        self.pools.release_locks()
        for former in self.formers:
            former.retire(self.site)

    # --- stop

    async def stop(self, forced: asyncio.Event | None = None) -> None:
        """In uvicorn's order: stop accepting, ask connections to finish, bounded wait, cancel, containers last.

        A service that could not go on keeps its containers, and then what broke it is raised.
        """
        if not await finish_unless(forced or asyncio.Event(), self._stop(), name="stop"):
            _log.warning("forced", hint="containers stay; the next start takes them up again")
        if self._fault is not None:
            raise self._fault

    async def _stop(self) -> None:
        began, settings = time.monotonic(), self.options.current
        self._stop_listening()
        self.listeners.close()  # newcomers are refused, or wait in a service manager's socket
        self.fronts.retire()
        self.pools.stop_claims()
        for former in () if self._is_followed else self.formers:
            former.cut()
        patience = PATIENCE_SECONDS if self.listeners.is_activated and not self._is_followed else 0.0
        if patience:  # what has been accepted is greeted in the loop's next turns, and then no newcomer's
            await asyncio.sleep(_ACCEPTED_SECONDS)
        await self.proxy.shut_down(settings.shutdown_timeout, patience=patience)
        await self._end_work()
        if not self._is_followed:
            await self.pools.leave(remove_everything=settings.cleanup_on_exit and self._fault is None)
        self._stopped = True
        kept = sum(map(len, self.site.pools.values()))
        _log.info("stopped", pool=settings.pool_name, kept=kept, duration=round(time.monotonic() - began, 2))

    async def _end_everything(self) -> None:
        self._stop_listening()
        await self._end_work()
        if not self._stopped:
            await self.proxy.shut_down(0)
        await self.web.close()
        await self.pools.close()
        self.listeners.close()
        if self._predecessor is not None:
            self._predecessor.close()

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []

    async def _end_work(self) -> None:
        await self.fronts.close()
        for tasks in (self._proxying, self._managing, self._following):
            await tasks.close()
        await self.pools.end_work()


def _optional_ended(name: str, error: BaseException | None) -> None:
    if error is not None:
        _log.error("task_died", task=name, exc_info=error, hint="the service goes on without it")
