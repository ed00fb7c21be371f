"""Upgrades under load: a new process takes over, or does not, and no visitor notices either."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.local import LocalDeployment
from tests.e2e.service import PROGRAM, Service, environment
from tests.e2e.traffic import Traffic
from tests.engine_support import skip_or_fail
from tests.waiting import until
from tmpnb_py.core.errors import PoolLockedError
from tmpnb_py.service.pool_lock import lock_pool

SERVER = Path(__file__).parents[1] / "images" / "server" / "server.py"
COMMAND = f"{shlex.quote(sys.executable)} {shlex.quote(str(SERVER))} --base {{base_path}} --socket {{socket}}"
RESTART = 1012


@pytest.fixture
def deployment(pool: str) -> Iterator[LocalDeployment]:
    """Notebooks that are stand-in servers and start in no time; they need neither Docker nor a sandbox."""
    with LocalDeployment(pool, "unprotected").ended() as deployment:
        yield deployment


def start(deployment: LocalDeployment, *options: str, wrapper: tuple[str, ...] = ()) -> Service:
    more = ("--pool-size=3", f"--command={COMMAND}", "--log-level=debug")
    return deployment.start(*more, *options, wrapper=wrapper)


def activated(deployment: LocalDeployment, listener: socket.socket, *options: str) -> Service:
    """A service whose port its parent holds, as systemd does for a socket unit (sd_listen_fds(3))."""
    shell = 'exec 3<&"$FD"; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=visitors exec "$@"'
    more = ("--pool-size=3", f"--command={COMMAND}", "--port=1", *options)
    wrapper = ("/usr/bin/env", f"FD={listener.fileno()}", "/bin/bash", "-c", shell, "bash")
    return deployment.start(*more, cleanup=False, wrapper=wrapper, pass_fds=(listener.fileno(),))


def port_of(service: Service) -> int:
    return int(service.url.rstrip("/").rpartition(":")[2])


async def session_of(service: Service) -> dict[str, str]:
    async with service.http() as client:
        return await service.spawn(client)


async def upgraded(service: Service, *, count: int = 1, by: int = 0) -> int:
    """Have a process followed by another one; returns that one's id."""
    os.kill(by or service.pid, signal.SIGUSR2)
    return int((await service.event("upgraded", count=count))["pid"])


async def gone(pid: int) -> None:
    """Wait until a process that is no child of ours has ended."""
    async with asyncio.timeout(30):
        while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def finally_ended(service: Service) -> AsyncIterator[None]:
    """All processes are told to stop; the one that is the service then removes the pool."""
    try:
        yield
    finally:
        pids = [service.pid, *(int(one["pid"]) for one in service.found("upgraded"))]
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in pids:
            await gone(pid)


async def test_nobody_notices_an_upgrade(deployment: LocalDeployment) -> None:
    """Requests on kept and fresh connections, WebSockets, claims and a slow download, while two upgrades happen.

    What was open before the first one lives through the second one, too.
    """
    service = start(deployment)
    async with finally_ended(service):
        await service.ready(3)
        session, port = await session_of(service), port_of(service)
        async with service.http() as client:
            path = f"{session['url']}slow?4"
            download = asyncio.create_task(_body(client, path, session["token"]))
            async with Traffic(port, session).of(150, workers=12, websockets=10, claimants=1) as crowd:
                new = await upgraded(service)
                before = crowd.echoes
                status = await told_of(service, session["id"], websockets=10)  # by the old process
                assert status["pid"] == new
                assert [(one["pid"], one["websockets"]) for one in status["predecessors"]] == [(service.pid, 10)]
                assert await download == b"." * 40
                assert crowd.echoes > before
                # Once more, from a process that has taken over itself.
                newest = await upgraded(service, count=2, by=new)
                await gone(new)  # nothing is left there
                before = crowd.echoes
                status = await told_of(service, session["id"], websockets=10)
                assert status["pid"] == newest
                assert [(one["pid"], one["websockets"]) for one in status["predecessors"]] == [(service.pid, 10)]
                await until(lambda: crowd.echoes >= before + 20, 20)
                assert _zombies(service.pid) == []
        crowd.check()
        assert sum(crowd.answered.values()) > 200
        assert crowd.claimed
        await gone(service.pid)
        await service.event("predecessor_gone", pid=service.pid)
        gaps = [one["gap"] for one in service.found("upgraded")]
        assert len(gaps) == 2
        assert max(gaps) < 5, gaps  # 0.1 to 1 s on a machine that has nothing else to do
        async with service.http() as client, client.get(session["url"]) as response:
            assert response.status == 200


def _zombies(parent: int) -> list[str]:
    """A process's children that it has not waited for."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [one for one in children if " Z " in Path(f"/proc/{one}/stat").read_text()]


async def told_of(service: Service, session: str, *, websockets: int) -> dict[str, Any]:
    """The operator's status, once a session is known to have so many, all of them in processes of before."""
    async with asyncio.timeout(20), service.http(admin=True) as admin:
        while True:
            async with admin.get("/api/status") as response:
                status = dict(await response.json())
            opened = {one["id"]: one["open_connections"] for one in status["sessions"]}[session]
            if opened == sum(one["websockets"] for one in status["predecessors"]) == websockets:
                return status
            await asyncio.sleep(0.05)


async def _body(client: aiohttp.ClientSession, path: str, token: str) -> bytes:
    async with client.get(path, headers={"Authorization": f"token {token}"}) as response:
        return await response.read()


async def test_an_upgrade_that_fails_changes_nothing(deployment: LocalDeployment) -> None:
    """A wrong option, a program that cannot start, one that dies in the gap or after it: the old process goes on."""
    config = deployment.directory / "config.toml"
    config.write_text('cull_timeout = "1h"\n')
    service = start(deployment, f"--config={config}")
    async with finally_ended(service):
        await service.ready(3)
        session, port = await session_of(service), port_of(service)
        async with Traffic(port, session).of(50, workers=6, websockets=5, claimants=0) as crowd:
            config.write_text('cull_timeout = "soon"\n')
            os.kill(service.pid, signal.SIGUSR2)
            assert (await service.event("upgrade_failed"))["status"] == 2
            assert "cull_timeout" in service.other_lines[0]
            service.other_lines.clear()
            config.write_text('cull_timeout = "1h"\n')
            os.kill(service.pid, signal.SIGUSR2)
            await service.event("upgrade_started", count=2)
            os.kill(service.pid, signal.SIGUSR2)
            await service.event("upgraded")
            new = int(service.found("upgraded")[0]["pid"])
            assert service.found("upgrade_refused")
            await service.ready(3)
            os.kill(new, signal.SIGKILL)
            await service.event("successor_died")
            await asyncio.sleep(1.0)
        lost = [one for one in crowd.failed if "IncompleteRead" not in one and "ConnectionReset" not in one]
        assert not lost  # what the killed process was just answering is cut, and nothing else
        assert not crowd.closed
        async with service.http() as client, client.get(session["url"]) as response:
            assert response.status == 200
        assert (await session_of(service))["id"] != session["id"]
        assert service.pid in _serving(deployment)
    # A process that was killed while it compressed static files may leave one behind; the next start removes that.
    shutil.rmtree(deployment.runtime_dir / "static", ignore_errors=True)


def _serving(deployment: LocalDeployment) -> list[int]:
    return [int(path.read_text()) for path in deployment.runtime_dir.glob("*.lock")]


async def test_who_waits_keeps_the_place(deployment: LocalDeployment) -> None:
    """Tickets and an open request between them stand in line while two upgrades happen, and are served in turn."""
    service = start(deployment, "--pool-size=1", "--max-containers=1")
    async with finally_ended(service):
        await service.ready(1)
        holder = await session_of(service)
        async with service.http() as client:
            tickets, waiting = [], None
            for number in range(3):
                async with client.post("/api/tickets", json={}) as response:
                    tickets.append((await response.json())["id"])
                if number == 0:
                    waiting = asyncio.create_task(service.spawn(client))  # a request that stays open
                    await service.stats_when(lambda stats: stats["waiting"] == 2)
            assert waiting is not None
            serving = service.pid
            for count in (1, 2):
                serving, before = await upgraded(service, count=count, by=serving), serving
                await gone(before)
                for place, ticket in zip((1, 3, 4), tickets, strict=True):
                    async with client.get(f"/api/tickets/{ticket}") as response:
                        assert (await response.json())["position"] == place
                assert not waiting.done()
            async with client.delete(f"/api/tickets/{tickets[0]}") as response:
                assert response.status == 200
            headers = {"Authorization": f"token {holder['token']}"}
            async with client.delete(f"/api/sessions/{holder['id']}", headers=headers) as response:
                assert response.status == 200
            assert (await waiting)["id"] != holder["id"]
            async with client.get(f"/api/tickets/{tickets[1]}") as response:
                assert (await response.json())["position"] == 1
        assert _serving(deployment) == [serving]


async def test_nobody_else_gets_the_pool_in_the_gap(deployment: LocalDeployment) -> None:
    service = start(deployment)
    over, tried, got = threading.Event(), 0, 0

    def greedy() -> None:
        nonlocal tried, got
        lock = lock_pool(deployment.runtime_dir, deployment.pool)
        while not over.is_set():
            with contextlib.suppress(PoolLockedError), lock:
                got += 1
            tried += 1

    async with finally_ended(service):
        await service.ready(3)
        greed = asyncio.create_task(asyncio.to_thread(greedy))
        try:
            serving = await upgraded(service)
            await gone(service.pid)
        finally:
            over.set()
            await greed
        assert got == 0
        assert tried > 1000
        assert _serving(deployment) == [serving]


async def test_the_old_process_can_be_cut_and_a_session_that_ends_ends_there_too(deployment: LocalDeployment) -> None:
    service = start(deployment)
    async with finally_ended(service):
        await service.ready(3)
        ending, staying = await session_of(service), await session_of(service)
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(service.http())
            sockets = []
            for one in (ending, staying):
                headers = {"Authorization": f"token {one['token']}"}
                sockets.append(
                    await stack.enter_async_context(client.ws_connect(f"{one['url']}echo", headers=headers))
                )
            await upgraded(service)
            headers = {"Authorization": f"token {ending['token']}"}
            async with client.delete(f"/api/sessions/{ending['id']}", headers=headers) as response:
                assert response.status == 200
            assert (await sockets[0].receive(20)).type is not aiohttp.WSMsgType.TEXT
            await service.event("removed", id=ending["id"])
            assert _zombies(service.pid) == []  # which is the notebook's parent
            await sockets[1].send_str("still here")
            assert (await sockets[1].receive(20)).data == "still here"
            os.kill(service.pid, signal.SIGTERM)
            assert (await sockets[1].receive(20)).type is aiohttp.WSMsgType.CLOSE
            assert sockets[1].close_code == RESTART
        await gone(service.pid)
        async with service.http() as client, client.get(staying["url"]) as response:
            assert response.status == 200


@pytest.mark.long
async def test_a_process_that_is_told_to_stop_gives_its_upgrade_up(deployment: LocalDeployment) -> None:
    service = start(deployment)
    await service.ready(3)
    os.kill(service.pid, signal.SIGUSR2)
    await service.event("upgrade_started")
    assert await asyncio.to_thread(service.stop) == 0
    assert not service.found("upgraded")


async def test_a_service_manager_is_told(deployment: LocalDeployment) -> None:
    """READY, RELOADING with a time, MAINPID and STOPPING, as sd_notify(3) spells them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = str(deployment.directory / "notify")
        manager.bind(address)
        Path(address).chmod(0o777)
        manager.setblocking(False)

        async def told() -> list[str]:
            async with asyncio.timeout(60):
                return (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode().split("\n")

        service = start(deployment, wrapper=("/usr/bin/env", f"NOTIFY_SOCKET={address}"))
        assert await told() == ["READY=1"]
        os.kill(service.pid, signal.SIGHUP)
        began, usec = await told()
        assert (began, usec[:15]) == ("RELOADING=1", "MONOTONIC_USEC=")
        assert abs(int(usec[15:]) / 1e6 - time.monotonic()) < 60
        assert await told() == ["READY=1"]
        async with service.http(admin=True) as admin, admin.post("/api/upgrade") as response:
            assert response.status == 200
            new = (await response.json())["pid"]
        assert (await told())[0] == "RELOADING=1"
        assert await told() == [f"MAINPID={new}", "READY=1"]
        await gone(service.pid)
        os.kill(new, signal.SIGTERM)
        assert await told() == ["STOPPING=1"]
        await gone(new)


async def test_a_port_that_outlives_the_service(deployment: LocalDeployment) -> None:
    """A parent holds the socket (systemd.socket(5)): over a restart nobody is refused, and nobody is cut."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        service = activated(deployment, listener)
        await service.ready(3)
        assert port_of(service) == port
        session = await session_of(service)
        async with Traffic(port, session).of(100, workers=9, websockets=5, claimants=0) as crowd:
            assert await asyncio.to_thread(service.stop) == 0
            service = activated(deployment, listener, "--cleanup-on-exit")
            await service.ready(3)
            await asyncio.sleep(0.5)
        assert not crowd.failed, crowd.failed[:5]
        assert crowd.closed == [RESTART] * 5
        assert await asyncio.to_thread(service.stop) == 0


async def test_what_is_no_socket_is_refused(deployment: LocalDeployment) -> None:
    shell = 'exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", shell, "sh", PROGRAM, "serve", "--engine=local", f"--runtime-dir={deployment.runtime_dir}",
        "--ip=127.0.0.1", "--admin-port=0", env=environment({"HOME": str(deployment.directory)}),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    assert process.returncode == 5
    assert b"no socket" in errors


@pytest.mark.long
async def test_systemds_own_tool_starts_it(deployment: LocalDeployment) -> None:
    """`systemd-socket-activate` is systemd's test of a service: it passes the socket at the first connection."""
    tool = shutil.which("systemd-socket-activate") or ""
    if not tool:
        skip_or_fail("systemd-socket-activate is not installed (Debian's systemd)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = start(
        deployment, "--cleanup-on-exit", wrapper=(tool, f"--listen=127.0.0.1:{port}", "--fdname=visitors")
    )
    async with asyncio.timeout(60), aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with client.get(f"http://127.0.0.1:{port}/healthz") as response:
                    assert response.status == 200
                    break
            await asyncio.sleep(0.05)
    assert port_of(service) == port
    await asyncio.to_thread(service.stop)
    service.other_lines[:] = [
        one for one in service.other_lines if not one.startswith(("Listening", "Commun", "Execing"))
    ]
