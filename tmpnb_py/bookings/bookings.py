"""The bookings of a service: made, cancelled, prolonged, and who came. Called in the event loop's thread.

What a booking means for a pool's containers is decided in `claims.reserve`. The two links of a class are proofs made
with the secret that is kept beside the bookings: they outlive a restart, nobody can guess one, and nothing lists them
but the operator's listener. Times are Unix seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import structlog

from tmpnb_py.bookings import fit
from tmpnb_py.bookings.confirm import confirm
from tmpnb_py.bookings.model import Booking, State
from tmpnb_py.core.errors import BookingError
from tmpnb_py.core.kept import Kept
from tmpnb_py.core.proofs import Purpose, is_same, proof
from tmpnb_py.core.units import HOUR
from tmpnb_py.words.tags import to_translate

_MOST = 1000
# Of those that are over, the pages of so many still say so. Which those are is not a question of how long they have
# been over: a clock that is wrong by years when a machine starts must cost nobody a booking.
_REMEMBERED = 200
_STAY = HOUR  # for which people are thought to be still at it, when their class is over
LONGEST_EXTENSION = 4 * HOUR

_log = structlog.get_logger(__name__)


class Bookings:
    """The bookings of one service."""

    def __init__(self, kept: Kept[State], clock: Callable[[], float]) -> None:
        self._kept = kept
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._changing = asyncio.Lock()
        self._by_member: tuple[State | None, dict[str, Booking]] = None, {}
        self._home: Callable[[Booking], str] = lambda booking: booking.pool

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change. It must only wake somebody."""
        self._listeners.append(listener)

    def house_by(self, home: Callable[[Booking], str]) -> None:
        """`home` says which pool a booking is in now: its own may have gone from the settings."""
        self._home = home

    def pool_of(self, booking: Booking) -> str:
        """The name of the pool that serves a booking now."""
        return self._home(booking)

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    # --- looking up

    def __iter__(self) -> Iterator[Booking]:
        """Those that are not over, the first to begin first; those of today that are over are left out."""
        now = self.now
        return iter(sorted((one for one in self._all if one.ends > now), key=lambda one: (one.begins, one.id)))

    @property
    def _all(self) -> tuple[Booking, ...]:
        return self._kept.state.bookings

    def get(self, booking_id: str) -> Booking | None:
        """The booking with this id; also one that has been over for some days."""
        return next((one for one in self._all if one.id == booking_id), None)

    def of_pool(self, pool: str) -> list[Booking]:
        """The bookings that a pool serves now."""
        return [one for one in self._all if self.pool_of(one) == pool]

    # --- the links of a class

    def class_key(self, booking: Booking) -> str:
        """What opens a notebook of the class."""
        return proof(self._kept.state.secret, Purpose.CLASS, _subject(booking, booking.link))

    def teacher_key(self, booking: Booking) -> str:
        """What opens the teacher's page."""
        return proof(self._kept.state.secret, Purpose.TEACHER, _subject(booking, booking.teacher_link))

    def of_class(self, key: str) -> Booking | None:
        """The class that a link's key is for. Every class is looked at: time tells nothing of the keys."""
        return self._with(key, self.class_key)

    def of_teacher(self, key: str) -> Booking | None:
        """The class whose teacher's page a key is for."""
        return self._with(key, self.teacher_key)

    def _with(self, shown: str, key_of: Callable[[Booking], str]) -> Booking | None:
        found = [one for one in self._all if one.for_class and is_same(shown, key_of(one))]
        return found[0] if found else None

    # --- the operator, and the teacher

    async def book(self, booking: Booking, space: fit.Space) -> None:
        """Add a booking where it fits. It is on the disk then. Raises `BookingError`."""
        async with self._changing:
            self._check(booking, space)
            await self._keep((*self._remembered(), booking))
        _log.info("booked", booking=booking.id, pool=booking.pool, people=booking.people, for_class=booking.for_class)

    def _check(self, booking: Booking, space: fit.Space) -> None:
        if booking.ends <= self.now:
            raise BookingError("this time is past")
        if sum(1 for _ in self) >= _MOST:
            raise BookingError(f"{_MOST} bookings are kept already", remedy="Cancel some with tmpnb-py cancel.")
        others = self.of_pool(booking.pool)
        same = [one for one in others if (one.workshop, one.title) == (booking.workshop, booking.title)]
        for one in same:
            if one.overlaps(booking.begins, booking.ends):
                message = f"the booking {one.id} is for the same at that time"
                raise BookingError(message, remedy="Cancel that one, or give this one another --title.")
        if problem := self._why_not(booking, booking.begins, space):
            raise BookingError(problem, remedy="Book another time or fewer people, or raise max_containers.")

    def _why_not(self, booking: Booking, since: float, space: fit.Space) -> str:
        """Why a booking does not fit from `since` to its end; "" where it does."""
        others = [*space.beside, *(fit.planned(one, self.pool_of(one)) for one in self._all if one.id != booking.id)]
        people, pool, ends = booking.people, self.pool_of(booking), booking.ends
        same = [one for one in others if one.pool == pool]
        problem = fit.why_not(people, pool, same, since, ends, room=fit.Room(space.limit))
        if problem or space.in_all is None:
            return problem
        return fit.why_not(people, pool, others, since, ends, room=space.in_all)

    def crowd_before(self, booking: Booking, space: fit.Space) -> str:
        """Why a booking that fits may find others still there when it begins; "" where there is room for them, too.

        People of a class that ends then go on, until their notebooks end: nobody is sent away.
        """
        problem = self._why_not(booking, booking.begins - _STAY, space)
        return f"with those who are there in the hour before, {problem}" if problem else ""

    async def cancel(self, booking_id: str) -> Booking | None:
        """Remove a booking; its links are void. Its notebooks go on. None where there is none. Raises as `book`."""
        async with self._changing:
            found = self.get(booking_id)
            if found is not None:
                await self._keep(tuple(one for one in self._all if one.id != booking_id))
                _log.info("booking_cancelled", booking=booking_id, pool=found.pool, came=found.came)
            return found

    async def replace_link(self, booking_id: str, *, of_teacher: bool = False) -> Booking | None:
        """Void the link of a class, or that of its teacher, for another one. Raises `BookingError`.

        Who came by it keeps what they have. None where there is no such class.
        """
        async with self._changing:
            found = self.get(booking_id)
            if found is None or not found.for_class:
                return None
            name = "teacher_link" if of_teacher else "link"
            changed = found.model_copy(update={name: getattr(found, name) + 1})
            await self._keep(self._with_changed(changed))
            _log.info("link_replaced", booking=booking_id, pool=found.pool, of_teacher=of_teacher)
            return self.get(booking_id)

    async def extend(self, booking_id: str, seconds: float, space: fit.Space) -> Booking:
        """Have a booking end so much later, and its notebooks live so much longer. Raises as `book`."""
        async with self._changing:
            longer = self._longer(self.get(booking_id), seconds)
            if self._why_not(longer, longer.ends - seconds, space):  # names others' classes
                raise BookingError(to_translate("there is no room for it: from then on notebooks are for others"))
            await self._keep(self._with_changed(longer))
            _log.info("booking_extended", booking=longer.id, pool=longer.pool, seconds=seconds)
            return longer

    def _longer(self, booking: Booking | None, seconds: float) -> Booking:
        if booking is None or booking.ends <= self.now:
            raise BookingError(to_translate("the class is over"))
        if booking.extended + seconds > LONGEST_EXTENSION:
            text = to_translate("no class can be prolonged by more than {hours} hours")
            raise BookingError(text, hours=f"{LONGEST_EXTENSION / HOUR:g}")
        return booking.model_copy(update={"ends": booking.ends + seconds, "extended": booking.extended + seconds})

    async def _keep(self, bookings: tuple[Booking, ...]) -> None:
        """Have these and no others, on the disk as well; or none of it. Raises `BookingError`."""
        before = self._all
        self._change(bookings)
        await confirm(self._kept, lambda: self._change(tuple(map(self._with_who_came, before))))

    def _with_who_came(self, booking: Booking) -> Booking:
        """A booking as it was, but for those who came since."""
        found = self.get(booking.id) or booking
        return booking.model_copy(update={"came": found.came, "members": found.members})

    def _change(self, bookings: tuple[Booking, ...]) -> None:
        self._kept.state = self._kept.state.model_copy(update={"bookings": bookings})
        for listener in self._listeners:
            listener()

    def _remembered(self) -> tuple[Booking, ...]:
        """All but those that have been over for longest, if many are."""
        over = sorted((one for one in self._all if one.ends <= self.now), key=lambda one: one.ends)
        forgotten = {one.id for one in over[: max(0, len(over) - _REMEMBERED)]}
        return tuple(one for one in self._all if one.id not in forgotten)

    # --- who came

    def came(self, booking_id: str, container_id: str) -> None:
        """Somebody got this notebook of a booking. No-op for one that is counted already."""
        found, member = self.get(booking_id), self._member(container_id)
        if found is None or member in found.members:
            return
        members = found.members | {member} if found.for_class else found.members
        self._replace(found, came=found.came + 1, members=members)

    def never_came(self, container_id: str) -> None:
        """Nobody ever opened this notebook: it is another one's. No-op for one that is of no class."""
        found = self.of_member(container_id)
        if found is not None:
            self._replace(found, came=max(0, found.came - 1), members=self._without(found, container_id))

    def ended(self, container_id: str) -> None:
        """This notebook is gone. Who got it has come; but who takes one after the other must not fill the file."""
        found = self.of_member(container_id)
        if found is not None:
            self._replace(found, members=self._without(found, container_id))

    def _without(self, booking: Booking, container_id: str) -> frozenset[str]:
        return booking.members - {self._member(container_id)}

    def of_member(self, container_id: str) -> Booking | None:
        """The class that a notebook is of."""
        state = self._kept.state
        if self._by_member[0] is not state:
            self._by_member = state, {member: one for one in state.bookings for member in one.members}
        members = self._by_member[1]
        return members.get(self._member(container_id)) if members else None

    def extension(self, container_id: str) -> float:
        """By how many seconds a notebook may live longer than others, as its class was prolonged."""
        found = self.of_member(container_id)
        return 0.0 if found is None else found.extended

    def _member(self, container_id: str) -> str:
        return proof(self._kept.state.secret, Purpose.MEMBER, container_id)

    def _replace(self, booking: Booking, **fields: object) -> None:
        self._change(self._with_changed(booking.model_copy(update=fields)))

    def _with_changed(self, booking: Booking) -> tuple[Booking, ...]:
        """All of them, with this one in place of the one with its id."""
        return tuple(booking if one.id == booking.id else one for one in self._all)


def _subject(booking: Booking, replaced: int) -> str:
    """What a link's key proves to be of: a class, and which of its links that is."""
    return f"{booking.id} {replaced}" if replaced else booking.id
