"""The tables of `[[timetable]]`: how they are written, and the `Entry` that each becomes.

Every check raises ValueError with a sentence that names the table and says what to write. When an entry is on is
`pools.timetable`'s to say. Used by `groups`. Pure, but for the machine's time zone.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from tmpnb_py.core import time_zones
from tmpnb_py.core.units import format_duration
from tmpnb_py.options.kinds import NEVER, Kind, Quantity

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MOST = 1000  # tables, and dates of one
_SIZE = Quantity(Kind.NUMBER, 0, 100_000)
_MAXIMUM = Quantity(Kind.NUMBER, 1, 1_000_000)
_KEYS = ("days", "dates", "from", "to", "time_zone", "pool_size", "max_containers", "cull_timeout", "only")
_MIDNIGHT = "24:00"
_HOW_TIMES = f'write hours and minutes, such as "14:00", the end of a day as "{_MIDNIGHT}"'
_HOW_DAYS = 'write "Tue", "Mon-Fri" or "daily"'


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """It is on on `days` (0 = Monday) or `dates`, from `begins` to `ends` (None: midnight) in the time of `zone`.

    Then `pool_size` containers are ready, and `max_containers` and `cull_timeout` (seconds, 0 = never) replace the
    options of these names, unless they are None. `only`: outside of the timetable's times nobody is let in.
    """

    days: tuple[int, ...]
    dates: tuple[datetime.date, ...]
    begins: datetime.time
    ends: datetime.time | None
    zone: str
    pool_size: int
    max_containers: int | None = None
    cull_timeout: float | None = None
    only: bool = False

    @property
    def days_text(self) -> str:
        """The days or dates in words."""
        if self.dates:
            return ",".join(one.isoformat() for one in self.dates)
        return "daily" if len(self.days) == len(DAYS) else ",".join(DAYS[day][:3] for day in self.days)

    @property
    def ends_text(self) -> str:
        """When it ends."""
        return _MIDNIGHT if self.ends is None else f"{self.ends:%H:%M}"

    def written(self) -> dict[str, Any]:
        """The table that is read as this entry."""
        table = {
            "days": [DAYS[day][:3] for day in self.days],
            "dates": [one.isoformat() for one in self.dates],
            "from": f"{self.begins:%H:%M}",
            "to": self.ends_text,
            "time_zone": self.zone,
            "pool_size": self.pool_size,
            "max_containers": self.max_containers,
            "cull_timeout": None if self.cull_timeout is None else format_duration(self.cull_timeout),
            "only": self.only,
        }
        return {
            key: value for key, value in table.items() if value is not None and value is not False and value != []
        }

    def __str__(self) -> str:
        more = f", at most {self.max_containers}" if self.max_containers is not None else ""
        more += f", idle for {format_duration(self.cull_timeout)}" if self.cull_timeout is not None else ""
        more += ", closed outside" if self.only else ""
        return f"{self.days_text} {self.begins:%H:%M}-{self.ends_text} {self.zone}: {self.pool_size} ready{more}"


def read_timetable(value: object) -> object:
    """Parse the tables. In the environment and on the command line they are written as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except ValueError:
            raise ValueError(f"the timetable is not JSON: {_example()}") from None
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping | Entry) for one in value):
        raise ValueError('the timetable is no list of tables: begin each in the file with "[[timetable]]"')
    if len(value) > _MOST:
        raise ValueError(f"the timetable has {len(value)} tables: {_MOST} are the most")
    return tuple(_entry(one, number) for number, one in enumerate(value, 1))


def _example() -> str:
    return 'write [{"days": ["Tue"], "from": "14:00", "to": "16:00", "pool_size": 60}]'


def _entry(table: Mapping[str, Any] | Entry, number: int) -> Entry:
    if isinstance(table, Entry):
        return table
    try:
        return _read(table)
    except ValueError as error:
        raise ValueError(f"table {number} of the timetable: {error}") from None


def _read(table: Mapping[str, Any]) -> Entry:
    for key in table.keys() - set(_KEYS):
        near = difflib.get_close_matches(str(key), _KEYS, n=1)
        raise ValueError(f"there is no {key}{f'; did you mean {near[0]}?' if near else ': ' + ', '.join(_KEYS)}")
    days, dates = _days(table), _dates(table)
    if bool(days) == bool(dates):
        raise ValueError('give either days, such as days = ["Tue", "Thu"], or dates, such as dates = ["2026-12-08"]')
    begins, ends = _time("from", table), _time("to", table)
    if begins is None:
        raise ValueError(f'from = "{_MIDNIGHT}" is the end of a day: begin at "00:00" of the next one')
    if ends is not None and ends <= begins:
        raise ValueError(
            f'from = "{begins:%H:%M}" is not before to = "{ends:%H:%M}": exchange them, or write a time over '
            f'midnight as two tables, to = "{_MIDNIGHT}" and from = "00:00" of the next day'
        )
    size, maximum = _quantity("pool_size", table, _SIZE), _quantity("max_containers", table, _MAXIMUM)
    if size is None:
        raise ValueError("pool_size is missing: write how many notebooks are to be ready then")
    if maximum is not None and maximum < size:
        raise ValueError(f"max_containers = {maximum:.0f} is below pool_size = {size:.0f}: raise it")
    if not isinstance(only := table.get("only", False), bool):
        raise ValueError("only is neither true nor false")
    return Entry(
        days,
        dates,
        begins,
        ends,
        _zone(table),
        int(size),
        None if maximum is None else int(maximum),
        _quantity("cull_timeout", table, NEVER),
        only,
    )


def _days(table: Mapping[str, Any]) -> tuple[int, ...]:
    written = table.get("days", [])
    parts = [written] if isinstance(written, str) else written
    if not isinstance(parts, list) or not all(isinstance(one, str) for one in parts):
        raise ValueError(f"days is no list of days: {_HOW_DAYS}")
    found: set[int] = set()
    for part in (one.strip() for text in parts for one in text.split(",")):
        if part.lower() == "daily":
            found |= set(range(7))
            continue
        first, dash, last = (one.strip() for one in part.partition("-"))
        begin, end = _day(first), _day(last) if dash else _day(first)
        found |= {(begin + more) % 7 for more in range((end - begin) % 7 + 1)}
    return tuple(sorted(found))


def _day(text: str) -> int:
    for number, name in enumerate(DAYS):
        if len(text) >= 2 and name.lower().startswith(text.lower()):
            return number
    near = difflib.get_close_matches(text.capitalize(), [*DAYS, *(name[:3] for name in DAYS)], n=1)
    raise ValueError(f'"{text[:40]}" is no day{f"; did you mean {near[0]}?" if near else ""}: {_HOW_DAYS}')


def _dates(table: Mapping[str, Any]) -> tuple[datetime.date, ...]:
    written = table.get("dates", [])
    parts = written if isinstance(written, list) else [written]
    if len(parts) > _MOST:
        raise ValueError(f"dates has {len(parts)} days: {_MOST} are the most")
    return tuple(sorted({_date(part) for part in parts}))


def _date(part: object) -> datetime.date:
    if type(part) is datetime.date:  # and no datetime, which is one as well
        return part
    try:
        if isinstance(part, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", part, re.ASCII):
            return datetime.date.fromisoformat(part)
    except ValueError:
        pass
    raise ValueError(f'"{str(part)[:40]}" is no date: write year, month and day, such as "2026-12-08"')


def _time(key: str, table: Mapping[str, Any]) -> datetime.time | None:
    """A time of the day; None for the day's end."""
    if key not in table:
        raise ValueError(f"{key} is missing: {_HOW_TIMES}")
    written = table[key]
    if isinstance(written, datetime.time):  # TOML has such values, too
        return written
    if written == _MIDNIGHT:
        return None
    found = re.fullmatch(r"(\d?\d):(\d\d)", written, re.ASCII) if isinstance(written, str) else None
    if found is None or int(found[1]) > 23 or int(found[2]) > 59:
        raise ValueError(f'{key} = "{str(written)[:40]}" is no time of the day: {_HOW_TIMES}')
    return datetime.time(int(found[1]), int(found[2]))


def _zone(table: Mapping[str, Any]) -> str:
    name = table.get("time_zone", "")
    try:
        return time_zones.zone(str(name)).key
    except ValueError as error:
        raise ValueError(f"time_zone{'' if name else ' is missing, and'}: {error}") from None


def _quantity(key: str, table: Mapping[str, Any], quantity: Quantity) -> float | None:
    if key not in table:
        return None
    try:
        read = quantity.read(table[key])
    except ValueError as error:
        raise ValueError(f'{key} = "{str(table[key])[:40]}" {error}') from None
    assert isinstance(read, int | float)  # noqa: S101 - what a quantity reads
    return read


def check_sizes(entries: tuple[Entry, ...], max_containers: int | None) -> None:
    """Raise ValueError for the first table whose size the maximum does not allow."""
    for number, entry in enumerate(entries, 1):
        if entry.max_containers is None and max_containers is not None and entry.pool_size > max_containers:
            raise ValueError(
                f"table {number} of the timetable: pool_size = {entry.pool_size} is above max_containers, which is "
                f"{max_containers}: give the table a max_containers of its own, or raise the option"
            )
