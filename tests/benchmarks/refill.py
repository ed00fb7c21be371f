"""How fast a pool of 20 fills from empty, against a bare loop of `docker run` at the same concurrency.

The loop's options are made from the body with which the product creates a container, so they are the same by
construction; an option that cannot be said to `docker run` fails the benchmark instead of falling out of it. Two
things are the product's own and the loop cannot have them: it sets the CPU limit only at readiness (so the loop runs
with the limit, and without any, which is kinder to it), and it says `NetworkDisabled`, for which `docker run` has
only `--network none`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks import rig
from tests.benchmarks.rig import Row
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, SocketAddress, Transport
from tmpnb_py.engines import cpu_time
from tmpnb_py.engines.docker import options as docker_options
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.sockets import SocketDirectories
from tmpnb_py.jupyter.questions import wait_until_ready
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import PoolConfiguration

SIZE = 20
_FILL_SECONDS = 600.0
_START_SECONDS = 60.0
_OURS, _LIMITED, _UNLIMITED = "tmpnb-py serve", "docker run, CPU limit", "docker run, no CPU limit"


async def measure(rounds: int) -> list[Row]:
    """Seconds to fill, the three ways in turn, in every round in another order."""
    image = await rig.image_id()
    seconds: dict[str, list[float]] = {_OURS: [], _LIMITED: [], _UNLIMITED: []}
    boots = []
    for number in range(rounds):
        names = list(seconds)
        for name in names[number % 3 :] + names[: number % 3]:
            if name == _OURS:
                ours = await fill(image, SIZE)
                filled = ours.seconds
                boots.append(ours.boot)
            else:
                filled = await _bare(image, limited=name == _LIMITED)
            seconds[name].append(filled)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    note = f"median of {rounds} rounds, {os.cpu_count()} starts at once"
    rows = [Row(f"fill {SIZE}: {name}", f"{medians[name]:.2f} s", note=note) for name in seconds]
    rows.append(Row("  from the process's start, boot included", f"{statistics.median(boots):.2f} s"))
    for name in (_LIMITED, _UNLIMITED):
        ratio = medians[name] / medians[_OURS]
        rows.append(Row(f"  as fast as {name}", f"{ratio:.2f} x", ">= 0.9 x", ratio >= 0.9))
    return rows


@dataclasses.dataclass(frozen=True)
class Filled:
    """Seconds from the first start to the last READY, and from the process's start; CPU seconds in a container."""

    seconds: float
    boot: float
    cpu_each: float


async def fill(image: str, size: int, *arguments: str) -> Filled:
    """Start a service with an empty pool, and wait until it is full."""
    async with rig.serving(f"--image={image}", *arguments, pool_size=size) as service:
        async with asyncio.timeout(_FILL_SECONDS):
            while len(service.events("ready")) < size:
                await asyncio.sleep(0.2)
        spent = [cpu_time.of_docker(one) or 0.0 for one in await rig.containers(service.pool)]
        last = _moment(service.events("ready")[size - 1])
        first = _moment(service.events("starting")[0])
        return Filled(last - first, last - service.began, statistics.median(spent))


def _moment(event: Mapping[str, Any]) -> float:
    return datetime.datetime.fromisoformat(event["timestamp"]).timestamp()


async def _bare(image: str, *, limited: bool) -> float:
    """The loop: as many workers as CPUs, each runs `docker run` and polls until the server answers."""
    async with _bare_rig(image) as (pool, config, directories):
        left = list(range(SIZE))

        async def worker() -> None:
            while left:
                left.pop()
                await _run_one(pool, config, directories, limited=limited)

        began = time.monotonic()
        async with asyncio.timeout(_FILL_SECONDS), asyncio.TaskGroup() as group:
            for _ in range(os.cpu_count() or 1):
                group.create_task(worker())
        return time.monotonic() - began


@contextlib.asynccontextmanager
async def _bare_rig(image: str) -> AsyncIterator[tuple[str, ContainerConfig, SocketDirectories]]:
    pool, directory = f"bench{secrets.token_hex(4)}", Path(tempfile.mkdtemp(prefix="tmpnb-bench-"))
    engine = DockerEngine(pool=pool, runtime_dir=directory)
    try:
        await engine.open()
        config = await PoolConfiguration(engine, LiveOptions(Settings(image=image))).resolve()
        if config.transport is not Transport.SOCKET:
            raise rig.MissingError("the engine's bind mounts do not pass sockets, so the loop cannot poll one")
        yield pool, config, SocketDirectories(directory, pool)
    finally:
        await engine.close()
        await asyncio.shield(rig.sweep(pool))
        shutil.rmtree(directory, ignore_errors=True)


async def _run_one(pool: str, config: ContainerConfig, directories: SocketDirectories, *, limited: bool) -> None:
    spec = ContainerSpec(secrets.token_hex(13), secrets.token_hex(24), config)
    source = directories.create(spec.id)
    body = docker_options.create_body(pool, spec, socket_source=str(source), hosts_source=None, init=False)
    if limited:
        body["HostConfig"] |= docker_options.cpu_limit(config.cpu_quota)
    await rig.docker("run", "--detach", *flags_of(body))
    address = SocketAddress(str(source), docker_options.SOCKET_NAME)
    endpoint = await wait_until_ready(address, spec, timeout_seconds=_START_SECONDS, died=asyncio.Event())
    endpoint.close()
    directories.seal(spec.id)


def flags_of(body: Mapping[str, Any]) -> list[str]:
    """The options of `docker run` for a body of `POST /containers/create`. Raises `KeyError` for unknown parts."""
    flags = [flag for key, value in body["HostConfig"].items() for flag in _HOST[key](value)]
    rest = {key: value for key, value in body.items() if key not in ("HostConfig", "Image", "Cmd")}
    flags += [flag for key, value in rest.items() for flag in _BODY[key](value)]
    return [*flags, body["Image"], *body["Cmd"]]


_BODY: dict[str, Callable[[Any], list[str]]] = {
    "Env": lambda values: [f"--env={value}" for value in values],
    "User": lambda value: [f"--user={value}"],
    "Hostname": lambda value: [f"--hostname={value}"],
    "Labels": lambda labels: [f"--label={key}={value}" for key, value in labels.items()],
    "NetworkDisabled": lambda _: [],  # has no option: --network none is the nearest, and is there
}
_HOST: dict[str, Callable[[Any], list[str]]] = {
    "CapDrop": lambda values: [f"--cap-drop={value}" for value in values],
    "SecurityOpt": lambda values: [f"--security-opt={value}" for value in values],
    "OomScoreAdj": lambda value: [f"--oom-score-adj={value}"],
    "RestartPolicy": lambda value: [f"--restart={value['Name']}"],
    "Ulimits": lambda limits: [f"--ulimit={one['Name']}={one['Soft']}:{one['Hard']}" for one in limits],
    "LogConfig": lambda value: [
        f"--log-driver={value['Type']}",
        *(f"--log-opt={key}={option}" for key, option in value["Config"].items()),
    ],
    "Init": lambda value: ["--init"] if value else [],
    "ReadonlyRootfs": lambda value: ["--read-only"] if value else [],
    "Tmpfs": lambda mounts: [f"--tmpfs={path}:{options}" for path, options in mounts.items()],
    "NetworkMode": lambda value: [f"--network={value}"],
    "Memory": lambda value: [f"--memory={value}"],
    "MemorySwap": lambda value: [f"--memory-swap={value}"],
    "PidsLimit": lambda value: [f"--pids-limit={value}"],
    "CpuShares": lambda value: [f"--cpu-shares={value}"],
    "CpuPeriod": lambda value: [f"--cpu-period={value}"],
    "CpuQuota": lambda value: [f"--cpu-quota={value}"],
    "Mounts": lambda mounts: [
        f"--mount=type=bind,source={one['Source']},target={one['Target']}" + ",readonly" * one["ReadOnly"]
        for one in mounts
    ],
}
