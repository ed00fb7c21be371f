"""What `doctor` makes of what the engine says of itself: words and fields as Docker has them."""

from __future__ import annotations

import datetime
import socket
from typing import Any

import pytest

from tmpnb_py.cli.commands import surroundings
from tmpnb_py.cli.commands.findings import Finding, Grade
from tmpnb_py.core.models import Egress
from tmpnb_py.engines.docker.facts import of_info
from tmpnb_py.options.settings import Settings

NOW = datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.UTC).timestamp()
# Of a Docker 20.10 whose machine was booted without limits, and that listens without TLS.
INFO: dict[str, Any] = {
    "ServerVersion": "20.10.24",
    "MemTotal": 1 << 30,
    "NCPU": 2,
    "SystemTime": "2026-11-30T12:00:00.123456789Z",
    "DockerRootDir": "/var/lib/docker",
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"],
    "IPv4Forwarding": True,
    "Warnings": [
        "WARNING: API is accessible on http://0.0.0.0:2375 without encryption.\n         Access to it is root",
        "WARNING: No swap limit support",
        "WARNING: bridge-nf-call-iptables is disabled",
    ],
}


def found(info: dict[str, Any], **options: Any) -> list[Finding]:
    return list(surroundings.of_engine(of_info("docker", info, NOW), [Settings(**options)]))


def test_what_matters_of_its_warnings_is_told_with_what_follows() -> None:
    told = [(one.grade, one.subject, one.text) for one in found(INFO)]
    assert told == [
        (Grade.WARN, "limits", "the engine says: API is accessible on http://0.0.0.0:2375 without encryption."),
        (Grade.WARN, "limits", "the engine says: No swap limit support"),
        (Grade.OK, "confinement", "the engine has AppArmor, seccomp"),
    ]


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2026-11-30T12:05:00.123456789Z", "the engine's clock is 300 s ahead"),
        ("2026-11-30T12:59:00+01:00", "the engine's clock is 60 s behind"),
        ("2026-11-30T12:00:04Z", None),
        ("", None),
        ("at noon", None),
    ],
)
def test_clocks(time: str, text: str | None) -> None:
    told = [one.text for one in found({**INFO, "SystemTime": time}) if one.subject == "clock"]
    assert told == ([text] if text else [])


def test_forwarding_matters_where_notebooks_have_the_internet() -> None:
    off = {**INFO, "IPv4Forwarding": False}
    assert "forwarding" in [one.subject for one in found(off, egress=Egress.INTERNET)]
    assert "forwarding" not in [one.subject for one in found(off)]


def test_an_engine_that_tells_little_is_not_blamed() -> None:
    assert found({"ServerVersion": "1", "MemTotal": 1, "NCPU": 1}, egress=Egress.INTERNET) == []
    empty: dict[str, Any] = dict.fromkeys(("SecurityOptions", "Warnings", "SystemTime", "IPv4Forwarding"))
    assert found({**INFO, **empty}) == []


async def test_the_web_is_tried_by_the_first_host_that_notebooks_may_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reached = f"localhost:{server.getsockname()[1]}"
        pools = [Settings(egress=Egress.WEB, egress_hosts=("*.example.org", reached))]
        (well,) = await surroundings.of_web(pools, {})
    assert (well.grade, well.text) == (Grade.OK, "localhost is reached, as notebooks reach it by this service")
    (refused,) = await surroundings.of_web(pools, {"https_proxy": "http://proxy.example:3128"})
    assert refused.grade is Grade.WARN
    assert refused.text.endswith("; https_proxy is set, which notebooks' connections do not use")
    assert await surroundings.of_web([Settings()], {}) == []
