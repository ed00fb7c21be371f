"""What counts as one client. Pure.

A connection's own address counts; behind a trusted proxy, that of the last hop which is no trusted proxy.
"""

from __future__ import annotations

import ipaddress
import re

_IPV6_PREFIX = 64  # what one subscriber, or one machine, is given at least: each has all of its addresses at will
# As gateways write a client into `X-Forwarded-For`: 192.0.2.1:51000, [2001:db8::1]:443, "[2001:db8::1]".
_WITH_PORT = re.compile(r'"?(?:\[([^\[\]]+)\]|([0-9.]+))(?::[0-9]*)?"?')


def plain_address(text: str) -> str:
    """An address in canonical form, without port, brackets or quotes. Other text is returned unchanged.

    The port differs from one connection to the next, so with it a client would be another one each time. An IPv4
    client of a listener for both is an IPv4 one.
    """
    found = _WITH_PORT.fullmatch(text)
    address = read(text if found is None else found[1] or found[2])
    return text if address is None else str(address)


def is_loopback(text: str) -> bool:
    """Whether this is an address that only this machine itself has."""
    address = read(text)
    return address is not None and address.is_loopback


def read(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address, an IPv4-mapped IPv6 one as IPv4. None if it is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def quota_key_of(address: str) -> str:
    """The key by which an address is counted: itself, or its /64 network if it is IPv6. Other text is its own key."""
    if ":" not in address:
        return address
    address = plain_address(address)
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.IPv6Network((parsed, _IPV6_PREFIX), strict=False))
