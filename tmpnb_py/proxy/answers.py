"""The proxy's own answers, for when it has none from a container to pass on."""

from __future__ import annotations

import dataclasses
import email.utils
import functools
import re
import time
from typing import Protocol

from tmpnb_py.proxy.header_rules import serialize
from tmpnb_py.proxy.request import Request

_REASONS = {
    400: b"Bad Request",
    403: b"Forbidden",
    408: b"Request Timeout",
    414: b"URI Too Long",
    426: b"Upgrade Required",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}


_MANY = 4096  # bytes of cookies that no page of ours makes


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A ready-made answer's body."""

    content_type: bytes
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class ErrorPage(Protocol):
    """Makes the body of an error that the proxy answers itself."""

    def __call__(self, status: int, *, wants_html: bool) -> Page: ...


def date() -> bytes:
    """The value of `Date`, which has to be in each answer (RFC 9110 §6.6.1)."""
    return _http_date(int(time.time()))


@functools.lru_cache(1)
def _http_date(second: int) -> bytes:
    return email.utils.formatdate(second, usegmt=True).encode()


_COOKIES = re.compile(rb"\r\ncookie:[^\r\n]{%d}" % _MANY, re.IGNORECASE)


def is_overflow(status: int, received: bytes) -> bool:
    """Whether a head is too large for its cookies, by what has come of it."""
    return status == 431 and _COOKIES.search(received) is not None


def last_answer(status: int, request: Request | None, error_page: ErrorPage, *, overflow: bool = False) -> bytes:
    """An answer after which the connection closes. `request` is None where none could be read.

    `overflow`: the client is a browser with too many cookies; the page for it takes them away.
    """
    page = error_page(status, wants_html=overflow or (request is not None and request.wants_html))
    headers = [
        (b"Content-Type", page.content_type),
        (b"Content-Length", b"%d" % len(page.body)),
        (b"Cache-Control", b"no-store"),
        (b"Date", date()),
        *page.headers,
    ]
    if status == 426:  # RFC 6455 §4.4
        headers += [(b"Connection", b"close, Upgrade"), (b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")]
    else:
        headers.append((b"Connection", b"close"))
    if status in (502, 503, 504):
        headers.append((b"Retry-After", b"5"))
    if request is not None:
        headers += request.answer_headers
    head = serialize(b"HTTP/1.1 %d %b" % (status, _REASONS[status]), headers)
    return head if request is not None and request.method == b"HEAD" else head + page.body
