"""What Prometheus sees. `Counters` are plain numbers that the data plane adds to without a call; `Metrics` puts them
and the pool's state together when somebody scrapes. Every name is listed in docs/metrics.md (a test holds it).
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Callable, Collection, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tmpnb_py.core.errors import FailureClass
from tmpnb_py.core.models import EndReason, Refusal, State
from tmpnb_py.pools.pool import Pool

# A time for every series, which nobody asks for: process_start_time_seconds tells it.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CLAIM_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_START_BUCKETS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 30, 60)
_ENGINE_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SESSION_BUCKETS = (60, 300, 900, 1800, 3600, 7200, 14400, 28800)

# Those of which an error is to be seen at its first occurrence: a rate needs a value before it.
_ENGINE_CALLS = ("list", "start", "mark_ready", "claim", "remove")

# What a visitor asked for must not become a label: anybody could make as many as they like.
NO_WORKSHOP, OTHER_WORKSHOP = "none", "other"


@dataclasses.dataclass(slots=True)
class Counters:
    """What the proxy counts. Sizes in bytes; `responses` by the first digit of the status."""

    responses: list[int] = dataclasses.field(default_factory=lambda: [0] * 6)
    bytes_received: int = 0
    bytes_sent: int = 0
    open_connections: int = 0
    refused_connections: dict[Refusal, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(Refusal, 0))
    open_tunnels: int = 0


class Metrics:
    """The registry of one service (its own, so that two in one process do not mix)."""

    def __init__(
        self,
        pool: Pool,
        counters: Counters,
        *,
        version: str,
        waiting: Callable[[], int],
        is_open: Callable[[], bool] = lambda: True,
        workshops: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`workshops` tells the slugs that may become a label."""
        self._registry = CollectorRegistry()
        self._known = workshops
        self._claims = Counter(
            "tmpnb_claims", "Claims by outcome: hit, waited, left, refused.", ["outcome"], registry=self._registry
        )
        self._claim_seconds = Histogram(
            "tmpnb_claim_duration_seconds",
            "From a visitor's wish to the durable claim, waiting included.",
            buckets=_CLAIM_BUCKETS,
            registry=self._registry,
        )
        self._start_seconds = Histogram(
            "tmpnb_start_duration_seconds",
            "From the call to the engine to the first answer of the notebook server.",
            buckets=_START_BUCKETS,
            registry=self._registry,
        )
        self._failures = Counter(
            "tmpnb_start_failures", "Starts that failed, by cause.", ["cause"], registry=self._registry
        )
        self._ended = Counter(
            "tmpnb_ended_containers",
            "Containers marked for removal, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._session_seconds = Histogram(
            "tmpnb_session_duration_seconds",
            "From the claim to the end of a session.",
            buckets=_SESSION_BUCKETS,
            registry=self._registry,
        )
        self._workshops = Counter(
            "tmpnb_workshop_claims",
            "Sessions by the workshop that they began with.",
            ["workshop"],
            registry=self._registry,
        )
        self._engine_seconds = Histogram(
            "tmpnb_engine_call_duration_seconds",
            "Calls to the engine, by what was asked.",
            ["call"],
            buckets=_ENGINE_BUCKETS,
            registry=self._registry,
        )
        self._engine_errors = Counter(
            "tmpnb_engine_errors",
            "Calls to the engine that failed, by what was asked and why.",
            ["call", "cause"],
            registry=self._registry,
        )
        for outcome in ("hit", "waited", "left", "refused"):
            self._claims.labels(outcome)
        for reason in EndReason:
            self._ended.labels(reason.value)
        for cause in FailureClass:
            self._failures.labels(cause.value)
        for call in _ENGINE_CALLS:
            self._engine_errors.labels(call, FailureClass.ENGINE_DOWN.value)
        for workshop in (NO_WORKSHOP, OTHER_WORKSHOP):
            self._workshops.labels(workshop)
        ProcessCollector(registry=self._registry)
        self._registry.register(_Snapshot(pool, counters, version, waiting, is_open))

    def claimed(self, outcome: str, seconds: float) -> None:
        """A claim ended: hit, waited, left (the place was given up) or refused."""
        self._claims.labels(outcome).inc()
        if outcome in ("hit", "waited"):
            self._claim_seconds.observe(seconds)

    def started(self, seconds: float) -> None:
        """A container became ready."""
        self._start_seconds.observe(seconds)

    def start_failed(self, cause: str) -> None:
        """A start failed."""
        self._failures.labels(cause).inc()

    def ended(self, reason: EndReason) -> None:
        """A container was marked for removal."""
        self._ended.labels(reason.value).inc()

    def session_ended(self, seconds: float) -> None:
        """A visitor's session is over."""
        self._session_seconds.observe(seconds)

    def opened(self, target: str) -> str:
        """A session began at a document (a relative reference); returns the workshop that it counts for."""
        workshop = self._workshop_of(target)
        self._workshops.labels(workshop).inc()
        return workshop

    def _workshop_of(self, target: str) -> str:
        parts = urllib.parse.unquote(target.partition("?")[0]).split("/")
        known = self._known()
        found = next((part for part in parts if part in known), None)
        return found or (OTHER_WORKSHOP if len(parts) > 1 else NO_WORKSHOP)

    def engine_called(self, call: str, seconds: float, error: str) -> None:
        """The engine was asked something; `error` is the failure's class, "" for success."""
        self._engine_seconds.labels(call).observe(seconds)
        if error:
            self._engine_errors.labels(call, error).inc()

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)


class _Snapshot(Collector):
    """Gauges and the proxy's counters, read at the moment of a scrape."""

    def __init__(
        self,
        pool: Pool,
        counters: Counters,
        version: str,
        waiting: Callable[[], int],
        is_open: Callable[[], bool],
    ) -> None:
        self._is_open = is_open
        self._pool = pool
        self._counters = counters
        self._version = version
        self._waiting = waiting

    def collect(self) -> Iterator[Metric]:
        """The families, in one pass."""
        yield from self._pool_metrics()
        yield from self._proxy_metrics()

    def _pool_metrics(self) -> Iterator[Metric]:
        pool = self._pool
        containers = GaugeMetricFamily("tmpnb_containers", "Containers by state.", labels=["state"])
        for state in State:
            containers.add_metric([state.value], pool.count(state))
        yield containers
        yield GaugeMetricFamily("tmpnb_pool_size", "How many containers are to be ready.", value=pool.size)
        yield GaugeMetricFamily("tmpnb_accepting", "1 while newcomers are let in.", value=int(self._is_open()))
        yield GaugeMetricFamily("tmpnb_capacity", "How many containers there may be in all.", value=pool.capacity)
        yield GaugeMetricFamily("tmpnb_waiting", "Visitors in line.", value=self._waiting())
        yield GaugeMetricFamily(
            "tmpnb_engine_up", "1 while the engine answers.", value=int(pool.listed and not pool.engine_down)
        )
        build = GaugeMetricFamily("tmpnb_build_info", "Always 1; the version is a label.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build

    def _proxy_metrics(self) -> Iterator[Metric]:
        counters = self._counters
        responses = CounterMetricFamily(
            "tmpnb_proxy_responses", "Answers to clients by class of status.", labels=["status"]
        )
        for digit in range(1, 6):
            responses.add_metric([f"{digit}xx"], counters.responses[digit])
        yield responses
        traffic = CounterMetricFamily(
            "tmpnb_proxy_bytes", "Bytes from clients (in) and to clients (out).", labels=["direction"]
        )
        traffic.add_metric(["in"], counters.bytes_received)
        traffic.add_metric(["out"], counters.bytes_sent)
        yield traffic
        yield GaugeMetricFamily(
            "tmpnb_proxy_connections", "Open connections of clients.", value=counters.open_connections
        )
        refused = CounterMetricFamily(
            "tmpnb_proxy_refused_connections", "Connections closed at once, by reason.", labels=["reason"]
        )
        for reason, count in counters.refused_connections.items():
            refused.add_metric([reason.value], count)
        yield refused
        yield GaugeMetricFamily("tmpnb_proxy_websockets", "Open WebSockets.", value=counters.open_tunnels)
