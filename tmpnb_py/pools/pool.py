"""A pool as a unit: its containers' records, what keeps them as they should be, and what others may do with it.

A `Site` holds pools; claims, web handlers and the proxy use the methods here and nothing behind them. All methods
are synchronous unless they say otherwise, so under asyncio nobody sees a half-made change. `now` is always monotonic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Protocol

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import Ended, EndReason, Failure, ImageFacts, NodeStatus, State
from tmpnb_py.engines.base import Engine
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.configuration import PoolConfiguration
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.health import Health
from tmpnb_py.pools.journal import Journal
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.operations import Gate, Operations
from tmpnb_py.pools.reaper import Reaper
from tmpnb_py.pools.reconciler import Reconciler
from tmpnb_py.pools.records import Listener, Records
from tmpnb_py.pools.start_rate import StartRate
from tmpnb_py.pools.status import PoolStatus

# What a claim makes durable goes before the start of its replacement, which keeps the engine's disk busy. (Measured
# with a full pool on a busy machine: median 11 instead of 16 ms to the visitor's answer.)
_HEAD_START = 0.02
_TIDY_SECONDS = 10.0


class Visitors(Protocol):
    """Those who want containers of a pool (its claims)."""

    @property
    def waiting(self) -> int:
        """How many visitors are in line."""

    @property
    def expected(self) -> int:
        """How many containers are wanted for visitors who were sent away and may come back."""

    def serve_line(self) -> None:
        """Hand out ready containers to those in line; called when one becomes ready."""

    def gate_moved(self) -> int:
        """Tell the visitors in line that the pool was closed or opened. Returns how many they are."""


class _NoVisitors:
    waiting = 0
    expected = 0

    def serve_line(self) -> None:
        """Nobody waits."""

    def gate_moved(self) -> int:
        """Nobody waits."""
        return 0


class Pool:
    """The containers of one image and configuration."""

    def __init__(
        self,
        engine: Engine,
        options: LiveOptions,
        metrics: PoolMetrics,
        *,
        learn_image: Callable[[ImageFacts], Awaitable[None]] | None = None,
        static_url: Callable[[ImageFacts], Awaitable[str]] | None = None,
        on_image_missing: Callable[[], None] | None = None,
    ) -> None:
        """`learn_image` is told the image at each listing, and `static_url` says where its notebooks find the static
        files that they share; `on_image_missing` is called when the engine does not have the image.
        """
        self.name = options.current.pool_name
        self.metrics = metrics
        self.options = options
        self._engine = engine
        self._visitors: Visitors = _NoVisitors()
        self._records = Records(self.name)
        self._health = Health(self.name, metrics)
        self._rate = StartRate()
        self._journal = Journal(self._records, metrics)
        self._configuration = PoolConfiguration(
            engine,
            options,
            pool_size=lambda: self._records.size,
            on_image=learn_image,
            static_url=static_url,
            on_image_missing=on_image_missing,
        )
        self._reconciler = Reconciler(
            engine,
            self._records,
            self._health,
            options,
            configuration=self._configuration,
            rate=self._rate,
            wanted=self._wanted,
        )
        self._operations = Operations(
            self._records,
            Gate(options.current.runtime_path / f"{self.name}.closed"),
            options,
            gate_moved=self._gate_moved,
            observe_soon=self._reconciler.observe_soon,
        )
        self._reaper = Reaper(self._records, options)
        self._records.subscribe(self._journal)
        self._records.subscribe(self._moved)

    def serve(self, visitors: Visitors) -> None:
        """Count these visitors' wishes when planning, and tell them when a container is ready."""
        self._visitors = visitors

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` after each transition of a container. It must only wake somebody."""
        self._records.subscribe(listener)

    # --- its tasks

    def work(self) -> Mapping[str, Coroutine[object, object, None]]:
        """The pool's own work by name; each must run in a task until the pool is closed."""
        return {"reconciler": self._reconciler.run(), "reaper": self._reaper.run()}

    async def is_manager(self) -> bool:
        """Whether this process manages the pool, and so may remove all of it."""
        return await self._reconciler.is_manager()

    async def close(self, *, remove_everything: bool, timeout_seconds: float) -> None:
        """Remove half-started and ending containers, or all of them. Call it after the tasks have ended.

        What cannot be removed in time is left to the next start, which finds it by its labels.
        """
        await self._reconciler.close(remove_everything=remove_everything, timeout_seconds=timeout_seconds)

    def hang_up(self) -> None:
        """Close the endpoints of all containers, at the very end."""
        for container in self._records:
            if container.endpoint is not None:
                container.endpoint.close()

    # --- looking up

    def get(self, container_id: str) -> Container | None:
        """A container in any state."""
        return self._records.get(container_id)

    def session(self, container_id: str) -> Container | None:
        """The claimed container that serves requests for this id, if it can be dialled."""
        return self._records.session(container_id)

    def ended(self, container_id: str) -> Ended | None:
        """How a session ended; None for one that runs, is unknown, or was forgotten."""
        return self._records.ended(container_id)

    def count(self, state: State) -> int:
        """How many containers are in a state."""
        return self._records.count(state)

    def in_state(self, state: State) -> list[Container]:
        """The containers in a state, the one that has been in it longest first."""
        return self._records.in_state(state)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Container]:
        return iter(self._records)

    # --- its condition

    @property
    def status(self) -> PoolStatus:
        """A snapshot."""
        records, health = self._records, self._health
        return PoolStatus(
            name=self.name,
            containers={state: records.count(state) for state in State},
            size=records.size,
            capacity=records.capacity,
            waiting=self._visitors.waiting,
            is_open=self.is_open,
            listed=records.listed,
            engine_down=health.engine_down,
            was_ready=records.was_ready,
            failure=health.failure,
            refusal=health.refusal,
        )

    @property
    def listed(self) -> bool:
        """Whether the engine has been listed completely since the start. Before, unknown sessions may exist."""
        return self._records.listed

    @property
    def engine_down(self) -> bool:
        """Whether the engine did not answer when it was last asked."""
        return self._health.engine_down

    @property
    def failure(self) -> Failure | None:
        """What keeps containers from becoming ready now."""
        return self._health.failure

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The latest failures, the oldest first."""
        return tuple(self._health.failures)

    @property
    def refusal(self) -> Failure | None:
        """What keeps the ready containers from being handed out now."""
        return self._health.refusal

    @property
    def size(self) -> int:
        """How many containers are to be ready."""
        return self._records.size

    @property
    def capacity(self) -> int:
        """How many containers there may be in all."""
        return self._records.capacity

    @property
    def claimable(self) -> int:
        """How many ready containers may be handed out."""
        return self._records.claimable

    @property
    def current_digest(self) -> str | None:
        """The digest of the configuration that containers are started with; None while it is not known."""
        return self._records.current_digest

    @property
    def recent_starts(self) -> tuple[tuple[float, float], ...]:
        """When the latest containers became ready, and after how many seconds."""
        return self._rate.measured

    @property
    def concurrency(self) -> int:
        """How many containers may be starting at the same time."""
        return self.options.current.starts_at_once(self._records.cpus)

    def estimate(self, position: int, now: float) -> float | None:
        """Seconds until the visitor at `position` (1 = next) is served, from measured starts; None = unknown."""
        records = self._records
        starting = [now - one.created_at for one in records.in_state(State.STARTING)]
        room = max(0, records.capacity - len(records))
        concurrency = self.concurrency if self._health.failure is None else 0
        return self._rate.estimate(position, concurrency, starting, now, room=room)

    # --- handing out and ending

    def claim(self, now: float, quota_key: str = "") -> Container | None:
        """Claim the container that has been ready longest, preferring the current configuration.

        It counts for `quota_key`. None if nothing is ready or the capacity is in use.
        """
        return self._records.claim(now, quota_key)

    def give_back(self, container: Container, now: float) -> bool:
        """Undo a claim that neither the engine nor the visitor knows of. False if it has ended meanwhile."""
        return self._records.give_back(container, now)

    def disown(self, container: Container) -> None:
        """Forget a claimed container that another manager has claimed; the next listing takes it up."""
        self._records.disown(container)

    def session_started(self, container: Container, *, workshop: str, client: str = "") -> None:
        """Note that a visitor is told the container's URL. `client` is their address, "" where it is not logged."""
        self._journal.session_started(container, workshop=workshop, client=client)

    def end(self, container: Container, reason: EndReason, now: float) -> bool:
        """Mark a container as REMOVING; the reconciler removes it. False if it already was, or is not ours."""
        return self._records.end(container, reason, now)

    # --- handing the pool on to another process, and taking it from one

    async def prepare(self) -> None:
        """Before the pool is this process's: do all that changes nothing in it. Raises `EngineError`."""
        await self._reconciler.prepare()

    async def release(self) -> None:
        """After the tasks have ended: let another process have the pool, which it finds as it is."""
        await self._engine.release()

    async def tidy(self) -> None:
        """Before the tasks begin anew: remove what the end of the last ones has left half done."""
        await self._reconciler.close(remove_everything=False, timeout_seconds=_TIDY_SECONDS)
        self._reconciler.observe_soon()

    def ends(self) -> Iterator[tuple[str, EndReason, float]]:
        """The containers that have ended, as far as they are remembered, and those that are to end."""
        for container_id, ended in self._records.ended_ids.items():
            yield container_id, ended.reason, ended.at
        for container in self._records:
            if container.state in (State.STARTING, State.REMOVING):
                yield container.id, container.reason or EndReason.HALF_STARTED, container.changed_at

    def know_ended(self, container_id: str, reason: EndReason, at: float) -> None:
        """Take on such an end. To be called before the first listing, or for a container that is not listed."""
        self._records.know_ended(container_id, reason, at)

    def look_at_gate(self) -> None:
        """Before work begins: another process has had the pool, and may have closed or opened it."""
        self._operations.look_at_gate()

    def forget_listing(self) -> None:
        """Another process may have given ready containers away, or started others: the next listing shows them."""
        self.look_at_gate()
        self._records.listed = False
        for container in self._records.in_state(State.READY):
            self._records.disown(container)

    # --- failures that others met

    def engine_failed(self, error: EngineError) -> None:
        """Note that the engine did not answer a call that was not the reconciler's."""
        self._reconciler.engine_failed(error)
        self._reconciler.wake()

    def refuse(self, failure: Failure) -> None:
        """Note that the engine refuses claims, so no container can be handed out."""
        self._health.refused(failure)

    def forget_refusal(self) -> None:
        """Note that claims may work again."""
        self._health.not_refused()

    def observe_soon(self) -> None:
        """Have the reconciler list the engine at once."""
        self._reconciler.observe_soon()

    # --- the operator

    @property
    def is_open(self) -> bool:
        """Whether new visitors are let in."""
        return self._operations.is_open

    def open_to_newcomers(self) -> None:
        """Let new visitors in. Raises `OSError`."""
        self._operations.open()

    def close_to_newcomers(self) -> None:
        """Let no new visitors in. Sessions go on; those in line keep their places. Raises `OSError`."""
        self._operations.close()

    def drain(self, now: float) -> int:
        """Replace all ready containers. Returns how many."""
        return self._operations.drain(now)

    async def nodes(self) -> tuple[NodeStatus, ...]:
        """The machines of the engine's cluster; none where it has one machine. Answers within seconds."""
        return await self._engine.nodes()

    async def pause_node(self, node: str, now: float) -> NodeStatus:
        """Have a node take no new containers, and replace its ready ones elsewhere. Raises `EngineError`."""
        found = await self._engine.pause_node(node, paused=True)
        self._operations.drain(now, found.notebooks)
        return found

    async def activate_node(self, node: str) -> NodeStatus:
        """Have a node take containers again. Raises `EngineError`."""
        found = await self._engine.pause_node(node, paused=False)
        self._reconciler.observe_soon()
        return found

    def resize(self, size: int) -> None:
        """Set the number of ready containers until the service restarts. Raises `SettingsError`."""
        self._operations.resize(size)

    # --- inside

    def _wanted(self) -> int:
        """How many containers visitors want beyond the pool's size. A closed pool serves nobody."""
        return self._visitors.waiting + self._visitors.expected if self.is_open else 0

    def _gate_moved(self) -> int:
        return self._visitors.gate_moved()

    def _moved(self, container: Container) -> None:
        if container.state is State.CLAIMED:
            asyncio.get_running_loop().call_later(_HEAD_START, self._reconciler.wake)
            return
        if container.state is State.READY:
            self._visitors.serve_line()
        self._reconciler.wake()
