"""What the times of all pools' timetables and bookings need, and whether an engine has it. Pure; for `timetable`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tmpnb_py.bookings import fit, timetables
from tmpnb_py.bookings.model import Booking
from tmpnb_py.cli.commands.plan import DEFAULTS, SYSTEM_MEMORY, WORK_MARGIN, CapacityPlan, plan_for
from tmpnb_py.core.models import EngineInfo
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.timetable import Occurrence, occurrences


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """One time of a pool: its notebooks in use and ready, as many as it may come to.

    `time` is of the timetable, or a booking. `memory` (bytes) and `cpus` are what all pools need meanwhile, with
    small data; `memory_full` if everybody uses the whole limit. `fits` is None where the engine is not known; `room`
    is about how many people fit. `beside` are the others who want notebooks then, of all pools.
    """

    pool: str
    time: Occurrence | Booking
    containers: int
    memory: int
    memory_full: int
    cpus: int
    fits: bool | None
    room: int
    verdict: str
    beside: tuple[fit.Planned, ...] = ()

    @property
    def booking(self) -> Booking | None:
        """The booking; None for a time of the timetable."""
        return self.time if isinstance(self.time, Booking) else None

    def written(self) -> dict[str, Any]:
        """The table of the timetable, or what was booked."""
        if isinstance(self.time, Booking):
            one = self.time
            return {"booking": one.id, "people": one.people, "title": one.title, "workshop": one.workshop}
        return self.time.entry.written()

    @property
    def zone(self) -> str:
        """The time zone that it is written in."""
        return self.time.zone if isinstance(self.time, Booking) else self.time.entry.zone

    @property
    def people(self) -> int:
        """How many notebooks it asks for."""
        return self.time.people if isinstance(self.time, Booking) else self.time.entry.pool_size


@dataclasses.dataclass(frozen=True, slots=True)
class _Site:
    """All pools, what is planned for each, the engine, and how many notebooks there may be together."""

    pools: Sequence[Settings]
    times: Mapping[str, Sequence[Occurrence]]
    bookings: Mapping[str, Sequence[Booking]]
    info: EngineInfo | None
    most: int | None

    def planned(self, pool: str) -> list[fit.Planned]:
        """What is planned for a pool."""
        booked = [fit.planned(one, pool) for one in self.bookings[pool]]
        return timetables.planned(pool, self.times[pool]) + booked


def needs_of(
    pools: Sequence[Settings],
    after: float,
    before: float,
    info: EngineInfo | None,
    most: int | None = None,
    *,
    bookings: Sequence[Booking] = (),
) -> list[Need]:
    """The needs of each time, if as many people come as notebooks are ready for, and each of these is replaced.

    `most`: how many notebooks all pools may have together, None for no limit.
    """
    names = [pool.label for pool in pools]
    site = _Site(
        pools,
        {pool.label: occurrences(pool.timetable, after, before) for pool in pools},
        {
            name: [one for one in bookings if _home(one, names) == name and one.overlaps(after, before)]
            for name in names
        },
        info,
        most,
    )
    times: list[tuple[Occurrence | Booking, Settings]] = []
    for pool in pools:
        times += [(one, pool) for one in site.times[pool.label]]
        times += [(one, pool) for one in site.bookings[pool.label]]
    return [_need(one, pool, site) for one, pool in sorted(times, key=lambda time: time[0].begins)]


def _home(booking: Booking, names: Sequence[str]) -> str:
    """The pool of a booking: the first one where its own has gone."""
    return booking.pool if booking.pool in names else names[0]


def _need(time: Occurrence | Booking, pool: Settings, site: _Site) -> Need:
    info, most = site.info, site.most
    plans = {one.label: _meanwhile(one, time, site) for one in site.pools}
    own, own_most = plans[pool.label], _most_of(pool, time, site)
    wanted = sum(plan.people or plan.ready for plan in plans.values())
    memory = SYSTEM_MEMORY + sum(plan.memory - SYSTEM_MEMORY for plan in plans.values())
    full = SYSTEM_MEMORY + sum(plan.memory_full - SYSTEM_MEMORY for plan in plans.values())
    cpus = sum(plan.cpus for plan in plans.values() if plan.people) or 1
    each = min(DEFAULTS.memory_working + WORK_MARGIN, pool.mem_limit)
    over = max((wanted - most, most) if most is not None else (0, 0), (own.people - own_most[0], own_most[0]))
    is_above = over[0] > 0 and (most is not None or own_most[1])
    fits = False if is_above else None if info is None else memory <= info.memory
    room = 0 if info is None else max(0, own.people - max(0, memory - info.memory) // each - 1)
    if is_above:
        room = min(room or own.people, max(0, own.people - over[0]))
    verdict = f"above max_containers, {over[1]}" if is_above else _verdict(fits=fits, full=full, cpus=cpus, info=info)
    beside = _beside(time, pool.label, site)
    return Need(pool.label, time, own.people + own.ready, memory, full, cpus, fits, room, verdict, beside=beside)


def _beside(time: Occurrence | Booking, pool: str, site: _Site) -> tuple[fit.Planned, ...]:
    """The others who want notebooks at that time."""
    own = fit.planned(time, pool) if isinstance(time, Booking) else timetables.planned(pool, [time])[0]
    found = [one for each in site.pools for one in site.planned(each.label) if one.overlaps(time.begins, time.ends)]
    return tuple(one for one in found if one != own)


def _most_of(pool: Settings, time: Occurrence | Booking, site: _Site) -> tuple[int, bool]:
    """How many notebooks a pool may have meanwhile, and whether the operator says so."""
    entries = [one.entry for one in site.times[pool.label] if one.begins < time.ends and one.ends > time.begins]
    limits = [entry.max_containers or pool.max_containers for entry in entries] or [pool.max_containers]
    if None not in limits:
        return max(limit for limit in limits if limit is not None), True
    return (1_000_000 if site.info is None else site.info.memory // pool.mem_limit), False


def _meanwhile(pool: Settings, time: Occurrence | Booking, site: _Site) -> CapacityPlan:
    """What a pool needs while `time` is on: with people where its timetable has a time then, or bookings."""
    planned = site.planned(pool.label)
    sizes = [one.people for one in planned if one.of_timetable and one.overlaps(time.begins, time.ends)]
    asked = max(pool.base_size, *sizes, 0)
    people = fit.most_taken(planned, time.begins, time.ends).amount
    people += max(0, asked - max(sizes)) if sizes else 0
    most = _most_of(pool, time, site)[0]
    most = most if site.most is None else min(most, site.most)
    ready = max(0, min(asked, most - people))
    return _plan(pool, people, ready)


def _plan(pool: Settings, people: int, ready: int) -> CapacityPlan:
    is_warm = bool(pool.warm_kernels)
    return plan_for(people, ready=ready, mem_limit=pool.mem_limit, figures=DEFAULTS, machine=None, is_warm=is_warm)


def _verdict(*, fits: bool | None, full: int, cpus: int, info: EngineInfo | None) -> str:
    if info is None:
        return "not known"
    if not fits:
        return "does not fit"
    if full > info.memory:
        return "fits, unless everybody uses the whole limit"
    return "fits, with a slow first minute" if cpus > info.cpus else "fits"
