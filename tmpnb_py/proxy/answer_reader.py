"""Reading a server's answer and making of it what the client gets, without I/O: the head anew, the body re-framed.

What a container sends is hostile. Heads are read strictly, chunks are re-framed, a body with a length is counted; so
no malformed or second answer can leak into anybody's response. `upstream` has one reader per connection.
"""

from __future__ import annotations

import enum
import time

from tmpnb_py.proxy import compress
from tmpnb_py.proxy.answers import date
from tmpnb_py.proxy.exchange import Exchange
from tmpnb_py.proxy.framing import STATUS_LINE, ChunkedReader, MalformedError, chunk, find_head
from tmpnb_py.proxy.head_cache import AnswerHead, answer_head
from tmpnb_py.proxy.header_rules import serialize_fields
from tmpnb_py.proxy.request import Request
from tmpnb_py.proxy.strictness import accepts_handshake

_MAX_HEADS = 64 * 1024  # bytes of one answer's head with all its interim ones


class Framing(enum.Enum):
    """How the body of an answer ends (RFC 9112 §6.3)."""

    NONE = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    CLOSE = enum.auto()


class AnswerReader:
    """Reads one answer after another. `framing` is None until the final head of the present one has come.

    `switched` says that the head was a 101 (RFC 6455 §4.2.2): what follows it is no HTTP any more. `keep_alive` says
    whether the server lets another request follow.
    """

    __slots__ = (
        "_budget",
        "_chunk_output",
        "_chunks",
        "_gzip",
        "_heads_size",
        "_left",
        "_received",
        "framing",
        "keep_alive",
        "status",
        "switched",
    )

    def __init__(self, budget: compress.Budget) -> None:
        self._budget = budget
        self.reset()

    def reset(self) -> None:
        """Forget the last answer."""
        self._received = b""  # the beginning of a head
        self._heads_size = 0
        self._left = 0
        self._chunks: ChunkedReader | None = None
        self._chunk_output = False
        self._gzip: compress.Gzip | None = None
        self.framing: Framing | None = None
        self.status = 0
        self.switched = False
        self.keep_alive = False

    def read_heads(self, exchange: Exchange, data: bytes, out: list[bytes]) -> bytes:
        """Read interim answers and the final head. What follows it is returned, an incomplete one kept.

        What the client gets is appended to `out`. Raises `MalformedError`.
        """
        received = self._received + data if self._received else data
        while self.framing is None:
            found = find_head(received, STATUS_LINE, _MAX_HEADS - self._heads_size)
            if found is None:
                self._received = received
                return b""
            end = found[1]
            self._heads_size += end
            head, received = answer_head(received[:end]), received[end:]
            if head.status >= 200:
                self.status = head.status
                out.append(self._framed(exchange, head))
            elif head.status == 101:
                out += _switched(exchange, head)
                self.switched = True
                break
            elif exchange.request.version == "1.1":  # RFC 9110 §15.2: HTTP/1.0 knows no interim answers
                out.append(head.passed_on(exchange.base_path, cookies=not exchange.request.admitted) + b"\r\n")
        self._received = b""
        return received

    def _framed(self, exchange: Exchange, head: AnswerHead) -> bytes:
        """The final answer's head, and how its body is read and written (RFC 9112 §6.3)."""
        request, status, length = exchange.request, head.status, head.length
        framing = b""
        self.keep_alive = head.keep_alive
        offered = head.compressible and _may_be_compressed(exchange)
        compressed = offered and self._is_compressed(request, head)
        if length is not None and status != 204 and not compressed:
            framing = b"Content-Length: %d\r\n" % length
        if request.method == b"HEAD" or status in (204, 304):
            self.framing = Framing.NONE
            if head.chunked or (length and status == 204):
                self.keep_alive = False  # what announces a body here may well send one
        elif length is not None:
            self._left = length
            self.framing = Framing.LENGTH if length else Framing.NONE
            if compressed:
                self._gzip, self._chunk_output = self._budget.begin(), True
                framing = b"Transfer-Encoding: chunked\r\n"
        else:
            self.framing = Framing.CHUNKED if head.chunked else Framing.CLOSE
            self._chunks = ChunkedReader() if head.chunked else None
            self._chunk_output = request.version == "1.1"
            if self._chunk_output:
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                request.keep_alive = False  # HTTP/1.0 reads such a body up to the end of the connection
        if offered and not compressed and status == 200:
            framing += b"Vary: Accept-Encoding\r\n"
        framing += _added(exchange, head)
        passed_on = head.compressed if compressed else head.passed_on
        return b"%b%b\r\n" % (passed_on(exchange.base_path, cookies=not request.admitted), framing)

    def _is_compressed(self, request: Request, head: AnswerHead) -> bool:
        if head.status == 304:
            return compress.was_given(request.headers, head.headers)
        return compress.is_wanted(request.version, request.headers) and self._budget.has_some(time.monotonic())

    def read_body(self, data: bytes, out: list[bytes]) -> tuple[bool, bytes]:
        """Whether the body is complete, and what came after it. What the client gets is appended to `out`."""
        framing = self.framing
        if framing is Framing.NONE:
            return True, data
        done, rest = False, b""
        if framing is Framing.LENGTH:
            data, rest = (data[: self._left], data[self._left :]) if len(data) > self._left else (data, b"")
            self._left -= len(data)
            done = self._left == 0
        elif self._chunks is not None:
            data = self._chunks.feed(data)
            done, rest = self._chunks.done, self._chunks.rest
        if self._gzip is not None:
            data = self._gzip.feed(data, last=done)
        if data:
            out.append(chunk(data) if self._chunk_output else data)
        if done and self._chunk_output:
            out.append(chunk(b"", last=True))
        return done, rest

    def closed(self) -> bytes | None:
        """The server has closed: what is left to send where that ends its answer, None where it breaks it off."""
        if self.framing is not Framing.CLOSE:
            return None
        return chunk(b"", last=True) if self._chunk_output else b""


def _switched(exchange: Exchange, head: AnswerHead) -> tuple[bytes, ...]:
    """The head of a 101 for a client that asked for it; what the server sent behind it may follow."""
    request = exchange.request
    if not request.websocket or not accepts_handshake(request.headers, head.headers):
        raise MalformedError("an upgrade that nobody asked for")
    kept = head.passed_on(exchange.base_path, cookies=not request.admitted, websocket=True)
    return kept, serialize_fields(request.answer_headers), b"\r\n"


def _added(exchange: Exchange, head: AnswerHead) -> bytes:
    """Our own headers of the final answer, whatever its framing."""
    request, added = exchange.request, b""
    if exchange.client.will_close(request):
        added = b"Connection: close\r\n"
    elif request.version == "1.0":
        added = b"Connection: keep-alive\r\n"
    if not head.dated:
        added += b"Date: %b\r\n" % date()
    if request.answer_headers:
        added += serialize_fields(request.answer_headers)
    return added


def _may_be_compressed(exchange: Exchange) -> bool:
    """Whether a request is for something that is compressed on its way, if it can be."""
    request, base_path = exchange.request, exchange.base_path
    if base_path is None or not request.target.startswith(base_path):
        return False
    return compress.is_offered(request.method, request.target.removeprefix(base_path))
