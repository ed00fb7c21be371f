"""How many visitors came, and when: counts only, for `auto` to decide from. Pure; moments are Unix seconds.

The last quarter of an hour is known in steps of ten seconds. Of each earlier quarter only the most that came within
ten seconds, within a minute and within five is kept, for four weeks. Nothing tells who came.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from typing import Literal

import pydantic

from tmpnb_py.core.units import DAY, MINUTE

STEP = 10.0
SPANS = (1, 6, 30)  # steps: ten seconds, a minute, five minutes
QUARTER = 15 * MINUTE
_KEPT_STEPS = 120  # twenty minutes
_KEPT_QUARTERS = round(28 * DAY / QUARTER) + 1
_WEEKS = (1, 2, 3, 4)

VERSION = 1
Peaks = tuple[int, int, int]
NO_PEAKS: Peaks = (0, 0, 0)


class Counts(pydantic.BaseModel):
    """What is kept on disk: the peaks of each quarter of an hour since 1970 in which anybody came."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    quarters: dict[int, tuple[pydantic.NonNegativeInt, pydantic.NonNegativeInt, pydantic.NonNegativeInt]] = (
        pydantic.Field(default_factory=dict, max_length=2 * _KEPT_QUARTERS)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Recent:
    """Arrivals of the last steps, the oldest first. The last step has only begun."""

    steps: tuple[int, ...]

    def within(self, count: int) -> int:
        """How many came in the last `count` steps."""
        return sum(self.steps[-count:])


class Arrivals:
    """The counts of one pool."""

    def __init__(self) -> None:
        self._steps: collections.deque[tuple[int, int]] = collections.deque()  # number of the step, arrivals
        self._quarters: dict[int, Peaks] = {}

    def came(self, now: float) -> None:
        """Count a visitor. One who comes while the clock is set back counts for the latest step."""
        step = int(now // STEP)
        if self._steps and self._steps[-1][0] >= step and self._steps[-1][0] - step < _KEPT_STEPS:
            number, count = self._steps[-1]
            self._steps[-1] = (number, count + 1)
        else:
            if self._steps and self._steps[-1][0] > step:  # set back by more: what was counted is of another time
                self._steps.clear()
            self._steps.append((step, 1))
        self._forget(step)
        self._note_peaks(self._steps[-1][0])

    def _forget(self, step: int) -> None:
        while self._steps and self._steps[0][0] <= step - _KEPT_STEPS:
            self._steps.popleft()

    def _note_peaks(self, step: int) -> None:
        quarter = int(step * STEP // QUARTER)
        known = self._quarters.get(quarter, NO_PEAKS)
        first, second, third = (
            max(before, sum(count for number, count in self._steps if number > step - span))
            for before, span in zip(known, SPANS, strict=True)
        )
        self._quarters[quarter] = (first, second, third)
        if len(self._quarters) > _KEPT_QUARTERS:
            oldest = quarter - _KEPT_QUARTERS
            self._quarters = {one: peaks for one, peaks in self._quarters.items() if oldest < one <= quarter}

    def recent(self, now: float) -> Recent:
        """The last twenty minutes."""
        last, counts = int(now // STEP), dict(self._steps)
        return Recent(tuple(counts.get(last - back, 0) for back in reversed(range(_KEPT_STEPS))))

    def earlier(self, moment: float) -> Iterator[tuple[str, Peaks]]:
        """The peaks of a moment's quarter on earlier days: yesterday, and typical of this weekday."""
        quarter = int(moment // QUARTER)
        a_day = round(DAY / QUARTER)
        yield "yesterday", self._quarters.get(quarter - a_day, NO_PEAKS)
        weeks = [self._quarters[one] for week in _WEEKS if (one := quarter - 7 * week * a_day) in self._quarters]
        if weeks:
            first, second, third = (sorted(peaks)[len(weeks) // 2] for peaks in zip(*weeks, strict=True))
            yield "this weekday", (first, second, third)

    # --- over a restart

    @property
    def counts(self) -> Counts:
        """What has been counted, for the disk."""
        return Counts(quarters=self._quarters)

    def take_up(self, counts: Counts) -> None:
        """Know as well what another process has counted, which went on from what was counted here."""
        self._quarters |= counts.quarters
