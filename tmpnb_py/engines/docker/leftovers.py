"""What a crash left of a pool: helper containers (probes), and socket directories without a container.

The Docker engine removes them as it opens, and looks again now and then while it runs: what a crash has left seconds
before is too recent then. Recent ones may be in use, by another process, too: a `doctor` of the same pool.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.docker import options
from tmpnb_py.engines.sockets import SocketDirectories

_OLD_SECONDS = 300.0  # longer than any start or probe takes
_SWEEP_SECONDS = 60.0


class Leftovers:
    """Those of one pool. `listed` is the engine's list of containers with all of these labels."""

    def __init__(
        self,
        pool: str,
        listed: Callable[[Iterable[str]], Awaitable[Sequence[Mapping[str, Any]]]],
        remove: Callable[[str], Awaitable[None]],
        sockets: SocketDirectories,
    ) -> None:
        """`remove` removes a container by Docker's id, and succeeds if it is already gone."""
        self._labels = (f"{options.LABEL_PROJECT}={options.PROJECT}", f"{options.LABEL_PROBE}={pool}")
        self._listed = listed
        self._remove = remove
        self._sockets = sockets
        self._seen: dict[str, float] = {}  # probes, with the moment from which this process has known them
        self._next_sweep = 0.0
        self._tasks = Tasks()

    async def remove_probes(self, *, all_of_them: bool = False) -> None:
        """Remove those that are old by the wall clock, or all. The caller must hold the pool for that."""
        now = time.time()
        for probe in await self._listed(self._labels):
            if all_of_them or now - probe["Created"] > _OLD_SECONDS:
                await self._remove(probe["Id"])

    def stale_directories(self) -> set[str]:
        """Ids of old socket directories, whether a container uses them or not."""
        return self._sockets.stale(older_than=_OLD_SECONDS)

    def directories(self) -> set[str]:
        """Ids of all socket directories, whether a container uses them or not."""
        return self._sockets.stale()

    def sweep(self, in_use: Collection[str]) -> None:
        """Once a minute, remove old directories of containers that are not `in_use`, and, in the background, probes.

        The directories in this thread: it takes less than a millisecond, and there may be no thread to be had.
        """
        if time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + _SWEEP_SECONDS
        for container_id in self.stale_directories().difference(in_use):
            with contextlib.suppress(EngineError):
                self._sockets.remove(container_id)
        if not self._tasks:  # a probe that hangs takes its time
            self._tasks.start("leftovers", self._sweep_probes())

    async def _sweep_probes(self) -> None:
        """Remove probes that this process has known for long: neither this clock nor the engine's need be right."""
        with contextlib.suppress(EngineError):
            now, probes = time.monotonic(), [str(one["Id"]) for one in await self._listed(self._labels)]
            self._seen = {one: self._seen.get(one, now) for one in probes}
            for one in probes:
                if now - self._seen[one] > _OLD_SECONDS:
                    await self._remove(one)

    async def close(self) -> None:
        """End what goes on."""
        await self._tasks.close()
