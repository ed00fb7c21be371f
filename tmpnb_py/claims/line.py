"""The line of visitors who wait for a container: first come, first served.

`Claims` owns one `Line` and calls it from the event loop; nothing here awaits, so each call is atomic and none needs
a lock. Pure.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import operator
from collections.abc import Iterable, Iterator

from tmpnb_py.core.errors import LineFullError

# Seconds after which a visitor who is turned away may come back, where nothing better is known.
RETRY_AFTER = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A ticket's place in the line. Lower numbers are served first."""

    id: str
    number: int


_number = operator.attrgetter("number")


class Line:
    """The places of all who wait, in the order in which they are served."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._by_id: dict[str, Place] = {}
        # In the order of their numbers, so that a place is found by bisection. Deleting moves the pointers
        # behind it: a few microseconds with 10,000 of them, so no cleverer structure is worth its code.
        self._places: list[Place] = []

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """The ids of the tickets in line, the first one first."""
        return (place.id for place in self._places)

    def reserve(self) -> int:
        """Reserve a number: a ticket that joins with it later stands before all that came after this call."""
        return next(self._numbers)

    def join(
        self,
        ticket_id: str,
        *,
        number: int | None = None,
        capacity: int | None = None,
        retry_after: float = RETRY_AFTER,
    ) -> Place:
        """Join at the end, or at a reserved `number`. Idempotent: a ticket in line keeps its place.

        Raises `LineFullError`, with `retry_after` (seconds), where `capacity` tickets are in line (None: no limit).
        """
        if place := self._by_id.get(ticket_id):
            return place
        if capacity is not None and len(self) >= capacity:
            raise LineFullError(f"{len(self)} visitors are waiting already", retry_after=retry_after)
        place = Place(ticket_id, number or next(self._numbers))
        self._insert(place)
        return place

    def arrange(self, ticket_ids: Iterable[str]) -> None:
        """Have exactly these in line, in this order. Nobody may be on the way into the line or out of it."""
        self._by_id, self._places = {}, []
        for ticket_id in ticket_ids:
            self.join(ticket_id)

    def put_back(self, place: Place) -> None:
        """Undo `take` for a ticket that could not be served. No-op if it is in line."""
        if place.id not in self._by_id:
            self._insert(place)

    def leave(self, ticket_id: str) -> bool:
        """Give up a place. False if the ticket was not in line."""
        place = self._by_id.pop(ticket_id, None)
        if place is None:
            return False
        del self._places[self._index(place)]
        return True

    def take(self, ticket_id: str) -> Place | None:
        """Take a place out of the line, to serve its ticket. None if the ticket is not in line."""
        place = self._by_id.get(ticket_id)
        self.leave(ticket_id)
        return place

    def position(self, ticket_id: str) -> int | None:
        """A ticket's position, 1 = next; None if it is not in line."""
        place = self._by_id.get(ticket_id)
        return None if place is None else self._index(place) + 1

    def _insert(self, place: Place) -> None:
        self._by_id[place.id] = place
        bisect.insort(self._places, place, key=_number)

    def _index(self, place: Place) -> int:
        return bisect.bisect_left(self._places, place.number, key=_number)
