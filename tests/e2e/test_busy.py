"""A session that mines is seen within its window, by everything that an operator looks at; and ended on request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.service import Deployment, Service

pytestmark = pytest.mark.waits

MINES = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'while True: pass'])"
# A machine that tests share with others may have less than that for it.
OPTIONS = ("--pool-size=2", "--cpu-quota=5000", "--busy-window=10s", "--busy-cpu=20")


async def mined(service: Service, client: Any) -> dict[str, Any]:
    """A session that keeps its processor busy from now on."""
    session = await service.spawn(client)
    async with client.post(f"/user/{session['id']}/exec", data=MINES.encode()) as response:
        assert response.status == 200, await response.text()
    return session


async def test_a_miner_is_named_and_its_neighbour_is_not(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, *OPTIONS)
    async with service.http() as client:
        miner, other = await mined(service, client), await service.spawn(client)
        event = await service.event("session_busy")
        assert (event["id"], event["action"], event["level"]) == (miner["id"], "warn", "warning")
        assert 0.2 <= event["cpu"] < 1.5
        assert miner["token"] not in json.dumps(event)
        async with client.get("/metrics") as response:
            metrics = (await response.text()).splitlines()
        assert "tmpnb_busy_sessions 1.0" in metrics
        [named] = [one for one in metrics if one.startswith("tmpnb_busiest_session_cpu_ratio")]
        assert named.startswith(f'tmpnb_busiest_session_cpu_ratio{{session="{miner["id"][:8]}"}} ')
        assert 0.1 < float(named.split()[-1]) < 1.5
        shown = await service.command("sessions", "--json")
        busy = {one["id"]: one["busy"] for one in json.loads(shown)["sessions"]}
        assert busy == {miner["id"]: True, other["id"]: False}
        assert f"1 sessions, most {miner['id']}" in (await service.command("status")).replace("\n", " ")
    assert not service.found("session_busy", id=other["id"])


async def test_it_ends_on_request_and_its_page_says_why(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, *OPTIONS, "--busy-action=end")
    async with service.http() as client:
        miner = await mined(service, client)
        await service.event("session_ended", id=miner["id"], reason="busy too long")
        headers = {"Authorization": f"token {miner['token']}", "Accept": "text/html"}
        async with client.get(miner["url"], headers=headers) as response:
            assert response.status == 410
            assert "kept the processor busy" in await response.text()
        async with client.get("/metrics") as response:
            assert 'tmpnb_ended_containers_total{reason="busy too long"} 1.0' in await response.text()
