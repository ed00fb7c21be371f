"""A visit: from the click up to the first output of a kernel. What is traced of a session, and how much at most.

A container has one while its session's beginning is traced, and the proxy asks it about each request. What a visitor
does later is theirs, and is not traced; neither is anything where the first output does not come in time.
"""

from __future__ import annotations

import time

from tmpnb_py.tracing.context import SpanContext, read_traceparent
from tmpnb_py.tracing.spans import Attributes, Kind, Links, Span, Tracing

SECONDS = 900.0
MOST_REQUESTS = 256  # JupyterLab's first page makes some sixty; a hostile one makes as many as it likes
MOST_ALIKE = 8  # of a name: an open page asks for the same things again and again until somebody runs a cell


class Visit:
    """The traced beginning of one session. `traceparent` is for another process that goes on with it."""

    __slots__ = ("_alike", "_finished", "_left", "_parent", "_until", "traceparent")

    def __init__(self, parent: Span, traceparent: str) -> None:
        self._parent = parent
        self.traceparent = traceparent
        self._left = MOST_REQUESTS
        self._alike: dict[str, int] = {}  # by name, of which there are few
        self._finished = False
        self._until = time.monotonic() + SECONDS

    @property
    def is_over(self) -> bool:
        """Whether nothing more is traced."""
        return self._finished or time.monotonic() > self._until

    def take(self) -> SpanContext | None:
        """Where a request belongs whose span somebody else begins; None as `request`."""
        if self.is_over or self._left <= 0:
            return None
        self._left -= 1
        return read_traceparent(self.traceparent)

    def wants(self, name: str) -> bool:
        """Whether one more request of this name is traced."""
        return not self.is_over and self._left > 0 and self._alike.get(name, 0) < MOST_ALIKE

    def request(self, name: str, attributes: Attributes, links: Links = ()) -> Span | None:
        """Begin the span of a request; None where it is one too many, in all or of its name, or comes too late."""
        if not self.wants(name):
            return None
        self._left -= 1
        self._alike[name] = self._alike.get(name, 0) + 1
        return self._parent.child(name, Kind.SERVER, attributes, links)

    def finish(self) -> None:
        """There has been output."""
        self._finished = True


def visit_of(span: Span) -> Visit | None:
    """The visit that a request begins, whose span this is; None where that is not recorded."""
    context = span.context
    return Visit(span, context.traceparent) if context is not None and context.sampled else None


def taken_up(traceparent: str, tracing: Tracing | None) -> Visit | None:
    """A visit that began in another process of ours; None where there was none, or nothing is traced here."""
    context = read_traceparent(traceparent) if tracing is not None else None
    if tracing is None or context is None or not context.sampled:
        return None
    return Visit(tracing.remote(context), traceparent)
