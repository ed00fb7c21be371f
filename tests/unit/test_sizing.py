"""A pool's target under a virtual clock: timetable, automatic decision and reserve, and who is told of a change."""

from __future__ import annotations

import datetime
import itertools
import zoneinfo

import pytest

from tmpnb_py.core.units import DAY, HOUR, MINUTE
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.ready_target import Part
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.sizing import Sizing
from tmpnb_py.pools.start_rate import StartRate

ZONE = "Europe/Berlin"
TABLE = {"days": ["Tue"], "from": "14:00", "to": "16:00", "time_zone": ZONE, "pool_size": 60}


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(f"2026-12-08T{text}").replace(tzinfo=zoneinfo.ZoneInfo(ZONE)).timestamp()


class World:
    """A pool of two with a timetable, at a moment that the test sets."""

    def __init__(self, now: float, **options: object) -> None:
        self.now = now
        self.settings = {"pool_size": 2, "timetable": [TABLE], **options}
        self.options = LiveOptions(self._made())
        self.records = Records("test")
        self.records.limit = 100
        self.records.cpus = 2
        self.rate = StartRate()
        self.sizing = Sizing(self.records, self.options, self.rate, clock=lambda: self.now)
        self.told = 0
        self.sizing.subscribe(self._tell)

    def _tell(self) -> None:
        self.told += 1

    def _made(self) -> Settings:
        return Settings(**self.settings)  # type: ignore[arg-type]

    def reload(self, **options: object) -> None:
        self.settings |= options
        self.options.replace(self._made())

    def size_at(self, moment: float) -> int:
        self.now = moment
        self.sizing.look()
        return self.records.size


def test_it_grows_ahead_and_shrinks_at_the_end_at_the_very_moments_that_it_named() -> None:
    world = World(at("12:00"))
    sizes = []
    while world.now < at("17:00"):
        wait = world.sizing.look()
        sizes.append((round((world.now - at("14:00")) / MINUTE, 1), world.records.size))
        world.now += min(wait, HOUR)
    changes = [two for one, two in itertools.pairwise(sizes) if one[1] != two[1]]
    lead = 1 + 1.5 * 29 * 10 / 60  # 58 more, two at a time, ten seconds each
    assert changes == [(-round(lead, 1), 60), (120.0, 2)]
    assert world.told == 3, "begun ahead, on, over"


def test_measured_starts_bring_the_beginning_nearer_and_do_not_undo_it() -> None:
    world = World(at("12:00"))
    for _ in range(5):
        world.rate.started(0.0, 2.0)
    assert world.size_at(at("13:56")) == 2
    assert world.size_at(at("13:58")) == 60
    for _ in range(30):
        world.rate.started(1.0, 0.1)
    assert world.size_at(at("13:58")) == 60


def test_a_missed_start_is_made_up_for() -> None:
    assert World(at("14:30")).records.size == 60
    assert World(at("16:30")).records.size == 2


def test_a_clock_that_is_set_is_followed() -> None:
    world = World(at("12:00"))
    assert world.size_at(at("14:10")) == 60
    assert world.size_at(at("13:59")) == 60, "a little back: what is ready stays"
    assert world.size_at(at("14:10") - 2 * DAY) == 2
    assert world.size_at(at("15:59") + 7 * DAY) == 60
    assert world.size_at(at("16:00") + 7 * DAY) == 2


def test_a_reload_in_the_middle() -> None:
    world = World(at("14:30"))
    world.reload(timetable=[{**TABLE, "pool_size": 30}])
    assert world.records.size == 30
    world.reload(pool_size=40)
    assert world.records.size == 40
    world.reload(timetable=[])
    assert (world.records.size, world.told) == (40, 2)


def test_resize_sets_the_base_and_the_timetable_goes_on() -> None:
    world = World(at("14:30"))
    world.sizing.resize(70)
    assert world.records.size == 70
    world.sizing.resize(1)
    assert world.size_at(at("15:00")) == 60
    assert world.size_at(at("16:00")) == 1


def test_only_keeps_nothing_ready_outside_but_a_reserve() -> None:
    world = World(at("12:00"), timetable=[{**TABLE, "only": True}])
    assert (world.records.size, world.sizing.opens_at) == (0, at("14:00"))
    world.sizing.reserve_from(lambda _: Part(5))
    assert world.size_at(at("12:01")) == 5
    assert world.size_at(at("13:59")) == 65
    assert world.sizing.is_shut
    world.now = at("14:00")
    assert not world.sizing.is_shut, "also before the next look"


def test_auto_follows_arrivals_until_the_operator_resizes() -> None:
    world = World(at("12:00"), timetable=[], pool_size="auto", pool_size_min=1)
    assert world.records.size == 1
    assert world.sizing.decision is not None
    assert str(world.sizing.decision) == "1 because that is the least (nobody came in the last 15 min)"
    for _ in range(60):
        world.now += 2
        world.sizing.visitor_came()
    assert world.size_at(world.now) > 4
    assert "came in the last" in str(world.sizing.decision)
    world.sizing.resize(3)
    assert world.records.size == 3
    assert not world.sizing.is_auto
    world.reload(pool_size=2)
    assert world.records.size == 2
    world.reload(pool_size="auto")
    assert world.records.size > 4


@pytest.mark.parametrize(("most", "capacity", "expected"), [(4, 100, 4), (None, 3, 3)])
def test_auto_stays_within_its_bounds(most: int | None, capacity: int, expected: int) -> None:
    world = World(at("12:00"), timetable=[], pool_size="auto", pool_size_max=most)
    world.records.limit = capacity
    for _ in range(100):
        world.sizing.visitor_came()
    assert world.size_at(world.now + 1) == expected
    assert "that is the most" in str(world.sizing.decision)


def test_auto_and_timetable_take_the_larger() -> None:
    world = World(at("14:30"), pool_size="auto")
    assert world.records.size == 60
