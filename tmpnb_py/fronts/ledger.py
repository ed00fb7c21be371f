"""The routes as the orchestrator tells them, with their changes by number, so that nobody is told everything twice.

Numbers count in one epoch, which is this process's: whoever comes with another one's, or with a number whose
successors are forgotten, is told all. Everything is synchronous; the hub uses it.
"""

from __future__ import annotations

import collections
import secrets
from collections.abc import Hashable, Set

from tmpnb_py.engines.swarm.link.lines import line_of
from tmpnb_py.fronts.wire import Route, Told

_REMEMBERED = 10_000


class Ledger:
    """All routes, as lines that are ready to be sent, and the order in which they changed last."""

    def __init__(self, *, remembered: int = _REMEMBERED) -> None:
        self.epoch = secrets.token_hex(16)
        self.seq = 0
        self._routes: dict[str, tuple[Hashable, bytes]] = {}
        self._untraced: dict[str, bytes] = {}  # of those with a trace, for front ends that know of none
        self._changed: collections.deque[str] = collections.deque(maxlen=remembered)

    def __len__(self) -> int:
        return len(self._routes)

    def __contains__(self, route_id: object) -> bool:
        return route_id in self._routes

    def missing(self, ids: Set[str]) -> set[str]:
        """The routes that are none of these."""
        return self._routes.keys() - ids

    def is_known(self, route_id: str, key: Hashable) -> bool:
        """Whether the route was made from the same `key`."""
        known = self._routes.get(route_id)
        return known is not None and known[0] == key

    def put(self, route: Route, key: Hashable) -> None:
        """There is a route, new or changed."""
        self._count(route.id)
        self._untraced.pop(route.id, None)
        self._routes[route.id] = (key, line_of(Told(event="put", seq=self.seq, route=route)))
        if route.trace:
            plain = route.model_copy(update={"trace": ""})
            self._untraced[route.id] = line_of(Told(event="put", seq=self.seq, route=plain))

    def drop(self, route_id: str) -> None:
        """There is no such route any more."""
        del self._routes[route_id]
        self._untraced.pop(route_id, None)
        self._count(route_id)

    def _count(self, route_id: str) -> None:
        self.seq += 1
        self._changed.append(route_id)

    def since(self, epoch: str, seq: int, *, term: int = 0, traced: bool = True) -> list[bytes]:
        """The lines for somebody who knows all up to `seq`; none where that is all there is.

        `term` is told with a snapshot, sessions' traces only to who is `traced`.
        """
        forgotten = self.seq - len(self._changed)
        if epoch != self.epoch or not forgotten <= seq <= self.seq:
            begins = line_of(Told(event="snapshot", epoch=self.epoch, seq=self.seq, term=term))
            if traced or not self._untraced:
                return [begins, *(line for _, line in self._routes.values())]
            return [begins, *(self._untraced.get(one, line) for one, (_, line) in self._routes.items())]
        # Each once, at the number of its last change: in between it may have been there and gone. From the newest on,
        # as far as is new: each front end asks at each change, and mostly one is new of ten thousand.
        last: dict[str, int] = {}
        for number, one in zip(range(self.seq, seq, -1), reversed(self._changed), strict=False):
            last.setdefault(one, number)
        return [self._line(*one, traced=traced) for one in reversed(last.items())]

    def _line(self, route_id: str, number: int, *, traced: bool) -> bytes:
        known = self._routes.get(route_id)
        if not traced and route_id in self._untraced:
            return self._untraced[route_id]
        return line_of(Told(event="drop", seq=number, id=route_id)) if known is None else known[1]
