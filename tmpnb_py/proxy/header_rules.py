"""Header rules of the proxy, on raw header lists: order and duplicates are kept. Pure; called once per message.

Sources: RFC 9110 §7.6.1 (hop-by-hop), RFC 6265 (cookies), DESIGN decisions 9 and 11.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from tmpnb_py.core import quota_keys

Headers = list[tuple[bytes, bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

OWN_COOKIE_PREFIX = b"tmpnb-"
# Browsers take such a cookie only from its host itself, over TLS, for all paths (RFC 6265bis §4.1.3.2): no page of a
# neighbouring host can make one.
HOST_ONLY = b"__Host-"
_OWN_COOKIES = (OWN_COOKIE_PREFIX, HOST_ONLY + OWN_COOKIE_PREFIX)

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

# Ours to a notebook's server, for a page under its own host (docs/image.md). Clients' own are dropped.
FILES_HOST = b"X-Tmpnb-Static-Host"

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
        # Which other sites may read a notebook is the operator's decision (`cors`).
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-allow-private-network",
        b"access-control-expose-headers",
        b"access-control-max-age",
        b"timing-allow-origin",
        # A page of ours that a notebook opens is in a window of its own only if the notebook's does not say so, too.
        b"cross-origin-opener-policy",
        b"cross-origin-opener-policy-report-only",
        # What browsers keep for the whole origin.
        b"accept-ch",
        b"use-as-dictionary",
        b"origin-agent-cluster",
        b"critical-ch",
        b"set-login",
        b"sec-session-registration",
        b"secure-session-registration",
        # Orders to a web server in front of this one: files and addresses to serve instead.
        b"x-accel-redirect",
        b"x-accel-expires",
        b"x-accel-charset",
        b"x-accel-limit-rate",
        b"x-sendfile",
        b"x-lighttpd-send-file",
        b"x-lighttpd-send-tempfile",
        b"x-reproxy-url",
        # Replaced: an address below /user/ is a capability, and no other notebook may learn it.
        b"referrer-policy",
    )
)

_ORIGIN = re.compile(rb"https?://[^/?#\s]+")
PLACE = b"X-Tmpnb-Place"  # under which our own application keeps a visitor who waits with an open request
# W3C Trace Context and Baggage. A trusted proxy's are the operator's: our own application takes part in that trace,
# and no notebook is told of it, as what runs there is anybody's. A visitor's own mean nothing to us, and go on to
# their notebook as any other header does.
_TRACE = frozenset((b"traceparent", b"tracestate", b"baggage"))
_DROPPED_ALWAYS = HOP_BY_HOP | {FILES_HOST.lower(), PLACE.lower()}
# By whether a trusted proxy has sent them, and whether they are for our own application.
_DROPPED = {
    (True, True): _DROPPED_ALWAYS,
    (True, False): _DROPPED_ALWAYS | _TRACE,
    (False, True): _DROPPED_ALWAYS | _FORWARDED | _TRACE,
    (False, False): _DROPPED_ALWAYS | _FORWARDED,
}
_DROPPED_OF_OWN_ANSWERS = HOP_BY_HOP | {b"content-length"}
_DROPPED_OF_CONTAINERS = _DROPPED_OF_OWN_ANSWERS | _ORIGIN_WIDE


@dataclasses.dataclass(frozen=True, slots=True)
class ClientFacts:
    """Who is at the other end of a client's connection, as the socket tells it."""

    address: str
    scheme: str = "http"
    trusted: bool = False
    raw_address: bytes = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw_address", self.address.encode())


def is_trusted(address: str, networks: Iterable[Network]) -> bool:
    """Whether the address belongs to a proxy whose `X-Forwarded-…` headers count."""
    found = quota_keys.read(address)
    return found is not None and any(found in network for network in networks)


def get_all(headers: Headers, name: bytes) -> list[bytes]:
    """All values of a header; `name` is in lower case."""
    return [value for key, value in headers if key.lower() == name]


def with_host(headers: Headers, authority: bytes) -> Headers:
    """These headers with this `Host` in place of whatever they have."""
    return [(b"Host", authority), *(header for header in headers if header[0].lower() != b"host")]


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


def request_headers(headers: Headers, client: ClientFacts, *, websocket: bool, own: bool = False) -> Headers:
    """What a container (or our own application) gets: end-to-end headers, and who the client is.

    `X-Forwarded-…` are replaced for direct clients and kept or appended to behind a trusted proxy. Our own cookies
    are for our `own` application only, and so is which page a request comes from: another notebook's, perhaps. One
    line of cookies goes on, and to our own application one line of each header: most readers look at the first only.
    """
    dropped = _with(_DROPPED[client.trusted, own], named_by_connection(headers))
    forwarded: Headers = []
    hops: list[bytes] = []
    seen: dict[bytes, bytes] = {}
    several = False
    for name, value in headers:
        lower = name.lower()
        if lower in dropped:
            continue
        if lower == b"x-forwarded-for":
            hops.append(value)
            continue
        if not own and (lower == b"referer" or (lower == b"cookie" and OWN_COOKIE_PREFIX in value)):
            value = without_own_cookies(value) if lower == b"cookie" else origin_of(value)  # noqa: PLW2901
            if not value:
                continue
        several = several or (lower in seen and (own or lower == b"cookie"))
        seen[lower] = value
        forwarded.append((name, value))
    if several:
        forwarded = combined(forwarded, None if own else b"cookie")
    if websocket:
        forwarded += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    forwarded += [(name, value) for name, value in _described(seen, client) if name.lower() not in seen]
    hops.append(client.raw_address)
    forwarded.append((b"X-Forwarded-For", b", ".join(hops)))  # last: so all before it is the same for all clients
    return forwarded


def _with(dropped: frozenset[bytes], named: frozenset[bytes]) -> frozenset[bytes]:
    """Both; nearly always `Connection` names nothing that is not dropped anyway."""
    return dropped if named <= dropped else dropped | named


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


def combined(headers: Headers, only: bytes | None = None) -> Headers:
    """The lines of each name joined at the place of the first (RFC 9110 §5.3; of cookies RFC 9113 §8.2.3).

    `only` is the one name that this is done for, in lower case. A header that may occur only once is
    invalid when it is joined, and so has no effect.
    """
    lines: dict[object, tuple[bytes, list[bytes]]] = {}
    for number, (name, value) in enumerate(headers):
        lower = name.lower()
        lines.setdefault(lower if only in (None, lower) else number, (name, []))[1].append(value)
    return [
        (name, (b"; " if name.lower() == b"cookie" else b", ").join(filter(None, values)))
        for name, values in lines.values()
    ]


def without_own_cookies(value: bytes) -> bytes:
    """A `Cookie` header without the orchestrator's own cookies; "" where nothing remains."""
    pairs = [pair.strip() for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if pair and not pair.startswith(_OWN_COOKIES))


def cookie_values(cookies: Iterable[bytes], name: bytes) -> list[bytes]:
    """All values that a cookie has: of several, anybody may have made all but one."""
    pairs = (pair.strip().partition(b"=") for line in cookies for pair in line.split(b";"))
    return [value for key, _, value in pairs if key == name]


def origin_of(referer: bytes) -> bytes:
    """A `Referer` without its path, which is a capability below /user/ (RFC 9110 §10.1.3); "" where it has none."""
    found = _ORIGIN.match(referer)
    return b"" if found is None else found[0] + b"/"


def response_headers(headers: Headers, *, base_path: bytes | None, websocket: bool = False) -> Headers:
    """What the client gets of an answer's headers, framing excepted (the caller writes that).

    `base_path` is the container's own `/user/<id>/`; None for our own application, whose headers are all kept.
    """
    dropped = _DROPPED_OF_OWN_ANSWERS if base_path is None else _DROPPED_OF_CONTAINERS
    dropped = _with(dropped, named_by_connection(headers))
    kept: Headers = []
    for name, value in headers:
        lower = name.lower()
        if lower == b"set-cookie" and base_path is not None:
            kept.append((name, held_to_path(value, base_path)))
        elif lower not in dropped:
            kept.append((name, value))
    if base_path is not None:
        kept.append((b"Referrer-Policy", b"strict-origin"))
    if websocket:
        kept += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return kept


def held_to_path(set_cookie: bytes, base_path: bytes) -> bytes:
    """A container's `Set-Cookie` without `Domain` and with a `Path` within its own base path.

    RFC 6265 §5.2: of several `Path` attributes the last counts, so all are read and one is written. One that does not
    say `SameSite` gets `Lax`, which not every browser takes for the default.
    """
    pair, *attributes = set_cookie.split(b";")
    path, says_same_site = base_path, False
    kept = [pair.strip()]
    for attribute in attributes:
        name, _, value = attribute.partition(b"=")
        name, value = name.strip().lower(), value.strip()
        if name == b"path":
            path = value if value.startswith(base_path) and b".." not in value else base_path
        elif name != b"domain":
            says_same_site = says_same_site or name == b"samesite"
            kept.append(attribute.strip())
    return b"; ".join([*kept, *(() if says_same_site else (b"SameSite=Lax",)), b"Path=" + path])


def serialize(start_line: bytes, headers: Headers) -> bytes:
    """A message head, from its start line to the empty line."""
    return b"%b\r\n%b\r\n" % (start_line, serialize_fields(headers))


def serialize_fields(headers: Headers) -> bytes:
    """The header lines, each with its end."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])
