"""A visitor's request for a notebook, from when it is made until it is served or given up.

A ticket outlives the HTTP request that opened it: who holds its id can look at it, watch it and give it up. The other
modules of this folder create tickets and move them on; the web layer shows and watches them. Everything but `changed`
is synchronous. Times are monotonic seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import secrets
from collections.abc import Iterator, Mapping

from tmpnb_py.core.tasks import Changes, event_or_time
from tmpnb_py.pools.container import Container
from tmpnb_py.tracing.spans import Span, current
from tmpnb_py.tracing.visits import visit_of


class Status(enum.StrEnum):
    """The lifecycle of a ticket; `_NEXT` says which status may follow which.

    WAITING: in line, or on the way there. HANDING_OVER: a notebook is chosen, and it is not certain yet that it can
    be given away. READY: it is the visitor's, who does not know yet. ANNOUNCED: the visitor has been shown it.
    ENDED: there was a notebook, and it has ended. CLOSED: turned away, as newcomers are not let in or there is no
    room. LEFT: given up before there was a notebook.
    """

    WAITING = "waiting"
    HANDING_OVER = "handing over"
    READY = "ready"
    ANNOUNCED = "announced"
    ENDED = "ended"
    CLOSED = "closed"
    LEFT = "left"


_NEXT: Mapping[Status, frozenset[Status]] = {
    Status.WAITING: frozenset({Status.HANDING_OVER, Status.CLOSED, Status.LEFT}),
    Status.HANDING_OVER: frozenset({Status.WAITING, Status.READY, Status.LEFT}),
    Status.READY: frozenset({Status.ANNOUNCED, Status.ENDED}),
    Status.ANNOUNCED: frozenset({Status.ENDED}),
    Status.ENDED: frozenset(),
    Status.CLOSED: frozenset(),
    Status.LEFT: frozenset(),
}
# With these the visitor's claim has come to its end.
_SETTLED = frozenset({Status.READY, Status.CLOSED, Status.LEFT})


class Ticket:
    """One request, for the document `target`.

    `idempotency_key` is the visitor's own name for the request, "" for none; `quota_key` says whom the notebook
    counts for; `booking` is the class whose link the visitor came by, "" for none. While nobody watches it the ticket
    is kept until `held_until`, which is `lease` seconds after somebody was last seen to be interested in it.
    `span` is of the claim and `visit` of all that follows it, where the request that opens the ticket is traced.
    """

    __slots__ = (
        "_changes",
        "_container",
        "_status",
        "booking",
        "held_until",
        "id",
        "idempotency_key",
        "joined_at",
        "lease",
        "quota_key",
        "span",
        "target",
        "visit",
        "watchers",
    )

    def __init__(
        self,
        target: str,
        now: float,
        *,
        idempotency_key: str = "",
        quota_key: str = "",
        booking: str = "",
        ticket_id: str = "",
    ) -> None:
        self.id = ticket_id or secrets.token_hex(16)
        self.target = target
        self.idempotency_key = idempotency_key
        self.quota_key = quota_key
        self.booking = booking
        self.joined_at = now
        self.lease = 0.0
        self.held_until = now
        self.watchers = 0
        self.visit = visit_of(current())
        self.span: Span = current().child("claim")
        self._status = Status.WAITING
        self._container: Container | None = None
        self._changes = Changes()

    # --- what it is

    @property
    def status(self) -> Status:
        """Where the ticket is in its life."""
        return self._status

    @property
    def container(self) -> Container | None:
        """The visitor's notebook, from READY on; it is still named once it has ended."""
        return self._container

    @property
    def is_waiting(self) -> bool:
        """Whether the visitor still has to wait."""
        return self._status in (Status.WAITING, Status.HANDING_OVER)

    @property
    def is_served(self) -> bool:
        """Whether the visitor has a notebook that is running."""
        return self._status in (Status.READY, Status.ANNOUNCED)

    @property
    def is_alive(self) -> bool:
        """Whether the visitor has a running notebook, or may yet get one."""
        return self.is_waiting or self.is_served

    # --- transitions: each raises `RuntimeError` where the ticket is in no status to make it

    def hand_over(self) -> None:
        """Begin a hand-over: a notebook has been chosen."""
        self._move(Status.HANDING_OVER)

    def wait_again(self) -> None:
        """Undo `hand_over`: what had been chosen cannot be given away. Wakes watchers."""
        self._move(Status.WAITING)
        self.notify()

    def serve(self, container: Container) -> None:
        """Give the visitor a notebook, for good. Wakes watchers."""
        self._move(Status.READY)
        self._container = container
        self.notify()

    def announce(self) -> None:
        """Note that the visitor is shown the notebook."""
        self._move(Status.ANNOUNCED)

    def end(self) -> None:
        """Note that the notebook has ended. Wakes watchers."""
        self._move(Status.ENDED)
        self.notify()

    def close(self) -> None:
        """Turn the visitor away. Wakes watchers."""
        self._move(Status.CLOSED)
        self.notify()

    def leave(self) -> None:
        """Give up waiting. Wakes watchers."""
        self._move(Status.LEFT)
        self.notify()

    def _move(self, status: Status) -> None:
        if status not in _NEXT[self._status]:
            raise RuntimeError(f"a ticket cannot go from {self._status} to {status}")
        self._status = status
        if status in _SETTLED:
            self.span.set("tmpnb.claim.outcome", status.value)
            self.span.end()

    # --- its lease

    def renew(self, now: float, lease: float) -> None:
        """Keep the ticket for `lease` seconds from now on, and for as long after it is last watched."""
        self.lease = lease
        self.held_until = now + lease

    def has_expired(self, now: float) -> bool:
        """Whether nobody watches the ticket, or has asked for it in time."""
        return not self.watchers and self.held_until <= now

    # --- watching it

    def notify(self) -> None:
        """Wake all who wait for a change."""
        self._changes.tell()

    @property
    def next_change(self) -> asyncio.Event:
        """Set at the next change. Take it before looking at the ticket, so that no change in between is missed."""
        return self._changes.next

    async def changed(self, seconds: float | None) -> bool:
        """Wait for the next change, at most `seconds` (None: without limit). False if there was none in time."""
        return await event_or_time(self._changes.next, seconds)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the ticket from expiring."""
        self.watchers += 1
        try:
            yield
        finally:
            self.watchers -= 1
