"""Whom an address counts for, and how many connections it may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.models import Refusal
from tmpnb_py.core.quota_keys import is_loopback, plain_address, quota_key_of
from tmpnb_py.proxy.header_rules import ClientFacts
from tmpnb_py.proxy.limits import OpenConnections


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("un:known", "un:known"),
        ("", ""),
        ("192.0.2.1:51000", "192.0.2.1"),
        ("[2001:db8:1:2::5]:443", "2001:db8:1:2::/64"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
    ],
)
def test_whom_an_address_counts_for(address: str, origin: str) -> None:
    assert quota_key_of(address) == origin


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("203.0.113.7:51000", "203.0.113.7"),
        ("203.0.113.7:", "203.0.113.7"),
        ("203.0.113.7", "203.0.113.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("2001:db8::1:443", "2001:db8::1:443"),  # nothing tells that from an address
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("[fe80::1%eth0]:443", "fe80::1%eth0"),
        ("1.2.3:80", "1.2.3:80"),
        ("1.2.3.4:80:90", "1.2.3.4:80:90"),
        ("unknown:80", "unknown:80"),
        ("_hidden", "_hidden"),
        ("[]:80", "[]:80"),
        ("", ""),
    ],
)
def test_an_address_has_one_spelling(written: str, address: str) -> None:
    assert plain_address(written) == address
    assert plain_address(address) == address


def test_each_address_has_its_own_limit_and_all_have_one() -> None:
    admission = OpenConnections()
    one, other = ClientFacts("2001:db8::1"), ClientFacts("2001:db8::2")
    third, proxy = ClientFacts("192.0.2.1"), ClientFacts("192.0.2.9", trusted=True)
    assert admission.enter(one, in_all=6, each=2) is None
    assert admission.enter(other, in_all=6, each=2) is None
    assert admission.enter(one, in_all=6, each=2) is Refusal.ONE_ADDRESS
    assert admission.enter(third, in_all=6, each=2) is None
    assert admission.enter(proxy, in_all=6, each=2) is None
    assert admission.enter(proxy, in_all=6, each=2) is None
    assert admission.enter(proxy, in_all=6, each=2) is Refusal.TOO_MANY
    admission.leave(proxy)
    admission.leave(one)
    assert admission.enter(other, in_all=6, each=2) is Refusal.ONE_ADDRESS
    assert admission.enter(third, in_all=9, each=0) is None


clients = st.builds(
    ClientFacts, st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]), trusted=st.booleans()
)


@given(st.lists(clients, max_size=30), st.integers(0, 3), st.integers(1, 10))
def test_what_has_left_is_forgotten(all_of_them: list[ClientFacts], each: int, in_all: int) -> None:
    admission = OpenConnections()
    for facts in all_of_them:
        admission.enter(facts, in_all=in_all, each=each)
    for facts in reversed(all_of_them):
        admission.leave(facts)
    assert (admission._total, admission._held) == (0, {})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_only_this_machine_has_these(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "localhost", "", "127.1"])
def test_others_may_have_these(address: str) -> None:
    assert not is_loopback(address)
