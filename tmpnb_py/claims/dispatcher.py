"""Serving tickets: a newcomer at once, where something is ready and nobody waits, and the line in its order.

What is held back for classes (`choice`) is given to nobody else, and who comes by a class's link while its reserve
lasts is before all who may not have it. Owned by `Claims`. Choosing is synchronous; then the claim is made durable,
and only then the ticket is READY. A container that proves dead costs its ticket neither the place nor the turn:
nobody who came later is served before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from tmpnb_py.claims import choice
from tmpnb_py.claims.handover import Handover
from tmpnb_py.claims.line import Line, Place
from tmpnb_py.claims.registry import TicketRegistry
from tmpnb_py.claims.reserve import Reserve
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool
from tmpnb_py.tracing.spans import using

_log = structlog.get_logger(__name__)


class Dispatcher:
    """Gives the ready containers of one pool to tickets. `clock` gives monotonic seconds."""

    def __init__(
        self,
        pool: Pool,
        line: Line,
        tickets: TicketRegistry,
        handover: Handover,
        *,
        reserve: Reserve,
        admits: Callable[[str], bool],
        clock: Callable[[], float],
        kernel_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`admits` says whether people of a class ("": all others) are let in now.

        `kernel_of` tells the kernel that a document needs; "" if unknown.
        """
        self._admits = admits
        self._kernel_of = kernel_of
        self._pool = pool
        self._line = line
        self._tickets = tickets
        self._handover = handover
        self._reserve = reserve
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
        if ticket.status is not Status.WAITING or not self._may_serve_newcomer(ticket):
            return
        first = self._claim(ticket)
        if first is None:
            return
        self._pool.visitor_came()
        reserved = self._hand_over(ticket)
        container = None
        try:
            with using(ticket.span):
                container = await self._handover.take(
                    first,
                    lambda: (
                        not self.is_suspended and self._spare > 0 if reserved else self._may_serve_newcomer(ticket)
                    ),
                    lambda: self._claim(ticket),
                )
        finally:
            self._conclude(ticket, container, "hit", reserved)

    def _may_serve_newcomer(self, ticket: Ticket) -> bool:
        is_reserved = self._reserve.left(ticket.booking) > 0
        if self.is_suspended or not choice.may_have(self._spare, self._reserve.reserved, is_reserved=is_reserved):
            return False
        before = self._admitted()
        return not any(self._left_of(one) for one in before) if is_reserved else next(iter(before), None) is None

    def _hand_over(self, ticket: Ticket) -> str:
        """Begin a hand-over. Returns the class from whose reserve it is, "" for none."""
        reserved = ticket.booking if self._reserve.left(ticket.booking) else ""
        if reserved:
            self._reserve.take(reserved)
        ticket.hand_over()
        return reserved

    # --- the line

    @property
    def _spare(self) -> int:
        """How many are ready for others than those who are being served, each of whom may need another one.

        What they were given may prove dead, and a ticket that came later must not have the next one then.
        """
        return self._pool.claimable - self._handing_over

    def serve_line(self) -> None:
        """Give what is ready to those who wait and are let in, first come, first served."""
        if self._stopped or self.is_suspended:
            return
        for _ in range(self._spare):
            if not len(self._line) or self._pool.engine_down:
                return
            if not self._serve_next():
                return

    def _admitted(self) -> Iterable[str]:
        """Those in line who are let in now."""
        if self._pool.is_open:
            return self._line
        if not self._pool.admits_classes:
            return ()
        return (one for one in self._line if (ticket := self._tickets.get(one)) and self._admits(ticket.booking))

    def _serve_next(self) -> bool:
        """Serve one of the line. False if nobody in it may have anything now."""
        ticket_id = choice.next_served(self._admitted(), self._left_of, self._spare, self._reserve.reserved)
        ticket = None if ticket_id is None else self._tickets.get(ticket_id)
        if ticket is None:
            return False
        container = self._claim(ticket)
        place = None if container is None else self._line.take(ticket.id)
        if container is None or place is None:
            return False
        reserved = self._hand_over(ticket)
        self._handing_over += 1
        self._tasks.start(f"serve-{container.id}", self._serve(ticket, place, container, reserved))
        return True

    def _left_of(self, ticket_id: str) -> int:
        """What is left of the reserve of a ticket's class."""
        ticket = self._tickets.get(ticket_id)
        return 0 if ticket is None else self._reserve.left(ticket.booking)

    async def _serve(self, ticket: Ticket, place: Place, first: Container, reserved: str) -> None:
        """Hand over to a ticket of the line. Where that fails it is in line again, at the same place."""
        container, is_refused = None, False
        try:
            with using(ticket.span):
                container = await self._handover.take(
                    first, lambda: self._may_take_another(reserved), lambda: self._claim(ticket)
                )
        except EngineDownError:
            pass
        except EngineError:
            is_refused = True  # and would be again: the next sweep tries, in a second
        finally:
            self._handing_over -= 1
            if container is None and ticket.status is Status.HANDING_OVER:
                self._line.put_back(place)
            self._conclude(ticket, container, "waited", reserved)
        if not is_refused:
            self.serve_line()

    def _may_take_another(self, reserved: str) -> bool:
        """Whether a ticket that is being served may have one more: each has one of the ready ones for that case."""
        ready = self._pool.count(State.READY)
        may_have = choice.may_have(ready, self._reserve.reserved, is_reserved=bool(reserved))
        return ready >= self._handing_over and may_have

    # --- both

    def _claim(self, ticket: Ticket) -> Container | None:
        """Claim a ready container in the pool, preferably one that has the kernel of the ticket's document ready."""
        container = self._pool.claim(self._clock(), ticket.quota_key, self._kernel_of(ticket.target))
        if container is not None:
            container.trace(ticket.visit)
        return container

    def _conclude(self, ticket: Ticket, container: Container | None, outcome: str, reserved: str) -> None:
        """End a hand-over: with the container that it found, or without."""
        if container is not None and ticket.status is Status.HANDING_OVER:
            self._reserve.came(reserved or ticket.booking, container)
        if reserved:
            self._reserve.put_back(reserved)
        if ticket.status is not Status.HANDING_OVER:  # given up in the meantime
            if container is not None:
                self._pool.end(container, EndReason.UNVISITED, self._clock())
        elif container is None:
            ticket.wait_again()
        else:
            ticket.span.set("tmpnb.pool", self._pool.name)
            self._tickets.serve(ticket, container)
            self._answered(ticket, container, outcome)

    def _answered(self, ticket: Ticket, container: Container, outcome: str) -> None:
        seconds = self._clock() - ticket.joined_at
        self._pool.metrics.claimed(outcome, seconds)
        if kernel := self._kernel_of(ticket.target):
            self._pool.metrics.kernel_claimed(is_warm=kernel in container.warm)
        _log.debug(
            "claim_answered", id=container.id, pool=self._pool.name, outcome=outcome, duration=round(seconds, 4)
        )


def _log_mistake(_name: str, error: BaseException | None) -> None:
    if error is not None:
        _log.error("claim_broke", exc_info=error)
