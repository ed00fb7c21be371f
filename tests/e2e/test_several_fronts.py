"""Two front ends before one orchestrator, as processes: whichever is killed, requests to notebooks go on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.jupyter import Notebook
from tests.e2e.local import KINDS, USER, LocalDeployment
from tests.e2e.service import SECONDS, Deployment, Front, Service
from tests.e2e.traffic import Counted
from tests.ports import free_ports
from tests.swarm.relays import make_secret

_PAUSE = 0.02


@dataclasses.dataclass
class Stack:
    """A deployment with two front ends."""

    deployment: Deployment | LocalDeployment
    options: list[str]
    orchestrator: Service
    fronts: list[Front]
    ours: list[str]

    def start_front(self, port: int = 0) -> Front:
        """One more front end."""
        return self.deployment.start_front(*self.ours, f"--port={port}")

    async def knows(self, count: int) -> None:
        """Wait until all front ends know so many sessions."""
        async with asyncio.timeout(SECONDS):
            for front in self.fronts:
                async with front.http() as client:
                    while not await _knows(client, count):
                        await asyncio.sleep(_PAUSE)

    def restart(self) -> None:
        """The next orchestrator; when that is stopped, nothing is left."""
        self.orchestrator = self.deployment.start(*self.options)


async def _knows(client: aiohttp.ClientSession, count: int) -> bool:
    async with client.get("/healthz") as response:
        return bool((await response.json())["sessions"] >= count)


@contextlib.contextmanager
def stack_of(
    deployment: Deployment | LocalDeployment, *options: str, secret: Path | None = None, ports: Sequence[int] = (0, 0)
) -> Iterator[Stack]:
    """Front ends at these ports."""
    secret = secret or make_secret(deployment.directory / "front.pem")
    port = free_ports(1)[0]
    served = [
        "--front-ip=127.0.0.1",
        f"--front-port={port}",
        f"--front-secret={secret}",
        *options,
    ]
    orchestrator = deployment.start(*served, cleanup=False)
    ours = [f"--front-orchestrator=127.0.0.1:{port}", f"--front-secret={secret}", "--front-wait=30s"]
    stack = Stack(deployment, served, orchestrator, [], ours)
    stack.fronts += [stack.start_front(port) for port in ports]
    for front in stack.fronts:
        front.wait_for("orchestrator_found")
    yield stack


@contextlib.asynccontextmanager
async def asking(notebook: Notebook, path: str = "api/kernels") -> AsyncIterator[Counted]:
    """Ask a notebook again and again, each time over a connection that may be kept."""
    counted = Counted()

    async def ask() -> None:
        while True:
            await counted.ask(notebook.client, notebook.url(path), notebook.headers)
            await asyncio.sleep(_PAUSE)

    task = asyncio.create_task(ask())
    try:
        yield counted
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_requests_go_on_whoever_is_killed(deployment: Deployment, small: list[str]) -> None:
    """The orchestrator stops, is killed, and a front end is: a notebook's requests by the other one lose nothing."""
    with stack_of(deployment, *small, "--pool-size=1") as stack:
        a, b = stack.fronts
        async with a.http() as by_a, b.http() as by_b:
            notebook = Notebook.of(by_b, await stack.orchestrator.spawn(by_a))
            await stack.knows(1)
            async with asking(notebook) as counted:
                stack.orchestrator.signal(signal.SIGTERM)
                await a.event("orchestrator_lost")
                claim = asyncio.create_task(stack.orchestrator.spawn(by_a))
                await asyncio.to_thread(stack.orchestrator.wait)
                await asyncio.sleep(0.5)
                assert not claim.done(), "it waits for the next one"
                stack.restart()
                assert (await claim)["id"] != notebook.id
                await b.event("orchestrator_found", count=2)  # else it loses nothing now: it tries every two seconds
                stack.orchestrator.kill()
                a.kill()
                await b.event("orchestrator_lost", count=2)
                stack.restart()
                await b.event("orchestrator_found", count=3)
                await stack.orchestrator.spawn(by_b)
            assert counted.lost == []
            assert counted.answered > 20


@pytest.mark.long
async def test_nothing_is_lost_whoever_is_killed(deployment: Deployment, workshop_image: str) -> None:
    """The orchestrator, then a front end, in the midst of cells and requests; claims wait and are made once."""
    options = (f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0")
    with stack_of(deployment, *options) as stack:
        a, b = stack.fronts
        async with a.http() as by_a, b.http() as by_b:
            first = Notebook.of(by_a, await stack.orchestrator.spawn(by_a))
            kernel_id = await first.new_kernel()
            through_b = Notebook(by_b, first.id, first.token)
            async with asking(through_b) as counted, first.kernel(kernel_id) as kernel:
                assert await kernel.run("x = 6; print(x)") == "6\n"
                stack.orchestrator.kill()
                for one in stack.fronts:
                    await one.event("orchestrator_lost")
                assert await kernel.run("x += 1; print(x)") == "7\n"
                async with by_a.get("/user/" + "0" * 32 + "/lab", headers={"Accept": "text/html"}) as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"]
                    assert "text/html" in response.headers["Content-Type"]
                claim = asyncio.create_task(stack.orchestrator.spawn(by_b))
                await asyncio.sleep(1)
                assert not claim.done()
                stack.restart()
                second = Notebook.of(by_b, await claim)
                assert await kernel.run("x += 1; print(x)") == "8\n"
                assert second.id != first.id
                await asyncio.sleep(0.5)
                assert await second.run("print(41 + 1)") == "42\n"
                assert len(deployment.containers("status=running")) <= 3
                a.kill()
                await asyncio.sleep(1)
                assert await through_b.run("print(x)", kernel_id) == "8\n"
            assert counted.lost == []
            assert counted.answered > 50


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_notebooks_without_docker_come_by_front_ends_too(pool: str, kind: str, tmp_path: Path) -> None:
    """`--engine local`: front ends dial the same sockets, as the same user."""
    with LocalDeployment(pool, kind).ended() as deployment:
        secret = make_secret(deployment.directory / "front.pem")
        if kind == "ordinary":
            os.chown(secret, USER, USER)
        with stack_of(deployment, "--pool-size=1", secret=secret) as stack:
            a, b = stack.fronts
            async with a.http() as by_a, b.http() as by_b:
                notebook = Notebook.of(by_a, await stack.orchestrator.spawn(by_a))
                kernel_id = await notebook.new_kernel()
                through_b = Notebook(by_b, notebook.id, notebook.token)
                for one in stack.fronts:
                    await one.event("files_mirrored")
                async with asking(through_b) as counted, notebook.kernel(kernel_id) as kernel:
                    assert await kernel.run("x = 6; print(x)") == "6\n"
                    stack.orchestrator.kill()
                    for one in stack.fronts:
                        await one.event("orchestrator_lost")
                    assert await kernel.run("x += 1; print(x)") == "7\n"
                    assert await shared_files_are_there(through_b)
                    stack.restart()
                    second = Notebook.of(by_b, await stack.orchestrator.spawn(by_b))
                    assert second.id != notebook.id
                    assert await kernel.run("x += 1; print(x)") == "8\n"
                assert counted.lost == []


async def shared_files_are_there(notebook: Notebook) -> bool:
    """Load JupyterLab's page and the shared files that it names, as a fresh browser does."""
    async with notebook.client.get(notebook.url("lab"), headers=notebook.headers) as response:
        assert response.status == 200
        page = await response.text()
    names = set(re.findall(r"/static/[0-9a-f]{32}/[^\"'?\\<> ]+\.(?:js|css|svg|ico)", page))
    for name in names:
        async with notebook.client.get(name) as response:
            assert response.status == 200, name
            await response.read()
    return bool(names)
