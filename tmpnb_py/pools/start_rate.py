"""How long a pool's containers take to start, and what follows from that. Pure.

How long a visitor in line will wait, and how long before a class or a time of the timetable its containers are begun.
"""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Sequence

from tmpnb_py.core.units import DAY

# Starts of the last ten minutes predict the next one: the machine's load is much the same.
_RECENT = 600.0
_KEPT = 32

LONGEST_LEAD = DAY / 2  # seconds
STARTS_TAKE = 10.0  # seconds, assumed of each where none has been measured
_SPARE = 1.5  # as several at once, on a machine that people use, take longer than those that were measured
_MARGIN = 60.0  # seconds, for what no measurement tells: an engine that answers late, one start that fails


class StartRate:
    """Measures starts and estimates waiting times from the latest ones."""

    def __init__(self) -> None:
        self._measured: collections.deque[tuple[float, float]] = collections.deque(maxlen=_KEPT)

    def started(self, now: float, seconds: float) -> None:
        """Record a start: a container became ready at `now`, `seconds` after its start began."""
        self._measured.append((now, seconds))

    @property
    def measured(self) -> tuple[tuple[float, float], ...]:
        """The latest starts: when each became ready and after how many seconds, the oldest first."""
        return tuple(self._measured)

    def estimate(
        self,
        position: int,
        concurrency: int,
        starting: Sequence[float],
        now: float,
        *,
        room: int | None = None,
    ) -> float | None:
        """Seconds until `position` (1 = next) is served by starts alone; None if that cannot be estimated.

        `starting` are the ages of the starts under way, `concurrency` how many may be under way at once (0
        while starts are held back), `room` how many more may begin before the pool is at its maximum (None =
        any number). Past that, a visitor waits for another one to leave, which start times do not predict.
        """
        durations = self._durations(now)
        if not durations or position > len(starting) + _further(position, concurrency, room):
            return None
        typical = statistics.median(durations)
        ends = sorted(_remaining(age, durations, typical) for age in starting)
        return _nth_end(position, ends, concurrency, typical)

    def lead(self, count: int, concurrency: int, now: float) -> float:
        """How many seconds ahead to begin, so that `count` containers more are ready in time; 0 for none."""
        if count <= 0:
            return 0.0
        estimate = self.estimate(count, concurrency, (), now)
        if estimate is None:
            estimate = math.ceil(count / max(1, concurrency)) * STARTS_TAKE
        return min(LONGEST_LEAD, _MARGIN + _SPARE * estimate)

    def _durations(self, now: float) -> list[float]:
        """Recent durations if there are any, else all: an old measurement is better than none."""
        recent = [seconds for at, seconds in self._measured if now - at <= _RECENT]
        return recent or [seconds for _, seconds in self._measured]


def _further(position: int, concurrency: int, room: int | None) -> int:
    """How many starts can still begin: `position` if nothing limits them."""
    if concurrency == 0:
        return 0
    return position if room is None else room


def _remaining(age: float, durations: list[float], typical: float) -> float:
    """Expected seconds left of a start under way, from the measured starts that took longer than its age.

    A start that has taken longer than any measured one counts like a new one: it may well be failing.
    """
    longer = [seconds for seconds in durations if seconds > age]
    return min(statistics.median(longer) - age, typical) if longer else typical


def _nth_end(position: int, ends: list[float], concurrency: int, typical: float) -> float:
    """When the `position`-th start ends. `ends`: those under way, in order, none above `typical`.

    If more are under way than `concurrency` allows, the first ones have no successor. Each other one frees a slot
    for a start of `typical` seconds, so the slots take turns in the same order.
    """
    slots = ends + [typical] * (min(concurrency, position) - len(ends))
    surplus = max(len(slots) - concurrency, 0)
    if position <= surplus:
        return slots[position - 1]
    rounds, slot = divmod(position - surplus - 1, len(slots) - surplus)
    return slots[surplus + slot] + rounds * typical
