"""Heads that were read, remembered: the same bytes always mean the same.

A browser sends the same header block again and again on a connection, and a server's answers within one second
often have the same head. Reading strictly, checking, filtering and writing anew are pure functions of its bytes; the
results are kept for the latest heads, bounded in number and in size. What is refused is not kept: it is read anew
each time. Called from the event loop only.
"""

from __future__ import annotations

import functools

from tmpnb_py.core.host_names import hosts_of
from tmpnb_py.proxy import compress, origins
from tmpnb_py.proxy.cors import is_foreign, without_set_cookie
from tmpnb_py.proxy.framing import Fields, MalformedError, read_fields, read_response_head
from tmpnb_py.proxy.header_rules import (
    ClientFacts,
    Headers,
    cookie_values,
    get_all,
    request_headers,
    response_headers,
    serialize_fields,
    wants_websocket,
    with_host,
)
from tmpnb_py.proxy.strictness import check_fields, check_handshake

_MAX_SIZE = 4 * 1024  # bytes of a block or head that is remembered; longer ones are read anew each time
_REMEMBERED = 1024  # of each kind: with what is made of them at most 10 MiB or so


class RequestFields:
    """The headers of a request: what they say of its framing, and how they are passed on.

    Few objects are kept of each block: a memory full of many would cost more, in processor caches, than it saves.
    """

    __slots__ = (
        "_block",
        "_entered",
        "_forwarded",
        "_has_host",
        "authorizes",
        "by_hand",
        "chunked",
        "dest",
        "foreign_origin",
        "has_body",
        "hosts",
        "keep_alive",
        "length",
        "navigates",
        "secure",
        "site",
        "websocket",
    )

    def __init__(self, block: bytes, version: str, method: bytes, scheme: str, trusted: bool) -> None:
        """Read and check a header block. Raises `MalformedError` (`BadRequestError` with a status of its own)."""
        headers = read_fields(block)
        fields = Fields(headers)
        check_fields(version, fields)
        if any(host.endswith(b":") for host in fields.all(b"host")):  # RFC 9110 §4.2.3: the same as without
            headers = with_host(headers, fields.all(b"host")[0].removesuffix(b":"))
            block, fields = serialize_fields(headers) + b"\r\n", Fields(headers)
        self._block = block
        self._has_host = bool(fields.all(b"host"))
        self.hosts = hosts_of(fields.all(b"host"), fields.all(b"x-forwarded-host") if trusted else ())
        self.keep_alive = fields.keep_alive(version)
        self.chunked = fields.is_chunked(version)
        self.length = fields.length() or 0
        self.has_body = self.chunked or self.length > 0
        self.websocket = fields.upgrades and wants_websocket(method, version, headers)
        if self.websocket:
            check_handshake(headers, has_body=self.has_body)
        # Fetch Metadata, §2.2 and §2.4; browsers send it over HTTPS and to loopback only.
        modes = fields.all(b"sec-fetch-mode")
        accepts_html = any(b"text/html" in value for value in fields.all(b"accept"))
        self.navigates = method == b"GET" and (modes == [b"navigate"] if modes else accepts_html)
        self.by_hand = self.navigates and fields.all(b"sec-fetch-user") == [b"?1"]
        pages = fields.all(b"origin")
        forwarded = fields.all(b"x-forwarded-proto") if trusted else []
        self.secure = (forwarded[0].partition(b",")[0].strip().lower() if forwarded else scheme.encode()) == b"https"
        foreign = len(pages) == 1 and is_foreign(pages[0], b"".join(fields.all(b"host")), secure=self.secure)
        self.foreign_origin = pages[0].decode("latin-1") if foreign else ""
        self.site = b"".join(fields.all(b"sec-fetch-site"))
        self.dest = b"".join(fields.all(b"sec-fetch-dest"))
        self.authorizes = bool(fields.all(b"authorization"))
        self._entered: list[bytes] | None = None
        # All but the address, with which the last field ends: it differs from one client to the next.
        somebody = ClientFacts("", scheme=scheme, trusted=trusted)
        self._forwarded = self.written(headers, somebody).removesuffix(b"\r\n")

    @property
    def headers(self) -> Headers:
        """All headers, read again each time: hardly any request that is passed on needs them."""
        return read_fields(self._block)

    @property
    def entered(self) -> list[bytes]:
        """The cookies that let a browser in under a notebook's own host; looked for where somebody asks only."""
        if self._entered is None:
            cookies = get_all(self.headers, b"cookie")
            self._entered = cookie_values(cookies, origins.entry_cookie(secure=self.secure))
        return self._entered

    def forwarded(self, client: ClientFacts) -> bytes:
        """The rest of the head that a container gets, from its second line on."""
        return b"%b%b\r\n\r\n" % (self._forwarded, client.raw_address)

    def written(self, headers: Headers, client: ClientFacts, *, own: bool = False) -> bytes:
        """These headers instead, as they are passed on; each line with its end."""
        passed_on = request_headers(headers, client, websocket=self.websocket, own=own)
        if self.chunked:
            passed_on.insert(0, (b"Transfer-Encoding", b"chunked"))
        if not self._has_host:  # HTTP/1.0
            passed_on.insert(0, (b"Host", b"localhost"))
        return serialize_fields(passed_on)


def request_fields(block: bytes, version: str, method: bytes, client: ClientFacts) -> RequestFields:
    """A request's headers, from the line after the first to the empty line. Raises `MalformedError`."""
    read = RequestFields if len(block) > _MAX_SIZE else _known_request_fields
    return read(block, version, method, client.scheme, client.trusted)


_known_request_fields = functools.lru_cache(_REMEMBERED)(RequestFields)


class AnswerHead:
    """The head of an answer: its status, what it says of the framing, and what of it is passed on."""

    __slots__ = (
        "_compressed",
        "_cookies",
        "_passed_on",
        "_raw",
        "_start_line",
        "announces_body",
        "chunked",
        "compressible",
        "dated",
        "keep_alive",
        "length",
        "status",
    )

    def __init__(self, raw: bytes) -> None:
        """Read one whole head. Raises `MalformedError`."""
        parser, head = read_response_head(raw)
        headers, version = head.headers, parser.get_http_version()
        fields = Fields(headers)
        self.status = parser.get_status_code()
        self.keep_alive = fields.keep_alive(version)
        self.chunked = fields.is_chunked(version)
        self.length = fields.length()
        self.announces_body = fields.announces_body
        if self.status < 200 and self.announces_body:
            raise MalformedError("an interim answer has no body")
        self.compressible = compress.can_be(headers, self.status, self.length)
        self._raw = raw
        self._start_line = b"HTTP/1.1 %d %b\r\n" % (self.status, head.reason)
        self._cookies = bool(fields.all(b"set-cookie"))
        self.dated = bool(fields.all(b"date"))
        # Without cookies the same for all containers.
        self._passed_on = b"" if self._cookies else self._write(response_headers(headers, base_path=b"/"))
        self._compressed = b""

    @property
    def headers(self) -> Headers:
        """All headers, read again each time."""
        return read_response_head(self._raw)[1].headers

    def compressed(self, base_path: bytes | None, *, cookies: bool = True) -> bytes:
        """As `passed_on`, of the answer that is compressed on its way."""
        if self._cookies or not self._compressed:
            headers = response_headers(self._headers(cookies=cookies), base_path=base_path)
            self._compressed = self._write(compress.described(headers, self.status))
        return self._compressed

    def passed_on(self, base_path: bytes | None, *, cookies: bool = True, websocket: bool = False) -> bytes:
        """Start line and headers without those of framing, up to where more can follow; `cookies` may be left out."""
        if base_path is None or self._cookies or websocket:
            headers = self._headers(cookies=cookies)
            return self._write(response_headers(headers, base_path=base_path, websocket=websocket))
        return self._passed_on

    def _headers(self, *, cookies: bool) -> Headers:
        return self.headers if cookies else without_set_cookie(self.headers)

    def _write(self, headers: Headers) -> bytes:
        return self._start_line + serialize_fields(headers)


def answer_head(raw: bytes) -> AnswerHead:
    """The head of an answer, whole. Raises `MalformedError`."""
    return AnswerHead(raw) if len(raw) > _MAX_SIZE else _known_answer_head(raw)


_known_answer_head = functools.lru_cache(_REMEMBERED)(AnswerHead)
