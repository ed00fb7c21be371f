"""What notebooks, and whoever follows a link, are told of the network that there is."""

from __future__ import annotations

import pytest

from tmpnb_py.core.document_paths import document_target, needs_network
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Egress, ImageFacts, Transport
from tmpnb_py.engines.docker.options import create_body
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import has_network


@pytest.mark.parametrize(
    ("egress", "network", "told"),
    [
        (Egress.NONE, "", ["TMPNB_EGRESS=none"]),
        (Egress.INTERNET, "", ["TMPNB_EGRESS=internet"]),
        (Egress.NONE, "lab-network", []),  # what is reached there is that network's affair
        (Egress.NONE, "host", []),
    ],
)
def test_a_container_is_told_what_it_reaches(egress: Egress, network: str, told: list[str]) -> None:
    image = ImageFacts("x", "sha256:x")
    config = ContainerConfig(image, "run", Transport.SOCKET, egress, 1, 1, 1, 1, 1, 1, network=network)
    body = create_body("p", ContainerSpec("a", "", config), socket_source=None, hosts_source=None, init=False)
    assert [one for one in body["Env"] if one.startswith("TMPNB_EGRESS")] == told


@pytest.mark.parametrize(
    ("options", "shared", "has"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"egress": "internet"}, False, True),
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
