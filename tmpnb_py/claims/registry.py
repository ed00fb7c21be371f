"""The tickets that are kept: found by id, idempotency key or notebook, held by a lease, and stored for a restart.

Owned by `Claims`. Every change of a ticket that a restarted service has to know goes through here, so that the line
store always says the same as the tickets; a ticket is stored from `store` on until `forget`, and changes of others
are not. Everything is synchronous.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

from tmpnb_py.claims.line_store import Entry, LineStore
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.models import State
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.container import Container


class TicketRegistry:
    """The tickets of one pool. `clock` gives monotonic seconds."""

    def __init__(self, line_store: LineStore, options: LiveOptions, clock: Callable[[], float]) -> None:
        self._line_store = line_store
        self._options = options
        self._clock = clock
        self._by_id: dict[str, Ticket] = {}
        self._by_key: dict[str, Ticket] = {}
        self._by_container: dict[str, Ticket] = {}

    # --- looking up: nothing changes by it

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(tuple(self._by_id.values()))

    def get(self, ticket_id: str) -> Ticket | None:
        """The ticket with this id."""
        return self._by_id.get(ticket_id)

    def all_of(self, ticket_ids: Iterable[str]) -> list[Ticket]:
        """The tickets with these ids, in their order."""
        return [self._by_id[ticket_id] for ticket_id in ticket_ids if ticket_id in self._by_id]

    def repeated(self, idempotency_key: str) -> Ticket | None:
        """The ticket that was opened with this key, as long as it is good for a notebook."""
        ticket = self._by_key.get(idempotency_key)
        return ticket if ticket is not None and ticket.is_alive else None

    def expired(self, now: float) -> list[Ticket]:
        """The tickets that nobody has asked for in time."""
        return [ticket for ticket in self._by_id.values() if ticket.has_expired(now)]

    def forgive(self, now: float) -> None:
        """Begin the lease of each ticket anew that has expired while nobody could be heard."""
        for ticket in self.expired(now):
            ticket.renew(now, ticket.lease)

    # --- keeping

    def add(self, ticket: Ticket) -> None:
        """Keep a ticket."""
        self._by_id[ticket.id] = ticket
        if ticket.idempotency_key:
            self._by_key[ticket.idempotency_key] = ticket

    def store(self, ticket: Ticket) -> None:
        """Write a ticket that has joined the line to the line store."""
        since = time.time() - (self._clock() - ticket.joined_at)
        self._line_store.add(Entry(id=ticket.id, target=ticket.target, since=since, booking=ticket.booking))

    def forget_class(self, ticket: Ticket) -> None:
        """Have a ticket be of no class any more."""
        ticket.booking = ""
        self._line_store.update(ticket.id, booking="")

    def is_stored(self, ticket: Ticket) -> bool:
        """Whether it has been stored, as those are that outlive the request which opened them."""
        return ticket.id in self._line_store

    def forget(self, ticket: Ticket) -> None:
        """Keep a ticket no longer. No-op if it is not kept."""
        self._line_store.remove(ticket.id)
        self._by_id.pop(ticket.id, None)
        if self._by_key.get(ticket.idempotency_key) is ticket:
            del self._by_key[ticket.idempotency_key]
        if ticket.container is not None:
            self._by_container.pop(ticket.container.id, None)

    # --- leases

    def renew(self, ticket: Ticket) -> None:
        """Keep a ticket for a whole lease from now on."""
        ticket.renew(self._clock(), self._options.current.place_lease)
        self._line_store.update(ticket.id, until=None)

    def shorten(self, ticket: Ticket, seconds: float) -> None:
        """Keep a ticket only for so many seconds, or so many after it is last watched, unless it is renewed."""
        ticket.renew(self._clock(), seconds)
        self._line_store.update(ticket.id, until=time.time() + seconds)

    @contextlib.contextmanager
    def watching(self, ticket: Ticket) -> Iterator[None]:
        """Renew a ticket and keep it meanwhile; its lease begins again at the end."""
        self.renew(ticket)
        try:
            with ticket.watched():
                yield
        finally:
            ticket.renew(self._clock(), ticket.lease)

    # --- what becomes of a ticket

    def serve(self, ticket: Ticket, container: Container) -> None:
        """Give the visitor a notebook. If it has ended in the meantime the ticket ends, too."""
        self._line_store.update(ticket.id, container=container.id)
        if ticket.id in self._by_id:
            self._by_container[container.id] = ticket
        ticket.serve(container)
        if container.state is not State.CLAIMED:
            ticket.end()

    def announce(self, ticket: Ticket) -> bool:
        """Record that the visitor is about to see the notebook. False if it was announced before, or is not READY."""
        if ticket.status is not Status.READY:
            return False
        ticket.announce()
        self._line_store.update(ticket.id, told=True)
        return True

    def notebook_ended(self, container: Container) -> None:
        """End the ticket of a container that has ended. No-op if it has none."""
        ticket = self._by_container.get(container.id)
        if ticket is not None and ticket.is_served:
            ticket.end()
