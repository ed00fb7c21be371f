"""The line of visitors who wait for a container, and how long they may have to.

`claims` owns one `Line` and calls it from the event loop; nothing here awaits, so each call is atomic and none
needs a lock. Pure: the caller brings the time (seconds on the monotonic clock).
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import operator
from collections.abc import Callable

from tmpnb_py.core.errors import LineFullError

# How long somebody who is turned away is told to stay away when nothing better is known.
RETRY_AFTER = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A place in the line. `number` grows with each; `joined_at` is when it was taken."""

    id: str
    number: int
    joined_at: float


_number = operator.attrgetter("number")


class Line:
    """First come, first served, for at most `capacity()` who wait."""

    def __init__(self, capacity: Callable[[], int]) -> None:
        self._capacity = capacity
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
        if len(self) >= self._capacity() and not again:
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
