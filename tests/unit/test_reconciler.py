"""One round of the reconciler at a time, on the engine in memory: what it does to the engine and to the records."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.waiting import until
from tmpnb_py.core.errors import (
    EngineDownError,
    EngineError,
    FailureClass,
    LackError,
    PoolLockedError,
    WrongEngineError,
)
from tmpnb_py.core.models import EndReason, Exit, Failure, State
from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import ImageWork, PoolConfiguration
from tmpnb_py.pools.health import Health
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.ready_target import NOTHING, Part
from tmpnb_py.pools.reconciler import Reconciler
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.sizing import Sizing
from tmpnb_py.pools.start_rate import StartRate


class World:
    """A pool of two on a fake engine; its reconciler runs when the test says so."""

    def __init__(self, host: FakeHost, directory: Path) -> None:
        self.host = host
        self.engine = FakeEngine(host, pool="test")
        self.wanted = 0
        self.asked_for_image = 0
        self.begin(directory)

    def begin(self, directory: Path, **options: object) -> None:
        """A process begins, with nothing but what the engine tells."""
        chosen = {"image": "fake", "pool_size": 2, "max_containers": 4, "runtime_dir": directory, **options}
        self.options = LiveOptions(Settings(**chosen))  # type: ignore[arg-type]
        self.records = Records("test")
        self.health = Health("test", PoolMetrics())
        self.rate = StartRate()
        self.now = time.time()
        self.sizing = Sizing(self.records, self.options, self.rate, clock=lambda: self.now)

        def image_missing() -> None:
            self.asked_for_image += 1

        self.reconciler = Reconciler(
            self.engine,
            self.records,
            self.health,
            self.options,
            configuration=PoolConfiguration(self.engine, self.options, images=ImageWork(on_missing=image_missing)),
            rate=self.rate,
            sizing=self.sizing,
            wanted=lambda: self.wanted,
        )
        self.changed = asyncio.Event()
        self.records.subscribe(lambda _: self.changed.set())

    def count(self) -> tuple[int, ...]:
        """How many are starting, ready, claimed, removing."""
        return tuple(self.records.count(state) for state in State)

    def troubles(self) -> tuple[bool, Failure | None]:
        """Whether the engine is down, and what keeps containers from becoming ready."""
        return self.health.engine_down, self.health.failure

    async def until(self, condition: Callable[[], bool]) -> None:
        """Rounds after each transition, with a listing each, until something is so."""
        async with asyncio.timeout(60):
            while not condition():
                self.changed.clear()
                await self.observe()
                if not condition():
                    await event_or_time(self.changed, 0.05)

    async def observe(self) -> float:
        """One round with a listing."""
        self.reconciler.observe_soon()
        return await self.reconciler.reconcile_once()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHost() as host:
        made = World(host, tmp_path)
        yield made
        await made.reconciler.close(remove_everything=True)
        await made.engine.close()


async def test_the_first_round_starts_carefully_and_the_next_ones_fill_the_pool(world: World) -> None:
    wake_at = await world.reconciler.reconcile_once()
    assert world.count() == (1, 0, 0, 0), "one at a time until one went well"
    assert world.records.listed
    assert wake_at <= time.monotonic() + 30, "when the engine is listed again"
    assert world.records.capacity == 4
    await world.until(lambda: world.count() == (0, 2, 0, 0))
    assert {one.state for one in world.host.containers.values()} == {State.READY}
    assert len(world.rate.measured) == 2


async def test_a_round_between_listings_asks_the_engine_nothing(world: World) -> None:
    await world.until(lambda: world.count() == (0, 2, 0, 0))
    before = len(world.engine.calls)
    await world.reconciler.reconcile_once()
    assert len(world.engine.calls) == before


async def test_a_claim_is_replaced_at_once_and_visitors_get_more(world: World) -> None:
    await world.until(lambda: world.count() == (0, 2, 0, 0))
    assert world.records.claim(time.monotonic()) is not None
    world.wanted = 1
    await world.until(lambda: world.count() == (0, 3, 1, 0))


async def test_what_the_engine_has_is_taken_up_after_a_restart(world: World, tmp_path: Path) -> None:
    await world.until(lambda: world.count() == (0, 2, 0, 0))
    session = world.records.claim(time.monotonic())
    assert session is not None
    assert await world.engine.claim(session.id, time.time())
    world.begin(tmp_path)
    await world.reconciler.reconcile_once()
    assert world.records.count(State.CLAIMED) == world.records.count(State.READY) == 1
    assert world.records.session(session.id) is not None


async def test_a_start_whose_container_exits_is_a_failure_with_its_last_lines(world: World) -> None:
    world.engine.start_behaviour = "exits"
    await world.until(lambda: world.health.failure is not None)
    failure = world.health.failure
    assert failure is not None
    assert failure.kind is FailureClass.EXITS_AT_ONCE
    assert failure.log_lines[-1] == "fake server: cannot go on"
    assert world.health.backoff.retry_at > time.monotonic()
    await world.until(lambda: len(world.records) == 0)
    assert world.host.containers == {}, "and nothing is left"


async def test_a_ready_container_that_died_is_explained_before_it_is_removed(world: World) -> None:
    await world.until(lambda: world.count() == (0, 2, 0, 0))
    dead = world.records.in_state(State.READY)[0]
    world.engine.delays["logs"] = 0.05
    await world.engine.kill(dead.id, Exit(137, out_of_memory=True))
    await world.observe()
    assert (dead.state, dead.reason, dead.removal_due_at) == (State.REMOVING, EndReason.OUT_OF_MEMORY, math.inf)
    await world.until(lambda: world.records.get(dead.id) is None)
    calls = [method for method, subject in world.engine.calls if subject == dead.id]
    assert calls[-2:] == ["logs", "remove"]
    assert world.health.failures[-1].message == "a ready container ended: out of memory, out of memory"


async def test_an_engine_that_is_down_is_no_reason_to_end_anything(world: World) -> None:
    await world.until(lambda: world.count() == (0, 2, 0, 0))
    world.engine.down = True
    wake_at = await world.observe()
    assert world.health.engine_down
    assert world.health.failure is not None
    assert world.health.failure.kind is FailureClass.ENGINE_DOWN
    assert wake_at <= time.monotonic() + 2, "it is asked again soon"
    assert world.count() == (0, 2, 0, 0)
    world.engine.down = False
    await world.observe()
    assert world.troubles() == (False, None)


async def test_containers_that_died_just_before_their_engine_were_ended_by_its_restart(world: World) -> None:
    await world.until(lambda: world.count() == (0, 2, 0, 0))
    session = world.records.claim(time.monotonic())
    assert session is not None
    world.records.end(session, EndReason.CRASHED, time.monotonic())
    world.reconciler.engine_failed(EngineDownError("it is going down"))
    ended = world.records.ended(session.id)
    assert ended is not None
    assert ended.reason is session.reason is EndReason.ENGINE_RESTARTED


async def test_what_this_process_lacks_is_no_word_on_the_engine(world: World) -> None:
    world.engine.fail_next("list", LackError("no file descriptor is left"))
    await world.reconciler.reconcile_once()
    assert not world.health.engine_down
    assert not world.records.listed
    assert world.health.failure is not None
    await world.observe()
    assert world.troubles() == (False, None)
    await world.until(lambda: world.count() == (0, 2, 0, 0))


async def test_the_wrong_engine_ends_the_service_at_its_start_and_never_later(world: World) -> None:
    world.engine.fail_next("open", WrongEngineError("this is Podman"))
    with pytest.raises(WrongEngineError):
        await world.reconciler.reconcile_once()
    await world.observe()
    world.engine.fail_next("list", WrongEngineError("this is Podman"))
    await world.observe()
    assert world.troubles()[0], "whoever has a notebook has it as long as it answers"


async def test_a_missing_image_is_asked_for_and_nothing_is_started(world: World) -> None:
    image = world.host.images.pop("fake")
    await world.reconciler.reconcile_once()
    assert world.asked_for_image == 1
    assert world.health.failure is not None
    assert world.health.failure.kind is FailureClass.IMAGE_MISSING
    assert world.count() == (0, 0, 0, 0)
    world.host.images["fake"] = image
    await world.observe()
    assert world.troubles() == (False, None)
    assert world.records.count(State.STARTING) == 1
    await world.until(lambda: world.count() == (0, 2, 0, 0))


async def test_a_removal_that_fails_is_tried_again_later(world: World) -> None:
    await world.until(lambda: world.count() == (0, 2, 0, 0))
    container = world.records.in_state(State.READY)[0]
    world.engine.fail_next("remove", EngineError("not now"))
    world.records.end(container, EndReason.DRAINED, time.monotonic())
    await world.until(lambda: container.failed_removals == 1)
    assert container.removal_due_at > time.monotonic() + 3
    container.removal_due_at = 0.0
    await world.until(lambda: world.records.get(container.id) is None)


async def test_a_new_size_holds_at_the_next_round_and_an_option_only_where_it_changed(world: World) -> None:
    world.sizing.base = 1
    await world.until(lambda: world.count() == (0, 1, 0, 0))
    world.options.replace(world.options.current.model_copy(update={"max_containers": 3}))
    await world.reconciler.reconcile_once()
    assert (world.records.size, world.records.capacity) == (1, 3)
    world.options.replace(world.options.current.model_copy(update={"pool_size": 3}))
    await world.until(lambda: world.count() == (0, 3, 0, 0))


async def test_a_reserve_is_kept_ready_beyond_the_base_until_it_says_that_it_changes(world: World) -> None:
    until_then = world.now + 5
    world.sizing.reserve_from(lambda now: Part(1, until_then) if now < until_then else NOTHING)
    await world.until(lambda: world.count() == (0, 3, 0, 0))
    asked_at = time.monotonic()
    assert 4 < await world.reconciler.reconcile_once() - asked_at < 6, "it looks again then"
    world.now += 5
    await world.until(lambda: world.count() == (0, 2, 0, 0))


async def test_another_manager_ends_the_loop(world: World) -> None:
    other = FakeEngine(world.host, pool="test")
    await other.hold("fake", lambda: None)
    with pytest.raises(ExceptionGroup) as caught:
        await world.reconciler.run()
    assert caught.group_contains(PoolLockedError)
    assert not await world.reconciler.is_manager()
    await other.close()
    assert await world.reconciler.is_manager()


async def test_the_end_removes_what_is_half_started_and_leaves_sessions(world: World) -> None:
    await world.until(lambda: world.count() == (0, 2, 0, 0))
    assert world.records.claim(time.monotonic()) is not None
    world.engine.delays["start"] = 60
    await world.reconciler.reconcile_once()
    assert world.records.count(State.STARTING) == 1
    await world.reconciler.close(remove_everything=False)
    assert world.count() == (0, 1, 1, 0)
    await world.reconciler.close(remove_everything=True)
    assert len(world.records) == 0
    assert world.host.containers == {}


@contextlib.asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    """The loop itself, with two containers that are ready."""
    loop = asyncio.create_task(world.reconciler.run())
    world.records.subscribe(lambda _: world.reconciler.wake())
    try:
        await until(lambda: world.count() == (0, 2, 0, 0))
        yield
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_the_loop_reacts_to_events_and_to_being_woken(world: World) -> None:
    async with asyncio.timeout(60), running(world):
        await world.engine.kill(world.records.in_state(State.READY)[0].id)
        # The next container that is ready ends the failure itself.
        await until(lambda: world.health.failures)


async def test_what_is_removed_causes_no_listing(world: World) -> None:
    """With a thousand containers a listing takes a while, and each removal tells of two ends."""
    async with asyncio.timeout(60), running(world):
        await asyncio.sleep(0.05)
        listed = world.engine.calls.count(("list", ""))
        container = world.records.in_state(State.READY)[0]
        world.records.end(container, EndReason.IDLE, time.monotonic())
        await until(lambda: world.records.ended(container.id) is not None and world.count() == (0, 2, 0, 0))
        await asyncio.sleep(0.05)
        assert listed
        assert world.engine.calls.count(("list", "")) == listed


async def test_as_many_start_at_once_as_the_engine_has_processors(world: World, tmp_path: Path) -> None:
    world.host.cpus = 6
    world.begin(tmp_path, pool_size=20, max_containers=20)
    await world.until(lambda: world.records.count(State.READY) >= 2)
    world.engine.delays["start"] = 60
    await world.observe()
    await world.observe()
    assert world.records.count(State.STARTING) == 6
