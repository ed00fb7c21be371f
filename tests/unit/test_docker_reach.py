"""What Docker is told for tmpnb's options, and where it says that a container is reached."""

from __future__ import annotations

import dataclasses
import socket
from typing import Any

import pytest

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Egress, ImageFacts, Mount, TcpAddress, Transport
from tmpnb_py.engines.docker import options, reach

CONFIG = ContainerConfig(
    image=ImageFacts("x", "sha256:x", supports_socket=True, supports_read_only=True, home="/home/jovyan"),
    command="serve --port={port} --ip={ip} --base={base_path}",
    transport=Transport.PORT,
    egress=Egress.NONE,
    mem_limit=1 << 28,
    cpu_quota=50_000,
    pids_limit=64,
    home_size=1 << 20,
    tmp_size=1 << 20,
    shm_size=1 << 20,
)


def body(port: int | None = None, source: str | None = None, **changes: Any) -> dict[str, Any]:
    spec = ContainerSpec("abc", "token", dataclasses.replace(CONFIG, **changes))
    hosts = "/hosts" if source else None
    return options.create_body("pool", spec, socket_source=source, hosts_source=hosts, init=False, port=port)


def test_everything_new_changes_the_digest() -> None:
    changes: list[dict[str, Any]] = [
        {"container_port": 1},
        {"container_ip": "0.0.0.0"},
        {"user": "1"},
        {"network": "x"},
        {"cpu_shares": 2},
        {"mounts": (Mount("/a", "/b"),)},
        {"extra_hosts": ("a:1.2.3.4",)},
    ]
    digests = {dataclasses.replace(CONFIG, **change).digest for change in [{}, *changes]}
    assert len(digests) == len(changes) + 1


def test_the_defaults_loosen_nothing() -> None:
    host = body()["HostConfig"]
    assert host["PortBindings"] == {"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert not {"CpuShares", "ExtraHosts"} & host.keys()
    assert (host["Mounts"], host["Dns"], body()["User"]) == ([], ["127.0.0.1"], "1000")


def test_the_operators_choices_are_told() -> None:
    mounts = (Mount("/a", "/b", read_only=True), Mount("/c", "/d"))
    made = body(user="1234:100", cpu_shares=512, mounts=mounts, extra_hosts=("a:1.2.3.4",), container_port=7)
    host = made["HostConfig"]
    assert (made["User"], host["CpuShares"], host["ExtraHosts"]) == ("1234:100", 512, ["a:1.2.3.4"])
    assert made["ExposedPorts"] == {"7/tcp": {}}
    assert [(one["Source"], one["Target"], one["ReadOnly"]) for one in host["Mounts"]] == [
        ("/a", "/b", True),
        ("/c", "/d", False),
    ]


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("1000", "uid=1000,gid=1000"),
        ("1000:100", "uid=1000,gid=100"),
        ("1234", "uid=1234,gid=1234"),
        ("1234:users", "uid=1234,gid=1234"),
        ("root", "uid=0,gid=0"),
        ("jovyan", "uid=1000,gid=1000"),
    ],
)
def test_the_home_is_the_users(user: str, owner: str) -> None:
    assert owner in body(user=user)["HostConfig"]["Tmpfs"]["/home/jovyan"]


def test_a_network_of_the_operators() -> None:
    made = body(transport=Transport.ADDRESS, network="theirs")
    assert made["HostConfig"]["NetworkMode"] == "theirs"
    assert made["Labels"]["org.tmpnb.listens"] == "8888"
    assert not {"ExposedPorts", "NetworkDisabled"} & made.keys()
    assert "Dns" not in body(network="theirs")["HostConfig"]  # a published port there: its DNS is theirs as well
    by_socket = body(transport=Transport.SOCKET, network="theirs", source="/s")
    assert "NetworkDisabled" not in by_socket
    assert [one["Target"] for one in by_socket["HostConfig"]["Mounts"]] == ["/run/tmpnb"]


def test_the_hosts_network() -> None:
    made = body(transport=Transport.HOST, network="host", container_ip="127.0.0.3", port=9001)
    assert made["HostConfig"]["NetworkMode"] == "host"
    assert made["Labels"]["org.tmpnb.listens"] == "127.0.0.3:9001"
    assert made["Cmd"][-1] == "serve --port=9001 --ip=127.0.0.3 --base=/user/abc/"


NETWORKS = {"Networks": {"none": {"IPAddress": ""}, "theirs": {"IPAddress": "10.9.8.7"}}}
SIX = {"Networks": {"theirs": {"IPAddress": "", "GlobalIPv6Address": "fd00::7"}}}


@pytest.mark.parametrize(
    ("labels", "networks", "address"),
    [
        ({"org.tmpnb.transport": "address", "org.tmpnb.listens": "80"}, NETWORKS, TcpAddress("10.9.8.7", 80)),
        ({"org.tmpnb.transport": "address", "org.tmpnb.listens": "80"}, SIX, TcpAddress("fd00::7", 80)),
        ({"org.tmpnb.transport": "address", "org.tmpnb.listens": "80"}, {"Networks": {}}, None),
        ({"org.tmpnb.transport": "address", "org.tmpnb.listens": "80"}, {}, None),
        ({"org.tmpnb.transport": "address", "org.tmpnb.listens": "x"}, NETWORKS, None),
        ({"org.tmpnb.transport": "address"}, NETWORKS, None),
        ({"org.tmpnb.transport": "host", "org.tmpnb.listens": "0.0.0.0:81"}, NETWORKS, TcpAddress("127.0.0.1", 81)),
        ({"org.tmpnb.transport": "host", "org.tmpnb.listens": "::1:81"}, {}, TcpAddress("::1", 81)),
        ({"org.tmpnb.transport": "host", "org.tmpnb.listens": "nonsense"}, {}, None),
        ({"org.tmpnb.transport": "port"}, NETWORKS, None),
        ({}, NETWORKS, None),
    ],
)
def test_where_a_container_is_reached(
    labels: dict[str, str], networks: dict[str, Any], address: TcpAddress | None
) -> None:
    assert reach.Where().address_of_entry({"Labels": labels, "Ports": [], "NetworkSettings": networks}) == address
    assert reach.Where().address_of_inspect({"Config": {"Labels": labels}, "NetworkSettings": networks}) == address


@pytest.mark.parametrize(
    ("ip", "host"), [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "::1"), ("10.1.1.1",) * 2]
)
def test_a_published_port(ip: str, host: str) -> None:
    ports = [
        {"PrivatePort": 1},
        {"Type": "udp", "PublicPort": 5, "IP": ip},
        {"Type": "tcp", "PublicPort": 6, "IP": ip},
    ]
    assert reach.Where().address_of_entry({"Labels": {}, "Ports": ports}) == TcpAddress(host, 6)
    settings = {"Ports": {"1/tcp": None, "2/tcp": [{"HostIp": ip, "HostPort": "6"}]}}
    assert reach.Where().address_of_inspect({"NetworkSettings": settings}) == TcpAddress(host, 6)


def test_ports_of_the_host() -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        first = occupied.getsockname()[1]
        found = reach.free_host_port("127.0.0.1", first, ())
        assert found > first
        assert reach.free_host_port("127.0.0.1", first, {found}) > found
    with pytest.raises(EngineError, match="no port from 65535 on is free"):
        reach.free_host_port("127.0.0.1", 65535, {65535})
    with pytest.raises(EngineError, match=r"cannot listen on 192\.0\.2\.1"):
        reach.free_host_port("192.0.2.1", 50_000, ())


@pytest.mark.parametrize(
    ("labels", "port"),
    [
        ({"org.tmpnb.transport": "host", "org.tmpnb.listens": "127.0.0.1:81"}, 81),
        ({"org.tmpnb.transport": "address", "org.tmpnb.listens": "81"}, None),
        ({"org.tmpnb.transport": "host", "org.tmpnb.listens": ":x"}, None),
        ({}, None),
    ],
)
def test_a_port_that_a_container_was_given(labels: dict[str, str], port: int | None) -> None:
    assert reach.host_port_of(labels) == port


@pytest.mark.parametrize(
    ("base", "remote"),
    [
        ("unix://localhost", ""),
        ("http://127.0.0.1:2375", ""),
        ("http://localhost:2375", ""),
        ("http://[::1]:2375", ""),
        ("http://192.0.2.7:2375", "192.0.2.7"),
        ("https://[2001:db8::7]:2376", "2001:db8::7"),
    ],
)
async def test_where_the_engine_is(base: str, remote: str) -> None:
    assert await reach.find(base) == reach.Where(remote)


def test_a_remote_engines_ports() -> None:
    where = reach.Where("192.0.2.7")
    for ip, host in [("0.0.0.0", "192.0.2.7"), ("::", "192.0.2.7"), ("10.9.0.2", "10.9.0.2")]:
        ports = [{"Type": "tcp", "PublicPort": 6, "IP": ip}]
        assert where.address_of_entry({"Labels": {}, "Ports": ports}) == TcpAddress(host, 6)
    where.see_that_it_is_reached(dataclasses.replace(CONFIG, container_ip="0.0.0.0"))
    where.see_that_it_is_reached(dataclasses.replace(CONFIG, transport=Transport.ADDRESS))
    reach.Where().see_that_it_is_reached(CONFIG)
    with pytest.raises(EngineError, match=r"127\.0\.0\.1 of the engine's machine 192\.0\.2\.7") as caught:
        where.see_that_it_is_reached(CONFIG)
    assert "--container-ip 192.0.2.7" in caught.value.remedy
