"""The service on a swarm of three nodes: a claim, a cell, a relay that is away, and a node that dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import pytest

from tests.e2e.service import Deployment, Service
from tests.engine_support import SERVER_COMMAND_SOCKET
from tests.swarm.nodes import Node
from tests.swarm.relays import RelaysOfNodes, swarm_with_relays

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

_READY = 3
_NOTICED_SECONDS = 15.0  # Swarm calls a node dead after twelve
_FAILED = "The machine it ran on failed."


@pytest.fixture
def relays(server_image: str, swarm_docker: str) -> Iterator[RelaysOfNodes]:
    """A swarm of the test's own: it will be a machine short."""
    with swarm_with_relays(server_image, version=swarm_docker) as relays:
        yield relays


def start(
    deployment: Deployment,
    relays: RelaysOfNodes,
    image: str,
    *options: str,
    cleanup: bool = True,
    env: Mapping[str, str] | None = None,
) -> Service:
    """A service beside the swarm, which it reaches over the network as a task of it would."""
    return deployment.start(
        "--engine=swarm", f"--swarm-relays={','.join(relays.names)}", f"--swarm-secret={relays.secret}",
        f"--image={image}", f"--command={SERVER_COMMAND_SOCKET}", "--mem-limit=128m",
        f"--pool-size={_READY}", "--max-containers=12", *options, cleanup=cleanup, env=env,
    )  # fmt: skip


def node_of(relays: RelaysOfNodes, container_id: str) -> Node:
    """Where a notebook is."""
    return next(
        node
        for node in relays.swarm.nodes
        if node.docker("ps", "-q", "--filter", f"label=org.tmpnb.id={container_id}", check=False)
    )


async def spawned_on(
    node: Node, service: Service, client: aiohttp.ClientSession, relays: RelaysOfNodes
) -> dict[str, Any]:
    """A session on that node; others are given out on the way."""
    async with asyncio.timeout(120):
        while True:
            notebook = await service.spawn(client)
            if node_of(relays, notebook["id"]) is node:
                return notebook


async def cell(client: aiohttp.ClientSession, notebook: dict[str, Any], code: str) -> tuple[int, str]:
    """What running it in a notebook prints."""
    headers = {"Authorization": f"token {notebook['token']}"}
    async with client.post(f"{notebook['url']}exec", data=code, headers=headers) as response:
        text = await response.text()
        if response.status == 503:
            assert response.headers["Retry-After"]
        return response.status, text


async def until(condition: Any, seconds: float) -> float:
    """How long it takes until it holds."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < seconds, f"it did not happen within {seconds:g} s"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def test_a_claim_a_cell_a_relay_and_a_node_that_are_lost(
    relays: RelaysOfNodes, server_image: str, pool: str
) -> None:
    swarm = relays.swarm
    with Deployment(pool, docker_host=swarm.manager.host).ended() as deployment:
        service = start(deployment, relays, server_image, "--node-grace=3s")
        async with service.http() as client:
            await service.stats_when(lambda stats: stats["available"] == _READY)
            by_node: dict[str, dict[str, Any]] = {}
            while len(by_node) < 3:
                notebook = await service.spawn(client)
                by_node.setdefault(node_of(relays, notebook["id"]).name, notebook)
            assert [await cell(client, one, "print(6 * 7)") for one in by_node.values()] == [(200, '"42\\n"')] * 3
            devices = "print(open('/proc/net/dev').read())"
            for notebook in by_node.values():
                _, seen = await cell(client, notebook, devices)
                assert [line.split(":")[0].strip() for line in seen.split("\\n") if ":" in line] == ["lo"]

            # A relay that starts anew loses no session.
            second, third = swarm.nodes[1], swarm.nodes[2]
            relays.stop(second)
            away = by_node[second.name]

            async def told() -> bool:  # a request that was under way is lost: 502
                return (await cell(client, away, "print(1)"))[0] == 503

            assert await until(told, 10) < 2
            assert (await cell(client, by_node[third.name], "print(1)"))[0] == 200
            relays.start(second)

            async def back() -> bool:
                return (await cell(client, away, "print(1)"))[0] == 200

            await until(back, 30)

            # A node that dies takes its sessions with it, and nobody else's.
            third.power_off()

            async def noticed() -> bool:
                assert (await cell(client, away, "print(1)"))[0] == 200
                return (await cell(client, by_node[third.name], "print(1)"))[0] == 503

            assert await until(noticed, 30) < _NOTICED_SECONDS
            for _ in range(_READY + 1):  # whatever was ready there is given to nobody
                notebook = await service.spawn(client)
                assert await cell(client, notebook, "print(1)") == (200, '"1\\n"')
            await service.stats_when(lambda stats: stats["available"] == _READY)

            async def ended() -> bool:
                status, text = await cell(client, by_node[third.name], "print(1)")
                assert status == 503 or (status == 410 and _FAILED in text)
                return status == 410

            await until(ended, 60)
        service.stop()


@pytest.mark.long
async def test_who_was_on_a_node_that_comes_back_is_told_that_it_failed(
    relays: RelaysOfNodes, server_image: str, pool: str
) -> None:
    swarm = relays.swarm
    third = swarm.nodes[2]
    with Deployment(pool, docker_host=swarm.manager.host).ended() as deployment:
        service = start(deployment, relays, server_image, "--node-grace=1h")
        async with service.http() as client:
            notebook = await spawned_on(third, service, client, relays)
            assert (await cell(client, notebook, "print(1)"))[0] == 200
            third.power_off()
            relays.stop(third)

            async def is_given_up() -> bool:
                assert (await cell(client, notebook, "print(1)"))[0] in (502, 503)
                return swarm.ready() == 2

            await until(is_given_up, 60)
            third.unplug(plugged=True)
            third.start()
            third.wait()
            relays.start(third)

            async def told() -> bool:
                status, text = await cell(client, notebook, "print(1)")
                return status == 410 and _FAILED in text

            await until(told, 60)
        service.stop()


@pytest.mark.long
async def test_who_was_on_a_node_that_restarts_is_told_so(
    relays: RelaysOfNodes, server_image: str, pool: str
) -> None:
    """Its engine alone, and then the machine, so quickly that Swarm does not miss it."""
    swarm = relays.swarm
    third = swarm.nodes[2]
    with Deployment(pool, docker_host=swarm.manager.host).ended() as deployment:
        service = start(deployment, relays, server_image, "--node-grace=1h")
        async with service.http() as client:

            async def reason(notebook: dict[str, Any]) -> str:
                async with asyncio.timeout(120):
                    while True:
                        async with client.get(f"/api/sessions/{notebook['id']}") as response:
                            session = await response.json()
                        if session["state"] != "claimed":
                            return str(session["reason"])
                        await asyncio.sleep(0.1)

            notebook = await spawned_on(third, service, client, relays)
            await asyncio.to_thread(third.stop_engine)
            await asyncio.to_thread(third.start_engine)
            await asyncio.to_thread(third.wait)
            assert await reason(notebook) == "server restarted"

            notebook = await spawned_on(third, service, client, relays)
            await asyncio.to_thread(third.power_off)
            relays.stop(third)
            third.unplug(plugged=True)
            await asyncio.to_thread(third.start)
            await asyncio.to_thread(third.wait)
            relays.start(third)
            assert await reason(notebook) == "node lost"
        service.stop()
