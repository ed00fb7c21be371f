"""What notebooks, and whoever follows a link, are told of the network that there is."""

from __future__ import annotations

import dataclasses

import pytest

from tmpnb_py.core.document_paths import document_target, needs_network
from tmpnb_py.core.models import CA_BUNDLE, ContainerConfig, ContainerSpec, Egress, ImageFacts, Mount, Transport
from tmpnb_py.engines import isolation
from tmpnb_py.engines.docker import addresses_inside, fence
from tmpnb_py.engines.docker.options import MASQUERADE, create_body, network_body
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import has_network


@pytest.mark.parametrize(
    ("egress", "network", "told"),
    [
        (Egress.NONE, "", ["TMPNB_EGRESS=none"]),
        (Egress.INTERNET, "", ["TMPNB_EGRESS=internet"]),
        (Egress.WEB, "", ["TMPNB_EGRESS=web"]),
        (Egress.NONE, "lab-network", []),  # what is reached there is that network's affair
        (Egress.NONE, "host", []),
    ],
)
def test_a_container_is_told_what_it_reaches(egress: Egress, network: str, told: list[str]) -> None:
    image = ImageFacts("x", "sha256:x")
    config = ContainerConfig(image, "run", Transport.SOCKET, egress, 1, 1, 1, 1, 1, 1, network=network)
    body = create_body("p", ContainerSpec("a", "", config), socket_source=None, hosts_source=None, init=False)
    assert [one for one in body["Env"] if one.startswith("TMPNB_EGRESS")] == told


@pytest.mark.parametrize("transport", [Transport.SOCKET, Transport.PORT])
def test_a_container_with_the_web_has_no_other_way_out(transport: Transport) -> None:
    """The command runs beside a forwarder to the proxy; network and firewall are those of `none`."""
    image = ImageFacts("x", "sha256:x")
    bundle = Mount("/etc/all.pem", CA_BUNDLE, read_only=True)
    config = ContainerConfig(image, "run {port}", transport, Egress.WEB, 1, 1, 1, 1, 1, 1, mounts=(bundle,))
    none = dataclasses.replace(config, egress=Egress.NONE)
    body, closed = (
        create_body("p", ContainerSpec("a", "", one), socket_source="/s/a", hosts_source="/h", init=False)
        for one in (config, none)
    )
    assert body["HostConfig"]["NetworkMode"] == closed["HostConfig"]["NetworkMode"]
    assert body["HostConfig"].get("Dns") == closed["HostConfig"].get("Dns")
    assert body.get("NetworkDisabled") == closed.get("NetworkDisabled")
    assert body["Cmd"][-1].endswith(f"\nexec /bin/sh -c '{closed['Cmd'][-1]}'")
    assert set(body["Env"]) - set(closed["Env"]) == {
        "TMPNB_EGRESS=web",
        *(f"{name}=http://127.0.0.1:3128" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")),
        *(f"{name}=localhost,127.0.0.1,::1" for name in ("no_proxy", "NO_PROXY")),
    }
    assert {"SSL_CERT_FILE=/run/tmpnb-ca.pem", "PIP_CERT=/run/tmpnb-ca.pem"} <= set(body["Env"])
    mounted = {mount["Target"]: mount["ReadOnly"] for mount in body["HostConfig"]["Mounts"]}
    assert mounted["/run/tmpnb"] is (transport is Transport.PORT)
    assert network_body("p", "n", config)["Options"][MASQUERADE] == "false"
    assert not fence.wish_of(config, "b")["open"]
    assert isolation.forbidden(config, fenced=True) == isolation.forbidden(none, fenced=True)


def test_the_machines_addresses_are_read_from_the_kernel() -> None:
    trie = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     |-- 203.0.113.1
        /32 host LOCAL
""".splitlines()
    assert addresses_inside.four(trie) == ["127.0.0.1", "203.0.113.1"]
    six = [
        "fe800000000000000042acfffefecc41 03 40 20 80     eth0\n",
        "00000000000000000000000000000001 01 80 10 80 lo\n",
        "",
    ]
    assert addresses_inside.six(six) == ["::1", "fe80::42:acff:fefe:cc41"]


@pytest.mark.parametrize(
    ("options", "shared", "has"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"egress": "internet"}, False, True),
        ({"egress": "web"}, False, True),
        ({"docker_network": "lab-network"}, False, True),
        ({"host_network": True, "admin_auth_token": "secret"}, False, True),
    ],
)
def test_whether_notebooks_have_a_network(options: dict[str, object], shared: bool, has: bool) -> None:
    assert has_network(Settings(**options), shared=shared) is has  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wish", "needs"),
    [
        ("git-pull?repo=https://x", True),
        ("git%2Dpull?repo=https://x", True),
        ("/git-pull", True),
        ("lab/tree/git-pull", False),
        ("lab?next=git-pull", False),
    ],
)
def test_links_that_fetch_something(wish: str, needs: bool) -> None:
    assert needs_network(document_target(wish)) is needs
