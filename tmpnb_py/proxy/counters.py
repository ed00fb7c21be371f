"""What the proxy counts: plain numbers that the data plane adds to without a call, and their view for Prometheus."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tmpnb_py.core.models import Refusal


@dataclasses.dataclass(slots=True)
class Counters:
    """Sizes in bytes; `responses` by the first digit of the status. `left_…` are open in the process before this."""

    responses: list[int] = dataclasses.field(default_factory=lambda: [0] * 6)
    bytes_received: int = 0
    bytes_sent: int = 0
    open_connections: int = 0
    refused_connections: dict[Refusal, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(Refusal, 0))
    open_tunnels: int = 0
    left_connections: int = 0
    left_tunnels: int = 0


class ProxyMetrics(Collector):
    """The counters as metric families, read at the moment of a scrape."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Every family of the proxy."""
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
        yield GaugeMetricFamily(
            "tmpnb_predecessor_connections",
            "Open connections of clients that processes of before upgrades still serve.",
            value=counters.left_connections,
        )
        yield GaugeMetricFamily(
            "tmpnb_predecessor_websockets",
            "Open WebSockets among those.",
            value=counters.left_tunnels,
        )
