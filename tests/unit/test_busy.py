"""Which sessions count as the busiest, how they are measured, and what happens to them. The clock is the test's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tmpnb_py.core.errors import EngineDownError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.engines.base import MOST_MEASURED, Engine
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.busiest import Busiest
from tmpnb_py.pools.busy import BusyRule, CpuUse, ratios
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.reaper import Reaper
from tmpnb_py.pools.records import Records

OPTIONS = Settings(busy_cpu=80, busy_window=300, cpu_quota=50000)


# --- the window


def used(*samples: tuple[float, float], window: float = 300) -> CpuUse:
    use = CpuUse()
    for now, seconds in samples:
        use.add(now, seconds, window)
    return use


def test_the_average_is_of_the_window_and_not_of_before() -> None:
    use = used(*((now, 0.0 if now < 600 else (now - 600) / 2) for now in range(0, 901, 30)))
    assert use.cpus == 0.5


def test_nothing_is_known_from_one_sample() -> None:
    assert used((0, 5.0)).cpus is None
    assert used((0, 5.0)).seconds == 5.0


def test_nobody_is_judged_before_a_whole_window() -> None:
    assert not used(*((now, now / 2) for now in range(0, 271, 30))).covers(300)
    assert used(*((now, now / 2) for now in range(0, 301, 30))).covers(300)


def test_who_is_measured_often_needs_no_more_memory() -> None:
    use = used(*((now, now / 2) for now in range(10_000)))
    assert len(use._samples) < 50
    assert use.cpus == pytest.approx(0.5)
    assert use.covers(300)


def test_a_counter_that_goes_back_is_counted_anew() -> None:
    use = used((0, 100.0), (30, 115.0))
    assert use.add(60, 3.0, 300) == 0
    assert use.cpus is None


def test_what_is_new_is_told() -> None:
    use = CpuUse()
    assert [use.add(now, seconds, 300) for now, seconds in ((0, 7.0), (1, 7.5), (2, 9.5))] == [0, 0.5, 2.0]


# --- the share


@pytest.mark.parametrize(
    ("cpus", "limit", "machine", "expected"),
    [
        pytest.param([0.5, 0.01], 0.5, 2, [1.0, 0.02], id="a miner among idle ones"),
        pytest.param([0.2] * 10, 0.5, 2, [1.0] * 10, id="ten miners share two processors"),
        pytest.param([0.02] * 120, 0.5, 2, [0.16] * 120, id="a class at work"),
        pytest.param([0.5, 0.3], 0.5, 2, [1.0, 0.6], id="two, and the machine has room for both"),
        pytest.param([0.9], 0, 8, [0.9], id="no limit: of one CPU"),
        pytest.param([2.0], 4, 2, [1.0], id="a limit that the machine does not have"),
        pytest.param([], 0.5, 2, [], id="nobody"),
        pytest.param([0.0, 0.0], 0.5, 2, [0.0, 0.0], id="nobody works"),
    ],
)
def test_the_share_of_what_a_session_could_use(
    cpus: list[float], limit: float, machine: int, expected: list[float]
) -> None:
    found = ratios({str(index): one for index, one in enumerate(cpus)}, limit, machine)
    assert list(found.values()) == pytest.approx(expected)


def test_the_rule_follows_the_options() -> None:
    rule = BusyRule.of(Settings(busy_cpu=90, busy_window=60, busy_action="end", cpu_quota=150000))
    assert rule == BusyRule(share=0.9, window=60, limit=1.5, ends=True)
    assert rule.period == 6
    assert BusyRule.of(Settings(busy_window=86400)).period == 30


# --- rounds


class World:
    """Sessions that use what the test says, measured every 30 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.now = 1000.0
        self.load: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self.asked: list[Sequence[str]] = []
        self.is_down = False
        self.records = Records("p")
        self.records.cpus = 2
        self.options = LiveOptions(OPTIONS.model_copy(update=options))
        reap = Reaper(self.records, self.options).reap
        self.busiest = Busiest(cast(Engine, self), self.records, self.options, PoolMetrics(), reap=reap)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    async def cpu_seconds(self, container_ids: Sequence[str]) -> Mapping[str, float]:
        self.asked.append(container_ids)
        if self.is_down:
            raise EngineDownError("it is away")
        return {one: self.seconds[one] for one in container_ids if one in self.seconds}

    def session(self, name: str, load: float) -> Container:
        """A session that uses so many CPUs."""
        found = Container(name, "digest", "s3cret", self.now, State.CLAIMED, claimed_at=self.now)
        self.records.insert(found)
        self.load[name], self.seconds[name] = load, 1.0
        return found

    async def passes(self, seconds: float) -> list[dict[str, Any]]:
        """Let time pass. Returns what is logged."""
        with capture_logs() as logs:
            for _ in range(round(seconds / 30)):
                self.now += 30
                for name, load in self.load.items():
                    self.seconds[name] += 30 * load
                await self.busiest.measure_once(rest=0)
        return [dict(one) for one in logs]


async def test_a_miner_is_named_once_after_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    miner, other = world.session("miner", 0.49), world.session("other", 0.1)
    assert await world.passes(300) == []
    [event] = await world.passes(600)
    assert event == {
        "event": "session_busy", "log_level": "warning", "id": "miner", "pool": "p", "cpu": 0.98,
        "cpu_seconds": 162.7, "window": 300, "connections": 0, "action": "warn",
    }  # fmt: skip
    assert [(one, round(ratio, 3)) for one, ratio in world.busiest.found] == [("miner", 0.98)]
    assert (miner.cpu.is_busy, other.cpu.is_busy, miner.state) == (True, False, State.CLAIMED)
    assert other.cpu.ratio == pytest.approx(0.2)


async def test_it_is_calm_again_only_when_it_uses_clearly_less(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.session("miner", 0.45)
    await world.passes(600)
    world.load["miner"] = 0.35
    assert await world.passes(600) == []
    world.load["miner"] = 0.3
    [event] = await world.passes(600)
    assert (event["event"], event["id"]) == ("session_calm", "miner")
    assert world.busiest.found == ()


async def test_it_ends_where_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, busy_action="end")
    miner = world.session("miner", 0.5)
    events = await world.passes(600)
    assert [one["event"] for one in events] == ["session_busy", "reaped"]
    assert (miner.state, miner.reason) == (State.REMOVING, EndReason.TOO_BUSY)
    assert world.busiest.found == ()
    assert "s3cret" not in repr(events)


async def test_an_ended_session_is_named_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    miner = world.session("miner", 0.5)
    await world.passes(600)
    world.records.end(miner, EndReason.IDLE, world.now)
    assert world.busiest.found == ()


async def test_an_engine_that_is_away_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.session("miner", 0.5)
    await world.passes(600)
    world.is_down = True
    assert await world.passes(600) == []
    assert world.busiest.found == (("miner", 1.0),)


async def test_who_cannot_be_measured_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    hidden = world.session("hidden", 0.5)
    del world.load["hidden"], world.seconds["hidden"]
    assert await world.passes(600) == []
    assert (hidden.cpu.ratio, hidden.cpu.seconds) == (None, None)


async def test_many_are_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    for index in range(250):
        world.session(str(index), 0.001)
    await world.passes(30)
    assert [len(one) for one in world.asked] == [MOST_MEASURED, MOST_MEASURED, 50]


async def test_other_options_hold_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.session("miner", 0.3)
    assert await world.passes(600) == []
    world.options.replace(world.options.current.model_copy(update={"busy_cpu": 50}))
    assert [one["event"] for one in await world.passes(30)] == ["session_busy"]
