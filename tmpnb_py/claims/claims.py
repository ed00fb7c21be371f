"""The visitors' side of a pool: what the web layer calls to get a notebook, now or after a wait in line.

Called once per visitor and concurrently. A program keeps its request open while it waits (`claim`); a page comes and
goes, and holds a ticket (`open_ticket`, `find`, `watching`, `announce`, `leave`). Both stand in one line. A container
whose claim could not be made durable is never handed out again (decision 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

import structlog

from tmpnb_py.claims.admission import Admission
from tmpnb_py.claims.demand import Demand
from tmpnb_py.claims.dispatcher import Dispatcher
from tmpnb_py.claims.handover import Handover
from tmpnb_py.claims.line import RETRY_AFTER, Line
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.claims.recovery import Recovery
from tmpnb_py.claims.registry import TicketRegistry
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import ClosedError, EngineError, FullError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.base import Engine
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool

_SWEEP_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Claims:
    """The claims on one pool. `clock` gives monotonic seconds."""

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        line_store: LineStore,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pool = pool
        self._line_store = line_store
        self._clock = clock
        options = pool.options
        self._line = Line()
        self._tickets = TicketRegistry(line_store, options, clock)
        self._admission = Admission(pool, self._line, self._tickets, options)
        self._demand = Demand(pool, clock)
        self._handover = Handover(engine, pool, clock)
        self._dispatcher = Dispatcher(pool, self._line, self._tickets, self._handover, clock)
        self._recovery = Recovery(pool, self._line, self._tickets, line_store, options=options, clock=clock)
        self._tasks = Tasks(_log_mistake)
        self.stopping = False
        self._lets_in = asyncio.Event()
        self._lets_in.set()
        pool.subscribe(self._container_moved)

    # --- how many wait, and how long: queries

    @property
    def waiting(self) -> int:
        """How many visitors are in line."""
        return len(self._line)

    @property
    def expected(self) -> int:
        """How many containers are wanted for visitors who were sent away and may come back."""
        return self._demand.expected

    def in_line(self) -> list[Ticket]:
        """The tickets in line, the first one first."""
        return self._tickets.all_of(self._line)

    def waits(self, now: float) -> list[float]:
        """Seconds that each visitor in line has waited, the first one first."""
        return [now - ticket.joined_at for ticket in self.in_line()]

    def position(self, ticket: Ticket) -> int | None:
        """A ticket's position in line, 1 = next, also while it is being served; None if it does not wait."""
        return (self._line.position(ticket.id) or 1) if ticket.is_waiting else None

    def estimate(self, position: int) -> float | None:
        """Seconds until the visitor at `position` (1 = next) is served, from measured starts; None = unknown."""
        return self.pool.estimate(position, self._clock()) if self.pool.is_open else None

    async def _let_in(self) -> None:
        """Wait while another process is about to have the pool. Raises `FullError` once it has it."""
        await self._lets_in.wait()
        if self._dispatcher.is_suspended:
            raise FullError("another process serves now", retry_after=1.0)

    def _retry_after(self) -> float:
        estimate = self.estimate(len(self._line) + 1)
        return RETRY_AFTER if estimate is None else max(1.0, estimate)

    # --- a program, which waits with an open request

    async def claim(self, *, wait: float = 0.0, quota_key: str = "") -> Container:
        """Claim a container, waiting in line for it for up to `wait` seconds.

        It counts for `quota_key`, where the number for each is limited. Raises `FullError` (`LineFullError`,
        `AddressFullError`) with a time to come back, `ClosedError` while the operator lets no newcomers in, and
        `EngineError` where no claim can be made durable or no container becomes ready.
        """
        await self._let_in()
        ticket = Ticket("", self._clock(), quota_key=quota_key)
        self._tickets.add(ticket)
        try:
            with ticket.watched():
                container = await self._claim(ticket, wait)
        except (FullError, ClosedError, EngineError):
            self._turn_away(ticket)
            raise
        finally:
            if ticket.is_waiting:
                ticket.leave()
            self._tickets.forget(ticket)
        self._demand.came()
        return container

    async def _claim(self, ticket: Ticket, wait: float) -> Container:
        number = self._line.reserve()  # what is ready may prove dead, and others may come in the meantime
        self._admission.check_quota(ticket.quota_key)
        self._admission.check_engine()
        self._admission.check_open()
        await self._dispatcher.serve_at_once(ticket)
        if ticket.is_waiting and wait > 0:
            await self._wait(ticket, number, ticket.joined_at + wait)
        if ticket.container is not None:
            return ticket.container
        self._admission.check_engine()
        self._admission.check_starts()
        retry_after = self._retry_after()
        if self._demand.sent_away(retry_after):
            self.pool.observe_soon()
        raise FullError("no notebook is ready", retry_after=retry_after)

    async def _wait(self, ticket: Ticket, number: int, deadline: float) -> None:
        """Stand in line until the ticket is served or the time is over."""
        self._join(ticket, number)
        try:
            while ticket.is_waiting:
                # A hand-over under way at the deadline is waited for: the engine's timeouts bound that.
                left = None if ticket.status is Status.HANDING_OVER else deadline - self._clock()
                if left is not None and left <= 0:
                    break
                await ticket.changed(left)
        except asyncio.CancelledError:
            self.leave(ticket)  # it may just have been served
            raise
        finally:
            self._line.leave(ticket.id)
        if ticket.is_waiting:
            self._admission.check_open()

    # --- a page, which holds a ticket

    async def open_ticket(self, target: str, *, idempotency_key: str = "", quota_key: str = "") -> Ticket:
        """Open a ticket for a notebook that is to open at `target`: READY if one was ready, else WAITING in line.

        It is kept for the lease, and as long as somebody watches it. Idempotent: the same `idempotency_key` returns
        the same ticket as long as it is good for a notebook, so a button pressed twice is one request, and so is a
        page that is loaded again; cancelling the call does not undo it. While the engine is down one may wait. The
        notebook counts for `quota_key`, where the number for each is limited. Raises `LineFullError` or
        `AddressFullError`, and `ClosedError` while the operator lets no newcomers in.
        """
        await self._let_in()
        known = self._tickets.repeated(idempotency_key)
        if known is not None:
            self._tickets.renew(known)
            return known
        ticket = Ticket(target, self._clock(), idempotency_key=idempotency_key, quota_key=quota_key)
        self._tickets.add(ticket)
        self._tickets.renew(ticket)
        await asyncio.shield(self._tasks.start(f"ticket-{ticket.id}", self._serve_or_join(ticket)))
        return ticket

    async def _serve_or_join(self, ticket: Ticket) -> None:
        number = self._line.reserve()  # what is ready may prove dead, and others may come in the meantime
        try:
            self._admission.check_quota(ticket.quota_key)
            with contextlib.suppress(EngineError):
                self._admission.check_engine()
                self._admission.check_open()
                await self._dispatcher.serve_at_once(ticket)
            if ticket.is_waiting:
                self._join(ticket, number)
                self._tickets.store(ticket)
        except BaseException as error:
            if isinstance(error, FullError | ClosedError):
                self._turn_away(ticket)
            elif ticket.is_waiting:
                ticket.leave()
            self._tickets.forget(ticket)
            raise

    def _join(self, ticket: Ticket, number: int) -> None:
        self._admission.check_open()
        self._line.join(
            ticket.id,
            number=number,
            capacity=self.pool.options.current.max_waiting,
            retry_after=self._retry_after(),
        )
        self.pool.observe_soon()

    def _turn_away(self, ticket: Ticket) -> None:
        self.pool.metrics.claimed("refused", self._clock() - ticket.joined_at)
        if ticket.is_waiting:
            ticket.close()

    def has(self, ticket_id: str) -> bool:
        """Whether this ticket is kept here."""
        return self._tickets.get(ticket_id) is not None

    def find(self, ticket_id: str) -> Ticket | None:
        """The ticket with this id, as long as it is kept."""
        return self._tickets.get(ticket_id)

    def renew(self, ticket: Ticket) -> None:
        """Keep the ticket for another lease: its visitor has been seen."""
        self._tickets.renew(ticket)

    def watching(self, ticket: Ticket) -> contextlib.AbstractContextManager[None]:
        """Keep a ticket while somebody watches it; another lease begins when nobody does."""
        return self._tickets.watching(ticket)

    def release(self, ticket: Ticket, seconds: float) -> None:
        """Keep the ticket only for so many seconds, unless it is renewed: its visitor seems to have left.

        The page's stream of events may end before or after it says so.
        """
        self._tickets.shorten(ticket, seconds)

    def announce(self, ticket: Ticket) -> bool:
        """Record that the visitor is about to see the notebook. False if it was announced before, or is not READY."""
        return self._tickets.announce(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Give a ticket up, and with it a notebook that was never opened."""
        if ticket.is_waiting:
            self._line.leave(ticket.id)
            self.pool.metrics.claimed("left", self._clock() - ticket.joined_at)
            ticket.leave()
        elif ticket.container is not None and not ticket.container.visited:
            self.pool.end(ticket.container, EndReason.UNVISITED, self._clock())
        self._tickets.forget(ticket)

    # --- what the pool tells

    def serve_line(self) -> None:
        """Give what is ready to those who wait. Nobody is served before a recovery is complete."""
        if self.stopping or not self._lets_in.is_set():
            return  # visitors could no longer be shown their notebooks, recovered ones neither
        if self._recovery.is_pending:
            self._recovery.complete()
        if not self._recovery.is_pending:
            self._dispatcher.serve_line()

    def gate_moved(self) -> int:
        """Tell all in line that the operator has closed the service, or opened it. Returns how many are in line.

        A ticket in line is no newcomer's: it keeps its place, and is served once the service is open again.
        """
        for ticket in self._tickets:
            if ticket.is_waiting:
                ticket.notify()
        self.serve_line()
        return len(self._line)

    def _container_moved(self, container: Container) -> None:
        if container.state is State.REMOVING:
            self._tickets.notebook_ended(container)

    # --- start and end, and the task in between

    def restore(self) -> int:
        """Take up the tickets that there were when the service ended. Returns how many are in line."""
        self._recovery.restore()
        return len(self._line)

    async def run(self) -> None:
        """Sweep once a second, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep(self._clock())

    def sweep(self, now: float) -> None:
        """Serve the line, in case the engine has come back without an event, and drop what has expired.

        A notebook that its visitor has been shown is left to the reaper, and its ticket can be found until it ends.
        """
        self.serve_line()
        for ticket in [] if self.stopping else self._tickets.expired(now):
            if ticket.status is not Status.ANNOUNCED and not self._recovery.concerns(ticket):
                self.leave(ticket)
        self._demand.prune()
        self._handover.expire_refusal(now)
        self._line_store.maintain()

    def stop(self) -> None:
        """Serve nobody any more, and wake all who watch a ticket, so that streams end before the service does."""
        self.stopping = True
        self._dispatcher.stop()
        self._lets_in.set()
        for ticket in self._tickets:
            ticket.notify()

    # --- when another process is to have the pool

    def suspend(self) -> None:
        """Serve nobody, and have all who ask wait, until `resume`."""
        self._lets_in.clear()
        self._dispatcher.suspend()

    async def settle(self) -> None:
        """After `suspend`: wait until everybody who was being served has been."""
        await self._tasks.finish()
        await self._dispatcher.settle()
        await self._handover.settle()

    def hand_on(self) -> None:
        """Leave the line's file, as it is, to another process."""
        self._line_store.hand_on()

    def resume(self, *, anew: bool) -> None:
        """Go on as before `suspend`: nobody has lost a place.

        `anew`: another process has served it since. It is as that has left it, and nobody here watches a ticket.
        """
        if anew:
            keys = tuple(self.keys())
            for ticket in self._tickets:
                self._line.leave(ticket.id)
                self._tickets.forget(ticket)
            self.restore()
            for key, ticket_id in keys:
                self.know_key(ticket_id, key)
        else:
            self._line_store.take_back()
        self._dispatcher.resume()
        self.stopping = False
        self._lets_in.set()

    def keys(self) -> Iterator[tuple[str, str]]:
        """The idempotency keys that tickets were opened with, each with its ticket's id."""
        return ((one.idempotency_key, one.id) for one in self._tickets if one.idempotency_key and one.is_alive)

    def know_key(self, ticket_id: str, idempotency_key: str) -> None:
        """Return a restored ticket to those who ask with this key. No-op for a ticket that is not there."""
        if (ticket := self._tickets.get(ticket_id)) is not None:
            ticket.idempotency_key = idempotency_key
            self._tickets.add(ticket)

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._tasks.close()
        await self._dispatcher.close()
        await self._handover.close()


def _log_mistake(_name: str, error: BaseException | None) -> None:
    # A refusal is the caller's, and nobody's if the caller has gone. All else is a mistake of ours.
    if error is not None and not isinstance(error, FullError | ClosedError | EngineError):
        _log.error("claim_broke", exc_info=error)
