"""Header rules of the proxy, on raw header lists: order and duplicates are kept. Pure; called once per message.

Sources: RFC 9110 §7.6.1 (hop-by-hop), RFC 6265 (cookies), DESIGN decisions 9 and 11.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping, Sequence

Headers = list[tuple[bytes, bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

OWN_COOKIE_PREFIX = b"tmpnb-"

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)

# `Connection: content-length` must not unframe a message, nor `Connection: host` unroute it.
_NEVER_NAMED_BY_CONNECTION = frozenset((b"host", b"content-length", b"cookie", b"set-cookie", b"authorization"))

# What only a trusted proxy may say of the client. Tornado also believes the last three (`trust_xheaders`).
_FORWARDED = frozenset(
    (
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"forwarded",
        b"x-real-ip",
        b"x-scheme",
        b"x-scheme-proto",
    )
)

# What a container must not do to the origin that all notebooks share (decision 11).
_ORIGIN_WIDE = frozenset(
    (
        b"service-worker-allowed",
        b"clear-site-data",
        b"alt-svc",
        b"strict-transport-security",
        b"public-key-pins",
        b"nel",
        b"report-to",
        b"set-cookie2",
    )
)


@dataclasses.dataclass(frozen=True, slots=True)
class ClientFacts:
    """Who is at the other end of a client's connection, as the socket tells it."""

    address: str
    scheme: str = "http"
    trusted: bool = False


def is_trusted(address: str, networks: Iterable[Network]) -> bool:
    """Whether the address belongs to a proxy whose `X-Forwarded-…` headers count."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in networks)


def get_all(headers: Headers, name: bytes) -> list[bytes]:
    """All values of a header; `name` is in lower case."""
    return [value for key, value in headers if key.lower() == name]


def named_by_connection(headers: Headers) -> frozenset[bytes]:
    """The header names that `Connection` makes hop-by-hop in this one message."""
    names = {token.strip().lower() for value in get_all(headers, b"connection") for token in value.split(b",")}
    return frozenset(names) - _NEVER_NAMED_BY_CONNECTION


def wants_websocket(method: bytes, version: str, headers: Headers) -> bool:
    """Whether this is a WebSocket handshake (RFC 6455 §4.1); no other upgrade is passed on."""
    return method == b"GET" and version == "1.1" and is_websocket_upgrade(headers)


def is_websocket_upgrade(headers: Headers) -> bool:
    """Whether a message's head upgrades to WebSocket and to nothing else."""
    upgrades = [value.strip().lower() for value in get_all(headers, b"upgrade")]
    return upgrades == [b"websocket"] and b"upgrade" in named_by_connection(headers)


def request_headers(headers: Headers, client: ClientFacts, *, websocket: bool) -> Headers:
    """What a container (or our own application) gets: end-to-end headers, and who the client is.

    `X-Forwarded-…` are replaced for direct clients and kept or appended to behind a trusted proxy.
    """
    dropped = HOP_BY_HOP | named_by_connection(headers)
    if not client.trusted:
        dropped |= _FORWARDED
    forwarded: Headers = []
    hops: list[bytes] = []
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in dropped:
            continue
        if lower == b"x-forwarded-for":
            hops.append(value)
            continue
        if lower == b"cookie" and OWN_COOKIE_PREFIX in value:
            value = without_own_cookies(value)  # noqa: PLW2901  (the one header that is rewritten)
            if not value:
                continue
        seen[lower] = value
        forwarded.append((name, value))
    hops.append(client.address.encode())
    forwarded.append((b"X-Forwarded-For", b", ".join(hops)))
    forwarded += [(name, value) for name, value in _described(seen, client) if name.lower() not in seen]
    if websocket:
        forwarded += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return forwarded


def _described(seen: Mapping[bytes, bytes], client: ClientFacts) -> Sequence[tuple[bytes, bytes]]:
    """What the client asked for. The port follows what a trusted proxy said of the scheme and the host."""
    scheme = seen.get(b"x-forwarded-proto", client.scheme.encode())
    host = seen.get(b"x-forwarded-host", seen.get(b"host", b""))
    _, colon, port = host.rpartition(b":")
    if not colon or not port.isdigit():
        port = b"443" if scheme.partition(b",")[0].strip().lower() == b"https" else b"80"
    return (
        (b"X-Forwarded-Proto", scheme),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Port", port),
    )


def without_own_cookies(value: bytes) -> bytes:
    """A `Cookie` header without the orchestrator's own cookies; "" where nothing remains."""
    pairs = [pair.strip() for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if pair and not pair.startswith(OWN_COOKIE_PREFIX))


def response_headers(headers: Headers, *, base_path: bytes | None, websocket: bool = False) -> Headers:
    """What the client gets of an answer's headers, framing excepted (the caller writes that).

    `base_path` is the container's own `/user/<id>/`; None for our own application, whose headers are all kept.
    """
    dropped = HOP_BY_HOP | named_by_connection(headers) | {b"content-length"}
    if base_path is not None:
        dropped |= _ORIGIN_WIDE
    kept: Headers = []
    for name, value in headers:
        lower = name.lower()
        if lower == b"set-cookie" and base_path is not None:
            kept.append((name, held_to_path(value, base_path)))
        elif lower not in dropped:
            kept.append((name, value))
    if websocket:
        kept += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return kept


def held_to_path(set_cookie: bytes, base_path: bytes) -> bytes:
    """A container's `Set-Cookie` without `Domain` and with a `Path` within its own base path.

    RFC 6265 §5.2: of several `Path` attributes the last counts, so all are read and one is written.
    """
    pair, *attributes = set_cookie.split(b";")
    path = base_path
    kept = [pair.strip()]
    for attribute in attributes:
        name, _, value = attribute.partition(b"=")
        name, value = name.strip().lower(), value.strip()
        if name == b"path":
            path = value if value.startswith(base_path) and b".." not in value else base_path
        elif name != b"domain":
            kept.append(attribute.strip())
    return b"; ".join([*kept, b"Path=" + path])


def serialize(start_line: bytes, headers: Headers) -> bytes:
    """A message head, from its start line to the empty line."""
    lines = [start_line]
    lines += [b"%b: %b" % header for header in headers]
    lines += (b"", b"")
    return b"\r\n".join(lines)
