"""Removals: a few at once, and one that hangs or fails costs the others nothing; and when to try again at all."""

from __future__ import annotations

import asyncio

import pytest

from tmpnb_py.core.backoff import Attempts
from tmpnb_py.core.errors import EngineDownError
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.pools import removals
from tmpnb_py.pools.removals import Removals


class _Engine(FakeEngine):
    """Removes nothing, counts, and lets some hang."""

    def __init__(self, host: FakeHost) -> None:
        super().__init__(host)
        self.under_way: set[str] = set()
        self.done: list[str] = []
        self.let_go = asyncio.Event()

    async def remove(self, container_id: str) -> None:
        self.under_way.add(container_id)
        try:
            if container_id.startswith("hangs"):
                await self.let_go.wait()
                raise EngineDownError("it did not answer in time")
            await asyncio.sleep(0.02)
            self.done.append(container_id)
        finally:
            self.under_way.discard(container_id)


async def test_what_hangs_leaves_its_place_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals, "_SLOW", 0.1)
    async with FakeHost() as host:
        engine = _Engine(host)
        one = Removals(engine)
        hanging = [asyncio.create_task(one.remove(f"hangs{number}")) for number in range(12)]
        await asyncio.sleep(0.01)
        assert len(engine.under_way) == removals._AT_ONCE
        async with asyncio.timeout(5):
            await asyncio.gather(*(one.remove(f"quick{number}") for number in range(20)))
        assert len(engine.done) == 20
        engine.let_go.set()
        assert all(
            isinstance(result, EngineDownError) for result in await asyncio.gather(*hanging, return_exceptions=True)
        )
        assert one.retry_in("hangs0") == 5
        with pytest.raises(EngineDownError):
            await one.remove("hangs0")
        assert one.retry_in("hangs0") == 10
        for _ in range(9):
            with pytest.raises(EngineDownError):
                await one.remove("hangs0")
        assert one.retry_in("hangs0") == 60
        assert one._first._value == one._again._value == removals._AT_ONCE, "every place is given back once"


async def test_those_that_are_tried_again_take_no_place_of_the_others() -> None:
    async with FakeHost() as host:
        engine = _Engine(host)
        engine.let_go.set()
        one = Removals(engine)
        for number in range(8):
            with pytest.raises(EngineDownError):
                await one.remove(f"hangs{number}")
        engine.let_go.clear()
        again = [asyncio.create_task(one.remove(f"hangs{number}")) for number in range(8)]
        await asyncio.sleep(0.01)
        async with asyncio.timeout(1):
            await one.remove("quick")
        for task in again:
            task.cancel()
        await asyncio.gather(*again, return_exceptions=True)


def test_what_goes_on_failing_is_tried_ever_more_rarely() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    assert attempts.is_due("a")
    assert [attempts.failed("a") for _ in range(9)] == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert attempts.has_failed("a")
    assert not attempts.is_due("a")
    assert attempts.is_due("b")
    now = 600.0
    assert attempts.is_due("a")
    attempts.succeeded("a")
    assert attempts.failed("a") == 5
    assert attempts.failed("a", for_good=True) is None
    now = 1e12
    assert not attempts.is_due("a")
