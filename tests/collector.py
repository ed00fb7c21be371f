"""A collector for tests: takes OTLP over HTTP, and answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

SERVER, CLIENT = 2, 3  # `SpanKind` of the protocol
ERROR = 2  # `StatusCode`


@dataclasses.dataclass(frozen=True)
class Sent:
    """A span as it arrived. Times are seconds since 1970."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    begun: float
    ended: float
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    status: int
    service: str

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.begun


@dataclasses.dataclass
class Collector:
    """What has been received. `status` is answered; with `hangs` nothing is, until it is closed."""

    port: int = 0
    status: int = 200
    hangs: bool = False
    spans: list[Sent] = dataclasses.field(default_factory=list)
    requests: int = 0
    refused: int = 0  # spans
    raw: bytes = b""
    _changed: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    @property
    def environ(self) -> dict[str, str]:
        """What has a service send its traces here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    async def asked(self, requests: int) -> None:
        """Wait until it has been sent so many batches."""
        await self.until(lambda: self.requests >= requests)

    async def having(self, *names: str, seconds: float = 60.0) -> None:
        """Wait until spans of all these names are there."""
        await self.until(lambda: set(names) <= {one.name for one in self.spans}, seconds)

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Look again at each batch that comes."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def named(self, name: str) -> Sent:
        """The only span of this name."""
        (found,) = [one for one in self.spans if one.name == name]
        return found

    def of(self, trace: str) -> list[Sent]:
        """The spans of a trace, by their beginning."""
        return sorted((one for one in self.spans if one.trace == trace), key=lambda one: one.begun)

    def take(self, body: bytes) -> None:
        """Take what was sent."""
        self.raw += body
        message = ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            service = _attributes(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                self.spans += [_sent(span, service) for span in scope.spans]

    async def handle(self, request: web.Request) -> web.Response:
        """`POST /v1/traces`."""
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.requests += 1
        if self.status == 200 and not self.hangs:
            self.take(body)
        elif not self.hangs:
            self.refused += _count(body)
        self._changed.set()
        if self.hangs:
            await asyncio.Event().wait()
        return web.Response(status=self.status, body=ExportTraceServiceResponse().SerializeToString())


@contextlib.asynccontextmanager
async def collecting(**more: Any) -> AsyncIterator[Collector]:
    """A collector on a port of its own."""
    collector = Collector(**more)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", collector.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        collector.port = runner.addresses[0][1]
        yield collector
    finally:
        await runner.cleanup()


def _count(body: bytes) -> int:
    message = ExportTraceServiceRequest.FromString(body)
    return sum(len(scope.spans) for resource in message.resource_spans for scope in resource.scope_spans)


def _sent(span: Any, service: str) -> Sent:
    return Sent(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        begun=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        attributes=_attributes(span.attributes),
        links=tuple((one.trace_id.hex(), one.span_id.hex()) for one in span.links),
        status=span.status.code,
        service=service,
    )


def _attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}
