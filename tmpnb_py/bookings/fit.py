"""Whether a booking fits: other bookings of that time count, and what all timetables ask for then. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from tmpnb_py.bookings.model import Booking

_MOST_NAMED = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Planned:
    """`people` who want notebooks of a pool at a time, and `whose` that time is.

    Bookings add up. Times of a pool's own timetable do not: the largest of them holds.
    """

    pool: str
    begins: float
    ends: float
    people: int
    whose: str
    of_timetable: bool = False

    def overlaps(self, begins: float, ends: float) -> bool:
        """Whether it shares a moment with that time."""
        return self.begins < ends and begins < self.ends


def planned(booking: Booking, pool: str) -> Planned:
    """A booking that this pool serves."""
    named = booking.title or booking.workshop
    whose = f"the booking {booking.id}{f' ({named})' if named else ''}"
    return Planned(pool, booking.begins, booking.ends, booking.people, whose)


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """What there is for containers, and what of them other pools keep for themselves, by the pool's name.

    `capacity` is a number of containers, or, where `weights` says what one of each pool takes, their memory in bytes.
    """

    capacity: int
    kept: Mapping[str, int] = dataclasses.field(default_factory=dict)
    weights: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def weight(self, pool: str) -> int:
        """What one container of a pool takes of the capacity."""
        return self.weights.get(pool, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Space:
    """What one pool's bookings may take of a time.

    `limit` containers by the pool's own options, what is left of the room `in_all` (None: no limit), and `beside`
    them what timetables ask for.
    """

    limit: int
    in_all: Room | None = None
    beside: tuple[Planned, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What is taken at one moment: `amount` in units of the capacity, `by` these, and what is `guaranteed` beyond."""

    amount: int = 0
    by: tuple[Planned, ...] = ()
    guaranteed: int = 0


def most_taken(others: Iterable[Planned], begins: float, ends: float, room: Room | None = None) -> Taken:
    """The most that others take at one moment of that time.

    What a pool keeps for itself (`guaranteed_containers`) counts, too. What is planned for it comes out of it.
    """
    room = room or Room(0)
    same = [one for one in others if one.overlaps(begins, ends)]
    # The sum only grows where one of them begins.
    moments = sorted({begins, *(one.begins for one in same if one.begins > begins)})
    found = [_taken([one for one in same if one.begins <= moment < one.ends], room) for moment in moments]
    return max(found, key=lambda one: one.amount)


def _taken(there: list[Planned], room: Room) -> Taken:
    """What these and what pools keep take together."""
    counted: list[Planned] = [one for one in there if not one.of_timetable]
    for pool in {one.pool for one in there if one.of_timetable}:
        of_it = [one for one in there if one.of_timetable and one.pool == pool]
        counted.append(max(of_it, key=lambda one: one.people))
    by_pool = dict.fromkeys(room.kept, 0)
    for one in counted:
        by_pool[one.pool] = by_pool.get(one.pool, 0) + one.people
    beyond = {pool: max(0, room.kept.get(pool, 0) - people) for pool, people in by_pool.items()}
    amount = sum((people + beyond[pool]) * room.weight(pool) for pool, people in by_pool.items())
    by = tuple(sorted(counted, key=lambda one: (-one.people, one.begins, one.whose)))
    return Taken(amount, by, sum(beyond.values()))


def why_not(people: int, pool: str, others: Iterable[Planned], begins: float, ends: float, *, room: Room) -> str:
    """Why so many more people do not fit into a pool then, in figures, and whose time it is; "" where they do."""
    weight = room.weight(pool)
    taken = most_taken(others, begins, ends, room)
    left = max(0, room.capacity - taken.amount) // weight
    if people <= left:
        return ""
    if room.weights:
        there = f"the engine's memory is enough for {room.capacity // weight} of this pool"
        some = f"{min(100, round(100 * taken.amount / room.capacity))} % of it is"
    else:
        there = f"there is room for {room.capacity} notebooks in all (max_containers)"
        some = f"{taken.amount} of them are"
    rest = f"{some} taken at that time, {_whose(taken)}, so there is room for {left}" if taken.amount else "no more"
    return f"{people} people do not fit: {there}, {rest}"


def _whose(taken: Taken) -> str:
    """Who has what is taken: "60 by the booking 0000000a (Knots) and 2 guaranteed to other pools"."""
    parts = [f"{one.people} by {one.whose}" for one in taken.by[:_MOST_NAMED]]
    if more := sum(one.people for one in taken.by[_MOST_NAMED:]):
        parts.append(f"{more} by others")
    if taken.guaranteed:
        parts.append(f"{taken.guaranteed} guaranteed to other pools")
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
