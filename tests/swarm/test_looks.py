"""Each node is looked at from inside before it is given notebooks, and again when its engine may be another one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

from tests.contract.rigs import fetch
from tests.contract.swarm_rig import rig_on
from tests.swarm.nodes import Node
from tests.swarm.relays import RelaysOfNodes, swarm_with_relays
from tests.swarm.test_service import node_of
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerSpec, Protection
from tmpnb_py.engines.docker.options import LABEL_POOL
from tmpnb_py.engines.swarm.engine import SwarmEngine
from tmpnb_py.engines.swarm.looks import probes_of

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def relays(server_image: str) -> Iterator[RelaysOfNodes]:
    """Two nodes, the second of which does not start with what services cannot ask for."""
    with swarm_with_relays(server_image, count=2) as relays:
        yield relays


def restart(node: Node, *options: str) -> None:
    """Another engine on the same machine."""
    node.stop_engine()
    node.options = options
    node.start_engine()
    node.wait()


def inside(node: Node, container_id: str, command: str, *, user: str = "0") -> str:
    """What a command in a notebook prints."""
    found = node.docker("ps", "-q", "--filter", f"label=org.tmpnb.id={container_id}")
    return node.docker("exec", "--user", user, found, "/bin/sh", "-c", command, check=False)


async def started(engine: SwarmEngine, spec: ContainerSpec) -> None:
    address = await engine.start(spec)
    assert await fetch(address, f"{spec.base_path}api") == {"version": "fake"}
    await engine.mark_ready(spec.id)


async def test_what_a_node_lacks_is_seen_before_it_is_given_notebooks(
    relays: RelaysOfNodes, server_image: str, pool: str
) -> None:
    first, second = relays.swarm.nodes
    async with rig_on(relays, server_image) as rig:
        engine = rig.engine(pool)
        await engine.open()
        template = await rig.spec(engine)
        config = template.config
        assert await engine.prepare(config) == ()
        assert await engine.prepare(dataclasses.replace(config, static_url="/x/")) == (), "not looked at again"
        for node in relays.swarm.nodes:
            for kind in ("ps -aq", "volume ls -q"):
                assert node.docker(*kind.split(), "--filter", f"label={LABEL_POOL}={probes_of(pool)}") == ""

        # Who runs as root owns nothing of the directory, and what runs is the first to go where memory is short.
        rooted = dataclasses.replace(template, config=dataclasses.replace(config, user="0"))
        assert await engine.prepare(rooted.config) == ()
        await started(engine, rooted)
        node = node_of(relays, rooted.id)
        assert "not permitted" in inside(node, rooted.id, "chmod 777 /run/tmpnb 2>&1")
        assert inside(node, rooted.id, "touch /run/tmpnb/more 2>&1; ls /run/tmpnb").endswith("\nserver.sock")
        scores = inside(node, rooted.id, "for one in /proc/[0-9]*; do cat $one/comm $one/oom_score_adj; done")
        assert "python3\n500" in scores
        await engine.remove(rooted.id)

        # A node that lacks something gets no notebooks while another one does not.
        await asyncio.to_thread(restart, second)
        async with asyncio.timeout(60):
            while await lacks(engine, second) != (Protection.PRIVILEGES,):
                assert await engine.prepare(config) == ()
                await asyncio.sleep(0.2)
        specs = [await rig.spec(engine) for _ in range(3)]
        await asyncio.gather(*(started(engine, spec) for spec in specs))
        assert [node_of(relays, spec.id) for spec in specs] == [first] * 3
        await asyncio.gather(*(engine.remove(spec.id) for spec in specs))

        # Where all nodes lack it, their operator has to agree.
        await asyncio.to_thread(first.docker, "node", "update", "--availability", "pause", first.name)
        await engine.list()
        (gap,) = await engine.prepare(config)
        assert gap.protection is Protection.PRIVILEGES
        assert "daemon.json" in gap.remedy
        await started(engine, await rig.spec(engine))

        # It is looked at again once its engine has been another one.
        await asyncio.to_thread(restart, second, "--no-new-privileges")
        async with asyncio.timeout(60):
            while await lacks(engine, second) != ():
                await engine.list()
                with contextlib.suppress(EngineError):
                    await engine.prepare(config)
                await asyncio.sleep(0.2)
        await asyncio.to_thread(first.docker, "node", "update", "--availability", "active", first.name)


async def test_an_image_without_python_cannot_be_looked_at(
    relays: RelaysOfNodes, server_image: str, pool: str
) -> None:
    image = f"tmpnb-py-test/without-{pool}"
    (node,) = relays.swarm.nodes[:1]
    for one in relays.swarm.nodes:
        holder = one.docker("create", server_image, "true")
        one.docker("commit", "--change", "ENV PATH=/nowhere", holder, image)
        one.docker("rm", holder)
    async with rig_on(relays, server_image) as rig:
        engine = rig.engine(pool)
        await engine.open()
        config = dataclasses.replace((await rig.spec(engine)).config, image=await engine.image(image))
        (gap,) = await engine.prepare(config)
        assert gap.protection is Protection.VERIFICATION
        assert await lacks(engine, node) == (Protection.VERIFICATION,)


async def lacks(engine: SwarmEngine, node: Node) -> tuple[Protection, ...] | None:
    return next(one.lacks for one in await engine.nodes() if one.name == node.name)


async def test_copies_of_a_notebook_are_none(relays: RelaysOfNodes, server_image: str, pool: str) -> None:
    """An operator keeps a notebook as an image and runs it, or copies its service with all labels."""
    async with rig_on(relays, server_image) as rig:
        engine = rig.engine(pool)
        await engine.open()
        spec = await rig.spec(engine)
        await started(engine, spec)
        node = node_of(relays, spec.id)
        found = node.docker("ps", "-q", "--filter", f"label=org.tmpnb.id={spec.id}")
        node.docker("commit", found, "kept")
        copy = node.docker("run", "--detach", "kept", "sleep", "600")
        labels = [f"--label=org.tmpnb.{key}={value}" for key, value in
                  (("project", "tmpnb-py"), ("pool", pool), ("id", spec.id), ("state", "ready"))]  # fmt: skip
        arguments = ("--detach", "--no-resolve-image", "--replicas=0", "--name=copy", *labels, server_image, "true")
        relays.swarm.manager.docker("service", "create", *arguments)
        try:
            (only,) = await engine.list()
            assert only.address is not None
            assert await fetch(only.address, f"{spec.base_path}api") == {"version": "fake"}
            await engine.remove(spec.id)
            assert await engine.list() == []
            await engine.remove_pool()
            assert node.docker("inspect", "--format", "{{.State.Running}}", copy) == "true", "it is not ours"
            assert relays.swarm.manager.docker("service", "ls", "-q", "--filter", "name=copy")
        finally:
            node.docker("rm", "--force", copy)
            relays.swarm.manager.docker("service", "rm", "copy")
