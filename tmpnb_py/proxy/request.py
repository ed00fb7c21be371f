"""A request as the client sent it, read once."""

from __future__ import annotations

from tmpnb_py.proxy.head_cache import RequestFields
from tmpnb_py.proxy.header_rules import FILES_HOST, PLACE, ClientFacts, Headers, get_all, serialize_fields


class Request:
    """A request as the client sent it. `complete` once the last byte of its body has been read.

    `admitted` says that it comes with a token and goes on without cookies: another site's page, which the operator
    allows, or a program. `token` is shown to the notebook for it, and `files_host` says where the page that it asks
    for finds the files that all notebooks share. `answer_headers` go into whatever answer it gets. `place` is told to
    our own application, and nobody else: it is the same where another process reads the request again.
    """

    __slots__ = (
        "_headers",
        "admitted",
        "answer_headers",
        "complete",
        "fields",
        "files_host",
        "keep_alive",
        "method",
        "place",
        "target",
        "token",
        "version",
    )

    def __init__(self, method: bytes, target: bytes, version: str, fields: RequestFields) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.keep_alive = fields.keep_alive
        self.complete = not fields.has_body
        self.admitted = False
        self.token = b""
        self.files_host = b""
        self.place = ""
        self.answer_headers: Headers = []
        self._headers: Headers | None = None

    @property
    def headers(self) -> Headers:
        """As they came, or as they were rewritten for the notebook."""
        return self.fields.headers if self._headers is None else self._headers

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._headers = headers

    @property
    def foreign_origin(self) -> str:
        """The origin of another site's page that sends it."""
        return self.fields.foreign_origin

    def head(self, target: bytes, client: ClientFacts, *, own: bool) -> bytes:
        """The head that is sent on: to a notebook, or to our `own` application with our own cookies."""
        if own:
            line = b"%b: %b\r\n" % (PLACE, self.place.encode()) if self.place else b""
            written = self.fields.written(self.headers, client, own=True)
            return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (self.method, target, line, written)
        line = b"Authorization: token %b\r\n" % self.token if self.token else b""
        if self.files_host:
            line += b"%b: %b\r\n" % (FILES_HOST, self.files_host)
        if self._headers is None:
            return b"%b %b HTTP/1.1\r\n%b%b" % (self.method, target, line, self.fields.forwarded(client))
        written = self.fields.written(self._headers, client)
        return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (self.method, target, line, written)

    @property
    def as_it_came(self) -> bytes:
        """The head as the client sent it."""
        first = b"%b %b HTTP/%b\r\n" % (self.method, self.target, self.version.encode())
        return first + serialize_fields(self.fields.headers) + b"\r\n"

    @property
    def websocket(self) -> bool:
        """Whether it is a WebSocket handshake."""
        return self.fields.websocket

    @property
    def chunked(self) -> bool:
        """Whether its body is chunked."""
        return self.fields.chunked

    @property
    def has_body(self) -> bool:
        """Whether the head announces a body."""
        return self.fields.has_body

    @property
    def wants_html(self) -> bool:
        """Whether a person's browser is asking for a page."""
        return any(name.lower() == b"accept" and b"text/html" in value for name, value in self.headers)

    @property
    def may_wait_in_line(self) -> bool:
        """Whether it may ask our own application for a notebook, or for the events of a place in line."""
        return self.method == b"POST" or b"text/event-stream" in get_all(self.headers, b"accept")
