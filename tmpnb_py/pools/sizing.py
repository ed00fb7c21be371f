"""A pool's target at this moment: asks each source, has `ready_target` combine them, and notes the result.

The reconciler calls `look` in each round. Wall time decides, and nothing is counted down: the reconciler looks at
least at each listing of the engine (every 30 seconds), and then sees a clock that was set and a machine that slept.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

import structlog

from tmpnb_py.core.units import DAY, HOUR
from tmpnb_py.options.groups.pool import AUTO
from tmpnb_py.options.live import Change, LiveOptions
from tmpnb_py.options.timetables import Entry
from tmpnb_py.pools import auto, timetable
from tmpnb_py.pools.arrivals import STEP, Arrivals
from tmpnb_py.pools.ready_target import NOTHING, Part, ReadyTarget, ready_target
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.start_rate import StartRate
from tmpnb_py.pools.timetable import Occurrence, Programme

_AHEAD = 35 * DAY  # what is known of the days to come
_DECIDED_FOR = 1.0  # seconds

_log = structlog.get_logger(__name__)

Source = Callable[[float], Part]


def _nothing(_: float) -> Part:
    return NOTHING


class Sizing:
    """`base` is the number of ready containers that the operator has set; the records' `size` is today's target.

    `programme` is what the timetable says, `decision` what `auto` decided (None where the operator has set a number).
    """

    def __init__(
        self, records: Records, options: LiveOptions, rate: StartRate, *, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives Unix seconds."""
        self._records = records
        self._options = options
        self._rate = rate
        self._clock = clock
        self._reserve: Source = _nothing
        self._subscribers: list[Callable[[], None]] = []
        self._agenda = _Agenda()
        self._decided_at = -math.inf
        self.arrivals = Arrivals()
        self.base = options.current.base_size
        self.is_auto = options.current.pool_size == AUTO
        self.decision: auto.Decision | None = None
        self.programme = Programme(max_containers=options.current.max_containers)
        options.subscribe(self._options_changed)
        self.look()

    def reserve_from(self, reserve: Source) -> None:
        """Keep ready what this one asks for beyond all else; it is given Unix seconds."""
        self._reserve = reserve

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Call `subscriber` after each change of what the timetable says; it must not raise."""
        self._subscribers.append(subscriber)

    # --- what others tell

    def resize(self, size: int) -> None:
        """Set the base, in place of what was decided automatically, too."""
        self.base, self.is_auto = size, False
        self.look()

    def visitor_came(self) -> None:
        """Count a visitor who wants a container."""
        self.arrivals.came(self._clock())

    # --- what others ask

    @property
    def is_shut(self) -> bool:
        """Whether the timetable lets nobody in now."""
        return self.opens_at is not None

    @property
    def opens_at(self) -> float | None:
        """When the timetable lets people in again (Unix seconds, `math.inf`: unknown); None while it does."""
        opens_at = self.programme.opens_at
        return opens_at if opens_at is not None and self._clock() < opens_at else None

    @property
    def concurrency(self) -> int:
        """How many containers may be starting at the same time."""
        return self._options.current.starts_at_once(self._records.cpus)

    def lead(self, count: int) -> float:
        """How many seconds ahead to begin, so that `count` containers more are ready in time."""
        return self._rate.lead(count, self.concurrency, time.monotonic())

    def look(self) -> float:
        """Note today's target. Returns in how many seconds it changes by itself, as far as is known."""
        now = self._clock()
        before, self.programme = self.programme, self._programme(now)
        target = self.target(now)
        self._records.size = target.size
        if _state(before) != _state(self.programme):
            self._changed(target)
        return max(0.0, target.changes_at - now)

    def target(self, now: float) -> ReadyTarget:
        """The target at a moment (Unix seconds)."""
        return ready_target(
            self._base(now),
            timetable=self.programme.part,
            reserve=self._reserve(now),
            is_shut=self.programme.is_shut,
        )

    # --- the sources

    def _base(self, now: float) -> Part:
        if not self.is_auto:
            self.decision = None
            return Part(self.base)
        if self.decision is None or not 0 <= now - self._decided_at < _DECIDED_FOR:
            self._decided_at, self.decision = now, self._decide(now)
        return Part(self.decision.size, now + STEP)

    def _decide(self, now: float) -> auto.Decision:
        settings, records = self._options.current, self._records
        largest = settings.pool_size_max
        most = records.limit if largest is None else min(largest, records.limit)
        starts = [seconds for _, seconds in self._rate.measured]
        ahead = auto.ahead(most, self.concurrency, starts)
        return auto.decide(
            self.arrivals.recent(now),
            [*self.arrivals.earlier(now), *self.arrivals.earlier(now + ahead)],
            auto.Bounds(self.base, max(self.base, most), settings.wait_target),
            start_seconds=statistics.median(starts) if starts else None,
            concurrency=self.concurrency,
        )

    def _programme(self, now: float) -> Programme:
        settings = self._options.current
        return timetable.programme(
            self._agenda.at(now, settings.timetable),
            now,
            options=settings,
            lead_of=self._lead_of,
            begun={*self.programme.on, *self.programme.preparing},
        )

    def _lead_of(self, occurrence: Occurrence) -> float:
        is_kept = not any(entry.only for entry in self._options.current.timetable)
        return self.lead(occurrence.entry.pool_size - (self.base if is_kept else 0))

    # --- changes

    def _changed(self, target: ReadyTarget) -> None:
        on, preparing = self.programme.on, self.programme.preparing
        _log.info(
            "timetable_changed",
            pool=self._records.name,
            on=[str(one.entry) for one in on],
            preparing=[str(one.entry) for one in preparing],
            size=target.size,
            shut=self.programme.is_shut,
        )
        for subscriber in self._subscribers:
            subscriber()

    def _options_changed(self, change: Change) -> None:
        """A size that the operator has set meanwhile stays, unless the option itself has changed."""
        if {"pool_size", "pool_size_min"} & set(change.changed):
            self.base = change.settings.base_size
            self.is_auto = change.settings.pool_size == AUTO
        self._decided_at = -math.inf
        self.look()


class _Agenda:
    """The occurrences of the days to come, made anew every hour, and where the clock was set."""

    def __init__(self) -> None:
        self._made_at = -math.inf
        self._entries: Sequence[Entry] = ()
        self._occurrences: tuple[Occurrence, ...] = ()

    def at(self, now: float, entries: Sequence[Entry]) -> tuple[Occurrence, ...]:
        if entries is not self._entries or not 0 <= now - self._made_at < HOUR:
            self._made_at, self._entries = now, entries
            self._occurrences = timetable.occurrences(entries, now - DAY, now + _AHEAD) if entries else ()
        return self._occurrences


def _state(programme: Programme) -> tuple[object, ...]:
    """What others act on."""
    return (
        programme.on,
        programme.preparing,
        programme.is_shut,
        programme.max_containers,
        programme.cull_timeout,
    )
