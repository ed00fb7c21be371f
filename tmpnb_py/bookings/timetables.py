"""What the timetables of pools ask for, as bookings see it: times that are taken, and how many fit then. Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Sequence

from tmpnb_py.bookings.fit import Planned
from tmpnb_py.options.timetables import Entry
from tmpnb_py.pools import timetable
from tmpnb_py.pools.timetable import Occurrence


def planned(pool: str, times: Iterable[Occurrence]) -> list[Planned]:
    """The times of a pool's timetable."""
    return [
        Planned(pool, one.begins, one.ends, one.entry.pool_size, _whose(pool, one), of_timetable=True)
        for one in times
    ]


def _whose(pool: str, time: Occurrence) -> str:
    entry = time.entry
    begins = datetime.datetime.fromtimestamp(time.begins, zoneinfo.ZoneInfo(entry.zone))
    return f"the timetable of {pool} ({begins:%a %Y-%m-%d %H:%M}-{entry.ends_text} {entry.zone})"


def smallest_limit(entries: Sequence[Entry], option: int | None, fitting: int, begins: float, ends: float) -> int:
    """How many containers a pool may have at any moment of a time, as its timetable may have a maximum of its own.

    `option` is `max_containers`, None for what fits the memory, which is `fitting`.
    """
    times = timetable.occurrences(entries, begins, ends)
    changes = {begins, *(moment for one in times for moment in (one.begins, one.ends) if begins < moment < ends)}
    found = (
        timetable.maximum(option, [one for one in times if one.begins <= moment < one.ends]) for moment in changes
    )
    return min(fitting if limit is None else limit for limit in found)
