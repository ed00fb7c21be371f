"""`swarm.yaml` as it is documented, deployed with `docker stack deploy` on three nodes."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.test_contract_tmpnb_compose import Project
from tests.engine_support import SERVER_COMMAND_SOCKET, base_image, docker
from tests.swarm.nodes import Node, Swarm, running_swarm
from tests.swarm.relays import make_secret

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
IMAGE = "tmpnb-py-test/service"
PORT = 8000
_PATIENCE = 120.0


@pytest.fixture(scope="module")
def service_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program's own image, of this checkout. SERVICE_IMAGE names one that is there already."""
    if ready := os.environ.get("SERVICE_IMAGE"):
        return ready
    project = Project(tmp_path_factory.mktemp("service"))
    arguments = ["--network", "host", "--build-arg", f"BASE={base_image()}", "--tag", IMAGE]
    docker("build", *arguments, str(project.directory), seconds=600)
    return IMAGE


class Stack:
    """The stack, deployed."""

    def __init__(self, swarm: Swarm, images: tuple[str, str], pool: str) -> None:
        self.swarm = swarm
        self.name = f"stack{secrets.token_hex(3)}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TMPNB_")},
            # By its id, as the documentation has it: an engine asks a registry about a name first.
            "TMPNB_SERVICE_IMAGE": docker("image", "inspect", "--format", "{{.Id}}", images[0]).strip(),
            "TMPNB_IMAGE": images[1],
            "TMPNB_COMMAND": SERVER_COMMAND_SOCKET,
            "TMPNB_SWARM_SECRET_FILE": str(make_secret(swarm.directory / "stack.pem")),
            "TMPNB_PUBLISHED_PORT": str(PORT),
            "TMPNB_POOL_NAME": pool,
            "TMPNB_POOL_SIZE": "3",
            "TMPNB_MAX_CONTAINERS": "12",
            "TMPNB_MEM_LIMIT": "128m",
        }

    def deploy(self) -> None:
        subprocess.run(
            self.swarm.manager.command(
                "stack", "deploy", "--resolve-image", "never", "--compose-file", str(ROOT / "swarm.yaml"), self.name
            ),
            env=self.environment, check=True, timeout=120,
        )  # fmt: skip

    def where(self, by: Node) -> Node | None:
        """The node on which the orchestrator runs."""
        listed = by.docker(
            "service", "ps", f"{self.name}_orchestrator", "--filter", "desired-state=running",
            "--format", "{{.Node}} {{.CurrentState}}", check=False,
        )  # fmt: skip
        running = [line.split()[0] for line in listed.splitlines() if line.split()[1:2] == ["Running"]]
        return next((node for node in self.swarm.nodes if node.name in running), None)

    async def is_updated(self, service: str) -> bool:
        """Whether the last update of a service has reached all nodes."""
        state = ("service", "inspect", "--format", "{{.UpdateStatus.State}}", f"{self.name}_{service}")
        return await asyncio.to_thread(self.swarm.manager.docker, *state, check=False) == "completed"

    def report(self) -> str:
        parts = []
        for node in self.swarm.nodes:
            parts.append(node.docker("ps", "-a", check=False))
            mine = node.docker("ps", "-q", "--filter", f"name={self.name}_", check=False).split()
            parts += [_log_of(node, one) for one in mine]
        parts += [
            self.swarm.manager.docker("service", *words, f"{self.name}_{service}", check=False)
            for service in ("orchestrator", "front", "relay")
            for words in (("ps", "--no-trunc"), ("logs", "--tail", "30"))
        ]
        return "\n".join(parts)


def _log_of(node: Node, container: str) -> str:
    command = node.command("logs", "--tail", "30", container)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return f"{node.name} {container}:\n{done.stdout}"


@pytest.fixture
def stack(service_image: str, server_image: str, pool: str, swarm_docker: str) -> Iterator[Stack]:
    """Three managers, so that one may be lost."""
    with running_swarm(managers=3, version=swarm_docker) as swarm:
        swarm.load(service_image, server_image)
        stack = Stack(swarm, (service_image, server_image), pool)
        stack.deploy()
        yield stack


async def ask(method: str, url: str, **more: Any) -> tuple[int, Any]:
    """Status and JSON, (0, None) where nobody answers."""
    timeout = aiohttp.ClientTimeout(total=70)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client, client.request(method, url, **more) as response:
            return response.status, await response.json(content_type=None) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):
        return 0, None


async def ask_on(url: str, token: str, counted: list[int]) -> None:
    """Ask a notebook again and again, and count what it answers."""
    while True:
        began = time.monotonic()
        status, _ = await ask("GET", url, headers={"Authorization": f"token {token}"})
        counted.append(status)
        if status != 200:
            print(f"{url[:30]} answered {status} at {began:.1f} s, after {time.monotonic() - began:.1f} s")
        await asyncio.sleep(0.05)


async def until(stack: Stack, holds: Callable[[], Any], seconds: float = _PATIENCE) -> float:
    """How long it takes until it holds."""
    began = time.monotonic()
    while not await holds():
        if time.monotonic() - began > seconds:
            pytest.fail(f"it did not happen within {seconds:g} s\n{stack.report()}")
        await asyncio.sleep(0.2)
    return time.monotonic() - began


async def updated(stack: Stack, service: str) -> None:
    """As an operator does it; `--force` starts tasks anew without another image."""
    command = ("service", "update", "--force", "--detach=false", f"{stack.name}_{service}")
    await asyncio.to_thread(stack.swarm.manager.docker, *command, seconds=300)
    await until(stack, functools.partial(stack.is_updated, service))  # Docker 28's command waits for less


async def test_the_documented_stack(stack: Stack) -> None:
    swarm = stack.swarm
    addresses = [node.address for node in swarm.nodes]

    async def serving(count: int = 3) -> str:
        """Where the service answers with so many notebooks ready, "" nowhere."""
        for address in addresses:
            status, stats = await ask("GET", f"http://{address}:{PORT}/api/stats")
            if status == 200 and stats["available"] >= count:
                return f"http://{address}:{PORT}"
        return ""

    await until(stack, serving)
    url = await serving()
    notebooks = [(await ask("POST", f"{url}/api/spawn?wait=60"))[1] for _ in range(4)]
    by_node = {
        node.name: notebook
        for notebook in notebooks
        for node in swarm.nodes
        if node.docker("ps", "-q", "--filter", f"label=org.tmpnb.id={notebook['id']}")
    }
    assert len(by_node) >= 2, "spread over the nodes"

    async def cell(notebook: dict[str, Any]) -> tuple[int, Any]:
        headers = {"Authorization": f"token {notebook['token']}"}
        url = await serving(0)
        return await ask("POST", f"{url}{notebook['url']}exec", data="print(6 * 7)", headers=headers)

    for notebook in notebooks:
        assert await cell(notebook) == (200, "42\n")

    async def all_answer() -> bool:
        return all([await cell(notebook) == (200, "42\n") for notebook in notebooks])

    # Updates of our own services: sessions live on.
    for service in ("relay", "orchestrator", "front"):
        await updated(stack, service)
        await until(stack, all_answer, 60)

    # The orchestrator's node dies: it runs again elsewhere, with every session of the living nodes. Until then each
    # front end leads to them, wherever they are, and loses nothing.
    dead = stack.where(swarm.manager)
    assert dead is not None
    living = [notebook for name, notebook in by_node.items() if name != dead.name]
    addresses.remove(dead.address)
    counted: list[int] = []

    async def living_answer() -> bool:
        return bool(await serving(0)) and all([await cell(one) == (200, "42\n") for one in living])

    async with asyncio.TaskGroup() as group:
        asking = [
            group.create_task(ask_on(f"http://{address}:{PORT}{one['url']}api/kernels", one["token"], counted))
            for address in addresses
            for one in living
        ]
        await asyncio.sleep(1)
        dead.power_off()
        began = time.monotonic()
        while stack.where(next(node for node in swarm.nodes if node is not dead)) in (None, dead):
            assert time.monotonic() - began < _PATIENCE, stack.report()
            await asyncio.sleep(0.5)
        seconds = await until(stack, living_answer)
        for task in asking:
            task.cancel()
    print(f"{len(counted)} requests while the orchestrator was away, lost: {[one for one in counted if one != 200]}")
    assert set(counted) == {200}, stack.report()
    print(f"the orchestrator ran again after {seconds:.1f} s, mostly Swarm's own: docs/swarm.md has figures")
    await until(stack, serving)

    # Of three managers one is left: nothing is given away, and who works goes on.
    url = await serving(0)
    last = stack.where(next(node for node in swarm.nodes if node is not dead))
    assert last is not None
    url = f"http://{last.address}:{PORT}"
    second = next(node for node in swarm.nodes if node not in (dead, last))
    kept: list[dict[str, Any]] = []
    async with asyncio.timeout(_PATIENCE):
        while not kept:  # those that are ready may all be on the other node; Swarm starts the next ones here, too
            _, one = await ask("POST", f"{url}/api/spawn?wait=60")
            assert one, stack.report()
            there = ("ps", "-q", "--filter", f"label=org.tmpnb.id={one['id']}")
            kept += [] if await asyncio.to_thread(second.docker, *there) else [one]
    second.power_off()
    addresses.remove(second.address)
    living = kept
    await until(stack, living_answer)
    status, _ = await ask("POST", f"{url}/api/spawn?wait=1")
    assert status != 200
    assert await living_answer()


async def test_push_nodes_as_it_is_documented(
    service_image: str, server_image: str, pool: str, swarm_docker: str
) -> None:
    """In the orchestrator's container, on its node: the other node gets the notebooks' image, and notebooks then."""
    with running_swarm(count=2, version=swarm_docker) as swarm:
        first, second = swarm.nodes
        swarm.load(service_image)
        swarm.load(server_image, nodes=[first])
        stack = Stack(swarm, (service_image, server_image), pool)
        stack.deploy()

        async def is_ready() -> bool:
            _, stats = await ask("GET", f"http://{first.address}:{PORT}/api/stats")
            return bool(stats) and stats["available"] == 3

        await until(stack, is_ready)
        ours = ("--filter", f"label=org.tmpnb.pool={pool}")
        assert not second.docker("ps", "--quiet", *ours)
        label = f"label=com.docker.swarm.service.name={stack.name}_orchestrator"
        container = first.docker("ps", "--quiet", "--filter", label)
        done = first.docker("exec", container, "tmpnb-py", "image", "push-nodes", seconds=120)
        assert f"{first.name}: has it" in done
        assert f"{second.name}: has it now" in done
        image_id = first.docker("image", "inspect", "--format={{.Id}}", server_image)
        assert f"tmpnb-pushed:{image_id[7:19]}" in second.docker("images", "--format={{.Repository}}:{{.Tag}}")

        async def may_be_used() -> bool:
            """It has been looked at from inside: notebooks that start before go to the other node."""
            table = await asyncio.to_thread(first.docker, "exec", container, "tmpnb-py", "status")
            return any(line.split()[:1] == [second.name] and "verified" in line for line in table.splitlines())

        async def is_used() -> bool:
            return bool(await asyncio.to_thread(second.docker, "ps", "--quiet", *ours))

        await until(stack, may_be_used)
        status, _ = await ask("POST", f"http://{first.address}:{PORT}/api/spawn?wait=60")
        assert status == 200, stack.report()
        await until(stack, is_used)
        done = first.docker("exec", container, "tmpnb-py", "image", "prune-nodes", seconds=60)
        assert sorted(done.splitlines()) == [f"{node.name}: nothing to remove" for node in swarm.nodes]
