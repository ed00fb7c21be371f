"""`docs/metrics.md`, the alerts and the dashboard speak of exactly what is exported.

`docs/generate` writes the page's table.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.engine_support import skip_or_fail
from tests.generated import DOCS, Part
from tmpnb_py.core.errors import FailureClass
from tmpnb_py.core.models import EndReason, Refusal, State
from tmpnb_py.core.warm import WarmKernel
from tmpnb_py.egress.counters import WebCounters, WebMetrics
from tmpnb_py.egress.policy import REASONS
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.metered import MeteredEngine
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.pool import Pool
from tmpnb_py.pools.status import PoolStatus, WarmStatus
from tmpnb_py.proxy.counters import Counters, ProxyMetrics
from tmpnb_py.site.metrics import SiteMetrics
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Manifest, Workshop

PAGE = DOCS / "metrics.md"
NAME = re.compile(r"\b(?:tmpnb|process)_[a-z_]+\b")


def _rendered(metrics: PoolMetrics) -> bytes:
    status = PoolStatus(
        name="x",
        containers=dict.fromkeys(State, 0),
        size=0,
        capacity=0,
        waiting=0,
        reserved=0,
        is_open=True,
        listed=True,
        engine_down=False,
        was_ready=True,
        failure=None,
        refusal=None,
        busy=(("a" * 26, 0.97),),
    )
    warm = (WarmStatus(WarmKernel("ir"), 1),)
    pool = SimpleNamespace(name="x", engine_name="x", metrics=metrics, status=status, warm=warm)
    return SiteMetrics([cast(Pool, pool)], ProxyMetrics(Counters()), version="1.2.3").render()


def _metrics() -> PoolMetrics:
    metrics = PoolMetrics()
    metrics.engine_called("start", 0.3, FailureClass.ENGINE_DOWN.value)
    metrics.claimed("hit", 0.01)
    metrics.started(0.7)
    metrics.session_ended(60)
    metrics.warm_kernel_failed("ir")
    metrics.add(WebMetrics(WebCounters()))
    return metrics


def _families() -> list[Metric]:
    families = text_string_to_metric_families(_rendered(_metrics()).decode())
    return sorted(families, key=lambda family: (family.name.startswith("process"), family.name))


def _exported() -> set[str]:
    return {sample.name for family in _families() for sample in family.samples}


def _table() -> str:
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for family in _families():
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown = ", ".join(f"`{label}`" for label in sorted(labels)) or "-"
        rows.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    return "\n".join(rows) + "\n"


PARTS = [Part(PAGE, "metrics", _table)]


def test_every_metric_is_documented_as_it_is() -> None:
    PARTS[0].check()


def test_every_value_of_a_label_is_documented() -> None:
    page = PAGE.read_text()
    values = [
        *State,
        *EndReason,
        *Refusal,
        *FailureClass,
        *REASONS,
        *re.findall(r"_timed\(\"(\w+)\"\)", inspect.getsource(MeteredEngine)),
    ]
    assert "claim" in values
    for value in values:
        assert f"`{value}`" in page, value


def test_promtool_finds_nothing_to_complain_of() -> None:
    done = _promtool("check", "metrics", input=_rendered(_metrics()))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_alerts_are_valid_and_do_what_their_tests_say() -> None:
    rules = DOCS / "prometheus"
    assert _promtool("check", "rules", str(rules / "alerts.yaml")).returncode == 0
    done = _promtool("test", "rules", str(rules / "alerts_test.yaml"))
    assert done.returncode == 0, done.stdout.decode()


def test_the_alerts_speak_of_exported_metrics() -> None:
    text = (DOCS / "prometheus" / "alerts.yaml").read_text()
    assert set(NAME.findall(text)) <= _exported()
    alerts = re.findall(r"- alert: (\w+)", text)
    tested = (DOCS / "prometheus" / "alerts_test.yaml").read_text()
    for alert in alerts:
        assert re.search(rf"{alert}\n\s+eval_time: \w+\n\s+exp_alerts:\n\s+- exp_labels", tested), (
            f"{alert} never fires"
        )


def _expressions() -> Iterator[str]:
    board: dict[str, Any] = json.loads((DOCS / "grafana" / "tmpnb-py.json").read_text())
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_the_dashboard_asks_for_exported_metrics_and_shows_them_all() -> None:
    asked = {name for expression in _expressions() for name in NAME.findall(expression)}
    assert asked <= _exported()
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in _exported() if name.startswith("tmpnb_")}
    assert bases <= {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}


def test_the_dashboards_panels_do_not_overlap() -> None:
    board = json.loads((DOCS / "grafana" / "tmpnb-py.json").read_text())
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & mine
        assert place["x"] + place["w"] <= 24
        cells |= mine


def _promtool(*arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["promtool", *arguments], capture_output=True, check=False, timeout=60, **more)
    except FileNotFoundError:
        skip_or_fail("promtool (Debian's package prometheus) is not installed")
        raise


# --- what becomes a label


@pytest.mark.parametrize(
    ("target", "workshop"),
    [
        ("lab", "none"),
        ("lab?x=introduction-to-r", "none"),
        ("lab/tree/introduction-to-r/Begin%20here.ipynb", "introduction-to-r"),
        ("lab/tree/introduction%2Dto%2Dr", "introduction-to-r"),
        ("notebooks/introduction-to-r/x.ipynb?factory=x", "introduction-to-r"),
        ("tree/made/up", "other"),
        ("lab/tree/" + "x" * 2000, "other"),
    ],
)
def test_only_known_workshops_become_labels(target: str, workshop: str) -> None:
    catalogue = Catalogue(cast(Engine, None))
    start = "introduction-to-r/Begin here.ipynb"
    one = Workshop(slug="introduction-to-r", title="R", language="R", description="R", duration=5, start=start)
    catalogue.own = Manifest(workshops=(one,))
    assert catalogue.workshop_of(target) == workshop
    metrics = _metrics()
    metrics.session_started(workshop)
    assert f'tmpnb_workshop_claims_total{{workshop="{workshop}"}} 1.0' in _rendered(metrics).decode()
