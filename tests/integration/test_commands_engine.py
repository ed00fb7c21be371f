"""The commands that work on the engine itself: `doctor` and `purge`, on a real Docker engine."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import local_support
from tests.e2e.service import Deployment
from tests.engine_support import docker
from tests.integration.command_support import Done, run, run_on_terminal

pytestmark = pytest.mark.engine


@pytest.fixture
def deployment(pool: str, workshop_image: str) -> Iterator[Deployment]:
    with Deployment(pool).ended() as deployment:
        yield deployment


def _options(deployment: Deployment, *more: str) -> list[str]:
    return [f"--pool-name={deployment.pool}", f"--runtime-dir={deployment.directory / 'run'}", *more]


async def _doctor(deployment: Deployment, *more: str) -> Done:
    return await run("doctor", *_options(deployment, "--port=0", "--admin-port=0", "--max-connections=100", *more))


def _remains(deployment: Deployment) -> str:
    label = f"label=org.tmpnb.pool={deployment.pool}-doctor"
    return docker("ps", "-aq", "--filter", label) + docker("network", "ls", "-q", "--filter", label)


async def test_all_is_well(deployment: Deployment) -> None:
    done = await _doctor(deployment, "--plan", "30")
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    lines = done.out.splitlines()
    assert {line.split()[0] for line in lines[: lines.index("")]} == {"OK"}, done.out
    subjects = [line.split()[1] for line in lines[: lines.index("")]]
    assert subjects == [
        "versions", "permissions", "pool", "engine", "image", "warm", "isolation", "start", "kernel", "ports",
            "ports", "files", "memory", "confinement", "disk", "disk", "disk",
    ]  # fmt: skip
    assert "over a Unix socket" in done.out
    assert "30 people at once and 10 notebooks ready for the next ones (measured just now):" in done.out
    assert "  → " in done.out
    assert _remains(deployment) == ""
    assert not (deployment.directory / "run" / "sockets" / f"{deployment.pool}-doctor").exists()


async def test_it_measures_also_over_a_port_and_beside_a_service(deployment: Deployment) -> None:
    service = deployment.start("--pool-size=1")
    await service.ready(1)
    found = json.loads((await _doctor(deployment, "--transport=port", "--json", "--plan=5")).out)
    texts = {one["subject"]: one["text"] for one in found["findings"]}
    assert "over a port" in texts["start"]
    assert f"process {service.pid}; the checks do not disturb it" in texts["pool"]
    assert found["figures"]["measured"]
    assert 20 << 20 < found["figures"]["memory_ready"] < found["figures"]["memory_working"] < 512 << 20
    assert 0.1 < found["figures"]["start_cpu"] < 10
    assert found["figures"]["image"] > 100 << 20
    stats = await service.stats()
    assert (stats["available"], stats["starting"]) == (1, 0)


async def test_what_is_wrong_is_said_with_what_to_do(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await run(
            "doctor",
            *_options(
                deployment,
                "--image=no-such-image:1",
                "--ip=127.0.0.1",
                "--admin-port=0",
                f"--port={port}",
                "--pool-size=90000",
            ),
        )
    assert done.code == 8
    assert done.err == "error: 3 things have to be fixed before serve can work\n"
    assert "FAIL  image        the engine has no image no-such-image:1\n      → " in done.out
    assert (
        f"FAIL  ports        port {port} on 127.0.0.1 is taken by another program\n      → Stop the program"
        in done.out
    )
    assert "FAIL  memory" in done.out


async def test_an_image_that_does_not_answer_shows_its_last_words(deployment: Deployment) -> None:
    command = "echo about to fail with token=abc; sleep 60; : {port}"
    done = await _doctor(deployment, f"--command={command}", "--start-timeout=10s")
    assert done.code == 8
    assert "FAIL  start        over a port: no answer on " in done.out
    assert "      | about to fail with token=[removed]" in done.out
    assert _remains(deployment) == ""


@pytest.mark.parametrize("engine", ["docker", "local"])
async def test_a_command_that_ends_is_not_waited_for(deployment: Deployment, engine: str) -> None:
    if engine == "local":
        local_support.need_sandbox()
    began = time.monotonic()
    done = await _doctor(deployment, f"--engine={engine}", "--command=echo oops; exit 3")
    assert time.monotonic() - began < 30  # start_timeout is a minute
    assert done.code == 8
    assert (
        "FAIL  start        over a Unix socket: the container exited before it answered, with status 3\n" in done.out
    )
    assert "      | oops" in done.out
    assert _remains(deployment) == ""


async def test_no_engine_and_the_plan_of_documented_figures(deployment: Deployment) -> None:
    done = await run(
        "doctor", *_options(deployment, "--port=0", "--plan=30"), env={"DOCKER_HOST": "unix:///nowhere.sock"}
    )
    assert done.code == 8
    assert "FAIL  engine       no Docker engine at unix:///nowhere.sock" in done.out
    assert "(typical of the workshop image; nothing could be measured)" in done.out


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to become somebody else")
async def test_permissions(deployment: Deployment) -> None:
    directory = deployment.directory / "foreign"
    directory.mkdir()
    os.chown(directory, 1234, 1234)
    done = await run("doctor", f"--pool-name={deployment.pool}", f"--runtime-dir={directory}", "--port=0")
    assert done.code == 8
    assert "FAIL  permissions  runtime_dir" in done.out


# --- purge


async def test_purge_removes_everything_of_one_pool(deployment: Deployment) -> None:
    service = deployment.start("--pool-size=2", "--egress=internet", cleanup=False)
    await service.ready(2)
    async with service.http() as client:
        await service.spawn(client)
    await service.ready(2)

    refused = await run("purge", "--yes", *_options(deployment))
    assert refused.code == 6
    assert f"process {service.pid}" in refused.err
    service.stop()

    asked = await run("purge", *_options(deployment))
    assert asked.code == 2
    assert "add --yes" in asked.err
    no = await run_on_terminal("purge", *_options(deployment), answer="n\n")
    assert no.code == 130
    assert len(deployment.containers()) == 3

    done = await run("purge", "--yes", *_options(deployment))
    assert done.code == 0
    assert done.out == (
        f"pool {deployment.pool}: 3 containers, 1 of them in use, its networks and sockets\n3 containers removed\n"
    )
    assert deployment.remains() == []


async def test_purge_of_nothing_succeeds_and_touches_no_other_pool(deployment: Deployment, tmp_path: Path) -> None:
    service = deployment.start("--pool-size=1")
    await service.ready(1)
    done = await run("purge", "--yes", f"--pool-name={deployment.pool}x", f"--runtime-dir={tmp_path}")
    assert (done.code, done.out.splitlines()[-1]) == (0, "0 containers removed")
    assert len(deployment.containers()) == 1
