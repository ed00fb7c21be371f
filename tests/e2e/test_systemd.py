"""Under a real systemd, installed word by word as the units' heads say: restarts, upgrades and ends at full load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.documents.blocks import block, head_of
from tests.e2e import systemd_machine
from tests.e2e.systemd_machine import Machine
from tests.e2e.test_installed import UNIT
from tests.e2e.traffic import Traffic
from tests.engine_support import SERVER_COMMAND_SOCKET, docker

PORT, ADMIN_PORT = 8000, 10000  # what the units and the options say
RESTART = 1012
OPTIONS = f"""
pool_size = 3
image = "IMAGE"
command = "{SERVER_COMMAND_SOCKET}"
mem_limit = "128m"
max_containers = 12
max_connections_per_address = 5000
log_level = "debug"
"""
pytestmark = [pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def machine(server_image: str) -> Iterator[Machine]:
    """Installed by the documented commands, with the socket's unit."""
    with systemd_machine.machine(Path(tempfile.mkdtemp(prefix="tmpnb-systemd-"))) as machine:
        machine.clone()
        machine.load(docker("image", "inspect", "--format", "{{.Id}}", server_image))
        image = machine.must("docker images --quiet --no-trunc")
        for command in head_of("packaging/tmpnb-py.service").commands:
            if command == "tmpnb-py image build":
                continue  # what it builds is tested elsewhere; stand-in servers start in no time
            if "systemctl enable" in command:
                machine.must(f"printf %s {shlex.quote(OPTIONS.replace('IMAGE', image))} >> /etc/tmpnb-py.toml")
                machine.must("(umask 077; echo ADMIN_AUTH_TOKEN=sesame > /etc/tmpnb-py.env)")
            shown = machine.must(command, outside="pip install" in command)
        assert "FAIL" not in shown
        for command in head_of("packaging/tmpnb-py.socket").commands:
            machine.must(command)
        yield machine


def main_pid(machine: Machine) -> int:
    """The process that is the service, by its number in there."""
    return int(machine.must("systemctl show tmpnb-py --property=MainPID --value"))


async def told(machine: Machine, command: str, *, code: int = 0, outside: bool = False) -> str:
    """A line of shell while the crowd goes on."""
    return await asyncio.to_thread(machine.must, command, code=code, outside=outside)


async def stats() -> dict[str, Any]:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{PORT}/api/stats") as response:
        return dict(await response.json())


async def ready(count: int = 3) -> None:
    """Wait until so many notebooks are ready, and nothing is under way."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                found = await stats()
                if (found["available"], found["starting"], found["removing"]) == (count, 0, 0):
                    return
            await asyncio.sleep(0.05)


async def spawned() -> dict[str, Any]:
    async with aiohttp.ClientSession() as client, client.post(f"http://127.0.0.1:{PORT}/api/spawn?wait=60") as answer:
        assert answer.status == 200
        return dict(await answer.json())


async def sessions() -> list[str]:
    headers = {"Authorization": "token sesame"}
    url = f"http://127.0.0.1:{ADMIN_PORT}/api/sessions"
    async with aiohttp.ClientSession(headers=headers) as client, client.get(url) as response:
        return [one["id"] for one in (await response.json())["sessions"]]


@contextlib.asynccontextmanager
async def at_full_load(machine: Machine, *, claimants: int) -> AsyncIterator[Traffic]:
    """500 requests per second and 100 WebSockets of a session that is there before and afterwards."""
    with machine.network():
        await ready()
        session = await spawned()
        began = time.monotonic()
        async with Traffic(PORT, session).of(500, workers=40, websockets=100, claimants=claimants) as crowd:
            yield crowd
            await asyncio.sleep(1)
        asked, rate = sum(crowd.answered.values()), sum(crowd.answered.values()) / (time.monotonic() - began)
        print(f"\n{asked} answers ({rate:.0f}/s), {crowd.echoes} echoes, slowest {crowd.slowest:.2f} s")
        assert not crowd.failed, (len(crowd.failed), crowd.failed[:5])
        assert len(set(crowd.claimed)) == len(crowd.claimed)
        assert session["id"] in await sessions()


async def test_what_is_booked_is_in_the_state_directory_of_the_unit(machine: Machine) -> None:
    """It outlives the service, and the runtime directory, as over a reboot."""
    with machine.network():
        await ready()
        when = "'tomorrow 9:00-11:00' --time-zone UTC"
        booked = json.loads(
            machine.must(f"ADMIN_AUTH_TOKEN=sesame tmpnb-py book {when} --people 2 --for-class --json")
        )
        assert machine.must("stat -c '%a %U' /var/lib/tmpnb-py /var/lib/tmpnb-py/tmpnb.json").split()[::2] == [
            "700",
            "600",
        ]
        machine.must("systemctl stop tmpnb-py.socket tmpnb-py.service")
        machine.must("rm -rf /run/tmpnb-py")
        machine.must("systemctl start tmpnb-py.socket tmpnb-py.service")
        await ready()
        (found,) = json.loads(machine.must("ADMIN_AUTH_TOKEN=sesame tmpnb-py bookings --json"))["bookings"]
        keys = [one["class_url"].rpartition("/")[2] for one in (booked, found)]
        assert (found["id"], keys[0]) == (booked["id"], keys[1])
        machine.must(f"ADMIN_AUTH_TOKEN=sesame tmpnb-py cancel {found['id']}")


async def test_restart(machine: Machine) -> None:
    """Nobody is refused or cut; WebSockets are closed with 1012, and connect anew."""
    before = main_pid(machine)
    async with at_full_load(machine, claimants=0) as crowd:
        await told(machine, "systemctl restart tmpnb-py")
    assert crowd.closed == [RESTART] * 100
    assert main_pid(machine) != before


async def test_reload_or_restart(machine: Machine) -> None:
    """Another process takes over, and systemd knows it for the service; nobody is refused or cut, no WebSocket."""
    before = main_pid(machine)
    async with at_full_load(machine, claimants=1) as crowd:
        await told(machine, "systemctl reload-or-restart tmpnb-py")
        assert await asyncio.to_thread(main_pid, machine) != before
        crowd.check()
    assert machine.must("systemctl is-active tmpnb-py") == "active"
    (reread,) = re.findall(r'"(systemctl kill -s HUP [^"]*)"', UNIT.read_text())
    machine.must(reread)  # reaches the process that follows
    deadline = time.monotonic() + 10
    while '"reloaded"' not in machine.journal():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def install(machine: Machine, version: str, *, broken: str = "") -> str:
    """Make another version of the clone in there; returns the documented command that installs it."""
    clone = machine.clone() / "tmpnb_py"
    if broken:
        (clone / broken).write_text("raise ImportError('a build that cannot start')\n")
    module = clone / "__init__.py"
    text = module.read_text()
    module.write_text(text[: text.index("__version__")] + f'__version__ = "{version}"\n')
    return block("docs/operating.md", "/opt/tmpnb-py/bin/pip install --upgrade").commands[0]


async def test_a_new_build_and_a_broken_one(machine: Machine) -> None:
    """`pip install --upgrade` under the running service: one that cannot start makes the reload fail, and no more."""
    before = main_pid(machine)
    async with at_full_load(machine, claimants=1) as crowd:
        await told(machine, install(machine, "9.0.0", broken="service/upgrade/wire.py"), outside=True)
        assert "9.0.0" in await told(machine, "/opt/tmpnb-py/bin/pip show tmpnb-py")
        await told(machine, "systemctl reload tmpnb-py", code=1)
        assert await asyncio.to_thread(main_pid, machine) == before
        crowd.check()
        await told(machine, install(machine, "9.0.1"), outside=True)
        await told(machine, "systemctl reload tmpnb-py")
        assert (await stats())["version"] == "9.0.1"
        crowd.check()
    assert main_pid(machine) != before


async def test_a_service_that_dies_after_an_upgrade_is_started_again(machine: Machine) -> None:
    """systemd has not started that process, and notices its end all the same."""
    with machine.network():
        await ready()
        session = await spawned()
        before = main_pid(machine)
        await told(machine, "systemctl reload tmpnb-py")
        dying = main_pid(machine)
        while machine.run(f"test -e /proc/{before}").returncode == 0:
            await asyncio.sleep(0.1)
        await told(machine, f"kill -9 {dying}")
        await ready()
        assert main_pid(machine) not in (before, dying)
        assert session["id"] in await sessions()


async def test_stop(machine: Machine) -> None:
    """As long as systemd holds the port, the next visitor starts the service again; else it stays stopped."""
    async with at_full_load(machine, claimants=0) as crowd:
        before = main_pid(machine)
        await told(machine, "systemctl stop tmpnb-py")
        await ready()
    assert crowd.closed == [RESTART] * 100
    assert main_pid(machine) != before
    machine.must("systemctl stop tmpnb-py.socket tmpnb-py.service")
    assert machine.run("systemctl is-active tmpnb-py").stdout.strip() == "inactive"
    assert len(machine.must("docker ps --quiet --filter label=org.tmpnb.id").split()) >= 3  # notebooks stay
    machine.must("systemctl start tmpnb-py.socket")
    with machine.network():
        await ready()  # whose first request has started it


async def test_without_the_socket_an_upgrade_has_no_gap_either(machine: Machine) -> None:
    """Who holds the port itself hands it on."""
    machine.must("systemctl disable --now tmpnb-py.socket && systemctl restart tmpnb-py")
    async with at_full_load(machine, claimants=1) as crowd:
        await told(machine, "systemctl reload-or-restart tmpnb-py")
        crowd.check()
