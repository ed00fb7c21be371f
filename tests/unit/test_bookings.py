"""Bookings: the times that people write, what fits, and what is kept when the disk is full or somebody is killed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import errno
import os
import zoneinfo
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.bookings import fit, when
from tmpnb_py.bookings.agenda import Agenda
from tmpnb_py.bookings.model import VERSION, Booking, Message, State, one_line
from tmpnb_py.bookings.timetables import smallest_limit
from tmpnb_py.core.errors import BookingError
from tmpnb_py.core.state_file import StateFile
from tmpnb_py.options.timetables import read_timetable

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NOW = datetime.datetime(2026, 12, 1, 15, 0, tzinfo=BERLIN)  # a Tuesday
ONE = Booking(id="0000000a", pool="p", begins=1000.0, ends=2000.0, zone="UTC", people=3, for_class=True)


# --- the time


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("Tue 14:00-16:00", "2026-12-08 14:00", "2026-12-08 16:00"),  # today's has begun
        ("tuesday 16:00 - 18:00", "2026-12-01 16:00", "2026-12-01 18:00"),
        ("today 14:00-16:00", "2026-12-01 14:00", "2026-12-01 16:00"),
        ("14:00-16:00", "2026-12-01 14:00", "2026-12-01 16:00"),
        ("tomorrow 9:00-12:30", "2026-12-02 09:00", "2026-12-02 12:30"),
        ("2026-12-24 9.00\u201312.30", "2026-12-24 09:00", "2026-12-24 12:30"),
        ("1 Feb 9:00 to 10:00", "2027-02-01 09:00", "2027-02-01 10:00"),
        ("Mon 1 Feb 2027, 9:00-10:00", "2027-02-01 09:00", "2027-02-01 10:00"),
        ("22:00-24:00", "2026-12-01 22:00", "2026-12-02 00:00"),
    ],
)
def test_times_that_people_write(text: str, begins: str, ends: str) -> None:
    span = when.read_span(text, NOW)
    assert [f"{one:%Y-%m-%d %H:%M}" for one in (span.begins, span.ends)] == [begins, ends]
    assert span.begins.tzinfo is BERLIN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no time: write"),
        ("Tue", "is no time: write"),
        ("14-16", "is no time: write"),
        ("Tue next week 9:00-10:00", "is no time: write"),
        ("9999-99-99 9:00-10:00", "is no time: write"),
        ("x" * 5000 + " 9:00-10:00", "is no time: write"),
        ("12/1 9:00-10:00", "two ways"),
        ("1.12. 9:00-10:00", "two ways"),
        ("Wed 1 Feb 9:00-10:00", "is a Monday"),
        ("2027-03-28 02:30-04:00", "does not exist"),
        ("22:00-02:00", "ends before it begins"),
        ("9:00-9:00", "ends before it begins"),
        ("today 9:00-10:00", "is past: now it is 2026-12-01 15:00"),
        ("2020-01-01 9:00-10:00", "is past"),
        ("24:30-24:40", "no time of a day"),
    ],
)
def test_times_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        when.read_span(text, NOW)


@given(st.text(max_size=40), st.sampled_from(["", " 9:00-10:00", " 18:00"]))
def test_any_text_is_read_or_refused_in_a_sentence(text: str, end: str) -> None:
    for read in (when.read_span, when.read_moment):
        with contextlib.suppress(ValueError):
            read(text + end, NOW)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2026-10-25 01:00-02:30", 2.5),  # clocks go back at three: the second half past two
        ("2026-10-25 02:30-03:30", 2.0),
        ("2027-03-28 01:00-03:30", 1.5),  # clocks go forward at two
        ("2026-10-25 00:00-24:00", 25.0),
    ],
)
def test_when_clocks_change(text: str, hours: float) -> None:
    span = when.read_span(text, datetime.datetime(2026, 10, 1, tzinfo=BERLIN))
    assert span.ends.timestamp() - span.begins.timestamp() == hours * 3600


def test_in_the_hour_that_comes_twice() -> None:
    first = datetime.datetime(2026, 10, 25, 2, 40, tzinfo=BERLIN)
    assert when.read_moment("02:30", first).timestamp() - first.timestamp() == 50 * 60
    with pytest.raises(ValueError, match="is past"):
        when.read_moment("02:30", first.replace(fold=1))
    assert when.read_span("today 02:00-02:30", first).ends.timestamp() > first.timestamp()


def test_moments() -> None:
    assert when.read_moment("18:00", NOW) == NOW.replace(hour=18)
    assert when.read_moment("tomorrow 14:00", NOW).day == 2
    assert when.read_moment("Tue 14:00", NOW).day == 8, "today's is over"
    with pytest.raises(
        ValueError, match=r'is past: now it is 2026-12-01 15:00 .*; of tomorrow it is "tomorrow 14:00"'
    ):
        when.read_moment("14:00", NOW)
    with pytest.raises(ValueError, match="is past"):
        when.read_moment("today 14:00", NOW)


# --- what fits

SPANS = st.tuples(st.integers(0, 20), st.integers(1, 8), st.integers(1, 5))


def of_booking(begins: float, ends: float, people: int, pool: str = "p") -> fit.Planned:
    return fit.planned(ONE.model_copy(update={"begins": begins, "ends": ends, "people": people}), pool)


def of_timetable(begins: float, ends: float, people: int, pool: str = "p") -> fit.Planned:
    return dataclasses.replace(of_booking(begins, ends, people, pool), whose="the timetable", of_timetable=True)


@given(st.lists(st.tuples(SPANS, st.booleans()), max_size=8), SPANS, st.integers(0, 20))
def test_what_is_planned_for_one_moment_never_exceeds_what_there_is(
    others: list[tuple[tuple[int, int, int], bool]], one: tuple[int, int, int], capacity: int
) -> None:
    """Bookings add up, and come on top of the timetable, of which the largest time holds."""
    made = [(of_timetable if timed else of_booking)(b, b + long, n) for (b, long, n), timed in others]
    begins, long, people = one

    def at(moment: int) -> int:
        there = [other for other in made if other.begins <= moment < other.ends]
        booked = sum(other.people for other in there if not other.of_timetable)
        return booked + max((other.people for other in there if other.of_timetable), default=0)

    peak = max(map(at, range(begins, begins + long)))
    assert fit.most_taken(made, begins, begins + long).amount == peak
    assert bool(fit.why_not(people, "p", made, begins, begins + long, room=fit.Room(capacity))) == (
        peak + people > capacity
    )


def test_what_other_pools_keep_is_taken_and_what_is_planned_for_them_comes_out_of_it() -> None:
    room = fit.Room(12, {"r": 2, "s": 0})
    of_r = of_booking(10, 20, 3, "r")
    assert not fit.why_not(10, "p", [], 0, 30, room=room)
    assert fit.why_not(11, "p", [], 0, 30, room=room) == (
        "11 people do not fit: there is room for 12 notebooks in all (max_containers), 2 of them are taken at that "
        "time, 2 guaranteed to other pools, so there is room for 10"
    )
    assert not fit.why_not(10, "p", [of_r], 20, 30, room=room)
    assert not fit.why_not(9, "p", [of_r], 0, 30, room=room)
    assert fit.why_not(10, "p", [of_r], 0, 30, room=room)
    timed = of_timetable(10, 20, 1, "r")
    assert not fit.why_not(10, "p", [timed], 0, 30, room=room), "of what is kept for that pool"


def test_whose_time_it_is_is_said() -> None:
    others = [of_booking(0, 30, 3), of_timetable(0, 30, 5, "r"), of_timetable(0, 30, 4, "r")]
    assert fit.why_not(9, "p", others, 0, 30, room=fit.Room(12, {"r": 6})) == (
        "9 people do not fit: there is room for 12 notebooks in all (max_containers), 9 of them are taken at that "
        "time, 5 by the timetable, 3 by the booking 0000000a and 1 guaranteed to other pools, so there is room for 3"
    )
    many = [of_booking(0, 30, 1) for _ in range(6)]
    assert "1 by the booking 0000000a and 3 by others, so" in fit.why_not(7, "p", many, 0, 9, room=fit.Room(12))


def test_without_a_maximum_the_memory_of_all_pools_counts() -> None:
    room = fit.Room(24, {"r": 1}, {"p": 1, "r": 4})
    of_r = of_booking(10, 20, 3, "r")
    assert not fit.why_not(20, "p", [], 0, 30, room=room)
    assert not fit.why_not(12, "p", [of_r], 0, 30, room=room)
    assert fit.why_not(13, "p", [of_r], 0, 30, room=room) == (
        "13 people do not fit: the engine's memory is enough for 24 of this pool, 50 % of it is taken at that time, "
        "3 by the booking 0000000a, so there is room for 12"
    )
    alone = fit.Room(24, {}, {"p": 1, "r": 4})
    assert fit.why_not(7, "r", [], 0, 30, room=alone) == (
        "7 people do not fit: the engine's memory is enough for 6 of this pool, no more"
    )


def test_a_timetable_may_have_a_maximum_of_its_own() -> None:
    table = {"days": "daily", "from": "10:00", "to": "12:00", "time_zone": "UTC", "pool_size": 4}
    entries = read_timetable([{**table, "max_containers": 6}, {**table, "from": "11:00", "max_containers": 40}])
    assert isinstance(entries, tuple)

    def limit(begins: float, ends: float, option: int | None = 10) -> int:
        return smallest_limit(entries, option, 30, begins * 3600, ends * 3600)

    assert [limit(8, 9), limit(9, 11), limit(11, 12), limit(11, 13)] == [10, 6, 40, 10]
    assert [limit(8, 9, None), limit(9, 11, None)] == [30, 6]


# --- what is kept


def an_agenda(path: Path) -> Agenda:
    made = Agenda(StateFile(path, State, version=VERSION, prepare=lambda: None), clock=lambda: 1500.0)
    made.load()
    return made


async def test_what_was_confirmed_is_on_the_disk(tmp_path: Path) -> None:
    before = an_agenda(tmp_path / "x.json")
    await before.bookings.book(ONE, fit.Space(10))
    await before.messages.tell(Message(id="0000000b", text="hello", at=1.0, until=9e9))
    before.bookings.came(ONE.id, "zq7")
    await before.settled()
    after = an_agenda(tmp_path / "x.json")
    assert after.bookings.class_key(ONE) == before.bookings.class_key(ONE) != after.bookings.teacher_key(ONE)
    found = after.bookings.of_member("zq7")
    assert found is not None
    assert (found.came, [one.text for one in after.messages.all()]) == (1, ["hello"])
    assert "zq7" not in (tmp_path / "x.json").read_text(), "an id opens a notebook, and is not kept"


async def test_on_a_full_disk_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agenda = an_agenda(tmp_path / "x.json")
    await agenda.bookings.book(ONE, fit.Space(10))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BookingError, match="nothing was changed: No space left"):
        await agenda.bookings.book(ONE.model_copy(update={"id": "0000000c", "title": "b"}), fit.Space(10))
    with pytest.raises(BookingError, match="No space left"):
        await agenda.bookings.extend(ONE.id, 1200, fit.Space(10))
    with pytest.raises(BookingError, match="No space left"):
        await agenda.bookings.cancel(ONE.id)
    with pytest.raises(BookingError, match="No space left"):
        await agenda.messages.tell(Message(id="0000000b", text="hello", at=1.0, until=9e9))
    assert list(agenda.bookings) == [ONE]
    assert agenda.messages.all() == []
    with structlog.testing.capture_logs() as logs:
        agenda.bookings.came(ONE.id, "zq7")
        await agenda.settled()
        monkeypatch.undo()
        await agenda.settled()
    assert [one["event"] for one in logs] == ["state_not_written", "state_written"]
    assert an_agenda(tmp_path / "x.json").bookings.of_member("zq7") is not None


async def test_two_who_book_at_once_do_not_get_the_same_room(tmp_path: Path) -> None:
    agenda = an_agenda(tmp_path / "x.json")
    wishes = [ONE.model_copy(update={"id": f"0000000{one}", "title": one}) for one in "abc"]
    done = await asyncio.gather(*(agenda.bookings.book(one, fit.Space(7)) for one in wishes), return_exceptions=True)
    assert [isinstance(one, BookingError) for one in done] == [False, False, True]
    assert "room for 7 notebooks" in str(done[2])
    assert sum(one.people for one in an_agenda(tmp_path / "x.json").bookings) == 6


async def test_a_class_is_prolonged_so_far_and_no_further(tmp_path: Path) -> None:
    agenda = an_agenda(tmp_path / "x.json")
    await agenda.bookings.book(ONE, fit.Space(10))
    for _ in range(12):
        await agenda.bookings.extend(ONE.id, 1200, fit.Space(10))
    with pytest.raises(BookingError, match="more than 4 hours"):
        await agenda.bookings.extend(ONE.id, 1200, fit.Space(10))
    with pytest.raises(BookingError, match="is over"):
        await agenda.bookings.extend("0000000f", 1200, fit.Space(10))


@given(st.text(max_size=400))
def test_a_message_is_one_line_of_bounded_length(text: str) -> None:
    with contextlib.suppress(ValueError):
        told = one_line(text, 300)
        assert 0 < len(told) <= 300
        assert told.isprintable()


async def test_a_thousand_bookings_that_are_over_leave_room_for_the_next() -> None:
    """Without a restart in between; what is booked for later is never forgotten."""
    now = [0.0]
    agenda = Agenda(clock=lambda: now[0])
    later = ONE.model_copy(update={"id": "ffffffff", "begins": 1e9, "ends": 1e9 + 60, "title": "later"})
    await agenda.bookings.book(later, fit.Space(10))
    for number in range(1, 1100):
        now[0] = 100.0 * number
        made = ONE.model_copy(update={"id": f"{number:08x}", "begins": now[0], "ends": now[0] + 50})
        await agenda.bookings.book(made, fit.Space(10))
    assert [one.id for one in agenda.bookings] == [f"{1099:08x}", later.id]
    assert agenda.bookings.of_class(agenda.bookings.class_key(made)) is not None
    old = ONE.model_copy(update={"id": f"{1:08x}"})
    assert agenda.bookings.of_class(agenda.bookings.class_key(old)) is None
    assert len(agenda.bookings._all) <= 202


async def test_a_clock_that_is_wrong_by_years_at_a_start_costs_nobody_a_booking(tmp_path: Path) -> None:
    before = an_agenda(tmp_path / "x.json")
    await before.bookings.book(ONE, fit.Space(10))
    now = [9e9]
    after = Agenda(StateFile(tmp_path / "x.json", State, version=VERSION, prepare=lambda: None), clock=lambda: now[0])
    after.load()
    assert list(after.bookings) == []
    much_later = ONE.model_copy(update={"id": "0000000b", "begins": 9e9, "ends": 9e9 + 60})
    await after.bookings.book(much_later, fit.Space(10))
    now[0] = 1500.0
    assert [one.id for one in after.bookings] == [ONE.id, "0000000b"]
