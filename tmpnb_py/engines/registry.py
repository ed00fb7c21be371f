"""The registry of engines and the choice of one. Used by `serve` and by the commands.

A new engine is a folder beside `docker`, `local` and `swarm`, and one line in `ENGINES`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog

from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.docker.host import resolve
from tmpnb_py.engines.local.engine import LocalEngine
from tmpnb_py.engines.local.fitting import for_local_engine, need_jupyterlab
from tmpnb_py.engines.local.machine import find_sandbox
from tmpnb_py.engines.swarm.engine import Swarm, SwarmEngine
from tmpnb_py.engines.swarm.fitting import for_swarm
from tmpnb_py.options.groups.swarm import DEFAULT_SECRET
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import choose_engine

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The engine, not opened yet, and a function that adapts settings to it (reloaded ones, too).

    `adapt` raises `SettingsError`, and `ImageMissingError` if the engine needs JupyterLab and there is none.
    """

    engine: Engine
    adapt: Callable[[Settings], Settings]


async def choose(
    settings: Settings, environ: Mapping[str, str], *, pool: str | None = None, workshops: Path | None = None
) -> Chosen:
    """Make the engine for the settings' pool, or for `pool`. Raises `EngineError`, `SettingsError`."""
    name = choose_engine(settings, environ)
    return await ENGINES[name](settings, environ, pool or settings.pool_name, workshops)


async def _docker(settings: Settings, environ: Mapping[str, str], pool: str, _workshops: Path | None) -> Chosen:
    resolve(None, environ)  # the engine may start later, but never at a malformed address
    return Chosen(DockerEngine(pool=pool, runtime_dir=settings.runtime_path), lambda same: same)


async def _swarm(settings: Settings, environ: Mapping[str, str], pool: str, _workshops: Path | None) -> Chosen:
    resolve(None, environ)
    secret = settings.swarm_secret or DEFAULT_SECRET
    swarm = Swarm(settings.swarm_relays, secret, settings.swarm_constraint, settings.node_grace)
    return Chosen(SwarmEngine(pool=pool, runtime_dir=settings.runtime_path, swarm=swarm), for_swarm)


async def _local(settings: Settings, _environ: Mapping[str, str], pool: str, workshops: Path | None) -> Chosen:
    if settings.engine == "auto":
        _log.info("engine", engine="local", hint="DOCKER_HOST is not set and /var/run/docker.sock does not exist")
    directory = workshop_directory()
    sandbox, reason = await asyncio.to_thread(find_sandbox, directory / "start-notebook.sh")
    engine = LocalEngine(
        pool=pool,
        runtime_dir=settings.runtime_path,
        workshop_directory=directory,
        workshops=workshops,
        sandbox=sandbox,
    )

    def adapt(settings: Settings) -> Settings:
        need_jupyterlab(settings)
        return for_local_engine(settings, sandbox, reason)

    return Chosen(engine, adapt)


# Each makes the engine for a pool. An engine without images gives notebooks the workshops of the directory, if any.
ENGINES: dict[str, Callable[[Settings, Mapping[str, str], str, Path | None], Awaitable[Chosen]]] = {
    "docker": _docker,
    "local": _local,
    "swarm": _swarm,
}
