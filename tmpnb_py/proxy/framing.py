"""HTTP/1.1 framing without I/O, for both legs (RFC 9112): where a head ends, what it says, and chunked bodies.

llhttp reads each head whole, alone and in a parser of its own, so nothing of one message can leak into the next.
The checks around it refuse what llhttp accepts: RTSP and ICE, bare line feeds, odd white space in the first line,
control characters in a reason, statuses that do not exist, trailers without end.
"""

from __future__ import annotations

import re
from typing import TypeVar

import httptools

from tmpnb_py.proxy.header_rules import Headers

REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9][0-9](?: [\t -~\x80-\xff]*)?\r\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*)?")
_CHUNK_SIZE_BEGINNING = re.compile(rb"[0-9A-Fa-f]{1,15}(?:;[\t -~\x80-\xff]*)?\r?")
# RFC 9110 §6.5.1: what frames a message can't come behind it.
_TRAILER = re.compile(
    rb"(?!(?i:content-length|transfer-encoding|host):)[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*"
)
_MAX_CHUNK_LINE = 4 * 1024
_LAST_CHUNK = b"0\r\n\r\n"
# Thousands of one-letter headers would cost more to read than to send, and aiohttp takes 128 with ours.
MAX_HEADERS = 118
_MAX_LINES = MAX_HEADERS + 2  # of a head: its first line and the empty one
_MAX_LENGTH_DIGITS = 18  # what a signed 64-bit number holds, in whatever the other end is written
_MAX_TRAILERS = 16 * 1024

_Parser = TypeVar("_Parser", httptools.HttpRequestParser, httptools.HttpResponseParser)


class MalformedError(Exception):
    """These bytes are not what HTTP/1.1 allows, or could be read in two ways."""

    status = 400


class HeadTooLargeError(MalformedError):
    """The head is longer than the limit, or already would be."""

    status = 431


class TargetTooLongError(HeadTooLargeError):
    """Not even the first line ends within the limit (RFC 9112 §3)."""

    status = 414


class Head:
    """What llhttp calls back with while it reads one head. Names and values are raw, outer white space removed."""

    __slots__ = ("complete", "headers", "reason")

    def __init__(self) -> None:
        self.reason = b""
        self.headers: Headers = []
        self.complete = False

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def find_head(received: bytes, first_line: re.Pattern[bytes], max_size: int) -> tuple[re.Match[bytes], int] | None:
    """The first line and the size of the head that these bytes begin with; None where its end has not come yet.

    Raises `MalformedError` as soon as it can't become a head any more.
    """
    end = received.find(b"\r\n\r\n", 0, max_size) + 4
    if end >= 4:
        line = first_line.match(received)
        if line is None:
            raise MalformedError("malformed first line")
        if received.count(b"\n", 0, end) > _MAX_LINES:
            raise HeadTooLargeError("too many headers")
        return line, end
    if b"\n" in received:
        if first_line.match(received) is None:
            raise MalformedError("malformed first line")
        if received.count(b"\n") != received.count(b"\r\n"):
            raise MalformedError("a line feed of its own")
    if len(received) >= max_size:
        endless = received.find(b"\n", 0, max_size) < 0
        raise TargetTooLongError("an endless line") if endless else HeadTooLargeError("the head is too large")
    return None


def read_fields(block: bytes) -> Headers:
    """Read a request's headers, from the line after the first to the empty line. Raises `MalformedError`."""
    head = Head()
    _read(httptools.HttpRequestParser(head), head, b"GET / HTTP/1.1\r\n" + block)
    return head.headers


def read_response_head(raw: bytes) -> tuple[httptools.HttpResponseParser, Head]:
    """Read one whole head. Raises `MalformedError`."""
    head = Head()
    return _read(httptools.HttpResponseParser(head), head, raw), head


def _read(parser: _Parser, head: Head, raw: bytes) -> _Parser:
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # llhttp stops there; the rest is not read
    except httptools.HttpParserCallbackError:
        raise  # ours, not theirs
    except httptools.HttpParserError as error:
        raise MalformedError(str(error)) from None
    if not head.complete:
        raise MalformedError("not a whole head")
    if b" \r\n" in raw or b"\t\r\n" in raw:  # llhttp leaves the white space after a value
        head.headers = [(name, value.rstrip(b" \t")) for name, value in head.headers]
    return parser


_OF_FRAMING = frozenset((b"connection", b"content-length", b"transfer-encoding", b"upgrade"))
_OF_OTHERS = frozenset((b"date", b"host", b"origin", b"service-worker", b"set-cookie", b"x-forwarded-host"))
_OF_PEOPLE = frozenset((b"accept", b"sec-fetch-mode", b"sec-fetch-user"))
_OF_ORIGINS = frozenset((b"authorization", b"sec-fetch-dest", b"sec-fetch-site", b"x-forwarded-proto"))
# What a server behind a gateway of environment variables (CGI, WSGI) takes for the same names; and what announces a
# body of eight bytes by its presence (WebSocket before RFC 6455).
_MISTAKABLE = frozenset((b"content_length", b"sec-websocket-key1", b"transfer_encoding"))
_REMEMBERED = _OF_FRAMING | _OF_OTHERS | _OF_PEOPLE | _OF_ORIGINS | _MISTAKABLE


class Fields:
    """The headers that decide a message's route, its end and whether a person caused it, found in one pass."""

    __slots__ = ("_found",)

    def __init__(self, headers: Headers) -> None:
        self._found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            lower = name.lower()
            if lower in _REMEMBERED:
                self._found.setdefault(lower, []).append(value)

    def all(self, name: bytes) -> list[bytes]:
        """All values of one of these headers; `name` is in lower case."""
        return self._found.get(name, [])

    def keep_alive(self, version: str) -> bool:
        """Whether another message may follow on the connection (RFC 9112 §9.3)."""
        tokens = [token.strip().lower() for value in self.all(b"connection") for token in value.split(b",")]
        return b"close" not in tokens and (version == "1.1" or b"keep-alive" in tokens)

    @property
    def mistakable(self) -> bool:
        """Whether a name is there that some servers would read as a framing header."""
        return not _MISTAKABLE.isdisjoint(self._found)

    @property
    def announces_body(self) -> bool:
        """Whether a header announces a body."""
        return b"content-length" in self._found or b"transfer-encoding" in self._found

    @property
    def upgrades(self) -> bool:
        """Whether the message asks for another protocol, or for which one."""
        return b"upgrade" in self._found

    def length(self) -> int | None:
        """The announced length of the body (llhttp has seen to it that there is one, of digits), or None."""
        lengths = self.all(b"content-length")
        if not lengths:
            return None
        digits = lengths[0]
        if len(digits) > _MAX_LENGTH_DIGITS or (digits[0] == 0x30 and digits != b"0"):  # "010" may be 8 to somebody
            raise MalformedError("the length is absurd")
        return int(digits)

    def is_chunked(self, version: str) -> bool:
        """Whether the body is chunked. Raises `MalformedError` for any other transfer coding (RFC 9112 §6.1)."""
        codings = self.all(b"transfer-encoding")
        if codings and (version == "1.0" or [coding.lower() for coding in codings] != [b"chunked"]):
            raise MalformedError("the only transfer coding spoken here is one `chunked`")
        return bool(codings)


def chunk(data: bytes, *, last: bool = False) -> bytes:
    """A piece of a body as a chunk (RFC 9112 §7.1). Nothing for nothing: an empty chunk would be the `last`."""
    piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return piece + _LAST_CHUNK if last else piece


class ChunkedReader:
    """Reads one chunked body (RFC 9112 §7.1). Extensions and trailers are checked, bounded and left out."""

    __slots__ = ("_after_data", "_held", "_in_trailers", "_left", "_trailers_size", "done", "rest")

    def __init__(self) -> None:
        self._held = b""  # the beginning of a line
        self._left = 0  # bytes of the present chunk still to come
        self._after_data = False
        self._in_trailers = False
        self._trailers_size = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in this piece; when `done`, `rest` is what follows. Raises `MalformedError`."""
        data, self._held = self._held + data, b""
        parts: list[bytes] = []
        position = 0
        while position < len(data) and not self.done:
            if self._left > 0:
                part = data[position : position + self._left]
                parts.append(part)
                position += len(part)
                self._left -= len(part)
                self._after_data = self._left == 0
                continue
            end = data.find(b"\r\n", position, position + _MAX_CHUNK_LINE)
            if end < 0:
                self._hold(data[position:])
                break
            self._line(data[position:end])
            position = end + 2
        if self.done:
            self.rest = data[position:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _line(self, line: bytes) -> None:
        if self._after_data:
            if line:
                raise MalformedError("a chunk is longer than it said")
            self._after_data = False
        elif not self._in_trailers:
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise MalformedError("malformed chunk size")
            self._left = int(size.group(1), 16)
            self._in_trailers = self._left == 0
        elif line:
            self._trailers_size += len(line)
            if _TRAILER.fullmatch(line) is None or self._trailers_size > _MAX_TRAILERS:
                raise MalformedError("malformed or endless trailers")
        else:
            self.done = True

    def _hold(self, beginning: bytes) -> None:
        """Keep a line's beginning until its end comes, unless it can't become a line that is expected here."""
        if len(beginning) >= _MAX_CHUNK_LINE:
            raise MalformedError("an endless line in a chunked body")
        if self._after_data:
            possible = beginning == b"\r"
        elif self._in_trailers:
            possible = b"\n" not in beginning
        else:
            possible = _CHUNK_SIZE_BEGINNING.fullmatch(beginning) is not None
        if not possible:
            raise MalformedError("malformed chunked body")
        self._held = beginning
