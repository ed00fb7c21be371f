"""A pool as others use it: its snapshot, what its verbs do, whom it tells, and its own work from start to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.pool_support import HandMadePool, fail
from tmpnb_py.core.errors import EngineDownError, FailureClass, SettingsError
from tmpnb_py.core.models import EndReason, Failure, State, TcpAddress
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.pool import Pool

NOW = 1000.0


class Visitors:
    """Claims of which the test says what they want."""

    def __init__(self) -> None:
        self.waiting = 0
        self.admitted = 0
        self.expected = 0
        self.booked = 0
        self.reserved = 0
        self.told: list[str] = []

    def extension(self, container_id: str) -> float:
        return 0.0

    def since(self, most: int) -> list[float]:
        return [NOW] * min(most, self.admitted)

    def serve_line(self) -> None:
        self.told.append("ready")

    def gate_moved(self) -> int:
        self.told.append("gate")
        return self.waiting


@pytest.fixture
async def host() -> AsyncIterator[FakeHost]:
    async with FakeHost() as host:
        yield host


@pytest.fixture
async def pool(host: FakeHost, tmp_path: Path) -> HandMadePool:
    return HandMadePool(FakeEngine(host, pool="test"), tmp_path)


def ready(pool: HandMadePool, name: str, now: float = NOW) -> Container:
    return pool.make_ready(name, Endpoint(TcpAddress("127.0.0.1", 1)), now)


async def test_the_snapshot_tells_how_it_does(pool: HandMadePool) -> None:
    before = pool.status
    assert (before.name, before.listed, before.engine_up, before.was_ready) == ("test", False, False, False)
    ready(pool, "a")
    ready(pool, "b")
    session = pool.claim(NOW, "somebody")
    assert session is not None
    pool.engine_is_listed()
    now = pool.status
    assert [now.count(state) for state in State] == [0, 1, 1, 0]
    assert (now.capacity, now.was_ready, now.engine_up, now.is_in_trouble) == (100, True, True, False)
    assert before.count(State.READY) == 0, "a snapshot does not change"
    assert session.quota_key == "somebody"


async def test_trouble_is_an_engine_that_is_down_or_refuses(pool: HandMadePool) -> None:
    pool.engine_failed(EngineDownError("no answer"))
    assert pool.engine_down
    troubles = [pool.status.is_in_trouble]
    pool.engine_is_listed()
    troubles.append(pool.status.is_in_trouble)
    failure = Failure(FailureClass.ENGINE_DOWN, "the disk is full", NOW)
    pool.refuse(failure)
    assert pool.refusal == failure
    troubles.append(pool.status.is_in_trouble)
    pool.forget_refusal()
    troubles.append(pool.status.is_in_trouble)
    assert troubles == [True, False, True, False]


async def test_visitors_hear_of_what_is_ready_and_of_the_gate(pool: HandMadePool) -> None:
    visitors = Visitors()
    pool.serve(visitors)
    ready(pool, "a")
    assert visitors.told == ["ready"]
    pool.close_to_newcomers()
    assert not pool.is_open
    pool.open_to_newcomers()
    assert visitors.told == ["ready", "gate", "gate"]


async def test_a_session_begins_counts_and_ends_once(pool: HandMadePool) -> None:
    ready(pool, "a")
    session = pool.claim(NOW)
    assert session is not None
    pool.session_started(session, workshop="other", client="192.0.2.1")
    assert (session.has_begun, session.client) == (True, "192.0.2.1")
    assert pool.session("a") is session
    assert pool.end(session, EndReason.IDLE, NOW + 1)
    assert not pool.end(session, EndReason.CRASHED, NOW + 2)
    assert pool.session("a") is None
    ended = pool.ended("a")
    assert ended is not None
    assert (ended.reason, ended.at) == (EndReason.IDLE, NOW + 1)


async def test_what_is_given_back_or_disowned_is_no_session(pool: HandMadePool) -> None:
    for name in "ab":
        ready(pool, name)
    first, second = pool.claim(NOW, "x"), pool.claim(NOW, "x")
    assert first is not None
    assert second is not None
    assert pool.give_back(first, NOW)
    assert (first.state, first.quota_key) == (State.READY, "")
    pool.disown(second)
    assert pool.get("b") is None
    assert pool.ended("b") is None


async def test_the_operator_drains_and_resizes(pool: HandMadePool) -> None:
    ready(pool, "a")
    assert pool.drain(NOW) == 1
    pool.resize(7)
    assert (pool.size, pool.status.size) == (7, 7)
    with pytest.raises(SettingsError):
        pool.resize(-1)


async def test_nobody_can_say_when_while_starts_fail(pool: HandMadePool) -> None:
    assert pool.estimate(1, NOW) is None
    fail(pool, Failure(FailureClass.EXITS_AT_ONCE, "it exited", NOW))
    assert pool.estimate(1, NOW) is None
    assert pool.failures[-1].message == "it exited"


async def test_it_works_by_itself_and_leaves_what_it_is_told_to(host: FakeHost, tmp_path: Path) -> None:
    chosen = Settings(image="fake", pool_size=1, max_containers=2, pool_name="test", runtime_dir=tmp_path)
    engine = FakeEngine(host, pool="test")
    pool = Pool(engine, LiveOptions(chosen), PoolMetrics())
    visitors = Visitors()
    pool.serve(visitors)
    became_ready = asyncio.Event()
    pool.subscribe(lambda one: became_ready.set() if one.state is State.READY else None)
    tasks = [asyncio.create_task(work, name=name) for name, work in pool.work().items()]
    async with asyncio.timeout(60):
        await became_ready.wait()
        while pool.count(State.READY) != 1:
            await asyncio.sleep(0.01)
        became_ready.clear()
        visitors.waiting = visitors.admitted = 1
        pool.observe_soon()
        await became_ready.wait()
        assert pool.count(State.READY) == 2, "one more, for the visitor in line"
    assert len(pool.recent_starts) == 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await pool.close(remove_everything=False, timeout_seconds=10)
    assert len(host.containers) == 2
    assert await pool.is_manager()
    await pool.close(remove_everything=True, timeout_seconds=10)
    assert (len(pool), host.containers) == (0, {})
    pool.hang_up()
