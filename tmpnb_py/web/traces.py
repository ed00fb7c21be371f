"""Spans of the requests that our own application answers: the first page, the claim, and all others but files.

A visit is one trace though a browser sends several requests for it, and nothing that a visitor sends may choose the
trace: `traceparent` counts from trusted proxies only (our proxy drops all others). So the launch page's form carries
the page's span, under a proof that is made with the service's secret and does not hold for long (`idempotency`), and
the span of the request that brings it begins only when that has been read. It then links to a proxy's span.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.core.links import STATIC
from tmpnb_py.proxy.traces import method_of
from tmpnb_py.tracing.context import SpanContext, only_traceparent
from tmpnb_py.tracing.spans import Attributes, Kind, Links, Span, Tracing, Value, current, entered, named
from tmpnb_py.tracing.visits import Visit
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.visitor import visitor_of

# What programs ask now and then, and what is the same for everybody.
_UNTRACED = frozenset(("/metrics", "/healthz", "/readyz", "/robots.txt", "/favicon.ico"))


@web.middleware
async def requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Trace a request. The outermost middleware: what comes here is an answer, or the visitor's leaving."""
    tracing = request.app[CONTEXT].tracing
    if tracing is None or request.path in _UNTRACED or request.path.startswith(STATIC):
        return await handler(request)
    span = RequestSpan(tracing, *_described(request))
    try:
        with entered(span):
            response = await handler(request)
        _answered(span, response.status)
    except asyncio.CancelledError:
        span.fail("given_up")
        raise
    except web.HTTPException as answer:
        _answered(span, answer.status)
        raise
    finally:
        span.end()
        structlog.contextvars.unbind_contextvars("trace_id", "span_id")
    return response


def _answered(span: Span, status: int) -> None:
    span.set("http.response.status_code", status)
    if status >= 500:
        span.fail(str(status))


def _described(request: web.Request) -> tuple[str, dict[str, Value], SpanContext | None]:
    """A span's name and attributes, and the trusted proxy's span. No path: it may hold a key (`core.links`)."""
    visitor, method = visitor_of(request), method_of(request.method.encode())
    resource = request.match_info.route.resource
    route = "" if resource is None else resource.canonical
    attributes: dict[str, Value] = {
        "http.request.method": method,
        "url.scheme": "https" if visitor.is_secure else "http",
        "url.path": route or "/{path}",
    }
    if route:
        attributes["http.route"] = route
    if request.app[CONTEXT].options.current.audit_client_address:
        attributes["client.address"] = visitor.address
    proxys = only_traceparent(request.headers.getall("traceparent", ()))
    return f"{method} {route}".rstrip(), attributes, proxys


class RequestSpan:
    """The span of one request, which began when this was made. Its parent may be found out meanwhile."""

    def __init__(self, tracing: Tracing, name: str, attributes: dict[str, Value], proxys: SpanContext | None) -> None:
        """`proxys` is the span of the trusted proxy that has passed the request on."""
        self._tracing = tracing
        self._name = name
        self._attributes = attributes
        self._proxys = proxys
        self._parent: SpanContext | None = None
        self._begun_at = time.time_ns()
        self._span: Span | None = None

    def belongs_to(self, page: SpanContext) -> None:
        """It goes on with what this page of ours has begun. No-op once something has begun below it."""
        if self._span is None:
            self._parent = page

    def _made(self) -> Span:
        if self._span is None:
            parent = self._proxys if self._parent is None else self._parent
            links = [] if parent is self._proxys else [self._proxys]
            self._span = self._tracing.begin(
                self._name,
                Kind.SERVER,
                parent=parent,
                attributes=self._attributes,
                links=links,
                begun_at=self._begun_at,
            )
            structlog.contextvars.bind_contextvars(**named(self._span))
        return self._span

    @property
    def context(self) -> SpanContext | None:
        """See `Span`; this begins it."""
        return self._made().context

    def child(
        self, name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None, links: Links = ()
    ) -> Span:
        """See `Span`."""
        return self._made().child(name, kind, attributes, links)

    def set(self, name: str, value: Value) -> None:
        """See `Span`."""
        self._made().set(name, value)

    def event(self, name: str) -> None:
        """See `Span`."""
        self._made().event(name)

    def fail(self, kind: str) -> None:
        """See `Span`."""
        self._made().fail(kind)

    def end(self) -> None:
        """See `Span`."""
        self._made().end()


def page_span() -> SpanContext | None:
    """The span of the page that is being made, for what its form will bring."""
    return current().context


def goes_on(visit: Visit | None) -> None:
    """The request in hand is of a visitor who waits for a notebook, or is on the way to it."""
    belongs_to(None if visit is None else visit.take())


def belongs_to(page: SpanContext | None) -> None:
    """The request in hand was made by this page of ours."""
    span = current()
    if page is not None and isinstance(span, RequestSpan):
        span.belongs_to(page)
