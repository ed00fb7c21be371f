"""What notebooks reach, tried from inside of them in an internet of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.contract.rigs import spec_of
from tests.e2e.own_engine import OwnEngine, own_engine
from tests.e2e.world import COMPANY, HOST_PRIVATE, HOST_PUBLIC, METADATA, PORT, PUBLIC, World, world
from tests.engine_support import SERVER_COMMAND_PORT, docker, skip_or_fail
from tmpnb_py.core.errors import EngineDownError
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Egress, Protection, State, Transport
from tmpnb_py.egress.resolving import is_own
from tmpnb_py.engines.docker import isolation
from tmpnb_py.engines.docker import options as docker_options
from tmpnb_py.engines.docker.engine import DockerEngine

pytestmark = pytest.mark.engine

REFUSED = "EHOSTUNREACH"
TRY = """
import errno, json, socket, sys
def attempt(host, port):
    with socket.socket() as probe:
        probe.settimeout(5)
        try:
            probe.connect((host, port))
            return "connected"
        except TimeoutError:
            return "silent"
        except OSError as error:
            return errno.errorcode[error.errno]
def resolved(name):
    try:
        return socket.gethostbyname(name)
    except OSError as error:
        return "nothing"
route = [line.split() for line in open("/proc/net/route")][1:]
gateway = next(socket.inet_ntoa(bytes.fromhex(line[2])[::-1]) for line in route if line[1] == "00000000")
hosts = {host: host for host in sys.argv[2:]} | {"gateway": gateway}
found = {name: attempt(host, int(sys.argv[1])) for name, host in hosts.items()}
print(json.dumps(found | {"name": resolved("notebooks.example")}))
"""
EVERYWHERE = (PUBLIC, METADATA, COMPANY, HOST_PUBLIC, HOST_PRIVATE)


@dataclasses.dataclass
class Place:
    """An engine on the machine of a small internet."""

    world: World
    machine: OwnEngine
    engine: DockerEngine
    config: ContainerConfig

    async def seen_from(self, config: ContainerConfig) -> dict[str, str]:
        """What a notebook of this configuration reaches."""
        spec = ContainerSpec(os.urandom(16).hex(), "", config)
        await self.engine.start(spec)
        try:
            name = docker_options.name_of(self.engine._pool, spec.id, State.STARTING)
            tried = docker(
                "--host", self.machine.host, "exec", name, "python3", "-c", TRY, str(PORT), *EVERYWHERE
            )  # fmt: skip
            answer: dict[str, str] = json.loads(tried)
            return answer
        finally:
            await self.engine.remove(spec.id)


@pytest.fixture(scope="module")
def machine(server_image: str) -> Iterator[tuple[World, OwnEngine]]:
    if os.geteuid() != 0 or shutil.which("nft") is None:
        skip_or_fail("needs root, and nft")
    with (
        world() as made,
        own_engine(
            namespace=made.machine, options=(f"--dns={COMPANY}", f"--host=tcp://{HOST_PUBLIC}:2375")
        ) as engine,
    ):
        engine.load(server_image)
        yield made, engine


@pytest.fixture
async def place(
    machine: tuple[World, OwnEngine], server_image: str, pool: str, tmp_path: Path
) -> AsyncIterator[Place]:
    made, own = machine
    engine = DockerEngine(pool=pool, runtime_dir=tmp_path / "run", docker_host=own.host)
    await engine.open()
    config = spec_of(await engine.image(server_image), "exec sleep 60", egress=Egress.INTERNET).config
    yield Place(made, own, engine, config)
    await engine.remove_networks()
    await engine.close()
    assert pool not in made.nft("list", "tables")


async def test_the_internet_is_neither_private_networks_nor_this_machine(place: Place) -> None:
    assert await place.engine.choose_transport(place.config) is Transport.SOCKET
    assert await place.engine.prepare(place.config) == ()
    assert await place.seen_from(place.config) == {
        PUBLIC: "connected",
        "name": PUBLIC,  # the company's name server is asked, though nothing else of it is
        METADATA: REFUSED,
        COMPANY: REFUSED,
        HOST_PUBLIC: REFUSED,
        HOST_PRIVATE: REFUSED,
        "gateway": REFUSED,
    }


async def test_the_operator_opens_a_network(place: Place) -> None:
    config = dataclasses.replace(place.config, egress_allow=(f"{COMPANY}/32", "10.97.0.0/16"))
    assert await place.engine.prepare(config) == ()
    seen = await place.seen_from(config)
    assert {host for host, result in seen.items() if result == "connected"} == {PUBLIC, COMPANY, HOST_PRIVATE}


async def test_the_operator_opens_everything(place: Place) -> None:
    config = dataclasses.replace(place.config, egress_allow=("0.0.0.0/0", "::/0"))
    assert await place.engine.prepare(config) == ()
    seen = await place.seen_from(config)
    assert set(seen.values()) == {"connected", PUBLIC}
    assert "tmpnb" not in place.world.nft("list", "tables")


async def test_a_notebook_with_a_port_reaches_nothing(place: Place) -> None:
    config = dataclasses.replace(place.config, egress=Egress.NONE, transport=Transport.PORT)
    assert await place.engine.prepare(config) == ()
    seen = await place.seen_from(config)
    assert seen.pop("name") == "nothing"
    assert set(seen.values()) == {REFUSED}


async def test_rules_that_somebody_removed_come_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.engine.prepare(place.config)
    place.world.nft("delete", "table", "inet", f"tmpnb-{place.engine._pool}-web")
    assert (await place.seen_from(place.config))[METADATA] == "connected"
    monkeypatch.setattr(isolation, "_FENCE_SECONDS", 0.0)
    with capture_logs() as logs:
        await place.engine.prepare(place.config)
    assert [line["event"] for line in logs] == ["fence_restored"]
    assert (await place.seen_from(place.config))[METADATA] == REFUSED


async def test_rules_outlive_the_engine(place: Place) -> None:
    await place.engine.prepare(place.config)
    place.machine.stop()
    place.machine.start()
    with contextlib.suppress(EngineDownError):  # the connections that were kept are dead
        await place.engine.list()
    seen = await place.seen_from(place.config)
    assert (seen[PUBLIC], seen[METADATA], seen[HOST_PUBLIC]) == ("connected", REFUSED, REFUSED)


async def test_what_is_not_closed_is_found_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes the rules and does not heed them, as some engines take options."""

    async def believed(*arguments: object) -> None:
        pass

    monkeypatch.setattr(isolation.Isolation, "_keep_fenced", believed)
    (gap,) = await place.engine.prepare(place.config)
    assert gap.protection is Protection.NETWORK
    assert METADATA in gap.text
    assert "this machine at 172." in gap.text


async def test_neighbours_that_are_not_kept_apart_are_found_out(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = docker_options.network_body

    def open_body(*arguments: object) -> dict[str, object]:
        made = body(*arguments)  # type: ignore[arg-type]
        made["Options"][docker_options.ICC] = "true"
        return made

    monkeypatch.setattr(docker_options, "network_body", open_body)
    config = dataclasses.replace(place.config, egress_allow=("0.0.0.0/0", "::/0"))
    (gap,) = await place.engine.prepare(config)
    assert gap.protection is Protection.NETWORK
    assert "reach each other" in gap.text


# An engine on another machine


async def doctor(world: World, directory: Path, *options: str) -> dict[str, dict[str, str]]:
    """What `doctor` finds on the world's side, with the engine on the machine, by subject."""
    process = await asyncio.create_subprocess_exec(
        "nsenter", f"--net={world.elsewhere}", Path(sys.executable).parent / "tmpnb-py", "doctor", "--json",
        f"--runtime-dir={directory}", "--port=0", "--admin-port=0", "--pool-size=1", *options,
        env={**os.environ, "DOCKER_HOST": f"tcp://{HOST_PUBLIC}:2375"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    return {one["subject"]: one for one in json.loads(output)["findings"]}


async def test_notebooks_of_a_remote_engine(place: Place, server_image: str, tmp_path: Path) -> None:
    options = (
        f"--image={server_image}", f"--command={SERVER_COMMAND_PORT}", f"--pool-name={place.engine._pool}",
    )  # fmt: skip
    on_its_loopback = (await doctor(place.world, tmp_path / "run", *options))["image"]
    assert on_its_loopback["grade"] == "FAIL"
    assert "cannot be reached from here" in on_its_loopback["text"]
    assert f"--container-ip {HOST_PUBLIC}" in on_its_loopback["remedy"]
    found = await doctor(place.world, tmp_path / "run", *options, "--container-ip=0.0.0.0")
    assert found["isolation"]["grade"] == "OK"
    assert found["start"]["grade"] == "OK"


class _Doors:
    """Remembers what the web proxy would be told."""

    def __init__(self) -> None:
        self.addresses: set[str] = set()

    def open(self, container_id: str, directory: str) -> None: ...

    def close(self, container_id: str) -> None: ...

    def shut_out(self, addresses: Collection[str]) -> None:
        self.addresses = set(addresses)


async def test_the_web_proxy_is_told_the_machines_addresses(place: Place) -> None:
    """They are no addresses of this process's network, as where the service runs in a container."""
    doors = _Doors()
    place.engine.serve_web(doors)
    assert await place.engine.prepare(dataclasses.replace(place.config, egress=Egress.WEB)) == ()
    assert {HOST_PUBLIC, HOST_PRIVATE, "127.0.0.1", "::1"} <= doors.addresses
    assert not {PUBLIC, COMPANY, METADATA} & doors.addresses
    assert not is_own(ipaddress.ip_address(HOST_PUBLIC))
