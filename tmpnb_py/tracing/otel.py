"""Spans made by OpenTelemetry's SDK and sent by OTLP over HTTP. Imported by `switch` only, where traces are wanted.

Spans are made on the event loop, which costs some microseconds each, and sent by a thread of the SDK's, from a queue
that is bounded: where the collector is slow, hangs or is away, spans are lost and nothing else. The SDK reads its own
variables (endpoint, headers, sampler, batches, resource). What it would log goes to `_Reports`: in our words, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from tmpnb_py import __version__
from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.tracing.context import SpanContext
from tmpnb_py.tracing.spans import NO_SPAN, Attributes, Kind, Links, Span, Value

_log = structlog.get_logger(__name__)

_NAME = "tmpnb-py"
_KINDS = {
    Kind.INTERNAL: trace.SpanKind.INTERNAL,
    Kind.SERVER: trace.SpanKind.SERVER,
    Kind.CLIENT: trace.SpanKind.CLIENT,
}
_STATUS = re.compile(r"\bcode: (\d{3})\b")

T = TypeVar("T")


def start(environ: Mapping[str, str]) -> OtelTracing:
    """Begin to make traces."""
    resource = Resource.create({"service.version": __version__})
    if SERVICE_NAME not in environ.get("OTEL_RESOURCE_ATTRIBUTES", "") and not environ.get("OTEL_SERVICE_NAME"):
        resource = resource.merge(Resource({SERVICE_NAME: _NAME}))
    return OtelTracing(resource, OTLPSpanExporter())


def _harmless(method: Callable[..., T]) -> Callable[..., T | None]:
    """A mistake of the SDK's, or of a sampler that an operator has chosen, must not fail a visitor's request."""

    @functools.wraps(method)
    def guarded(*args: Any, **more: Any) -> T | None:
        try:
            return method(*args, **more)
        except Exception as error:  # noqa: BLE001
            _log.debug("span_failed", error=type(error).__name__)
            return None

    return guarded


class OtelTracing:
    """Implements `Tracing`."""

    def __init__(self, resource: Resource, exporter: SpanExporter) -> None:
        self._reports = _Reports()
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Told(exporter, self._reports)))
        self._tracer = self._provider.get_tracer("tmpnb_py", __version__)
        self._reports.listen()
        self._closing = False

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
        """See `Tracing`."""
        above = Context() if parent is None else _under(_reference(parent))
        return self._made(above, name, kind, attributes, links, begun_at=begun_at) or NO_SPAN

    def remote(self, context: SpanContext) -> Span:
        """See `Tracing`."""
        return _OtelSpan(self, _reference(context))

    def below(self, span: trace.Span, name: str, kind: Kind, attributes: Attributes | None, links: Links) -> Span:
        """A child of a span."""
        return self._made(_under(span), name, kind, attributes, links) or NO_SPAN

    @_harmless
    def _made(
        self,
        above: Context,
        name: str,
        kind: Kind,
        attributes: Attributes | None,
        links: Links,
        *,
        begun_at: int | None = None,
    ) -> Span:
        linked = [trace.Link(_reference(one).get_span_context()) for one in links if one is not None]
        span = self._tracer.start_span(
            name, above, _KINDS[kind], attributes, linked, start_time=begun_at, record_exception=False
        )
        return _OtelSpan(self, span)

    async def close(self, seconds: float) -> None:
        """See `Tracing`. The thread is left behind where it does not end in time: it is a daemon."""
        if self._closing:
            return
        self._closing = True
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut_down() -> None:
            with contextlib.suppress(Exception):
                self._provider.shutdown()
            self._reports.end()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="traces-end", daemon=True).start()
        if not await event_or_time(done, seconds):
            _log.warning("traces_left", hint="the collector did not take the last traces in time")


def _reference(context: SpanContext) -> trace.NonRecordingSpan:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if context.sampled else trace.TraceFlags.DEFAULT)
    there = trace.SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=flags)
    return trace.NonRecordingSpan(there)


def _under(span: trace.Span) -> Context:
    return trace.set_span_in_context(span, Context())


class _OtelSpan:
    """Implements `Span`."""

    __slots__ = ("_span", "_tracing", "context")

    def __init__(self, tracing: OtelTracing, span: trace.Span) -> None:
        self._tracing = tracing
        self._span = span
        there = span.get_span_context()
        self.context: SpanContext | None = SpanContext(there.trace_id, there.span_id, there.trace_flags.sampled)

    def child(
        self, name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None, links: Links = ()
    ) -> Span:
        return self._tracing.below(self._span, name, kind, attributes, links)

    @_harmless
    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    @_harmless
    def event(self, name: str) -> None:
        self._span.add_event(name)

    @_harmless
    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.StatusCode.ERROR)

    @_harmless
    def end(self) -> None:
        self._span.end()


class _Told(SpanExporter):
    """Sends spans as the exporter given does, and reports how that went. Called in the SDK's thread."""

    def __init__(self, exporter: SpanExporter, reports: _Reports) -> None:
        self._exporter = exporter
        self._reports = reports

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._reports.sent(len(spans), is_lost=result is not SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Reports(logging.Handler):
    """Turns what the SDK logs, at each failure, into one event when spans begin to be lost, and one when they end to.

    None of its words are passed on: they may hold the collector's, or the endpoint with what is secret in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logger = logging.getLogger("opentelemetry")
        self._transport = logging.getLogger("urllib3")  # which at debug level names each request
        self._lost = 0
        self._failing = False
        self._full = False
        self._why = ""

    def listen(self) -> None:
        """Hear the SDK, in place of the log."""
        self._logger.addHandler(self)
        self._logger.propagate = False
        self._transport.setLevel(logging.WARNING)

    def end(self) -> None:
        """Let the log have it again."""
        self._logger.removeHandler(self)
        self._logger.propagate = True
        self._transport.setLevel(logging.NOTSET)

    def emit(self, record: logging.LogRecord) -> None:
        """Called in whichever thread."""
        text = record.getMessage()
        if "Queue full" in text:
            if not self._full:
                self._full = True
                _log.warning(
                    "traces_dropped",
                    hint="more spans than the collector takes: OTEL_BSP_MAX_QUEUE_SIZE, OTEL_TRACES_SAMPLER",
                )
        elif record.levelno >= logging.WARNING:
            found = _STATUS.search(text)
            self._why = f"it answered {found[1]}" if found else "no answer"

    def sent(self, spans: int, *, is_lost: bool) -> None:
        """A batch was sent, or lost."""
        if is_lost:
            self._lost += spans
            if not self._failing:
                self._failing = True
                hint = "the collector does not take traces; notebooks are not affected"
                _log.warning("traces_not_sent", error=self._why or "no answer", hint=hint)
        elif self._failing or self._full:
            _log.info("traces_sent_again", lost=self._lost)
            self._failing = self._full = False
            self._lost = 0
