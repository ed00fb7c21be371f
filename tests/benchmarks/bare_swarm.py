"""Swarm without us: the services that the product would make, created all at once, until all of their tasks run.

Nothing is taken off its network, no server is waited for, nothing is marked: what remains is what any program on
Swarm pays for each notebook. Used by `tests.benchmarks.swarm`.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from pathlib import Path

from tests.benchmarks import proxy, rig
from tests.swarm.relays import RelaysOfNodes
from tmpnb_py.core.models import ContainerSpec
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.engine import Swarm, SwarmEngine
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import PoolConfiguration

_SECONDS = 300.0
_POLL_SECONDS = 0.1
_QUIET_SECONDS = 3.0


async def fill(relays: RelaysOfNodes, size: int) -> tuple[float, float]:
    """Services per second until the last one's task runs, and CPU seconds for each."""
    pool, host = f"bench{secrets.token_hex(4)}", relays.swarm.manager.host
    directory = Path(tempfile.mkdtemp(dir=relays.swarm.directory))
    engine = SwarmEngine(pool=pool, runtime_dir=directory, swarm=Swarm(relays.names, relays.secret), docker_host=host)
    api = EngineApi(host)
    await api.open()
    await engine.open()
    try:
        settings = Settings(image=proxy.IMAGE, command=proxy.NGINX, mem_limit="64m", cpu_quota=0)  # type: ignore[arg-type]
        config = await PoolConfiguration(engine, LiveOptions(settings)).resolve()
        specs = [ContainerSpec(secrets.token_hex(12), secrets.token_hex(24), config) for _ in range(size)]
        used, began = rig.cpu_seconds_of_trees(relays.processes()), time.perf_counter()
        await _run(api, pool, specs)
        rate = size / (time.perf_counter() - began)
        used = rig.cpu_seconds_of_trees(relays.processes()) - used
        await engine.list()
        await asyncio.gather(*(engine.remove(spec.id) for spec in specs))
    finally:
        await engine.close()
        await api.close()
    await until_empty(relays)
    return rate, used / size


async def _run(api: EngineApi, pool: str, specs: list[ContainerSpec]) -> None:
    bodies = [services.service_body(pool, spec, init=True, constraints=(), avoid=()) for spec in specs]
    await asyncio.gather(*(api.call("POST", "services/create", body=body, seconds=60) for body in bodies))
    async with asyncio.timeout(_SECONDS):
        while True:
            listed = await api.call("GET", "tasks", params=naming.filters(naming.labels_of(pool)))
            if sum(one.state == "running" for one in services.tasks_of(listed).values()) == len(specs):
                return
            await asyncio.sleep(_POLL_SECONDS)


async def until_empty(relays: RelaysOfNodes) -> None:
    """Until no node has a notebook left, and a moment longer: Swarm goes on tidying up."""
    async with asyncio.timeout(_SECONDS):
        for node in relays.swarm.nodes:
            while await asyncio.to_thread(node.docker, "ps", "-aq", "--filter", f"label={docker.LABEL_ID}"):
                await asyncio.sleep(0.2)
    await asyncio.sleep(_QUIET_SECONDS)
