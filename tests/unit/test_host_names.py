"""Which names are answered to: those that no web page can point at us."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.host_names import Hosts, hosts_of
from tmpnb_py.options.sources import read_settings
from tmpnb_py.service import listen

HOSTS = Hosts(
    ("notebooks.example.org", "*.example.net", "xn--bcher-kva.example"), own=("Box", "box.example.com", "box.local")
)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:8000", "10.1.2.3:80", "[::1]", "[::1]:8000", "[2001:DB8::1]:443",
        "localhost", "LocalHost:8000", "localhost.", "a.localhost", "a.b.localhost:1",
        "box", "BOX:8000", "box.example.com.", "box.local",
        "notebooks.example.org", "Notebooks.Example.ORG:8443", "notebooks.example.org.", "notebooks.example.org.:80",
        "notebooks.example.org:", "a.example.net", "a.b.example.net:8000", "xn--bcher-kva.example",
    ],
)  # fmt: skip
def test_names_that_are_ours(host: str) -> None:
    assert HOSTS.knows(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8000", "example.net", "aexample.net", "example.org", "x.notebooks.example.org",
        "notebooks.example.org.evil.example", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example",
        "127.0.0.1.nip.io:8000", "127.1", "2130706433", "0x7f000001", "box.evil.example", "*.example.net", "*", "",
        "[evil.example]",
    ],
)  # fmt: skip
def test_names_that_anybody_could_own(host: str) -> None:
    assert not Hosts(("notebooks.example.org",), own=("box",)).knows(host.encode())


def test_a_star_is_every_name() -> None:
    assert Hosts(("*",)).knows(b"evil.example")
    assert Hosts(("*",)).answer_to((b"evil.example", b"x"))


def test_each_name_on_the_way_must_be_ours() -> None:
    assert hosts_of([b"a"], [b"b, c", b"d"]) == (b"a", b"b", b"c", b"d")
    assert HOSTS.answer_to((b"127.0.0.1:8000", b"notebooks.example.org"))
    assert not HOSTS.answer_to((b"127.0.0.1:8000", b"evil.example"))
    assert not HOSTS.answer_to((b"evil.example", b"localhost"))


def test_no_host_at_all_is_no_browser() -> None:
    assert hosts_of([], []) == hosts_of([b""], [b""]) == ()
    assert HOSTS.answer_to(())


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("notebooks.example.org, *.Example.NET", ("notebooks.example.org", "*.example.net")),
        ("bücher.example", ("xn--bcher-kva.example",)),
        ("straße.example.", ("xn--strae-oqa.example",)),
        ("*", ("*",)),
        ("10.0.0.1", ("10.0.0.1",)),
        ("tmpnb", ("tmpnb",)),
    ],
)
def test_how_they_are_written(written: str, names: tuple[str, ...]) -> None:
    assert read_settings({"allowed_hosts": written}, {}).settings.allowed_hosts == names


@pytest.mark.parametrize(
    "written",
    [
        "https://notebooks.example.org",
        "notebooks.example.org:8000",
        "a/b",
        "*.*",
        "a.*",
        "*a.example",
        "a b",
        "..",
        "*.",
    ],
)
def test_what_is_no_name(written: str) -> None:
    with pytest.raises(SettingsError, match=r"write a name alone, such as notebooks\.example\.org"):
        read_settings({"allowed_hosts": written}, {})


def test_what_is_probably_not_meant() -> None:
    (proxy,) = read_settings({"trusted_proxies": "127.0.0.1"}, {}).warnings
    assert "allowed_hosts" in proxy
    assert not read_settings({"trusted_proxies": "127.0.0.1", "allowed_hosts": "a.example"}, {}).warnings
    (every,) = read_settings({"allowed_hosts": "*"}, {}).warnings
    assert "any web page" in every


async def test_this_machines_own_names() -> None:
    names = await listen.own_names()
    assert socket.gethostname() in names
    assert f"{socket.gethostname().partition('.')[0]}.local" in names


async def test_a_resolver_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "_RESOLVER_SECONDS", 0.01)
    monkeypatch.setattr(socket, "getfqdn", lambda _name: time.sleep(0.5))
    async with asyncio.timeout(0.4):
        assert socket.gethostname() in await listen.own_names()
