"""What a proxy must not pass on, though a parser accepts it (RFC 9112 §3.2, §6.1, §11.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tmpnb_py.headers import Headers, wants_websocket
from tmpnb_py.proxy.exchange import Request
from tmpnb_py.proxy.http1 import Fields, MalformedError
from tmpnb_py.routes import is_origin_form

if TYPE_CHECKING:
    import httptools

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")

_MAX_LENGTH_DIGITS = 18  # what a signed 64-bit number holds, in whatever the container is written


class BadRequestError(MalformedError):
    """The request is refused with this status, and the connection closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check(parser: httptools.HttpRequestParser, target: bytes, headers: Headers) -> Request:
    """The request whose head a parser has just completed. Raises `BadRequestError`."""
    method, version = parser.get_method(), parser.get_http_version()
    if version not in ("1.1", "1.0"):
        raise BadRequestError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method == b"CONNECT" or not is_origin_form(target):
        raise BadRequestError(400, "the request's target must be a path")
    fields = Fields(headers)
    _check_host(version, fields.all(b"host"))
    lengths = fields.all(b"content-length")
    if lengths and len(lengths[0]) > _MAX_LENGTH_DIGITS:
        raise BadRequestError(400, "the length is absurd")
    request = Request(
        method=method,
        target=target,
        version=version,
        headers=headers,
        keep_alive=fields.keep_alive(version),
        chunked=fields.is_chunked(version),
        length=int(lengths[0]) if lengths else 0,
        websocket=bool(fields.all(b"upgrade")) and wants_websocket(method, version, headers),
    )
    if request.websocket and request.has_body:
        raise BadRequestError(400, "an upgrade with a body is refused")
    return request


def _check_host(version: str, hosts: list[bytes]) -> None:
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise BadRequestError(400, "exactly one Host header is needed")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadRequestError(400, "the Host header is malformed")
