"""The line of visitors who wait for a container, and how long they may have to.

`claims` owns one `Line` and one `StartRate` and calls them from the event loop; nothing here awaits, so each
call is atomic and none needs a lock. Pure: the caller brings the time (seconds on the monotonic clock).
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import itertools
import operator
import statistics
from collections.abc import Sequence

from tmpnb_py.errors import LineFullError

# How long somebody who is turned away is told to stay away when nothing better is known.
RETRY_AFTER = 30.0

# A start's duration tells of the next one's as long as the machine's load is much the same.
_RECENT = 600.0
_KEPT = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A place in the line. `number` grows with each; `joined_at` is when it was taken."""

    id: str
    number: int
    joined_at: float


_number = operator.attrgetter("number")


class Line:
    """First come, first served, for at most `capacity` who wait."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._numbers = itertools.count(1)
        self._by_id: dict[str, Place] = {}
        # In the order of their numbers, so that a place is found by bisection. Deleting moves the pointers
        # behind it: a few microseconds with 10,000 of them, so no cleverer structure is worth its code.
        self._places: list[Place] = []

    def __len__(self) -> int:
        return len(self._places)

    def take_number(self) -> int:
        """Come now; who joins with this number later stands before all who came after."""
        return next(self._numbers)

    def join(
        self,
        ticket_id: str,
        now: float,
        *,
        number: int | None = None,
        retry_after: float = RETRY_AFTER,
        again: bool = False,
    ) -> Place:
        """Go to the end of the line, or where `number` says; whoever is in it already keeps the place.

        Raises LineFullError, with `retry_after` (the caller's estimate in seconds), where the line is full; never for
        who had a place before a restart and comes `again`.
        """
        if place := self._by_id.get(ticket_id):
            return place
        if len(self) >= self.capacity and not again:
            raise LineFullError(f"{len(self)} visitors are waiting already", retry_after=retry_after)
        place = Place(ticket_id, number or next(self._numbers), now)
        self._by_id[ticket_id] = place
        bisect.insort(self._places, place, key=_number)
        return place

    def take_back(self, place: Place) -> None:
        """Whoever was popped and could not be served is in the line again, where they were."""
        if place.id not in self._by_id:
            self._by_id[place.id] = place
            bisect.insort(self._places, place, key=_number)

    def leave(self, ticket_id: str) -> bool:
        """Give the place up; False if there was none (never joined, served, or left before)."""
        place = self._by_id.pop(ticket_id, None)
        if place is None:
            return False
        del self._places[self._index(place)]
        return True

    def waits(self, now: float) -> list[float]:
        """How many seconds each has waited, the first in line first."""
        return [now - place.joined_at for place in self._places]

    def first(self) -> Place | None:
        """Whose turn it is, without serving them."""
        return self._places[0] if self._places else None

    def pop_first(self) -> Place | None:
        """Serve the first: they are no longer in the line."""
        place = self.first()
        if place is not None:
            self.leave(place.id)
        return place

    def position(self, ticket_id: str) -> int | None:
        """The place in the line, 1 = next; None for whoever is not in it."""
        place = self._by_id.get(ticket_id)
        return None if place is None else self._index(place) + 1

    def _index(self, place: Place) -> int:
        return bisect.bisect_left(self._places, place.number, key=_number)


class StartRate:
    """How long containers take to start, measured on the latest ones that became ready."""

    def __init__(self) -> None:
        self._measured: collections.deque[tuple[float, float]] = collections.deque(maxlen=_KEPT)

    def started(self, now: float, seconds: float) -> None:
        """A container became ready at `now`, `seconds` after its start began."""
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
        """Seconds until `position` (1 = next) is served by starts alone, or None where nobody can know.

        `starting` are the ages of the starts under way, `concurrency` how many may be under way at once (0
        while starts are held back), `room` how many more may begin before the pool is at its maximum (None =
        any number). Past that, one waits for another visitor to leave, and no start's duration tells when.
        """
        durations = self._durations(now)
        if not durations or position > len(starting) + _further(position, concurrency, room):
            return None
        typical = statistics.median(durations)
        ends = sorted(_remaining(age, durations, typical) for age in starting)
        return _nth_end(position, ends, concurrency, typical)

    def _durations(self, now: float) -> list[float]:
        """Of the last minutes if there are any, else all: an old measurement is better than none."""
        recent = [seconds for at, seconds in self._measured if now - at <= _RECENT]
        return recent or [seconds for _, seconds in self._measured]


def _further(position: int, concurrency: int, room: int | None) -> int:
    """How many starts can still begin; as many as `position` where nothing limits them."""
    if concurrency == 0:
        return 0
    return position if room is None else room


def _remaining(age: float, durations: list[float], typical: float) -> float:
    """What is left of a start that is under way, going by those that took longer than it has by now.

    One that has taken longer than any before is worth as much as a new one: it may well be failing.
    """
    longer = [seconds for seconds in durations if seconds > age]
    return min(statistics.median(longer) - age, typical) if longer else typical


def _nth_end(position: int, ends: list[float], concurrency: int, typical: float) -> float:
    """When the `position`-th start ends; `ends` are those under way, in order and none over `typical`.

    The first ones end without a successor where more are under way than `concurrency` allows. Each of the
    others frees a slot for a start of `typical` seconds, so that the slots take turns in this same order.
    """
    slots = ends + [typical] * (min(concurrency, position) - len(ends))
    surplus = max(len(slots) - concurrency, 0)
    if position <= surplus:
        return slots[position - 1]
    rounds, slot = divmod(position - surplus - 1, len(slots) - surplus)
    return slots[surplus + slot] + rounds * typical
