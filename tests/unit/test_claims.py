"""Tickets: first come, first served, nobody served twice, nobody lost, whatever the engine and the visitors do."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from tests.claims_support import LEASE, World, a_world
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import (
    AddressFullError,
    ClosedError,
    EngineDownError,
    FullError,
    LineFullError,
    NoSuchContainerError,
)
from tmpnb_py.core.models import EndReason, State


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("tmpnb_py.claims.handover._PATIENCE", 60.0)  # a busy machine is no hanging container
    async with a_world() as world:
        yield world


async def test_a_ticket_is_ready_at_once_where_something_is(world: World) -> None:
    one = world.ready()
    ticket = await world.claims.open_ticket("lab")
    assert (ticket.status, ticket.container) == (Status.READY, one)
    assert world.claims.position(ticket) is None
    assert world.claims.find(ticket.id) is ticket
    assert world.counted("hit") == 1


async def test_pages_and_programs_stand_in_one_line(world: World) -> None:
    first = await world.claims.open_ticket("lab")
    second = asyncio.create_task(world.claims.claim(wait=60))
    await world.until(lambda: world.claims.waiting == 2)
    third = await world.claims.open_ticket("lab")
    assert [world.claims.position(ticket) for ticket in (first, third)] == [1, 3]
    made = [world.ready() for _ in range(3)]
    await world.settled(first, third)
    assert [first.container, await second, third.container] == made
    assert world.counted("waited") == 3


async def test_a_key_used_twice_is_one_wish_even_at_the_same_moment(world: World) -> None:
    world.ready()
    world.ready()
    drawn = await asyncio.gather(*(world.claims.open_ticket("lab", idempotency_key="k") for _ in range(3)))
    await world.settled(*drawn)
    assert len({ticket.id for ticket in drawn}) == 1
    assert world.pool.count(State.READY) == 1
    container = drawn[0].container
    assert container is not None
    world.pool.end(container, EndReason.IDLE, world.now)
    assert (await world.claims.open_ticket("lab", idempotency_key="k")).container is not container


async def test_a_visitor_who_reloads_in_the_very_moment_gets_what_was_being_claimed(world: World) -> None:
    world.engine.delays["claim"] = 0.01
    one, two = world.ready(), world.ready()
    first = asyncio.create_task(world.claims.open_ticket("lab", idempotency_key="k"))
    await world.until(lambda: one.state is State.CLAIMED)
    first.cancel()
    again = await world.claims.open_ticket("lab", idempotency_key="k")
    assert world.claims.find(again.id) is again
    await world.settled(again)
    assert first.cancelled()
    assert (again.container, two.state) == (one, State.READY)


async def test_a_place_is_kept_for_the_lease_and_then_given_up(world: World) -> None:
    away, asks, watches = [await world.claims.open_ticket("lab") for _ in range(3)]
    with world.claims.watching(watches):
        world.passed(LEASE - 1)
        assert world.claims.find(away.id) is away  # which alone does not keep it
        world.claims.renew(asks)
        world.passed(2)
        assert (away.status, world.claims.find(away.id)) == (Status.LEFT, None)
        assert world.claims.position(asks) == 1
        world.passed(LEASE)
        assert [asks.status, watches.status] == [Status.LEFT, Status.WAITING]
    world.passed(LEASE - 1)
    assert world.claims.waiting == 1
    world.passed(1)
    assert world.claims.find(watches.id) is None
    assert world.claims.waiting == 0
    assert world.counted("left") == 3


async def test_a_page_that_is_left_gives_its_place_up_soon_unless_it_comes_back(world: World) -> None:
    left, reloaded = [await world.claims.open_ticket("lab") for _ in range(2)]
    for ticket in (left, reloaded):
        world.claims.release(ticket, 15)
    world.passed(10)
    world.claims.renew(reloaded)
    world.passed(6)
    assert [left.status, reloaded.status] == [Status.LEFT, Status.WAITING]


@pytest.mark.parametrize("first", ["stream", "words"])
async def test_a_page_that_says_that_it_is_left_may_do_so_before_or_after_its_stream_ends(
    world: World, first: str
) -> None:
    ticket = await world.claims.open_ticket("lab")
    with world.claims.watching(ticket):
        if first == "words":
            world.claims.release(ticket, 15)
            world.passed(60)
            assert ticket.status is Status.WAITING
    if first == "stream":
        world.claims.release(ticket, 15)
    world.passed(14)
    assert world.claims.waiting == 1
    world.passed(1)
    assert world.claims.waiting == 0


async def test_served_while_away_it_waits_for_the_lease_and_no_longer(world: World) -> None:
    away, other = [await world.claims.open_ticket("lab") for _ in range(2)]
    one, _ = world.ready(), world.ready()
    await world.settled(away, other)
    assert world.claims.announce(other)
    world.passed(LEASE - 1)
    assert one.state is State.CLAIMED
    world.passed(1)
    assert (one.state, one.reason) == (State.REMOVING, EndReason.UNVISITED)
    assert world.claims.find(away.id) is None
    # Whoever was told may be about to open it: that is left to the reaper, and the ticket can still be found.
    assert other.container is not None
    assert other.container.state is State.CLAIMED
    assert world.claims.find(other.id) is other
    world.pool.end(other.container, EndReason.IDLE, world.now)
    assert other.status is Status.ENDED
    world.passed(LEASE)
    assert world.claims.find(other.id) is None


async def test_giving_up_gives_back_what_was_never_opened(world: World) -> None:
    waiting = await world.claims.open_ticket("lab")
    world.claims.leave(waiting)
    assert world.claims.waiting == 0
    unopened, opened = world.ready(), world.ready()
    opened.visited = True
    tickets = [await world.claims.open_ticket("lab") for _ in range(2)]
    for ticket in tickets:
        world.claims.leave(ticket)
    assert [unopened.state, opened.state] == [State.REMOVING, State.CLAIMED]


async def test_who_leaves_while_being_served_loses_nothing_for_the_others(world: World) -> None:
    leaver, stayer = [await world.claims.open_ticket("lab") for _ in range(2)]
    world.engine.delays["claim"] = 0.02
    one = world.ready()
    world.claims.leave(leaver)
    two = world.ready()
    await world.settled(stayer)
    assert stayer.container is two
    await world.until(lambda: one.state is State.REMOVING)
    assert leaver.status is Status.LEFT


async def test_a_claim_that_fails_costs_nobody_the_place(world: World) -> None:
    first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
    world.engine.fail_next("claim", NoSuchContainerError("gone"))
    world.ready()
    await world.until(lambda: first.status is Status.WAITING and world.claims.waiting == 2)
    assert [world.claims.position(ticket) for ticket in (first, second)] == [1, 2]
    two, three = world.ready(), world.ready()
    await world.settled(first, second)
    assert [first.container, second.container] == [two, three]


async def test_a_claim_that_breaks_leaves_no_container_claimed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then whether the engine has marked it, so nobody gets it."""
    one, other = world.ready(), world.ready()

    async def breaks(container_id: str, unix_time: float) -> bool:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(world.engine, "claim", breaks)
        with pytest.raises(MemoryError):
            await world.claims.claim()
    assert (one.state, one.reason) == (State.REMOVING, EndReason.CLAIM_FAILED)
    assert await world.claims.claim() is other


async def test_nobody_overtakes_whose_container_proves_dead(world: World) -> None:
    """Neither a newcomer nor who joined behind them; and all are served once that is decided."""
    world.engine.delays["claim"] = 0.02
    world.engine.fail_next("claim", NoSuchContainerError("gone"))
    first = await world.claims.open_ticket("lab")
    dead, two = world.ready(), world.ready()
    assert (dead.state, world.claims.waiting) == (State.CLAIMED, 0)
    newcomer = await world.claims.open_ticket("lab")
    with pytest.raises(FullError):
        await world.claims.claim()
    world.claims.sweep(world.now)
    assert [first.status, newcomer.status, two.state] == [Status.HANDING_OVER, Status.WAITING, State.READY]
    await world.until(lambda: first.container is two)
    three = world.ready()
    await world.settled(first, newcomer)
    assert [first.container, newcomer.container] == [two, three]
    four = world.ready()
    assert (await world.claims.open_ticket("lab")).container is four  # nothing is held back for anybody any more


async def test_nobody_overtakes_who_came_first_and_got_a_dead_one_at_once(world: World) -> None:
    world.engine.delays["claim"] = 0.02
    world.engine.fail_next("claim", NoSuchContainerError("gone"))
    dead = world.ready()
    first = asyncio.create_task(world.claims.open_ticket("lab"))
    await world.until(lambda: dead.state is State.CLAIMED)
    second = await world.claims.open_ticket("lab")
    assert (second.status, first.done()) == (Status.WAITING, False)
    ticket = await first
    assert [world.claims.position(one) for one in (ticket, second)] == [1, 2]
    one, two = world.ready(), world.ready()
    await world.settled(ticket, second)
    assert [ticket.container, second.container] == [one, two]


async def test_who_is_being_served_keeps_no_more_than_one_from_newcomers(world: World) -> None:
    world.engine.delays["claim"] = 0.02
    first = await world.claims.open_ticket("lab")
    one, two, _ = [world.ready() for _ in range(3)]
    newcomer = await world.claims.open_ticket("lab")
    assert (newcomer.status, newcomer.container) == (Status.READY, two)
    last = await world.claims.open_ticket("lab")
    await world.settled(first, last)
    assert first.container is one


async def test_waiting_goes_on_while_the_engine_is_down(world: World) -> None:
    first = await world.claims.open_ticket("lab")
    world.engine.down = True
    world.ready()
    await world.until(lambda: world.pool.engine_down and first.status is Status.WAITING)
    second = await world.claims.open_ticket("lab")
    with pytest.raises(EngineDownError):
        await world.claims.claim(wait=60)
    one, two = world.ready(), world.ready()
    assert world.pool.count(State.READY) == 2  # nothing is tried meanwhile
    world.engine.down = False
    world.pool.engine_is_listed()
    world.passed(1)
    await world.settled(first, second)
    assert [first.container, second.container] == [one, two]


async def test_who_waits_when_the_service_is_closed_keeps_the_place_and_newcomers_are_not_let_in(
    world: World,
) -> None:
    first = await world.claims.open_ticket("lab")
    program = asyncio.create_task(world.claims.claim(wait=1000))
    await world.until(lambda: world.claims.waiting == 2)
    last = await world.claims.open_ticket("lab")
    told = asyncio.create_task(first.changed(None))
    await asyncio.sleep(0)
    world.pool.close_to_newcomers()
    assert world.claims.gate_moved() == 3
    assert await told
    assert [world.claims.position(one) for one in (first, last)] == [1, 3]
    assert world.claims.estimate(1) is None
    with pytest.raises(ClosedError):
        await world.claims.open_ticket("lab")
    with pytest.raises(ClosedError):
        await world.claims.claim(wait=60)
    assert world.counted("refused") == 2
    ready = [world.ready() for _ in range(3)]
    world.passed(1)
    assert world.pool.count(State.READY) == 3  # nobody is served meanwhile, and nobody else gets them
    world.pool.open_to_newcomers()
    world.claims.gate_moved()
    await world.settled(first, last)
    assert [first.container, await program, last.container] == ready


async def test_a_program_that_waited_in_vain_hears_that_the_service_is_closed(world: World) -> None:
    program = asyncio.create_task(world.claims.claim(wait=0.05))
    await world.until(lambda: world.claims.waiting == 1)
    world.pool.close_to_newcomers()
    world.claims.gate_moved()
    world.passed(1)
    world.claims.gate_moved()
    with pytest.raises(ClosedError):
        await program
    assert (world.claims.waiting, world.counted("refused")) == (0, 1)


async def test_a_place_in_a_closed_service_is_kept_for_the_lease_as_ever(world: World) -> None:
    ticket = await world.claims.open_ticket("lab", idempotency_key="k")
    world.pool.close_to_newcomers()
    world.claims.gate_moved()
    assert await world.claims.open_ticket("lab", idempotency_key="k") is ticket
    world.passed(LEASE + 1)
    assert world.claims.find(ticket.id) is None
    with pytest.raises(ClosedError):
        await world.claims.open_ticket("lab", idempotency_key="k")


async def test_a_full_line_takes_nobody_and_remembers_nobody(world: World) -> None:
    for _ in range(5):
        await world.claims.open_ticket("lab")
    with pytest.raises(LineFullError):
        await world.claims.open_ticket("lab", idempotency_key="k")
    with pytest.raises(LineFullError):
        await world.claims.claim(wait=60)
    assert (world.claims.waiting, world.counted("refused")) == (5, 2)
    world.ready()
    await world.until(lambda: world.claims.waiting == 4)
    assert (await world.claims.open_ticket("lab", idempotency_key="k")).status is Status.WAITING


async def test_a_program_that_waited_long_enough_leaves_the_line(world: World) -> None:
    with pytest.raises(FullError):
        await world.claims.claim()
    program = asyncio.create_task(world.claims.claim(wait=0.01))
    await world.until(lambda: world.claims.waiting == 1)
    world.now += 1
    with pytest.raises(FullError):
        await program
    assert (world.claims.waiting, world.counted("refused"), world.counted("left")) == (0, 2, 0)


async def test_a_program_that_goes_in_the_moment_of_being_served_leaves_nothing_behind(world: World) -> None:
    program = asyncio.create_task(world.claims.claim(wait=60))
    await world.until(lambda: world.claims.waiting == 1)
    (ticket,) = world.claims.in_line()
    one = world.ready()
    await world.until(lambda: ticket.status is Status.READY)
    program.cancel()
    await asyncio.gather(program, return_exceptions=True)
    assert (program.cancelled(), one.state, one.reason) == (True, State.REMOVING, EndReason.UNVISITED)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_nobody_shares_and_nobody_is_lost(world: World, seed: int) -> None:
    chance = random.Random(seed)
    world.set(max_waiting=1000)
    drawn: list[Ticket] = []
    left: set[str] = set()
    for _ in range(200):
        event = chance.random()
        if event < 0.45:
            drawn.append(await world.claims.open_ticket("lab"))
        elif event < 0.85:
            world.ready()
        elif event < 0.92 and drawn:
            chosen = chance.choice(drawn)
            world.claims.leave(chosen)
            left.add(chosen.id)
        elif event < 0.97:
            world.engine.fail_next("claim", NoSuchContainerError("gone"))
        await asyncio.sleep(0)
    stayed = [ticket for ticket in drawn if ticket.id not in left]
    world.engine.recover()
    while any(ticket.is_waiting for ticket in stayed):
        world.ready()
        await asyncio.sleep(0)
    await world.settled(*stayed)
    given = [ticket.container for ticket in stayed]
    assert len({id(one) for one in given}) == len(stayed)
    assert all(one is not None and one.state is State.CLAIMED for one in given)
    with contextlib.suppress(FullError):
        assert (await world.claims.claim()) not in given


async def test_one_address_gets_its_share_and_no_more(world: World) -> None:
    """In use and in line, of pages and programs; what has ended counts no more."""
    world.set(max_notebooks_per_address=2)
    one = world.ready()
    assert (await world.claims.open_ticket("lab", idempotency_key="k", quota_key="x")).container is one
    waiting = await world.claims.open_ticket("lab", quota_key="x")
    assert waiting.status is Status.WAITING
    with pytest.raises(AddressFullError):
        await world.claims.open_ticket("lab", quota_key="x")
    with pytest.raises(AddressFullError):
        await world.claims.claim(wait=60, quota_key="x")
    assert world.counted("refused") == 2
    assert world.claims.waiting == 1
    assert (await world.claims.open_ticket("lab", idempotency_key="k", quota_key="x")).container is one  # sent twice
    other, nobodys = await world.claims.open_ticket("lab", quota_key="y"), await world.claims.open_ticket("lab")
    made = [world.ready() for _ in range(3)]
    await world.settled(waiting, other, nobodys)
    assert [container.quota_key for container in (one, *made)] == ["x", "x", "y", ""]
    with pytest.raises(AddressFullError):
        await world.claims.open_ticket("lab", quota_key="x")
    world.pool.end(one, EndReason.ENDED_BY_OWNER, world.now)
    assert (await world.claims.open_ticket("lab", quota_key="x")).status is Status.WAITING
    world.set(max_waiting=1000, max_notebooks_per_address=0)
    assert (await world.claims.open_ticket("lab", quota_key="x")).status is Status.WAITING


async def test_two_at_once_from_one_address_are_counted_one_after_the_other(world: World) -> None:
    world.set(max_notebooks_per_address=1)
    world.ready()
    world.ready()
    answers = await asyncio.gather(
        *(world.claims.claim(quota_key="x") for _ in range(2)),
        world.claims.open_ticket("lab", quota_key="x"),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, AddressFullError) for answer in answers) == 2
    assert world.pool.count(State.READY) == 1


async def test_while_another_process_may_have_the_pool_all_wait_and_nobody_is_served(world: World) -> None:
    waiting = await world.claims.open_ticket("lab")
    world.claims.suspend()
    world.ready()
    program = asyncio.create_task(world.claims.claim())
    page = asyncio.create_task(world.claims.open_ticket("lab"))
    await world.claims.settle()
    world.claims.serve_line()
    await asyncio.sleep(0)
    assert (program.done(), page.done(), world.claims.position(waiting)) == (False, False, 1)
    world.claims.hand_on()
    world.claims.resume(anew=False)
    world.claims.serve_line()
    await world.settled(waiting)
    assert waiting.container is not None
    with pytest.raises(FullError):  # it came later
        await program
    assert (await page).is_waiting


async def test_once_another_process_has_the_pool_who_still_asks_here_is_sent_away(world: World) -> None:
    world.ready()
    world.claims.suspend()
    asked = asyncio.create_task(world.claims.claim(wait=60))
    await asyncio.sleep(0)
    world.claims.stop()
    with pytest.raises(FullError) as refused:
        await asked
    assert refused.value.retry_after <= 1
    assert world.pool.count(State.READY) == 1


async def test_keys_of_tickets_are_known_to_the_next_process(world: World) -> None:
    ticket = await world.claims.open_ticket("lab", idempotency_key="k")
    without = await world.claims.open_ticket("lab")
    assert list(world.claims.keys()) == [("k", ticket.id)]
    world.claims.know_key(without.id, "other")
    assert await world.claims.open_ticket("lab", idempotency_key="other") is without
    world.claims.know_key("0" * 32, "nobody's")


async def test_an_open_request_keeps_its_place_and_its_time_with_the_next_process(world: World) -> None:
    place, now = "a" * 32, world.now
    first = await world.claims.open_ticket("lab")
    program = asyncio.create_task(world.claims.claim(wait=60, place=place))
    await world.until(lambda: world.claims.waiting == 2)
    last = await world.claims.open_ticket("lab")
    assert [(ticket.id, ticket.joined_at, ahead) for ticket, ahead in world.claims.open_requests()] == [
        (place, now, 1)
    ]
    program.cancel()  # its connection is on its way
    await asyncio.gather(program, return_exceptions=True)
    world.claims.hold_places([(Ticket("", now, ticket_id=place), 1)])
    assert [ticket.id for ticket in world.claims.in_line()] == [first.id, place, last.id]
    again = asyncio.create_task(world.claims.claim(wait=60, place=place))
    await asyncio.sleep(0)
    world.ready()
    world.ready()
    world.claims.serve_line()
    await world.settled(first)
    assert (await again).state is State.CLAIMED
    assert world.claims.position(last) == 1


async def test_an_open_request_that_is_served_before_it_comes_again_gets_that_one(world: World) -> None:
    held = Ticket("", world.now, ticket_id="a" * 32)
    world.claims.hold_places([(held, 0)])
    world.ready()
    world.claims.serve_line()
    await world.settled(held)
    assert await world.claims.claim(place="a" * 32) is held.container
    assert not world.claims.has("a" * 32)
    assert not list(world.claims.open_requests())


async def test_an_open_request_s_time_goes_on_and_one_that_never_comes_holds_up_nobody(world: World) -> None:
    gone, late = (Ticket("", world.now, ticket_id=name * 32) for name in "ab")
    world.claims.hold_places([(gone, 0), (late, 1)])
    world.now += 9
    with pytest.raises(FullError):
        await world.claims.claim(wait=8, place="b" * 32)
    assert [ticket.id for ticket in world.claims.in_line()] == [gone.id]
    world.now += 2
    world.claims.sweep(world.now)
    assert world.claims.waiting == 0
