"""Turns are given in the order in which they were asked for, and no one holds the others up for long."""

from __future__ import annotations

import asyncio

import pytest

from tmpnb_py.core.turns import Turn, Turns, processors

_NEVER = 1e6  # seconds


async def _ask(turns: Turns, count: int) -> tuple[list[int], list[asyncio.Task[Turn]]]:
    """So many who ask; the first list tells who has had a turn, in order."""
    order: list[int] = []

    async def one(number: int) -> Turn:
        turn = await turns.take()
        order.append(number)
        return turn

    tasks = [asyncio.ensure_future(one(number)) for number in range(count)]
    await _settle()
    return order, tasks


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    turns = Turns(2, _NEVER)
    order, tasks = await _ask(turns, 5)
    assert (order, turns.waiting) == ([0, 1], 3)
    tasks[1].result().end()
    await _settle()
    assert order == [0, 1, 2]
    for number in (0, 2, 3, 4):
        (await tasks[number]).end()
    assert (order, turns.waiting) == ([0, 1, 2, 3, 4], 0)
    assert (await _ask(turns, 3))[0] == [0, 1]  # as many at once as before


async def test_a_turn_ends_once() -> None:
    turns = Turns(1, _NEVER)
    order, tasks = await _ask(turns, 3)
    first = tasks[0].result()
    first.end()
    first.end()
    await _settle()
    assert order == [0, 1]
    await _ask_no_more(tasks)


async def test_one_that_takes_too_long_holds_nobody_up() -> None:
    turns = Turns(1, 0.001)
    _, tasks = await _ask(turns, 3)
    first = await tasks[0]
    async with asyncio.timeout(30):
        await asyncio.gather(*tasks)
    first.end()  # its time has been over
    await _until_free(turns)
    assert (await _ask(turns, 2))[0] == [0]


async def _until_free(turns: Turns) -> None:
    async with asyncio.timeout(30):
        (await turns.take()).end()


async def test_who_leaves_takes_no_turn() -> None:
    turns = Turns(1, _NEVER)
    order, tasks = await _ask(turns, 4)
    tasks[1].cancel()
    await _settle()
    assert turns.waiting == 2
    tasks[0].result().end()
    tasks[2].cancel()  # it has been given the turn, and not been told
    await _settle()
    assert order == [0, 3]
    await _ask_no_more(tasks)


async def _ask_no_more(tasks: list[asyncio.Task[Turn]]) -> None:
    for task in tasks:
        task.cancel()
    for done in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(done, Turn):
            done.end()


def test_there_is_a_processor() -> None:
    assert processors() >= 1


@pytest.mark.parametrize("at_once", [1, 3])
async def test_as_many_as_are_free_begin_at_once(at_once: int) -> None:
    order, tasks = await _ask(Turns(at_once, _NEVER), 4)
    assert order == list(range(at_once))
    await _ask_no_more(tasks)
