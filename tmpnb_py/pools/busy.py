"""Which sessions keep the processor busy: CPU time over a sliding window.

`Busiest` measures, keeps a `CpuUse` for each session and calls `ratios` and `is_busy`. Pure: the caller passes the
time (monotonic seconds). "CPUs" is CPU seconds per second: 0.5 is half of one processor.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping

from tmpnb_py.core.units import CPU
from tmpnb_py.options.settings import Settings

_APART = 1 / 20  # of the window: samples that are nearer replace each other
_ENOUGH = 0.95  # of the window has to be measured before anybody is called busy
_CALMER = 0.8  # a busy session counts as busy until it uses so much less
_LEAST = 1 / 4  # of the limit: nobody is busy who uses less, however many do


@dataclasses.dataclass(frozen=True, slots=True)
class BusyRule:
    """What is too much. `share` is of what a session may use (0 = never), `window` in seconds.

    `limit` is in CPUs, 0 = none. `ends` says whether such a session is ended.
    """

    share: float
    window: float
    limit: float
    ends: bool

    @classmethod
    def of(cls, settings: Settings) -> BusyRule:
        """The rule that the options set."""
        return cls(
            share=settings.busy_cpu / 100,
            window=settings.busy_window,
            limit=settings.cpu_quota / CPU,
            ends=settings.busy_action == "end",
        )

    @property
    def period(self) -> float:
        """Seconds from one measurement to the next."""
        return max(1.0, min(30.0, self.window / 10))


class CpuUse:
    """What one session has used, as far back as the window goes."""

    __slots__ = ("_samples", "is_busy", "ratio")

    def __init__(self) -> None:
        self.ratio: float | None = None  # of what it may use, as `ratios` found it; None while unknown
        self.is_busy = False
        self._samples: collections.deque[tuple[float, float]] = collections.deque()

    def add(self, now: float, seconds: float, window: float) -> float:
        """Note the CPU seconds used so far. Returns how many are new."""
        samples = self._samples
        if samples and (seconds < samples[-1][1] or now <= samples[-1][0]):  # counted anew
            samples.clear()
        new = seconds - samples[-1][1] if samples else 0.0
        if len(samples) > 1 and samples[-1][0] - samples[-2][0] < window * _APART:
            samples.pop()
        samples.append((now, seconds))
        while len(samples) > 2 and samples[1][0] <= now - window:
            samples.popleft()
        return new

    @property
    def seconds(self) -> float | None:
        """CPU seconds so far, when it was last measured."""
        return self._samples[-1][1] if self._samples else None

    @property
    def cpus(self) -> float | None:
        """The average over the window, or over as much of it as was measured; None before the second sample."""
        if len(self._samples) < 2:
            return None
        (since, before), (until, after) = self._samples[0], self._samples[-1]
        return (after - before) / (until - since)

    def covers(self, window: float) -> bool:
        """Whether it has been measured for a whole window."""
        return len(self._samples) > 1 and self._samples[-1][0] - self._samples[0][0] >= window * _ENOUGH


def ratios(used: Mapping[str, float], limit: float, cpus: int) -> dict[str, float]:
    """What each session uses (in CPUs) as a share of what it could: its limit, or its part of a crowded machine.

    Where many take all they can, none reaches its limit: those that use at least half of what the first uses share
    the machine's `cpus`. Without a limit a session may use one CPU.
    """
    most = max(used.values(), default=0.0)
    hungry = sum(one >= most / 2 for one in used.values())
    limit = min(limit or 1.0, max(1, cpus))
    could = max(limit * _LEAST, min(limit, cpus / max(1, hungry)))
    return {one: cpu / could for one, cpu in used.items()}


def is_busy(use: CpuUse, rule: BusyRule) -> bool:
    """Whether a session's average over a whole window is too much, by the `ratio` that it has now."""
    if not rule.share or use.ratio is None or not use.covers(rule.window):
        return False
    return use.ratio >= rule.share * (_CALMER if use.is_busy else 1)
