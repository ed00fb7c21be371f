"""A front end's records of sessions: what its proxy looks up and stamps. Everything is synchronous.

They are what the orchestrator told last. While it is away they stay, and so do the stamps, of each session the
newest: and so no more than there are sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import structlog

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import State
from tmpnb_py.fronts import stamps
from tmpnb_py.fronts.stamps import Seen
from tmpnb_py.fronts.wire import MOST_ROUTES, MOST_STAMPS, Route, Stamp, Told
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.pools.container import Container
from tmpnb_py.tracing.spans import Tracing
from tmpnb_py.tracing.visits import taken_up

log = structlog.get_logger(__name__)

# Makes the way to a notebook, by its route (which has a place). Raises `OSError` where there is none from here.
Way = Callable[[Route], Endpoint]


class ProtocolError(EngineError):
    """The orchestrator said what cannot be."""


class Table:
    """The sessions by id. `ended` is called with each that is no more, `came` with each that is new or elsewhere."""

    def __init__(
        self,
        way: Way,
        *,
        came: Callable[[Container], None],
        ended: Callable[[Container], None],
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing
        self._way = way
        self._came = came
        self._ended = ended
        self._sessions: dict[str, Container] = {}
        self._routes: dict[str, Route] = {}
        self._snapshot: set[str] | None = None  # ids, while one is being told
        self._snapshot_at = ("", 0)
        self._seen: dict[str, Seen] = {}
        self.epoch = ""
        self.seq = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def session(self, container_id: str) -> Container | None:
        """The session of this id, if it can be dialled from here (a proxy's `Sessions`)."""
        container = self._sessions.get(container_id)
        return container if container is not None and container.endpoint is not None else None

    def node_of(self, container_id: str) -> str:
        """The node that a session's route leads to, "" where it is on this machine or not known."""
        route = self._routes.get(container_id)
        return route.place.node if route is not None and route.place is not None else ""

    # --- what the orchestrator tells

    def begin(self) -> None:
        """A new connection to the orchestrator: of a snapshot that was not told to its end nothing is known to be
        gone."""
        self._snapshot = None

    def hear(self, told: Told, now: float) -> None:
        """Take on what was told. Raises `ProtocolError`."""
        if told.event == "snapshot":
            self._snapshot, self._snapshot_at = set(), (told.epoch, told.seq)
        elif told.event == "alive":
            self._up_to_date(told)
        elif self._snapshot is not None:
            if told.route is None or len(self._snapshot) >= MOST_ROUTES:
                raise ProtocolError("a snapshot holds what is no route, or too many")
            # At once: ten thousand together would keep visitors waiting. What is gone shows at its end.
            self._snapshot.add(told.route.id)
            self._put(told.route, now)
        else:
            self._change(told, now)

    def _up_to_date(self, told: Told) -> None:
        if self._snapshot is not None:
            snapshot, self._snapshot = self._snapshot, None
            for gone in self._routes.keys() - snapshot:
                self._drop(gone)
            self.epoch, self.seq = self._snapshot_at
        if (told.epoch, told.seq) != (self.epoch, self.seq):
            raise ProtocolError("changes were left out")

    def _change(self, told: Told, now: float) -> None:
        if told.seq <= self.seq:
            raise ProtocolError("a change came out of order")
        if told.event == "drop":
            self._drop(told.id)
        elif told.route is None or len(self._routes) >= MOST_ROUTES:
            raise ProtocolError("a change is no route, or one too many")
        else:
            self._put(told.route, now)
        self.seq = told.seq

    def _put(self, route: Route, now: float) -> None:
        known = self._routes.get(route.id)
        if known == route:
            return
        if known is not None and _identity(known) != _identity(route):
            self._drop(route.id)
            known = None
        container = self._sessions.get(route.id)
        if container is None:
            container = self._sessions[route.id] = Container(
                route.id, "", route.token, created_at=now, state=State.CLAIMED, changed_at=now, claimed_at=now,
                base_url=route.base_url, session_name=route.session_name,
            )  # fmt: skip
        self._routes[route.id] = route
        container.admit(route.origin)
        if route.trace and (known is None or known.trace != route.trace):
            container.trace(taken_up(route.trace, self._tracing))
        if route.place is not None and (known is None or known.place != route.place or container.endpoint is None):
            try:
                container.dial(self._way(route))
            except OSError as error:  # the orchestrator itself may reach it
                log.debug("route_unusable", id=route.id, error=str(error))
        self._came(container)

    def _drop(self, route_id: str) -> None:
        self._routes.pop(route_id, None)
        self._seen.pop(route_id, None)
        container = self._sessions.pop(route_id, None)
        if container is not None:
            if container.endpoint is not None:
                container.endpoint.close()
            self._ended(container)

    # --- what the orchestrator is told

    def forget_told(self) -> None:
        """Whoever is told from now on may know nothing."""
        self._seen.clear()

    def parts(self) -> Iterator[tuple[Container, ...]]:
        """All sessions, in parts that are small enough to be looked at at once."""
        sessions = iter(tuple(self._sessions.values()))
        while part := tuple(islice(sessions, MOST_STAMPS)):
            yield part

    def news(self, part: Iterable[Container], now: float) -> Iterator[Stamp]:
        """What visitors of these did since it was told last. Each stamp counts as told once it is taken."""
        for container in part:
            seen, told = Seen.of(container), self._seen.get(container.id, stamps.NOTHING)
            if seen != told and container.id in self._sessions:
                self._seen[container.id] = seen
                yield stamps.stamp_of(container, told, now)


def _identity(route: Route) -> tuple[str, ...]:
    """What never changes of a session: with another one the id is another's."""
    return route.token, route.base_url, route.pool, route.session_name
