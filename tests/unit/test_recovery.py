"""Over a restart everybody keeps the place in line, or the notebook that was given."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.claims_support import LEASE, World, a_world, restarted, take_up
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import LineFullError
from tmpnb_py.core.models import EndReason, State


def _ticket(world: World, of: Ticket) -> Ticket:
    found = world.claims.find(of.id)
    assert found is not None
    return found


async def test_the_line_outlives_the_service_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        drawn = [await world.claims.open_ticket(f"lab/tree/{number}") for number in range(4)]
        world.claims.leave(drawn[1])
        world.passed(30)
    async with restarted(path) as world:
        assert world.claims.waiting == 3
        again = [world.claims.find(one.id) for one in drawn]
        assert [one and (one.target, world.claims.position(one)) for one in again] == [
            ("lab/tree/0", 1), None, ("lab/tree/2", 2), ("lab/tree/3", 3),
        ]  # fmt: skip
        newcomer = await world.claims.open_ticket("lab")
        assert world.claims.position(newcomer) == 4
        one = world.ready()
        assert again[0] is not None
        await world.settled(again[0])
        assert again[0].container is one


async def test_who_was_served_and_not_told_has_that_very_notebook_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
        world.ready()
        await world.settled(first)
    async with restarted(path, "c1") as world:
        again = _ticket(world, first)
        assert (again.status, again.container and again.container.id) == (Status.READY, "c1")
        assert world.claims.position(_ticket(world, second)) == 1
        world.claims.announce(again)
    async with restarted(path, "c1") as world:
        again = _ticket(world, first)
        assert (again.status, again.container and again.container.id) == (Status.ANNOUNCED, "c1")
        # Told is told: what becomes of the notebook is the reaper's affair, who knows when it was last used.
        world.passed(LEASE * 3)
        assert world.pool.count(State.CLAIMED) == 1
    async with restarted(path) as world:  # it has ended
        assert world.claims.find(first.id) is None


async def test_where_the_notebook_is_gone_as_well_the_turn_is_still_theirs(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
        world.ready()
        await world.settled(first)
    async with restarted(path, "other") as world:
        assert [world.claims.position(_ticket(world, one)) for one in (first, second)] == [1, 2]


async def test_before_the_engine_is_listed_nobody_is_served_twice(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
        world.ready()
        await world.settled(first)
    async with a_world(path) as world:
        world.claims.restore()
        world.made = 5
        world.ready()  # taken up before the claimed one
        world.passed(5)
        assert world.pool.count(State.READY) == 1
        claimed = take_up(world, "c1")
        world.pool.engine_is_listed()
        world.passed(1)
        await world.settled(_ticket(world, first), _ticket(world, second))
        assert _ticket(world, first).container is claimed
        assert _ticket(world, second).container is not claimed


async def test_what_another_process_made_of_the_line_is_taken_up_when_that_is_gone(tmp_path: Path) -> None:
    """As after a crash: who was served there is not served again, and who came there keeps the place."""
    path = tmp_path / "line"
    async with restarted(path) as old:
        served, left = [await old.claims.open_ticket("lab") for _ in range(2)]
        waiting = await old.claims.open_ticket("lab", idempotency_key="k" * 32)
        old.claims.suspend()
        old.claims.hand_on()
        async with restarted(path) as new:
            new.ready()
            await new.settled(_ticket(new, served))
            new.claims.leave(_ticket(new, left))
            newcomer = await new.claims.open_ticket("lab/tree/new")
        old.pool.forget_listing()
        old.claims.resume(anew=True)
        container = take_up(old, "c1")
        old.pool.engine_is_listed()
        old.passed(1)
        assert _ticket(old, served).container is container
        assert old.claims.find(left.id) is None
        assert [old.claims.position(_ticket(old, one)) for one in (waiting, newcomer)] == [1, 2]
        assert (await old.claims.open_ticket("lab", idempotency_key="k" * 32)).id == waiting.id
        assert _ticket(old, newcomer).target == "lab/tree/new"


async def test_who_never_comes_back_gets_one_notebook_at_most_however_often_the_service_crashes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        gone = await world.claims.open_ticket("lab")
        world.ready()
        await world.settled(gone)
    for _ in range(3):
        async with restarted(path, "c1") as world:
            world.passed(10)
            world.ready()
            assert world.pool.count(State.CLAIMED) == 1
    async with restarted(path, "c1") as world:
        world.passed(LEASE + 1)
        assert world.pool.count(State.CLAIMED) == 0
        assert world.claims.find(gone.id) is None


async def test_who_gives_up_before_the_notebook_was_found_again_leaves_none_behind(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        first = await world.claims.open_ticket("lab")
        world.ready()
        await world.settled(first)
    async with a_world(path) as world:
        world.claims.restore()
        world.claims.leave(_ticket(world, first))
        claimed = take_up(world, "c1")
        world.pool.engine_is_listed()
        world.passed(1)
        assert (claimed.state, claimed.reason) == (State.REMOVING, EndReason.UNVISITED)


async def test_who_does_not_come_back_after_a_restart_keeps_the_place_for_the_lease(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        drawn = [await world.claims.open_ticket("lab") for _ in range(2)]
    async with restarted(path) as world:
        world.passed(LEASE - 1)
        world.claims.renew(_ticket(world, drawn[1]))
        world.passed(2)
        assert world.claims.find(drawn[0].id) is None
        assert world.claims.waiting == 1
    async with restarted(path) as world:
        assert world.claims.waiting == 1


async def test_a_page_that_was_closed_holds_no_place_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        closed, reloaded = [await world.claims.open_ticket("lab") for _ in range(2)]
        for one in (closed, reloaded):
            world.claims.release(one, 15)
        world.claims.renew(reloaded)
    async with restarted(path) as world:
        world.passed(20)
        assert world.claims.find(closed.id) is None
        assert world.claims.position(_ticket(world, reloaded)) == 1


async def test_nobody_is_served_or_given_up_while_the_service_stops(tmp_path: Path) -> None:
    """Nobody could be told; and nobody can come back just then."""
    path = tmp_path / "line"
    async with restarted(path) as world:
        first = await world.claims.open_ticket("lab")
        world.claims.stop()
        world.ready()
        world.passed(LEASE * 2)
        assert world.pool.count(State.READY) == 1
    async with restarted(path) as world:
        assert world.claims.position(_ticket(world, first)) == 1


async def test_how_long_one_has_waited_goes_on_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        await world.claims.open_ticket("lab")
    since = str(json.loads(path.read_text().splitlines()[0])["since"])
    path.write_text(path.read_text().replace(since, str(float(since) - 90)))
    async with restarted(path) as world:
        assert world.claims.waits(world.now) == [pytest.approx(90, abs=30)]


async def test_whoever_was_let_into_the_line_is_not_turned_away_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        first = [await world.claims.open_ticket("lab") for _ in range(5)]  # the line is full
        world.ready()
        world.ready()
        await world.settled(*first[:2])
        first += [await world.claims.open_ticket("lab") for _ in range(2)]
    async with restarted(path) as world:
        assert [world.claims.position(_ticket(world, one)) for one in first] == [1, 2, 3, 4, 5, 6, 7]
        with pytest.raises(LineFullError):
            await world.claims.open_ticket("lab")


async def test_a_restart_of_a_closed_service_keeps_the_places_too(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with restarted(path) as world:
        first = await world.claims.open_ticket("lab")
    async with a_world(path) as world:
        world.pool.close_to_newcomers()
        assert world.claims.restore() == 1
        ready = world.ready()
        world.passed(1)
        assert (_ticket(world, first).status, ready.state) == (Status.WAITING, State.READY)
    async with restarted(path) as world:
        assert world.claims.position(_ticket(world, first)) == 1


async def test_who_waits_with_an_open_request_is_not_written_down(tmp_path: Path) -> None:
    """Their connection ends with the service, so nobody would come for the notebook."""
    path = tmp_path / "line"
    async with restarted(path) as world:
        waiting = asyncio.create_task(world.claims.claim(wait=60))
        await world.until(lambda: world.claims.waiting == 1)
        assert path.read_bytes() == b""
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
