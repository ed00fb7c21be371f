"""Nodes that pull: an image of a registry is pinned by its digest, and each node gets it from there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service import Deployment
from tests.engine_support import skip_or_fail
from tests.integration.command_support import Done, run
from tests.swarm.nodes import CONTAINERD, NEWER, OWN, Node, Swarm, running_swarm
from tests.swarm.relays import RelaysOfNodes, relays_of
from tests.swarm.test_operating import build, command, names, nodes_of, within
from tests.swarm.test_service import cell, start

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(400)]

_READY = 3
_PASSWORD = "correct horse"
_OPTIONS = ("--no-new-privileges", "--insecure-registry=10.0.0.0/8")


class Registry:
    """Debian's docker-registry, beside the first node, at an address of its own. Whoever asks has to log in."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = swarm.directory / "registry"
        self.directory.mkdir()
        self.address = swarm.manager.add_address(9)
        self.name = f"{self.address}:5000"
        self.image = f"{self.name}/team/workshop:1"
        entry = base64.b64encode(f"us:{_PASSWORD}".encode()).decode()
        (self.directory / "config.json").write_text(json.dumps({"auths": {self.name: {"auth": entry}}}))
        salt = '"\\$2y\\$05\\$abcdefghijklmnopqrstuu"'
        hashed = subprocess.run(
            ["perl", "-e", f"print crypt($ARGV[0], {salt})", _PASSWORD], capture_output=True, text=True, check=True
        ).stdout
        (self.directory / "htpasswd").write_text(f"us:{hashed}\n")
        (self.directory / "config.yml").write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.directory}/data}}}}\n"
            f"http: {{addr: '{self.name}', secret: no}}\n"
            f"auth: {{htpasswd: {{realm: test, path: {self.directory}/htpasswd}}}}\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        """Where `docker login` keeps what it was told."""
        return {"DOCKER_CONFIG": str(self.directory)}

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            command = ("docker-registry", "serve", str(self.directory / "config.yml"))
            self._process = self._swarm.manager.inside(*command, log=log.fileno())

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def push(self, node: Node, image: str) -> str:
        """Have the registry's tag mean this image of a node. Returns its digest."""
        node.docker("tag", image, self.image)
        node.docker("--config", str(self.directory), "push", self.image, seconds=120)
        form = "{{range .RepoDigests}}{{println .}}{{end}}"
        listed = node.docker("image", "inspect", f"--format={form}", self.image).split()
        digest = next(one for one in listed if one.startswith(self.name)).partition("@")[2]
        node.docker("rmi", "--force", self.image)
        return digest


@pytest.fixture(params=[OWN, NEWER, f"{NEWER},{OWN},{CONTAINERD}"], ids=["own", "28", "mixed"])
def relays(request: pytest.FixtureRequest) -> Iterator[RelaysOfNodes]:
    """Three nodes without the image; also with different engines and image stores, which a digest does not mind."""
    if shutil.which("docker-registry") is None:
        skip_or_fail("docker-registry is not installed")
    with running_swarm(version=request.param, options=_OPTIONS) as swarm, relays_of(swarm) as relays:
        yield relays


@pytest.fixture
def registry(relays: RelaysOfNodes) -> Iterator[Registry]:
    registry = Registry(relays.swarm)
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()


def images_of_services(node: Node, pool: str) -> dict[str, str]:
    """What each notebook's service is made from, by its id."""
    ids = node.docker("service", "ls", "--quiet", "--filter", f"label=org.tmpnb.pool={pool}").split()
    form = '{{index .Spec.Labels "org.tmpnb.id"}} {{.Spec.TaskTemplate.ContainerSpec.Image}}'
    listed = (
        node.docker("service", "inspect", f"--format={form}", *ids, check=False) if ids else ""
    )  # some go meanwhile
    return dict(line.split() for line in listed.splitlines())


async def test_nodes_pull_what_is_pinned(
    relays: RelaysOfNodes, registry: Registry, server_image: str, pool: str, tmp_path: Path
) -> None:
    first, second, third = relays.swarm.nodes
    relays.swarm.load(server_image, nodes=[first])
    build(first, server_image, "newer", tmp_path / "newer", layers=1)
    digest = registry.push(first, server_image)
    first.docker("rmi", "--force", server_image)
    third.hide_from(registry.address, hidden=True)
    environment = {
        **registry.environment, "DOCKER_HOST": first.host, "TMPNB_ENGINE": "swarm", "TMPNB_POOL_NAME": pool,
        "TMPNB_SWARM_RELAYS": ",".join(relays.names), "TMPNB_SWARM_SECRET": str(relays.secret),
        "TMPNB_RUNTIME_DIR": str(tmp_path / "run"), "TMPNB_IMAGE": registry.image,
    }  # fmt: skip

    async def image_command(name: str) -> Done:
        return await run("image", name, env=environment)

    with Deployment(pool, docker_host=first.host).ended() as deployment:
        service = start(deployment, relays, registry.image, env=registry.environment)
        async with service.http() as client:
            await service.stats_when(lambda stats: stats["available"] == _READY)
            reference = f"{registry.name}/team/workshop@{digest}"
            assert set(images_of_services(first, pool).values()) == {reference}

            # A node that cannot pull is said, gets no notebooks, and tries again.
            async with within():
                while not (nodes := await nodes_of(service))[third.name].image_error or not nodes[second.name].image:
                    await asyncio.sleep(0.2)
            assert {name: one.image for name, one in nodes.items()} == {
                first.name: True, second.name: True, third.name: False,
            }  # fmt: skip
            assert "cannot be pulled" in (await command(service, "status")).out
            assert service.found("image_not_pulled", node=third.name)
            assert not third.docker("ps", "--quiet", "--filter", f"label=org.tmpnb.pool={pool}")
            third.hide_from(registry.address, hidden=False)
            async with within():
                while not (await nodes_of(service))[third.name].image:
                    await asyncio.sleep(0.2)
            notebook = await service.spawn(client)
            assert await cell(client, notebook, "print(6 * 7)") == (200, '"42\\n"')
            await service.stats_when(lambda stats: stats["available"] == _READY)

            # The tag means another image: nothing happens, until that is brought to the nodes.
            newer = registry.push(first, "newer")
            await asyncio.sleep(2)
            assert set(images_of_services(first, pool).values()) == {reference}
            done = await image_command("push-nodes")
            assert (done.code, done.err) == (0, "")
            assert all(f"{node.name}: has pulled it" in done.out for node in relays.swarm.nodes)
            later = f"{registry.name}/team/workshop@{newer}"

            def is_replaced() -> bool:
                found = images_of_services(first, pool)
                return found.pop(notebook["id"]) == reference and list(found.values()) == [later] * _READY

            async with within():
                while not await asyncio.to_thread(is_replaced):
                    await asyncio.sleep(0.2)
            assert await cell(client, notebook, "print(6 * 7)") == (200, '"42\\n"')

            # What nobody uses goes; what runs stays.
            pruned = (await image_command("prune-nodes")).out
            assert f"in use tmpnb-pushed:{digest[7:19]}" in pruned or "nothing to remove" in pruned
            assert all(f"tmpnb-pushed:{newer[7:19]}" in names(node) for node in relays.swarm.nodes)
            await command(service, "end", notebook["id"])
            async with within():
                while any(reference.partition("@")[2][7:19] in str(names(node)) for node in relays.swarm.nodes):
                    await image_command("prune-nodes")
                    await asyncio.sleep(0.5)

            # A registry that is away harms nobody, an orchestrator that starts anew neither.
            registry.stop()
            notebook = await service.spawn(client)
            await service.stats_when(lambda stats: stats["available"] == _READY)
        service.kill()
        again = start(deployment, relays, registry.image)
        async with again.http() as client:
            await again.stats_when(lambda stats: stats["available"] == _READY)
            assert (await cell(client, notebook, "print(1)"))[0] == 200
            await again.spawn(client)
            await again.stats_when(lambda stats: stats["available"] == _READY)
            assert set(images_of_services(first, pool).values()) == {later}
        again.stop()


async def test_a_registry_that_nobody_may_ask_is_told_of(
    relays: RelaysOfNodes, registry: Registry, pool: str
) -> None:
    """Without a password nothing is pulled, and the operator reads why."""
    first = relays.swarm.manager
    with Deployment(pool, docker_host=first.host).ended() as deployment:
        service = start(deployment, relays, registry.image, env={"DOCKER_CONFIG": str(relays.swarm.directory)})
        async with within():
            while f"does not tell which image {registry.image}" not in (await command(service, "status")).out:
                await asyncio.sleep(0.5)
        service.stop()
