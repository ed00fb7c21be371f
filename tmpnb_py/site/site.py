"""The pools of one service by name. The proxy and the web layer ask it for sessions, tickets and pools.

Each pool has claims of its own, and so a line of its own. A visitor waits for a container of one pool: another
pool's containers are of no use to them, and a pool whose image is broken must not hold up the others' visitors. The
option `max_waiting` holds per pool, `max_notebooks_per_address` for all together. `offers` chooses a pool for a link.

A container's id is unique in the whole site, as ids are random and long. Pools come and go with reloads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from tmpnb_py.bookings import timetables
from tmpnb_py.bookings.agenda import Agenda
from tmpnb_py.bookings.fit import Planned, Room, Space
from tmpnb_py.bookings.model import Booking, Message
from tmpnb_py.claims.claims import Claims
from tmpnb_py.core.models import Ended, EndReason
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool
from tmpnb_py.pools.records import Listener
from tmpnb_py.pools.timetable import occurrences
from tmpnb_py.site.division import room_of


class Site:
    """Finds sessions and tickets in all pools."""

    def __init__(self, claims: Iterable[Claims] = ()) -> None:
        """`claims` are those of each pool, the default pool's first. Raises `ValueError` where two have one name."""
        self._claims: dict[str, Claims] = {}
        self._pools: dict[str, Pool] = {}
        self._sessions: tuple[Callable[[str], Container | None], ...] = ()
        self._listeners: list[Listener] = []
        for one in claims:
            self.add(one)

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The pools by name, as they are now: who goes through them may wait in between, while others come and go."""
        return MappingProxyType(self._pools)

    def __iter__(self) -> Iterator[Pool]:
        """The pools as they are now."""
        return iter(self._pools.values())

    def add(self, claims: Claims) -> None:
        """Take up a pool. Raises `ValueError` where there is one of its name."""
        name = claims.pool.name
        if name in self._claims:
            raise ValueError(f"there is a pool of the name {name} already")
        self._have({**self._claims, name: claims})
        claims.pool.subscribe(self._moved)

    def remove(self, name: str) -> None:
        """Forget a pool, which has no containers any more. The site keeps one at least."""
        self._have({one: claims for one, claims in self._claims.items() if one != name})

    def put_in_order(self, names: Iterable[str]) -> None:
        """Have the pools in this order, the default pool first; those that are not named come after."""
        self._have({name: self._claims[name] for name in [*names, *self._claims]})

    def _have(self, claims: dict[str, Claims]) -> None:
        """Have these pools and no others. New objects: who goes through the old ones goes through them to the end."""
        self._claims = claims
        self._pools = {name: one.pool for name, one in claims.items()}
        self._sessions = tuple(pool.session for pool in self._pools.values())

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` after each transition of a container of any pool. It must only wake somebody."""
        self._listeners.append(listener)

    def _moved(self, container: Container) -> None:
        for listener in self._listeners:
            listener(container)

    # --- pools

    @property
    def agenda(self) -> Agenda:
        """What is arranged for all pools: one agenda, which each pool's claims have."""
        return self.default_claims.agenda

    @property
    def claims(self) -> Mapping[str, Claims]:
        """The pools' claims by the pools' names, as they are now."""
        return MappingProxyType(self._claims)

    @property
    def default_claims(self) -> Claims:
        """The default pool's claims."""
        return next(iter(self._claims.values()))

    @property
    def default_pool(self) -> Pool:
        """The default pool."""
        return self.default_claims.pool

    def claims_with(self, ticket_id: str) -> Claims:
        """The claims that hold this ticket; the default pool's if none does."""
        return next((one for one in self._claims.values() if one.has(ticket_id)), self.default_claims)

    def space(self, pool: str, begins: float, ends: float, most: int | None, *, before: float = 0.0) -> Space:
        """What bookings of a pool may take of a time (Unix seconds), if `most` containers may be in all.

        What timetables ask for is there from `before` seconds earlier on.
        """
        beside = tuple(self._planned(begins - before, ends))
        return Space(self._limit_of(pool, begins, ends), self._room_of_all(pool, most), beside)

    def _room_of_all(self, pool: str, most: int | None) -> Room | None:
        """What bookings of a pool may take, if `most` containers may be in all, by `division.room_of`.

        None where its own maximum is all that counts, or where the engine's memory is not known yet.
        """
        others = {name: one.options.current.guaranteed_containers for name, one in self.pools.items() if name != pool}
        needs = {name: one.need() for name, one in self.pools.items()}
        if most is not None:
            return Room(most, others)
        if not others or not all(one.memory for one in needs.values()):
            return None
        capacity, weights = room_of(tuple(needs.values()), None)
        return Room(capacity, others, dict(zip(needs, weights, strict=True)))

    def _limit_of(self, pool: str, begins: float, ends: float) -> int:
        """How many containers a pool may have by its own options at any moment of a time (Unix seconds)."""
        found = self._pools[pool]
        settings, memory = found.options.current, found.need().memory
        if not memory or not any(entry.max_containers for entry in settings.timetable):
            return found.limit
        fitting = max(found.size, memory // settings.mem_limit)
        return timetables.smallest_limit(settings.timetable, settings.max_containers, fitting, begins, ends)

    def is_shut_at(self, pool: str, moment: float) -> bool:
        """Whether a pool's timetable lets nobody in at a moment (Unix seconds) but classes."""
        entries = self._pools[pool].options.current.timetable
        return any(entry.only for entry in entries) and not occurrences(entries, moment, moment + 1)

    def _planned(self, begins: float, ends: float) -> list[Planned]:
        """What the timetables of all pools ask for in a time (Unix seconds)."""
        found = (
            timetables.planned(name, occurrences(one.options.current.timetable, begins, ends))
            for name, one in self.pools.items()
        )
        return [one for of_pool in found for one in of_pool]

    async def replace_link(self, booking: str, *, of_teacher: bool = False) -> Booking | None:
        """Void the link of a class, or its teacher's, for another one (`Bookings.replace_link`)."""
        found = await self.agenda.bookings.replace_link(booking, of_teacher=of_teacher)
        if not of_teacher:
            for claims in self.claims.values():
                claims.forget_link(booking)
        return found

    def pool_of(self, container_id: str) -> Pool | None:
        """The pool that has this container, or remembers its end."""
        return next((pool for pool in self if pool.knows(container_id)), None)

    def counted(self, quota_key: str, *, but: str) -> int:
        """How many notebooks, in use and waited for, count for a quota key in all pools but one."""
        return sum(one.counted(quota_key) for name, one in self._claims.items() if name != but)

    @property
    def waiting(self) -> int:
        """How many visitors are in the lines of all pools."""
        return sum(one.waiting for one in self._claims.values())

    # --- sessions and other containers

    @property
    def listed(self) -> bool:
        """Whether every pool's engine has been listed. Before, unknown sessions may exist."""
        return all(pool.listed for pool in self.pools.values())

    def session(self, container_id: str) -> Container | None:
        """The claimed container that serves requests for this id, if it can be dialled. Called for each request."""
        for session in self._sessions:
            if (container := session(container_id)) is not None:
                return container
        return None

    def find(self, container_id: str) -> Container | None:
        """A container in any state."""
        return next((one for pool in self.pools.values() if (one := pool.get(container_id)) is not None), None)

    def ended(self, container_id: str) -> Ended | None:
        """How a session ended; None for one that runs, is unknown, or was forgotten."""
        return next((one for pool in self.pools.values() if (one := pool.ended(container_id)) is not None), None)

    def end(self, container: Container, reason: EndReason, now: float) -> bool:
        """End a session. False if that was decided before. `now` is monotonic."""
        return any(pool.end(container, reason, now) for pool in self.pools.values())

    def told(self, container: Container) -> list[Message]:
        """What operator and teacher tell the visitor of this session now, the newest last."""
        pool = self.pool_of(container.id)
        booking = self.agenda.bookings.of_member(container.id)
        return self.agenda.messages.shown("" if pool is None else pool.name, "" if booking is None else booking.id)

    def session_started(self, container: Container, *, workshop: str, client: str = "") -> None:
        """Note that a visitor is told the container's URL. `client` is their address, "" where it is not logged."""
        for pool in self.pools.values():
            if pool.get(container.id) is container:
                pool.session_started(container, workshop=workshop, client=client)
