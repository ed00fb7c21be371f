"""Removals: a few at once; one that hangs or fails costs the others nothing, and is tried again."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from tmpnb_py.core.errors import EngineDownError
from tmpnb_py.core.models import State
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.pools import removals
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.removals import Removals, retry_in
from tmpnb_py.pools.schedule import Schedule


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


class _World:
    def __init__(self, host: FakeHost) -> None:
        self.engine = _Engine(host)
        self.records = Records("test")
        self.tasks = Tasks()
        self.schedule = Schedule()
        self.removals = Removals(self.engine, self.records, self.tasks, self.schedule)

    def ending(self, prefix: str, count: int = 1) -> list[Container]:
        """Containers that are to be removed."""
        made = [Container(f"{prefix}{number}", "d", "t", 0.0, State.REMOVING) for number in range(count)]
        for container in made:
            self.records.insert(container)
        return made

    async def remove(self, containers: list[Container]) -> None:
        """Remove them all at the same time."""
        async with asyncio.timeout(5):
            await asyncio.gather(*(self.removals.remove(one) for one in containers))


async def test_what_hangs_leaves_its_place_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals, "_SLOW", 0.1)
    async with FakeHost() as host:
        world = _World(host)
        hanging = world.ending("hangs", 12)
        under_way = asyncio.create_task(world.remove(hanging))
        await asyncio.sleep(0.01)
        assert len(world.engine.under_way) == removals._AT_ONCE
        await world.remove(world.ending("quick", 20))
        assert len(world.engine.done) == 20
        world.engine.let_go.set()
        await under_way
        assert {one.failed_removals for one in hanging} == {1}
        await world.remove(hanging[:1])
        assert hanging[0].failed_removals == 2
        assert world.records.get("hangs0") is hanging[0], "it is forgotten only when it is gone"
        await world.remove(world.ending("more", 5))


async def test_those_that_are_tried_again_take_no_place_of_the_others() -> None:
    async with FakeHost() as host:
        world = _World(host)
        world.engine.let_go.set()
        hanging = world.ending("hangs", 8)
        await world.remove(hanging)
        world.engine.let_go.clear()
        again = [asyncio.create_task(world.removals.remove(one)) for one in hanging]
        await asyncio.sleep(0.01)
        await world.remove(world.ending("quick"))
        assert world.records.get("quick0") is None
        for task in again:
            task.cancel()
        await asyncio.gather(*again, return_exceptions=True)


async def test_a_removal_runs_in_a_task_and_is_due_again_after_a_failure() -> None:
    async with FakeHost() as host:
        world = _World(host)
        (container,) = world.ending("hangs")
        world.removals.begin(container)
        assert container.removal_due_at == math.inf, "while it is under way"
        world.schedule.begin_round()
        world.engine.let_go.set()
        async with asyncio.timeout(5):
            await world.schedule.next_round(math.inf)
        assert time.monotonic() + 4 < container.removal_due_at < time.monotonic() + 6
        await world.tasks.close()


def test_what_fails_again_and_again_is_tried_ever_more_rarely() -> None:
    assert [retry_in(failures) for failures in (1, 2, 3, 4, 5, 11, 100)] == [5, 10, 20, 40, 60, 60, 60]


async def test_a_removal_that_breaks_in_any_way_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the failure cannot be noted, as when the log cannot be written."""

    async def breaks(_: Container) -> None:
        raise OSError("no space left on device")

    async with FakeHost() as host:
        world = _World(host)
        (container,) = world.ending("one")
        monkeypatch.setattr(world.removals, "remove", breaks)
        world.removals.begin(container)
        await world.tasks.finish()
        assert time.monotonic() < container.removal_due_at < math.inf
