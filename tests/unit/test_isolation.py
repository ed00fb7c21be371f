"""The verdict on what a container says of itself, and what follows from it for the configuration."""

from __future__ import annotations

import dataclasses
import os
import socket
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tmpnb_py.core.errors import UnprotectedError, WrongEngineError
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Egress, Gap, ImageFacts, Mount, Protection, Transport
from tmpnb_py.engines import isolation
from tmpnb_py.engines.docker import fence_rules
from tmpnb_py.engines.docker import probe_inside as inside
from tmpnb_py.engines.docker.host import refuse_podman, resolve
from tmpnb_py.engines.docker.trials import facts
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import PoolConfiguration, visitors_users

CONFIG = ContainerConfig(
    image=ImageFacts("x", "sha256:x"),
    command="serve",
    transport=Transport.SOCKET,
    egress=Egress.NONE,
    mem_limit=1 << 28,
    cpu_quota=50_000,
    pids_limit=64,
    home_size=1 << 20,
    tmp_size=1 << 20,
    shm_size=1 << 20,
)
GOOD: dict[str, Any] = {
    "CapEff": "0" * 16,
    "CapPrm": "0" * 16,
    "CapBnd": "0" * 16,
    "NoNewPrivs": "1",
    "Seccomp": "2",
    "limits": {"memory": 1 << 28, "swap": 0, "processes": 64},
    "gateway": "",
    "attempts": {"192.0.2.1": "ENETUNREACH"},
}
NO_LIMITS = isolation.EngineLimits(memory=False, swap=False, processes=False, cpu=False)


def gaps(changes: dict[str, Any], limits: isolation.EngineLimits | None = None, **config: Any) -> list[Any]:
    """What is missing, by name."""
    changed = dataclasses.replace(CONFIG, **config)
    found = {**GOOD, **changes}
    everything = [
        *isolation.gaps_of(changed, found, limits or isolation.EngineLimits()),
        *isolation.reached(found, changed),
    ]
    assert all(gap.text for gap in everything)
    assert all(gap.remedy for gap in everything if gap.protection)
    return [gap.protection for gap in everything]


def test_a_container_that_lacks_nothing() -> None:
    assert gaps({}) == []
    assert gaps({"limits": {}}) == []  # nothing can be read, and the engine says that it can limit it


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"CapEff": "0000000000000001"}, [Protection.PRIVILEGES]),
        ({"CapBnd": "00000000a80425fb"}, [Protection.PRIVILEGES]),
        ({"CapPrm": ""}, [Protection.PRIVILEGES]),  # not said is not none
        ({"NoNewPrivs": "0"}, [Protection.PRIVILEGES]),
        ({"NoNewPrivs": ""}, [Protection.PRIVILEGES]),
        ({"Seccomp": "0"}, [Protection.SECCOMP]),
        ({"limits": {"memory": None, "swap": 0, "processes": 64}}, [Protection.MEMORY]),
        ({"limits": {"memory": 1 << 29, "swap": 0, "processes": 64}}, [Protection.MEMORY]),
        ({"limits": {"memory": 1 << 28, "swap": None, "processes": 64}}, [None]),
        ({"limits": {"memory": 1 << 28, "swap": 0, "processes": None}}, [Protection.PROCESSES]),
        ({"limits": {"memory": 1 << 28, "swap": 0, "processes": 4096}}, [Protection.PROCESSES]),
        ({"attempts": {"192.0.2.1": "connected"}}, [Protection.NETWORK]),
        ({"attempts": {"192.0.2.1": "ECONNREFUSED"}}, [Protection.NETWORK]),  # somebody there refused it
        ({"attempts": {"192.0.2.1": "silent"}}, [Protection.NETWORK]),  # it went out
    ],
)
def test_what_is_missing(changes: dict[str, Any], missing: list[Any]) -> None:
    assert gaps(changes) == missing


def test_limits_that_the_engine_cannot_set() -> None:
    assert gaps({"limits": {}}, NO_LIMITS) == [Protection.MEMORY, None, Protection.PROCESSES, None]
    # What is seen in the container counts more than what the engine says of itself.
    assert gaps({}, NO_LIMITS) == [None]
    assert gaps({"limits": {"memory": 1 << 28, "swap": 0}}, NO_LIMITS, pids_limit=0, cpu_quota=0) == []
    info = {"MemoryLimit": True, "SwapLimit": False, "PidsLimit": False, "CpuCfsQuota": True}
    assert isolation.limits_of(info) == isolation.EngineLimits(swap=False, processes=False)


def test_what_a_rootless_engine_needs_is_another_thing_than_the_kernels_options() -> None:
    limits = isolation.limits_of({"MemoryLimit": False, "SecurityOptions": ["name=seccomp", "name=rootless"]})
    assert limits == isolation.EngineLimits(memory=False, rootless=True)
    found = isolation.gaps_of(CONFIG, {**GOOD, "limits": {"processes": None}}, limits)
    remedies = {gap.protection: gap.remedy for gap in found if gap.protection}
    assert remedies.keys() == {Protection.MEMORY, Protection.PROCESSES}
    assert all("runs as root" in remedy for remedy in remedies.values())


def test_a_kernel_of_ones_own_is_limited_as_a_whole() -> None:
    """gVisor's kernel takes the place of a filter; its control groups are its own, its memory the engine's limit."""

    def gvisor(memory: int | None, limits: isolation.EngineLimits | None = None) -> list[Any]:
        inside = {"memory": None, "swap": None, "processes": None, "all memory": memory}
        found = {**GOOD, "Seccomp": "0", "limits": inside}
        known = limits or isolation.EngineLimits()
        return [gap.protection for gap in isolation.gaps_of(CONFIG, found, known, own_kernel=True)]

    assert gvisor(1 << 28) == []
    assert gvisor(1 << 34) == [Protection.MEMORY], "all of the machine's"
    assert gvisor(None) == [Protection.MEMORY]
    assert gvisor(1 << 28, isolation.EngineLimits(processes=False)) == [Protection.PROCESSES]


def test_what_the_operator_opened_may_be_reached() -> None:
    attempts = {"10.255.255.254": "silent", "169.254.169.254": "EHOSTUNREACH", "172.18.0.1": "ECONNREFUSED"}
    seen = {"attempts": attempts, "gateway": "172.18.0.1"}
    assert gaps(seen, egress=Egress.INTERNET, egress_allow=("10.0.0.0/8", "172.18.0.1/32")) == []
    (gap,) = isolation.reached({**GOOD, **seen}, dataclasses.replace(CONFIG, egress_allow=("10.0.0.0/8",)))
    assert "this machine at 172.18.0.1" in gap.text


def test_neighbours_and_warnings() -> None:
    assert list(isolation.neighbours({"attempts": {"172.18.0.2": "silent"}}, "172.18.0.2")) == []
    (gap,) = isolation.neighbours({"attempts": {"172.18.0.2": "connected"}}, "172.18.0.2")
    assert gap.protection is Protection.NETWORK
    (gap,) = isolation.told(["Your kernel does not support pids limit. PIDs limit discarded."])
    assert (gap.protection, "PIDs limit discarded" in gap.text) == (None, True)


def test_every_forbidden_address_is_one_that_the_rules_block() -> None:
    closed = isolation.forbidden(CONFIG, fenced=True)
    web = isolation.forbidden(dataclasses.replace(CONFIG, egress=Egress.INTERNET), fenced=True)
    assert set(web) < set(closed)
    networks = [ip_network(one) for one in fence_rules.BLOCKED]
    addresses = [ip_address(host) for host, _ in web if host != isolation.GATEWAY]
    assert all(any(address in network for network in networks) for address in addresses)


@pytest.mark.parametrize(
    ("address", "blocked"),
    [
        ("169.254.169.254", True), ("fd00:ec2::254", True), ("fe80::1", True), ("10.0.0.1", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True), ("100.100.100.200", True), ("127.0.0.1", True), ("::1", True), ("192.0.0.192", True),
        ("168.63.129.16", True), ("::ffff:10.0.0.1", True), ("224.0.0.1", True), ("255.255.255.255", True),
        ("8.8.8.8", False), ("172.32.0.1", False), ("100.128.0.1", False), ("2606:4700::1111", False),
        # Through a NAT64 gateway (RFC 6052), and by 6to4.
        ("64:ff9b::808:808", False), ("64:ff9b::a00:1", True), ("64:ff9b::a9fe:a9fe", True),
        ("64:ff9b::c0a8:101", True), ("2002:a00:1::1", True),
    ],
)  # fmt: skip
def test_what_is_not_the_public_internet(address: str, blocked: bool) -> None:
    found = ip_address(address)
    assert any(found in ip_network(network) for network in fence_rules.BLOCKED) is blocked


def test_name_servers_of_a_machine() -> None:
    text = "# nameserver 9.9.9.9\nnameserver 10.0.0.2\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver x\n"
    assert fence_rules.resolvers(text + "nameserver\nsearch example.org") == ["10.0.0.2", "fe80::1"]


def test_a_probe_looks_at_itself(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert inside.attempt([("127.0.0.1", port)], 5.0) == {"127.0.0.1": "connected"}
    assert inside.attempt([("127.0.0.1", port)], 5.0) == {"127.0.0.1": "ECONNREFUSED"}
    assert inside.privileges()["NoNewPrivs"] in ("0", "1")
    assert inside.may_write(str(tmp_path))
    tmp_path.chmod(0o555)
    assert inside.may_write(str(tmp_path))  # its owner undoes that
    assert not inside.may_write(str(tmp_path / "missing"))
    assert list(tmp_path.iterdir()) == []


def test_what_a_container_printed() -> None:
    assert facts(("Warning: x", '{"a": 1}')) == {"a": 1}
    assert facts(("{nonsense", "")) is None


PODMAN = {
    "Platform": {"Name": "linux/amd64/debian-12"},
    "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}, {"Name": "Conmon", "Version": "2.1.6"}],
    "Version": "4.3.1",
    "ApiVersion": "1.41",
}


def test_podman_is_refused_in_one_sentence() -> None:
    host = resolve("unix:///run/podman/podman.sock", {})
    with pytest.raises(WrongEngineError, match=r"is Podman 4\.3\.1, which accepts Docker's options") as caught:
        refuse_podman(host, PODMAN)
    assert "DOCKER_HOST" in caught.value.remedy
    refuse_podman(host, {"Version": "20.10.24", "Components": [{"Name": "Engine"}]})
    refuse_podman(host, {"Version": "19.03"})


# What follows from it


def configuration(host: FakeHost, **settings: Any) -> PoolConfiguration:
    return PoolConfiguration(FakeEngine(host, pool="pool"), LiveOptions(Settings(image="fake", **settings)))


async def test_nothing_is_started_without_its_protections() -> None:
    host = FakeHost()
    host.gaps = (
        Gap(Protection.PROCESSES, "processes are not limited", "use another kernel"),
        Gap(Protection.NETWORK, "it reaches 10.0.0.1", "mend the firewall"),
        Gap(None, "swap is not limited"),
    )
    with pytest.raises(UnprotectedError) as caught:
        await configuration(host).resolve()
    assert "processes are not limited; it reaches 10.0.0.1" in caught.value.message
    assert "swap" not in caught.value.message
    assert (
        caught.value.remedy
        == "use another kernel; mend the firewall; to go without: --accept-missing processes,network"
    )
    with pytest.raises(UnprotectedError, match="it reaches") as caught:
        await configuration(host, accept_missing="processes").resolve()
    assert "--accept-missing network" in caught.value.remedy
    accepting = configuration(host, accept_missing="network,processes")
    assert (await accepting.resolve()).egress is Egress.NONE
    assert accepting.gaps == host.gaps


async def test_visitors_do_not_run_as_the_service_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ours = ImageFacts("ours", "sha256:1", supports_socket=True, supports_read_only=True, home="/home/jovyan")
    assert visitors_users(Settings(), ours) == ("1001:1000", 1)
    assert visitors_users(Settings(container_user="1000"), ours) == ("1000", 1)  # said explicitly
    assert visitors_users(Settings(), dataclasses.replace(ours, home="")) == ("1000", 1)  # the home is the image's
    monkeypatch.setattr(os, "geteuid", lambda: 998)
    assert visitors_users(Settings(), ours) == ("1000", 1)


@pytest.mark.parametrize(
    ("own", "expected"),
    [(0, ("1000:1000", 2000)), (1000, ("1001:1000", 1999)), (1500, ("1501:1000", 1499)), (2999, ("1000:1000", 1999))],
)
async def test_visitors_are_many_users_where_the_image_has_names_for_them(
    monkeypatch: pytest.MonkeyPatch, own: int, expected: tuple[str, int]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: own)
    ours = ImageFacts(
        "ours", "sha256:1", supports_socket=True, supports_read_only=True, home="/home/jovyan", users=(1000, 2999)
    )
    assert visitors_users(Settings(), ours) == expected
    assert visitors_users(Settings(container_user="1000"), ours) == ("1000", 1)
    assert visitors_users(Settings(host_directories=(Mount("/srv", "/srv"),)), ours)[1] == 1


def test_a_notebook_keeps_its_user() -> None:
    config = dataclasses.replace(CONFIG, user="1000:100", users=2000)
    specs = [ContainerSpec(f"{index:026}", "", config) for index in range(500)]
    drawn = [spec.user for spec in specs]
    assert drawn == [spec.user for spec in specs]
    assert len(set(drawn)) > 400
    assert all(1000 <= int(user.removesuffix(":100")) < 3000 for user in drawn)
    alone = dataclasses.replace(CONFIG, user="jovyan")
    assert ContainerSpec("a", "", alone).user == "jovyan"
