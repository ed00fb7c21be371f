"""`tmpnb-py serve`: chooses the engine, locks the pool, and runs a service until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

import structlog

from tmpnb_py.core.errors import ImageMissingError
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.registry import Chosen, choose
from tmpnb_py.images.provider import ImageProvider
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.groups.pool import EMPTY
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import without_effect
from tmpnb_py.service.app import Service
from tmpnb_py.service.hangup import Hangup
from tmpnb_py.service.listeners import Listeners, activated
from tmpnb_py.service.notify import ServiceManager
from tmpnb_py.service.open_files import connections_that_fit, files_needed, raise_open_files_limit
from tmpnb_py.service.pool_lock import PoolLock, lock_pool
from tmpnb_py.service.reload import reload_with
from tmpnb_py.service.runtime_dir import prepare_runtime_dir
from tmpnb_py.service.upgrade.new import Predecessor
from tmpnb_py.service.upgrade.old import Upgrade
from tmpnb_py.tracing.switch import tracing
from tmpnb_py.workshops.preview import Preview

_log = structlog.get_logger(__name__)


async def serve(
    settings: Settings,
    reread: Callable[[], Settings] | None = None,
    hangup: Hangup | None = None,
    *,
    preview: Preview | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; a second one forces. Raises `TmpnbError` for an operator's mistakes.

    `reread` reads the settings anew, for SIGHUP. Whatever ends the service by itself is raised here. `preview` is a
    folder that is shown in place of the image's workshops; its notes need no engine.
    """
    hangup = hangup or Hangup()
    chosen = await choose(settings, os.environ, workshops=None if preview is None else preview.directory)
    maker = _Maker(chosen)
    try:
        settings = maker.adapted(settings)
    except ImageMissingError as error:
        if preview is None:
            raise
        hint = f"the notes can be read, but nothing runs; {error.remedy}"
        _log.warning("preview_without_engine", error=error.message, hint=hint)
        maker.make = lambda pool: DockerEngine(pool=pool, runtime_dir=settings.runtime_path)
    if preview is not None and not chosen.stores_images:
        settings = settings.model_copy(update=EMPTY)  # each notebook is a copy of the folder as it is then
    _warn_of_unused(settings, chosen)
    runtime_dir = settings.runtime_path
    prepare_runtime_dir(runtime_dir)
    manager = ServiceManager.of(os.environ)
    predecessor = await Predecessor.of(os.environ)
    listeners = Listeners(activated(os.environ) if predecessor is None else predecessor.listeners)
    async with contextlib.AsyncExitStack() as held:
        held.enter_context(contextlib.closing(listeners))
        traced = await held.enter_async_context(tracing(os.environ))
        service = Service(settings, maker, listeners=listeners, preview=preview, tracing=traced)
        held.callback(service.pools.release_locks)
        if predecessor is None:
            service.pools.take_locks()
        _make_room_for_files(settings)
        async with signals() as (asked_to_stop, forced):
            if predecessor is not None:
                predecessor.follow_unless(asked_to_stop)

            def reload() -> None:
                if not asked_to_stop.is_set():
                    manager.reloading()
                    if reread is not None:
                        reload_with(lambda: maker.adapted(reread()), service.reload)
                    manager.ready()

            with hangup.handled(stop=asked_to_stop.set, reload=reload):
                async with service.running(predecessor), _upgradable(service, manager, asked_to_stop) as upgrade:
                    if predecessor is None:
                        manager.ready()
                    await service.until(asked_to_stop)
                    await upgrade.give_up()
                    if not upgrade.is_followed:
                        manager.stopping()
                    _log.info("stopping", hint="a second signal forces")
                    await service.stop(forced)


def _warn_of_unused(settings: Settings, chosen: Chosen) -> None:
    if unused := list(dict.fromkeys(name for one in settings.pools for name in without_effect(one, chosen.name))):
        _log.warning("options_without_effect", options=unused, hint=f"the engine {chosen.name} has no such thing")


class _Maker:
    """Makes what pools work with, on the engine that was chosen. Pools of one image have it built once."""

    def __init__(self, chosen: Chosen) -> None:
        self._chosen = chosen
        self.make = chosen.make
        self._providers: dict[str, ImageProvider] = {}

    def adapted(self, settings: Settings) -> Settings:
        """The settings, and each pool's, as the engine can honour them. Raises as `Chosen.adapt` does."""
        pools = {name: self._chosen.adapt(one) for name, one in settings.tables.items()}
        return self._chosen.adapt(settings).with_tables(pools)

    def engine(self, settings: Settings) -> Engine:
        """The engine of a pool, not opened yet."""
        return self.make(settings.pool_name)

    def lock(self, settings: Settings) -> PoolLock:
        """The lock of a pool, not taken yet."""
        return lock_pool(settings.runtime_path, settings.pool_name)

    def provider(self, settings: Settings) -> ImageProvider | None:
        """What builds the default image where it is missing; any other one is the operator's."""
        if not self._chosen.stores_images or settings.image != DEFAULT_IMAGE:
            return None
        if settings.image not in self._providers:
            self._providers[settings.image] = ImageProvider(self.engine(settings), settings.image)
        return self._providers[settings.image]


@contextlib.asynccontextmanager
async def _upgradable(
    service: Service, manager: ServiceManager, asked_to_stop: asyncio.Event
) -> AsyncIterator[Upgrade]:
    """Upgrade at SIGUSR2, and when the operator's listener is asked to."""
    upgrade, loop = Upgrade(service, manager, asked_to_stop.set), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, upgrade.begin)
    service.upgrade_by(upgrade.run)
    try:
        yield upgrade
    finally:
        loop.remove_signal_handler(signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # the process is ending
        upgrade.close()


def _make_room_for_files(settings: Settings) -> None:
    """Raise the limit of open files; say so where it is too low for the connections that are allowed."""
    limit, needed = raise_open_files_limit(), files_needed(settings.max_connections)
    if limit < needed:
        hint = (
            f"raise the hard limit (LimitNOFILE= of its unit), or max_connections = {connections_that_fit(limit)}; "
            "beyond it newcomers are refused and answers fail"
        )
        _log.warning("open_files_too_few", limit=limit, needed=needed, hint=hint)


@contextlib.asynccontextmanager
async def signals() -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """Two events: set by the first and by the second SIGTERM or SIGINT.

    The handlers stay until the loop is closed, as one more signal must not make an orderly end look like a crash.
    """
    first, second = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def received() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
    yield first, second
