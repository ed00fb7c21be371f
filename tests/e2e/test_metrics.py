"""`/metrics` in Prometheus' own judgement, and whether the numbers follow what happens."""

from __future__ import annotations

import shutil
import subprocess

from tests.e2e.inprocess import Rig, running
from tests.engine_support import skip_or_fail


async def _text(rig: Rig) -> str:
    async with rig.client.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return await response.text()


async def _everything() -> str:
    """Metrics of a service in which each kind of thing has happened once."""
    async with running(pool_size=1, max_containers=1) as rig:
        rig.engine.start_behaviour = "exits"
        await rig.until(lambda: rig.pool.failure is not None)
        rig.engine.start_behaviour = "ok"
        await rig.ready(1)
        spawned = await rig.spawn()
        async with rig.client.get(spawned["url"]):
            pass
        async with rig.client.post("/api/spawn"):
            pass
        return await _text(rig)


async def test_promtool_finds_nothing() -> None:
    text = await _everything()
    promtool = shutil.which("promtool")
    if promtool is None:
        skip_or_fail("promtool is not installed: apt-get install prometheus")
    assert promtool is not None
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_the_numbers_follow_what_happens() -> None:
    async with running(pool_size=2, max_containers=2) as rig:
        await rig.ready(2)
        spawned = await rig.spawn()
        values = _values(await _text(rig))
        assert values['tmpnb_containers{state="ready"}'] == 1
        assert values['tmpnb_containers{state="claimed"}'] == 1
        assert values['tmpnb_claims_total{outcome="hit"}'] == 1
        assert values["tmpnb_capacity"] == 2
        assert values["tmpnb_engine_up"] == 1
        assert values["tmpnb_start_duration_seconds_count"] == 2
        async with rig.client.delete(
            f"/api/sessions/{spawned['id']}", headers={"Authorization": f"token {spawned['token']}"}
        ):
            pass
        rig.engine.down = True
        rig.pool.observe_soon()
        await rig.until(lambda: rig.pool.engine_down)
        values = _values(await _text(rig))
        assert values["tmpnb_engine_up"] == 0
        assert values['tmpnb_ended_containers_total{reason="ended by its owner"}'] == 1
        rig.engine.down = False


def _values(text: str) -> dict[str, float]:
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def test_no_id_and_no_token_is_in_them() -> None:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        text = await _text(rig)
        assert spawned["id"] not in text
        assert spawned["token"] not in text
