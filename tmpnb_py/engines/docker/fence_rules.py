"""Install firewall rules on a bridge over netlink (nf_tables).

The Docker engine runs this file's source, with one JSON argument, in a container that shares the network of the
engine's machine. So it works on a remote engine, from inside a container, and without root; and so it imports only
the standard library and must run on Python 3.8. The message formats are those of linux/netfilter/nf_tables.h.

The rules have a table of their own. In nf_tables every table can refuse a packet for good, so they hold whatever the
tables of Docker, firewalld and the operator say, and reloading those does not remove them.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, Tuple  # noqa: UP035 - an alias is evaluated, and Python 3.8 has no tuple[...]

# Not the public internet: private, link-local (including cloud metadata), shared, reserved, multicast.
_BLOCKED_FOUR = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)


def _translated(network: str) -> str:
    """An IPv4 network as a NAT64 gateway is asked for it (RFC 6052 §2.1). Not each refuses private ones (§3.1)."""
    four = ipaddress.IPv4Network(network)
    return f"64:ff9b::{four.network_address}/{96 + four.prefixlen}"


BLOCKED = (
    *_BLOCKED_FOUR,
    *map(_translated, _BLOCKED_FOUR),
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "2002::/16",  # 6to4 (RFC 7526: obsolete), which also holds IPv4 addresses of any kind
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)

Rule = Tuple[str, "list[bytes]"]  # noqa: UP006
_NETLINK_NETFILTER = 12
_REQUEST, _ACK, _CREATE, _APPEND, _DUMP = 1, 4, 0x400, 0x800, 0x300
_ERROR, _DONE, _BATCH_BEGIN, _BATCH_END, _NF_TABLES = 2, 3, 16, 17, 10
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE, _GET_RULE = 0, 2, 3, 6, 7
_INET = 1  # IPv4 and IPv6 in one table
_PRIORITY = -10  # before iptables' filters
_HOOKS = {"to-host": (1, _PRIORITY), "through-host": (2, _PRIORITY)}
_EQUAL, _UNEQUAL, _AT_MOST, _AT_LEAST = 0, 1, 3, 5
_META_INTERFACE, _META_FAMILY, _META_PROTOCOL = 6, 15, 16
_NETWORK, _TRANSPORT = 1, 2
_ESTABLISHED_OR_RELATED = 2 | 4
_ICMPV6, _TCP, _UDP, _DNS_PORT = 58, 6, 17, 53
_ADMIN_PROHIBITED = 3
_SECONDS = 5.0


def _attribute(kind: int, data: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    size = 4 + len(data)
    return struct.pack("=HH", size, kind) + data + b"\0" * (-size % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">i", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _nested(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | 0x8000, b"".join(attributes))


def _expression(name: str, *attributes: bytes) -> bytes:
    return _nested(1, _text(1, name), _nested(2, *attributes))


def _compare(operator: int, data: bytes) -> bytes:
    return _expression("cmp", _number(1, 1), _number(2, operator), _nested(3, _attribute(1, data)))


def _meta(key: int) -> bytes:
    return _expression("meta", _number(1, 1), _number(2, key))


def _payload(base: int, offset: int, size: int) -> bytes:
    return _expression("payload", _number(1, 1), _number(2, base), _number(3, offset), _number(4, size))


def _masked(mask: bytes) -> bytes:
    zero = _nested(5, _attribute(1, b"\0" * len(mask)))
    return _expression(
        "bitwise", _number(1, 1), _number(2, 1), _number(3, len(mask)), _nested(4, _attribute(1, mask)), zero
    )


def _accept() -> bytes:
    return _expression("immediate", _number(1, 0), _nested(2, _nested(2, _number(1, 1))))


def _reject() -> bytes:
    """Reject with ICMP "administratively prohibited", so that programs fail at once instead of waiting."""
    return _expression("reject", _number(1, 2), _attribute(2, bytes([_ADMIN_PROHIBITED])))


def _goes_to(network: str) -> list[bytes]:
    """Match destinations in an IPv4 or IPv6 network."""
    net = ipaddress.ip_network(network)
    family, offset = (2, 16) if net.version == 4 else (10, 24)
    size = net.max_prefixlen // 8
    return [
        _meta(_META_FAMILY),
        _compare(_EQUAL, bytes([family])),
        _payload(_NETWORK, offset, size),
        _masked(net.netmask.packed),
        _compare(_EQUAL, net.network_address.packed),
    ]


def _asks_dns(protocol: int) -> list[bytes]:
    port = struct.pack(">H", _DNS_PORT)
    return [
        _meta(_META_PROTOCOL),
        _compare(_EQUAL, bytes([protocol])),
        _payload(_TRANSPORT, 2, 2),
        _compare(_EQUAL, port),
    ]


def rules(wish: dict[str, Any]) -> list[Rule]:
    """Build the rules of both chains, as pairs of a chain's name and expressions.

    `wish` holds `bridge`; `open`: whether the public internet may be reached; `allow`: further networks that may be
    reached; `resolvers`: name servers that may be asked.
    """
    name = wish["bridge"].encode().ljust(16, b"\0")
    mask = struct.pack("=I", _ESTABLISHED_OR_RELATED)
    state = _expression("ct", _number(1, 1), _number(2, 0))
    first = [
        [_meta(_META_INTERFACE), _compare(_UNEQUAL, name), _accept()],
        [state, _masked(mask), _compare(_UNEQUAL, b"\0" * 4), _accept()],
        *([*_goes_to(network), _accept()] for network in wish["allow"]),
        *([*_goes_to(one), *_asks_dns(kind), _accept()] for one in wish["resolvers"] for kind in (_UDP, _TCP)),
    ]
    found: list[Rule] = [(chain, expressions) for chain in _HOOKS for expressions in first]
    neighbours = [_meta(_META_PROTOCOL), _compare(_EQUAL, bytes([_ICMPV6])), _payload(_TRANSPORT, 0, 1)]
    neighbours += [_compare(_AT_LEAST, bytes([133])), _compare(_AT_MOST, bytes([136])), _accept()]
    found.append(("to-host", neighbours))  # without neighbour discovery there is no IPv6 at all
    found.append(("to-host", [_reject()]))
    if not wish["open"]:
        return [*found, ("through-host", [_reject()])]
    return found + [("through-host", [*_goes_to(network), _reject()]) for network in BLOCKED]


def stamp(wish: dict[str, Any]) -> str:
    """A fingerprint of the rules. It is part of the chains' names, so the kernel stores it."""
    return hashlib.sha256(repr(rules(wish)).encode()).hexdigest()[:8]


def batch(table: str, wish: dict[str, Any] | None) -> list[tuple[int, int, bytes]]:
    """Build messages that replace the table atomically, or remove it without a `wish`."""
    name = _text(1, table)
    messages = [(_NEW_TABLE, _CREATE, name), (_DELETE_TABLE, 0, name)]
    if wish is None:
        return messages
    messages.append((_NEW_TABLE, _CREATE, name))
    mark = stamp(wish)
    for chain, (hook, priority) in _HOOKS.items():
        place = _nested(4, _number(1, hook), _number(2, priority))
        messages.append(
            (_NEW_CHAIN, _CREATE, name + _text(3, f"{chain}-{mark}") + place + _number(5, 1) + _text(7, "filter"))
        )
    for chain, expressions in rules(wish):
        body = name + _text(2, f"{chain}-{mark}") + _nested(4, *expressions)
        messages.append((_NEW_RULE, _CREATE | _APPEND, body))
    return messages


def _message(kind: int, flags: int, sequence: int, body: bytes, *, family: int = _INET, resource: int = 0) -> bytes:
    content = struct.pack(">BBH", family, 0, resource) + body
    return struct.pack("=IHHII", 16 + len(content), kind, flags, sequence, 0) + content


def _received(kernel: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield the kernel's messages as pairs of type and content."""
    data = kernel.recv(1 << 20)
    while len(data) >= 16:
        size, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:size]
        data = data[(size + 3) & ~3 :]


def _error(content: bytes) -> int:
    (code,) = struct.unpack_from("=i", content)
    return -int(code)


def send(table: str, wish: dict[str, Any] | None) -> None:
    """Replace (or remove) the table. Raises OSError with the kernel's reason."""
    messages = batch(table, wish)
    data = _message(_BATCH_BEGIN, _REQUEST, 0, b"", family=0, resource=_NF_TABLES)
    for number, (kind, flags, body) in enumerate(messages, 1):
        data += _message(_NF_TABLES << 8 | kind, _REQUEST | _ACK | flags, number, body)
    data += _message(_BATCH_END, _REQUEST, len(messages) + 1, b"", family=0, resource=_NF_TABLES)
    with _kernel() as kernel:
        kernel.send(data)
        left = len(messages)
        while left:
            for kind, content in _received(kernel):
                if kind == _ERROR:
                    if code := _error(content):
                        raise OSError(code, os.strerror(code))
                    left -= 1


def is_in_force(table: str, wish: dict[str, Any]) -> bool:
    """Whether the table has exactly these rules."""
    counted = 0
    mark = stamp(wish).encode()
    with _kernel() as kernel:
        kernel.send(_message(_NF_TABLES << 8 | _GET_RULE, _REQUEST | _DUMP, 1, _text(1, table)))
        while True:
            for kind, content in _received(kernel):
                if kind in (_DONE, _ERROR):
                    return counted == len(rules(wish))
                counted += mark in content and table.encode() + b"\0" in content


def _kernel() -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    kernel.settimeout(_SECONDS)
    kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return kernel


def resolvers(text: str) -> list[str]:
    """The name servers of a resolv.conf, except those on the machine's own loopback."""
    found = set()
    for words in map(str.split, text.splitlines()):
        if words[:1] == ["nameserver"] and len(words) > 1:
            try:
                address = ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            if not address.is_loopback:
                found.add(str(address))
    return sorted(found)


def _own_resolvers() -> list[str]:
    try:
        with open("/etc/resolv.conf") as file:  # noqa: PTH123 - Python 3.8's standard library is enough
            return resolvers(file.read())
    except OSError:
        return []


def main(argument: str) -> None:
    """Execute the JSON argument and print the result as JSON.

    `table`: the table's name; "" only prints this machine's resolvers. `wish`: the rules (null removes the table);
    if it wants DNS, this machine's resolvers are added.
    """
    asked = json.loads(argument)
    table, wish = asked["table"], asked["wish"]
    answer: dict[str, Any] = {"error": "", "changed": True, "resolvers": _own_resolvers()}
    try:
        if not table:
            answer["changed"] = False
        elif wish is None:
            send(table, None)
        else:
            wish["resolvers"] = sorted({*wish["resolvers"], *answer["resolvers"]}) if wish["dns"] else []
            answer["changed"] = not is_in_force(table, wish)
            if answer["changed"]:
                send(table, wish)
            if not is_in_force(table, wish):
                answer["error"] = "the kernel accepted the rules but does not have them"
    except OSError as error:
        answer["error"] = f"{errno.errorcode.get(error.errno or 0, 'error')}: {error.strerror or error}"
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
