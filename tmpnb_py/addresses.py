"""What counts as one client. Pure.

A connection's own address counts; behind a trusted proxy, that of the last hop which is no trusted proxy.
"""

from __future__ import annotations

import ipaddress

_IPV6_PREFIX = 64  # what one subscriber, or one machine, is given at least: each has all of its addresses at will


def is_loopback(address: str) -> bool:
    """Whether this is an address that only this machine itself has, an IPv4 one written as IPv6 included."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def origin_of(address: str) -> str:
    """Whom an address counts for: itself, or the /64 network of an IPv6 one. What is no address is itself."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, _IPV6_PREFIX), strict=False))
