"""What front ends have reported, as the orchestrator keeps it: presence, activity and open WebSockets by session.

A front end that is lost may only be cut off: what it had open counts as open for a while. Everything but `Turns` is
synchronous; the hub uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from tmpnb_py.core.models import State
from tmpnb_py.fronts import stamps
from tmpnb_py.fronts.wire import Stamp
from tmpnb_py.pools.container import Container

GRACE_SECONDS = 120.0  # for which the open connections of a front end that is away count as open
_MOST_FRONTS = 1000


@dataclasses.dataclass(eq=False)
class Reporter:
    """One front end, from its first hello until its grace is over. `open` are its WebSockets by session."""

    name: str
    hang_up: Callable[[], None]
    open: dict[str, int] = dataclasses.field(default_factory=dict)
    lost_at: float | None = None


class Reports:
    """All front ends of one service. `find` knows the containers by id."""

    def __init__(self, find: Callable[[str], Container | None]) -> None:
        self._find = find
        self._reporters: dict[str, Reporter] = {}

    def __iter__(self) -> Iterator[Reporter]:
        """Those that are connected."""
        return iter([one for one in self._reporters.values() if one.lost_at is None])

    def join(self, key: str, name: str, hang_up: Callable[[], None]) -> Reporter | None:
        """A front end has come, or come back; None where there are too many. An older connection of it is void."""
        reporter = self._reporters.get(key)
        if reporter is not None:
            reporter.hang_up()
            reporter.hang_up, reporter.lost_at = hang_up, None
        elif len(self._reporters) < _MOST_FRONTS:
            reporter = self._reporters[key] = Reporter(name, hang_up)
        return reporter

    def take(self, reporter: Reporter, told: Iterable[Stamp], now: float) -> None:
        """Put a report on the containers' records. What is in use by nobody is passed over."""
        for stamp in told:
            container = self._find(stamp.id)
            if container is None or container.state is not State.CLAIMED:
                reporter.open.pop(stamp.id, None)
                continue
            stamps.apply(stamp, container, stamp.open - reporter.open.pop(stamp.id, 0), now)
            if stamp.open:
                reporter.open[stamp.id] = stamp.open

    def open_of(self, container_id: str) -> int:
        """How many of a container's open connections they have."""
        return sum(reporter.open.get(container_id, 0) for reporter in self._reporters.values())

    def forget_open(self) -> None:
        """Count nothing any more that they have open, as another process counts it."""
        for reporter in self._reporters.values():
            for container_id, opened in reporter.open.items():
                if (container := self._find(container_id)) is not None:
                    container.open_connections = max(0, container.open_connections - opened)
            reporter.open = {}

    def ended(self, container_id: str) -> None:
        """No front end says more of this one, also not that its connections have ended."""
        for reporter in self._reporters.values():
            reporter.open.pop(container_id, None)

    def forget_lost(self, now: float) -> None:
        """Count nothing any more that front ends had open whose grace is over."""
        for key, reporter in tuple(self._reporters.items()):
            lost_at = reporter.lost_at
            if lost_at is not None and (not reporter.open or now - lost_at > GRACE_SECONDS):
                del self._reporters[key]
                for container_id, opened in reporter.open.items():
                    container = self._find(container_id)
                    if container is not None:
                        stamps.lose(container, opened, now)


class Turns:
    """Half of the event loop's time at most, for work that others can make without end: taking reports, telling all.

    Whoever has had its turn rests for as long as that took, and the next in line then begins: one front end that
    reports as fast as it can is slowed down by its own connection, and holds up neither visitors nor the others much.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for a turn. What is done in it must be synchronous."""
        async with self._turn:
            began = time.perf_counter()
            yield
            await asyncio.sleep(time.perf_counter() - began)
