"""Reading a client's requests without I/O: heads, and bodies by their framing.

Everything that arrives here is hostile. `framing` reads it strictly, `strictness` refuses what a proxy must not pass
on. One request is read at a time: what is pipelined stays in `received`, which never holds more than one read,
because reading pauses meanwhile.
"""

from __future__ import annotations

import re

from tmpnb_py.proxy.framing import REQUEST_LINE, ChunkedReader, MalformedError, find_head
from tmpnb_py.proxy.head_cache import request_fields
from tmpnb_py.proxy.header_rules import ClientFacts
from tmpnb_py.proxy.request import Request
from tmpnb_py.proxy.strictness import is_usual, made_usual

_CR = 0x0D
_FILE = re.compile(rb"(?:GET|HEAD) (?:/[^/? ]+){0,9}?/static/[0-9a-f]{32}/[^ ]* HTTP/1\.1\r\n")
_COOKIES = re.compile(rb"(\r\ncookie:)[^\r\n]+", re.IGNORECASE)
_MOST_COOKIES = 1024 * 1024  # bytes; Chromium keeps 180 of 4 KiB for a domain


class RequestReader:
    """Reads one request after another. `received` is what has come and has not been used yet."""

    __slots__ = ("_body_left", "_chunks", "_dropped", "_empty_line", "received")

    def __init__(self) -> None:
        self.received = b""
        self._dropped = 0  # bytes of cookies of the next request
        self._empty_line = False  # whether there was one since the last request
        self._body_left = 0
        self._chunks: ChunkedReader | None = None

    def head(self, client: ClientFacts, max_size: int) -> Request | None:
        """The next request; None where its head has not come whole. Raises `MalformedError`."""
        received = self.received
        while received and received[0] == _CR:
            if not self._skip_empty_line():
                return None
            received = self.received
        if len(received) >= max_size:
            self._drop_cookies_of_files()
            received = self.received
        found = find_head(received, REQUEST_LINE, max_size) if received else None
        if found is None:
            return None
        line, end = found
        block, self.received = received[line.end() : end], received[end:]
        method, target, version = line[1], line[2], line[3].decode()
        if not is_usual(method, target, version):
            target, version, block = made_usual(method, target, version, block)
        request = Request(method, target, version, request_fields(block, version, method, client))
        self._empty_line = False
        self._dropped = 0
        self._body_left = request.fields.length
        self._chunks = ChunkedReader() if request.chunked else None
        return request

    def _drop_cookies_of_files(self) -> None:
        """Forget the cookies of a request for a shared file, which needs none, if they make its head too large.

        A page of another notebook may make any number of them for `/static/` on all hosts of its domain, and no page
        of ours would ever see them. Nothing is kept of what is dropped, and framing does not change: a line's content
        goes, without its end.
        """
        if _FILE.match(self.received) is None or self._dropped > _MOST_COOKIES:
            return
        head, end, rest = self.received.partition(b"\r\n\r\n")
        lighter = _COOKIES.sub(rb"\1", head)
        self._dropped += len(head) - len(lighter)
        self.received = lighter + end + rest

    def skip_line_after_body(self) -> bool:
        """Skip the empty line that old clients send behind a body; False where there is something else."""
        return self.received == b"\r\n" and not self._empty_line and self._skip_empty_line()

    def _skip_empty_line(self) -> bool:
        """RFC 9112 §2.2: an empty line before a request is ignored; more of them are no request's beginning."""
        if self._empty_line or self.received[1:2] not in (b"", b"\n"):
            raise MalformedError("malformed first line")
        if len(self.received) == 1:
            return False
        self._empty_line = True
        self.received = self.received[2:]
        return True

    def body(self, request: Request) -> bytes:
        """What has come of a request's body; the request is `complete` with its end. Raises `MalformedError`."""
        data, self.received = self.received, b""
        if self._chunks is not None:
            data = self._chunks.feed(data)
            request.complete = self._chunks.done
            self.received = self._chunks.rest
            if request.complete:
                self._chunks = None
        else:
            if len(data) > self._body_left:
                data, self.received = data[: self._body_left], data[self._body_left :]
            self._body_left -= len(data)
            request.complete = self._body_left == 0
        return data
