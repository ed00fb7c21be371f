"""`pool_size = "auto"`: how many containers are to be ready, so that few visitors have to wait. Pure.

Somebody waits if more come within a span of time than were ready at its beginning and became ready in it. So for
each span the decision asks how many come in it at most, but for the share `wait_target` of cases, and takes off what
is started meanwhile: the largest of these numbers is kept ready. Spans shorter than a start get nothing taken off.

How many come is estimated twice. Once from the rate of the last minutes, as a negative binomial distribution:
arrivals at random, at a rate that is itself only known from so many observations (the gamma posterior of Jeffreys'
prior). And once from the most that came in such a span at this time on earlier days, which knows of lectures what no
rate tells before.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence

from tmpnb_py.core.units import MINUTE
from tmpnb_py.pools.arrivals import SPANS, STEP, Peaks, Recent
from tmpnb_py.pools.start_rate import STARTS_TAKE

# Steps over which a rate is measured: half a minute, one, five, fifteen. By the first a burst is seen as it begins:
# of a first lecture half as many wait as without it, for 6 % more containers on average (tests.benchmarks.arrivals).
WINDOWS = (3, 6, 30, 90)
_FURTHEST = 2  # windows: half a minute tells nothing of the next five
_LONGEST_AHEAD = 10 * MINUTE
_HOLD = 6  # steps for which a number that was needed is kept
_EXACT = 200.0  # arrivals up to which the distribution is summed up, and not approximated


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """The operator's: between `smallest` and `largest`, and `wait_target` as a share."""

    smallest: int
    largest: int
    wait_target: float


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """So many are to be ready, and why."""

    size: int
    because: str

    def __str__(self) -> str:
        return f"{self.size} because {self.because}"


def ahead(size: int, concurrency: int, starts: Sequence[float]) -> float:
    """How many seconds before it is needed to begin with so many; `starts` are measured ones."""
    each = statistics.median(starts) if starts else STARTS_TAKE
    return min(_LONGEST_AHEAD, size * each / max(1, concurrency))


def decide(
    recent: Recent,
    earlier: Iterable[tuple[str, Peaks]],
    bounds: Bounds,
    *,
    start_seconds: float | None,
    concurrency: int,
) -> Decision:
    """How many are to be ready now.

    `start_seconds` is what a start takes (None: nothing is measured yet), `concurrency` how many may be under way.
    """
    seconds = max(0.1, STARTS_TAKE if start_seconds is None else start_seconds)
    supply = _Supply(seconds, concurrency / seconds)
    wants = [_from_rate(recent, bounds.wait_target, supply)]
    wants += [_from_peaks(when, peaks, supply) for when, peaks in earlier]
    size, because = max(wants)
    if size < bounds.smallest:
        return Decision(bounds.smallest, f"that is the least ({because})")
    if size > bounds.largest:
        return Decision(bounds.largest, f"that is the most; {size} were needed ({because})")
    return Decision(size, because)


@dataclasses.dataclass(frozen=True, slots=True)
class _Supply:
    """A start takes `seconds`; `rate` of them end per second while many are wanted."""

    seconds: float
    rate: float

    def within(self, seconds: float) -> float:
        """How many become ready in a span that begins with the first arrival."""
        return self.rate * max(0.0, seconds - self.seconds)


def _from_rate(recent: Recent, wait_target: float, supply: _Supply) -> tuple[int, str]:
    """What the last minutes ask for, or did a minute ago."""
    best, rate, over = 0, 0.0, WINDOWS[-1]
    for window in WINDOWS:
        seconds = window * STEP
        count = max(recent.within(window), Recent(recent.steps[:-_HOLD]).within(window))
        for span in (supply.seconds, *(steps * STEP for steps in SPANS)):
            if span > max(supply.seconds, _FURTHEST * seconds):
                continue
            # A visitor finds one if fewer than all have been taken by those who came before, within the span.
            need = math.ceil(most_within(span, count, seconds, wait_target) + (count > 0) - supply.within(span))
            if need > best:
                best, rate, over = need, count / seconds * MINUTE, window
    if not best or not rate:
        return best, f"nobody came in the last {_span(over)}"
    return best, f"{rate:.1f} a minute came in the last {_span(over)}, and a start takes {supply.seconds:.1f} s"


def _from_peaks(when: str, peaks: Peaks, supply: _Supply) -> tuple[int, str]:
    """What the same time of earlier days asks for. Within a step all may have come at once."""
    needs = [
        (
            math.ceil(peak - supply.within((span - 1) * STEP)),
            f"{peak} came within {_span(span)} at this time {_day(when)}",
        )
        for span, peak in zip(SPANS, peaks, strict=True)
    ]
    return max(needs)


def _day(when: str) -> str:
    return when if when == "yesterday" else f"on {when}"


def _span(steps: int) -> str:
    return f"{steps * STEP:.0f} s" if steps < 6 else f"{steps * STEP / MINUTE:.0f} min"


def most_within(span: float, count: int, seconds: float, share: float) -> int:
    """How many come within `span` seconds at most, but for a `share` of cases, where `count` came in `seconds`.

    Nobody is expected where nobody came: the operator's least number is for the first one.
    """
    if not count:
        return 0
    shape, odds = count + 0.5, span / seconds
    mean, variance = shape * odds, shape * odds * (1 + odds)
    if mean > _EXACT or shape * math.log1p(odds) > 600:
        return math.ceil(statistics.NormalDist(mean, math.sqrt(variance)).inv_cdf(1 - share))
    chance = math.exp(-shape * math.log1p(odds))
    total, number = chance, 0
    while total < 1 - share:
        chance *= (number + shape) / (number + 1) * odds / (1 + odds)
        total += chance
        number += 1
    return number
