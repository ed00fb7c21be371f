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
from tmpnb_py.engines.registry import choose
from tmpnb_py.images.provider import ImageProvider
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import without_effect
from tmpnb_py.service.app import Service
from tmpnb_py.service.hangup import Hangup
from tmpnb_py.service.listeners import Listeners, activated
from tmpnb_py.service.notify import ServiceManager
from tmpnb_py.service.open_files import connections_that_fit, files_needed, raise_open_files_limit
from tmpnb_py.service.pool_lock import lock_pool
from tmpnb_py.service.reload import reload_with
from tmpnb_py.service.runtime_dir import prepare_runtime_dir
from tmpnb_py.service.upgrade.new import Predecessor
from tmpnb_py.service.upgrade.old import Upgrade
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
    try:
        engine, settings = chosen.engine, chosen.adapt(settings)
    except ImageMissingError as error:
        if preview is None:
            raise
        hint = f"the notes can be read, but nothing runs; {error.remedy}"
        _log.warning("preview_without_engine", error=error.message, hint=hint)
        engine = DockerEngine(pool=settings.pool_name, runtime_dir=settings.runtime_path)
    if preview is not None and not engine.stores_images:
        settings = settings.model_copy(update={"pool_size": 0})  # each notebook is a copy of the folder as it is then
    if unused := without_effect(settings, engine.name):
        _log.warning("options_without_effect", options=unused, hint=f"the engine {engine.name} has no such thing")
    runtime_dir = settings.runtime_path
    prepare_runtime_dir(runtime_dir)
    manager = ServiceManager.of(os.environ)
    predecessor = await Predecessor.of(os.environ)
    listeners = Listeners(activated(os.environ) if predecessor is None else predecessor.listeners)
    with contextlib.closing(listeners), contextlib.ExitStack() as held:
        lock = lock_pool(runtime_dir, settings.pool_name)
        if predecessor is None:
            lock.take()
        held.callback(lock.release)
        _make_room_for_files(settings)
        provider = _provider(engine, settings)
        service = Service(settings, engine, image_provider=provider, lock=lock, listeners=listeners, preview=preview)
        async with signals() as (asked_to_stop, forced):
            if predecessor is not None:
                predecessor.follow_unless(asked_to_stop)

            def reload() -> None:
                if not asked_to_stop.is_set():
                    manager.reloading()
                    if reread is not None:
                        reload_with(lambda: chosen.adapt(reread()), service.reload)
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


def _provider(engine: Engine, settings: Settings) -> ImageProvider | None:
    if engine.stores_images and settings.image == DEFAULT_IMAGE:
        return ImageProvider(engine, settings.image)
    return None


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
