"""The registry of engines and the choice of one. Used by `serve` and by the commands.

A new engine of ours is a folder beside `docker`, `local` and `swarm`, and one line in `ENGINES`. One of others
is in a package that is installed beside and names, as an entry point, a function of the same kind. Only the engine
that the operator names is loaded; our names stay ours, whatever else is installed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog

from tmpnb_py.core.errors import SettingsError, TmpnbError
from tmpnb_py.core.installation import engines_of_others, workshop_directory
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.docker.host import resolve
from tmpnb_py.engines.local.engine import LocalEngine
from tmpnb_py.engines.local.fitting import for_local_engine, need_jupyterlab
from tmpnb_py.engines.local.machine import find_sandbox
from tmpnb_py.engines.swarm.engine import Swarm, SwarmEngine
from tmpnb_py.engines.swarm.fitting import for_swarm
from tmpnb_py.options.groups.swarm import DEFAULT_SECRET
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.sources import choose_engine, refused

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The engine's name, what makes it for a pool of a name, not opened yet, and what adapts settings to it.

    `adapt` raises `SettingsError`, and `ImageMissingError` if the engine needs JupyterLab and there is none.
    """

    name: str
    make: Callable[[str], Engine]
    adapt: Callable[[Settings], Settings]
    stores_images: bool = True


# An engine without images gives notebooks the workshops of the directory, if any.
Choice = Callable[[Settings, Mapping[str, str], Path | None], Awaitable[Chosen]]


async def choose(settings: Settings, environ: Mapping[str, str], *, workshops: Path | None = None) -> Chosen:
    """Choose the engine. Raises `EngineError`, `SettingsError`."""
    name = choose_engine(settings, environ)
    if name in ENGINES:
        return await ENGINES[name](settings, environ, workshops)
    return await _of_others(name, settings, environ, workshops)


async def _docker(settings: Settings, environ: Mapping[str, str], _workshops: Path | None) -> Chosen:
    resolve(None, environ)  # the engine may start later, but never at a malformed address
    directory = settings.runtime_path
    return Chosen("docker", lambda pool: DockerEngine(pool=pool, runtime_dir=directory), lambda same: same)


async def _swarm(settings: Settings, environ: Mapping[str, str], _workshops: Path | None) -> Chosen:
    resolve(None, environ)
    secret = settings.swarm_secret or DEFAULT_SECRET
    swarm = Swarm(settings.swarm_relays, secret, settings.swarm_constraint, settings.node_grace)
    directory = settings.runtime_path
    return Chosen("swarm", lambda pool: SwarmEngine(pool=pool, runtime_dir=directory, swarm=swarm), for_swarm)


async def _local(settings: Settings, _environ: Mapping[str, str], workshops: Path | None) -> Chosen:
    if settings.engine == "auto":
        _log.info("engine", engine="local", hint="DOCKER_HOST is not set and /var/run/docker.sock does not exist")
    directory = workshop_directory()
    sandbox, reason = await asyncio.to_thread(find_sandbox, directory / "start-notebook.sh")
    runtime_dir = settings.runtime_path

    def make(pool: str) -> Engine:
        return LocalEngine(
            pool=pool,
            runtime_dir=runtime_dir,
            workshop_directory=directory,
            workshops=workshops,
            sandbox=sandbox,
        )

    def adapt(settings: Settings) -> Settings:
        need_jupyterlab(settings)
        return for_local_engine(settings, sandbox, reason)

    return Chosen("local", make, adapt, stores_images=False)


async def _of_others(name: str, settings: Settings, environ: Mapping[str, str], workshops: Path | None) -> Chosen:
    """An engine of another package. Raises `SettingsError` with the package's name for whatever fails in there."""
    found = list(engines_of_others().select(name=name))
    packages = " and ".join(f"{one.dist.name} {one.dist.version}" if one.dist else one.value for one in found)
    if len(found) != 1:
        who = f"is of more than one package: {packages}" if found else "is of no package that is installed"
        raise SettingsError(f"--engine: {name} {who}", remedy="Install exactly one package that has it.")
    try:
        chosen: object = await found[0].load()(settings, environ, workshops)
        if not isinstance(chosen, Chosen):
            raise TypeError(f"it returned {type(chosen).__name__} in place of Chosen")
    except TmpnbError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise SettingsError(
            f"--engine: {name} of {packages} does not work here: {type(error).__name__}: {error} "
            f"({Path(frame.filename).name}, line {frame.lineno})",
            remedy=f"Update or reinstall that package; {found[0].value} is what it names as its engine.",
        ) from error
    adapt = chosen.adapt

    def adapt_and_refuse(settings: Settings) -> Settings:
        if odd := [OPTIONS[one].flag for one in refused(settings, name)]:
            raise SettingsError(f"{', '.join(odd)}: the engine {name} has no such thing", remedy="Leave it out.")
        return adapt(settings)

    return dataclasses.replace(chosen, name=name, adapt=adapt_and_refuse)


ENGINES: dict[str, Choice] = {
    "docker": _docker,
    "local": _local,
    "swarm": _swarm,
}
