"""What is held back for classes: nobody else gets it, and who comes by the link while it lasts never waits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.claims_support import Clock, World, a_world
from tmpnb_py.bookings import fit
from tmpnb_py.bookings.agenda import Agenda
from tmpnb_py.bookings.model import VERSION, Booking, State
from tmpnb_py.claims import choice
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import ClosedError, FullError
from tmpnb_py.core.models import EndReason
from tmpnb_py.core.models import State as ContainerState
from tmpnb_py.core.state_file import StateFile
from tmpnb_py.pools.ready_target import Part

BEGINS, ENDS = 10_000.0, 17_200.0
CLASS = Booking(id="0000000a", pool="test", begins=BEGINS, ends=ENDS, zone="UTC", people=3, for_class=True)

# --- the choice, pure

LINE = st.lists(st.integers(0, 2), max_size=8)  # the class of each who waits, 0 for none


@given(LINE, st.integers(0, 8), st.tuples(st.just(0), st.integers(0, 4), st.integers(0, 4)))
def test_the_choice(line: list[int], ready: int, lefts: tuple[int, int, int]) -> None:
    held = sum(lefts)
    chosen = choice.next_served(range(len(line)), lambda index: lefts[line[index]], ready, held)
    if chosen is None:
        assert not ready or not line or (ready <= held and not any(lefts[one] for one in line)), "nothing lies idle"
        return
    assert ready > 0
    assert choice.may_have(ready, held, is_reserved=lefts[line[chosen]] > 0)
    assert lefts[line[chosen]] or ready > held, "who is of no class takes nothing that is held"
    before = line[:chosen]
    assert ready <= held or not before, "first come, first served"
    assert not any(lefts[one] for one in before), "and so it is among those of the classes"


# --- the whole


@pytest.fixture
def clock() -> Clock:
    return Clock(BEGINS)


@pytest.fixture
def agenda(clock: Clock) -> Agenda:
    return Agenda(clock=clock)


@pytest.fixture
async def world(agenda: Agenda) -> AsyncIterator[World]:
    async with a_world(agenda=agenda) as world:
        await agenda.bookings.book(CLASS, fit.Space(100))
        yield world


def of_class(world: World) -> Awaitable[Ticket]:
    return world.claims.open_ticket("lab", booking=CLASS.id)


async def test_drop_in_visitors_do_not_get_what_is_held(world: World) -> None:
    for _ in range(4):
        world.ready()
    drop_ins = [await world.claims.open_ticket("lab") for _ in range(3)]
    assert [one.status for one in drop_ins] == [Status.READY, Status.WAITING, Status.WAITING]
    with pytest.raises(FullError):
        await world.claims.claim()
    members = [await of_class(world) for _ in range(3)]
    assert {one.status for one in members} == {Status.READY}
    assert world.claims.reserved == 0
    late = await of_class(world)
    assert (late.status, world.claims.position(late)) == (Status.WAITING, 3), "the reserve is used up: as others"
    world.ready()
    await world.settled(drop_ins[1])


async def test_who_comes_while_the_reserve_lasts_is_before_those_who_may_not_have_it(world: World) -> None:
    drop_in = await world.claims.open_ticket("lab")
    member = await of_class(world)
    assert world.claims.waiting_of(CLASS.id) == 1
    world.ready()
    await world.settled(member)
    assert drop_in.is_waiting
    for _ in range(3):
        world.ready()
    await world.settled(drop_in)
    assert world.pool.count(ContainerState.READY) == world.claims.reserved == 2


async def test_a_container_that_proves_dead_costs_a_member_no_place_and_takes_no_reserve(world: World) -> None:
    dead, *_ = world.ready(), world.ready(), world.ready()
    world.engine.taken = frozenset({dead.id})
    member = await of_class(world)
    assert member.status is Status.READY
    assert member.container is not dead
    assert world.claims.reserved == 2


async def test_what_nobody_opened_is_another_ones(world: World, agenda: Agenda) -> None:
    one, _ = world.ready(), world.ready()
    await of_class(world)
    assert world.claims.reserved == 2
    world.pool.end(one, EndReason.UNVISITED, world.now)
    assert world.claims.reserved == 3
    member = await of_class(world)
    assert member.container is not None
    world.pool.end(member.container, EndReason.IDLE, world.now)
    found = agenda.bookings.get(CLASS.id)
    assert found is not None
    assert (world.claims.reserved, found.came) == (2, 1), "who came and left has come"


async def test_it_is_asked_for_before_and_given_back_after(world: World, agenda: Agenda, clock: Clock) -> None:
    first = world.pool.lead(3)
    part = world.claims._reserve.part
    clock.now = BEGINS - first - 10
    assert (part(clock.now), world.claims.reserved) == (Part(0, BEGINS - first), 0)
    clock.now = BEGINS - first
    assert (part(clock.now), world.claims.reserved) == (Part(3, ENDS), 3)
    clock.now = ENDS - 1
    assert (part(clock.now).count, world.claims.reserved) == (3, 3)
    await agenda.bookings.extend(CLASS.id, 1200, fit.Space(100))
    clock.now = ENDS + 1199
    assert world.claims.reserved == 3
    clock.now = ENDS + 1200
    assert (part(clock.now).count, world.claims.reserved) == (0, 0)


async def test_a_booking_without_a_link_asks_for_as_many_as_have_not_come(
    world: World, agenda: Agenda, clock: Clock
) -> None:
    await agenda.bookings.cancel(CLASS.id)
    open_to_all = CLASS.model_copy(update={"for_class": False, "people": 2})
    await agenda.bookings.book(open_to_all, fit.Space(100))
    assert (world.claims._reserve.part(clock.now).count, world.claims.reserved) == (2, 0)
    world.ready()
    assert (await world.claims.open_ticket("lab")).status is Status.READY
    assert world.claims._reserve.part(clock.now).count == 1


async def test_a_restart_in_the_middle_of_the_class(tmp_path: Path, clock: Clock) -> None:
    """Who came is known, and a member who waits has not become a drop-in visitor, whom the reserve would keep out."""

    def agenda() -> Agenda:
        found = Agenda(StateFile(tmp_path / "state.json", State, version=VERSION, prepare=lambda: None), clock=clock)
        found.load()
        return found

    before, line = agenda(), tmp_path / "line"
    async with a_world(line, before) as world:
        world.claims.restore()
        await before.bookings.book(CLASS, fit.Space(100))
        world.ready()
        first = await of_class(world)
        assert first.container is not None
        await before.settled()
        waits, drop_in = await of_class(world), await world.claims.open_ticket("lab")
        written = line.read_bytes()
    line.write_bytes(written)  # it was killed
    after = agenda()
    async with a_world(line, after) as world:
        world.claims.restore()
        world.pool.engine_is_listed()
        assert after.bookings.of_member(first.container.id) is not None
        assert world.claims.reserved == 2
        waiting, other = world.claims.find(waits.id), world.claims.find(drop_in.id)
        assert waiting is not None
        assert other is not None
        world.ready()
        await world.settled(waiting)
        assert other.is_waiting


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens(world: World, agenda: Agenda, clock: Clock, seed: int) -> None:
    """At any moment: no drop-in visitor has taken what was held, nobody waits whom something ready is for."""
    chance = random.Random(seed)
    tickets: list[Ticket] = []

    async def arrive(booking: str) -> None:
        tickets.append(await world.claims.open_ticket("lab", booking=booking))

    steps: list[Callable[[], Awaitable[None]]] = [lambda: arrive(""), lambda: arrive(CLASS.id)]
    for _ in range(60):
        if chance.random() < 0.5:
            world.ready()
        elif world.claims.waiting < 5:
            ready, held = world.pool.claimable, world.claims.reserved
            step = chance.randrange(2)
            await steps[step]()
            newest = tickets[-1]
            if step == 1 and held and ready:
                assert newest.status is Status.READY, "who comes with the link while the reserve lasts never waits"
            if step == 0 and newest.status is not Status.WAITING:
                assert ready > held
        if chance.random() < 0.1:
            waiting = [one for one in tickets if one.is_waiting]
            if waiting:
                world.claims.leave(chance.choice(waiting))
        await asyncio.sleep(0.002)
        await world.until(lambda: all(one.status is not Status.HANDING_OVER for one in tickets))
        ready, held = world.pool.claimable, world.claims.reserved
        in_line = world.claims.in_line()
        assert not in_line or ready <= held, "nothing lies idle"
        assert not ready or not held or not any(one.booking for one in in_line)


# --- while nobody else is let in


async def test_a_class_gets_in_while_the_operator_has_closed_the_pool_to_others(
    world: World, agenda: Agenda, clock: Clock
) -> None:
    for _ in range(4):
        world.ready()
    waiting = [await world.claims.open_ticket("lab") for _ in range(3)][1:]
    world.pool.close_to_newcomers()
    with pytest.raises(ClosedError):
        await world.claims.open_ticket("lab")
    assert world.claims.admitted == 0
    members = [await of_class(world) for _ in range(3)]
    assert {one.status for one in members} == {Status.READY}
    late = await of_class(world)
    assert (late.status, world.claims.position(late), world.claims.admitted) == (Status.WAITING, 1, 1)
    assert world.pool.need().waiting == (late.joined_at,), "for whom a container is started"
    world.ready()
    await world.settled(late)
    assert [one.status for one in waiting] == [Status.WAITING] * 2, "these wait for the operator"
    world.ready()
    await asyncio.sleep(0)
    assert [one.status for one in waiting] == [Status.WAITING] * 2
    clock.now = ENDS
    with pytest.raises(ClosedError):
        await of_class(world)
    world.pool.open_to_newcomers()
    world.ready()
    await world.settled(*waiting)


async def test_a_pool_that_is_closed_to_classes_lets_nobody_in(world: World) -> None:
    world.ready()
    world.pool.close_to_newcomers(to_classes=True)
    with pytest.raises(ClosedError):
        await of_class(world)
    world.pool.close_to_newcomers()
    assert (await of_class(world)).status is Status.READY


async def test_another_class_does_not_get_in_outside_of_its_time(world: World, agenda: Agenda) -> None:
    later = CLASS.model_copy(update={"id": "0000000b", "begins": ENDS, "ends": ENDS + 60, "title": "later"})
    await agenda.bookings.book(later, fit.Space(100))
    open_to_all = later.model_copy(update={"id": "0000000c", "begins": BEGINS, "title": "open", "for_class": False})
    await agenda.bookings.book(open_to_all, fit.Space(100))
    world.ready()
    world.pool.close_to_newcomers()
    for booking in (later.id, open_to_all.id, "0000000d"):
        with pytest.raises(ClosedError):
            await world.claims.open_ticket("lab", booking=booking)


@pytest.mark.parametrize("seed", range(6))
async def test_two_classes_of_one_minute_whatever_the_operator_does(world: World, agenda: Agenda, seed: int) -> None:
    """Each has its own reserve; while it is closed no drop-in visitor is served; nobody waits for nothing."""
    other = CLASS.model_copy(update={"id": "0000000b", "title": "other", "people": 4})
    await agenda.bookings.book(other, fit.Space(100))
    chance, tickets = random.Random(seed), list[Ticket]()
    for _ in range(70):
        before = {one.id: one.status for one in tickets}
        step = chance.random()
        left = {one.id: world.claims.left_of(one.id) for one in (CLASS, other)}
        ready = world.pool.claimable
        gate_was_open, admits = world.pool.is_open, world.pool.admits_classes
        if step < 0.4:
            world.ready()
        elif step < 0.85 and world.claims.waiting < 5:
            booking = chance.choice(["", CLASS.id, other.id])
            try:
                tickets.append(await world.claims.open_ticket("lab", booking=booking))
            except ClosedError:
                assert not gate_was_open
                assert not booking or not admits
            else:
                assert gate_was_open or (booking and admits)
                if booking and left[booking] and ready:
                    assert tickets[-1].status is Status.READY
        elif step < 0.95:
            world.pool.close_to_newcomers(to_classes=chance.random() < 0.4)
        else:
            world.pool.open_to_newcomers()
        await asyncio.sleep(0.002)
        await world.until(lambda: all(one.status is not Status.HANDING_OVER for one in tickets))
        served = [one for one in tickets if one.status is Status.READY and before.get(one.id) is Status.WAITING]
        if not (gate_was_open or world.pool.is_open):
            assert all(one.booking for one in served)
        ready = world.pool.claimable
        waiting = [one for one in world.claims.in_line() if world.claims.admits(one.booking)]
        assert not waiting or ready <= world.claims.reserved, "nothing lies idle for who is let in"
        assert not ready or not any(world.claims.left_of(one.booking) for one in waiting)
        assert world.claims.reserved == sum(world.claims.left_of(one.id) for one in (CLASS, other))
        assert world.claims.admitted == len(waiting)
