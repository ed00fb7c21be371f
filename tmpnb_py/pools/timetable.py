"""What a timetable asks for at a moment, when that changes, and what comes next. Pure; `Sizing` asks in each round.

Moments are wall-clock seconds (Unix), since people write timetables by the clock on the wall. The state decides, and
no alarm: a service that was down at a change, or whose clock was set, does on its next look what is right then.
Days and zones are `dateutil`'s and `zoneinfo`'s business.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import zoneinfo
from collections.abc import Callable, Collection, Iterator, Sequence

from dateutil import rrule, tz

from tmpnb_py.options.groups.pool import PoolOptions
from tmpnb_py.options.timetables import Entry
from tmpnb_py.pools.ready_target import NOTHING, Part
from tmpnb_py.pools.start_rate import LONGEST_LEAD


@dataclasses.dataclass(frozen=True, slots=True)
class Occurrence:
    """An entry on one day, from `begins` to `ends`."""

    begins: float
    ends: float
    entry: Entry


@dataclasses.dataclass(frozen=True, slots=True)
class Programme:
    """A timetable at one moment.

    `part` is what it asks to be ready. `on` are the occurrences whose time it is, `preparing` those whose containers
    are being started ahead, `following` those to come, the next one first. `max_containers` (None: what fits the
    engine's memory) stands for the option of this name, `cull_timeout` (seconds, 0 = never) as well, unless it is
    None. `opens_at`: nobody is let in until then (`math.inf`: no such moment is known); None while people are.
    """

    part: Part = NOTHING
    on: tuple[Occurrence, ...] = ()
    preparing: tuple[Occurrence, ...] = ()
    following: tuple[Occurrence, ...] = ()
    max_containers: int | None = None
    cull_timeout: float | None = None
    opens_at: float | None = None

    @property
    def next_change(self) -> float | None:
        """The next beginning or end (Unix seconds), as people know them."""
        moments = [one.ends for one in self.on] + [one.begins for one in self.following[:1]]
        return min(moments, default=None)

    @property
    def is_shut(self) -> bool:
        """Whether the timetable lets nobody in."""
        return self.opens_at is not None


def occurrences(entries: Sequence[Entry], after: float, before: float) -> tuple[Occurrence, ...]:
    """What overlaps the time from `after` to `before`, by the moment at which it begins."""
    found = {one for entry in entries for one in _of_entry(entry, after, before)}
    overlapping = [one for one in found if one.ends > after and one.begins < before]
    return tuple(sorted(overlapping, key=lambda one: (one.begins, one.ends, str(one.entry))))


def _of_entry(entry: Entry, after: float, before: float) -> Iterator[Occurrence]:
    zone = zoneinfo.ZoneInfo(entry.zone)
    first, last = (datetime.datetime.fromtimestamp(moment, zone).replace(tzinfo=None) for moment in (after, before))
    first, last = first - datetime.timedelta(days=2), last + datetime.timedelta(days=2)
    for begins in _days(entry, first).between(first, last, inc=True):
        ends = (
            datetime.datetime.combine(begins.date(), entry.ends)
            if entry.ends is not None
            else datetime.datetime.combine(begins.date() + datetime.timedelta(days=1), datetime.time())
        )
        begin, end = _moment(begins, zone, fold=0), _moment(ends, zone, fold=1)
        # A beginning that the clocks leap over is moved behind the leap, where its end may be before it.
        yield Occurrence(begin, end if end > begin else begin + (ends - begins).total_seconds(), entry)


def _days(entry: Entry, since: datetime.datetime) -> rrule.rruleset:
    """The entry's beginnings in its zone's own time."""
    beginnings = rrule.rruleset()
    if entry.days:
        start = datetime.datetime.combine(since.date(), entry.begins)
        beginnings.rrule(rrule.rrule(rrule.WEEKLY, dtstart=start, byweekday=entry.days))
    for date in entry.dates:
        beginnings.rdate(datetime.datetime.combine(date, entry.begins))
    return beginnings


def _moment(local: datetime.datetime, zone: datetime.tzinfo, *, fold: int) -> float:
    """A local time as Unix seconds. One that exists twice, as clocks go back, is the first (`fold` 0) or the last."""
    return tz.resolve_imaginary(local.replace(tzinfo=zone, fold=fold)).timestamp()


def programme(
    agenda: Sequence[Occurrence],
    now: float,
    *,
    options: PoolOptions,
    lead_of: Callable[[Occurrence], float],
    begun: Collection[Occurrence] = (),
) -> Programme:
    """The timetable at `now`. `agenda` has the occurrences of before and after, by their beginning.

    `begun` are those that were on or being prepared when it was last asked: starts that prove faster than expected,
    and a clock that is set back by some hours, do not give up what is being prepared.
    """
    current = [one for one in agenda if one.begins <= now < one.ends]
    following = [one for one in agenda if one.begins > now]
    soon = {one: lead_of(one) for one in following if one.begins - LONGEST_LEAD <= now}
    preparing = [one for one, ahead in soon.items() if one in begun or now >= one.begins - ahead]
    asking = [*current, *preparing]
    size = max((one.entry.pool_size for one in asking), default=0)
    moments = [one.ends for one in current]
    for one in following:
        moments.append(one.begins)
        if one not in preparing:
            moments.append(one.begins - soon.get(one, LONGEST_LEAD))
    is_shut = not current and any(entry.only for entry in options.timetable)
    return Programme(
        Part(size, min(moments, default=math.inf)),
        tuple(current),
        tuple(preparing),
        tuple(following),
        max_containers=_maximum(options.max_containers, current, preparing, size),
        cull_timeout=_longest([one.entry.cull_timeout for one in current]),
        opens_at=min((one.begins for one in following), default=math.inf) if is_shut else None,
    )


def maximum(option: int | None, current: Sequence[Occurrence]) -> int | None:
    """The `max_containers` that holds while these are on; None: what fits the memory."""
    return _maximum(option, current, (), max((one.entry.pool_size for one in current), default=0))


def _maximum(
    option: int | None, current: Sequence[Occurrence], preparing: Sequence[Occurrence], size: int
) -> int | None:
    """The largest maximum of those that hold; None where one of them is what fits the memory.

    What is being prepared only adds room: visitors of before must not have less.
    """
    of_current = [one.entry.max_containers or option for one in current]
    limits = of_current or [option]
    limits += [one.entry.max_containers for one in preparing if one.entry.max_containers is not None]
    known = [limit for limit in limits if limit is not None]
    return max(*known, size) if len(known) == len(limits) else None


def _longest(timeouts: Sequence[float | None]) -> float | None:
    """The longest of those that are given; 0, which is never, is the longest of all."""
    given = [one for one in timeouts if one is not None]
    if not given:
        return None
    return 0.0 if 0.0 in given else max(given)
