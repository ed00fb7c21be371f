"""The composition root: builds engine, pool, reconciler, reaper, web application and proxy; owns start and stop.

`serve()` is what the command line runs. `Service` is the same thing for whoever brings an engine of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TypeVar

import structlog
from aiohttp import web

from tmpnb_py import __version__, logs
from tmpnb_py.blueprint import Blueprint
from tmpnb_py.catalogue import Catalogue
from tmpnb_py.claims import Claims
from tmpnb_py.control import Control, Gate
from tmpnb_py.engine_choice import choose
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.docker import DockerEngine
from tmpnb_py.engines.local import LocalEngine
from tmpnb_py.engines.measured import MeasuredEngine
from tmpnb_py.errors import EngineError, ListenError, SettingsError
from tmpnb_py.idle import Limits
from tmpnb_py.image_provider import ImageProvider
from tmpnb_py.journal import Journal
from tmpnb_py.line import Line, StartRate
from tmpnb_py.metrics import Counters, Metrics
from tmpnb_py.models import State
from tmpnb_py.pool import Container, Pool
from tmpnb_py.proxy.server import Proxy, ProxyLimits
from tmpnb_py.reaper import Reaper
from tmpnb_py.reconciler import Options, Reconciler
from tmpnb_py.reload import Change, compare
from tmpnb_py.runtime import lock_pool, prepare_runtime_dir
from tmpnb_py.settings import DEFAULT_IMAGE, OPTIONS, Settings
from tmpnb_py.settings_load import without_effect
from tmpnb_py.settings_values import format_value
from tmpnb_py.web.application import admin_application, public_application
from tmpnb_py.web.context import Context, Cors
from tmpnb_py.web.respond import proxy_error_page

_BACKLOG = 1024
_CLEANUP_SECONDS = 60.0
# What a claim makes durable goes before the start of its replacement, which keeps the engine's disk busy. (Measured
# with a full pool on a busy machine: median 11 instead of 16 ms to the visitor's answer.)
_HEAD_START = 0.02

_log = structlog.get_logger(__name__)

P = TypeVar("P", bound=asyncio.BaseProtocol)


async def serve(settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; a second one forces. Raises `TmpnbError` for an operator's mistakes.

    `reread` reads the settings anew, for SIGHUP.
    """
    chosen = await choose(settings, os.environ)
    engine, settings = chosen.engine, chosen.adapt(settings)
    if unused := without_effect(settings, engine.name):
        _log.warning("options_without_effect", options=unused, hint=f"the engine {engine.name} has no such thing")
    runtime_dir = settings.runtime_path
    prepare_runtime_dir(runtime_dir)
    with lock_pool(runtime_dir, settings.pool_name):
        provider = None
        if isinstance(engine, DockerEngine) and settings.image == DEFAULT_IMAGE:
            provider = ImageProvider(engine, settings.image)
        service = Service(settings, engine, image_provider=provider)
        async with _signals() as (asked_to_stop, forced), service.running():
            with _on_hangup(lambda: _reload(service, reread, chosen.adapt)):
                await asked_to_stop.wait()
            _log.info("stopping", hint="a second signal forces")
            await service.stop(forced)


@contextlib.asynccontextmanager
async def _signals() -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """Two events: set by the first and by the second SIGTERM or SIGINT."""
    first, second = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def received() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
    try:
        yield first, second
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _on_hangup(reload: Callable[[], None]) -> Iterator[None]:
    """Call `reload` at each SIGHUP."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _reload(service: Service, reread: Callable[[], Settings] | None, adapt: Callable[[Settings], Settings]) -> None:
    """Read the settings anew and take on what can be. A mistake in them changes nothing."""
    if reread is None:
        return
    try:
        settings = adapt(reread())
    except SettingsError as error:
        _log.error("reload_failed", error=error.message, hint="the service goes on with the settings that it had")
        return
    service.reload(settings)


class Service:
    """One pool with everything around it. Use `async with service.running()`; then `stop()` for a clean end."""

    def __init__(self, settings: Settings, engine: Engine, *, image_provider: ImageProvider | None = None) -> None:
        self.settings = settings
        self.engine = engine
        self.pool = Pool(settings.pool_name)
        self.counters = Counters()
        line, rate = Line(settings.max_waiting), StartRate()
        gate = Gate(settings.runtime_path / f"{settings.pool_name}.closed")
        catalogue = Catalogue(engine)
        self.metrics = Metrics(
            self.pool,
            self.counters,
            version=__version__,
            waiting=lambda: len(line),
            is_open=lambda: gate.is_open,
            workshops=catalogue.slugs,
        )
        journal = Journal(self.pool, self.metrics)
        measured = MeasuredEngine(engine, self.metrics.engine_called)
        self._provider = image_provider
        self._blueprint = Blueprint(measured, settings, pool_size=lambda: self.pool.size, on_image=catalogue.learn)
        self.reconciler = Reconciler(
            measured,
            self.pool,
            self.metrics,
            options=_reconciler_options(settings),
            configuration=self._blueprint,
            rate=rate,
            waiting=lambda: len(line),
            on_image_missing=image_provider.ask if image_provider is not None else None,
        )
        self.claims = Claims(
            measured,
            self.pool,
            self.metrics,
            line=line,
            rate=rate,
            concurrency=settings.starts_at_once,
            wake_reconciler=self.reconciler.observe_soon,
            is_open=lambda: gate.is_open,
        )
        self.control = Control(
            self.pool,
            gate,
            max_containers=settings.max_containers,
            dismiss_line=self.claims.dismiss_line,
            observe_soon=self.reconciler.observe_soon,
        )
        limits = _idle_limits(settings)
        self.reaper = Reaper(self.pool, limits)
        self._context = Context(
            pool=self.pool,
            claims=self.claims,
            control=self.control,
            metrics=self.metrics,
            catalogue=catalogue,
            limits=limits,
            image=settings.image,
            max_wait=settings.max_wait,
            redirect_uri=settings.redirect_uri,
            api_token=settings.api_auth_token.get_secret_value(),
            cors=_cors(settings),
            admin_token=settings.admin_auth_token.get_secret_value(),
            admin_hosts=frozenset(("localhost", "127.0.0.1", "::1", settings.admin_ip)),
            began=lambda container, workshop: journal.session_started(container, workshop=workshop),
            audit_client_address=settings.audit_client_address,
            trusted_proxies=settings.trusted_proxies,
        )
        self._runner = web.AppRunner(
            public_application(self._context),
            handler_cancellation=True,  # a visitor who leaves gives up the place in line
            access_log=None,
            max_line_size=settings.max_head_size,
            max_field_size=settings.max_head_size,
        )
        self._admin_runner = web.AppRunner(
            admin_application(self._context), handler_cancellation=True, access_log=None
        )
        self.proxy = Proxy(
            self.pool,
            application=self._dial_application,
            error_page=proxy_error_page,
            counters=self.counters,
            limits=_proxy_limits(settings),
            trusted_proxies=settings.trusted_proxies,
        )
        self._listener: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        self.pool.subscribe(journal)
        self.pool.subscribe(self._on_transition)

    def reload(self, settings: Settings) -> Change:
        """Take on what can change while the service runs; the log says of each option whether it did."""
        change = compare(self.settings, settings)
        for name in change.restart:
            _log.warning("option_needs_restart", option=name, hint="notebooks and their visitors stay")
        if "pool_size" in change.changed:
            self.pool.size = settings.pool_size
        self.settings = settings = change.settings
        self._blueprint.configure(settings)
        self.reconciler.configure(_reconciler_options(settings))
        self.claims.configure(concurrency=settings.starts_at_once, max_waiting=settings.max_waiting)
        self.control.configure(max_containers=settings.max_containers)
        self.proxy.limits = _proxy_limits(settings)
        self.reaper.configure(_idle_limits(settings))
        self._configure_pages(settings)
        logs.set_level(settings.log_level)
        for name in change.changed:
            value = format_value(OPTIONS[name].kind, getattr(settings, name))
            _log.warning("option_changed", option=name, value=value)
        _log.info("reloaded", pool=self.pool.name, changed=len(change.changed), need_restart=len(change.restart))
        return change

    def _configure_pages(self, settings: Settings) -> None:
        context = self._context
        context.limits = _idle_limits(settings)
        context.image = settings.image
        context.max_wait = settings.max_wait
        context.redirect_uri = settings.redirect_uri
        context.admin_token = settings.admin_auth_token.get_secret_value()
        context.audit_client_address = settings.audit_client_address

    def _on_transition(self, container: Container) -> None:
        if container.state is State.READY:
            self.claims.serve_line()
        elif container.state is State.REMOVING:
            self.proxy.drop(container.id)
        elif container.state is State.CLAIMED:
            asyncio.get_running_loop().call_later(_HEAD_START, self.reconciler.wake)
            return
        self.reconciler.wake()

    # --- start and stop

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        """Listen from the first moment, then work; on leaving, whatever is left is ended at once."""
        try:
            await self._listen()
            self._own("reconciler", self.reconciler.run())
            self._own("reaper", self.reaper.run())
            self._own("proxy", self.proxy.run())
            if self._provider is not None:
                self._own("image-provider", self._provider.run(self.reconciler.observe_soon))
            yield self
        finally:
            await self._end_everything()

    def _own(self, name: str, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(_die_loudly)
        self._tasks.append(task)

    @property
    def port(self) -> int:
        """The port that visitors connect to (the kernel's choice where 0 was asked for)."""
        assert self._listener is not None  # noqa: S101  (asked only while running)
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def admin_port(self) -> int:
        """The port of the admin listener."""
        return int(self._admin_runner.addresses[0][1])

    async def stop(self, forced: asyncio.Event | None = None) -> None:
        """In uvicorn's order: stop accepting, ask connections to finish, bounded wait, cancel, containers last."""
        work = asyncio.get_running_loop().create_task(self._stop(), name="stop")
        force = asyncio.get_running_loop().create_task((forced or asyncio.Event()).wait(), name="force")
        await asyncio.wait((work, force), return_when=asyncio.FIRST_COMPLETED)
        force.cancel()
        if not work.done():
            _log.warning("forced", hint="containers stay; the next start takes them up again")
            work.cancel()
        await asyncio.gather(work, force, return_exceptions=True)
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    async def _stop(self) -> None:
        began = time.monotonic()
        if self._listener is not None:
            self._listener.close()
        await self.proxy.shut_down(self.settings.shutdown_timeout)
        await self._cancel_tasks()
        remove = self.settings.cleanup_on_exit
        await self.reconciler.close(remove_everything=remove, timeout_seconds=_CLEANUP_SECONDS)
        if remove and isinstance(self.engine, DockerEngine | LocalEngine):
            try:
                await self.engine.remove_pool()
            except EngineError as error:  # whoever stops a service while its engine is away still stops it
                _log.warning("cleanup_incomplete", error=error.message, remedy=error.remedy)
        self._stopped = True
        _log.info("stopped", pool=self.pool.name, kept=len(self.pool), duration=round(time.monotonic() - began, 2))

    async def _end_everything(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._cancel_tasks()
        if not self._stopped:
            await self.proxy.shut_down(0)
        await self._runner.cleanup()
        await self._admin_runner.cleanup()
        for container in self.pool:
            if container.endpoint is not None:
                container.endpoint.close()
        await self.engine.close()

    async def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    # --- listening

    async def _listen(self) -> None:
        settings, loop = self.settings, asyncio.get_running_loop()
        await self._runner.setup()
        await self._admin_runner.setup()
        with _listening("port", settings.ip, settings.port):
            self._listener = await loop.create_server(
                self.proxy.client_factory, settings.ip, settings.port, backlog=_BACKLOG
            )
        with _listening("admin_port", settings.admin_ip, settings.admin_port):
            await web.TCPSite(self._admin_runner, settings.admin_ip, settings.admin_port).start()
        _log.info(
            "listening",
            url=_url(settings.ip, self.port),
            admin=_url(settings.admin_ip, self.admin_port),
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


def _die_loudly(task: asyncio.Task[None]) -> None:
    """One of the service's own tasks may end only by being cancelled; anything else is a mistake of ours."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("task_died", task=task.get_name(), exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _listening(option: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        flag = option.replace("_", "-")
        if error.errno == errno.EADDRINUSE:
            remedy = f"Stop the program that uses it (ss -ltnp shows it), or choose another one with --{flag}."
            raise ListenError(f"port {port} on {host} is taken", remedy=remedy) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            remedy = f"Ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another one with --{flag}."
            raise ListenError(f"port {port} on {host} is not allowed for this user", remedy=remedy) from error
        remedy = f"Give an address of this machine with --{flag.replace('port', 'ip')}; 0.0.0.0 is all of them."
        raise ListenError(f"cannot listen on {host}: {error.strerror or error}", remedy=remedy) from error


def _url(host: str, port: int) -> str:
    shown = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"


def _reconciler_options(settings: Settings) -> Options:
    return Options(
        pool_size=settings.pool_size,
        concurrency=settings.starts_at_once,
        ready_max_age=settings.ready_max_age,
        start_timeout=settings.start_timeout,
        id_length=settings.user_length,
    )


def _idle_limits(settings: Settings) -> Limits:
    return Limits(
        timeout=settings.cull_timeout,
        disconnected=settings.cull_disconnected,
        busy=settings.cull_busy,
        unvisited=settings.cull_unvisited,
        maximum=settings.cull_max,
    )


def _cors(settings: Settings) -> Cors:
    return Cors(
        origins=frozenset(settings.allow_origin),
        methods=settings.allow_methods or "",
        headers=settings.allow_headers or "",
        expose=settings.expose_headers or "",
        credentials=settings.allow_credentials,
        max_age=None if settings.max_age is None else int(settings.max_age),
    )


def _proxy_limits(settings: Settings) -> ProxyLimits:
    return ProxyLimits(
        max_head_size=settings.max_head_size,
        max_connections=settings.max_connections,
        head_timeout=settings.head_timeout,
        body_timeout=settings.body_timeout,
        write_timeout=settings.write_timeout,
        keepalive_timeout=settings.keepalive_timeout,
        connect_timeout=settings.connect_timeout,
        response_timeout=settings.response_timeout,
    )
