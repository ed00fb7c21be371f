"""A real Prometheus scrapes the service, evaluates our alerts, and answers the dashboard's questions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.inprocess import Rig, running
from tests.engine_support import skip_or_fail
from tests.ports import free_ports

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
        assert len(rules) == 10
        assert [rule for rule in rules if rule["health"] == "err"] == []
        # A rate needs two scrapes of the same series, and a session's end has not been seen here.
        gauges = {"Ready", "In use", "Containers", "Connections", "Version", "Open files", "Engine answers"}
        async with asyncio.timeout(SECONDS):
            while gauges & await _empty_panels(client):
                await asyncio.sleep(0.2)


async def _empty_panels(client: aiohttp.ClientSession) -> set[str]:
    """Those panels of the dashboard that have nothing to show. Every query of it is valid."""
    board = json.loads((DOCS / "grafana" / "tmpnb-py.json").read_text())
    empty = set()
    for panel in board["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$job", "tmpnb").replace("$instance", ".*")
            if not (await _get(client, "api/v1/query", query=query))["result"]:
                empty.add(panel["title"])
    return empty
