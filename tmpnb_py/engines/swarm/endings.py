"""How notebooks of a swarm ended, and why.

The Swarm engine asks for each that it lists. Relays tell at once; else the node's engine is asked, and what neither
knows is Swarm's word. A node that Swarm has lost is a case of its own: Swarm gives up its tasks within seconds and
ends them if the node comes back, so their visitors are told that the machine failed, and not that something crashed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Collection, Iterable

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import EndReason, Exit, State
from tmpnb_py.engines.swarm import services
from tmpnb_py.engines.swarm.link.wire import Question
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.engines.swarm.services import Node, Task

NODE_GRACE = 120.0  # seconds
_READY_GRACE = 15.0
_INSPECT_SECONDS = 3.0
_FOUND_DEAD = 255  # what an engine that starts writes down of containers that ran when their machine failed
_SINCE_AWAY = 60.0  # seconds in which an engine that was restarted answers, and Swarm tells what it has found


class Endings:
    """Of one pool's notebooks. `node_grace`: seconds that sessions of a lost node are kept."""

    def __init__(
        self, relays: Relays, pool: str, node_grace: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._relays = relays
        self._pool = pool
        self._node_grace = node_grace
        self._clock = clock
        self._nodes: dict[str, Node] = {}
        self._down_since: dict[str, float] = {}  # by node
        self._given_up: set[str] = set()  # notebooks whose node Swarm had lost
        self._exits: dict[str, Exit] = {}  # that are known for good
        self._away_at: dict[str, float] = {}  # when a node's relay or engine was last known to be away

    def nodes_are(self, nodes: Iterable[Node]) -> None:
        """Swarm has listed its nodes."""
        now = self._clock()
        self._nodes = {one.id: one for one in nodes}
        self._down_since = {one.id: self._down_since.get(one.id, now) for one in self._nodes.values() if one.down}

    def next_in(self) -> float | None:
        """In how many seconds the sessions of a lost node end; None where no node's are to."""
        ends = (since + self._node_grace - self._clock() for since in self._down_since.values())
        return min((seconds for seconds in ends if seconds >= 0), default=None)

    def was_away(self, node: str) -> None:
        """A node's relay, or its engine, is or was away: what died meanwhile nobody has told."""
        self._away_at[node] = self._clock()

    def died(self, container_id: str, ended: Exit) -> None:
        """A relay has told of an end."""
        self._exits[container_id] = ended

    def keep(self, ids: Collection[str]) -> None:
        """Forget all others."""
        self._exits = {one: ended for one, ended in self._exits.items() if one in ids}
        self._given_up.intersection_update(ids)

    def forget(self, container_id: str) -> None:
        """It is removed."""
        self._exits.pop(container_id, None)
        self._given_up.discard(container_id)

    async def of(self, container_id: str, state: str, task: Task | None) -> Exit | None:
        """How a notebook with this state label ended; None while it lives, as far as anybody knows."""
        if task is not None and (task.node in self._down_since or task.is_given_up):
            self._given_up.add(container_id)
        ended = self._exits.get(container_id)
        if ended is None and task is not None and task.has_ended:
            ended = self._exits[container_id] = await self._how_it_ended(container_id, task)
        if ended is not None:
            return self._explained(container_id, ended, task)
        if task is None or not self._is_lost(state, task.node):
            return None
        return self._explained(container_id, services.LOST, task)

    def _is_lost(self, state: str, node: str) -> bool:
        since = self._down_since.get(node)
        if state == State.READY:
            # Nobody has it yet, so another one is made at once. A relay that is only started anew is back earlier.
            return since is not None or self._relays.absent_for(node) > _READY_GRACE
        # Swarm may have lost nothing but the way to a node where somebody works.
        return since is not None and self._clock() - since > self._node_grace

    def _explained(self, container_id: str, ended: Exit, task: Task | None) -> Exit:
        if container_id in self._given_up and not ended.out_of_memory:
            ended = dataclasses.replace(ended, reason=EndReason.NODE_LOST)
        return ended if task is None else services.explained(ended, task, self._nodes.get(task.node))

    async def _how_it_ended(self, container_id: str, task: Task) -> Exit:
        """By its node's engine, which knows whether memory was short; else by what Swarm knows."""
        question = Question(do="ended", pool=self._pool, id=container_id)
        with contextlib.suppress(EngineError, ValueError, KeyError, TypeError, TimeoutError):
            async with asyncio.timeout(_INSPECT_SECONDS):
                found = await self._relays.of(task.node).ask(question)
            if found["running"] is False:
                ended = Exit(int(found["status"]), out_of_memory=found["out_of_memory"] is True)
                return ended if ended.out_of_memory else self._untold(ended, task.node)
        return self._untold(Exit(task.status or services.LOST.status), task.node)

    def _untold(self, ended: Exit, node: str) -> Exit:
        """An end that no relay has told at once: with the node's engine, or its machine, its notebooks end, too."""
        if ended.status == _FOUND_DEAD:
            return dataclasses.replace(ended, reason=EndReason.NODE_LOST)
        if self._clock() - self._away_at.get(node, -math.inf) <= _SINCE_AWAY:
            return dataclasses.replace(ended, reason=EndReason.ENGINE_RESTARTED)
        return ended
