"""A service with a timetable, as its visitors and its operator see it; days pass by the clock of its pool."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.inprocess import Rig, running
from tmpnb_py.core.models import State
from tmpnb_py.options.timetables import read_timetable

HTML = {"Accept": "text/html"}
SOON = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=2)  # not today, though midnight may pass
BEGINS = datetime.datetime.combine(SOON, datetime.time(14), datetime.UTC).timestamp()
ENDS = BEGINS + 2 * 3600
TABLE = {
    "dates": [SOON],
    "from": "14:00",
    "to": "16:00",
    "time_zone": "UTC",
    "pool_size": 4,
    "cull_timeout": "2h",
}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A pool of one that is closed until the day after tomorrow at two."""
    async with running(timetable=[{**TABLE, "only": True}], max_containers=8) as rig:
        await rig.until(lambda: rig.pool.listed)
        yield rig


def clock_at(rig: Rig, moment: float) -> None:
    """Set the clock that the pool sees, which goes on from there."""
    offset = moment - time.time()
    rig.pool._sizing._clock = lambda: time.time() + offset
    rig.pool.observe_soon()


async def status(rig: Rig) -> dict[str, Any]:
    async with rig.admin.get("/api/pool") as response:
        return dict(await response.json())


async def test_it_is_closed_outside_and_says_until_when(rig: Rig) -> None:
    assert rig.pool.size == 0, "nobody can have one"
    day = f"{SOON:%A}, {SOON.day} {SOON:%B}"
    words = f"It opens again on {day}, at 14:00 (UTC)."
    async with rig.client.get("/spawn", headers=HTML) as page:
        assert page.status == 503
        assert words in await page.text()
        assert 0 <= int(page.headers["Retry-After"]) - (BEGINS - time.time()) < 60
    async with rig.client.get("/", headers=HTML) as page:
        assert page.status == 200
        assert words in await page.text()
    async with rig.client.post("/api/spawn") as answer:
        told = await answer.json()
        assert (answer.status, told["status"]) == (503, "closed")
        assert told["message"].endswith(words)
        assert answer.headers["Retry-After"] == str(told["retry_after"])
    found = await status(rig)
    assert (found["closed"], found["shut_by_timetable"], found["size"], found["base"]) == (True, True, 0, 1)
    assert found["opens_at"] == f"{SOON}T14:00:00Z"
    assert [(one["state"], one["pool_size"]) for one in found["timetable"]] == [("next", 4)]


async def test_it_is_ready_before_it_opens_and_closes_without_ending_a_session(rig: Rig) -> None:
    clock_at(rig, BEGINS - 30)
    await rig.ready(4)
    assert not rig.pool.is_open
    assert [one["state"] for one in (await status(rig))["timetable"]] == ["preparing"]
    clock_at(rig, BEGINS)
    assert (await rig.spawn())["id"], "at once, and not at the next look"
    await rig.ready(4)
    assert rig.pool.limits.value.timeout == 7200
    assert [one["state"] for one in (await status(rig))["timetable"]] == ["on"]
    clock_at(rig, ENDS)
    await rig.until(lambda: rig.pool.count(State.READY) == 0)
    assert rig.pool.count(State.CLAIMED) == 1
    assert rig.pool.limits.value.timeout == 3600
    async with rig.client.get("/spawn", headers=HTML) as page:
        assert "When it opens again is not known yet." in await page.text()


async def test_who_waits_when_it_closes_keeps_the_place_and_is_served_when_it_opens(rig: Rig) -> None:
    clock_at(rig, BEGINS + 60)
    await rig.ready(4)
    for _ in range(8):
        await rig.spawn("?wait=30")
    async with rig.client.post("/api/tickets", json={}) as answer:
        ticket = await answer.json()
        assert (ticket["status"], ticket["position"]) == ("waiting", 1)
    clock_at(rig, ENDS)
    await rig.until(lambda: not rig.pool.is_open)
    session = rig.pool.in_state(State.CLAIMED)[0]
    async with rig.admin.delete(f"/api/sessions/{session.id}") as answer:
        assert answer.status in (200, 202, 204)
    await asyncio.sleep(0.1)
    async with rig.client.get(f"/api/tickets/{ticket['id']}") as answer:
        ticket = await answer.json()
        assert ticket["status"] == "waiting"
        assert "lets people in at certain times only" in ticket["message"]
    clock_at(rig, BEGINS + 60)
    await rig.until(lambda: rig.claims.waiting == 0)


async def test_the_operators_close_and_the_timetable_are_two_things(rig: Rig) -> None:
    clock_at(rig, BEGINS)
    await rig.until(lambda: rig.pool.is_open)
    async with rig.admin.post("/api/close") as answer:
        assert (await answer.json())["closed"]
    async with rig.client.get("/spawn", headers=HTML) as page:
        assert "The people who run this service are not letting anyone new in" in await page.text()
    clock_at(rig, ENDS)
    await rig.until(lambda: rig.pool.programme.is_shut)
    async with rig.admin.post("/api/open") as answer:
        found = await answer.json()
        assert (found["closed"], found["shut_by_timetable"]) == (True, True)


async def test_metrics_tell_the_target_and_the_next_change(rig: Rig) -> None:
    async with rig.admin.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    assert "tmpnb_pool_size 0.0" in lines
    assert "tmpnb_pool_size_base 1.0" in lines
    (change,) = [line for line in lines if line.startswith("tmpnb_timetable_next_change_timestamp_seconds ")]
    assert float(change.split()[1]) == BEGINS
    assert "tmpnb_accepting 0.0" in lines


async def test_a_reload_in_the_middle_changes_what_the_file_changes() -> None:
    async with running(timetable=[TABLE], max_containers=8) as rig:
        clock_at(rig, BEGINS + 600)
        await rig.ready(4)
        first = {one.id for one in rig.pool.in_state(State.READY)}
        settings = rig.service.options.current
        rig.service.reload(settings.model_copy(update={"max_wait": 5.0}))
        await asyncio.sleep(0.1)
        assert {one.id for one in rig.pool.in_state(State.READY)} == first
        chosen = type(settings)(**{**settings.model_dump(), "timetable": [{**TABLE, "pool_size": 6}]})
        rig.service.reload(chosen)
        await rig.ready(6)
        rig.service.reload(type(settings)(**{**settings.model_dump(), "timetable": []}))
        await rig.ready(1)


async def test_auto_says_why() -> None:
    async with running(pool_size="auto", pool_size_min=1, max_containers=50) as rig:
        await rig.ready(1)
        assert (await status(rig))["because"].startswith("1 because that is the least")
        for _ in range(30):
            await rig.spawn("?wait=30")
        await rig.until(lambda: rig.pool.size > 1)
        assert " a minute came in the last " in (await status(rig))["because"]


async def test_of_several_pools_each_has_its_own_timetable() -> None:
    """One is closed for now; the other one serves, and a program that asks for the first is told when."""
    entries = read_timetable([{**TABLE, "only": True}])
    tables = {"python": {"pool_size": 1}, "r": {"pool_size": 1, "timetable": entries}}
    async with running(tables=tables, max_containers=20) as rig:
        await rig.until(lambda: rig.service.site.listed)
        assert (await rig.spawn("?wait=30"))["id"]
        async with rig.client.post("/api/spawn?pool=r") as answer:
            told = await answer.json()
            assert (answer.status, told["status"]) == (503, "closed")
            assert "It opens again on " in told["message"]
        async with rig.client.get("/spawn?pool=r", headers=HTML) as page:
            assert page.status == 503
            assert "It opens again on " in await page.text()
        async with rig.admin.get("/api/pool") as answer:
            both = await answer.json()
            assert (both["closed"], both["shut_by_timetable"]) == (False, False)
            assert [(one["pool"], one["state"]) for one in both["timetable"]] == [("r", "next")]
        pool = rig.service.site.pools["r"]
        assert pool.size == 0
        pool._sizing._clock = lambda: BEGINS + 1
        pool.observe_soon()
        await rig.until(lambda: pool.count(State.READY) == 4)
        assert (await rig.spawn("?pool=r"))["id"]
