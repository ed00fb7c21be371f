"""What bookings hold of one pool: how many containers, from when until when, and who has had one.

Owned by `Claims`, asked by the dispatcher for each choice and by the pool's sizing in each round. Synchronous. A
booking's reserve is asked for so early that it is ready when the class begins: the lead comes from measured starts.
What nobody claimed is asked for no longer at the end, and the pool gives it back.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping

import structlog

from tmpnb_py.bookings.bookings import Bookings
from tmpnb_py.bookings.model import Booking
from tmpnb_py.core.models import State
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool
from tmpnb_py.pools.ready_target import Part

_log = structlog.get_logger(__name__)


class Reserve:
    """The reserve of one pool."""

    def __init__(self, bookings: Bookings, pool: Pool) -> None:
        self._bookings = bookings
        self._pool = pool
        self._on: set[str] = set()  # what has begun, with its lead: it does not begin again when starts get faster
        self._taken: collections.Counter[str] = collections.Counter()  # by hand-overs that are under way

    # --- how many

    def part(self, now: float) -> Part:
        """What is to be ready beyond all else at a moment (Unix seconds), and when that changes."""
        known = [one for one in self._bookings.of_pool(self._pool.name) if now < one.ends]
        starts = {one.id: one.begins - self._pool.lead(one.people) for one in known}
        on = {one.id: one for one in known if one.id in self._on or now >= starts[one.id]}
        self._note(on)
        changes = [moment for one in known for moment in (starts[one.id], one.ends) if moment > now]
        return Part(sum(map(self._missing, on.values())), min(changes, default=math.inf))

    @property
    def booked(self) -> int:
        """How many containers are to be ready for bookings now."""
        return sum(self._missing(one) for one in self._current(self._bookings.now))

    @property
    def reserved(self) -> int:
        """How many of these are held for classes: only their people may have them."""
        return sum(self._missing(one) for one in self._current(self._bookings.now) if one.for_class)

    def left(self, booking_id: str) -> int:
        """What is left of a class's reserve; 0 for "", and outside of its time."""
        if not booking_id:
            return 0
        now = self._bookings.now
        return next((self._missing(one) for one in self._current(now) if one.id == booking_id), 0)

    def is_on(self, booking_id: str) -> bool:
        """Whether this is a class of this pool, and its time."""
        if not booking_id:
            return False
        now, found = self._bookings.now, self._bookings.get(booking_id)
        if found is None or not found.for_class or self._bookings.pool_of(found) != self._pool.name:
            return False
        return found.begins <= now < found.ends

    def has_place(self, booking_id: str, waiting: int) -> bool:
        """Whether a class has fewer notebooks that run or are `waiting` than people."""
        booking = self._bookings.get(booking_id)
        if booking is None:
            return False
        running = (self._bookings.of_member(one.id) for one in self._pool.in_state(State.CLAIMED))
        of_it = sum(found is not None and found.id == booking_id for found in running)
        return of_it + waiting < booking.people

    def _missing(self, booking: Booking) -> int:
        return max(0, booking.missing - self._taken[booking.id])

    def _current(self, now: float) -> list[Booking]:
        return [
            one
            for one in self._bookings.of_pool(self._pool.name)
            if now < one.ends and (now >= one.begins or one.id in self._on)
        ]

    def _note(self, on: Mapping[str, Booking]) -> None:
        """Note which reserves have begun, and which are given back."""
        for booking_id in on.keys() - self._on:
            people = on[booking_id].people
            _log.info("reserve_begun", booking=booking_id, pool=self._pool.name, people=people)
        for booking_id in self._on - on.keys():
            found = self._bookings.get(booking_id)
            unclaimed = 0 if found is None else found.missing
            _log.info("reserve_given_back", booking=booking_id, pool=self._pool.name, unclaimed=unclaimed)
        self._on = set(on)

    # --- who has had one

    def take(self, booking_id: str) -> None:
        """Somebody of a class is being given a container of its reserve."""
        self._taken[booking_id] += 1

    def put_back(self, booking_id: str) -> None:
        """That has ended, one way or the other."""
        self._taken[booking_id] -= 1
        if self._taken[booking_id] <= 0:
            del self._taken[booking_id]

    def came(self, booking_id: str, container: Container) -> None:
        """Somebody has got this container: by the link of a class, or ("") without one."""
        if booking_id:
            self._bookings.came(booking_id, container.id)
            return
        open_to_all = [one for one in self._current(self._bookings.now) if not one.for_class and one.missing]
        if open_to_all:
            self._bookings.came(open_to_all[0].id, container.id)
