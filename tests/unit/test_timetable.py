"""A timetable under a virtual clock: what is on, what is prepared, and what clocks do to it."""

from __future__ import annotations

import dataclasses
import datetime
import math
import zoneinfo
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.units import DAY, HOUR, MINUTE
from tmpnb_py.options.groups.pool import PoolOptions
from tmpnb_py.options.timetables import Entry, read_timetable
from tmpnb_py.pools import timetable
from tmpnb_py.pools.timetable import Occurrence, Programme

ZONE = "Europe/Berlin"
LEAD = 10 * MINUTE


def options(*tables: dict[str, object], **more: object) -> PoolOptions:
    written = [{"from": "14:00", "to": "16:00", "time_zone": ZONE, "pool_size": 60, **table} for table in tables]
    return PoolOptions(timetable=written, **more)  # type: ignore[arg-type]


def at(text: str, zone: str = ZONE, fold: int = 0) -> float:
    """A local moment as Unix seconds."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold).timestamp()


def local(moment: float, zone: str = ZONE) -> str:
    return f"{datetime.datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(zone)):%a %d %H:%M%z}"


def programme(
    chosen: PoolOptions, now: float, *, begun: Collection[Occurrence] = (), ahead: float = LEAD
) -> Programme:
    agenda = timetable.occurrences(chosen.timetable, now - DAY, now + 35 * DAY)
    return timetable.programme(agenda, now, options=chosen, lead_of=lambda _: ahead, begun=begun)


def times(chosen: PoolOptions, after: float, before: float, zone: str = ZONE) -> list[tuple[str, str]]:
    found = timetable.occurrences(chosen.timetable, after, before)
    return [(local(one.begins, zone), local(one.ends, zone)) for one in found]


# --- days, dates and zones


def test_days_dates_and_the_end_of_a_day() -> None:
    week = at("2026-12-07T00:00"), at("2026-12-14T00:00")
    assert times(options({"days": ["Tue", "Thursday"]}), *week) == [
        ("Tue 08 14:00+0100", "Tue 08 16:00+0100"),
        ("Thu 10 14:00+0100", "Thu 10 16:00+0100"),
    ]
    assert len(times(options({"days": "Mon-Fri"}), *week)) == 5
    assert len(times(options({"days": "Sat-Mon"}), *week)) == 3
    assert len(times(options({"days": ["daily"]}), *week)) == 7
    dates = options({"dates": ["2026-12-13", datetime.date(2026, 12, 9)], "to": "24:00"})
    assert times(dates, *week) == [
        ("Wed 09 14:00+0100", "Thu 10 00:00+0100"),
        ("Sun 13 14:00+0100", "Mon 14 00:00+0100"),
    ]


def test_what_has_begun_before_is_found() -> None:
    assert len(times(options({"days": ["Tue"]}), at("2026-12-08T15:59"), at("2026-12-08T16:30"))) == 1
    assert not times(options({"days": ["Tue"]}), at("2026-12-08T16:00"), at("2026-12-08T16:30"))


def test_a_class_is_at_its_time_of_the_day_when_the_clocks_change() -> None:
    spring, autumn = at("2027-03-27T00:00"), at("2027-10-30T00:00")
    daily = options({"days": "daily"})
    assert [begins for begins, _ in times(daily, spring, spring + 2 * DAY)] == [
        "Sat 27 14:00+0100",
        "Sun 28 14:00+0200",
    ]
    assert [begins for begins, _ in times(daily, autumn, autumn + 2 * DAY)] == [
        "Sat 30 14:00+0200",
        "Sun 31 14:00+0100",
    ]


@pytest.mark.parametrize(
    ("day", "from_", "to", "expected"),
    [
        ("2027-03-28", "02:15", "02:45", ("Sun 28 03:15+0200", "Sun 28 03:45+0200")),
        ("2027-03-28", "02:30", "03:00", ("Sun 28 03:30+0200", "Sun 28 04:00+0200")),
        ("2027-03-28", "01:30", "03:30", ("Sun 28 01:30+0100", "Sun 28 03:30+0200")),
        ("2027-10-31", "02:30", "03:30", ("Sun 31 02:30+0200", "Sun 31 03:30+0100")),
        ("2027-10-31", "01:30", "02:30", ("Sun 31 01:30+0200", "Sun 31 02:30+0100")),
    ],
    ids=[
        "leapt over",
        "leapt over to its end",
        "one hour only",
        "begins at the first of two",
        "ends at the last of two",
    ],
)
def test_hours_that_are_not_there_or_there_twice(day: str, from_: str, to: str, expected: tuple[str, str]) -> None:
    chosen = options({"dates": [day], "from": from_, "to": to})
    assert times(chosen, at(f"{day}T00:00"), at(f"{day}T23:00")) == [expected]


# --- before, while and after


def test_the_size_is_there_before_it_begins_and_given_back_after() -> None:
    chosen = options({"days": ["Tue"], "max_containers": 80, "cull_timeout": "2h"}, max_containers=70)
    begins, ends = at("2026-12-08T14:00"), at("2026-12-08T16:00")
    before = programme(chosen, begins - LEAD - 1)
    assert (before.part.count, before.max_containers, before.cull_timeout) == (0, 70, None)
    assert before.following[0].begins == begins
    ahead = programme(chosen, begins - LEAD)
    assert (ahead.part.count, ahead.part.changes_at) == (60, begins)
    assert (ahead.max_containers, ahead.cull_timeout, ahead.on) == (80, None, ())
    on = programme(chosen, begins)
    assert (on.part.count, on.part.changes_at, on.max_containers, on.cull_timeout) == (60, ends, 80, 2 * HOUR)
    assert programme(chosen, ends - 1).part.count == 60
    assert programme(chosen, ends).part.count == 0
    assert not programme(chosen, ends).on


def test_it_looks_again_in_time_for_the_next_one() -> None:
    chosen, begins = options({"days": ["Tue"]}), at("2026-12-08T14:00")
    far = programme(chosen, at("2026-12-05T09:00")).part.changes_at
    assert at("2026-12-05T09:00") < far < begins - LEAD
    assert programme(chosen, far).part.changes_at == begins - LEAD


def test_overlaps_take_the_larger() -> None:
    chosen = options(
        {"days": ["Tue"], "pool_size": 30, "max_containers": 50, "cull_timeout": "2h"},
        {"dates": ["2026-12-08"], "from": "15:00", "to": "15:30", "pool_size": 45, "cull_timeout": 0},
        max_containers=45,
    )
    both = programme(chosen, at("2026-12-08T15:10"))
    assert (both.part.count, both.max_containers, both.cull_timeout) == (45, 50, 0.0)
    assert both.part.changes_at == at("2026-12-08T15:30")
    assert programme(chosen, at("2026-12-08T15:30")).part.count == 30


def test_a_smaller_maximum_takes_nothing_from_visitors_of_before() -> None:
    chosen = options({"days": ["Tue"], "pool_size": 5, "max_containers": 10}, max_containers=100)
    assert programme(chosen, at("2026-12-08T13:55")).max_containers == 100
    assert programme(chosen, at("2026-12-08T14:00")).max_containers == 10


def test_only_closes_outside_and_says_until_when() -> None:
    chosen = options({"days": ["Tue"], "only": True}, {"days": ["Wed"]})
    begins = at("2026-12-08T14:00")
    assert programme(chosen, begins - DAY).opens_at == begins
    assert programme(chosen, begins - 1).opens_at == begins, "ready, and not open"
    assert programme(chosen, begins).opens_at is None
    assert programme(chosen, at("2026-12-08T16:00")).opens_at == at("2026-12-09T14:00")
    over = options({"dates": ["2026-12-08"], "only": True})
    assert programme(over, at("2026-12-08T16:00")).opens_at == math.inf


# --- services that were down, clocks that are set, reloads


def test_a_service_that_was_down_does_what_is_right_when_it_looks() -> None:
    """Nothing is remembered over a restart: 13:45 was missed, and the middle is joined."""
    chosen = options({"days": ["Tue"]})
    for moment in ("13:59", "14:00", "15:59"):
        assert programme(chosen, at(f"2026-12-08T{moment}")).part.count == 60
    assert programme(chosen, at("2026-12-08T16:01")).part.count == 0


def test_starts_that_prove_fast_and_a_clock_set_back_do_not_undo_what_was_begun() -> None:
    chosen, begins = options({"days": ["Tue"]}), at("2026-12-08T14:00")
    ahead = programme(chosen, begins - LEAD)
    faster = programme(chosen, begins - LEAD + 1, begun=ahead.preparing, ahead=MINUTE)
    assert faster.part.count == 60
    assert programme(chosen, begins - LEAD - HOUR, begun=ahead.preparing).part.count == 60
    on = programme(chosen, begins)
    back = programme(chosen, begins - 2, begun=on.on)
    assert (back.part.count, back.part.changes_at) == (60, begins)
    assert programme(chosen, begins - DAY, begun=on.on).part.count == 0, "that clock was wrong altogether"


def test_a_clock_that_leaps_ahead_is_as_right_as_any() -> None:
    chosen, begins = options({"days": ["Tue"]}), at("2026-12-08T14:00")
    before = programme(chosen, begins - HOUR)
    assert programme(chosen, begins + HOUR, begun=before.preparing).part.count == 60


def test_a_reload_in_the_middle_takes_what_is_written_now() -> None:
    begins = at("2026-12-08T14:00")
    on = programme(options({"days": ["Tue"]}), begins + MINUTE)
    larger = programme(options({"days": ["Tue"], "pool_size": 80}), begins + MINUTE, begun=on.on)
    assert larger.part.count == 80
    assert programme(options({"days": ["Wed"]}), begins + MINUTE, begun=on.on).part.count == 0
    assert programme(options(), begins + MINUTE, begun=on.on) == Programme()


@given(
    st.lists(
        st.builds(
            lambda day, begin, length, size, only: {
                "days": [day],
                "from": f"{begin:02}:00",
                "to": f"{min(24, begin + length):02}:00",
                "pool_size": size,
                "only": only,
            },
            st.sampled_from(["Mon", "Tue", "Sun"]),
            st.integers(0, 23),
            st.integers(1, 24),
            st.integers(0, 100),
            st.booleans(),
        ),
        max_size=4,
    ),
    st.floats(0, 14 * DAY),
)
def test_nothing_changes_before_it_says_so(tables: list[dict[str, object]], offset: float) -> None:
    """Between a look and the moment it names, a further look finds the same, but for what is nearer then."""
    chosen, now = options(*tables), at("2027-03-22T00:00") + offset
    first = programme(chosen, now)
    begun = {*first.on, *first.preparing}
    then = min(first.part.changes_at, now + DAY)
    for moment in (now, (now + then) / 2, math.nextafter(then, 0)):
        later = programme(chosen, moment, begun=begun)
        assert (later.part.count, later.on, later.is_shut) == (first.part.count, first.on, first.is_shut)
    wanted = [one.entry.pool_size for one in first.on]
    assert first.part.count >= max(wanted, default=0)


# --- what is written


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"from": "16:00", "to": "14:00"}, 'from = "16:00" is not before to = "14:00": exchange them'),
        ({"from": "14:00", "to": "14:00"}, "is not before"),
        ({"from": "24:00"}, "is the end of a day"),
        ({"from": "2 pm"}, 'from = "2 pm" is no time of the day: write hours and minutes, such as "14:00"'),
        ({"to": "25:00"}, "is no time of the day"),
        ({"days": ["Tusday"]}, '"Tusday" is no day; did you mean Tuesday?'),
        ({"days": ["T"]}, '"T" is no day'),
        ({"days": 3}, "days is no list of days"),
        ({"days": []}, "give either days"),
        ({"dates": ["2026-12-08"]}, "give either days"),
        ({"days": [], "dates": ["2026-13-08"]}, '"2026-13-08" is no date: write year, month and day'),
        ({"days": [], "dates": ["8.12.2026"]}, "is no date"),
        ({"time_zone": "Europe/Berlln"}, "did you mean Europe/Berlin?"),
        ({"time_zone": "../../etc/passwd"}, "is no time zone"),
        ({"time_zone": 1}, "is no time zone"),
        ({"pool_size": -1}, 'pool_size = "-1" is too small: give at least 0'),
        ({"pool_size": "many"}, 'pool_size = "many" is not a whole number'),
        ({"pool_size": 60, "max_containers": 50}, "max_containers = 50 is below pool_size = 60: raise it"),
        ({"cull_timeout": "soon"}, 'cull_timeout = "soon"'),
        ({"only": "yes"}, "only is neither true nor false"),
        ({"until": "16:00"}, "there is no until"),
        ({"tiem_zone": ZONE}, "there is no tiem_zone; did you mean time_zone?"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_what_to_write(table: dict[str, object], sentence: str) -> None:
    good = {"days": ["Tue"], "from": "14:00", "to": "16:00", "time_zone": ZONE, "pool_size": 60}
    with pytest.raises(ValueError, match="table 2 of the timetable: ") as error:
        read_timetable([good, {**good, **table}])
    assert sentence in str(error.value)


@pytest.mark.parametrize("missing", ["from", "to", "pool_size"])
def test_what_a_table_needs(missing: str) -> None:
    good = {"days": ["Tue"], "from": "14:00", "to": "16:00", "time_zone": ZONE, "pool_size": 60}
    del good[missing]
    with pytest.raises(ValueError, match=f"table 1 of the timetable: {missing} is missing: "):
        read_timetable([good])


def test_a_size_beyond_the_maximum_is_refused_where_the_table_has_none_of_its_own() -> None:
    with pytest.raises(ValueError, match="pool_size = 60 is above max_containers, which is 40: give the table a"):
        options({"days": ["Tue"]}, max_containers=40)
    assert options({"days": ["Tue"], "max_containers": 60}, max_containers=40)


def test_without_a_time_zone_the_machines_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"days": ["Tue"], "from": "14:00", "to": "16:00", "pool_size": 60}
    monkeypatch.setattr("tmpnb_py.core.time_zones.own_name", lambda: "Asia/Kathmandu")
    (entry,) = PoolOptions(timetable=[table]).timetable  # type: ignore[arg-type]
    assert entry.zone == "Asia/Kathmandu"
    monkeypatch.setattr("tmpnb_py.core.time_zones.own_name", lambda: "")
    with pytest.raises(
        ValueError,
        match=r"time_zone is missing, and: .* not known \(TZ, .* name one, such as Eur",
    ):
        PoolOptions(timetable=[table])  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["{", "[1]", '"Tue"', "{}", "[" + ",".join(["{}"] * 1001) + "]"])
def test_what_is_no_list_of_tables_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="timetable"):
        read_timetable(text)


def test_an_entry_is_written_as_it_is_read() -> None:
    for table in (
        {"days": ["Tue", "Thu"], "from": "14:00", "to": "24:00", "cull_timeout": "2h", "only": True},
        {"dates": ["2026-12-08"], "from": "08:05", "to": "09:00", "max_containers": 80, "cull_timeout": 0},
    ):
        (entry,) = options(table).timetable
        assert read_timetable([entry.written()]) == (entry,)
        assert isinstance(entry, Entry)
        assert str(dataclasses.replace(entry, pool_size=3)).count("3 ready") == 1
