"""Compressing a notebook's static files on their way, for images that do not share theirs.

Called from the event loop. Only below paths that serve files of the image and JupyterLab's settings: an answer that
has a secret in it and something that the client sent, compressed, would give the secret away by its length (BREACH).
Only what is text, has a length, and whose server neither compressed it nor forbids it (RFC 9110 §7.7). It costs CPU
time that all visitors share, so there is a budget for it, and for its memory; beyond that answers pass as they are.
"""

from __future__ import annotations

import re
import time
import weakref
import zlib

from tmpnb_py.core.http_negotiation import accepted_codings, entity_tags
from tmpnb_py.proxy.header_rules import Headers, get_all

MIN_SIZE = 1400  # bytes; less fits a packet anyway
MAX_SIZE = 8 * 1024 * 1024
AT_ONCE = 64  # a quarter of a megabyte each
SHARE = 0.1  # of the event loop's time
BURST = 2.0  # seconds of it at once: some thirty first visits

_LEVEL = 4
_GZIP = 16 + zlib.MAX_WBITS
_PATHS = (
    b"static/",
    b"lab/extensions/",
    b"lab/api/settings",
    b"lab/api/themes/",
    b"lab/api/translations",
    b"nbextensions/",
    b"kernelspecs/",
    b"custom/",
)
_CLIMBING = re.compile(rb"(?:\.|%2e){2}", re.IGNORECASE)
_TYPES = frozenset(
    (
        b"application/javascript",
        b"application/json",
        b"application/vnd.microsoft.icon",
        b"application/wasm",
        b"application/x-javascript",
        b"image/svg+xml",
        b"image/vnd.microsoft.icon",
        b"image/x-icon",
        b"text/css",
        b"text/javascript",
        b"text/plain",
    )
)
# What speaks of the very bytes of the content, or of a part of it.
_ABOUT_THE_BYTES = frozenset(
    (b"content-encoding", b"content-range", b"content-md5", b"content-digest", b"digest", b"repr-digest")
)


class Budget:
    """What compressing may take of a service: `SHARE` of all time, `BURST` seconds and `AT_ONCE` answers at once."""

    def __init__(self, now: float) -> None:
        self._left = BURST
        self._at = now
        self._answers: weakref.WeakSet[Gzip] = weakref.WeakSet()

    def spend(self, seconds: float, now: float) -> None:
        """Add the share of the time that has passed, and subtract what compressing took of it."""
        self._left = min(BURST, self._left + (now - self._at) * SHARE) - seconds
        self._at = now

    def has_some(self, now: float) -> bool:
        """Whether another answer may be compressed."""
        self.spend(0.0, now)
        return self._left > 0 and len(self._answers) < AT_ONCE

    @property
    def answers(self) -> int:
        """How many answers are being compressed."""
        return len(self._answers)

    def begin(self) -> Gzip:
        """Compress an answer; it counts as long as it is referred to."""
        answer = Gzip(self)
        self._answers.add(answer)
        return answer


class Gzip:
    """One answer that is being compressed. Made by `Budget.begin`."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    def feed(self, data: bytes, *, last: bool) -> bytes:
        """What can be sent of the compressed content so far."""
        began = time.monotonic()
        packed = self._stream.compress(data)
        if last:
            packed += self._stream.flush()
        now = time.monotonic()
        self._budget.spend(now - began, now)
        return packed


def can_be(headers: Headers, status: int, length: int | None) -> bool:
    """Whether an answer may be compressed for a client that accepts that; or a 304 be about such an answer."""
    if status == 304:
        return any(not tag.startswith(b"W/") for tag in get_all(headers, b"etag"))
    if status != 200 or length is None or not MIN_SIZE <= length <= MAX_SIZE:
        return False
    types = get_all(headers, b"content-type")
    if len(types) != 1 or types[0].partition(b";")[0].strip().lower() not in _TYPES:
        return False
    if any(name.lower() in _ABOUT_THE_BYTES for name, _ in headers):
        return False
    return not _forbids(headers)


def _forbids(headers: Headers) -> bool:
    """RFC 9111 §5.2.1.6 and §5.2.2.6: a client or a server wants the content as it is."""
    return any(b"no-transform" in value.lower() for value in get_all(headers, b"cache-control"))


def was_given(request: Headers, answer: Headers) -> bool:
    """Whether 304 is about a compressed answer: the client knows it by the tag that `described` has given it."""
    known = entity_tags(_text(request, b"if-none-match"))
    return any(weak(tag).decode("latin-1") in known for tag in get_all(answer, b"etag"))


def is_offered(method: bytes, path: bytes) -> bool:
    """Whether the answer to a request for `path` below the base path depends on `Accept-Encoding`, if it can be."""
    return method in (b"GET", b"HEAD") and path.startswith(_PATHS) and _CLIMBING.search(path) is None


def is_wanted(version: str, headers: Headers) -> bool:
    """Whether a request asks for a compressed answer where one is offered."""
    return (
        version == "1.1"  # the length is not known beforehand
        and _accepts_gzip(headers)
        and not _forbids(headers)
    )


def _accepts_gzip(headers: Headers) -> bool:
    """Whether a client accepts gzip by name, as browsers do. `*` alone may come from one that cannot decompress."""
    return accepted_codings(_text(headers, b"accept-encoding")).get("gzip", 0.0) > 0


def _text(headers: Headers, name: bytes) -> str:
    """A header that is a list, whose elements may have come in several lines."""
    return b", ".join(get_all(headers, name)).decode("latin-1")


def described(headers: Headers, status: int) -> Headers:
    """The headers of the compressed answer: another representation, which has a tag of its own (RFC 9110 §8.8.1).

    304 has the tag of the answer that the client has: it tells a cache which one is meant (RFC 9111 §4.3.4).
    """
    kept = [(name, value) for name, value in headers if name.lower() != b"accept-ranges"]
    kept = [(name, weak(value) if name.lower() == b"etag" else value) for name, value in kept]
    kept.append((b"Vary", b"Accept-Encoding"))
    return kept if status == 304 else [*kept, (b"Content-Encoding", b"gzip")]


def weak(tag: bytes) -> bytes:
    """The weak form of an entity tag: the same content, perhaps not byte for byte (RFC 9110 §8.8.1)."""
    return tag if tag.startswith(b"W/") else b"W/" + tag
