"""Which names this service answers to. Pure; asked once per request, by the proxy and by the web layer.

A web page can point a name of its own at our address and then speaks to us as our own page does, also where only an
internal network reaches us (DNS rebinding). What it cannot forge is the `Host` that the browser sends with it. So a
name is answered to only if nobody else can own it: an IP address (browsers look nothing up for it), a loopback name
(RFC 6761 §6.3), a name of this machine, or one that the operator allows.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable

EVERY_NAME = "*"
_LOOPBACK = "localhost"
_REMEMBERED = 256  # hosts whose verdict is kept; a stranger can send any number of them


class Hosts:
    """The names that are answered to, whatever their port and case."""

    def __init__(self, allowed: Iterable[str] = (), own: Iterable[str] = ()) -> None:
        """`allowed` are the operator's, each a name, `*.example.net` or `*`; `own` are this machine's."""
        self.allowed = tuple(allowed)
        self._names = frozenset(normal(name) for name in (*self.allowed, *own))
        self._parents = tuple(name.removeprefix("*") for name in self._names if name.startswith("*."))
        # One per object: a reload makes another, which knows nothing of this one's verdicts.
        self.answer_to = functools.lru_cache(_REMEMBERED)(self._answer_to)

    def _answer_to(self, hosts: tuple[bytes, ...]) -> bool:
        """Whether each of a request's hosts is a name of ours: `Host`, and what a trusted proxy says it was."""
        return all(map(self.knows, hosts))

    def knows(self, host: bytes) -> bool:
        """Whether a host, with or without its port, is a name of ours."""
        name = name_of(host.decode("latin-1"))
        return (
            name in self._names
            or EVERY_NAME in self._names
            or is_loopback_name(name)
            or _is_address(name)
            or name.endswith(self._parents)
        )


def hosts_of(host: Iterable[bytes], forwarded_host: Iterable[bytes]) -> tuple[bytes, ...]:
    """What a request says that it was sent to: `Host`, and each name that proxies in front have seen.

    All of them have to be ours: a proxy may hand through an `X-Forwarded-Host` that a page has written itself. A
    client that names no host at all (HTTP/1.0) is no browser.
    """
    names = (*host, *(one.strip() for value in forwarded_host for one in value.split(b",")))
    return tuple(name for name in names if name)


def normal(name: str) -> str:
    """A name as browsers send it: in lower case, without the root's dot."""
    return name.lower().removesuffix(".")


def name_of(host: str) -> str:
    """The name or address in a `Host` (RFC 9110 §7.2), without its port; an IPv6 address without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return normal(host.partition(":")[0])


def is_loopback_name(name: str) -> bool:
    """Whether browsers take this name for their own machine, whatever DNS says of it."""
    return name == _LOOPBACK or name.endswith("." + _LOOPBACK)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
