"""Spans of what a visitor asks their notebook for, while the beginning of the session is traced (`tracing.visits`).

Names and attributes follow OpenTelemetry's semantic conventions for HTTP. A path says what somebody reads and may
hold a token, so a span has only what kind of path it is. What a visitor or a notebook sends decides nothing but how
long their own spans are, and how many there are at most.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tmpnb_py.core.links import SESSION_ROUTE
from tmpnb_py.pools import activity
from tmpnb_py.proxy.frames import MessageReader
from tmpnb_py.proxy.header_rules import ClientFacts, get_all
from tmpnb_py.proxy.strictness import METHODS
from tmpnb_py.tracing.context import SpanContext, only_traceparent
from tmpnb_py.tracing.spans import Kind, Span
from tmpnb_py.tracing.visits import Visit

if TYPE_CHECKING:
    from tmpnb_py.pools.container import Container
    from tmpnb_py.proxy.request import Request

_MOST_MESSAGES = 1000  # of a kernel that are looked at until there is output
# The places below a notebook's base path that Jupyter's own pages ask for; all others are one.
_PLACES = (
    (re.compile(rb"api/kernels/[^/]+/channels"), "api/kernels/{kernel}/channels"),
    (re.compile(rb"api/kernels/[^/]+(?:/.*)?"), "api/kernels/{kernel}"),
    (re.compile(rb"api/sessions/.+"), "api/sessions/{session}"),
    (re.compile(rb"api/terminals/.+"), "api/terminals/{terminal}"),
    (re.compile(rb"api/contents(?:/.*)?"), "api/contents/{path}"),
    (re.compile(rb"(api/(?:kernels|kernelspecs|me|sessions|status|terminals)|api|lab|tree|login)/?"), ""),
    (re.compile(rb"lab/api/.+"), "lab/api/{path}"),
    (re.compile(rb"lab/.+"), "lab/{path}"),
    (re.compile(rb"notebooks/.+"), "notebooks/{path}"),
    (re.compile(rb"tree/.+"), "tree/{path}"),
    (re.compile(rb"files/.+"), "files/{path}"),
    (re.compile(rb"(?:lab/extensions|static)/.+"), "static/{path}"),
)


def route_of(path: bytes) -> str:
    """What kind of place a raw path below a notebook's base path is, one of few."""
    for pattern, name in _PLACES:
        if found := pattern.fullmatch(path):
            return f"{SESSION_ROUTE}/{name or found[1].decode()}"
    return f"{SESSION_ROUTE}/{{path}}"


def method_of(method: bytes) -> str:
    """A method as the semantic conventions have it: one that is not known is `_OTHER`."""
    return method.decode() if method in METHODS else "_OTHER"


def of_trusted(headers: list[tuple[bytes, bytes]]) -> SpanContext | None:
    """The span of the trusted proxy that has sent these headers, if it says one."""
    return only_traceparent([value.decode("latin-1") for value in get_all(headers, b"traceparent")])


def begin(container: Container, request: Request, facts: ClientFacts, path: bytes) -> RequestTrace | None:
    """Begin the spans of a request; None where nothing of its session is traced any more."""
    visit = container.visit
    if visit is None:
        return None
    if visit.is_over:
        container.trace(None)
        return None
    method, route = method_of(request.method), route_of(path)
    name = f"{method} {route}"
    if not visit.wants(name):
        return None
    attributes = {
        "http.request.method": method,
        "http.route": route,
        "url.path": route,
        "url.scheme": "https" if request.fields.secure else "http",
        "network.protocol.version": request.version,
        "tmpnb.session.id": container.id,
    }
    linked = of_trusted(request.headers) if facts.trusted else None
    span = visit.request(name, attributes, [linked])
    return None if span is None else RequestTrace(visit, span, method, container.id)


class RequestTrace:
    """The spans of one request: as its visitor sees it, and below it the notebook's part."""

    __slots__ = ("_notebook", "_span", "_visit")

    def __init__(self, visit: Visit, span: Span, method: str, container_id: str) -> None:
        self._visit = visit
        self._span: Span | None = span
        attributes = {"http.request.method": method, "server.address": container_id}
        self._notebook: Span | None = span.child(method, Kind.CLIENT, attributes)

    def answered(self, status: int) -> None:
        """The head of the notebook's answer is there."""
        notebook, self._notebook = self._notebook, None
        for span in (notebook, self._span):
            if span is not None:
                span.set("http.response.status_code", status)
        if notebook is not None:
            if status >= 400:
                notebook.fail(str(status))
            notebook.end()
        if self._span is not None and status >= 500:
            self._span.fail(str(status))

    def ended(self, error: str = "") -> None:
        """The last byte has been written; or there was an error, one of few. Idempotent."""
        span, self._span = self._span, None
        if span is None:
            return
        notebook, self._notebook = self._notebook, None
        for one in (notebook, span):
            if one is not None:
                if error:
                    one.fail(error)
                one.end()

    def switched(self) -> FirstReply | None:
        """It has become a WebSocket."""
        span = self._span
        self.answered(101)
        self.ended()
        return None if span is None else FirstReply(self._visit, span)


class FirstReply:
    """Waits on a kernel's WebSocket for the first cell that somebody runs, and for its first output.

    It is fed what passes, and keeps of a message what `MessageReader` keeps at most. Jupyter's messaging says which
    messages are output; a kernel that says something else only makes its own span wrong.
    """

    __slots__ = ("_left", "_reader", "_request", "_span", "_visit")

    def __init__(self, visit: Visit, request: Span) -> None:
        self._visit = visit
        self._request = request
        self._span: Span | None = None
        self._reader: MessageReader | None = MessageReader()
        self._left = _MOST_MESSAGES

    @property
    def is_over(self) -> bool:
        """Whether it waits for nothing any more."""
        return self._reader is None

    def asked(self, start: bytes) -> None:
        """A person's message to the kernel begins like this."""
        if self._span is None and not self.is_over and not self._visit.is_over and activity.runs_code(start):
            self._span = self._request.child("kernel's first reply", Kind.CLIENT)

    def feed(self, data: bytes) -> None:
        """Bytes from the kernel."""
        if self._reader is None:
            return
        for start, _ in self._reader.feed(data):
            self._left -= 1
            if self._span is not None and (kind := activity.output_in(start)):
                self._span.set("tmpnb.kernel.message", kind)
                self._end()
                self._visit.finish()
                return
        if self._left <= 0 or self._visit.is_over:
            self.ended()

    def ended(self) -> None:
        """There will be none: the connection has ended, or nothing more is traced."""
        if self._span is not None:
            self._span.fail("no_reply")
        self._end()

    def _end(self) -> None:
        span, self._span, self._reader = self._span, None, None
        if span is not None:
            span.end()
