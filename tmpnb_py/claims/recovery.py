"""Taking up, after a restart, the tickets that there were: who waited waits on, and who was served is served.

Which notebooks there still are is known once the engine has been listed. Until then a ticket that had been given one
is HANDING_OVER (with its place in line, if its visitor had not been told), and `Claims` serves nobody. Owned by
`Claims`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tmpnb_py.claims.line import Line
from tmpnb_py.claims.line_store import Entry, LineStore
from tmpnb_py.claims.registry import TicketRegistry
from tmpnb_py.claims.reserve import Reserve
from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool


class Recovery:
    """The recovery of one pool's tickets. `clock` gives monotonic seconds."""

    def __init__(
        self,
        pool: Pool,
        line: Line,
        tickets: TicketRegistry,
        line_store: LineStore,
        *,
        reserve: Reserve,
        options: LiveOptions,
        clock: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._line = line
        self._tickets = tickets
        self._line_store = line_store
        self._reserve = reserve
        self._options = options
        self._clock = clock
        self._looked_for: dict[Ticket, Entry] = {}

    @property
    def is_pending(self) -> bool:
        """Whether notebooks are still to be found again."""
        return bool(self._looked_for)

    def concerns(self, ticket: Ticket) -> bool:
        """Whether this ticket's notebook is still to be found again."""
        return ticket in self._looked_for

    def restore(self) -> None:
        """Take up the tickets of the line store, in the order of their line.

        Their visitors have the lease to come back in. Starting again and again does not lengthen it.
        """
        for entry in self._line_store.open(self._options.current.place_lease):
            self._restore(entry)

    def _restore(self, entry: Entry) -> None:
        now, unix, lease = self._clock(), time.time(), self._options.current.place_lease
        left = lease if entry.until is None else min(lease, entry.until - unix)
        if left <= 0 and not entry.container:
            self._line_store.remove(entry.id)
            return
        joined_at = now - max(0.0, unix - entry.since)
        ticket = Ticket(entry.target, joined_at, booking=entry.booking, ticket_id=entry.id)
        ticket.lease, ticket.held_until = lease, now + left
        self._tickets.add(ticket)
        if not entry.told and left > 0:
            self._line.join(ticket.id)
        if entry.container:
            ticket.hand_over()
            self._looked_for[ticket] = entry

    def complete(self) -> None:
        """Give the tickets their notebooks back. No-op until the engine has been listed."""
        if not self._pool.listed:
            return
        looked_for, self._looked_for = self._looked_for, {}
        for ticket, entry in looked_for.items():
            container = self._pool.get(entry.container)
            if container is not None and container.state is State.CLAIMED:
                self._found(ticket, container, is_announced=entry.told)
            elif ticket.is_waiting:
                self._lost(ticket)

    def _found(self, ticket: Ticket, container: Container, *, is_announced: bool) -> None:
        if not is_announced:
            container.mark_unvisited()
        if ticket.is_waiting:
            self._line.leave(ticket.id)
            self._tickets.serve(ticket, container)
            if ticket.booking:
                self._reserve.came(ticket.booking, container)
            if is_announced:
                self._tickets.announce(ticket)
        elif not is_announced:  # given up in the meantime
            self._pool.end(container, EndReason.UNVISITED, self._clock())

    def _lost(self, ticket: Ticket) -> None:
        """The notebook is gone. A visitor who had not seen it keeps the place in line."""
        if self._line.position(ticket.id) is not None:
            ticket.wait_again()
        else:
            ticket.leave()
            self._tickets.forget(ticket)
