"""The checks of `doctor`. Each yields findings, never raises, and undoes its changes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
import platform
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp

from tmpnb_py import __version__
from tmpnb_py.cli.commands import surroundings
from tmpnb_py.cli.commands.engine import as_the_service, opened_engine
from tmpnb_py.cli.commands.findings import Finding, Grade, of_nodes
from tmpnb_py.cli.commands.measure import Measurement, measure
from tmpnb_py.cli.commands.output import size
from tmpnb_py.core.errors import (
    EngineError,
    ImageMissingError,
    ManifestError,
    PoolLockedError,
    SettingsError,
    StartFailedError,
    TmpnbError,
    UnprotectedError,
)
from tmpnb_py.core.models import ContainerConfig, EngineInfo, Gap, Transport
from tmpnb_py.core.units import GIB
from tmpnb_py.engines.base import Engine
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import LoadedSettings
from tmpnb_py.pools.configuration import PoolConfiguration
from tmpnb_py.service import listen
from tmpnb_py.service.open_files import connections_that_fit, files_needed, open_files_limit
from tmpnb_py.service.pool_lock import lock_pool
from tmpnb_py.service.runtime_dir import borrowed_runtime_dir, user_name
from tmpnb_py.site.offers import Shown, conflicts
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.warming import Warming

_OLDEST_ENGINE = (20, 10)
_PORT_SECONDS = 3.0


@dataclasses.dataclass(slots=True)
class Examination:
    """Runs the checks, and keeps their figures for `--plan`."""

    loaded: LoadedSettings
    pools: tuple[Settings, ...]
    info: EngineInfo | None = None
    trial: Measurement | None = None
    shown: list[Shown] = dataclasses.field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    async def findings(self) -> AsyncIterator[Finding]:
        """Run all checks in order, as later ones build on earlier ones."""
        yield Finding(Grade.OK, "versions", f"tmpnb-py {__version__}, Python {platform.python_version()}")
        for warning in self.loaded.warnings:
            yield Finding(Grade.WARN, "settings", warning)
        async for finding in self._in_runtime_dir():
            yield finding
        for option in ("port", "admin_port"):
            yield await _port(self.settings, option)
        yield _files(self.settings)
        if self.info is not None:
            yield _memory(self.pools, self.info)
        for finding in await self._surroundings():
            yield finding
        for conflict in conflicts(self.shown) if len(self.shown) > 1 else ():
            yield Finding(Grade.WARN, "workshops", conflict)

    async def _surroundings(self) -> list[Finding]:
        """What is round the service, from the engine's clock to the way to the web."""
        info, pools = self.info, self.pools
        found = list(surroundings.of_engine(info, pools)) if info is not None else []
        is_here = info is not None and surroundings.is_here(info)
        found += [*surroundings.of_disks(self.settings, info if is_here else None)]
        found += [*surroundings.of_watchers(pools), *surroundings.of_network(pools, is_here=is_here)]
        return [*found, *await surroundings.of_web(pools, os.environ)]

    async def _in_runtime_dir(self) -> AsyncIterator[Finding]:
        """The checks that use the runtime directory, as its owner."""
        try:
            self.loaded = dataclasses.replace(self.loaded, settings=as_the_service(self.settings))
            directory = self.settings.runtime_path
            self.pools = tuple(one.model_copy(update={"runtime_dir": directory}) for one in self.pools)
            with borrowed_runtime_dir(directory):
                for pool in self.pools:
                    for finding in _runtime_dir(pool):
                        yield self._said_of(pool, finding)
                for pool in self.pools:
                    async for finding in self._engine(pool):
                        yield self._said_of(pool, finding)
        except SettingsError as error:
            yield Finding(Grade.FAIL, "permissions", error.message, error.remedy)

    def _said_of(self, pool: Settings, finding: Finding) -> Finding:
        """A finding with the pool's name before it, where pools have tables."""
        if not self.settings.tables:
            return finding
        return dataclasses.replace(finding, text=f"{pool.label}: {finding.text}")

    async def _engine(self, settings: Settings) -> AsyncIterator[Finding]:
        try:
            async with opened_engine(settings, pool=f"{settings.pool_name}-doctor") as engine:
                self.info = info = await engine.info()
                yield _engine_found(info)
                try:
                    async for finding in self._image(engine, settings):
                        yield finding
                finally:
                    await engine.remove_pool()
        except TmpnbError as error:
            yield Finding(Grade.FAIL, "engine", error.message, error.remedy)

    async def _image(self, engine: Engine, settings: Settings) -> AsyncIterator[Finding]:
        configuration = PoolConfiguration(engine, LiveOptions(settings))
        config, found = await _resolved(configuration, settings)
        yield found
        for finding in of_nodes(await engine.nodes()):
            yield finding
        if config is None:
            return
        yield await self._learn_workshops(engine, settings, config)
        for finding in _isolation(engine, configuration.gaps):
            yield finding
        try:
            self.trial = trial = await measure(engine, config, timeout_seconds=settings.start_timeout)
        except StartFailedError as error:
            yield Finding(
                Grade.FAIL,
                "start",
                f"over a {_way(config.transport)}: {error.message}",
                "See its output below; the server must listen where --command tells it to, below {base_path}.",
                error.log_lines,
            )
            return
        except EngineError as error:
            yield Finding(Grade.FAIL, "start", error.message, error.remedy or "See the engine's log.")
            return
        for finding in _started(trial):
            yield finding

    async def _learn_workshops(self, engine: Engine, settings: Settings, config: ContainerConfig) -> Finding:
        """Note which workshops there are. Returns what kernels are started ahead."""
        catalogue = Catalogue(engine)
        with contextlib.suppress(ManifestError):
            catalogue.read_own(settings.workshops_file)
        await catalogue.learn(config.image)
        slugs = [one.slug for one in catalogue.manifest.workshops]
        self.shown.append(Shown(settings.label, settings.workshops, slugs if catalogue.is_known else None))
        warming = Warming(LiveOptions(settings), catalogue, engine, pools=lambda: self.pools)
        kernels = ", ".join(map(str, await warming.kernels(config.image)))
        because = f": {warming.because}" if warming.because else ""
        text = f"{kernels or 'nothing'} is started before visitors come{because}"
        if warming.missing:
            remedy = "Name others with warm_kernels, or use an image that can start them."
            return Finding(Grade.WARN, "warm", text, remedy)
        return Finding(Grade.OK, "warm", text)


def _runtime_dir(settings: Settings) -> list[Finding]:
    path, pool = settings.runtime_path, settings.pool_name
    try:
        with lock_pool(path, pool):
            pass
    except PoolLockedError as error:
        return [Finding(Grade.OK, "pool", f"{error.message}; the checks do not disturb it")]
    except (TmpnbError, OSError) as error:
        return [Finding(Grade.FAIL, "permissions", str(error), getattr(error, "remedy", "") or "Use --runtime-dir.")]
    return [
        Finding(Grade.OK, "permissions", f"{path} belongs to {user_name(os.geteuid())}"),
        Finding(Grade.OK, "pool", f'no service manages the pool "{pool}" now'),
    ]


async def _resolved(configuration: PoolConfiguration, settings: Settings) -> tuple[ContainerConfig | None, Finding]:
    try:
        config = await configuration.resolve()
    except ImageMissingError as error:
        return None, _image_missing(settings, error)
    except UnprotectedError as error:
        return None, Finding(Grade.FAIL, "isolation", error.message, error.remedy)
    except EngineError as error:
        return None, Finding(Grade.FAIL, "image", error.message, error.remedy)
    return config, Finding(Grade.OK, "image", f"the engine has {settings.image}")


def _engine_found(info: EngineInfo) -> Finding:
    text = f"{info.name} {info.version}, {info.cpus} CPUs, {size(info.memory)} of memory"
    parts = info.version.split(".")
    if (
        len(parts) >= 2
        and all(part.isdigit() for part in parts[:2])
        and (int(parts[0]), int(parts[1])) < _OLDEST_ENGINE
    ):
        return Finding(Grade.WARN, "engine", text, "Older than 20.10, the oldest tested version: update it.")
    return Finding(Grade.OK, "engine", text)


def _image_missing(settings: Settings, error: ImageMissingError) -> Finding:
    if settings.image == DEFAULT_IMAGE:
        remedy = "serve builds it at its first start, which takes minutes; tmpnb-py image build builds it now."
        return Finding(Grade.WARN, "image", error.message, remedy)
    return Finding(Grade.FAIL, "image", error.message, error.remedy)


def _isolation(engine: Engine, gaps: tuple[Gap, ...]) -> list[Finding]:
    if not gaps and engine.sees_isolation:
        text = "a container made like a notebook has its limits and no privileges, and reaches nothing forbidden"
        return [Finding(Grade.OK, "isolation", text)]
    return [Finding(Grade.WARN, "isolation", gap.text, gap.remedy) for gap in gaps]


def _way(transport: Transport) -> str:
    return "Unix socket" if transport is Transport.SOCKET else transport.value


def _started(trial: Measurement) -> list[Finding]:
    figures = trial.figures
    text = f"answers below its base path after {figures.start_seconds:.2f} s over a {_way(trial.transport)}"
    found = [Finding(Grade.OK, "start", f"{text}; {size(figures.memory_ready)} of memory")]
    if trial.kernel:
        text = f"starts; {size(figures.memory_working)} of memory with it"
        found.append(Finding(Grade.OK, "kernel", text))
    else:
        remedy = "Check that the image has a kernel, and that mem_limit and pids_limit are large enough for it."
        found.append(Finding(Grade.WARN, "kernel", "the image's default kernel did not become idle", remedy))
    return found


async def _port(settings: Settings, option: str) -> Finding:
    host, port = (settings.ip, settings.port) if option == "port" else (settings.admin_ip, settings.admin_port)
    place = f"{option} {port} on {host}"
    if not port:
        return Finding(Grade.OK, "ports", f"{option}: the kernel picks one")
    error = await asyncio.to_thread(_bind, host, port)
    if error is None:
        return Finding(Grade.OK, "ports", f"{place} is free")
    flag = f"--{option.replace('_', '-')}"
    if error.errno != errno.EADDRINUSE:
        return Finding(
            Grade.FAIL, "ports", f"{place}: {error.strerror}", f"Choose another address or port with {flag}."
        )
    if await _is_ours(host, port):
        return Finding(Grade.OK, "ports", f"{place} is used by tmpnb-py itself")
    remedy = f"Stop the program that uses it (ss -ltnp shows it), or choose another one with {flag}."
    return Finding(Grade.FAIL, "ports", f"{place} is taken by another program", remedy)


def _bind(host: str, port: int) -> OSError | None:
    """Why nothing can listen on the address; None if it is free."""
    try:
        for listener in listen.bound(host, port):
            listener.close()
    except OSError as error:
        return error
    return None


async def _is_ours(host: str, port: int) -> bool:
    """Whether a tmpnb-py service listens there."""
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = f"http://[{target}]:{port}/healthz" if ":" in target else f"http://{target}:{port}/healthz"
    timeout = aiohttp.ClientTimeout(total=_PORT_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200 and await response.content.read(1024) == b'{"status": "ok"}'
    except (aiohttp.ClientError, OSError):
        return False


def _files(settings: Settings) -> Finding:
    """Check the limit of open files, as each visitor's connection takes some."""
    limit, needed = open_files_limit(), files_needed(settings.max_connections)
    text = f"{limit} files may be open; max_connections ({settings.max_connections}) needs {needed}"
    if limit >= needed:
        return Finding(Grade.OK, "files", text)
    return Finding(
        Grade.WARN,
        "files",
        text,
        "Raise the hard limit (ulimit -Hn, LimitNOFILE= of its unit), or lower --max-connections to "
        f"{connections_that_fit(limit)} or less.",
    )


def _memory(pools: Sequence[Settings], info: EngineInfo) -> Finding:
    def times(one: Settings) -> str:
        return " at the largest of the timetable" if one.largest_size > one.base_size else ""

    needed = sum(one.largest_size * one.mem_limit for one in pools)
    each = " and ".join(
        f"{one.largest_size} ready notebooks{times(one)} of at most {size(one.mem_limit)} each"
        for one in pools
        if one.largest_size
    )
    text = f"{each or 'no ready notebooks'}: {size(needed)} of the engine's {size(info.memory)}"
    if needed > info.memory and len(pools) == 1:
        of_timetable = " and those of the timetable" if times(pools[0]) else ""
        fitting = info.memory // pools[0].mem_limit
        return Finding(
            Grade.FAIL, "memory", text, f"Lower --pool-size{of_timetable} to {fitting} or less, or --mem-limit."
        )
    if needed > info.memory:
        return Finding(Grade.FAIL, "memory", text, "Lower pool_size or mem_limit in the pools' tables.")
    if needed > info.memory - GIB:
        return Finding(Grade.WARN, "memory", text, "Leave 1 GiB for the system, the engine and tmpnb-py.")
    return Finding(Grade.OK, "memory", text)


def free_disk() -> int | None:
    """Free disk space in the engine's data directory, if that is on this machine in its usual place."""
    for place in (Path(os.environ.get("DOCKER_DATA_ROOT", "")), Path("/var/lib/docker")):
        if place.is_absolute() and place.is_dir():
            return shutil.disk_usage(place).free
    return None
