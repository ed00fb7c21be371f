"""Prometheus' view of a service: its pools' metrics, and what others add (the proxy's counters, the process)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from tmpnb_py.pools.metrics import gauges
from tmpnb_py.pools.pool import Pool

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class SiteMetrics:
    """The registry of one service (its own, so that two in one process do not mix)."""

    def __init__(self, pools: Iterable[Pool], *more: Collector, version: str) -> None:
        """`pools` is asked at each scrape: they come and go."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        for collector in (_Pools(pools), *more, _Build(version)):
            self._registry.register(collector)

    def add(self, collector: Collector) -> None:
        """Render what this one collects, too."""
        self._registry.register(collector)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)


class _Pools(Collector):
    """The metrics of all pools. Where pools have tables, or there are several, a label `pool` says whose they are."""

    def __init__(self, pools: Iterable[Pool]) -> None:
        self._pools = pools

    def collect(self) -> Iterator[Metric]:
        """Each family once, with the samples of every pool."""
        families: dict[str, Metric] = {}
        pools = tuple(self._pools)
        are_named = len(pools) > 1 or any(pool.name != pool.engine_name for pool in pools)
        for pool in pools:
            for found in (*pool.metrics.collect(), *gauges(pool.status, pool.warm)):
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                family.samples += _labelled(found, pool.name) if are_named else found.samples
        yield from families.values()


def _labelled(family: Metric, pool: str) -> list[Sample]:
    return [sample._replace(labels={**sample.labels, "pool": pool}) for sample in family.samples]


class _Build(Collector):
    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """The version, as a label."""
        build = GaugeMetricFamily("tmpnb_build_info", "Always 1; the version is a label.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
