"""Sessions are found again: under another runtime directory, at another port, and after a lack of our own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.service import Deployment, Service
from tests.engine_support import SERVER_COMMAND_PORT, docker

pytestmark = pytest.mark.engine


async def _status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(f"{url}api") as response:
        return response.status


async def _answers_again(service: Service, url: str, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    async with service.http() as client:
        while (status := await _status(client, url)) != 200:
            assert time.monotonic() < deadline, f"{status}{service.report()}"
            await asyncio.sleep(0.2)


async def test_another_runtime_directory_finds_every_socket(deployment: Deployment, small: list[str]) -> None:
    first = deployment.start(*small, "--pool-size=2", cleanup=False)
    await first.ready(2)
    async with first.http() as client:
        spawned = await first.spawn(client)
    await first.ready(2)
    before = set(deployment.containers())
    first.kill()
    other = deployment.directory / "other"
    second = deployment.start(*small, "--pool-size=2", f"--runtime-dir={other}")
    await second.ready(2)
    assert set(deployment.containers()) == before, "what was ready is ready still"
    async with second.http() as client:
        assert await _status(client, spawned["url"]) == 200
        assert (await second.spawn(client))["id"] in before
    second.stop()
    assert not list(deployment.directory.glob(f"*/sockets/{deployment.pool}"))


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_a_restart_of_a_container_that_nobody_saw(deployment: Deployment, server_image: str, how: str) -> None:
    """By a port: the engine gives it another one."""
    options = (f"--image={server_image}", f"--command={SERVER_COMMAND_PORT}", "--transport=port", "--pool-size=1")
    service = deployment.start(*options, cleanup=False)
    await service.ready(1)
    async with service.http() as client:
        spawned = await service.spawn(client)
        await service.ready(1)
        assert await _status(client, spawned["url"]) == 200
    container = deployment.docker_id(spawned["id"])
    before = deployment.docker("port", container)
    if how == "stopped":
        service.signal(signal.SIGSTOP)
    else:
        service.kill()
    deployment.docker("restart", "--time=0", container)
    await asyncio.sleep(3)
    assert deployment.docker("port", container) != before
    if how == "stopped":
        service.signal(signal.SIGCONT)
    else:
        service = deployment.start(*options)
    await _answers_again(service, spawned["url"])
    if how == "stopped":
        service.stop()
        deployment.start(*options).wait_for("listening")


async def test_without_a_descriptor_left_no_ready_notebook_is_lost(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, "--pool-size=5", "--start-concurrency=5")
    await service.ready(5)
    before = set(deployment.containers())
    async with service.http() as client:
        await service.stats()  # so that everything is loaded
        async with client.get("/api/stats") as response:
            assert response.status == 200  # this connection stays
        with _no_descriptor_left(service.pid):
            for _ in range(3):
                async with client.post("/api/spawn") as response:
                    assert response.status == 503, await response.text()
                    assert (await response.json())["cause"] == "service short of files or memory"
            await asyncio.sleep(3)
        assert before <= set(deployment.containers())
        assert (await service.spawn(client))["id"] in before


@contextlib.contextmanager
def _no_descriptor_left(pid: int) -> Iterator[None]:
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    lowest = next(number for number in range(soft) if not Path(f"/proc/{pid}/fd/{number}").is_symlink())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def _hanging(container: str) -> Iterator[None]:
    """Every call for this container hangs: its shim stands still, and a signal waits for it with the lock held."""
    pid = int(docker("inspect", "--format", "{{.State.Pid}}", container))
    while Path(f"/proc/{pid}/comm").read_text().strip() != "containerd-shim":
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert pid > 1
    os.kill(pid, signal.SIGSTOP)
    waiting = subprocess.Popen(["docker", "kill", "-s", "CONT", container], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        waiting.wait(60)


async def test_removals_that_hang_hold_up_neither_others_nor_starts(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, "--pool-size=2", "--max-containers=20", "--start-concurrency=4")
    await service.ready(2)
    async with service.http() as client, service.http(admin=True) as admin, contextlib.AsyncExitStack() as hanging:
        spawned = [(await service.spawn(client))["id"] for _ in range(6)]
        await service.ready(2)
        for one in spawned[:5]:
            hanging.enter_context(_hanging(deployment.docker_id(one)))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        for one in spawned:
            async with admin.delete(f"/api/sessions/{one}") as response:
                assert response.status in (200, 204), await response.text()
        await service.event("removed", id=spawned[5], seconds=8)
        took = time.monotonic() - began
        assert took < 6, took
        further = [(await service.spawn(client))["id"] for _ in range(3)]
        assert len(set(further)) == 3
        await asyncio.sleep(12)  # the engine is listed meanwhile, and hanging containers with it
        await service.spawn(client)
        assert not service.found("engine_down"), service.report()
    await service.stats_when(lambda stats: stats["removing"] == 0, seconds=90)


@pytest.mark.parametrize("years", [-50, 10])
async def test_a_clock_that_was_wrong_at_the_claim_ends_no_session_and_prolongs_none(
    deployment: Deployment, small: list[str], years: int
) -> None:
    """A machine without a battery begins in 1970, and hears the time later."""
    wrong = deployment.directory / "wrong"
    wrong.mkdir()
    (wrong / "sitecustomize.py").write_text(
        f"import time\nreal = time.time\ntime.time = lambda: max(1.0, real() + {years} * 365 * 86400)\n"
    )
    options = (*small, "--pool-size=1", "--cull-max=1h")
    service = deployment.start(
        *options,
        cleanup=False,
        env={"PYTHONPATH": os.pathsep.join([str(wrong), *filter(None, [os.environ.get("PYTHONPATH")])])},
    )
    await service.ready(1)
    async with service.http() as client:
        spawned = await service.spawn(client)
    service.kill()
    claimed_at = time.time()
    service = deployment.start(*options)
    await service.ready(1)
    async with service.http() as client:
        assert await _status(client, spawned["url"]) == 200
        async with client.get(f"/api/sessions/{spawned['id']}") as response:
            started = datetime.datetime.fromisoformat((await response.json())["started"]).timestamp()
        assert abs(started - claimed_at) < 30
    assert not service.found("session_ended")
