"""What a hostile visitor tries from inside, in every kind of notebook that is kept from others.

The attacks are in `attacks.py`, one list for all engines: what one of them closes, the others must close, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import local_support
from tests.e2e import attacks
from tests.e2e.local import LocalDeployment
from tests.e2e.service import ADMIN_TOKEN, Deployment, Service
from tests.engine_support import SERVER_COMMAND_SOCKET

PIDS_LIMIT = 64
# What the profile of Debian 12's Docker (20.10) lets through; later ones close AF_VSOCK (23) and io_uring (25).
# Families of netlink beside the addresses' tell a container of its own, empty network only.
TOLERATED = {
    "docker": {
        "families_of_sockets": {"vsock", "uevent", "audit", "netfilter", "diag"},
        "parts_of_the_kernel": {"io_uring"},
    }
}
KINDS = (pytest.param("docker", marks=pytest.mark.engine), "sandboxed", "ordinary")
SOURCE = Path(attacks.__file__).read_text()
OPTIONS = ("--pool-size=2", "--cpu-quota=0", "--mem-limit=128m", f"--pids-limit={PIDS_LIMIT}", "--home-size=16m")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def deployment(kind: str) -> Iterator[Deployment | LocalDeployment]:
    pool = f"attack{secrets.token_hex(4)}"
    with (Deployment(pool) if kind == "docker" else LocalDeployment(pool, kind)).ended() as deployment:
        yield deployment


@pytest.fixture(scope="module")
def service(kind: str, deployment: Deployment | LocalDeployment, key: str, request: pytest.FixtureRequest) -> Service:
    """Started as by a careless manager: with a descriptor of a secret left open, in a session that has a key."""
    secret = deployment.directory / "secret"
    secret.write_text("the operator's")
    deployment.directory.chmod(0o755)
    careless = ["sh", "-c", 'exec "$@" 7<"$0"', str(secret)]
    if isinstance(deployment, LocalDeployment):
        return deployment.start(*OPTIONS, f"--command={local_support.server_command()}", wrapper=careless)
    image = request.getfixturevalue("server_image")
    options = [f"--image={image}", f"--command={SERVER_COMMAND_SOCKET}"]
    return deployment.start(*OPTIONS, *options, wrapper=careless)


@pytest.fixture(scope="module")
def key() -> str:
    """The description of a key in the session's keyring."""
    name = f"tmpnb-test-{secrets.token_hex(8)}"
    with contextlib.suppress(OSError):  # where tests run in a container that has no keyrings
        attacks.call("keyctl", 1, 0)
        attacks.call("add_key", b"user", name.encode(), b"secret", 6, -3)
    return name


@pytest.fixture
def host(deployment: Deployment | LocalDeployment, service: Service) -> Iterator[dict[str, Any]]:
    """What a visitor might reach on the host, made for the test."""
    name, shm_key = f"tmpnb-test-{secrets.token_hex(8)}", secrets.randbelow(1 << 30) + 1
    segment = ctypes.CDLL(None).shmget(shm_key, 4096, 0o1666)
    run, beside = deployment.directory / "run", Path(sys.prefix, name)
    beside.write_text("a secret beside the Python environment")
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {
            "abstract": [name],
            "beside": str(beside),
            "addresses": [_own_address(), "172.17.0.1"],
            "pids": [service.pid],
            "pids_limit": PIDS_LIMIT,
            "port": int(service.url.rstrip("/").rpartition(":")[2]),
            "runtime_dir": str(run),
            "secret": str(deployment.directory / "secret"),
            "shm_key": shm_key,
            "sockets": [str(path) for path in run.rglob("*.sock")],
        }
    ctypes.CDLL(None).shmctl(segment, 0, None)
    beside.unlink()


def _own_address() -> str:
    """This machine's address towards the outside (nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


async def run(client: Any, session: dict[str, Any], code: str) -> str:
    """What Python code prints in a notebook."""
    async with client.post(f"/user/{session['id']}/exec", data=code.encode()) as response:
        return str(await response.json())


async def test_every_attack_from_inside_fails(kind: str, service: Service, host: dict[str, Any], key: str) -> None:
    marker = f"tmpnb-mark-{secrets.token_hex(4)}"
    mark = f"for top in ('/home/jovyan', '/tmp', '/dev/shm'): open(f'{{top}}/{marker}', 'w').close()"
    async with service.http() as client:
        victim, attacker = await service.spawn(client), await service.spawn(client)
        assert await run(client, victim, mark) == ""
        words = [victim["id"], victim["token"], ADMIN_TOKEN]
        known = {**host, "key": key, "marker": marker, "foreign_words": words}
        got = await run(client, attacker, f"{SOURCE}\nKNOWN.update(json.loads({json.dumps(known)!r}))\nmain()")
        assert unexpected(json.loads(got), TOLERATED.get(kind, {})) == {}, got
        assert await run(client, victim, "print('alive')") == "alive\n"


def unexpected(got: dict[str, list[str]], tolerated: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """What attacks got, without what is tolerated."""
    left = {
        name: [one for one in found if one.partition(":")[0] not in tolerated.get(name, ())]
        for name, found in got.items()
    }
    return {name: found for name, found in left.items() if found}
