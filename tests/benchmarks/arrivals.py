"""`pool_size = "auto"` against fixed sizes, on three seeded traces of arrivals: who waits, at which mean memory.

A pool in virtual time: starts take three seconds or so, two at a time, and each visitor keeps what they got. The
decisions are `pools.auto`'s own, on counts that `pools.arrivals` keeps. The mean number of containers that are ready
or starting stands for the memory that is there for nobody yet. A fixed size of the same mean is one of two sizes for
a part of the time each.

    python -m tests.benchmarks.arrivals
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
import sys
from collections.abc import Callable, Iterator

from tmpnb_py.core.units import DAY, HOUR, MINUTE
from tmpnb_py.pools.arrivals import STEP, Arrivals
from tmpnb_py.pools.auto import Bounds, decide

BEGIN = 1_796_601_600.0  # a Monday, 00:00 UTC
CONCURRENCY = 2
START_SECONDS = 3.0
SPREAD = (0.8, 1.4)  # of a start's time, from the one to the other
MEASURED = START_SECONDS * sum(SPREAD) / 2  # their median, which a service knows after some starts
WAIT_TARGET = 0.01
LARGEST = 200

Size = Callable[[float], int]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a trace did to a pool. `mean` is of containers for nobody, `largest` the largest target."""

    visitors: int
    waited: int
    waited_seconds: float
    mean: float
    largest: int

    @property
    def share(self) -> float:
        """Of the visitors, those who waited."""
        return self.waited / max(1, self.visitors)


# --- traces


def _poisson(
    dice: random.Random, begin: float, end: float, rate: Callable[[float], float], most: float
) -> list[float]:
    """Arrivals at random, at `rate` (per second, at most `most`), by thinning."""
    moments, moment = [], begin
    while (moment := moment + dice.expovariate(most)) < end:
        if dice.random() < rate(moment) / most:
            moments.append(moment)
    return moments


def steady(days: float = 7) -> list[float]:
    """Two people a minute, day and night."""
    dice = random.Random(1)
    return _poisson(dice, BEGIN, BEGIN + days * DAY, lambda _: 2 / MINUTE, 2 / MINUTE)


def lecture(weeks: int = 3) -> list[float]:
    """Six people an hour; on Tuesdays and Thursdays at two, sixty more click within some minutes."""
    dice = random.Random(2)
    moments = _poisson(dice, BEGIN, BEGIN + 7 * weeks * DAY, lambda _: 6 / HOUR, 6 / HOUR)
    for week in range(weeks):
        for weekday in (1, 3):
            at = BEGIN + (7 * week + weekday) * DAY + 14 * HOUR
            moments += [at + dice.gammavariate(2, 40) for _ in range(60)]
    return sorted(moments)


def news(days: float = 7) -> list[float]:
    """Six people an hour; on the third day a news site links here: thirty a minute, half of that an hour later."""
    dice = random.Random(3)
    linked = BEGIN + 2 * DAY + 12 * HOUR

    def rate(moment: float) -> float:
        more = 30 / MINUTE * 0.5 ** ((moment - linked) / HOUR) if moment >= linked else 0.0
        return 6 / HOUR + more

    return _poisson(dice, BEGIN, BEGIN + days * DAY, rate, 31 / MINUTE)


TRACES = {"steady": steady, "a lecture's burst": lecture, "a link on a news site": news}


# --- a pool in virtual time


class Automatic:
    """The target that `auto` decides on, for each step of ten seconds and each arrival."""

    def __init__(self, smallest: int = 1) -> None:
        self._arrivals = Arrivals()
        self._bounds = Bounds(smallest, LARGEST, WAIT_TARGET)
        self._made_for = -1
        self._size = smallest

    def came(self, now: float) -> None:
        """Count a visitor."""
        self._arrivals.came(now)
        self._made_for = -1

    def __call__(self, now: float) -> int:
        """The target."""
        if self._made_for != now // STEP:
            self._made_for = int(now // STEP)
            earlier = [*self._arrivals.earlier(now), *self._arrivals.earlier(now + 2 * MINUTE)]
            self._size = decide(
                self._arrivals.recent(now),
                earlier,
                self._bounds,
                start_seconds=MEASURED,
                concurrency=CONCURRENCY,
            ).size
        return self._size


def replay(moments: list[float], size: Size, came: Callable[[float], None]) -> Outcome:
    """Let the visitors of a trace come to a pool whose target is `size`."""
    dice = random.Random(7)
    ready, starting, waiting = size(moments[0]), list[float](), list[float]()
    waited, waited_seconds, area, largest, last = 0, 0.0, 0.0, 0, moments[0]
    for now, is_visitor in _events(moments, starting):
        area += (ready + len(starting)) * (now - last)
        last = now
        if is_visitor:
            came(now)
            waiting.append(now)
            if not ready:
                waited += 1
        elif starting and starting[0] <= now:
            heapq.heappop(starting)
            ready += 1
        while ready and waiting:
            waited_seconds += now - waiting.pop(0)
            ready -= 1
        target = size(now)
        largest = max(largest, target)
        ready = min(ready, target)
        missing = target + len(waiting) - ready - len(starting)
        for _ in range(min(missing, CONCURRENCY - len(starting))):
            heapq.heappush(starting, now + START_SECONDS * dice.uniform(*SPREAD))
    return Outcome(len(moments), waited, waited_seconds, area / (moments[-1] - moments[0]), largest)


def _events(moments: list[float], starting: list[float]) -> Iterator[tuple[float, bool]]:
    """Arrivals, ends of starts and looks every ten seconds, in order; whether it is a visitor."""
    look = moments[0]
    for moment in moments:
        while (upcoming := min(look, starting[0] if starting else math.inf)) < moment:
            if upcoming == look:
                look += STEP
            yield upcoming, False
        yield moment, True


def fixed(moments: list[float], size: int) -> Outcome:
    """The trace on a pool of one size."""
    return replay(moments, lambda _: size, lambda _: None)


def automatic(moments: list[float]) -> Outcome:
    """The trace on a pool of `auto`'s size."""
    size = Automatic()
    return replay(moments, size, size.came)


def _same_service(moments: list[float], share: float) -> int:
    """The smallest fixed size with which no larger share of visitors waits."""
    low, high = 0, 4 * LARGEST
    while low < high:
        middle = (low + high) // 2
        if fixed(moments, middle).share <= share:
            high = middle
        else:
            low = middle + 1
    return low


def main() -> None:
    """Print the table of the documentation."""
    print("| trace | visitors | waited | mean | largest | waited with a fixed size of that mean | as few with |")
    print("|---|---|---|---|---|---|---|")
    for name, made in TRACES.items():
        moments = made()
        auto = automatic(moments)
        few, more = fixed(moments, math.floor(auto.mean)), fixed(moments, math.ceil(auto.mean))
        other = few.share + (more.share - few.share) * (auto.mean % 1)
        print(
            f"| {name} | {auto.visitors} | {auto.waited} ({auto.share:.1%}) | {auto.mean:.1f} | {auto.largest} "
            f"| {other * auto.visitors:.0f} ({other:.1%}) | {_same_service(moments, auto.share)} |"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
