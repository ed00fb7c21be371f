"""Where no containers are kept ready, a visitor who was sent away counts for a while as one who wants one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.claims_support import World, a_world
from tmpnb_py.core.errors import FullError


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world


async def _sent_away(world: World) -> None:
    with pytest.raises(FullError) as caught:
        await world.claims.claim()
    assert caught.value.retry_after == 30


async def test_who_is_sent_away_is_expected_back_but_no_more_than_may_start_at_once(world: World) -> None:
    for expected in (1, 2, 2):
        await _sent_away(world)
        assert world.claims.expected == expected


async def test_who_gets_a_notebook_is_expected_no_longer(world: World) -> None:
    await _sent_away(world)
    await _sent_away(world)
    world.ready()
    await world.claims.claim()
    assert world.claims.expected == 1


async def test_who_does_not_come_back_is_expected_for_a_minute_more_than_they_were_told(world: World) -> None:
    await _sent_away(world)
    world.now += 89
    assert (world.claims.expected, world.claims.expected) == (1, 1)
    await _sent_away(world)
    world.now += 1
    assert world.claims.expected == 1  # asking has not changed anything
    world.ready()
    await world.claims.claim()  # the second one's, for the first one's has expired
    assert world.claims.expected == 0


async def test_where_some_are_kept_ready_nobody_is_expected(world: World) -> None:
    world.pool.resize(1)
    await _sent_away(world)
    assert world.claims.expected == 0
