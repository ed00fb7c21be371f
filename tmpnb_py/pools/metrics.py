"""What Prometheus sees of one pool: counters and histograms, added to at the transitions, and gauges read from its
status at the moment of a scrape. Every name is listed in docs/metrics.md (a test holds it).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tmpnb_py.core.errors import FailureClass
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.pools.status import PoolStatus, WarmStatus

# A time for every series, which nobody asks for: process_start_time_seconds tells it.
disable_created_metrics()  # type: ignore[no-untyped-call]

_CLAIM_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_START_BUCKETS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 30, 60)
_ENGINE_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SESSION_BUCKETS = (60, 300, 900, 1800, 3600, 7200, 14400, 28800)

# The calls whose first error must be visible: a rate needs a value before it.
_ENGINE_CALLS = ("list", "start", "mark_ready", "claim", "remove")

# The workshop's label where none of the known ones was asked for: what a visitor writes must not become a label,
# since anybody could make as many as they like.
NO_WORKSHOP, OTHER_WORKSHOP = "none", "other"


# Sessions that are named, so that the number of series is bounded; and by how much of their id: too little to guess
# the rest, which may be all that protects a notebook (`use_tokens`), and enough to find it in `tmpnb-py sessions`.
_NAMED_SESSIONS = 10
_NAME_LENGTH = 8


class PoolMetrics:
    """The counters and histograms of one pool. Methods count; they decide nothing."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._claims = self._counter(
            "tmpnb_claims",
            "Claims by outcome: hit, waited, left, refused.",
            outcome=("hit", "waited", "left", "refused"),
        )
        self._claim_seconds = self._histogram(
            "tmpnb_claim_duration_seconds",
            "From a visitor's wish to the durable claim, waiting included.",
            _CLAIM_BUCKETS,
        )
        self._start_seconds = self._histogram(
            "tmpnb_start_duration_seconds",
            "From the call to the engine to a notebook server's first answer, until its warm kernels are ready.",
            _START_BUCKETS,
        )
        self._failures = self._counter("tmpnb_start_failures", "Starts that failed, by cause.", cause=FailureClass)
        self._warm_failures = Counter(
            "tmpnb_warm_kernel_failures",
            "Kernels that were to be ready before a visitor came and were not, by kernel.",
            ["kernel"],
            registry=self._registry,
        )
        self._warm_claims = self._counter(
            "tmpnb_warm_claims",
            "Claims for a workshop whose kernel is known, by whether it was ready in the notebook.",
            outcome=("warm", "cold"),
        )
        self._ended = self._counter(
            "tmpnb_ended_containers", "Containers marked for removal, by reason.", reason=EndReason
        )
        self._cpu_seconds = Counter(
            "tmpnb_sessions_cpu_seconds",
            "CPU time of sessions, as far as it is measured (busy_cpu).",
            registry=self._registry,
        )
        self._session_seconds = self._histogram(
            "tmpnb_session_duration_seconds", "From the claim to the end of a session.", _SESSION_BUCKETS
        )
        self._workshops = self._counter(
            "tmpnb_workshop_claims",
            "Sessions by the workshop that they began with.",
            workshop=(NO_WORKSHOP, OTHER_WORKSHOP),
        )
        self._engine_seconds = self._histogram(
            "tmpnb_engine_call_duration_seconds", "Calls to the engine, by what was asked.", _ENGINE_BUCKETS, "call"
        )
        self._engine_errors = self._counter(
            "tmpnb_engine_errors",
            "Calls to the engine that failed, by what was asked and why.",
            call=_ENGINE_CALLS,
            cause=(FailureClass.ENGINE_DOWN,),
        )

    def _counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        """A counter; the labels' values that are given here are exported from the beginning, as 0."""
        counter = Counter(name, text, list(labels), registry=self._registry)
        for values in itertools.product(*labels.values()):
            counter.labels(*(str(value) for value in values))
        return counter

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def add(self, collector: Collector) -> None:
        """Collect what another part of the pool counts, too."""
        self._registry.register(collector)

    def claimed(self, outcome: str, seconds: float) -> None:
        """Count a claim: hit, waited, left (the visitor gave up the place) or refused."""
        self._claims.labels(outcome).inc()
        if outcome in ("hit", "waited"):
            self._claim_seconds.observe(seconds)

    def started(self, seconds: float) -> None:
        """Count a container that became ready."""
        self._start_seconds.observe(seconds)

    def start_failed(self, cause: str) -> None:
        """Count a start that failed."""
        self._failures.labels(cause).inc()

    def warm_kernel_failed(self, kernel: str) -> None:
        """Count a kernel that was to be ready before a visitor came."""
        self._warm_failures.labels(kernel).inc()

    def kernel_claimed(self, *, is_warm: bool) -> None:
        """Count a claim for a workshop whose kernel is known."""
        self._warm_claims.labels("warm" if is_warm else "cold").inc()

    def ended(self, reason: EndReason) -> None:
        """Count a container that was marked for removal."""
        self._ended.labels(reason.value).inc()

    def session_started(self, workshop: str) -> None:
        """Count a session that began with a workshop: a known one's short name, `NO_WORKSHOP`, `OTHER_WORKSHOP`."""
        self._workshops.labels(workshop).inc()

    def cpu_used(self, seconds: float) -> None:
        """Count CPU time of a session."""
        self._cpu_seconds.inc(seconds)

    def session_ended(self, seconds: float) -> None:
        """Count a visitor's session that is over."""
        self._session_seconds.observe(seconds)

    def engine_called(self, call: str, seconds: float, error: str) -> None:
        """Count a call to the engine; `error` is the failure's class, "" for success."""
        self._engine_seconds.labels(call).observe(seconds)
        if error:
            self._engine_errors.labels(call, error).inc()

    def collect(self) -> Iterator[Metric]:
        """Every counter and histogram."""
        yield from self._registry.collect()


def gauges(status: PoolStatus, warm: Iterable[WarmStatus]) -> Iterator[Metric]:
    """A pool's status as metric families, and what is warm in it."""
    containers = GaugeMetricFamily("tmpnb_containers", "Containers by state.", labels=["state"])
    for state in State:
        containers.add_metric([state.value], status.count(state))
    yield containers
    yield GaugeMetricFamily("tmpnb_pool_size", "How many containers are to be ready.", value=status.size)
    yield GaugeMetricFamily("tmpnb_reserved", "How many ready ones are held for classes.", value=status.reserved)
    yield GaugeMetricFamily(
        "tmpnb_pool_size_base", "How many containers the operator wants ready at any time.", value=status.base
    )
    kernels = GaugeMetricFamily(
        "tmpnb_warm_containers", "Ready containers in which a kernel is ready, too.", labels=["kernel"]
    )
    for one in warm:
        kernels.add_metric([one.kernel.name], one.ready)
    yield kernels
    next_change = status.programme.next_change
    yield GaugeMetricFamily(
        "tmpnb_timetable_next_change_timestamp_seconds",
        "When the timetable changes next (Unix time): a beginning or an end; 0 where none is known.",
        value=0 if next_change is None else next_change,
    )
    yield GaugeMetricFamily("tmpnb_accepting", "1 while newcomers are let in.", value=int(status.is_open))
    yield GaugeMetricFamily("tmpnb_capacity", "How many containers there may be in all.", value=status.capacity)
    yield GaugeMetricFamily("tmpnb_waiting", "Visitors in line.", value=status.waiting)
    yield GaugeMetricFamily("tmpnb_engine_up", "1 while the engine answers.", value=int(status.engine_up))
    yield GaugeMetricFamily(
        "tmpnb_busy_sessions",
        "Sessions that keep the processor busy (busy_cpu, busy_window).",
        value=len(status.busy),
    )
    busiest = GaugeMetricFamily(
        "tmpnb_busiest_session_cpu_ratio",
        "Of the ten busiest among those: the share that they take of what they may use.",
        labels=["session"],
    )
    for container_id, ratio in status.busy[:_NAMED_SESSIONS]:
        busiest.add_metric([container_id[:_NAME_LENGTH]], ratio)
    yield busiest
