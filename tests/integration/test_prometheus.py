"""A real Prometheus scrapes the service, evaluates our alerts, and answers the dashboard's questions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.inprocess import Rig, running
from tests.engine_support import skip_or_fail
from tests.ports import free_ports
from tmpnb_py.core.models import State

DOCS = Path(__file__).parents[2] / "docs"
SECONDS = 30.0
CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: tmpnb
    static_configs: [{{targets: ["127.0.0.1:{public}"]}}]
  - job_name: admin
    static_configs: [{{targets: ["127.0.0.1:{admin}"]}}]
"""


@contextlib.asynccontextmanager
async def prometheus(rig: Rig, directory: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A server of Debian's package that scrapes both listeners; yields a client for its API."""
    program = shutil.which("prometheus")
    if program is None:
        skip_or_fail("prometheus (Debian's package) is not installed")
    assert program is not None
    (port,) = free_ports(1)
    config = directory / "prometheus.yml"
    rules, service = DOCS / "prometheus" / "alerts.yaml", rig.service
    config.write_text(CONFIG.format(rules=rules, public=service.port, admin=service.admin_port))
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}/") as client:
            await _until_ready(client, directory / "log")
            yield client
    finally:
        process.terminate()
        await process.wait()


async def _until_ready(client: aiohttp.ClientSession, log: Path) -> None:
    for _ in range(int(SECONDS / 0.1)):
        with contextlib.suppress(aiohttp.ClientError):
            async with client.get("-/ready") as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise AssertionError(log.read_text())


async def _get(client: aiohttp.ClientSession, path: str, **query: str) -> Any:
    async with client.get(path, params=query) as response:
        answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]


async def _value(client: aiohttp.ClientSession, expression: str) -> float | None:
    found = (await _get(client, "api/v1/query", query=expression))["result"]
    return float(found[0]["value"][1]) if found else None


async def _becomes(client: aiohttp.ClientSession, expression: str, value: float) -> None:
    async with asyncio.timeout(SECONDS):
        while await _value(client, expression) != value:
            await asyncio.sleep(0.1)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(pool_size=2, max_containers=5) as rig:
        await rig.ready(2)
        yield rig


async def test_it_scrapes_evaluates_and_answers(rig: Rig, tmp_path: Path) -> None:
    await rig.spawn()
    async with prometheus(rig, tmp_path) as client:
        await _becomes(client, 'up{job="tmpnb"}', 1)
        await _becomes(client, 'up{job="admin"}', 1)
        await _becomes(client, 'tmpnb_claims_total{job="tmpnb",outcome="hit"}', 1)
        await _becomes(client, 'tmpnb_containers{job="tmpnb",state="ready"}', 2)

        rig.pool.close_to_newcomers()
        await _becomes(client, 'tmpnb_accepting{job="tmpnb"}', 0)
        rig.pool.open_to_newcomers()

        rig.engine.down = True
        rig.pool.observe_soon()
        await _becomes(client, 'ALERTS{alertname="TmpnbEngineDown",job="tmpnb",alertstate="pending"}', 1)
        await _becomes(client, 'tmpnb_engine_errors_total{job="tmpnb",call="hold",cause="engine down"} > bool 0', 1)
        rig.engine.down = False
        rig.pool.observe_soon()
        await rig.until(lambda: not rig.pool.engine_down)

        rules = (await _get(client, "api/v1/rules"))["groups"][0]["rules"]
        assert len(rules) == 11
        assert [rule for rule in rules if rule["health"] == "err"] == []


# --- all that the dashboard and the alerts ask for

# Queries that have nothing to show here, by their panels' titles and places, and why.
EMPTY = {
    ("The busiest sessions", 0): "no session keeps the processor busy",
    ("Ready with a warm kernel", 0): "the image in memory has no warm kernels",
    ("Warm kernels that failed", 0): "nor has one failed",
    ("Timetable: next change", 0): "there is no timetable",
}
# What alerts look at that no series has here.
UNSEEN = {"tmpnb_busiest_session_cpu_ratio": "no session keeps the processor busy"}
SELECTOR = re.compile(r"\b(?:tmpnb|process)_\w+(?:\{[^}]*\})?|\bup\{[^}]*\}")


async def test_every_query_of_the_dashboard_and_of_the_alerts_is_answered(tmp_path: Path) -> None:
    """Two pools, in which what the panels show has happened: each query has series, or is known to have none."""
    tables = {name: {"image": "fake", "pool_size": 1} for name in ("python", "r")}
    async with running(tables=tables) as rig:
        await rig.until(lambda: all(one.count(State.READY) == 1 for one in rig.service.site))
        async with prometheus(rig, tmp_path) as client:
            await _live(rig)
            async with asyncio.timeout(SECONDS):
                while (empty := await _empty_queries(client)) - EMPTY.keys():
                    await asyncio.sleep(0.2)
            assert empty == EMPTY.keys(), "these have something to show after all"
            await _check_variables(client)
            await _check_alerts(client)


async def _live(rig: Rig) -> None:
    """What happens to a service: sessions and their ends, starts that fail, an engine that is down for a moment."""
    for query in ("?pool=python&wait=30", "?pool=r&wait=30"):
        session = await rig.spawn(query)
        headers = {"Authorization": f"token {session['token']}"}
        async with rig.client.delete(f"/api/sessions/{session['id']}", headers=headers) as response:
            assert response.status == 200
    await rig.ready(1)
    rig.host.start_behaviour = "exits"
    await rig.spawn("?pool=python&wait=30")
    await rig.until(lambda: rig.pool.status.failure is not None)
    rig.host.start_behaviour = "ok"
    rig.engine.down = True
    rig.pool.observe_soon()
    await rig.until(lambda: rig.pool.engine_down)
    rig.engine.down = False
    rig.pool.observe_soon()
    await rig.until(lambda: not rig.pool.engine_down)


def _asked(query: str) -> str:
    return query.replace("$job", "tmpnb").replace("$instance", ".*").replace("$pool", ".*")


async def _empty_queries(client: aiohttp.ClientSession) -> set[tuple[str, int]]:
    """Those queries of the dashboard's panels that have nothing to show. Every one is valid."""
    board = json.loads((DOCS / "grafana" / "tmpnb-py.json").read_text())
    empty = set()
    for panel in board["panels"]:
        for number, target in enumerate(panel["targets"]):
            if not (await _get(client, "api/v1/query", query=_asked(target["expr"])))["result"]:
                empty.add((panel["title"], number))
    return empty


async def _check_variables(client: aiohttp.ClientSession) -> None:
    """Each of the dashboard's variables has values to choose from (`label_values(SERIES, LABEL)`)."""
    board = json.loads((DOCS / "grafana" / "tmpnb-py.json").read_text())
    values = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert found is not None
            series, label = _asked(found[1]), found[2]
            values[label] = await _get(client, f"api/v1/label/{label}/values", **{"match[]": series})
    assert values["pool"] == ["python", "r"]
    assert "tmpnb" in values["job"]
    assert len(values["instance"]) == 1


async def _check_alerts(client: aiohttp.ClientSession) -> None:
    """Each has been evaluated without an error, and looks at series that there are."""
    async with asyncio.timeout(SECONDS):  # they come one after the other, and a scrape that is late has none
        while (unseen := await _unseen(client)) - UNSEEN.keys():
            await asyncio.sleep(0.2)
    assert unseen == UNSEEN.keys()


async def _unseen(client: aiohttp.ClientSession) -> set[str]:
    """The series that alerts look at and that are not there, and the alerts that have not been evaluated yet."""
    unseen = set()
    for rule in (await _get(client, "api/v1/rules"))["groups"][0]["rules"]:
        assert rule["health"] != "err", rule
        if rule["health"] == "unknown":
            unseen.add(rule["name"])
        for selector in SELECTOR.findall(rule["query"]):
            if not (await _get(client, "api/v1/query", query=selector))["result"]:
                unseen.add(selector)
    return unseen
