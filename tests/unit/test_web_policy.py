"""What notebooks may reach through the web proxy: hosts as they are written, ports, addresses of every disguise."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.web_targets import read_entry, read_target
from tmpnb_py.egress.counters import WebRoom
from tmpnb_py.egress.policy import RefusedError, WebPolicy, carried, is_public
from tmpnb_py.options.settings import Settings

four = st.ip_addresses(v=4)
six = st.ip_addresses(v=6)


def settings(**options: str) -> Settings:
    return Settings(egress="web", **options)  # type: ignore[arg-type]


def disguises(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """The same machine, by the ways of IPv6 that lead to IPv4."""
    number = int(address)
    prefixes = ("::ffff:0:0", "64:ff9b::", "2001:db8::200:5efe:0:0", "2001:db8::5efe:0:0", "::")
    found = [ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number) for prefix in prefixes]
    return [*found, ipaddress.IPv6Address(0x2002 << 112 | number << 80)]


@given(address=four)
def test_a_disguise_is_as_private_as_what_it_hides(address: ipaddress.IPv4Address) -> None:
    if not address.is_global:
        shared = (
            ipaddress.ip_network("192.0.0.0/24"),
            *map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")),
        )
        if not any(address in network for network in shared):  # documentation's: nobody's, and this suite's
            assert not is_public(address)
    if not is_public(address):
        assert not any(map(is_public, disguises(address)))


@given(address=six)
def test_no_address_is_public_that_python_calls_private(address: ipaddress.IPv6Address) -> None:
    documentation = ipaddress.ip_network("2001:db8::/32"), ipaddress.ip_network("3fff::/20")
    if is_public(address) and not any(address in one for one in documentation):
        assert address.is_global or address in ipaddress.ip_network("2001::/23")
        assert not carried(address).is_private


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "100.100.100.200", "168.63.129.16", "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.0.192",
        "198.18.0.1", "240.0.0.1", "192.88.99.1", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1",
        "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2002:7f00:1::", "2002:c0a8:101::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2a00::5efe:7f00:1", "2a00::200:5efe:a00:1", "::ffff:0:10.0.0.1", "200:1234::1", "4000::1",
    ],
)  # fmt: skip
def test_what_is_not_the_web(address: str) -> None:
    assert not WebPolicy().allows(ipaddress.ip_address(address), is_own=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.0.223", "2a04:4e42::223", "64:ff9b::808:808", "172.32.0.1"])
def test_what_is_the_web(address: str) -> None:
    policy = WebPolicy()
    assert policy.allows(ipaddress.ip_address(address), is_own=False)
    assert not policy.allows(ipaddress.ip_address(address), is_own=True)


def test_the_operator_opens_networks() -> None:
    policy = WebPolicy(allow=settings(egress_allow="10.1.0.0/16,203.0.113.7").egress_allow)
    allowed = {
        text: policy.allows(ipaddress.ip_address(text), is_own=True)
        for text in ("10.1.2.3", "::ffff:10.1.2.3", "203.0.113.7", "10.2.0.1", "203.0.113.8", "127.0.0.1")
    }
    assert [text for text, yes in allowed.items() if yes] == ["10.1.2.3", "::ffff:10.1.2.3", "203.0.113.7"]
    everything = WebPolicy(allow=settings(egress_allow="*").egress_allow)
    assert everything.allows(ipaddress.ip_address("127.0.0.1"), is_own=True)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("pypi.org:443", "pypi.org", 443),
        ("PyPI.org.:443", "pypi.org", 443),
        ("pypi.org", "pypi.org", 80),
        ("bücher.example:80", "xn--bcher-kva.example", 80),
        ("_dmarc.example.org:80", "_dmarc.example.org", 80),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[0:0::1]:80", "::1", 80),
        ("[::ffff:127.0.0.1]:443", str(ipaddress.IPv6Address("::ffff:7f00:1")), 443),  # from Python 3.13 on with dots
    ],
)
def test_targets(text: str, host: str, port: int) -> None:
    target = read_target(text, 80)
    assert (target.host, target.port) == (host, port)
    assert read_target(str(target), None) == target


@pytest.mark.parametrize(
    "text",
    [
        "", ":80", "a:0", "a:65536", "a:123456", "a:b", "a:80:90", "a b:80", "a/b:80", "u@a:80", "a?:80", "a#:80",
        "a\\b:80", "[::1:80", "::1:80", "[::1%eth0]:80", "[a]:80", "2130706433:80", "0177.0.0.1:80", "0x7f.0.0.1:80",
        "0x7f000001:80", "127.1:80", "1.2.3.4.5:80", "256.0.0.1:80", "example.0x7f:80", "example.1:80",
        "a..b:80", ".a:80", "-a:80",
        "a" * 64 + ":80", "a." * 127 + "aa:80", "a%00b:80", "a\r\nHost:80", "\u0430.1:80",
    ],
)  # fmt: skip
def test_targets_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds, ipaddress' among them
        read_target(text, None)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("pypi.org:443", ""),
        ("pypi.org:80", ""),
        ("pypi.org:8443", "port"),
        ("files.pythonhosted.org:443", ""),
        ("pythonhosted.org:443", "host"),
        ("a.b.pythonhosted.org:443", ""),
        ("evilpythonhosted.org:443", "host"),
        ("example.org:8443", ""),
        ("example.org:443", "port"),
        ("192.0.2.7:443", ""),
        ("192.0.2.8:443", "host"),
        ("[2001:db8::7]:443", ""),
        ("pypi.org.evil.example:443", "host"),
    ],
)
def test_a_list_of_hosts(target: str, reason: str) -> None:
    hosts = "PyPI.org,*.pythonhosted.org,example.org:8443,192.0.2.7,[2001:DB8::7]"
    policy = WebPolicy.of(settings(egress_hosts=hosts))
    found = ""
    try:
        policy.check(read_target(target, None))
    except RefusedError as error:
        found = error.reason
    assert found == reason


def test_without_a_list_the_port_decides() -> None:
    policy = WebPolicy()
    policy.check(read_target("whatever.example:443", None))
    with pytest.raises(RefusedError, match="port 25"):
        policy.check(read_target("whatever.example:25", None))


@pytest.mark.parametrize("text", ["http://pypi.org", "*", "*.", "*.10.0.0.1", "pypi.org/simple", "a b", "pypi.*", ""])
def test_entries_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="holds"):
        read_entry(text)


def test_each_notebook_may_have_two_connections_whatever_others_hold() -> None:
    room = WebRoom(16, open=15)
    assert room.has_room(15)
    room.open += 1
    assert [room.has_room(own) for own in (0, 1, 2, 15)] == [True, True, False, False]
