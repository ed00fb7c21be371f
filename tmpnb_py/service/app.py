"""The composition root: assembles the site with its pools, the pages and the proxy; owns start and stop.

`serve.serve()` is what the command line runs, round the `Service` here; tests bring an engine of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import structlog

from tmpnb_py import __version__
from tmpnb_py.core import logs
from tmpnb_py.core.errors import ManifestError, SettingsError, find_known
from tmpnb_py.core.links import Links
from tmpnb_py.core.tasks import Tasks, finish_unless
from tmpnb_py.engines.base import Engine
from tmpnb_py.fronts.hub import Hub
from tmpnb_py.images.provider import ImageProvider
from tmpnb_py.options.kinds import format_value
from tmpnb_py.options.live import Change, LiveOptions
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.proxy.answers import Page
from tmpnb_py.proxy.counters import Counters, ProxyMetrics
from tmpnb_py.proxy.server import Proxy
from tmpnb_py.service import listen
from tmpnb_py.service.served_pool import ServedPool
from tmpnb_py.service.web_servers import WebServers
from tmpnb_py.site.metrics import SiteMetrics
from tmpnb_py.site.site import Site
from tmpnb_py.web.application import admin_application, public_application
from tmpnb_py.web.branding import read_branding
from tmpnb_py.web.context import Context
from tmpnb_py.web.documents import Documents
from tmpnb_py.web.respond import proxy_error_page
from tmpnb_py.workshops.preview import Preview

_BACKLOG = 1024
_LOCK_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Service:
    """A site with one pool, its pages and its proxy. Use `async with service.running()`; then `stop()`."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        *,
        image_provider: ImageProvider | None = None,
        keep_lock: Callable[[], None] = lambda: None,
        preview: Preview | None = None,
    ) -> None:
        """`keep_lock` is called now and then, and raises `PoolLockedError` where another process has the pool.

        `preview` is a folder whose workshops are shown in place of the image's.
        """
        self.options = LiveOptions(settings)
        self._keep_lock = keep_lock
        self.served = ServedPool(self.options, engine, image_provider=image_provider, preview=preview)
        self.site = Site([self.served.claims])
        counters = Counters()
        self.metrics = SiteMetrics(self.site.pools.values(), ProxyMetrics(counters), version=__version__)
        self._own_names: tuple[str, ...] = ()  # until it listens
        self._hosts = self.options.derive(lambda settings: listen.hosts(settings, self._own_names))
        self._context = self._assemble_context(is_preview=preview is not None, shares_network=engine.shares_network)
        self.web = WebServers(
            public_application(self._context, self.served.static_files, preview),
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
            self.site, self.proxy, self.options, files=(self.served.static_files,), term=lambda: engine.term
        )
        self.metrics.add(self.fronts)
        self._listeners: list[asyncio.Server] = []
        self._vital, self._optional = Tasks(self._vital_ended), Tasks(_optional_ended)
        self._broke = asyncio.Event()
        self._fault: BaseException | None = None
        self._stopped = False

    def _assemble_context(self, *, is_preview: bool, shares_network: bool) -> Context:
        catalogue = self.served.catalogue
        return Context(
            self.options,
            self.site,
            self.metrics,
            catalogue=catalogue,
            documents=Documents(self.options, self.site, catalogue, shares_network=shares_network),
            notes_cache=self.served.notes_cache,
            hosts=self._hosts,
            branding=read_branding(self.options.current, is_preview=is_preview),
        )

    def _error_page(self, status: int, *, wants_html: bool) -> Page:
        return proxy_error_page(self._context, status, wants_html=wants_html)

    # --- how it does

    @property
    def port(self) -> int:
        """The port that visitors connect to (the kernel's choice where 0 was asked for)."""
        return int(self._listeners[0].sockets[0].getsockname()[1])

    @property
    def admin_port(self) -> int:
        """The port of the operator's listener."""
        return self.web.admin_port

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
        for name in change.restart:
            _log.warning("option_needs_restart", option=name, hint="notebooks and their visitors stay")
        settings = change.settings
        self._read_files(settings)
        logs.set_level(settings.log_level)
        for name in change.changed:
            value = format_value(OPTIONS[name].kind, getattr(settings, name))
            _log.warning("option_changed", option=name, value=value)
        _log.info("reloaded", pool=settings.pool_name, changed=len(change.changed), need_restart=len(change.restart))
        return change

    def _read_files(self, settings: Settings) -> None:
        """Read the operator's files again, even where the options that name them are the same."""
        try:
            self._context.branding = read_branding(settings)
            self.served.catalogue.read_own(settings.workshops_file)
        except (SettingsError, ManifestError) as error:
            _log.error("reload_failed", error=error.message, remedy=error.remedy)

    # --- start

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        """Listen from the first moment, then work; on leaving, whatever is left is ended at once."""
        try:
            await self.served.load()
            await self._listen()
            self.served.start(self._vital, self._optional)
            self._vital.start("proxy", self.proxy.run())
            self._vital.start("lock", self._keep_locked())
            yield self
        finally:
            await self._end_everything()

    async def _listen(self) -> None:
        settings, loop = self.options.current, asyncio.get_running_loop()
        self._own_names = await listen.own_names()
        self.options.renew(self._hosts)
        await self.web.set_up()
        with listen.explained("port", settings.ip, settings.port):
            for sock in await asyncio.to_thread(listen.bound, settings.ip, settings.port):
                listen.enable_keepalive(sock)
                self._listeners.append(
                    await loop.create_server(self.proxy.client_factory, sock=sock, backlog=_BACKLOG)
                )
        await self.web.listen_for_operator(settings)
        if settings.front_port:
            with listen.explained("front_port", settings.front_ip, settings.front_port):
                sockets = await asyncio.to_thread(listen.bound, settings.front_ip, settings.front_port)
                for sock in sockets:
                    listen.enable_keepalive(sock)  # a machine without power says nothing, not even an end
                await self.fronts.open(sockets)
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
            self._keep_lock()

    def _vital_ended(self, name: str, error: BaseException | None) -> None:
        """A task that the service cannot be without has ended by itself: so does the service."""
        self._fault = self._fault or error or RuntimeError(f"the task {name} has ended")
        if find_known(error) is None:  # which says all that there is to say
            _log.critical("task_died", task=name, exc_info=error, hint="the service ends; notebooks stay")
        self._broke.set()

    async def until(self, asked_to_stop: asyncio.Event) -> None:
        """Wait until somebody asks for the end, or the service cannot go on (`stop` then raises why)."""
        await finish_unless(self._broke, asked_to_stop.wait(), name="until")

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
        began, settings, pool = time.monotonic(), self.options.current, self.served.pool
        self._stop_listening()
        self.fronts.retire()
        self.served.claims.stop()
        await self.proxy.shut_down(settings.shutdown_timeout)
        await self._end_work()
        await self.served.leave(remove_everything=settings.cleanup_on_exit and self._fault is None)
        self._stopped = True
        _log.info("stopped", pool=pool.name, kept=len(pool), duration=round(time.monotonic() - began, 2))

    async def _end_everything(self) -> None:
        self._stop_listening()
        await self._end_work()
        if not self._stopped:
            await self.proxy.shut_down(0)
        await self.web.close()
        await self.served.close()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()

    async def _end_work(self) -> None:
        await self.fronts.close()
        await self._vital.close()
        await self._optional.close()
        await self.served.end_work()


def _optional_ended(name: str, error: BaseException | None) -> None:
    if error is not None:
        _log.error("task_died", task=name, exc_info=error, hint="the service goes on without it")
