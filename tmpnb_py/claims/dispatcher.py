"""Serving tickets: a newcomer at once, where something is ready and nobody waits, and the line in its order.

Owned by `Claims`. Choosing is synchronous; then the claim is made durable, and only then the ticket is READY. A
container that proves dead costs its ticket neither the place nor the turn: nobody who came later is served before.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from tmpnb_py.claims.handover import Handover
from tmpnb_py.claims.line import Line, Place
from tmpnb_py.claims.registry import TicketRegistry
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool

_log = structlog.get_logger(__name__)


class Dispatcher:
    """Gives the ready containers of one pool to tickets. `clock` gives monotonic seconds."""

    def __init__(
        self, pool: Pool, line: Line, tickets: TicketRegistry, handover: Handover, clock: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._line = line
        self._tickets = tickets
        self._handover = handover
        self._clock = clock
        self._tasks = Tasks(_log_mistake)
        self._handing_over = 0  # tickets that have left the line, to be served
        self._stopped = False
        self.is_suspended = False

    def stop(self) -> None:
        """Stop serving the line: visitors could no longer be shown their notebooks."""
        self._stopped = True

    def suspend(self) -> None:
        """Serve nobody, not even newcomers, until `resume`: another process may be about to have the pool."""
        self.is_suspended = True

    def resume(self) -> None:
        """Serve again."""
        self._stopped = self.is_suspended = False

    async def settle(self) -> None:
        """Wait until the hand-overs of the line that are under way have ended."""
        await self._tasks.finish()

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._tasks.close()

    # --- newcomers

    async def serve_at_once(self, ticket: Ticket) -> None:
        """Serve a newcomer if something is ready and nobody waits; else the ticket is WAITING as before.

        Raises what the engine does; then the ticket is WAITING, too.
        """
        if ticket.status is not Status.WAITING or not self._may_serve_newcomer():
            return
        first = self._pool.claim(self._clock(), ticket.quota_key)
        if first is None:
            return
        ticket.hand_over()
        container = None
        try:
            container = await self._handover.take(first, self._may_serve_newcomer, ticket.quota_key)
        finally:
            self._conclude(ticket, container, "hit")

    def _may_serve_newcomer(self) -> bool:
        return not self.is_suspended and not len(self._line) and self._spare > 0

    # --- the line

    @property
    def _spare(self) -> int:
        """How many are ready for others than those who are being served, each of whom may need another one.

        What they were given may prove dead, and a ticket that came later must not have the next one then.
        """
        return self._pool.claimable - self._handing_over

    def serve_line(self) -> None:
        """Give what is ready to those who wait, first come, first served. No-op while the service is closed."""
        if self._stopped or self.is_suspended or not self._pool.is_open:
            return
        for _ in range(self._spare):
            if not len(self._line) or self._pool.engine_down:
                return
            self._serve_first()

    def _serve_first(self) -> None:
        place = self._line.first()
        ticket = None if place is None else self._tickets.get(place.id)
        if place is None or ticket is None:
            return
        container = self._pool.claim(self._clock(), ticket.quota_key)
        if container is None:
            return
        self._line.pop_first()
        ticket.hand_over()
        self._handing_over += 1
        self._tasks.start(f"serve-{container.id}", self._serve(ticket, place, container))

    async def _serve(self, ticket: Ticket, place: Place, first: Container) -> None:
        """Hand over to a ticket of the line. Where that fails it is in line again, at the same place."""
        container, is_refused = None, False
        try:
            container = await self._handover.take(first, self._may_take_another, ticket.quota_key)
        except EngineDownError:
            pass
        except EngineError:
            is_refused = True  # and would be again: the next sweep tries, in a second
        finally:
            self._handing_over -= 1
            if container is None and ticket.status is Status.HANDING_OVER:
                self._line.put_back(place)
            self._conclude(ticket, container, "waited")
        if not is_refused:
            self.serve_line()

    def _may_take_another(self) -> bool:
        """Whether a ticket that is being served may have one more: each has one of the ready ones in reserve."""
        return self._pool.count(State.READY) >= self._handing_over

    # --- both

    def _conclude(self, ticket: Ticket, container: Container | None, outcome: str) -> None:
        """End a hand-over: with the container that it found, or without."""
        if ticket.status is not Status.HANDING_OVER:  # given up in the meantime
            if container is not None:
                self._pool.end(container, EndReason.UNVISITED, self._clock())
        elif container is None:
            ticket.wait_again()
        else:
            self._tickets.serve(ticket, container)
            self._answered(ticket, container, outcome)

    def _answered(self, ticket: Ticket, container: Container, outcome: str) -> None:
        seconds = self._clock() - ticket.joined_at
        self._pool.metrics.claimed(outcome, seconds)
        _log.debug(
            "claim_answered", id=container.id, pool=self._pool.name, outcome=outcome, duration=round(seconds, 4)
        )


def _log_mistake(_name: str, error: BaseException | None) -> None:
    if error is not None:
        _log.error("claim_broke", exc_info=error)
