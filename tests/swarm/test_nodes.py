"""What the operator does with a swarm's nodes: they are shown, one is emptied, and one is drained by Swarm itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.e2e.service import ADMIN_TOKEN, Deployment, Service
from tests.engine_support import docker
from tests.integration.command_support import Done, run
from tests.swarm.nodes import running_swarm
from tests.swarm.relays import RelaysOfNodes
from tests.swarm.test_service import node_of, start
from tmpnb_py.web.api.schema import AdminNode, AdminStatus

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(400)]

_READY = 3
_PATIENCE = 60.0


@pytest.fixture
def relays(server_image: str) -> Iterator[RelaysOfNodes]:
    """Three nodes, of which the third does not have the image."""
    with running_swarm() as swarm:
        archive = swarm.directory / "image.tar"
        docker("save", "--output", str(archive), server_image)
        for node in swarm.nodes[:2]:
            node.docker("load", "--quiet", "--input", str(archive))
        relays = RelaysOfNodes(swarm)
        for node in swarm.nodes:
            relays.start(node)
        try:
            yield relays
        finally:
            for node in swarm.nodes:
                relays.stop(node)


def admin(service: Service) -> tuple[str, str]:
    return ("--admin-port", str(urlsplit(service.admin_url).port))


async def command(service: Service, *arguments: str) -> Done:
    return await run(*arguments, *admin(service), env={"ADMIN_AUTH_TOKEN": ADMIN_TOKEN})


async def nodes_of(service: Service) -> dict[str, AdminNode]:
    """What `status --json` says, by name."""
    done = await command(service, "status", "--json")
    assert done.code == 0, done.err
    return {one.name: one for one in AdminStatus.model_validate_json(done.out).nodes}


@contextlib.asynccontextmanager
async def within(seconds: float = _PATIENCE) -> AsyncIterator[None]:
    async with asyncio.timeout(seconds):
        yield


async def on_each(
    service: Service, client: aiohttp.ClientSession, relays: RelaysOfNodes, names: set[str]
) -> dict[str, dict[str, Any]]:
    """A session on each of these nodes; what else was given out is ended."""
    found: dict[str, dict[str, Any]] = {}
    async with within():
        while set(found) != names:
            notebook = await service.spawn(client)
            if found.setdefault(node_of(relays, notebook["id"]).name, notebook) is not notebook:
                await command(service, "end", notebook["id"])
    return found


async def session(client: aiohttp.ClientSession, notebook: dict[str, Any]) -> dict[str, Any]:
    async with client.get(f"/api/sessions/{notebook['id']}") as response:
        return dict(await response.json())


async def test_nodes_are_shown_emptied_and_drained(relays: RelaysOfNodes, server_image: str, pool: str) -> None:
    swarm = relays.swarm
    first, second, third = swarm.nodes
    with Deployment(pool, docker_host=swarm.manager.host).ended() as deployment:
        service = start(deployment, relays, server_image)
        async with service.http() as client:
            await service.stats_when(lambda stats: stats["available"] == _READY)
            notebooks = await on_each(service, client, relays, {first.name, second.name})
            await service.stats_when(lambda stats: stats["available"] == _READY)

            # They are shown; the one without the image has nothing, and says why.
            nodes = await nodes_of(service)
            assert {name: (one.state, one.relay, one.image) for name, one in nodes.items()} == {
                first.name: ("active", True, True),
                second.name: ("active", True, True),
                third.name: ("active", True, False),
            }
            assert nodes[first.name].claimed == nodes[second.name].claimed == 1
            assert nodes[third.name].reserved_bytes == 0
            assert sum(one.ready for one in nodes.values()) == _READY
            assert sum(one.reserved_bytes for one in nodes.values()) == (2 + _READY) * 128 * 2**20
            assert service.found("node_unused", node=third.name)

            # One is emptied: its ready notebooks go elsewhere, its session goes on and is waited for.
            emptying = asyncio.create_task(command(service, "drain", "--node", second.name))
            async with within():
                while True:
                    nodes = await nodes_of(service)
                    here = nodes[second.name]
                    if here.state == "paused" and not here.ready + here.starting + here.removing:
                        break
            await service.stats_when(lambda stats: stats["available"] == _READY)
            assert (await session(client, notebooks[second.name]))["state"] == "claimed"
            assert (await nodes_of(service))[first.name].ready == _READY
            assert not emptying.done()
            await command(service, "end", notebooks[second.name]["id"])
            began = time.monotonic()
            done = await emptying
            assert (done.code, done.err) == (0, "")
            assert f"{second.name} is paused: 1 session left" in done.out
            assert f"{second.name} is empty" in done.out
            assert time.monotonic() - began < 30
            assert not second.docker("ps", "-q", "--filter", "label=org.tmpnb.id").split()

            # It takes notebooks again.
            assert (await command(service, "drain", "--node", second.name, "--undo")).code == 0
            notebooks |= await on_each(service, client, relays, {first.name, second.name})

            # Swarm's own drain ends what runs there, and its visitor is told why.
            swarm.manager.docker("node", "update", "--availability", "drain", second.name)
            began = time.monotonic()
            async with within():
                while (ended := await session(client, notebooks[second.name]))["state"] == "claimed":
                    await asyncio.sleep(0.1)
            assert ended["reason"] == "node drained"
            assert "took the machine it ran on out of use" in ended["message"]
            assert time.monotonic() - began < 20
            async with client.get(notebooks[second.name]["url"], headers={"Accept": "text/html"}) as response:
                assert "took the machine it ran on out of use" in await response.text()
            nodes = await nodes_of(service)
            assert nodes[second.name].state == "draining"

            # A relay that is away is shown so.
            relays.stop(third)
            async with within():
                while (await nodes_of(service))[third.name].relay:
                    await asyncio.sleep(0.1)
            text = (await command(service, "status")).out
            row = next(line.split() for line in text.splitlines() if line.startswith(third.name))
            assert row[1:5] == ["active", "away", "not", "known"]
        service.stop()
