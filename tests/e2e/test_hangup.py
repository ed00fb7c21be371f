"""SIGHUP: a terminal that is closed ends the service in order, an operator's signal reloads; no moment is deadly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.held import Held
from tests.e2e.service import Deployment, Service

pytestmark = pytest.mark.engine

# A new session's leader that opens a terminal has it as its controlling one (credentials(7)); then it becomes the
# service, or (as "job") starts it in a process group of its own and passes a hang-up on, as a shell does.
_IN_TERMINAL = """
import os, signal, sys
how, terminal, command = sys.argv[1], sys.argv[2], sys.argv[3:]
os.setsid()
os.open(terminal, os.O_RDWR)
if how == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
if how == "job" and (job := os.fork()):
    signal.signal(signal.SIGHUP, lambda *_: os.kill(job, signal.SIGHUP))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]))
if how == "job":
    os.setpgid(0, 0)
os.execv(command[0], command)
"""


class Terminal:
    """A pseudo-terminal in which a service is started."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        self._path = os.ttyname(self._slave)

    def start(self, deployment: Deployment, how: str, *options: str, cleanup: bool = True) -> Service:
        wrapper = [sys.executable, "-c", _IN_TERMINAL, how, self._path]
        return deployment.start(*options, cleanup=cleanup, wrapper=wrapper)

    def close(self) -> None:
        """As closing the window does."""
        for descriptor in (self._slave, self._master):
            os.close(descriptor)
        self._slave = self._master = -1

    def give_up(self) -> None:
        if self._master >= 0:
            self.close()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.give_up()


@pytest.mark.parametrize("how", ["plain", "job"])
async def test_a_closed_terminal_ends_the_service_and_cleans_up(
    deployment: Deployment, terminal: Terminal, small: list[str], how: str
) -> None:
    service = terminal.start(deployment, how, *small, "--pool-size=1")
    await service.ready(1)
    async with service.http() as client:
        await service.spawn(client)
    terminal.close()
    assert await asyncio.to_thread(service.wait, 60) == 0
    assert service.found("stopping")
    assert not service.found("reloaded")
    assert deployment.remains() == []


async def test_an_operators_signal_reloads_while_the_terminal_is_there(
    deployment: Deployment, terminal: Terminal, small: list[str]
) -> None:
    service = terminal.start(deployment, "plain", *small, "--pool-size=1")
    await service.ready(1)
    service.signal(signal.SIGHUP)
    await service.event("reloaded")
    assert not service.found("stopping")
    assert service.stop() == 0


async def test_under_nohup_it_outlives_its_terminal(
    deployment: Deployment, terminal: Terminal, small: list[str]
) -> None:
    service = terminal.start(deployment, "nohup", *small, "--pool-size=1")
    await service.ready(1)
    terminal.close()
    await service.event("reloaded")  # the kernel's signal, which does no harm
    service.signal(signal.SIGHUP)
    await service.event("reloaded", count=2)
    assert not service.found("stopping")
    assert service.stop() == 0


async def test_no_moment_of_a_start_or_a_stop_is_deadly(deployment: Deployment, small: list[str]) -> None:
    """From its first line of code on, and until the last container is gone; two signals are no "force", either."""
    service = deployment.start(*small, "--pool-size=1", "--shutdown-timeout=30s")
    while not _catches_hangup(service.pid):
        time.sleep(0.001)
    service.signal(signal.SIGHUP)
    await service.event("reloaded")
    await service.ready(1)
    async with service.http() as client:
        spawned = await service.spawn(client)
        slow = await Held.of(deployment, client, spawned)
        service.signal(signal.SIGTERM)
        await service.event("stopping")
        for _ in range(3):
            service.signal(signal.SIGHUP)
        await slow.let_go()
        assert await slow.answer == "done\n"
        service.signal(signal.SIGHUP)
    assert await asyncio.to_thread(service.wait, 60) == 0
    assert not service.found("forced")
    assert len(service.found("reloaded")) == 1


def _catches_hangup(pid: int) -> bool:
    """Whether the process has a handler for SIGHUP (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & (1 << (signal.SIGHUP - 1)))


# Becomes the service, one of whose tasks dies as soon as a file says so.
_DYING = """
import asyncio, pathlib, sys
from tmpnb_py.cli import main as cli
from tmpnb_py.pools.reaper import Reaper

async def dying(self):
    while not pathlib.Path(sys.argv[1]).exists():
        await asyncio.sleep(0.02)
    raise KeyError("a mistake of ours")

Reaper.run = dying
cli.main(sys.argv[3:])
"""


async def test_a_service_that_breaks_exits_with_an_error_and_keeps_every_session(
    deployment: Deployment, small: list[str]
) -> None:
    """As systemd's `Restart=on-failure` needs it; with compose's cleanup_on_exit, too."""
    now = deployment.directory / "now"
    wrapper = (sys.executable, "-c", _DYING, str(now))
    service = deployment.start(*small, "--pool-size=1", wrapper=wrapper)
    async with service.http() as client:
        spawned = await service.spawn(client)
    await service.ready(1)
    now.touch()
    assert await asyncio.to_thread(service.wait, 60) == 1
    (died,) = service.found("task_died")
    assert died["task"] == "reaper"
    assert any("a mistake of ours" in line for line in service.other_lines)
    assert len(deployment.containers("status=running")) == 2
    service.events.clear()
    service.other_lines.clear()  # which the deployment's own check would take for a fault of this test
    again = deployment.start(*small, "--pool-size=1")
    await again.ready(1)
    async with again.http() as client, client.get(f"{spawned['url']}api") as response:
        assert response.status == 200
