"""Giving a ready container to a visitor, once and for ever: the only place where that happens.

Called by the web layer, once per visitor and concurrently; `serve_line` is called at each transition of the pool.
The choice is synchronous; then the claim is made durable in the engine, and only then anybody learns the URL. A
container whose claim could not be made durable is never handed out again (decision 2).

Whoever finds nothing ready draws a ticket and waits in the one line that there is, be it a request that stays open
(`claim`) or a page that comes and goes (`open_ticket`, `find`, `watching`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import structlog

from tmpnb_py.claims.handover import Handover
from tmpnb_py.claims.line import RETRY_AFTER, Line
from tmpnb_py.claims.line_store import Entry, LineStore
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import (
    AddressFullError,
    ClosedError,
    EngineDownError,
    EngineError,
    FullError,
    UnavailableError,
)
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.engines.base import Engine
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool

_CLOSED = "the operator has closed the service to newcomers"
_SWEEP_SECONDS = 1.0
_WISH_SECONDS = 60.0  # beyond the time to come back in
_REFUSAL_SECONDS = 10.0  # nobody has tried again since

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class Claims:
    """The visitors' side of a pool."""

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        options: LiveOptions,
        *,
        line: Line,
        book: LineStore | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self.pool = self._pool = pool
        self._metrics = pool.metrics
        self._line = line
        self._options = options
        self._book = book or LineStore(None)
        self._clock = clock
        self._tickets: dict[str, Ticket] = {}
        self._by_key: dict[str, Ticket] = {}
        self._given: dict[Ticket, str] = {}  # before a restart, and not found again yet
        self._tasks: set[asyncio.Task[Any]] = set()
        self._handover = Handover(
            engine,
            pool,
            spawn=self._spawn,
            clock=clock,
        )
        self._handing_over = 0
        self._wishes: list[float] = []  # until when each of them counts
        self.stopping = False

    def waits(self, now: float) -> list[float]:
        """How many seconds each visitor in line has waited, the first first."""
        return self._line.waits(now)

    @property
    def _lease(self) -> float:
        """Seconds that a ticket is kept for a visitor who is away."""
        return self._options.current.place_lease

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._line)

    @property
    def wished(self) -> int:
        """How many are wanted for those who did not wait and may come back, where none are kept ready."""
        now = self._clock()
        self._wishes = [until for until in self._wishes if until > now]
        return len(self._wishes)

    def _wish(self, retry_after: float) -> None:
        """Somebody was sent away. Where none are kept ready they would find none, however often they come back."""
        if self._pool.size == 0 and self.wished < self._options.current.starts_at_once:
            self._wishes.append(self._clock() + retry_after + _WISH_SECONDS)
            self._pool.observe_soon()

    # --- drawing tickets

    async def claim(self, *, wait: float = 0.0, quota_key: str = "") -> Container:
        """A container of the visitor's own, waiting up to `wait` seconds in line for it.

        `quota_key` is whom it counts for, where that is limited. Raises `FullError` (`LineFullError`,
        `AddressFullError`) with a time to come back, `ClosedError` while the operator lets nobody in, `EngineError`
        where no claim can be made durable or no container becomes ready.
        """
        ticket, number = Ticket("", self._clock(), quota_key=quota_key), self._line.take_number()
        try:
            self._check_address(quota_key)
            self._check_engine()
            await self._try_at_once(ticket)
            if ticket.status is Status.WAITING and wait > 0:
                await self._wait(ticket, number, ticket.joined_at + wait)
            if ticket.status is Status.WAITING:
                self._check_engine()
                self._check_starts()
                retry_after = self._retry_after()
                self._wish(retry_after)
                raise FullError("no notebook is ready", retry_after=retry_after)
        except (FullError, ClosedError, EngineError):
            self._refused(ticket)
            raise
        assert ticket.container is not None  # noqa: S101  (that is what READY means)
        del self._wishes[:1]
        return ticket.container

    async def open_ticket(self, target: str, *, key: str = "", quota_key: str = "") -> Ticket:
        """A ticket for a notebook that is to open at `target`: READY where one was ready, else WAITING in line.

        It is kept for the lease, and as long as somebody watches it. While the engine is down one may wait all the
        same. Whoever comes again with a `key` gets the ticket that was drawn with it: a button pressed twice is one
        wish, and so is a page that is reloaded: being cancelled does not undo it. `quota_key` is whom it counts for,
        where that is limited. Raises `LineFullError` or `AddressFullError`, and `ClosedError` while the operator lets
        nobody in.
        """
        known = self._by_key.get(key)
        if known is not None and known.is_alive:
            self._renew(known)
            return known
        ticket = Ticket(target, self._clock(), key, quota_key)
        if key:
            self._by_key[key] = ticket
        self._tickets[ticket.id] = ticket
        self._renew(ticket)
        await asyncio.shield(self._spawn(self._serve_or_join(ticket)))
        return ticket

    async def _serve_or_join(self, ticket: Ticket) -> None:
        number = self._line.take_number()  # what is ready may prove dead, and others may come meanwhile
        try:
            self._check_address(ticket.quota_key)
            with contextlib.suppress(EngineError):
                self._check_engine()
                await self._try_at_once(ticket)
            if ticket.status is Status.WAITING:
                self._join(ticket, number)
                self._write_down(ticket)
        except BaseException as error:
            if isinstance(error, FullError | ClosedError):
                self._refused(ticket)
            ticket.settle(Status.LEFT)
            self._forget(ticket)
            raise

    def _check_address(self, quota_key: str) -> None:
        """Whoever has as many as one address may have, in use and waited for in line, gets no further one."""
        allowed = self._options.current.max_notebooks_per_address
        if not allowed or not quota_key:
            return
        in_line = [one for one in self._tickets.values() if one.place is not None and one.container is None]
        held = sum(one.quota_key == quota_key for one in self._pool.in_state(State.CLAIMED))
        held += sum(one.quota_key == quota_key and one.status is Status.WAITING for one in in_line)
        if held >= allowed:
            raise AddressFullError(
                f"no more than {allowed} notebooks may be in use from one address", retry_after=RETRY_AFTER
            )

    async def _try_at_once(self, ticket: Ticket) -> None:
        """Settle the ticket if something is ready and nobody waits. Raises `ClosedError`, `EngineDownError`."""
        if not self._pool.is_open:
            raise ClosedError(_CLOSED)
        if not self._may_take_at_once() or (first := self._pool.claim(self._clock(), ticket.quota_key)) is None:
            return
        container = await self._handover.take(first, self._may_take_at_once, ticket.quota_key)
        if container is not None:
            ticket.container = container
            self._answered(ticket, "hit")

    def _may_take_at_once(self) -> bool:
        return not len(self._line) and self._spare > 0

    def _join(self, ticket: Ticket, number: int) -> None:
        if not self._pool.is_open:
            raise ClosedError(_CLOSED)
        ticket.place = self._line.join(ticket.id, ticket.joined_at, number=number, retry_after=self._retry_after())
        self._tickets[ticket.id] = ticket
        self._pool.observe_soon()

    async def _wait(self, ticket: Ticket, number: int, deadline: float) -> None:
        """Stand in line until the ticket is settled or the time is over."""
        self._join(ticket, number)
        try:
            with ticket.watched():
                while ticket.status is Status.WAITING:
                    # What is being handed over at the deadline is waited for: the engine's timeouts bound that.
                    left = None if ticket.container is not None else deadline - self._clock()
                    if left is not None and left <= 0:
                        break
                    await ticket.changed(left)
        except asyncio.CancelledError:
            self.leave(ticket)  # in the very moment of being served, perhaps
            raise
        finally:
            self._line.leave(ticket.id)
            self._forget(ticket)
        if ticket.status is Status.WAITING and not self._pool.is_open:
            raise ClosedError(_CLOSED)

    # --- tickets that were drawn

    def restore(self) -> int:
        """Take up the tickets that there were when the service ended. Returns how many wait in line, as they did.

        Their visitors have the lease to come back in; starting again and again does not lengthen it.
        """
        for entry in self._book.open(self._lease):
            self._restore(entry)
        return len(self._line)

    def _restore(self, entry: Entry) -> None:
        now, unix = self._clock(), time.time()
        ticket = Ticket(entry.target, now - max(0.0, unix - entry.since), ticket_id=entry.id)
        ticket.announced = entry.told
        left = self._lease if entry.until is None else entry.until - unix
        ticket.held_until = now + min(left, self._lease)
        ticket.lease = self._lease
        if entry.container:
            self._given[ticket] = entry.container
        elif left <= 0:
            self._book.remove(ticket.id)
            return
        self._tickets[ticket.id] = ticket
        if not entry.told and left > 0:
            ticket.place = self._line.join(ticket.id, ticket.joined_at, again=True)

    def _find_given(self) -> None:
        """The engine has been listed: whoever had been given a notebook before the restart has it, if it is there.

        Who had not been told yet is served with it now, and else keeps the place in line.
        """
        given, self._given = self._given, {}
        for ticket, container_id in given.items():
            container = self._pool.get(container_id)
            if container is None or container.state is not State.CLAIMED:
                if ticket.place is None:
                    self._forget(ticket)
                continue
            if not ticket.announced:
                container.mark_unvisited()
            ticket.container = container
            if ticket.status is Status.WAITING:
                self._line.leave(ticket.id)
                ticket.settle(Status.READY)
            elif not ticket.announced:  # it was given up in the meantime
                self._pool.end(container, EndReason.UNVISITED, self._clock())

    def told(self, ticket: Ticket) -> None:
        """A ticket's visitor learns where their notebook is."""
        ticket.announced = True
        self._book.change(ticket.id, told=True)

    def has(self, ticket_id: str) -> bool:
        """Whether the ticket is kept here."""
        return ticket_id in self._tickets

    def find(self, ticket_id: str) -> Ticket | None:
        """The ticket, as long as it is kept; looking at it keeps it for another lease."""
        ticket = self._tickets.get(ticket_id)
        if ticket is not None:
            self._renew(ticket)
        return ticket

    @contextlib.contextmanager
    def watching(self, ticket: Ticket) -> Iterator[None]:
        """Hold a ticket while somebody looks; the lease begins when nobody does."""
        try:
            with ticket.watched():
                yield
        finally:
            self._hold(ticket)

    def release(self, ticket: Ticket, seconds: float) -> None:
        """Its visitor seems to have left: keep it only so long, unless somebody looks again.

        The page's stream of events may end before or after it says so.
        """
        ticket.lease = seconds
        self._hold(ticket)
        self._book.change(ticket.id, until=time.time() + seconds)

    def leave(self, ticket: Ticket) -> None:
        """Its visitor gives it up, and with it a notebook that was never opened."""
        if ticket.status is Status.WAITING:
            self._line.leave(ticket.id)
            self._metrics.claimed("left", self._clock() - ticket.joined_at)
            ticket.settle(Status.LEFT)
        elif ticket.container is not None and not ticket.container.visited:
            self._pool.end(ticket.container, EndReason.UNVISITED, self._clock())
            ticket.tell()
        self._forget(ticket)

    def position(self, ticket: Ticket) -> int | None:
        """The place in line, 1 = next; None for whoever does not wait."""
        if ticket.status is not Status.WAITING:
            return None
        return self._line.position(ticket.id) or 1

    def estimate(self, position: int) -> float | None:
        """Seconds until the visitor at `position` (1 = next) is served, from measured starts; None = unknown."""
        if not self._pool.is_open:
            return None
        return self._pool.estimate(position, self._clock())

    def _hold(self, ticket: Ticket) -> None:
        ticket.held_until = self._clock() + ticket.lease

    def _renew(self, ticket: Ticket) -> None:
        ticket.lease = self._lease
        self._hold(ticket)
        self._book.change(ticket.id, until=None)

    def _forget(self, ticket: Ticket) -> None:
        self._book.remove(ticket.id)
        self._tickets.pop(ticket.id, None)
        if self._by_key.get(ticket.key) is ticket:
            del self._by_key[ticket.key]

    def _write_down(self, ticket: Ticket) -> None:
        since = time.time() - (self._clock() - ticket.joined_at)
        self._book.add(Entry(id=ticket.id, target=ticket.target, since=since))

    # --- serving the line

    @property
    def _spare(self) -> int:
        """How many are ready for others than those who are being served: any of these may need another one.

        What they were given may prove dead, and whoever came after them must not have the next one then.
        """
        return self._pool.claimable - self._handing_over

    def serve_line(self) -> None:
        """Give what is ready to those who wait, first come, first served; while the service is closed, to nobody."""
        if self.stopping:
            return  # nobody could be told any more
        if self._given and self._pool.listed:
            self._find_given()
        for _ in range(self._spare if self._pool.is_open and not self._given else 0):
            if not len(self._line) or self._pool.engine_down:
                return
            place = self._line.pop_first()
            if place is None:
                return
            ticket = self._tickets[place.id]
            container = self._pool.claim(self._clock(), ticket.quota_key)
            if container is None:
                return
            ticket.container = container
            self._handing_over += 1
            self._spawn(self._hand_over(ticket, container))

    async def _hand_over(self, ticket: Ticket, container: Container) -> None:
        """Make the claim durable, then tell. Where that fails the visitor is in line again, at the same place."""
        taken, at_once = None, True
        try:
            taken = await self._handover.take(container, self._may_take_another, ticket.quota_key)
        except EngineDownError:
            pass
        except EngineError:
            at_once = False  # it would be refused again: in a second, by `sweep`
        finally:
            self._handing_over -= 1
        if ticket.status is not Status.WAITING:
            if taken is not None:
                self._pool.end(taken, EndReason.UNVISITED, self._clock())
        elif taken is not None:
            ticket.container = taken
            self._book.change(ticket.id, container=taken.id)
            self._answered(ticket, "waited")
        else:
            ticket.container = None
            if ticket.place is not None:
                self._line.take_back(ticket.place)
            ticket.tell()
        if at_once:
            self.serve_line()

    def _may_take_another(self) -> bool:
        """Whether whoever is being served may have one more: one of the ready ones is theirs, should they need it."""
        return self._pool.count(State.READY) >= self._handing_over

    def gate_moved(self) -> int:
        """The operator has closed the service, or opened it: tell all in line, who keep their places. Says how many.

        Who is in line is no newcomer: they are served once it is open again.
        """
        for ticket in self._tickets.values():
            if ticket.status is Status.WAITING:
                ticket.tell()
        self.serve_line()
        return len(self._line)

    def _refused(self, ticket: Ticket) -> None:
        self._metrics.claimed("refused", self._clock() - ticket.joined_at)

    def _answered(self, ticket: Ticket, outcome: str) -> None:
        ticket.settle(Status.READY)
        seconds = self._clock() - ticket.joined_at
        self._metrics.claimed(outcome, seconds)
        _log.debug(
            "claim_answered",
            id=ticket.container.id if ticket.container is not None else "",
            pool=self._pool.name,
            outcome=outcome,
            duration=round(seconds, 4),
        )

    # --- the task that keeps the line moving

    async def run(self) -> None:
        """Once a second, until cancelled: serve those who wait, and give up what nobody came back for."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep(self._clock())

    def sweep(self, now: float) -> None:
        """One round of `run()`. Serving is level-triggered here: the engine may have come back without an event."""
        self.serve_line()
        for ticket in () if self.stopping else tuple(self._tickets.values()):
            if not ticket.watchers and ticket.held_until <= now and ticket not in self._given:
                self._give_up(ticket)
        self._book.keep()
        if self._pool.refusal is not None and now - self._pool.refusal.at > _REFUSAL_SECONDS:
            self._pool.forget_refusal()

    def _give_up(self, ticket: Ticket) -> None:
        """Nobody came back in time. What its visitor was told of is left to the reaper, and to be found again."""
        container = ticket.container
        if ticket.status is not Status.READY or container is None or not ticket.announced:
            self.leave(ticket)
        elif container.state is not State.CLAIMED:
            self._forget(ticket)

    def stop(self) -> None:
        """Wake whoever watches a ticket, so that streams end before the service does."""
        self.stopping = True
        for ticket in self._tickets.values():
            ticket.tell()

    async def close(self) -> None:
        """End what is under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name="claim")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # A refusal is told to whoever drew; where they have gone meanwhile, it is nobody's. All else is a mistake.
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, FullError | ClosedError | EngineError):
            _log.error("claim_broke", exc_info=error)

    def _check_starts(self) -> None:
        """Raise why nothing can be handed out, where that is not that all are in use; what pages say, too."""
        if (failure := self._pool.refusal or self._pool.failure) is not None:
            raise UnavailableError("no notebook can be started now", failure.kind)

    def _check_engine(self) -> None:
        if self._pool.engine_down:
            raise EngineDownError("the engine does not answer, so no notebook can be handed out")

    def _retry_after(self) -> float:
        estimate = self.estimate(len(self._line) + 1)
        return RETRY_AFTER if estimate is None else max(1.0, estimate)
