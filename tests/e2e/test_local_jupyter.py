"""Real JupyterLabs without Docker: what they can do, what they must not, and what is left of them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.jupyter import ANSWER_SECONDS, Notebook
from tests.e2e.local import KINDS, LocalDeployment
from tests.e2e.service import Service
from tmpnb_py.engines.local.process import Process

protected = pytest.mark.parametrize("local_lab", KINDS[:2], indirect=True, scope="module")


@pytest.fixture(scope="module", params=KINDS)
def local_lab(request: pytest.FixtureRequest) -> Iterator[tuple[LocalDeployment, Service]]:
    """A service that the tests of a kind share."""
    options = ["--mem-limit=384m", "--pids-limit=96", "--home-size=16m", "--cpu-quota=0", "--pool-size=2"]
    with LocalDeployment(f"lab{secrets.token_hex(4)}", request.param).ended() as deployment:
        yield deployment, deployment.start(*options)


@pytest.fixture
def deployment(pool: str, request: pytest.FixtureRequest) -> Iterator[LocalDeployment]:
    """A pool of the test's own; parametrised indirectly with its kind."""
    with LocalDeployment(pool, request.param).ended() as deployment:
        yield deployment


@pytest.fixture
async def notebook(local_lab: tuple[LocalDeployment, Service]) -> AsyncIterator[Notebook]:
    """A session of the test's own, ended afterwards."""
    async with local_lab[1].http() as client:
        notebook = Notebook.of(client, await local_lab[1].spawn(client))
        yield notebook
        async with client.delete(f"/api/sessions/{notebook.id}", headers=notebook.headers):
            pass


def command_line(process: Process) -> str:
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""  # it has ended meanwhile


async def shell(notebook: Notebook, *commands: str) -> list[str]:
    """What commands say in a notebook, output and errors, a line for each."""
    code = (
        "import subprocess\n"
        f"for command in {list(commands)!r}:\n"
        "    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=20)\n"
        "    print(' '.join((done.stdout + done.stderr).split()))"
    )
    return (await notebook.run(code)).split("\n")[:-1]


async def test_a_lab_opens_with_its_workshops_and_runs_code(notebook: Notebook) -> None:
    headers = {**notebook.headers, "Accept": "text/html"}
    async with notebook.client.get(notebook.url("lab"), headers=headers) as response:
        assert response.status == 200
        assert f'"baseUrl": "{notebook.url("")}"' in await response.text()
    path = notebook.url("notebooks/introduction-to-python/a%20b.ipynb?x=1")
    async with notebook.client.get(path, headers=headers, allow_redirects=False) as response:
        assert response.headers["Location"] == notebook.url("lab/tree/introduction-to-python/a%20b.ipynb?x=1")
    contents = await notebook.call("GET", "api/contents/introduction-to-python?type=directory")
    assert any(one["name"].endswith(".ipynb") for one in contents["content"])
    async with notebook.kernel(await notebook.new_kernel()) as kernel:
        assert await kernel.run("x = 6\nprint(x * 7)") == "42\n"
        assert await kernel.run("'é' * x") == "'éééééé'"
    async with notebook.client.get(notebook.url("api/contents")) as response:
        assert response.status == 403


async def test_a_terminal_answers(notebook: Notebook) -> None:
    name = (await notebook.call("POST", "api/terminals"))["name"]
    path = notebook.url(f"terminals/websocket/{name}")
    async with notebook.client.ws_connect(path, headers=notebook.headers) as socket, asyncio.timeout(ANSWER_SECONDS):
        await socket.send_json(["stdin", "echo $((6*7))-$(basename $(which jupyter-lab))\r"])
        shown = ""
        while "42-jupyter-lab" not in shown:
            message = json.loads((await socket.receive()).data)
            shown += message[1] if message[0] == "stdout" else ""


async def test_there_is_no_tcp_port_and_nothing_secret_on_a_command_line(
    local_lab: tuple[LocalDeployment, Service], notebook: Notebook
) -> None:
    code = (
        "import os, psutil\n"
        "server = psutil.Process(os.getppid())\n"
        "print(server.name(), [one.laddr for one in server.net_connections('inet')])"
    )
    assert (await notebook.run(code)).strip().endswith("[]")
    lines = [command_line(one) for one in local_lab[0].processes(notebook.id)]
    assert len(lines) >= 2
    assert not [line for line in lines if notebook.id in line or notebook.token in line]


@protected
async def test_nothing_of_the_machine_is_seen(local_lab: tuple[LocalDeployment, Service], notebook: Notebook) -> None:
    deployment, service = local_lab
    port = service.url.rstrip("/").rpartition(":")[2]
    # The way to the Python environment is there, wherever that is.
    strange = " ".join({"/var", "/sys", "/boot", "/mnt"} - {str(one) for one in Path(sys.prefix).parents})
    seen = await shell(
        notebook,
        "id -u; id -un; hostname; pwd",
        f"ls /home; ls /run; ls /run/tmpnb; ls -d {strange} 2>/dev/null",
        f"ls {deployment.directory}",
        "cat /etc/shadow /root/.bashrc",
        "ls /proc | grep -c '^[0-9]'",
        "grep -c : /proc/net/dev; cat /etc/resolv.conf",
        f"python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 2)\" 2>&1 | tail -n 1",
        "python3 -c \"import socket; socket.create_connection(('192.0.2.1', 80), 2)\" 2>&1 | tail -n 1",
        "env | grep -ciE 'ADMIN_AUTH|operators0secret'",
        "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status",
    )
    assert seen[0] == "1000 jovyan notebook /home/jovyan/work"
    assert seen[1] == "jovyan tmpnb server.sock"
    assert "No such file" in seen[2]
    assert seen[3].count("No such file") + seen[3].count("Permission denied") == 2
    assert int(seen[4]) < 20
    assert seen[5].startswith(("1 ", "2 ", "3 "))  # lo, and the tunnels that a kernel may put into every namespace
    assert "No such file" in seen[5]
    assert "Connection refused" in seen[6]
    assert "unreachable" in seen[7]
    assert seen[8] == "0"
    assert seen[9].endswith("NoNewPrivs: 1")
    assert "CapEff: 0000000000000000" in seen[9]


@protected
async def test_nothing_but_its_own_memory_can_be_written(
    local_lab: tuple[LocalDeployment, Service], notebook: Notebook
) -> None:
    probe = (
        "import os, sys\n"
        "shown = ('/usr', '/srv/tmpnb/support', sys.prefix + '/lib')\n"
        "for path in ('/', '/etc', '/dev', '/run', '/home', '/proc/sys', *shown):\n"
        "    try: open(path + '/tmpnb-probe', 'w'); print('wrote', path)\n"
        "    except OSError as error: pass\n"
        "for path in ('/home/jovyan', '/tmp', '/dev/shm', '/run/tmpnb'):\n"
        "    try:\n"
        "        with open(path + '/fill', 'wb') as file:\n"
        "            for _ in range(300): file.write(bytes(1 << 20))\n"
        "        print('no end', path)\n"
        "    except OSError as error: print(path, error.errno in (27, 28))\n"
        "    os.remove(path + '/fill')\n"
    )
    output = (await notebook.run(probe)).splitlines()
    assert output == [f"{path} True" for path in ("/home/jovyan", "/tmp", "/dev/shm", "/run/tmpnb")]
    seen = await shell(
        notebook,
        "unshare --user --map-root-user true",
        "mount -t tmpfs none /tmp",
        "mount -o remount,rw /",
        "bwrap --unshare-user --dev-bind / / true",
        "umount /proc",
        "kill -9 1",
        "nsenter --target 1 --mount true",
    )
    assert all(seen[:5]), seen
    assert seen[6], seen
    assert await notebook.run("print('alive')") == "alive\n"


@protected
async def test_notebooks_do_not_see_each_other(
    local_lab: tuple[LocalDeployment, Service], notebook: Notebook
) -> None:
    other = Notebook.of(notebook.client, await local_lab[1].spawn(notebook.client))
    await notebook.run("open('/home/jovyan/mine.txt', 'w').write('x'); open('/tmp/mine.txt', 'w').write('x')")
    seen = await shell(
        other, "ls /home/jovyan /tmp | grep -c mine", f"grep -rl {notebook.id} /proc/*/environ 2>/dev/null | wc -l"
    )
    assert seen == ["0", "0"]
    async with notebook.client.delete(f"/api/sessions/{other.id}", headers=other.headers):
        pass


@protected
async def test_a_fork_bomb_and_a_memory_hog_hurt_only_themselves(
    local_lab: tuple[LocalDeployment, Service], notebook: Notebook
) -> None:
    bomb = (
        "import os, time, signal\n"
        "children = []\n"
        "try:\n"
        "    for _ in range(500):\n"
        "        if (pid := os.fork()) == 0: time.sleep(60); os._exit(0)\n"
        "        children.append(pid)\n"
        "except OSError as error: print('stopped', error.errno)\n"
        "for pid in children: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)\n"
        "print(len(children) < 96)"
    )
    assert (await notebook.run(bomb)).splitlines() == ["stopped 11", "True"]
    hog = (
        "import subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-c', 'x = bytes(range(256)) * (4 << 20); print(len(x))'],"
        " capture_output=True, text=True)\n"
        "print(done.returncode in (1, -9), done.stdout)"
    )
    assert (await notebook.run(hog)).split() == ["True"]
    async with notebook.client.get("/healthz") as response:
        assert response.status == 200


@pytest.mark.parametrize("deployment", KINDS, indirect=True)
async def test_a_killed_service_takes_its_notebooks_up_again(deployment: LocalDeployment) -> None:
    first = deployment.start(cleanup=False)
    async with first.http() as client:
        notebook = Notebook.of(client, await first.spawn(client))
        kernel_id = await notebook.new_kernel()
        await notebook.run("secret = 6 * 7", kernel_id)
        await first.ready(1)
        await asyncio.to_thread(first.kill)
    ready = {event["id"] for event in first.found("ready")} - {notebook.id}

    second = deployment.start("--cleanup-on-exit")
    async with second.http() as client:
        again = Notebook(client, notebook.id, notebook.token)
        await second.ready(1)
        assert await again.run("print(secret)", kernel_id) == "42\n"
        assert not second.found("starting")  # the ready one was taken up too, and is given away
        assert {(await second.spawn(client))["id"]} == ready
        await second.ready(1)
        # One that this process has not started is watched all the same.
        (server,) = (one for one in deployment.processes(notebook.id) if "/jupyter/lab.py" in command_line(one))
        os.kill(server.pid, signal.SIGKILL)
        await second.event("removed", id=notebook.id, reason="crashed", seconds=25)


@pytest.mark.parametrize("deployment", KINDS, indirect=True)
async def test_cleaning_up_leaves_nothing(deployment: LocalDeployment) -> None:
    service = deployment.start("--pool-size=2")
    async with service.http() as client:
        notebook = Notebook.of(client, await service.spawn(client))
        kernel_id = await notebook.new_kernel()
        # A process that has left its session, its parents and its environment behind.
        code = "import subprocess; subprocess.Popen(['setsid', '--fork', 'sleep', '300'])"
        await notebook.run(code, kernel_id)
        await service.ready(2)
    assert len(deployment.processes(notebook.id)) >= 4
    assert await asyncio.to_thread(service.stop) == 0
    assert deployment.remains() == []


@pytest.mark.parametrize("deployment", KINDS, indirect=True)
async def test_the_cause_of_a_death_is_shown(deployment: LocalDeployment) -> None:
    service = deployment.start("--command=echo it is broken >&2; exit 3")
    failure = await service.event("start_failed")
    assert failure["cause"] == "exits at once"
    assert failure["error"].endswith("with status 3")
    assert failure["log_lines"] == ["it is broken"]
    assert not service.found("ready")


async def test_a_ready_one_that_dies_is_noticed_and_never_given_away(
    local_lab: tuple[LocalDeployment, Service],
) -> None:
    deployment, service = local_lab
    await service.ready(2)
    events = [event["id"] for event in service.found("ready")]
    gone = {event["id"] for event in service.found("claimed")}
    victim = next(one for one in events if one not in gone)
    failures = len(service.found("start_failed"))
    server = min(deployment.processes(victim), key=lambda one: one.pid)
    os.kill(server.pid, signal.SIGKILL)
    failure = await service.event("start_failed", count=failures + 1, seconds=25)
    assert failure["id"] == victim
    assert "with status 137" in failure["error"]
    await service.event("removed", id=victim)
    assert deployment.processes(victim) == []
    async with service.http() as client:
        assert (await service.spawn(client))["id"] != victim
