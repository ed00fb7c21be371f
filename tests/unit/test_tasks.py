"""Background tasks: named, kept alive, told of when they end by themselves, and ended together."""

from __future__ import annotations

import asyncio
import gc

import pytest
import structlog

from tmpnb_py.core.tasks import Tasks, event_or_time, finish_unless


async def _forever() -> None:
    await asyncio.Event().wait()


async def _fail() -> None:
    raise ValueError("a mistake")


async def _return(value: int) -> int:
    return value


async def test_a_task_has_its_name_and_gives_its_result() -> None:
    tasks = Tasks()
    task = tasks.start("answer", _return(42))
    assert task.get_name() == "answer"
    assert len(tasks) == 1
    assert await task == 42
    await asyncio.sleep(0)
    assert len(tasks) == 0


async def test_the_owner_is_told_how_tasks_end() -> None:
    told: list[tuple[str, BaseException | None]] = []
    tasks = Tasks(lambda name, error: told.append((name, error)))
    failed, returned = tasks.start("fails", _fail()), tasks.start("returns", _return(1))
    cancelled = tasks.start("cancelled", _forever())
    cancelled.cancel()
    await asyncio.wait((failed, returned, cancelled))
    await asyncio.sleep(0)
    by_name = dict(told)
    assert isinstance(by_name["fails"], ValueError)
    assert by_name["returns"] is None
    assert by_name["cancelled"] is None


async def test_one_task_may_be_told_of_elsewhere() -> None:
    owner: list[str] = []
    own: list[str] = []
    tasks = Tasks(lambda name, _: owner.append(name))
    await asyncio.wait((tasks.start("a", _return(1)), tasks.start("b", _return(1), ended=lambda n, _: own.append(n))))
    await asyncio.sleep(0)
    assert (owner, own) == (["a"], ["b"])


async def test_an_unexpected_error_is_logged() -> None:
    tasks = Tasks()
    with structlog.testing.capture_logs() as logged:
        await asyncio.wait((tasks.start("fails", _fail()),))
        await asyncio.sleep(0)
    assert [(one["event"], one["log_level"]) for one in logged] == [("action_failed", "error")]
    assert all(one["exc_info"] for one in logged)


async def test_closing_cancels_and_waits_and_tells_nobody() -> None:
    told: list[str] = []
    cleaned: list[str] = []
    tasks = Tasks(lambda name, _: told.append(name))

    async def work() -> None:
        try:
            await _forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append("first")
            tasks.start("second", _forever())

    tasks.start("first", work())
    await asyncio.sleep(0)
    await tasks.close()
    await asyncio.sleep(0)
    assert (cleaned, told, len(tasks)) == (["first"], [], 0)


async def test_what_must_not_be_cut_off_is_waited_for() -> None:
    told: list[str] = []
    tasks = Tasks(lambda name, _: told.append(name))
    tasks.start("a", asyncio.sleep(0.01))
    await tasks.finish()
    assert (told, len(tasks)) == (["a"], 0)


async def test_a_task_that_nobody_else_refers_to_lives_on() -> None:
    done: list[bool] = []

    async def work() -> None:
        await asyncio.get_running_loop().create_future()  # which only the task refers to
        done.append(True)

    tasks = Tasks()
    tasks.start("alone", work())
    await asyncio.sleep(0)
    gc.collect()
    assert len(tasks) == 1
    await tasks.close()


async def test_an_event_ends_the_wait_or_the_time_does() -> None:
    event = asyncio.Event()
    assert not await event_or_time(event, 0.01)
    asyncio.get_running_loop().call_soon(event.set)
    assert await event_or_time(event, 60)
    assert await event_or_time(event, None)


async def test_a_cancellation_that_comes_with_the_event_is_not_lost() -> None:
    event = asyncio.Event()
    waiting = asyncio.get_running_loop().create_task(event_or_time(event, 60))
    await asyncio.sleep(0)
    event.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_work_is_finished_unless_the_event_comes() -> None:
    stop = asyncio.Event()
    assert await finish_unless(stop, _return(1), name="short")
    with pytest.raises(ValueError, match="a mistake"):
        await finish_unless(stop, _fail(), name="fails")
    asyncio.get_running_loop().call_soon(stop.set)
    assert not await finish_unless(stop, _forever(), name="long")


async def test_work_ends_with_who_waits_for_it() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await _forever()
        finally:
            ended.set()

    waiting = asyncio.get_running_loop().create_task(finish_unless(asyncio.Event(), work(), name="work"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
