"""The rig of the Swarm engine: three nodes, a relay on each, and a forwarder before the manager's engine."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.contract.rigs import Forwarder, ServerImageRig, new_id
from tests.swarm.nodes import Node
from tests.swarm.relays import RelaysOfNodes
from tmpnb_py.core.models import ContainerSpec, State
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.engine import Swarm, SwarmEngine


class SwarmRig(ServerImageRig):
    """One test's view of a swarm that all tests share."""

    def __init__(self, relays: RelaysOfNodes, image: str) -> None:
        self.relays = relays
        self.image = image
        self.directory = Path(tempfile.mkdtemp(prefix="tmpnb-test-"))
        self.forwarder = Forwarder(self.directory / "docker.sock", relays.swarm.manager.socket)
        self.engines: list[SwarmEngine] = []
        self.pools: set[str] = set()
        self.others: list[str] = []

    def engine(self, pool: str) -> SwarmEngine:
        swarm = Swarm(self.relays.names, self.relays.secret)
        host = f"unix://{self.forwarder.path}"
        engine = SwarmEngine(pool=pool, runtime_dir=self.directory / "run", swarm=swarm, docker_host=host)
        self.engines.append(engine)
        self.pools.add(pool)
        return engine

    async def die(self, pool: str, container_id: str) -> None:
        for node in self.relays.swarm.nodes:
            label = ("--filter", f"label={docker.LABEL_ID}={container_id}")
            if found := await asyncio.to_thread(node.docker, "ps", "-q", *label):
                await asyncio.to_thread(node.docker, "kill", found)

    async def foreign(self) -> None:
        name = f"foreign-{new_id()[:8]}"
        self.others.append(name)
        manager = self.relays.swarm.manager
        await asyncio.to_thread(
            manager.docker,
            "service",
            "create",
            "--detach",
            "--no-resolve-image",
            "--replicas=0",
            "--name",
            name,
            self.image,
            "true",
        )

    async def ready_ones(self, engine: Engine) -> list[str]:
        (pool,) = self.pools
        ids = [new_id() for _ in range(100)]
        template = await self.spec(engine)
        async with _api(self.relays.swarm.manager) as api:
            for one in ids:
                spec = ContainerSpec(one, "", template.config)
                body = services.service_body(pool, spec, init=True, constraints=(), avoid=())
                body["Mode"]["Replicated"]["Replicas"] = 0
                body["Labels"][services.LABEL_STATE] = State.READY.value
                await api.call("POST", "services/create", body=body)
        return ids

    async def scramble(self, pool: str, container_id: str) -> bool:
        name = naming.name_of(pool, container_id)
        async with _api(self.relays.swarm.manager) as api:
            found = await api.call("GET", f"services/{name}")
            found["Spec"]["Labels"][services.LABEL_STATE] = "scrambled"
            params = {"version": str(found["Version"]["Index"])}
            await api.call("POST", f"services/{name}/update", params=params, body=found["Spec"])
        return True

    async def break_events(self) -> None:
        self.forwarder.cut()

    async def go_down(self) -> None:
        await self.forwarder.close()

    async def remains(self, pool: str) -> list[str]:
        return await asyncio.to_thread(self._remains, pool)

    def _remains(self, pool: str) -> list[str]:
        manager = self.relays.swarm.manager
        left = manager.docker("service", "ls", "-q", "--filter", f"label={docker.LABEL_POOL}={pool}").split()
        left += manager.docker("config", "ls", "-q", "--filter", f"label={docker.LABEL_MANAGER}={pool}").split()
        for node in self.relays.swarm.nodes:
            for label in (docker.LABEL_POOL, docker.LABEL_PROBE):
                mine = ("--filter", f"label={label}={pool}")
                left += [f"{node.name} {one}" for one in node.docker("ps", "-aq", *mine).split()]
                left += [f"{node.name} {one}" for one in node.docker("volume", "ls", "-q", *mine).split()]
        return left

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()
        await self.forwarder.close()
        await asyncio.to_thread(self._clean)
        shutil.rmtree(self.directory)

    def _clean(self) -> None:
        manager = self.relays.swarm.manager
        left = list(self.others)
        for pool in self.pools:
            left += manager.docker("service", "ls", "-q", "--filter", f"label={docker.LABEL_POOL}={pool}").split()
        if left:
            manager.docker("service", "rm", *left)


@contextlib.asynccontextmanager
async def rig_on(relays: RelaysOfNodes, image: str) -> AsyncIterator[SwarmRig]:
    """The rig of a swarm of the test's own."""
    rig = SwarmRig(relays, image)
    await rig.forwarder.open()
    try:
        yield rig
    finally:
        await rig.close()


@contextlib.asynccontextmanager
async def _api(node: Node) -> Any:
    api = EngineApi(node.host)
    await api.open()
    try:
        yield api
    finally:
        await api.close()
