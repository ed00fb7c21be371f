"""When a notebook's server is asked, and asked again, before its session ends. The clock is the test's."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from tmpnb_py.core.models import EndReason, State
from tmpnb_py.jupyter import questions
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.questions import NoAnswerError
from tmpnb_py.jupyter.report import Report
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools import reaper
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import PRESENCE_WINDOW, RETRY_ECHO, RETRY_QUESTION
from tmpnb_py.pools.reaper import Reaper
from tmpnb_py.pools.records import Records

OPTIONS = Settings(cull_timeout=100, cull_disconnected=0, cull_busy=0, cull_unvisited=0, cull_max=0)
CLAIM = 1000.0


class World:
    """A session that is due at 1100, and a server that answers what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = CLAIM
        self.asked = 0
        self.extension = 0.0
        self.answer: Callable[[], Report] = lambda: Report(busy=False)
        self.pool = Records("p")
        self.pool.listed = True
        self.session = Container("a", "digest", "token", CLAIM, State.CLAIMED, claimed_at=CLAIM, visited=True)
        self.session.endpoint = cast(Endpoint, object())
        self.session.open_connections = 1
        self.pool.insert(self.session)
        self.options = LiveOptions(OPTIONS)
        self.reaper = Reaper(self.pool, self.options, extension=lambda _: self.extension)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(reaper, "report", self._report)

    def configure(self, **limits: float) -> None:
        """Other options are in force."""
        self.options.replace(OPTIONS.model_copy(update=limits))

    async def _report(self, *_: object) -> Report:
        self.asked += 1
        return self.answer()

    async def at(self, moment: float) -> float:
        """One round at a moment after the claim; returns in how many seconds the next one is due."""
        self.now = CLAIM + moment
        return await self.reaper.reap_once() - self.now

    def ended(self) -> EndReason | None:
        """Why it ended, if it has."""
        return self.session.reason


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_a_prompt_drawn_anew_for_a_page_that_reconnects_ends_all_the_same(world: World) -> None:
    """A page that is cut off every few seconds makes its terminal speak each time."""
    for moment in range(0, 200, 7):
        world.session.terminal_nudges.add(CLAIM + moment)
    world.answer = lambda: Report(busy=False, terminals=(world.now - (world.now - CLAIM) % 7 + 0.5,))
    assert await world.at(99) == 1
    assert await world.at(100) == RETRY_ECHO
    assert await world.at(105) == RETRY_ECHO
    assert world.ended() is None
    await world.at(110)
    assert (world.ended(), world.asked) == (EndReason.IDLE, 3)


async def test_a_terminal_that_prints_is_heard_between_the_reconnections(world: World) -> None:
    for moment in range(0, 200, 7):
        world.session.terminal_nudges.add(CLAIM + moment)
    world.answer = lambda: Report(busy=False, terminals=(world.now,))
    assert await world.at(100) == RETRY_ECHO, "2 s after one"
    assert await world.at(105) == RETRY_ECHO, "at one"
    assert await world.at(110) == 100, "5 s after it"
    assert world.session.failed_questions == 0


async def test_a_server_that_does_not_answer_is_asked_three_times(world: World) -> None:
    def silent() -> Report:
        raise NoAnswerError("silent")

    world.answer = silent
    for moment in (100, 120, 140):
        assert await world.at(moment) == RETRY_QUESTION or moment == 140
    await world.at(160)
    assert (world.ended(), world.asked) == (EndReason.IDLE, 3)


async def test_of_very_many_terminals_those_count_that_spoke_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose server it is may let it list as many as its answer can hold, at the cost of everybody's time."""
    at = [datetime.datetime.fromtimestamp(second, datetime.UTC).isoformat() for second in range(20_000)]

    async def answer(_endpoint: object, _path: str, name: str, _token: str) -> bytes:
        return json.dumps([{"last_activity": one} for one in at]).encode()

    monkeypatch.setattr(questions, "_api", answer)
    found = await questions.report(cast(Endpoint, object()), "/user/a/", "token")
    offset = time.monotonic() - time.time()
    for moments in (found.kernels, found.terminals):
        assert len(moments) == 100
        assert moments[0] == pytest.approx(19_999 + offset, abs=5)


async def test_a_busy_kernel_is_asked_again_only_when_it_could_have_ended(world: World) -> None:
    world.answer = lambda: Report(busy=True)
    assert await world.at(100) == 100
    assert await world.at(150) == 50
    assert world.asked == 1


# --- rounds


async def test_before_the_first_listing_nothing_ends(world: World) -> None:
    world.pool.listed = False
    assert await world.at(10_000) == math.inf
    assert (world.ended(), world.asked) == (None, 0)


async def test_without_sessions_nothing_is_due(world: World) -> None:
    world.pool.end(world.session, EndReason.CRASHED, world.now)
    assert await world.at(10_000) == math.inf


async def test_a_claim_that_nobody_opened_ends_without_a_question(world: World) -> None:
    world.configure(cull_unvisited=50)
    world.session.visited = False
    world.session.open_connections = 0
    assert await world.at(49) == 1
    await world.at(50)
    assert (world.ended(), world.asked) == (EndReason.UNVISITED, 0)
    assert world.pool.count(State.REMOVING) == 1


async def test_the_longest_time_ends_whatever_goes_on(world: World) -> None:
    world.configure(cull_max=500)
    world.session.stamp_activity(CLAIM + 499)
    await world.at(499)
    assert world.ended() is None
    await world.at(500)
    assert (world.ended(), world.asked) == (EndReason.TOO_OLD, 0)


async def test_a_session_out_of_reach_is_not_idle_but_ends_after_an_hour(world: World) -> None:
    world.session.endpoint = None
    world.session.unreachable_since = CLAIM
    await world.at(3599)
    assert world.ended() is None
    await world.at(3600)
    assert (world.ended(), world.asked) == (EndReason.UNREACHABLE, 0)


async def test_one_whose_socket_was_removed_ends_after_minutes(world: World) -> None:
    world.session.endpoint = None
    world.session.unreachable_since, world.session.is_cut_off = CLAIM, True
    await world.at(99)
    assert world.ended() is None
    await world.at(180)
    assert world.ended() is EndReason.UNREACHABLE


@contextlib.asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    """The loop itself, which has looked once."""
    loop = asyncio.create_task(world.reaper.run())
    await _others_turn()
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_other_limits_hold_at_once(world: World) -> None:
    """The clock stands still, so only the change wakes the reaper; what it kept by the old limits is void."""
    world.answer = lambda: Report(busy=True)
    assert await world.at(100) == 100
    world.answer = lambda: Report(busy=False)
    async with running(world):
        assert (world.ended(), world.asked) == (None, 1)
        world.options.replace(OPTIONS.model_copy(update={"cull_timeout": 50.0}))
        await _others_turn()
        assert (world.ended(), world.asked) == (EndReason.IDLE, 2)


async def test_nobody_is_thought_absent_for_the_time_in_which_the_process_was_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_STEP", 0.0)  # time passes only as we say
    world.options.replace(OPTIONS.model_copy(update={"cull_unvisited": 60.0}))
    world.session.visited = False
    async with running(world):
        world.now += 60  # with a request in the kernel that nobody has read
        world.reaper._woken.set()
        await _others_turn()
        assert world.ended() is None
        world.reaper.judge_anew()  # a reload does not shorten what they are given to show themselves
        for _ in range(round(PRESENCE_WINDOW) - 1):
            world.now += 1
            await _others_turn()
            assert world.ended() is None
        world.now += 2
        await _others_turn()
        assert world.ended() is EndReason.UNVISITED


async def _others_turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
