"""Who manages a pool, wherever in the swarm: a config object that the manager keeps renewing.

Its name exists once, and each renewal names the version that it follows, so two cannot both have it. Whoever finds it
watches whether it is renewed, by a clock of its own: clocks of other machines are not compared. One that is not
renewed for `LEASE_SECONDS` is taken over, earlier where its manager cannot be there any more: Swarm has lost its
node, or its container on this very node has ended.

A manager that cannot renew, as the swarm elects a leader or its side of a cut network has no majority, stays the
manager, but changes nothing (`see_that_it_is_kept`) until it has renewed again, or reads that another one has taken
over, and stops: what it decided meanwhile may be about what is another's by then. Each claim would be one visitor's
even if both worked for a moment: see `services`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any, TypeGuard

import structlog

from tmpnb_py.core.errors import EngineError, NoSuchContainerError, PoolLockedError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.configs import Configs
from tmpnb_py.engines.swarm.naming import manager_name
from tmpnb_py.engines.swarm.services import is_conflict, is_taken, nodes_of

log = structlog.get_logger(__name__)

LEASE_SECONDS = 12.0
_RENEW_SECONDS = 2.0
_KEPT_SECONDS = 6.0  # less than it takes others to take over: Swarm's word that a node is lost, and a silence
_NODE_LOST_SECONDS = 3.0  # a manager whose node Swarm has lost, but that still renews, is left alone
_LOOK_SECONDS = 0.5
_LABEL_RENEWED = "org.tmpnb.renewed"
_LABEL_NODE = "org.tmpnb.node"
_LABEL_CONTAINER = "org.tmpnb.container"


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a manager runs: the node, and its container there, "" where it is in none."""

    node: str = ""
    container: str = ""


class Lease:
    """One pool's lease."""

    def __init__(self, api: EngineApi, pool: str) -> None:
        self._api = api
        self._configs = Configs(api)
        self._pool = pool
        self._name = manager_name(pool)
        self._holder = secrets.token_hex(8)
        self._here = _Place()
        self._tasks = Tasks()
        self._renewing: asyncio.Task[None] | None = None
        self._renewed_at = 0.0  # monotonic seconds
        self.term = 0  # Swarm's version of the lease as we last had it: of two managers, the later one's is higher

    @property
    def is_held(self) -> bool:
        """Whether this process has it, as far as it knows."""
        return self._renewing is not None and not self._renewing.done()

    @property
    def _is_kept(self) -> bool:
        """Whether it was renewed so lately that nobody can have taken it over since."""
        return time.monotonic() - self._renewed_at < _KEPT_SECONDS

    def see_that_it_is_kept(self) -> None:
        """Nothing is changed by a manager that may not be one any more. Who never was one has no such doubts."""
        if self._renewing is None or (self.is_held and self._is_kept):
            return
        raise EngineError(
            "this swarm's managers do not confirm that the pool is still ours, so nothing is changed",
            remedy="docker node ls: a majority of the managers has to be reachable",
        )

    async def take(self, on_lost: Callable[[], None]) -> None:
        """Take it. Raises `PoolLockedError` where another manager is alive."""
        if self.is_held:
            return
        self._here = await self._place()
        try:
            await self._configs.make(self._name, self._labels(1))
        except RefusedError as error:
            if not is_taken(error.status, error.message):
                raise
            await self._take_over()
        self._renewed_at = time.monotonic()
        with contextlib.suppress(EngineError):  # the first renewal reads it, too
            found = await self._configs.read(self._name)
            if self._is_ours(found):
                self.term = int(found["Version"]["Index"])
        self._renewing = self._tasks.start(f"lease of {self._pool}", self._renew(on_lost))

    async def release(self) -> None:
        """Give it back, if we have it."""
        task, self._renewing = self._renewing, None
        if task is None:
            return
        held = not task.done()
        await self._tasks.close()
        if held:
            with contextlib.suppress(EngineError):
                # Another manager may have taken over since we looked last.
                if self._is_ours(await self._configs.read(self._name)):
                    await self._configs.remove(self._name)

    # --- taking over

    async def _place(self) -> _Place:
        """Where this process is. Docker names a container's host by its id, unless it is told another name."""
        node = str(((await self._api.call("GET", "info")).get("Swarm") or {}).get("NodeID", ""))
        with contextlib.suppress(EngineError):
            found = await self._api.call("GET", f"containers/{socket.gethostname()}/json")
            if (found.get("State") or {}).get("Running") is True:
                return _Place(node, str(found["Id"]))
        return _Place(node)

    async def _take_over(self) -> None:
        found = await self._configs.read(self._name)
        began = time.monotonic()
        while found is not None:
            if time.monotonic() - began >= await self._patience(found):
                await self._write(found, 1)
                log.warning("pool_taken_over", pool=self._pool, hint="its manager has not been heard of")
                return
            await asyncio.sleep(_LOOK_SECONDS)
            again = await self._configs.read(self._name)
            if again is not None and again["Version"]["Index"] != found["Version"]["Index"]:
                raise self._locked()
            found = again
        await self._make(1)  # its holder has given it back meanwhile

    async def _make(self, count: int) -> None:
        """Make the config object anew. Raises `PoolLockedError` where somebody else has been earlier."""
        try:
            await self._configs.make(self._name, self._labels(count))
        except RefusedError as error:
            if not is_taken(error.status, error.message):
                raise
            raise self._locked() from error

    async def _patience(self, found: dict[str, Any]) -> float:
        """For how long a manager may be silent before its place is taken, in seconds."""
        labels = found["Spec"].get("Labels") or {}
        there = _Place(str(labels.get(_LABEL_NODE, "")), str(labels.get(_LABEL_CONTAINER, "")))
        if there.node and there.node == self._here.node:
            return 0.0 if there.container and await self._has_ended(there.container) else LEASE_SECONDS
        node = nodes_of(await self._api.call("GET", "nodes")).get(there.node)
        return _NODE_LOST_SECONDS if there.node and (node is None or node.down) else LEASE_SECONDS

    async def _has_ended(self, container: str) -> bool:
        try:
            found = await self._api.call("GET", f"containers/{container}/json")
        except NoSuchContainerError:
            return True
        return (found.get("State") or {}).get("Running") is False

    def _locked(self) -> PoolLockedError:
        return PoolLockedError(
            f'the pool "{self._pool}" of this swarm is managed by another tmpnb-py',
            remedy="stop that one, or give this one another name with --pool-name",
        )

    # --- keeping it

    async def _renew(self, on_lost: Callable[[], None]) -> None:
        """Renew until another manager has it."""
        count, failing = 1, False
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            count += 1
            asked_at = time.monotonic()
            try:
                async with asyncio.timeout(_RENEW_SECONDS):
                    found = await self._configs.read(self._name)
                    if self._is_ours(found):
                        self.term = int(found["Version"]["Index"])
                        await self._write(found, count)
                    elif found is None and self._is_kept:  # somebody has removed it by its name, and not followed us
                        await self._make(count)
                        log.warning("lease_made_again", pool=self._pool, hint="somebody had removed it")
                    else:
                        break
                self._renewed_at, failing = asked_at, False
            except PoolLockedError:  # somebody wrote between our two calls; the next look shows who
                continue
            except (EngineError, TimeoutError) as error:
                if not failing:
                    log.warning("lease_not_renewed", pool=self._pool, error=str(error) or "no answer in time")
                failing = True
        log.error("pool_lost", pool=self._pool, hint="another manager has it now")
        on_lost()

    async def _write(self, found: dict[str, Any], count: int) -> None:
        try:
            await self._configs.change(found, self._labels(count))
        except RefusedError as error:
            if is_conflict(error.message):
                raise self._locked() from error
            raise

    def _is_ours(self, found: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
        return found is not None and (found["Spec"].get("Labels") or {}).get(docker.LABEL_HOLDER) == self._holder

    def _labels(self, count: int) -> dict[str, str]:
        return {
            docker.LABEL_PROJECT: docker.PROJECT,
            docker.LABEL_MANAGER: self._pool,
            docker.LABEL_HOLDER: self._holder,
            _LABEL_RENEWED: str(count),
            _LABEL_NODE: self._here.node,
            _LABEL_CONTAINER: self._here.container,
        }
