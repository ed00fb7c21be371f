"""Hosts and ports that notebooks ask the web proxy for, and the operator's list of those they may reach. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterable

import idna

from tmpnb_py.core.host_names import normal

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Underscores are in no host name (RFC 1123), but in names that people have in DNS and that clients look up.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as a last label, of an address (WHATWG URL, "ends in a number")
_LONGEST_NAME = 253
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]+)(?::([0-9]{1,5}))?")
_BELOW = "*."


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A host and a port: a name in lower case without the root's dot, or an address in canonical form."""

    host: str
    port: int

    @property
    def address(self) -> Address | None:
        """The address, if the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_target(authority: str, default_port: int | None) -> Target:
    """Parse `host:port`. Raises ValueError.

    Numbers that only some programs take for an IPv4 address (2130706433, 0x7f.1, 0177.0.0.1) are refused, as nobody
    could tell what a list of hosts says of them.
    """
    match = _AUTHORITY.fullmatch(authority)
    port = int(match[2] or default_port or 0) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError("not a host with a port")
    if match[1].startswith("["):
        return Target(str(ipaddress.IPv6Address(match[1][1:-1])), port)
    return Target(_host(match[1]), port)


def _host(text: str) -> str:
    name = normal(text)
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError as error:
            raise ValueError("not a host name") from error
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return str(ipaddress.IPv4Address(name))
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ValueError("not a host name")
    return name


def read_entry(text: str) -> str:
    """Normalise an entry of a list of hosts: `pypi.org`, `*.example.org`, `example.org:8443`. Raises ValueError."""
    below, rest = (_BELOW, text[len(_BELOW) :]) if text.startswith(_BELOW) else ("", text)
    try:
        target = read_target(rest, 443)
    except ValueError:
        raise ValueError(f'holds "{text}", which is no host: write pypi.org,*.example.org,example.org:8443') from None
    if below and target.address is not None:
        raise ValueError(f'holds "{text}", but there are no names below an address')
    has_port = ":" in rest.rpartition("]")[2]
    return below + (str(target) if has_port else str(target).rpartition(":")[0])


def ports_of(target: Target, entries: Iterable[str]) -> frozenset[int] | None:
    """The ports that a list of normalised entries names for a target's host; None where it does not have the host.

    0 stands for an entry without a port.
    """
    found = set()
    for entry in entries:
        host, port = _split(entry)
        if target.host.endswith(host[1:]) if host.startswith(_BELOW) else target.host == host:
            found.add(port)
    return frozenset(found) or None


def _split(entry: str) -> tuple[str, int]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, int(rest[1:] or 0)
    host, _, port = entry.partition(":")
    return host, int(port or 0)
