"""What a proxy must not pass on, though a parser accepts it (RFC 9112 §3.2, §6.1, §11.2)."""

from __future__ import annotations

import base64
import hashlib
import re

from tmpnb_py.core.host_names import is_authority
from tmpnb_py.proxy.framing import Fields, MalformedError, read_fields
from tmpnb_py.proxy.header_rules import Headers, get_all, is_websocket_upgrade, serialize_fields, with_host

_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?#@]+)((?:[/?][!\"$-~]*)?)")
_ORIGIN_FORM = re.compile(rb"/[!\"$-~]*")  # no fragment

# RFC 6455 §1.3, and §4.1: 16 random bytes in base64.
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_WEBSOCKET_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")


class BadRequestError(MalformedError):
    """The request is refused with this status, and the connection closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


# Those of RFC 9110 and 5789, but for CONNECT and TRACE, and of WebDAV (RFC 4918, 3253, 5323).
METHODS = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS PATCH PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH".split()
)
_REFUSED_METHODS = frozenset((b"CONNECT", b"TRACE"))


def is_origin_form(target: bytes) -> bool:
    """Whether a request's target has the usual form (RFC 9112 §3.2.1): `/path?query`."""
    return _ORIGIN_FORM.fullmatch(target) is not None


def split_absolute(target: bytes) -> tuple[bytes, bytes] | None:
    """The authority of a target in absolute form (RFC 9112 §3.2.2), and what follows it; None for any other form.

    A user's name before the host is refused (RFC 9110 §4.2.4): it is there to deceive.
    """
    found = _ABSOLUTE_FORM.fullmatch(target)
    return None if found is None else (found[1], found[2])


def is_usual(method: bytes, target: bytes, version: str) -> bool:
    """Whether a first line says what nearly all do; `made_usual` is for the others."""
    return method in METHODS and version in ("1.1", "1.0") and is_origin_form(target)


def made_usual(method: bytes, target: bytes, version: str, block: bytes) -> tuple[bytes, str, bytes]:
    """The target, the version and the headers of a request in a rarer form, as the usual form has them.

    Of the four forms of a target (RFC 9112 §3.2) the absolute one means the path in it, and its host instead of the
    one in `Host`; the asterisk is left as it is; the authority is CONNECT's. A later HTTP/1.x is read as HTTP/1.1
    (RFC 9110 §2.5). Raises `MalformedError`.
    """
    if version[0] != "1":
        raise BadRequestError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    version = min(version, "1.1")
    known = method.upper()  # "head" is no method of anybody's, and must not be taken for HEAD by a careless server
    if known in _REFUSED_METHODS or (known in METHODS and method != known):
        raise BadRequestError(501, "a method that is not passed on")
    if is_origin_form(target) or (target, method) == (b"*", b"OPTIONS"):
        return target, version, block
    parts = split_absolute(target)
    if parts is None:
        raise BadRequestError(400, "the request's target must be a path, or a whole http URL")
    authority, path = parts
    if not path.startswith(b"/"):
        path = b"*" if not path and method == b"OPTIONS" else b"/" + path
    headers = read_fields(block)
    _check_host(version, get_all(headers, b"host"))
    return path, version, serialize_fields(with_host(headers, authority)) + b"\r\n"


def check_handshake(headers: Headers, *, has_body: bool) -> None:
    """RFC 6455 §4.2.1: refuse an upgrade that is no WebSocket handshake."""
    if has_body:
        raise BadRequestError(400, "an upgrade with a body is refused")
    keys = get_all(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _WEBSOCKET_KEY.fullmatch(keys[0]):
        raise BadRequestError(400, "a WebSocket handshake has one key of 16 bytes")
    if get_all(headers, b"sec-websocket-version") != [b"13"]:
        raise BadRequestError(426, "the only version of WebSocket spoken here is 13")


def accepts_handshake(request: Headers, answer: Headers) -> bool:
    """RFC 6455 §4.1: a server that understands the handshake proves it by what it makes of the client's key."""
    (key,) = get_all(request, b"sec-websocket-key")
    made = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest())
    return is_websocket_upgrade(answer) and get_all(answer, b"sec-websocket-accept") == [made]


def check_fields(version: str, fields: Fields) -> None:
    """Demand one well-formed `Host`, no header that some servers take for one of framing, no service worker's script.

    A worker answers for its notebook's pages with headers of its own choice, behind the back of this proxy, also when
    the notebook has ended. Browsers name the request for its script (Service Workers §"Update", `Service-Worker`).
    """
    _check_host(version, fields.all(b"host"))
    if fields.mistakable:
        raise BadRequestError(400, "a header that some servers take for one of framing")
    if fields.all(b"service-worker"):
        raise BadRequestError(403, "a service worker would outlive its notebook in the visitor's browser")


def _check_host(version: str, hosts: list[bytes]) -> None:
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise BadRequestError(400, "exactly one Host header is needed")
    if hosts and not is_authority(hosts[0]):
        raise BadRequestError(400, "the Host header is malformed")
