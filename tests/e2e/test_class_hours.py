"""A class gets in by its link in its time, whoever else is let in: the whole service on the engine in memory."""

from __future__ import annotations

import datetime
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.inprocess import Rig, running, with_tables
from tmpnb_py.bookings import fit
from tmpnb_py.bookings.model import Booking
from tmpnb_py.core.models import State
from tmpnb_py.options.timetables import read_timetable

HTML = {"Accept": "text/html"}
IN_A_MONTH = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=30)
TABLE = {"dates": [IN_A_MONTH], "from": "14:00", "to": "16:00", "time_zone": "UTC", "pool_size": 4, "only": True}


async def a_class(rig: Rig, **fields: Any) -> tuple[Booking, str, str]:
    """A class that is on, and its two keys."""
    now, bookings = time.time(), rig.service.site.agenda.bookings
    wish = {"id": "0000000a", "pool": rig.pool.name, "zone": "UTC", "people": 2, "for_class": True, **fields}
    made = Booking(**{"begins": now - 60, "ends": now + 3600, **wish})
    await bookings.book(made, fit.Space(100))
    return made, bookings.class_key(made), bookings.teacher_key(made)


async def drawn(rig: Rig, key: str = "") -> tuple[int, str]:
    """The status of the answer to somebody who wants a notebook, and that of the ticket."""
    async with rig.client.post("/api/tickets", json={"class_key": key, "fresh": True}) as answer:
        told = await answer.json()
        return answer.status, told["status"]


@pytest.fixture(params=["closed by the operator", "closed by the timetable"])
async def closed(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A service that lets nobody in."""
    by_hand = request.param == "closed by the operator"
    async with running(timetable=[] if by_hand else [TABLE], max_containers=8) as rig:
        await rig.until(lambda: rig.pool.listed)
        if by_hand:
            async with rig.admin.post("/api/close") as answer:
                told = await answer.json()
                assert (told["closed"], told["closed_to_classes"]) == (True, False)
        assert not rig.pool.is_open
        yield rig


async def test_a_class_gets_in_while_nobody_else_does(closed: Rig) -> None:
    booking, key, teacher = await a_class(closed)
    assert await drawn(closed) == (503, "closed")
    await closed.until(lambda: closed.pool.count(State.READY) >= 2)
    async with closed.client.get(f"/class/{key}", headers=HTML) as page:
        text = await page.text()
        assert (page.status, "ready for you at once" in text, "data-start" in text) == (200, True, True)
    async with closed.client.get(f"/teach/{teacher}", headers=HTML) as page:
        assert 'id="shut" hidden' in await page.text()
    assert [await drawn(closed, key) for _ in range(2)] == [(201, "ready")] * 2
    third = await drawn(closed, key)
    assert third[0] == 201, "one more than was booked: in line, where there is none of the pool's own"
    await closed.until(lambda: closed.pool.count(State.CLAIMED) == 3)
    assert await drawn(closed) == (503, "closed")
    await closed.service.site.agenda.bookings.cancel(booking.id)
    assert (await drawn(closed, key))[0] == 403


async def test_the_operator_can_keep_classes_out_as_well(closed: Rig) -> None:
    _, key, teacher = await a_class(closed)
    async with closed.admin.post("/api/close?classes=1") as answer:
        assert (await answer.json())["closed_to_classes"]
    async with closed.client.get(f"/class/{key}", headers=HTML) as page:
        assert (page.status, "not letting anyone new in" in await page.text()) == (503, True)
    assert await drawn(closed, key) == (503, "closed")
    async with closed.client.get(f"/teach/{teacher}", headers=HTML) as page:
        text = await page.text()
        assert 'id="shut" hidden' not in text
        assert "classes neither" in text
    async with closed.admin.post("/api/close?classes=yes") as answer:
        assert answer.status == 400
    async with closed.admin.post("/api/close") as answer:
        assert not (await answer.json())["closed_to_classes"]
    await closed.until(lambda: closed.pool.count(State.READY) >= 2)
    assert await drawn(closed, key) == (201, "ready")


async def test_a_class_of_a_pool_that_leaves_goes_on_in_another_and_comes_back() -> None:
    """A reload drops the table of the class's pool in the middle of it, by mistake; the next one puts that right."""
    tables = {"python": {"pool_size": 1}, "r": {"pool_size": 1}}
    async with running(tables=tables, max_containers=12) as rig:
        await rig.until(lambda: rig.service.site.listed)
        settings = rig.service.options.current
        await rig.until(lambda: rig.service.site.pools["r"].count(State.READY) == 1)
        _, key, teacher = await a_class(rig, pool="r", people=3)
        later = Booking(id="0000000b", pool="r", begins=4e9, ends=4e9 + 60, zone="UTC", people=2, title="b")
        await rig.service.site.agenda.bookings.book(later, fit.Space(100))
        await rig.until(lambda: rig.service.site.pools["r"].count(State.READY) == 4)
        assert await drawn(rig, key) == (201, "ready")
        (first,) = rig.service.site.pools["r"].in_state(State.CLAIMED)
        rig.service.reload(with_tables(settings, python={"pool_size": 1}))
        await rig.until(lambda: rig.pool.count(State.READY) == 3, 10)
        assert rig.service.site.pools["r"].count(State.READY) == 0
        assert rig.service.site.session(first.id) is first, "who has one keeps it"
        assert await drawn(rig, key) == (201, "ready")
        async with rig.admin.get("/api/status") as answer:
            warnings = (await answer.json())["warnings"]
        assert ["0000000a" in warnings[0], "0000000b" in warnings[1]] == [True, True]
        assert "is of the pool r, which there is no more: python serves it" in warnings[0]
        async with rig.client.get(f"/teach/{teacher}", headers=HTML) as page:
            assert '<b id="came">2</b>' in await page.text()
        rig.service.reload(settings)
        await rig.until(lambda: rig.service.site.pools["r"].count(State.READY) == 2, 10)
        assert await drawn(rig, key) == (201, "ready")
        assert rig.service.site.pools["r"].count(State.CLAIMED) == 2
        async with rig.admin.get("/api/status") as answer:
            assert (await answer.json())["warnings"] == []


async def test_who_books_for_everybody_while_nobody_is_let_in_is_told() -> None:
    async with running(timetable=[{**TABLE, "pool_size": 1}], max_containers=12) as rig:
        await rig.until(lambda: rig.pool.listed)
        wish = {"people": 2, "time_zone": "UTC"}
        for hours, for_class, is_told in (
            ("14:00-15:00", False, False),
            ("9:00-10:00", True, False),
            ("9:00-10:00", False, True),
        ):
            body = {**wish, "when": f"{IN_A_MONTH} {hours}", "for_class": for_class, "title": f"{hours}{for_class}"}
            async with rig.admin.post("/api/bookings", json=body) as answer:
                told = await answer.json()
                assert answer.status == 201, told
                assert ("lets nobody in at that time but classes" in told["note"]) is is_told


async def test_who_books_the_hour_after_another_class_is_told() -> None:
    async with running(max_containers=12) as rig:
        await rig.until(lambda: rig.pool.listed)
        wish = {"when": f"{IN_A_MONTH} 14:00-16:00", "people": 8, "time_zone": "UTC", "title": "Knots"}
        for hours, people, words in (
            ("14:00-16:00", 8, ""),
            ("16:00-18:00", 5, "8 by the booking "),
            ("18:00-19:00", 7, ""),
        ):
            body = {**wish, "when": f"{IN_A_MONTH} {hours}", "people": people}
            async with rig.admin.post("/api/bookings", json=body) as answer:
                told = await answer.json()
                assert answer.status == 201
                assert (words in told["note"], bool(told["note"])) == (True, bool(words)), told["note"]


async def test_a_booking_and_the_timetables_of_that_hour_count_each_other() -> None:
    """Of all pools; the refusal says whose time it is, and beside it there is room."""
    date = f"{IN_A_MONTH}"
    tables = {
        "python": {"pool_size": 1},
        "r": {"pool_size": 1, "timetable": read_timetable([{**TABLE, "pool_size": 8, "only": False}])},
    }
    async with running(tables=tables, max_containers=12) as rig:
        await rig.until(lambda: rig.service.site.listed)
        wish = {"when": f"{date} 15:00-17:00", "people": 6, "time_zone": "UTC", "title": "Knots"}
        async with rig.admin.post("/api/bookings", json=wish) as answer:
            told = (await answer.json())["message"]
            assert answer.status == 409
        assert "8 by the timetable of r (" in told
        assert f"{date} 14:00-16:00 UTC), so there is room for 4" in told
        async with rig.admin.post("/api/bookings", json={**wish, "pool": "r"}) as answer:
            assert answer.status == 409, "it comes on top of its own pool's, too"
        async with rig.admin.post("/api/bookings", json={**wish, "when": f"{date} 16:00-18:00"}) as answer:
            assert answer.status == 201, await answer.text()
        async with rig.admin.post(
            "/api/bookings", json={**wish, "when": f"{date} 17:00-19:00", "title": "b", "people": 7}
        ) as answer:
            told = (await answer.json())["message"]
            assert "6 by the booking " in told
        async with rig.admin.post(
            "/api/bookings", json={**wish, "when": f"{date} 14:00-16:00", "people": 4}
        ) as answer:
            assert answer.status == 201, await answer.text()
