"""The composition root: builds engine, pool, reconciler, reaper, web application and proxy; owns start and stop.

`serve.serve()` is what the command line runs, round the `Service` here; tests bring an engine of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import structlog
from aiohttp import web

from tmpnb_py import __version__
from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.line import Line
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.core import logs
from tmpnb_py.core.errors import EngineError, ManifestError, SettingsError, find_known
from tmpnb_py.core.links import Links
from tmpnb_py.core.tasks import Tasks, finish_unless
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.metered import MeteredEngine
from tmpnb_py.images.provider import ImageProvider
from tmpnb_py.options.kinds import format_value
from tmpnb_py.options.live import Change, LiveOptions
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.pool import Pool
from tmpnb_py.proxy.counters import Counters, ProxyMetrics
from tmpnb_py.proxy.server import Proxy
from tmpnb_py.service import listen, runtime
from tmpnb_py.shared_files.shared import SharedFiles
from tmpnb_py.site.metrics import SiteMetrics
from tmpnb_py.site.site import Site
from tmpnb_py.web.application import admin_application, public_application
from tmpnb_py.web.branding import read_branding
from tmpnb_py.web.context import Context
from tmpnb_py.web.documents import Documents
from tmpnb_py.web.respond import proxy_error_page
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Manifest
from tmpnb_py.workshops.notes_cache import ImageFiles, NotesCache
from tmpnb_py.workshops.preview import Preview

_BACKLOG = 1024
_CLEANUP_SECONDS = 60.0
_LOCK_SECONDS = 1.0
_log = structlog.get_logger(__name__)

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Service:
    """One pool with everything around it. Use `async with service.running()`; then `stop()` for a clean end."""

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
        self.engine = engine
        self.counters = Counters()
        self._book = LineStore(runtime.line_path(settings.runtime_path, settings.pool_name))
        self._catalogue = catalogue = Catalogue(engine)
        if preview is None:
            catalogue.read_own(settings.workshops_file)
        else:
            catalogue.own = preview.manifest
        self._preview = preview
        metrics = PoolMetrics()
        measured = MeteredEngine(engine, metrics.engine_called)
        self._notes_cache = NotesCache(preview or ImageFiles(measured, catalogue), catalogue)
        self._provider = image_provider
        self._keep_lock = keep_lock
        self._static_directory = settings.runtime_path / "static" / settings.pool_name
        self._links = Links(settings.base_url)
        self._static = SharedFiles(measured, self._static_directory, on_lost=self._look_again, links=self._links)
        self.pool = Pool(
            measured,
            self.options,
            metrics,
            learn_image=catalogue.learn,
            static_url=self._static.url,
            on_image_missing=image_provider.ask if image_provider is not None else None,
        )
        self.claims = Claims(
            measured,
            self.pool,
            self.options,
            line=Line(lambda: self.options.current.max_waiting),
            book=self._book,
        )
        self.pool.serve(self.claims)
        self.site = Site([self.claims])
        self.metrics = SiteMetrics(self.site.pools.values(), ProxyMetrics(self.counters), version=__version__)
        self._own_names: tuple[str, ...] = ()  # until it listens
        self._hosts = self.options.derive(lambda settings: listen.hosts(settings, self._own_names))
        self._context = Context(
            self.options,
            self.site,
            self.metrics,
            catalogue=catalogue,
            documents=Documents(self.options, self.site, catalogue, shares_network=engine.shares_network),
            notes_cache=self._notes_cache,
            hosts=self._hosts,
            branding=read_branding(settings, is_preview=preview is not None),
        )
        self._runner = web.AppRunner(
            public_application(self._context, self._static, preview),
            handler_cancellation=True,  # a visitor who leaves gives up the place in line
            auto_decompress=False,  # nobody sends us so much, and a body that is not what it says breaks aiohttp
            access_log=None,
            max_line_size=settings.max_head_size,
            max_field_size=settings.max_head_size,
        )
        self._admin_runner = web.AppRunner(
            admin_application(self._context), handler_cancellation=True, auto_decompress=False, access_log=None
        )
        self.proxy = Proxy(
            self.site,
            application=self._dial_application,
            error_page=lambda status, wants_html: proxy_error_page(self._context, status, wants_html=wants_html),
            counters=self.counters,
            options=self.options,
            hosts=self._hosts,
        )
        self._listeners: list[asyncio.Server] = []
        self._tasks = Tasks(self._vital_ended)
        self._broke = asyncio.Event()
        self._fault: BaseException | None = None
        self._stopped = False
        self.site.subscribe(self.proxy.moved)

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
        _log.info("reloaded", pool=self.pool.name, changed=len(change.changed), need_restart=len(change.restart))
        return change

    def _read_files(self, settings: Settings) -> None:
        """What the operator's files say now, even where the options that name them are the same."""
        try:
            self._context.branding = read_branding(settings)
            self._catalogue.read_own(settings.workshops_file)
        except (SettingsError, ManifestError) as error:
            _log.error("reload_failed", error=error.message, remedy=error.remedy)

    def _show(self, manifest: Manifest) -> None:
        """The folder of a preview has changed."""
        self._catalogue.own = manifest

    def _look_again(self) -> None:
        """Something that new notebooks need is to be found out anew."""
        self.pool.observe_soon()

    # --- start and stop

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        """Listen from the first moment, then work; on leaving, whatever is left is ended at once."""
        try:
            await self._static.load()
            if waiting := self.claims.restore():
                _log.info("line_restored", pool=self.pool.name, waiting=waiting)
            self._own_names = await listen.own_names()
            self.options.renew(self._hosts)
            await self._listen()
            for name, work in self.pool.work().items():
                self._tasks.start(name, work)
            self._tasks.start("claims", self.claims.run())
            self._tasks.start("proxy", self.proxy.run())
            self._tasks.start("lock", self._keep_locked())
            self._tasks.start("static-files", self._static.run(), ended=_optional_ended)
            if self._preview is not None:
                self._tasks.start("preview", self._preview.run(self._show))
            if self._provider is not None:
                self._tasks.start("image-provider", self._provider.run(self.pool.observe_soon), ended=_optional_ended)
            yield self
        finally:
            await self._end_everything()

    def _vital_ended(self, name: str, error: BaseException | None) -> None:
        """A task that the service cannot be without has ended by itself: so does the service."""
        self._fault = self._fault or error or RuntimeError(f"the task {name} has ended")
        if find_known(error) is None:  # which says all that there is to say
            _log.critical("task_died", task=name, exc_info=error, hint="the service ends; notebooks stay")
        self._broke.set()

    async def _keep_locked(self) -> None:
        while True:
            await asyncio.sleep(_LOCK_SECONDS)
            self._keep_lock()

    async def until(self, asked_to_stop: asyncio.Event) -> None:
        """Wait until somebody asks for the end, or the service cannot go on (`stop` then raises why)."""
        await finish_unless(self._broke, asked_to_stop.wait(), name="until")

    @property
    def port(self) -> int:
        """The port that visitors connect to (the kernel's choice where 0 was asked for)."""
        return int(self._listeners[0].sockets[0].getsockname()[1])

    @property
    def admin_port(self) -> int:
        """The port of the admin listener."""
        return int(self._admin_runner.addresses[0][1])

    async def stop(self, forced: asyncio.Event | None = None) -> None:
        """In uvicorn's order: stop accepting, ask connections to finish, bounded wait, cancel, containers last.

        A service that could not go on keeps its containers, and then what broke it is raised.
        """
        if not await finish_unless(forced or asyncio.Event(), self._stop(), name="stop"):
            _log.warning("forced", hint="containers stay; the next start takes them up again")
        if self._fault is not None:
            raise self._fault

    async def _stop(self) -> None:
        began = time.monotonic()
        for listener in self._listeners:
            listener.close()
        self.claims.stop()
        await self.proxy.shut_down(self.options.current.shutdown_timeout)
        await self._cancel_tasks()
        await self.claims.close()
        remove = self.options.current.cleanup_on_exit and self._fault is None and await self.pool.is_manager()
        await self.pool.close(remove_everything=remove, timeout_seconds=_CLEANUP_SECONDS)
        if remove:
            try:
                await self.engine.remove_pool()
            except EngineError as error:  # whoever stops a service while its engine is away still stops it
                _log.warning("cleanup_incomplete", error=error.message, remedy=error.remedy)
        if remove:
            await self._static.remove()
            self._book.forget()
        self._stopped = True
        _log.info("stopped", pool=self.pool.name, kept=len(self.pool), duration=round(time.monotonic() - began, 2))

    async def _end_everything(self) -> None:
        for listener in self._listeners:
            listener.close()
        await self._cancel_tasks()
        await self.claims.close()
        self._book.close()
        if not self._stopped:
            await self.proxy.shut_down(0)
        await self._runner.cleanup()
        await self._admin_runner.cleanup()
        self.pool.hang_up()
        await self.engine.close()

    async def _cancel_tasks(self) -> None:
        await self._tasks.close()
        await self._notes_cache.close()

    # --- listening

    async def _listen(self) -> None:
        settings, loop = self.options.current, asyncio.get_running_loop()
        await self._runner.setup()
        await self._admin_runner.setup()
        with listen.explained("port", settings.ip, settings.port):
            for sock in await asyncio.to_thread(listen.bound, settings.ip, settings.port):
                listen.notice_the_dead(sock)
                self._listeners.append(
                    await loop.create_server(self.proxy.client_factory, sock=sock, backlog=_BACKLOG)
                )
        with listen.explained("admin_port", settings.admin_ip, settings.admin_port):
            for sock in await asyncio.to_thread(listen.bound, settings.admin_ip, settings.admin_port):
                await web.SockSite(self._admin_runner, sock).start()
        _log.info(
            "listening",
            url=self._links.on(listen.url(settings.ip, self.port)),
            admin=listen.url(settings.admin_ip, self.admin_port),
            pool=settings.pool_name,
            pool_size=settings.pool_size,
        )

    async def _dial_application(self, factory: Callable[[], P]) -> P:
        """A connection to our own pages inside this process: a pair of sockets, nothing that anybody else sees."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        server = self._runner.server
        assert server is not None  # noqa: S101  (set up before the listener)
        ours.setblocking(False)
        theirs.setblocking(False)
        try:
            await loop.connect_accepted_socket(server, theirs)
            return (await loop.create_unix_connection(factory, sock=ours))[1]
        except BaseException:
            ours.close()  # which ends the other side too
            raise


def _optional_ended(name: str, error: BaseException | None) -> None:
    if error is not None:
        _log.error("task_died", task=name, exc_info=error, hint="the service goes on without it")
