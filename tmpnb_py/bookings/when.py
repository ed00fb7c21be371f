"""Reads the times that people write: "Tue 14:00-16:00", "2026-12-01 9:30-12:00", "18:00". Pure.

Days are read by `dateutil`. What can be read in two ways (12/1, 1.12.) is refused, and so is an hour that the clock
skips that day. A day without a year, or a weekday, is the next one.
"""

from __future__ import annotations

import dataclasses
import datetime
import re

import dateutil.parser
import dateutil.tz
from dateutil.relativedelta import relativedelta

EXAMPLES = '"Tue 14:00-16:00", "tomorrow 9:00-12:00" or "2026-12-01 14:00-16:00"'
MOMENTS = '"18:00", "Tue 18:00" or "2026-12-01 18:00"'
_LONGEST = 100
_CLOCK = r"([01]?\d|2[0-4])[:.]([0-5]\d)"
_SPAN = re.compile(rf"(?P<day>.*?),?\s*(?<![\d.:]){_CLOCK}\s*(?:-|\u2013|\u2014|to)\s*{_CLOCK}", re.IGNORECASE)
_MOMENT = re.compile(rf"(?P<day>.*?),?\s*(?<![\d.:]){_CLOCK}", re.IGNORECASE)
_ISO = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")
_AMBIGUOUS = re.compile(r"[\d./\s-]+")
_YEAR = re.compile(r"\b\d{4}\b")


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """From when until when, in the zone that it was told in."""

    begins: datetime.datetime
    ends: datetime.datetime


def read_span(text: str, now: datetime.datetime) -> Span:
    """A day with a time from and to. `now` has the zone. Raises `ValueError` with a sentence."""
    found = _SPAN.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if found is None:
        raise ValueError(f"{_shown(text)} is no time: write {EXAMPLES}")
    day, *clock = found.groups()
    hours = [int(part) for part in clock]
    times = (hours[0], hours[1]), (hours[2], hours[3])
    date = _day(day, now, text, EXAMPLES, later=not _is_ahead(_at(now.date(), times[0], now), now))
    # Of an hour that comes twice, the first is meant by the beginning, the last by the end, as in a timetable.
    span = Span(_at(date, times[0], now), _at(date, times[1], now).replace(fold=1))
    if span.begins >= span.ends:
        raise ValueError(f"{_shown(text)} ends before it begins: book two days for one that goes past midnight")
    if not _is_ahead(span.ends, now):
        raise ValueError(f"{_shown(text)} is past: now it is {now:%Y-%m-%d %H:%M} ({now.tzinfo})")
    return span


def read_moment(text: str, now: datetime.datetime) -> datetime.datetime:
    """A moment to come. `now` has the zone. Raises `ValueError` with a sentence."""
    found = _MOMENT.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if found is None:
        raise ValueError(f"{_shown(text)} is no time: write {MOMENTS}")
    clock = int(found[2]), int(found[3])
    date = _day(found["day"], now, text, MOMENTS, later=not _is_ahead(_at(now.date(), clock, now), now))
    moment = _at(date, clock, now).replace(fold=1)
    if not _is_ahead(moment, now):
        hint = "" if found["day"].strip() else f'; of tomorrow it is "tomorrow {found[2]}:{found[3]}"'
        raise ValueError(f"{_shown(text)} is past: now it is {now:%Y-%m-%d %H:%M} ({now.tzinfo}){hint}")
    return moment


def _is_ahead(moment: datetime.datetime, now: datetime.datetime) -> bool:
    """Whether a moment is to come. Two times of one zone are compared by the clock on the wall, which is set back."""
    return moment.timestamp() > now.timestamp()


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def _day(day: str, now: datetime.datetime, text: str, examples: str, *, later: bool) -> datetime.date:
    """The day that is meant. `later`: the time of today is over, so that today's weekday means the next one."""
    word = day.strip().lower()
    if word in ("", "today"):
        return now.date()
    if word == "tomorrow":
        return now.date() + datetime.timedelta(days=1)
    if _AMBIGUOUS.fullmatch(word) and not _ISO.fullmatch(word):
        raise ValueError(f"{_shown(text)} can be read in two ways: write the day as 2026-12-01")
    midnight = datetime.datetime.combine(now.date(), datetime.time())
    try:
        found = dateutil.parser.parse(word, default=midnight)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{_shown(text)} is no time: write {examples}") from error
    if found.tzinfo is not None or found.time() != datetime.time():
        raise ValueError(f"{_shown(text)} is no time: write {examples}")
    weekday = next((one for part in word.split() if (one := _weekday(part)) is not None), None)
    if weekday is not None and len(word.split()) == 1:
        return found.date() + datetime.timedelta(days=7 if later and found.date() == now.date() else 0)
    if not _YEAR.search(word) and found.date() < now.date():
        found += relativedelta(years=1)
    if weekday is not None and found.weekday() != weekday:
        raise ValueError(f"{_shown(text)}: {found:%Y-%m-%d} is a {found:%A}")
    return found.date()


def _weekday(word: str) -> int | None:
    return dateutil.parser.parserinfo().weekday(word.strip(","))


def _at(date: datetime.date, clock: tuple[int, int], now: datetime.datetime) -> datetime.datetime:
    """That time of that day; 24:00 is the next day's first moment. Raises `ValueError` for one that is skipped."""
    hour, minute = clock
    if hour == 24 and minute:
        raise ValueError(f"{hour}:{minute:02} is no time of a day")
    moment = datetime.datetime.combine(date + datetime.timedelta(days=hour // 24), datetime.time(hour % 24, minute))
    if not dateutil.tz.datetime_exists(moment, now.tzinfo):
        raise ValueError(f"{moment:%H:%M} does not exist on {moment:%Y-%m-%d} in {now.tzinfo}: the clock is set then")
    return moment.replace(tzinfo=now.tzinfo)
