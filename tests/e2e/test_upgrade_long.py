"""Upgrades at full load: with Docker, between two builds, and from the last version that could not do it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e import test_upgrade
from tests.e2e.jupyter import Notebook
from tests.e2e.local import LocalDeployment
from tests.e2e.service import Deployment, Service
from tests.e2e.test_upgrade import (
    COMMAND,
    activated,
    finally_ended,
    gone,
    port_of,
    session_of,
    start,
    told_of,
    upgraded,
)
from tests.e2e.traffic import Connection, Traffic
from tests.engine_support import SERVER_COMMAND_SOCKET, docker
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
OLD = "fe80b99"  # the last version before the change of structure, which knows nothing of upgrades
FIRST = "0e35d74"  # a version whose upgrades are of the first kind
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


local = test_upgrade.deployment


def _report(crowd: Traffic, service: Service) -> None:
    """Figures, for whoever runs it by hand (`-s`)."""
    gaps = [one["gap"] for one in service.found("upgraded")]
    asked = sum(crowd.answered.values())
    print(
        f"\n{asked} answers, {crowd.echoes} echoes, {len(crowd.claimed)} claims, "
        f"slowest {crowd.slowest:.2f} s, {gaps=}"
    )


async def test_at_500_requests_per_second_with_docker(pool: str, server_image: str) -> None:
    """Three upgrades in a row; the notebooks are containers, the pool's hold goes from process to process."""
    image = docker("image", "inspect", "--format", "{{.Id}}", server_image)  # whatever becomes of the name meanwhile
    with Deployment(pool).ended() as deployment:
        service = deployment.start(
            f"--image={image}", f"--command={SERVER_COMMAND_SOCKET}", "--mem-limit=128m", "--pool-size=3",
            "--max-containers=12", "--max-connections-per-address=5000", "--log-level=info",
        )  # fmt: skip
        async with finally_ended(service):
            await service.ready(3)
            session, port, serving = await session_of(service), port_of(service), service.pid
            async with Traffic(port, session).of(500, workers=40, websockets=100, claimants=2) as crowd:
                for count in range(1, 4):
                    following = await upgraded(service, count=count, by=serving)
                    await asyncio.sleep(3)
                    crowd.check()  # none of the WebSockets was cut either
                    assert session["id"] in await _sessions(service)  # nor reaped
                    serving = following
            _report(crowd, service)
            assert not crowd.failed, (len(crowd.failed), crowd.failed[:5])
            assert len(set(crowd.claimed)) == len(crowd.claimed)
            assert session["id"] in await _sessions(service)
        await gone(service.pid)


async def _sessions(service: Service) -> list[str]:
    async with service.http(admin=True) as admin, admin.get("/api/sessions") as response:
        return [one["id"] for one in (await response.json())["sessions"]]


def _build(place: Path, version: str) -> Path:
    """The tree as an installation of its own, of another version."""
    shutil.copytree(ROOT / "tmpnb_py", place / "tmpnb_py", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "tmpnb_py" / "workshop_image").symlink_to(ROOT / "workshop_image")
    module = place / "tmpnb_py" / "__init__.py"
    text = module.read_text()
    module.write_text(text[: text.index("__version__")] + f'__version__ = "{version}"\n')
    return place


async def test_between_two_builds_and_back(local: LocalDeployment) -> None:
    """A link says which one is installed, as with /opt/tmpnb-py; a build that lacks a module changes nothing."""
    current = local.directory / "current"
    builds = {version: _build(local.directory / version, version) for version in ("1.0.1", "1.0.2", "1.0.3")}
    (builds["1.0.3"] / "tmpnb_py" / "service" / "upgrade" / "wire.py").unlink()

    def install(version: str) -> None:
        current.unlink(missing_ok=True)
        current.symlink_to(builds[version])

    install("1.0.1")
    service = start(local, wrapper=("/usr/bin/env", f"PYTHONPATH={current}", "PYTHONDONTWRITEBYTECODE=1"))
    async with finally_ended(service):
        await service.ready(3)
        session, port, serving = await session_of(service), port_of(service), service.pid
        assert (await service.stats())["version"] == "1.0.1"
        async with Traffic(port, session).of(500, workers=40, websockets=100, claimants=1) as crowd:
            for count, version in enumerate(("1.0.2", "1.0.1"), 1):
                install("1.0.3")
                os.kill(serving, signal.SIGUSR2)
                await service.event("upgrade_failed", count=count)
                install(version)
                serving = await upgraded(service, count=count, by=serving)
                await asyncio.sleep(2)
                assert (await service.stats())["version"] == version
                crowd.check()
        _report(crowd, service)
        assert session["id"] in await _sessions(service)
        service.other_lines.clear()  # the traces of 1.0.3


async def test_from_the_first_version_that_could_do_it_and_back(local: LocalDeployment) -> None:
    """It knows nothing of locks that are passed on, of several processes of before, or of places of open requests."""
    current, first = local.directory / "current", _out_of_history(local.directory / "first", FIRST)

    def install(place: Path) -> None:
        current.unlink(missing_ok=True)
        current.symlink_to(place)

    install(first)
    service = start(local, wrapper=("/usr/bin/env", f"PYTHONPATH={current}", "PYTHONDONTWRITEBYTECODE=1"))
    async with finally_ended(service):
        await service.ready(3)
        session, port, serving = await session_of(service), port_of(service), service.pid
        async with Traffic(port, session).of(100, workers=12, websockets=20, claimants=1) as crowd:
            for count, place in enumerate((ROOT, ROOT, first, ROOT), 1):
                install(place)
                serving = await upgraded(service, count=count, by=serving)
                await asyncio.sleep(2)
                if count == 2:
                    crowd.check()  # the first version's process has been passed on
        _report(crowd, service)
        assert not crowd.failed, (len(crowd.failed), crowd.failed[:5])
        assert crowd.closed == [1012] * 20  # as the first version could only cut it
        assert session["id"] in await _sessions(service)


async def test_many_upgrades_and_the_death_of_the_last_process(local: LocalDeployment) -> None:
    """Three processes of before at most; the newest of them serves again, and knows what the others have open."""
    service = start(local)
    async with finally_ended(service):
        await service.ready(3)
        session, pids = await session_of(service), [service.pid]
        headers = {"Authorization": f"token {session['token']}"}
        async with contextlib.AsyncExitStack() as stack:
            sockets = []

            async def join() -> None:
                client = await stack.enter_async_context(service.http())
                sockets.append(
                    await stack.enter_async_context(client.ws_connect(f"{session['url']}x", headers=headers))
                )

            async def all_answer(*closed: int) -> None:
                for number, one in enumerate(sockets):
                    if number not in closed:
                        await one.send_str("hello")
                        assert (await one.receive(20)).data == "hello"

            for count in range(1, 4):
                await join()
                pids.append(await upgraded(service, count=count, by=pids[-1]))
            await all_answer()
            status = await told_of(service, session["id"], websockets=3)
            assert [one["pid"] for one in status["predecessors"]] == pids[2::-1]
            # One more: the oldest has had its time.
            await join()
            pids.append(await upgraded(service, count=4, by=pids[-1]))
            assert (await sockets[0].receive(20)).type is aiohttp.WSMsgType.CLOSE
            assert sockets[0].close_code == 1012
            await gone(pids[0])
            await told_of(service, session["id"], websockets=3)
            # The service dies.
            os.kill(pids[-1], signal.SIGKILL)
            await service.event("successor_died")
            await all_answer(0)
            async with asyncio.timeout(30):
                while (status := await _status(service))["pid"] != pids[3]:
                    await asyncio.sleep(0.05)
            assert [one["pid"] for one in status["predecessors"]] == [pids[2], pids[1]]
            (known,) = (one for one in status["sessions"] if one["id"] == session["id"])
            assert known["open_connections"] == 3
            # And once more from there.
            pids.append(await upgraded(service, count=5, by=pids[3]))
            await told_of(service, session["id"], websockets=3)
            await all_answer(0)
        shutil.rmtree(local.runtime_dir / "static", ignore_errors=True)  # as after any kill -9


async def _status(service: Service) -> dict[str, Any]:
    async with service.http(admin=True) as admin, admin.get("/api/status") as response:
        return dict(await response.json())


def _out_of_history(place: Path, commit: str) -> Path:
    """The tree of a commit."""
    place.mkdir()
    archive = place / "old.tar"
    made = subprocess.run(["git", "archive", "--output", archive, commit], cwd=ROOT, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"this clone's history has no {commit}")
    subprocess.run(["tar", "-x", "-f", archive, "-C", place], check=True)
    (place / "tmpnb_py" / "workshop_image").symlink_to(place / "workshop_image")
    return place


@pytest.fixture
def old_version(local: LocalDeployment) -> Path:
    """The last version before the change of structure."""
    return _out_of_history(local.directory / "old", OLD)


async def test_from_before_the_change_of_structure(local: LocalDeployment, old_version: Path) -> None:
    """That version holds its port itself, so the first step is a restart; from then on nobody is refused."""
    (port,) = free_ports(1)
    options = (f"--port={port}", "--pool-size=3", f"--command={COMMAND}")
    old = local.start(*options, cleanup=False, wrapper=("/usr/bin/env", f"PYTHONPATH={old_version}"))
    await old.ready(3)
    session = await session_of(old)
    async with Traffic(port, session).of(500, workers=40, websockets=100, claimants=1) as crowd:
        assert await asyncio.to_thread(old.stop) == 0
        service = local.start(*options)
        await service.stats_when(lambda stats: stats["available"] > 0)
    assert old.found("stopped")
    assert len(crowd.closed) == 100
    assert len(set(crowd.claimed)) == len(crowd.claimed)
    async with finally_ended(service):
        assert session["id"] in await _sessions(service)
        async with Traffic(port, session).of(500, workers=40, websockets=100, claimants=1) as crowd:
            await upgraded(service)
            await asyncio.sleep(2)
        _report(crowd, service)
        crowd.check()


async def test_jupyterlab_goes_on_over_an_upgrade(local: LocalDeployment) -> None:
    """A real kernel: what runs in it, what it prints meanwhile and its variables are there afterwards."""
    service = local.start("--pool-size=1")
    async with finally_ended(service):
        await service.ready(1)
        async with service.http() as client:
            notebook = Notebook.of(client, await service.spawn(client))
            kernel_id = await notebook.new_kernel()
            async with notebook.kernel(kernel_id) as kernel:
                code = "import time\nfor turn in range(8):\n    print(turn)\n    time.sleep(0.5)"
                running = asyncio.create_task(kernel.run(code))
                await asyncio.sleep(1)
                await upgraded(service)
                assert await running == "".join(f"{turn}\n" for turn in range(8))
                os.kill(service.pid, signal.SIGTERM)  # the old process cuts what it has
                await gone(service.pid)
            assert await notebook.run("print(turn)", kernel_id) == "7\n"


async def test_an_activated_service_restarts_at_full_load(local: LocalDeployment) -> None:
    """As `systemctl restart` with a socket unit: 500 requests per second and 100 WebSockets, which connect anew."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        port = listener.getsockname()[1]
        service = activated(local, listener)
        await service.ready(3)
        session = await session_of(service)
        again: list[bool] = []

        async def reconnecting() -> None:
            headers: dict[str, Any] = {"Authorization": f"token {session['token']}"}
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                for _ in range(2):
                    async with client.ws_connect(f"/user/{session['id']}/x", headers=headers) as websocket:
                        await websocket.send_str("hello")
                        assert (await websocket.receive(60)).data == "hello"
                        again.append(True)
                        if len(again) == 1:
                            await websocket.receive(60)

        page = asyncio.create_task(reconnecting())
        async with Traffic(port, session).of(500, workers=40, websockets=100, claimants=0) as crowd:
            assert await asyncio.to_thread(service.stop) == 0
            service = activated(local, listener, "--cleanup-on-exit")
            await service.ready(3)
            await page
        assert not crowd.failed, (len(crowd.failed), crowd.failed[:5])
        assert crowd.closed == [1012] * 100
        assert len(again) == 2
        with contextlib.closing(Connection(port)) as connection:
            assert (await connection.ask("GET", "/healthz"))[0] == 200
        await asyncio.to_thread(service.stop)
