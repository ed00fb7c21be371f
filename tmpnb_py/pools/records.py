"""The records of a pool: which containers exist, which are sessions, and how each session ended.

Everything is synchronous, so under asyncio nothing comes between choosing and marking, and no lock is needed. `Pool`
and the parts behind it call this. Listeners are called at each transition and must only wake somebody.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping

from tmpnb_py.core.models import Ended, EndReason, State
from tmpnb_py.core.warm import WarmKernel
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.pools.container import Container

_REMEMBERED_ENDS = 10_000

Listener = Callable[[Container], None]


class Records:
    """The containers of one pool by state, and the sessions that ended, as far as they are remembered.

    `listed`: the engine has been listed completely since the start. `was_ready`: some container has been ready.
    `size`: how many containers are to be ready; `limit`: how many there may be in all, by the pool's own options and
    the engine's memory; `granted`: how many the site lets it have at present; `cpus` and `memory` (bytes): the
    engine's. `current_digest`: the configuration that containers are started with, None while it is not known;
    `warm`: the kernels that are started in them before visitors come.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.listed = False
        self.was_ready = False
        self.current_digest: str | None = None
        self.warm: tuple[WarmKernel, ...] = ()
        self.size = 0
        self.limit = 0
        self.granted: int | None = None
        self.cpus = 1
        self.memory = 0
        self._records: dict[State, dict[str, Container]] = {state: {} for state in State}
        self._ended: collections.OrderedDict[str, Ended] = collections.OrderedDict()
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` after each transition."""
        self._listeners.append(listener)

    # --- looking up

    def get(self, container_id: str) -> Container | None:
        """A container in any state."""
        for records in self._records.values():
            if container_id in records:
                return records[container_id]
        return None

    def session(self, container_id: str) -> Container | None:
        """The claimed container that serves requests for this id, if it can be dialled."""
        container = self._records[State.CLAIMED].get(container_id)
        return container if container is not None and container.endpoint is not None else None

    def ended(self, container_id: str) -> Ended | None:
        """How a session ended; None for one that runs, is unknown, or was forgotten."""
        return self._ended.get(container_id)

    def is_leaving(self, container_id: str) -> bool:
        """Whether it is being removed, or has been: of its end a listing of the engine would tell nothing new."""
        ended = self._ended.get(container_id)
        return container_id in self._records[State.REMOVING] or (ended is not None and ended.gone_at is not None)

    @property
    def ended_ids(self) -> Mapping[str, Ended]:
        """All remembered ends by the container's id."""
        return self._ended

    def count(self, state: State) -> int:
        """How many containers are in a state."""
        return len(self._records[state])

    @property
    def capacity(self) -> int:
        """How many containers there may be in all."""
        return self.limit if self.granted is None else min(self.limit, self.granted)

    @property
    def claimable(self) -> int:
        """How many ready containers may be handed out: those beyond the capacity only wait for their removal."""
        return min(self.count(State.READY), max(0, self.capacity - self.count(State.CLAIMED)))

    def in_state(self, state: State) -> list[Container]:
        """The containers in a state, the one that has been in it longest first."""
        return list(self._records[state].values())

    def __len__(self) -> int:
        return sum(len(records) for records in self._records.values())

    def __iter__(self) -> Iterator[Container]:
        for records in self._records.values():
            yield from tuple(records.values())

    # --- transitions

    def insert(self, container: Container) -> None:
        """Add a container: a new one (STARTING), or one that the engine listed (READY, CLAIMED, REMOVING)."""
        self._records[container.state][container.id] = container
        self._notify(container)

    def mark_ready(self, container: Container, endpoint: Endpoint, now: float) -> bool:
        """Mark a started container as READY. No-op, and False, if it is no longer STARTING."""
        if container.state is not State.STARTING:
            return False
        container.endpoint = endpoint
        container.ready_at = now
        self._move(container, State.READY, now)
        return True

    def claim(self, now: float, quota_key: str = "", kernel: str = "") -> Container | None:
        """Claim the one that has been ready longest, preferring the current configuration, then a warm `kernel`.

        It counts for `quota_key`. None if nothing is ready or the capacity is in use.
        """
        container = self._preferred(kernel) if self.claimable > 0 else None
        if container is None:
            return None
        container.quota_key = quota_key
        container.claimed_at = container.last_activity = container.last_presence = now
        self._move(container, State.CLAIMED, now)
        return container

    def _preferred(self, kernel: str) -> Container | None:
        """What a claim takes. Where no kernel is named, it looks no further than the first that will do."""
        ready = self._records[State.READY].values()
        first = next((one for one in ready if one.config_digest == self.current_digest), next(iter(ready), None))
        if first is None or not kernel:
            return first
        is_current = first.config_digest == self.current_digest  # else none is
        alike = (one for one in ready if (one.config_digest == self.current_digest) == is_current)
        return next((one for one in alike if kernel in one.warm), first)

    def give_back(self, container: Container, now: float) -> bool:
        """Undo a claim that neither the engine nor the visitor knows of. False if the container has ended meanwhile.

        Listeners are not called: the container must not be handed out again at once, since its claim was refused.
        """
        if container.state is not State.CLAIMED:
            return False
        container.claimed_at, container.quota_key, container.visit = None, "", None
        self._put(container, State.READY, now)
        return True

    def end(self, container: Container, reason: EndReason, now: float) -> bool:
        """Mark a container as REMOVING. No-op, and False, if it already is: the first reason stays."""
        if container.state is State.REMOVING or self.get(container.id) is not container:
            return False
        container.reason = reason
        if container.state is State.CLAIMED:
            self._ended.setdefault(container.id, Ended(reason, now))
        self._move(container, State.REMOVING, now)
        return True

    def disown(self, container: Container) -> None:
        """Forget a claimed container that another manager has claimed. It runs on; the next listing takes it up."""
        if self._records[container.state].pop(container.id, None) is not None and container.endpoint is not None:
            container.endpoint.close()

    def forget(self, container: Container, now: float) -> None:
        """Remove a container's record, after the engine has confirmed that the container is gone."""
        if self._records[container.state].pop(container.id, None) is None:
            return
        if container.endpoint is not None:
            container.endpoint.close()
        ended = self._ended.get(container.id) or Ended(container.reason or EndReason.CRASHED, now)
        self._ended[container.id] = dataclasses.replace(ended, gone_at=now)
        if len(self._ended) > _REMEMBERED_ENDS:
            self._ended.popitem(last=False)
        self._notify(container)

    def know_ended(self, container_id: str, reason: EndReason, at: float) -> None:
        """Take on that a container has ended, which another process decided: it is removed where it is listed."""
        self._ended.setdefault(container_id, Ended(reason, at, gone_at=at))

    def blame_engine(self, since: float) -> None:
        """Change CRASHED to ENGINE_RESTARTED since a moment: an engine that stops ends its containers first."""
        for container in self._records[State.REMOVING].values():
            if container.reason is EndReason.CRASHED and container.changed_at >= since:
                container.reason = EndReason.ENGINE_RESTARTED
        for container_id, ended in self._ended.items():
            if ended.reason is EndReason.CRASHED and ended.at >= since:
                self._ended[container_id] = dataclasses.replace(ended, reason=EndReason.ENGINE_RESTARTED)

    def _move(self, container: Container, state: State, now: float) -> None:
        self._put(container, state, now)
        self._notify(container)

    def _put(self, container: Container, state: State, now: float) -> None:
        del self._records[container.state][container.id]
        container.state = state
        container.changed_at = now
        self._records[state][container.id] = container

    def _notify(self, container: Container) -> None:
        self.was_ready = self.was_ready or container.state in (State.READY, State.CLAIMED)
        for listener in self._listeners:
            listener(container)
