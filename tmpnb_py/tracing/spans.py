"""What the program says to a tracer: spans, and the one that the present task works in.

Without tracing every span is `NO_SPAN`, whose children are itself. Tasks inherit the current span of who starts them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Protocol

from structlog.contextvars import bound_contextvars

from tmpnb_py.tracing.context import SpanContext

Value = str | int | float | bool
Attributes = Mapping[str, Value]
Links = Sequence[SpanContext | None]


class Kind(enum.Enum):
    """What a span is of (OpenTelemetry, "SpanKind")."""

    INTERNAL = enum.auto()
    SERVER = enum.auto()
    CLIENT = enum.auto()


class Span(Protocol):
    """Something that takes time. Nothing here raises or waits; after `end`, `set`, `event` and `fail` do nothing."""

    @property
    def context(self) -> SpanContext | None:
        """Its place; None where nothing is traced."""

    def child(
        self, name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None, links: Links = ()
    ) -> Span:
        """Begin a span below this one. Of `links` those that are None are left out."""

    def set(self, name: str, value: Value) -> None:
        """Set an attribute."""

    def event(self, name: str) -> None:
        """Note that something has happened."""

    def fail(self, kind: str) -> None:
        """Note that it went wrong: `kind` is one of few, such as an exception's class or a status."""

    def end(self) -> None:
        """It has taken place."""


@dataclasses.dataclass(frozen=True)
class _NoSpan:
    context: SpanContext | None = None

    def child(
        self,
        name: str,  # noqa: ARG002
        kind: Kind = Kind.INTERNAL,  # noqa: ARG002
        attributes: Attributes | None = None,  # noqa: ARG002
        links: Links = (),  # noqa: ARG002
    ) -> Span:
        return self

    def set(self, name: str, value: Value) -> None: ...

    def event(self, name: str) -> None: ...

    def fail(self, kind: str) -> None: ...

    def end(self) -> None: ...


NO_SPAN: Span = _NoSpan()

_current: ContextVar[Span] = ContextVar("span", default=NO_SPAN)


class Tracing(Protocol):
    """Where traces begin. There is none where tracing is off."""

    def begin(
        self,
        name: str,
        kind: Kind = Kind.INTERNAL,
        *,
        parent: SpanContext | None = None,
        attributes: Attributes | None = None,
        links: Links = (),
        begun_at: int | None = None,
    ) -> Span:
        """Begin a span: of a trace of its own, or below `parent`. `begun_at`: nanoseconds since 1970, if not now."""

    def remote(self, context: SpanContext) -> Span:
        """A span that somebody else ends, to have children here."""

    async def close(self, seconds: float) -> None:
        """Send what is left, for so long at most. Idempotent."""


def current() -> Span:
    """The span that the present task works in."""
    return _current.get()


@contextlib.contextmanager
def entered(span: Span) -> Iterator[None]:
    """Work in a span; lines of the log do not name it by this."""
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def using(span: Span) -> Iterator[None]:
    """Work in a span: calls of an engine are its children, and lines of the log name it. The caller ends it."""
    if span is NO_SPAN:
        yield
        return
    with entered(span), bound_contextvars(**named(span)):
        yield


def named(span: Span) -> dict[str, str]:
    """How lines of the log name a span; empty where it is not recorded."""
    context = span.context
    if context is None or not context.sampled:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


@contextlib.contextmanager
def within(
    name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None, links: Links = ()
) -> Iterator[Span]:
    """A child of the current span round a piece of work; it fails with an exception."""
    if _current.get() is NO_SPAN:
        yield NO_SPAN
        return
    span = _current.get().child(name, kind, attributes, links)
    try:
        with using(span):
            yield span
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()
