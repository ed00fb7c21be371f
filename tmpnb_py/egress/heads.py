"""What of a notebook's plain HTTP request goes on to the web server, and of its answer back. Pure.

h11 has parsed both strictly, and writes both anew: no byte of a head is passed on as it came. Each request gets a
connection of its own, which ends with it, so neither side can leave the beginning of another message behind
(request smuggling), and what cannot be read in one way only is refused.
"""

from __future__ import annotations

import h11

from tmpnb_py.core.web_targets import Target
from tmpnb_py.egress.policy import RefusedError, target_of

Headers = list[tuple[bytes, bytes]]

_HTTP = b"http://"
_HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"upgrade",
    )
)  # fmt: skip
_NOT_FORWARDED = (b"TRACE", b"PRI")


def tunnel_target(request: h11.Request) -> Target:
    """The target of a CONNECT (RFC 9110 §9.3.6). Raises `RefusedError`."""
    return target_of(request.target.decode("latin-1"))


def split(request: h11.Request) -> tuple[Target, bytes]:
    """The target and the origin form of a request with an absolute one (RFC 9112 §3.2.2). Raises `RefusedError`."""
    raw = bytes(request.target)
    if raw[: len(_HTTP)].lower() != _HTTP or request.method in _NOT_FORWARDED:
        raise RefusedError(400, "malformed", "this is a proxy for http:// URLs and CONNECT")
    rest = raw[len(_HTTP) :]
    end = next((at for at, byte in enumerate(rest) if byte in b"/?#"), len(rest))
    path = rest[end:].partition(b"#")[0]
    if not path.startswith(b"/"):
        path = b"/" + path
    return target_of(rest[:end].decode("latin-1"), 80), path


def forwarded(request: h11.Request, target: Target, path: bytes) -> h11.Request:
    """The request for the web server. Its `Host` is the URL's, whatever the notebook wrote. Raises `RefusedError`."""
    names = [name for name, _ in request.headers]
    hosts = [value.decode("latin-1") for name, value in request.headers if name == b"host"]
    if not hosts and request.http_version == b"1.0":
        hosts = [str(target)]
    if len(hosts) != 1 or target_of(hosts[0], 80) != target:
        raise RefusedError(400, "malformed", "the Host of the request is not the URL's")
    if b"content-length" in names and b"transfer-encoding" in names:
        raise RefusedError(400, "malformed", "the length of the request is told in two ways")
    host = str(target) if target.port != 80 else str(target).rpartition(":")[0]
    kept = [pair for pair in _end_to_end(request) if pair[0].lower() not in (b"host", b"expect")]
    headers = [(b"Host", host.encode()), *kept, (b"Connection", b"close")]
    return h11.Request(method=request.method, target=path, headers=headers)


def returned(response: h11.Response) -> h11.Response:
    """The answer for the notebook."""
    headers = _end_to_end(response)
    if any(name.lower() == b"transfer-encoding" for name, _ in headers):  # it overrides a length (RFC 9112 §6.3)
        headers = [pair for pair in headers if pair[0].lower() != b"content-length"]
    return h11.Response(status_code=response.status_code, reason=response.reason, headers=headers)


def _end_to_end(message: h11.Request | h11.Response) -> Headers:
    """The headers without those that are between two neighbours only (RFC 9110 §7.6.1)."""
    lists = [value for name, value in message.headers if name == b"connection"]
    named = {one.strip().lower() for value in lists for one in value.split(b",")}
    dropped = (_HOP_BY_HOP | named) - {b"transfer-encoding", b"content-length", b"host"}
    return [(name, value) for name, value in message.headers.raw_items() if name.lower() not in dropped]
