"""A visitor's wish for a notebook, from when it is uttered until it is granted or given up.

A ticket outlives the request that drew it: whoever has its id can look at it, watch it and give it up. `claims` makes
and settles tickets; the web layer watches them. Everything but `changed` is synchronous. Times are monotonic seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import secrets
from collections.abc import Iterator

from tmpnb_py.claims.line import Place
from tmpnb_py.core.models import State
from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.pools.container import Container


class Status(enum.StrEnum):
    """A ticket's one lifecycle: WAITING, then one of the others for good."""

    WAITING = "waiting"
    READY = "ready"
    LEFT = "left"


class Ticket:
    """One wish, for the document `target`; `key` is its visitor's own name for it, `quota_key` whom it counts for.

    `place` is where it stood in the line, if it ever did; `container` is the one chosen for it, which its visitor may
    be told of once the ticket is READY; `announced` is whether that has been done. Nobody watching, it is kept for
    `lease` seconds more, until `held_until`.
    """

    __slots__ = (
        "_changed",
        "announced",
        "container",
        "held_until",
        "id",
        "joined_at",
        "key",
        "lease",
        "place",
        "quota_key",
        "status",
        "target",
        "watchers",
    )

    def __init__(self, target: str, now: float, key: str = "", quota_key: str = "", *, ticket_id: str = "") -> None:
        self.key = key
        self.quota_key = quota_key
        self.id = ticket_id or secrets.token_hex(16)
        self.target = target
        self.joined_at = now
        self.status = Status.WAITING
        self.place: Place | None = None
        self.container: Container | None = None
        self.announced = False
        self.watchers = 0
        self.lease = 0.0
        self.held_until = now
        self._changed = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether there was a notebook, and is no more."""
        return (
            self.status is Status.READY and self.container is not None and self.container.state is not State.CLAIMED
        )

    @property
    def is_alive(self) -> bool:
        """Whether its wish may yet be granted, or has been and the notebook is there."""
        return self.status in (Status.WAITING, Status.READY) and not self.has_ended

    def settle(self, status: Status) -> None:
        """Its end, whichever it is."""
        self.status = status
        self.tell()

    def tell(self) -> None:
        """Wake whoever watches, to look again."""
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()

    async def changed(self, seconds: float | None) -> bool:
        """Wait for the next change, for so long at most (None: as long as it takes); False when the time is over."""
        return await event_or_time(self._changed, seconds)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """While somebody looks, the ticket is held."""
        self.watchers += 1
        try:
            yield
        finally:
            self.watchers -= 1
