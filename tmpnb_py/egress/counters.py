"""What the web proxy counts, and its view for Prometheus. No notebook and no host is a label: both are too many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tmpnb_py.egress.policy import REASONS

_ALWAYS = 2  # connections of each notebook


@dataclasses.dataclass(slots=True)
class WebRoom:
    """How many connections the notebooks of all pools together may have open, and how many they have.

    Each may have two whatever the others hold: else some dozens of idle ones would shut out everybody.
    """

    most: int
    open: int = 0

    def has_room(self, own: int) -> bool:
        """Whether a notebook that has `own` connections may have one more."""
        return own < _ALWAYS or self.open < self.most


@dataclasses.dataclass(slots=True)
class WebCounters:
    """What the notebooks of one pool did. Sizes in bytes."""

    open: int = 0
    connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    refused: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(REASONS, 0))


class WebMetrics(Collector):
    """The counters as metric families."""

    def __init__(self, counters: WebCounters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Every family of the web proxy."""
        counters = self._counters
        yield GaugeMetricFamily(
            "tmpnb_web_open_connections", "Open connections of notebooks to the web proxy.", value=counters.open
        )
        yield CounterMetricFamily(
            "tmpnb_web_connections", "Connections that notebooks made to the web proxy.", value=counters.connections
        )
        traffic = CounterMetricFamily(
            "tmpnb_web_bytes", "Bytes from the web to notebooks (in) and back (out).", labels=["direction"]
        )
        traffic.add_metric(["in"], counters.bytes_in)
        traffic.add_metric(["out"], counters.bytes_out)
        yield traffic
        refused = CounterMetricFamily(
            "tmpnb_web_refused",
            "What notebooks asked the web proxy for and did not get, by reason.",
            labels=["reason"],
        )
        for reason, count in counters.refused.items():
            refused.add_metric([reason], count)
        yield refused
