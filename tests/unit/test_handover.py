"""A claim that cannot be made durable costs its visitor the next container, and nobody else anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.claims_support import World, a_world
from tmpnb_py.claims.handover import Handover
from tmpnb_py.claims.tickets import Status
from tmpnb_py.core.errors import EngineError, LackError, UnavailableError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.core.turns import Turns
from tmpnb_py.pools.container import Container


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world


async def test_a_container_that_hangs_costs_its_visitor_half_a_second_and_nobody_else(world: World) -> None:
    hanging, two, three = [world.ready() for _ in range(3)]
    world.engine.hang(hanging.id)
    began = time.monotonic()
    assert await world.claims.claim() is two
    assert time.monotonic() - began < 5
    assert not world.pool.engine_down
    assert await world.claims.claim() is three
    assert hanging.state is State.CLAIMED  # nobody can tell yet
    world.engine.released.set()
    await world.until(lambda: hanging.state is State.REMOVING)


async def test_who_stands_in_line_gets_the_next_one_too_where_one_hangs(world: World) -> None:
    first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
    world.engine.hang("c1")
    hanging, two, three = [world.ready() for _ in range(3)]
    await world.settled(first, second)
    assert {first.container, second.container} == {two, three}
    world.engine.released.set()
    await world.until(lambda: hanging.state is State.REMOVING)


async def test_a_claim_that_is_only_slow_serves_its_visitor(world: World) -> None:
    world.engine.delays["claim"] = 0.7
    slow = world.ready()
    assert await world.claims.claim() is slow


async def test_a_refusal_that_is_not_the_containers_own_burns_none(world: World) -> None:
    made = [world.ready() for _ in range(4)]
    world.engine.fail_next("claim", EngineError("no space left on device"), times=100)
    for _ in range(3):
        with pytest.raises(EngineError, match="no space"):
            await world.claims.claim()
    waiting = await world.claims.open_ticket("lab")
    assert (waiting.status, world.claims.waiting) == (Status.WAITING, 1)
    assert [one.state for one in made] == [State.READY] * 4
    assert world.pool.refusal is not None
    calls = len(world.engine.calls)
    world.passed(3)
    await world.until(lambda: waiting.status is Status.WAITING)
    assert len(world.engine.calls) - calls <= 8  # it tries again now and then, and does not spin
    with pytest.raises(UnavailableError):
        await world.claims.claim()  # behind whoever waits; and what is said is not "full"
    world.engine.recover()
    world.passed(1)
    await world.settled(waiting)
    assert waiting.container in made
    assert world.pool.refusal is None


async def test_what_we_lack_ourselves_costs_no_container_and_blames_none(world: World) -> None:
    one, two = world.ready(), world.ready()
    world.engine.fail_next("claim", LackError("no file descriptor is left"))
    with pytest.raises(LackError):
        await world.claims.claim()
    assert (one.state, two.state) == (State.READY, State.READY)
    assert await world.claims.claim() is two
    assert await world.claims.claim() is one


async def test_what_alone_is_refused_is_blamed_itself(world: World) -> None:
    broken, two = world.ready(), world.ready()
    world.engine.fail_next("claim", EngineError("its file is gone"))
    assert await world.claims.claim() is two
    assert (broken.state, broken.reason) == (State.REMOVING, EndReason.CLAIM_FAILED)
    assert world.pool.refusal is None


async def test_what_somebody_else_was_given_is_theirs(world: World) -> None:
    theirs, ours = world.ready(), world.ready()
    world.engine.taken = frozenset({theirs.id})
    assert await world.claims.claim() is ours
    assert world.pool.get(theirs.id) is None  # neither removed nor remembered as ended: it is listed as claimed
    assert world.pool.ended(theirs.id) is None


# --- a crowd


def _in_turn(world: World) -> Handover:
    """One claim at a time, however long it takes."""
    return Handover(world.engine, world.pool, lambda: world.now, turns=Turns(1, 1e6))


def _taking(world: World, handover: Handover, container: Container) -> asyncio.Task[Container | None]:
    assert world.pool.claim(world.now) is container
    return asyncio.create_task(handover.take(container, lambda: False, lambda: None))


async def test_claims_are_made_in_turn(world: World) -> None:
    one, two, three = [world.ready() for _ in range(3)]
    handover = _in_turn(world)
    world.engine.hang(one.id)
    world.engine.hang(two.id)
    first, second, third = [_taking(world, handover, one) for one in (one, two, three)]
    await world.until(lambda: ("claim", one.id) in world.engine.calls)
    assert ("claim", two.id) not in world.engine.calls
    second.cancel()
    await asyncio.wait((second,))
    assert two.state is State.READY  # nobody knows of its claim
    settling = asyncio.create_task(handover.settle())
    world.engine.released.set()
    assert await first is None  # its container was hanging
    assert await third is three
    await settling
    await handover.close()


async def test_who_waits_for_a_turn_is_waited_for(world: World) -> None:
    one, two = world.ready(), world.ready()
    handover = _in_turn(world)
    world.engine.hang(one.id)
    tasks = [_taking(world, handover, container) for container in (one, two)]
    await world.until(lambda: ("claim", one.id) in world.engine.calls)
    settling = asyncio.create_task(handover.settle())
    world.engine.released.set()
    await settling
    assert ("claim", two.id) in world.engine.calls
    assert await asyncio.gather(*tasks) == [None, two]
    await handover.close()
