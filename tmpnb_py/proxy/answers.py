"""The proxy's own answers, for when it has none from a container to pass on."""

from __future__ import annotations

import dataclasses
import email.utils
import functools
import re
import time
from typing import Protocol

from tmpnb_py.proxy.header_rules import Headers, get_all, serialize
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
    """Makes the body of an error that the proxy answers itself. `languages` is the request's `Accept-Language`."""

    def __call__(self, status: int, *, wants_html: bool, languages: str) -> Page: ...


def date() -> bytes:
    """The value of `Date`, which has to be in each answer (RFC 9110 §6.6.1)."""
    return _http_date(int(time.time()))


@functools.lru_cache(1)
def _http_date(second: int) -> bytes:
    return email.utils.formatdate(second, usegmt=True).encode()


_COOKIES = re.compile(rb"\r\ncookie:[^\r\n]{%d}" % _MANY, re.IGNORECASE)
_COOKIE_LINE = re.compile(rb"\r\ncookie:([^\r\n]*)", re.IGNORECASE)
_COOKIE_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_HOST = re.compile(rb"\r\nhost:[ \t]*([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+){1,9})(?::[0-9]*)?[ \t]*\r\n", re.IGNORECASE)
_WANTS_PAGE = re.compile(rb"\r\naccept:[^\r\n]*text/html", re.IGNORECASE)
_PATH = re.compile(rb"[A-Z]+ (/[!-:<>-~]*)")  # a `;` would end the attribute
_LONGEST_LANGUAGES = 1000
_LANGUAGES = re.compile(rb"\r\naccept-language:([^\r\n]{0,%d})\r\n" % _LONGEST_LANGUAGES, re.IGNORECASE)
_MOST_EXPIRED = 128 * 1024  # bytes of headers; browsers take twice as many


def is_overflow(status: int, received: bytes) -> bool:
    """Whether a head is too large for its cookies, by what has come of it."""
    return status == 431 and _COOKIES.search(received) is not None


def expired(received: bytes) -> Headers:
    """Headers that take away what pages of neighbouring hosts have put into a head that is too large for it.

    A neighbour's cookie for this host has a domain, and ours and notebooks' have none: with one, only the others are
    meant (RFC 6265 §5.3, step 11). By which of the domains above and of the paths is not told, so each is tried.
    For what a page asks for only: with a page itself go cookies that its script sees, and takes away.
    """
    host, target = _HOST.search(received), _PATH.match(received)
    if host is None or target is None or _WANTS_PAGE.search(received):
        return []
    labels, parts = host[1].split(b"."), target[1].partition(b"?")[0].split(b"/")[:12]
    domains = [b".".join(labels[start:]) for start in range(1, len(labels) - 1)]
    paths = [b"/"]
    for end in range(2, len(parts) + 1):
        path = b"/".join(parts[:end])
        paths += [path, path + b"/"]
    names = dict.fromkeys(
        pair.partition(b"=")[0].strip() for line in _COOKIE_LINE.findall(received) for pair in line.split(b";")
    )
    headers: Headers = []
    left = _MOST_EXPIRED
    for name in filter(_COOKIE_NAME.fullmatch, names):
        made = [b"%b=; Max-Age=0; Path=%b; Domain=%b" % (name, path, domain) for path in paths for domain in domains]
        left -= sum(len(one) + len("Set-Cookie: \r\n") for one in made)
        if left < 0:
            break  # fewer are left for the next request
        headers += [(b"Set-Cookie", one) for one in made]
    return headers


def _languages(request: Request | None, overflow: bytes) -> str:
    """`Accept-Language` of a request, or of what has come of one."""
    if request is not None:
        return b", ".join(get_all(request.headers, b"accept-language")).decode("latin-1")[:_LONGEST_LANGUAGES]
    found = _LANGUAGES.search(overflow)
    return found[1].decode("latin-1") if found else ""


def last_answer(status: int, request: Request | None, error_page: ErrorPage, *, overflow: bytes = b"") -> bytes:
    """An answer after which the connection closes. `request` is None where none could be read.

    `overflow`: what has come of the head of a browser with too many cookies. They are taken away.
    """
    wants_html = bool(overflow) or (request is not None and request.wants_html)
    page = error_page(status, wants_html=wants_html, languages=_languages(request, overflow))
    headers = [
        (b"Content-Type", page.content_type),
        (b"Content-Length", b"%d" % len(page.body)),
        (b"Cache-Control", b"no-store"),
        (b"Date", date()),
        *page.headers,
        *expired(overflow),
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
