"""Upgrades at full load: with Docker, between two builds, and from the last version that could not do it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.local import LocalDeployment
from tests.e2e.service import Deployment, Service
from tests.e2e.test_upgrade import COMMAND, finally_ended, gone, port_of, session_of, start, upgraded
from tests.e2e.traffic import Connection, Traffic
from tests.engine_support import SERVER_COMMAND_SOCKET, docker

ROOT = Path(__file__).parents[2]
OLD = "fe80b99"  # the last version before the change of structure, which knows nothing of upgrades
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def local(pool: str) -> Iterator[LocalDeployment]:
    with LocalDeployment(pool, "unprotected").ended() as deployment:
        yield deployment


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
                    if count == 1:
                        crowd.check()  # none of the WebSockets was cut either
                        assert await _sessions(service)  # the very first one is not reaped
                    serving = following
            _report(crowd, service)
            assert not crowd.failed, (len(crowd.failed), crowd.failed[:5])
            assert len(set(crowd.claimed)) == len(crowd.claimed)
            assert set(crowd.closed) <= {1012}  # at the second upgrade the first process is cut
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
                if count == 1:
                    crowd.check()
        _report(crowd, service)
        assert not crowd.failed, (len(crowd.failed), crowd.failed[:5])
        assert set(crowd.closed) <= {1012}
        assert session["id"] in await _sessions(service)
        service.other_lines.clear()  # the traces of 1.0.3


@pytest.fixture
def old_version(local: LocalDeployment) -> Path:
    """The last version before the change of structure, out of the history."""
    place = local.directory / "old"
    place.mkdir()
    archive = place / "old.tar"
    made = subprocess.run(["git", "archive", "--output", archive, OLD], cwd=ROOT, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"this clone's history has no {OLD}")
    subprocess.run(["tar", "-x", "-f", archive, "-C", place], check=True)
    (place / "tmpnb_py" / "workshop_image").symlink_to(place / "workshop_image")
    return place


async def test_from_before_the_change_of_structure(local: LocalDeployment, old_version: Path) -> None:
    """That version holds its port itself, so the first step is a restart; from then on nobody is refused."""
    port = _free_port()
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


def _free_port() -> int:
    from tests.ports import free_ports  # noqa: PLC0415

    return free_ports(1)[0]


async def test_jupyterlab_goes_on_over_an_upgrade(pool: str) -> None:
    """A real kernel: what runs in it, what it prints meanwhile and its variables are there afterwards."""
    from tests.e2e.jupyter import Notebook  # noqa: PLC0415

    with LocalDeployment(pool, "unprotected").ended() as deployment:
        service = deployment.start("--pool-size=1")
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
    import socket  # noqa: PLC0415

    shell = 'exec 3<&"$FD"; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=visitors exec "$@"'
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        port = listener.getsockname()[1]

        def begin(*options: str) -> Service:
            more = ("--pool-size=3", f"--command={COMMAND}", "--port=1", *options)
            wrapper = ("/usr/bin/env", f"FD={listener.fileno()}", "/bin/bash", "-c", shell, "bash")
            return local.start(*more, cleanup=False, wrapper=wrapper, pass_fds=(listener.fileno(),))

        service = begin()
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
            service = begin("--cleanup-on-exit")
            await service.ready(3)
            await page
        assert not crowd.failed, (len(crowd.failed), crowd.failed[:5])
        assert crowd.closed == [1012] * 100
        assert len(again) == 2
        status, _ = await _once(port)
        assert status == 200
        await asyncio.to_thread(service.stop)


async def _once(port: int) -> tuple[int, bytes]:
    connection = Connection(port)
    try:
        return await connection.ask("GET", "/healthz")
    finally:
        connection.close()
