"""tmpnb's options that change how a container is made and reached, on a real engine; and its historic start line."""

from __future__ import annotations

import dataclasses
import json
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment, Service
from tests.engine_support import SERVER_COMMAND_PORT, docker

pytestmark = pytest.mark.engine

HISTORIC_IMAGE = "iqss-jupyter-notebook"
# As it stood in a shell script; the line itself is in the issue that asked for this program.
HISTORIC = shlex.split(
    f"--image={HISTORIC_IMAGE} --pool-size=30 --cpu-quota=50000 --mem-limit=1g "
    r"""--command='start-notebook.sh "--NotebookApp.base_url={base_path} --ip=0.0.0.0 --port={port} """
    r"""--NotebookApp.token=\"\" --NotebookApp.trust_xheaders=True"'"""
)


@pytest.fixture
def by_port(server_image: str) -> list[str]:
    """Options of a service whose notebooks listen on a port, as all of tmpnb's did."""
    return [f"--image={server_image}", f"--command={SERVER_COMMAND_PORT}", "--mem-limit=128m"]


@pytest.fixture
def network(pool: str) -> Iterator[str]:
    """A network that the operator may make; asked for before `deployment`, it goes after its containers."""
    name = f"operators-{pool}"
    yield name
    docker("network", "rm", name)


def inspected(deployment: Deployment, container_id: str) -> dict[str, Any]:
    return dict(json.loads(docker("inspect", deployment.docker_id(container_id)))[0])


async def run(client: aiohttp.ClientSession, spawned: dict[str, Any], code: str) -> str:
    """What Python code prints in the container."""
    async with client.post(f"{spawned['url']}exec", data=code) as response:
        assert response.status == 200
        return str(await response.json())


async def is_reached(service: Service, spawned: dict[str, Any]) -> None:
    async with service.http() as client, client.get(f"{spawned['url']}some/path") as response:
        assert (response.status, (await response.json())["id"]) == (200, spawned["id"])


# --- networks


async def test_a_network_of_the_operators(network: str, deployment: Deployment, by_port: list[str]) -> None:
    options = [*by_port, "--pool-size=1", f"--docker-network={network}"]
    service = deployment.start(*options)
    failed = await service.event("start_failed")
    assert failed["error"] == f"the engine has no network {network}"
    docker("network", "create", network)

    async with service.http() as client:
        spawned = await service.spawn(client)
        await is_reached(service, spawned)
        facts = inspected(deployment, spawned["id"])
        assert facts["HostConfig"]["NetworkMode"] == network
        assert not facts["HostConfig"]["PortBindings"]
        assert not [bound for bound in facts["NetworkSettings"]["Ports"].values() if bound]
        # Its neighbour's name, which Docker's DNS tells everybody there, does not give the id away.
        assert spawned["id"] not in json.dumps(facts["NetworkSettings"])
    assert service.found("transport_chosen", transport="address", network=network)
    assert service.found("notebooks_share_a_network")
    service.kill()
    service = deployment.start(*options)
    await service.ready(1)
    await is_reached(service, spawned)
    assert service.stop() == 0
    assert network in docker("network", "ls", "--format", "{{.Name}}").split()


async def test_a_socket_and_a_network_of_the_operators(
    network: str, deployment: Deployment, small: list[str]
) -> None:
    docker("network", "create", network)
    service = deployment.start(*small, "--pool-size=1", f"--docker-network={network}", "--transport=socket")
    async with service.http() as client:
        spawned = await service.spawn(client)
        facts = inspected(deployment, spawned["id"])
        assert list(facts["NetworkSettings"]["Networks"]) == [network]
        assert (await run(client, spawned, "import os; print(os.listdir('/run/tmpnb'))")).strip() == "['server.sock']"


async def test_the_hosts_network(deployment: Deployment, by_port: list[str]) -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        first = occupied.getsockname()[1]
        options = [*by_port, "--pool-size=2", "--host-network", f"--container-port={first}"]
        service = deployment.start(*options)
        await service.ready(2)
        async with service.http() as client:
            spawned = [await service.spawn(client) for _ in range(3)]
            for one in spawned:
                await is_reached(service, one)
            facts = inspected(deployment, spawned[0]["id"])
    assert facts["HostConfig"]["NetworkMode"] == "host"
    assert "--ip=127.0.0.1" in facts["Config"]["Cmd"][-1]
    await service.ready(2)
    listens = docker(
        "ps", "--filter", f"label=org.tmpnb.pool={deployment.pool}", "--format", '{{.Label "org.tmpnb.listens"}}'
    ).split()
    ports = sorted(int(one.removeprefix("127.0.0.1:")) for one in listens)
    assert len(set(ports)) == 5
    assert ports[0] > first
    assert service.found("notebooks_share_the_host")

    # Taken up again after a crash; a new one does not get a port that is in use.
    service.kill()
    service = deployment.start(*options)
    await service.ready(2)
    await is_reached(service, spawned[0])
    async with service.http() as client:
        await is_reached(service, await service.spawn(client))
    await service.ready(2)


# --- what is in a container


async def test_what_a_container_is_made_of(deployment: Deployment, by_port: list[str], tmp_path: Path) -> None:
    shared, writable, default = (tmp_path / name for name in ("shared", "writable", "default"))
    for directory in (shared, writable, default):
        directory.mkdir()
        directory.chmod(0o777)
        (directory / "name").write_text(directory.name)
    service = deployment.start(
        *by_port,
        "--pool_size=1",
        "--container_user=1234:100",
        "--container_port=7777",
        "--container_ip=127.0.0.2",
        "--cpu_shares=512",
        "--extra_hosts=db.example.org:10.1.2.3,v6.example.org:fd00::1",
        f"--host_directories={shared}:/data:ro,{writable}:/scratch,{default}",
        "--user_length=40",
    )
    async with service.http() as client:
        spawned = await service.spawn(client)
        assert len(spawned["id"]) == 40
        code = (
            "import os, pathlib, socket\n"
            "print(os.getuid(), os.getgid(), socket.gethostbyname('db.example.org'))\n"
            "print(socket.getaddrinfo('v6.example.org', 1)[0][4][0])\n"
            "pathlib.Path(os.environ['HOME'], 'x').write_text('mine')\n"
            "for place in ('/data', '/scratch', '/mnt/vol2'):\n"
            "    print(open(place + '/name').read(), os.access(place, os.W_OK))\n"
            "open('/scratch/from-a-visitor', 'w').close()\n"
        )
        assert (await run(client, spawned, code)).splitlines() == [
            "1234 100 10.1.2.3",
            "fd00::1",
            "shared False",
            "writable True",
            "default True",
        ]
    assert (writable / "from-a-visitor").exists()
    host = inspected(deployment, spawned["id"])["HostConfig"]
    assert (host["CpuShares"], host["PortBindings"]["7777/tcp"][0]["HostIp"]) == (512, "127.0.0.2")
    assert host["CapDrop"] == ["ALL"]
    warned = [one["hint"] for one in service.found("settings")]
    assert warned == [
        f"host_directories {writable}: every visitor may change it; :ro after it prevents that.",
        f"host_directories {default}: every visitor may change it; :ro after it prevents that.",
    ]


async def test_a_directory_that_the_host_does_not_have(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, "--pool-size=1", "--host-directories=/no/such/directory:/data:ro")
    failed = await service.event("start_failed")
    assert (failed["cause"], "/no/such/directory" in failed["error"]) == ("start refused", True)


async def test_a_user_by_name_has_a_home(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, "--pool-size=1", "--container-user=jovyan")
    async with service.http() as client:
        code = "import os, pathlib; p = pathlib.Path.home() / 'x'; p.write_text('1'); print(os.getuid())"
        assert (await run(client, await service.spawn(client), code)).strip() == "1000"


# --- the start line that has to go on working


@pytest.fixture
def historic_image(workshop_image: str) -> Iterator[str]:
    """An image under the name that the historic start line has."""
    docker("tag", workshop_image, HISTORIC_IMAGE)
    yield HISTORIC_IMAGE
    docker("rmi", "--no-prune", HISTORIC_IMAGE)


@dataclasses.dataclass(frozen=True)
class Browser(Notebook):
    """Who has no token shows Jupyter's cookie against cross-site requests, as its pages do."""

    xsrf: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Cookie": f"_xsrf={self.xsrf}", "X-XSRFToken": self.xsrf}


@pytest.mark.timeout(900)  # the image may have to be built first
async def test_the_historic_start_line(deployment: Deployment, historic_image: str) -> None:
    service = deployment.start(*HISTORIC, "--pool-size=2")  # the last one wins: 30 would not fit a small machine
    await service.ready(2)
    assert not service.found("settings")
    async with service.http() as client:
        spawned = await service.spawn(client)
        async with client.get(spawned["open_url"]) as response:
            assert response.status == 200
            notebook = Browser(client, spawned["id"], "", xsrf=response.cookies["_xsrf"].value)
        assert await notebook.run("print(6 * 7)") == "42\n"
        host = inspected(deployment, notebook.id)["HostConfig"]
        assert (host["CpuQuota"] / host["CpuPeriod"], host["Memory"]) == (0.5, 1 << 30)
        # The start line gives the token up, as it was then: the address alone opens the notebook.
        async with client.get(notebook.url("api/contents")) as response:
            assert response.status == 200
