"""Several pools on a real engine: crashes, reloads, and pools that are broken or late beside one that is not."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
import pytest

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment, Service
from tests.e2e.test_several_fronts import stack_of
from tests.e2e.test_upgrade import finally_ended
from tests.engine_support import SERVER_COMMAND_SOCKET, docker

pytestmark = pytest.mark.engine


class Pools:
    """A service with a file of pools, which a test may write anew."""

    def __init__(self, deployment: Deployment, image: str) -> None:
        self.deployment = deployment
        self._image = image
        self.file = deployment.directory / "pools.toml"

    def write(self, tables: Mapping[str, Mapping[str, Any]], **top: Any) -> None:
        """Write the file: what a table leaves out is the stand-in server."""
        usual = {"image": self._image, "command": SERVER_COMMAND_SOCKET, "mem_limit": "128m", "pool_size": 1}
        lines = [f"{name} = {_toml(value)}" for name, value in {**usual, **top}.items()]
        for table, own in tables.items():
            lines += [f"[pools.{table}]", *(f"{name} = {_toml(value)}" for name, value in own.items())]
        self.file.write_text("\n".join(lines) + "\n")

    def start(self, **more: Any) -> Service:
        """Start the service."""
        return self.deployment.start(f"--config={self.file}", **more)


def _toml(value: Any) -> str:
    return str(value) if isinstance(value, int) else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.fixture
def pools(pool: str, server_image: str) -> Iterator[Pools]:
    """The pools `a`, `b`, `c` and `d` may be in the file."""
    with Deployment(pool, tables="abcd").ended() as deployment:
        yield Pools(deployment, server_image)


async def counts(client: aiohttp.ClientSession, pool: str) -> dict[str, int]:
    """A pool's containers by state; {} for one that there is not."""
    async with client.get("/api/status", params={"pool": pool}) as response:
        return dict((await response.json())["pool"]) if response.status == 200 else {}


async def until(client: aiohttp.ClientSession, pool: str, seconds: float = 60.0, **wanted: int) -> None:
    """Wait until a pool has so many containers of these states."""
    async with asyncio.timeout(seconds):
        while not (found := await counts(client, pool)) or any(found[name] != wanted[name] for name in wanted):
            await asyncio.sleep(0.05)


async def spawn(client: aiohttp.ClientSession, pool: str) -> dict[str, Any]:
    """A notebook of a pool."""
    async with client.post("/api/spawn?wait=60", json={"pool": pool}) as response:
        answer = dict(await response.json())
        assert response.status == 200, answer
        return answer


async def answers(client: aiohttp.ClientSession, spawned: Mapping[str, Any]) -> bool:
    """Whether a notebook is the one that it was."""
    async with client.get(f"{spawned['url']}who", headers={"Authorization": f"token {spawned['token']}"}) as response:
        return response.status == 200 and (await response.json())["id"] == spawned["id"]


async def test_a_crash_and_a_reload_lose_no_session_of_any_pool(pools: Pools) -> None:
    pools.write({"a": {"pool_size": 2}, "b": {}})
    first = pools.start()
    async with first.http() as client, first.http(admin=True) as admin:
        await until(admin, "a", ready=2)
        await until(admin, "b", ready=1)
        sessions = {name: await spawn(client, name) for name in ("a", "b")}
        await until(admin, "b", ready=1)
    first.kill()

    pools.write({"b": {}, "c": {}})  # while nobody looked, one has gone and one has come
    second = pools.start(cleanup=False)
    async with second.http() as client, second.http(admin=True) as admin:
        await until(admin, "b", ready=1, claimed=1)
        await until(admin, "c", ready=1)
        await until(admin, "a", ready=0, claimed=1, removing=0)
        assert all([await answers(client, one) for one in sessions.values()])
        assert list(pools.deployment.containers(table="a")) == [sessions["a"]["id"]]
        async with client.post("/api/spawn", json={"pool": "a"}) as response:
            assert response.status == 400

        pools.write({"c": {}, "d": {}})
        second.signal(signal.SIGHUP)
        await second.event("pool_leaves", pool="b", sessions=1)
        await until(admin, "d", ready=1)
        await until(admin, "b", ready=0, claimed=1)
        assert all([await answers(client, one) for one in sessions.values()])
        for name in ("a", "b"):
            async with admin.delete(f"/api/sessions/{sessions[name]['id']}") as response:
                assert response.status == 200
            await second.event("pool_gone", pool=name)
        left = {path.name for path in (pools.deployment.directory / "run").iterdir()}
        assert not left & {f"{pools.deployment.pool}.{one}.{end}" for one in "ab" for end in ("lock", "line")}
    second.stop()
    third = pools.start()  # which cleans up at its end
    async with third.http(admin=True) as admin:
        await until(admin, "d", ready=1)


async def test_an_upgrade_hands_on_every_pool(pools: Pools) -> None:
    pools.write({"a": {"pool_size": 2}, "b": {}})
    service = pools.start()
    async with finally_ended(service):
        await _upgraded(service)


async def _upgraded(service: Service) -> None:
    async with service.http() as client, service.http(admin=True) as admin:
        sessions = {name: await spawn(client, name) for name in ("a", "b")}
        async with admin.patch("/api/pool", params={"pool": "b"}, json={"size": 2}) as response:
            assert response.status == 200
        await until(admin, "b", ready=2)
        async with admin.delete(f"/api/sessions/{(await spawn(client, 'b'))['id']}") as response:
            ended = (await response.json())["id"]
        service.signal(signal.SIGUSR2)
        await service.event("upgraded")
    async with service.http() as client, service.http(admin=True) as admin:
        await until(admin, "b", ready=2, claimed=1, size=2)
        await until(admin, "a", ready=2, claimed=1, size=2)
        assert all([await answers(client, one) for one in sessions.values()])
        async with client.get(f"/api/sessions/{ended}") as response:
            assert (await response.json())["reason"] == "ended by the operator"


class Build:
    """An image that is being built until the test has it done."""

    def __init__(self, server_image: str, process: asyncio.subprocess.Process, name: str) -> None:
        self._dockerfile = f"FROM {server_image}\nLABEL test.late=yes\n"
        self._process = process
        self.name = name

    async def finish(self) -> None:
        """Give it the rest of what it is built from."""
        await self._process.communicate(self._dockerfile.encode())
        assert self._process.returncode == 0


@contextlib.asynccontextmanager
async def under_construction(server_image: str) -> AsyncIterator[Build]:
    name = f"tmpnb-py-test/late-{uuid.uuid4().hex[:8]}"
    process = await asyncio.create_subprocess_exec(
        "docker",
        "build",
        "--quiet",
        "--tag",
        name,
        "-",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Build(server_image, process, name)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        docker("rmi", "--force", name, check=False)


@pytest.mark.waits
async def test_a_broken_image_and_one_that_is_still_being_built_delay_nobody_else(
    pools: Pools, server_image: str
) -> None:
    """`b` fails for ever, the image of `c` is not there yet: `a` is refilled as fast as when it is alone."""
    pools.write({"a": {"pool_size": 3}})
    alone = pools.start()
    async with alone.http() as client, alone.http(admin=True) as admin:
        usual = max(await _refilled(client, admin))
    alone.stop()
    broken = {"command": "sleep 0.2; echo no {socket} {base_path}; exit 3", "pool_size": 2}
    async with under_construction(server_image) as late:
        pools.write({"a": {"pool_size": 3}, "b": broken, "c": {"image": late.name}})
        await _beside(pools.start(), usual, late)


async def _beside(service: Service, usual: float, late: Build) -> None:
    async with service.http() as client, service.http(admin=True) as admin:
        beside = min(await _refilled(client, admin))
        await service.event("start_failed", pool="b")
        assert (await counts(admin, "c"))["ready"] == 0
        await late.finish()
        assert beside < 2.5 * usual + 1.0, f"{usual:.2f} s alone, {beside:.2f} s beside the others"
        await until(admin, "c", ready=1, seconds=90)
        assert (await counts(admin, "b"))["ready"] == 0


async def _refilled(client: aiohttp.ClientSession, admin: aiohttp.ClientSession) -> list[float]:
    """Take two notebooks three times; how many seconds the pool `a` takes to be full again each time."""
    await until(admin, "a", ready=3)
    took = []
    for _ in range(3):
        began = time.monotonic()
        await asyncio.gather(spawn(client, "a"), spawn(client, "a"))
        await until(admin, "a", ready=3)
        took.append(time.monotonic() - began)
    return took


async def test_pools_have_their_own_networks(pools: Pools) -> None:
    """The names of pools fit into those of networks, bridges and firewall tables."""
    command = "python3 /server.py --base /{base_path} --ip={ip} --port {port}"
    pools.write({"a": {"egress": "internet", "command": command}, "b": {"command": command}})
    service = pools.start()
    async with service.http() as client, service.http(admin=True) as admin:
        for name in ("a", "b"):
            await until(admin, name, ready=1)
            assert await answers(client, await spawn(client, name))
        names = docker("network", "ls", "--format", "{{.Name}}").split()
        assert {f"tmpnb-{pools.deployment.pool}.{one}" for one in ("a-web", "b-isolated")} <= set(names)


@pytest.mark.long
async def test_notebooks_of_several_pools_come_by_front_ends(pools: Pools) -> None:
    """Each is reached by its own socket, also while the orchestrator is away."""
    pools.write({"a": {}, "b": {}})
    with stack_of(pools.deployment, f"--config={pools.file}") as stack:
        a, b = stack.fronts
        async with a.http() as by_a, b.http() as by_b:
            notebooks = [Notebook.of(by_b, await spawn(by_a, name)) for name in "ab"]
            await stack.knows(2)
            stack.orchestrator.kill()
            await b.event("orchestrator_lost")
            for one in notebooks:
                async with by_b.get(one.url("api"), headers=one.headers) as response:
                    assert response.status == 200, await response.text()
            stack.restart()
            await b.event("orchestrator_found", count=2)
            for name in "ab":
                assert (await spawn(by_b, name))["id"] not in [one.id for one in notebooks]
