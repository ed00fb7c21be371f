"""The visitors' side of a pool: what the web layer calls to get a notebook, now or after a wait in line.

Called once per visitor and concurrently. A program keeps its request open while it waits (`claim`); a page comes and
goes, and holds a ticket (`open_ticket`, `find`, `watching`, `announce`, `leave`). Both stand in one line. A container
whose claim could not be made durable is never handed out again (decision 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator

import structlog

from tmpnb_py.bookings.agenda import Agenda
from tmpnb_py.claims.admission import Admission
from tmpnb_py.claims.demand import Demand
from tmpnb_py.claims.dispatcher import Dispatcher
from tmpnb_py.claims.handover import Handover
from tmpnb_py.claims.line import RETRY_AFTER, Line
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.claims.recovery import Recovery
from tmpnb_py.claims.registry import TicketRegistry
from tmpnb_py.claims.reserve import Reserve
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import ClosedError, EngineError, FullError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.core.tasks import Tasks, has_stalled
from tmpnb_py.engines.base import Engine
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool

_SWEEP_SECONDS = 1.0
_HELD_SECONDS = 10.0  # for a request on its way from another process

_log = structlog.get_logger(__name__)


class Claims:
    """The claims on one pool. `clock` gives monotonic seconds."""

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        line_store: LineStore,
        *,
        agenda: Agenda | None = None,
        clock: Callable[[], float] = time.monotonic,
        elsewhere: Callable[[str], int] = lambda _: 0,
        kernel_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`agenda` is that of all pools of the service (None: nothing is booked).

        `elsewhere` says how many notebooks count for a quota key in other pools, `kernel_of` which kernel a document
        needs ("" if unknown).
        """
        self.pool = pool
        self._line_store = line_store
        self._clock = clock
        options = pool.options
        self.agenda = Agenda() if agenda is None else agenda
        self._reserve = Reserve(self.agenda.bookings, pool)
        self._line = Line()
        self._tickets = TicketRegistry(line_store, options, clock)
        self._admission = Admission(pool, self._line, self._tickets, options, elsewhere, is_on=self._reserve.is_on)
        self._demand = Demand(pool, clock)
        self._handover = Handover(engine, pool, clock)
        self._dispatcher = Dispatcher(
            pool,
            self._line,
            self._tickets,
            self._handover,
            reserve=self._reserve,
            admits=self._admission.admits,
            clock=clock,
            kernel_of=kernel_of,
        )
        self._recovery = Recovery(
            pool, self._line, self._tickets, line_store, reserve=self._reserve, options=options, clock=clock
        )
        self._tasks = Tasks(_log_mistake)
        self.stopping = False
        self._lets_in = asyncio.Event()
        self._lets_in.set()
        pool.subscribe(self._container_moved)
        pool.reserve_from(self._reserve.part)
        self.agenda.bookings.subscribe(pool.wake)

    # --- how many wait, and how long: queries

    @property
    def waiting(self) -> int:
        """How many visitors are in line."""
        return len(self._line)

    @property
    def admitted(self) -> int:
        """How many of these are let in now."""
        if self.pool.is_open:
            return len(self._line)
        return sum(self.admits(ticket.booking) for ticket in self.in_line()) if self.pool.admits_classes else 0

    def admits(self, booking: str) -> bool:
        """Whether somebody is let in now who came by the link of this class ("": by none)."""
        return self._admission.admits(booking)

    @property
    def expected(self) -> int:
        """How many containers are wanted for visitors who were sent away and may come back."""
        return self._demand.expected

    @property
    def booked(self) -> int:
        """How many containers are to be ready for bookings."""
        return self._reserve.booked

    @property
    def reserved(self) -> int:
        """How many of these are held for classes."""
        return self._reserve.reserved

    def waiting_of(self, booking: str) -> int:
        """How many in line came by the link of this class."""
        return sum(ticket.booking == booking for ticket in self.in_line())

    def left_of(self, booking: str) -> int:
        """What is left of the reserve of this class."""
        return self._reserve.left(booking)

    def extension(self, container_id: str) -> float:
        """By how many seconds a session may live longer than others, as its class was prolonged."""
        return self.agenda.bookings.extension(container_id)

    def counted(self, quota_key: str) -> int:
        """How many notebooks, in use and waited for, count for a quota key in this pool."""
        return self._admission.counted(quota_key)

    def in_line(self) -> list[Ticket]:
        """The tickets in line, the first one first."""
        return self._tickets.all_of(self._line)

    def since(self, most: int) -> list[float]:
        """When the first visitors in line that are let in came (monotonic), at most so many of them."""
        if not self.admitted:
            return []
        found = (ticket for ticket in self._tickets.all_of(self._line) if self.admits(ticket.booking))
        return [ticket.joined_at for ticket in itertools.islice(found, most)]

    def waits(self, now: float) -> list[float]:
        """Seconds that each visitor in line has waited, the first one first."""
        return [now - ticket.joined_at for ticket in self.in_line()]

    def position(self, ticket: Ticket) -> int | None:
        """A ticket's position in line, 1 = next, also while it is being served; None if it does not wait.

        While only classes are let in, nobody else is before their people.
        """
        if not ticket.is_waiting:
            return None
        position = self._line.position(ticket.id) or 1
        if self.pool.is_open or not self.admits(ticket.booking):
            return position
        before = self._tickets.all_of(itertools.islice(self._line, position - 1))
        return 1 + sum(self.admits(one.booking) for one in before)

    def estimate(self, position: int, booking: str = "") -> float | None:
        """Seconds until the visitor at `position` (1 = next) is served, from measured starts; None = unknown.

        `booking`: the class by whose link they came.
        """
        short = max(0, self.reserved - self.pool.count(State.READY))  # what is started for a class before
        return self.pool.estimate(position + short, self._clock()) if self.admits(booking) else None

    async def _let_in(self) -> None:
        """Wait while another process is about to have the pool. Raises `FullError` once it has it."""
        await self._lets_in.wait()
        if self._dispatcher.is_suspended:
            raise FullError("another process serves now", retry_after=1.0)

    def _retry_after(self) -> float:
        estimate = self.estimate(len(self._line) + 1)
        return RETRY_AFTER if estimate is None else max(1.0, estimate)

    # --- a program, which waits with an open request

    async def claim(self, *, wait: float = 0.0, quota_key: str = "", place: str = "", target: str = "") -> Container:
        """Claim a container, waiting in line for it for up to `wait` seconds. It is to open at `target`.

        It counts for `quota_key`, where the number for each is limited. `place` is a name of the request that no
        other one has: where another process had the same request in line, it goes on there, as to time and place
        (`hold_places`). Raises `FullError` (`LineFullError`, `AddressFullError`) with a time to come back,
        `ClosedError` while the operator lets no newcomers in, and `EngineError` where no claim can be made durable or
        no container becomes ready.
        """
        await self._let_in()
        held = self._tickets.get(place)
        if held is not None and (held.watchers or not held.is_alive):
            held, place = None, ""
        ticket = held or Ticket(target, self._clock(), quota_key=quota_key, ticket_id=place)
        self._tickets.add(ticket)
        try:
            with ticket.watched():
                container = await self._claim(ticket, wait, is_held=held is not None)
        except (FullError, ClosedError, EngineError):
            self._turn_away(ticket)
            raise
        finally:
            if ticket.is_waiting:
                ticket.leave()
            self._tickets.forget(ticket)
        self._demand.came()
        return container

    async def _claim(self, ticket: Ticket, wait: float, *, is_held: bool) -> Container:
        number = None
        if not is_held:
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

    async def _wait(self, ticket: Ticket, number: int | None, deadline: float) -> None:
        """Stand in line, from now on at `number`, until the ticket is served or the time is over."""
        if number is not None:
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

    async def open_ticket(
        self, target: str, *, idempotency_key: str = "", quota_key: str = "", booking: str = ""
    ) -> Ticket:
        """Open a ticket for a notebook that is to open at `target`: READY if one was ready, else WAITING in line.

        It is kept for the lease, and as long as somebody watches it. Idempotent: the same `idempotency_key` returns
        the same ticket as long as it is good for a notebook, so a button pressed twice is one request, and so is a
        page that is loaded again; cancelling the call does not undo it. While the engine is down one may wait. The
        notebook counts for `quota_key`, where the number for each is limited; for a visitor who came by the link of
        the class `booking` it is one of that class's, and counts for nobody while the class has fewer than people.
        Raises `LineFullError` or `AddressFullError`, and `ClosedError` while the operator lets no newcomers in.
        """
        await self._let_in()
        known = self._tickets.repeated(idempotency_key)
        if known is not None:
            self._tickets.renew(known)
            return known
        if booking and quota_key and self._has_place(booking):
            quota_key = ""
        ticket = Ticket(target, self._clock(), idempotency_key=idempotency_key, quota_key=quota_key, booking=booking)
        self._tickets.add(ticket)
        self._tickets.renew(ticket)
        await asyncio.shield(self._tasks.start(f"ticket-{ticket.id}", self._serve_or_join(ticket)))
        return ticket

    def _has_place(self, booking: str) -> bool:
        """Whether fewer notebooks of a class run, and are waited for, than it was booked for.

        Its people share an address. Whoever else has its link must not empty the whole pool with it.
        """
        waiting = sum(ticket.booking == booking and ticket.is_waiting for ticket in self._tickets)
        return self._reserve.has_place(booking, waiting)

    async def _serve_or_join(self, ticket: Ticket) -> None:
        number = self._line.reserve()  # what is ready may prove dead, and others may come in the meantime
        try:
            self._admission.check_quota(ticket.quota_key)
            with contextlib.suppress(EngineError):
                self._admission.check_engine()
                self._admission.check_open(ticket.booking)
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
        self._admission.check_open(ticket.booking)
        self._line.join(
            ticket.id,
            number=number,
            capacity=self.pool.options.current.max_waiting,
            retry_after=self._retry_after(),
        )
        self.pool.visitor_came()
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

    def forget_link(self, booking: str) -> None:
        """The link of a class was replaced: who waits by the old one waits as everybody else does.

        Their page must not tell them the new one.
        """
        for ticket in self._tickets:
            if ticket.booking == booking and ticket.is_waiting:
                self._tickets.forget_class(ticket)
                ticket.notify()

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
            if container.reason in (EndReason.UNVISITED, EndReason.CLAIM_FAILED):
                self.agenda.bookings.never_came(container.id)
            else:
                self.agenda.bookings.ended(container.id)

    # --- start and end, and the task in between

    def restore(self) -> int:
        """Take up the tickets that there were when the service ended. Returns how many are in line."""
        self._recovery.restore()
        return len(self._line)

    async def run(self) -> None:
        """Sweep once a second, until cancelled."""
        while True:
            due = self._clock() + _SWEEP_SECONDS
            await asyncio.sleep(_SWEEP_SECONDS)
            if has_stalled(due, now := self._clock()):
                self._tickets.forgive(now)
            self.sweep(now)

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

    def open_requests(self) -> Iterator[tuple[Ticket, int]]:
        """Who waits in line with an open request, each with how many stand before, the first one first."""
        for ahead, ticket in enumerate(self.in_line()):
            if not self._tickets.is_stored(ticket):
                yield ticket, ahead

    def hold_places(self, places: Iterable[tuple[Ticket, int]]) -> None:
        """After `restore`: keep another process's `open_requests` in line, until they come again (`claim`)."""
        order = list(self._line)
        for ticket, ahead in places:
            ticket.renew(self._clock(), _HELD_SECONDS)
            self._tickets.add(ticket)
            order.insert(ahead, ticket.id)
        self._line.arrange(order)

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._tasks.close()
        await self._dispatcher.close()
        await self._handover.close()


def _log_mistake(_name: str, error: BaseException | None) -> None:
    # A refusal is the caller's, and nobody's if the caller has gone. All else is a mistake of ours.
    if error is not None and not isinstance(error, FullError | ClosedError | EngineError):
        _log.error("claim_broke", exc_info=error)
