"""What the operator does with a swarm's nodes: they are shown, one is emptied, and one is drained by Swarm itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.e2e.service import ADMIN_TOKEN, Deployment, Service
from tests.integration.command_support import Done, run
from tests.swarm.nodes import CONTAINERD, NEWER, OWN, Node, running_swarm
from tests.swarm.relays import RelaysOfNodes, relays_of
from tests.swarm.test_service import node_of, start
from tmpnb_py.web.api.schema import AdminNode, AdminStatus

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(400)]

_READY = 3
_PATIENCE = 60.0


@contextlib.contextmanager
def relays_on(server_image: str, **of_swarm: Any) -> Iterator[RelaysOfNodes]:
    """Relays on nodes of which the first two have the image."""
    with running_swarm(**of_swarm) as swarm:
        swarm.load(server_image, nodes=swarm.nodes[:2])
        with relays_of(swarm) as relays:
            yield relays


@pytest.fixture
def relays(server_image: str, swarm_docker: str) -> Iterator[RelaysOfNodes]:
    """Three nodes, of which the third does not have the image."""
    with relays_on(server_image, version=swarm_docker) as relays:
        yield relays


@pytest.fixture(params=[OWN, NEWER, CONTAINERD])
def relays_to_push(request: pytest.FixtureRequest, server_image: str) -> Iterator[RelaysOfNodes]:
    """The same, with each kind of image store."""
    with relays_on(server_image, version=request.param) as relays:
        yield relays


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


async def push(deployment_host: str, relays: RelaysOfNodes, image: str, directory: Path) -> Done:
    environment = {
        "DOCKER_HOST": deployment_host,
        "TMPNB_ENGINE": "swarm",
        "TMPNB_SWARM_RELAYS": ",".join(relays.names),
        "TMPNB_SWARM_SECRET": str(relays.secret),
        "TMPNB_RUNTIME_DIR": str(directory),
    }
    return await run("image", "push-nodes", image, env=environment)


def images(node: Node) -> list[str]:
    return node.docker("images", "--all", "--quiet", "--no-trunc").split()


def names(node: Node) -> list[str]:
    return node.docker("images", "--format={{.Repository}}:{{.Tag}}").split()


def build(node: Node, base: str, name: str, directory: Path, *, layers: int) -> str:
    """An image with so many layers of 64 MiB on top of another one, on a node. Returns its id."""
    directory.mkdir()
    lines = [f"FROM {base}", *(f"RUN head -c 64M /dev/urandom > /tmp/more && echo {one}" for one in range(layers))]
    (directory / "Dockerfile").write_text("\n".join(lines))
    node.docker("build", "--network=none", "--quiet", f"--tag={name}", str(directory), seconds=120)
    return node.docker("image", "inspect", "--format={{.Id}}", name).strip()


async def test_an_image_is_brought_to_all_nodes(
    relays_to_push: RelaysOfNodes, server_image: str, tmp_path: Path
) -> None:
    """The first node has the image, the second its base, the third nothing; and then a relay is killed."""
    relays = relays_to_push
    first, second, third = relays.swarm.nodes
    image_id = build(first, server_image, "big", tmp_path / "image", layers=4)
    count = len(first.docker("image", "inspect", "--format={{range .RootFS.Layers}}{{.}} {{end}}", "big").split())

    pushing = asyncio.create_task(push(first.host, relays, "big", tmp_path / "run"))
    while not await asyncio.to_thread(images, third):
        assert not pushing.done(), pushing.result()
        await asyncio.sleep(0.02)
    relays.stop(third)
    done = await pushing
    assert done.code == 3
    assert f"not on {third.name}" in done.err
    assert f"{first.name}: has it" in done.out
    assert f"{second.name}: {count - 4} of {count} layers are there, 0 B sent" in done.out
    assert f"{second.name}: has it now, " in done.out
    assert image_id in images(second)

    # Two go on at once: each layer is sent by one of them, and both wait until all is there.
    relays.start(third)
    both = await asyncio.gather(*(push(first.host, relays, "big", tmp_path / f"run{one}") for one in range(2)))
    assert [(one.code, one.err) for one in both] == [(0, "")] * 2
    assert all(f"{third.name}: 0 of" not in one.out for one in both), "what has arrived stays"
    assert all(f"{third.name}: has it" in one.out for one in both)
    assert images(third) == [image_id], "and nothing else does"
    run_it = ("run", "--rm", "--network=none", image_id, "sh", "-c", "wc -c < /tmp/more")
    assert third.docker(*run_it).strip() == second.docker(*run_it).strip() == str(64 * 2**20)
    third.docker("image", "prune", "--force")
    assert images(third) == [image_id]
    assert not list((tmp_path / "run").glob("*"))

    nothing = await push(first.host, relays, "big", tmp_path / "run")
    assert sorted(nothing.out.splitlines()) == [f"{node.name}: has it" for node in relays.swarm.nodes]


async def test_nodes_with_different_stores_say_so(server_image: str, tmp_path: Path) -> None:
    """The id of an image is another one in containerd's store, so it cannot be started by one id everywhere."""
    with relays_on(server_image, version=f"{NEWER},{NEWER},{CONTAINERD}") as relays:
        first, second, third = relays.swarm.nodes
        build(first, server_image, "new", tmp_path / "image", layers=1)
        done = await push(first.host, relays, "new", tmp_path / "run")
        assert done.code == 3
        assert f"{second.name}: has it now" in done.out
        assert f"{third.name}: this node keeps images in containerd's image store, and the manager in" in done.out
        assert not images(third)


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
