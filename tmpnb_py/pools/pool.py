"""A pool as a unit: its containers' records, what keeps them as they should be, and what others may do with it.

A `Site` holds pools; claims, web handlers and the proxy use the methods here and nothing behind them. All methods
are synchronous unless they say otherwise, so under asyncio nobody sees a half-made change. `now` is always monotonic.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Protocol

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import Ended, EndReason, Failure, NodeStatus, State
from tmpnb_py.engines.base import Engine
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.arrivals import Arrivals
from tmpnb_py.pools.busiest import Busiest
from tmpnb_py.pools.configuration import ImageWork, PoolConfiguration
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.health import Health
from tmpnb_py.pools.idle import Limits
from tmpnb_py.pools.journal import Journal
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.need import Need
from tmpnb_py.pools.operations import Gate, Operations
from tmpnb_py.pools.reaper import Reaper
from tmpnb_py.pools.reconciler import Reconciler
from tmpnb_py.pools.records import Listener, Records
from tmpnb_py.pools.sizing import Sizing, Source
from tmpnb_py.pools.start_rate import StartRate
from tmpnb_py.pools.start_traces import StartTraces
from tmpnb_py.pools.status import PoolStatus, WarmStatus
from tmpnb_py.pools.timetable import Programme
from tmpnb_py.tracing.spans import Tracing

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
    def admitted(self) -> int:
        """How many of these are let in now: those of classes, too, while the pool is closed to others."""

    @property
    def expected(self) -> int:
        """How many containers are wanted for visitors who were sent away and may come back."""

    @property
    def booked(self) -> int:
        """How many containers are to be ready for bookings."""

    @property
    def reserved(self) -> int:
        """How many of these are held for classes."""

    def extension(self, container_id: str) -> float:
        """By how many seconds a session may live longer than others."""

    def since(self, most: int) -> list[float]:
        """When the first visitors in line that are let in came (monotonic), at most so many of them."""

    def serve_line(self) -> None:
        """Hand out ready containers to those in line; called when one becomes ready."""

    def gate_moved(self) -> int:
        """Tell the visitors in line that the pool was closed or opened. Returns how many they are."""


class _NoVisitors:
    waiting = 0
    admitted = 0
    expected = 0
    booked = 0
    reserved = 0

    def extension(self, container_id: str) -> float:  # noqa: ARG002
        """Nobody is in a class."""
        return 0.0

    def since(self, most: int) -> list[float]:  # noqa: ARG002
        """Nobody waits."""
        return []

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
        images: ImageWork | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._warm = (images or ImageWork()).warm
        self.name = options.current.label
        self.engine_name = options.current.pool_name
        self.metrics = metrics
        self.options = options
        self._engine = engine
        self._visitors: Visitors = _NoVisitors()
        self._share_out: Callable[[], None] = lambda: None
        self._records = Records(self.name)
        self._health = Health(self.name, metrics)
        self._rate = StartRate()
        self._sizing = Sizing(self._records, options, self._rate)
        self._journal = Journal(self._records, metrics)
        self._configuration = PoolConfiguration(
            engine,
            options,
            pool_size=lambda: self._records.size,
            max_containers=lambda: self._sizing.programme.max_containers,
            images=images,
        )
        self._reconciler = Reconciler(
            engine,
            self._records,
            self._health,
            options,
            configuration=self._configuration,
            rate=self._rate,
            sizing=self._sizing,
            wanted=self._wanted,
        )
        self._operations = Operations(
            self._records,
            self._sizing,
            Gate(options.current.runtime_path / f"{self.engine_name}.closed"),
            options,
            gate_moved=self._gate_moved,
            observe_soon=self._reconciler.observe_soon,
        )
        self.limits = options.derive(self._limits_now)  # when sessions end
        self._is_shut = self._sizing.is_shut
        self._reaper = Reaper(self._records, options, self.limits, extension=self.extension)
        self._sizing.subscribe(self._timetable_changed)
        self._busiest = Busiest(engine, self._records, options, metrics, reap=self._reaper.reap)
        if tracing is not None:
            self._records.subscribe(StartTraces(self.name, tracing))
        self._records.subscribe(self._journal)
        self._records.subscribe(self._moved)

    def serve(self, visitors: Visitors) -> None:
        """Count these visitors' wishes when planning, and tell them when a container is ready."""
        self._visitors = visitors

    def reserve_from(self, reserve: Source) -> None:
        """Keep ready beyond all else what `reserve` asks for at a moment (Unix seconds)."""
        self._sizing.reserve_from(reserve)
        self._reconciler.wake()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` after each transition of a container. It must only wake somebody."""
        self._records.subscribe(listener)

    # --- its part of the site's containers

    def divide_by(self, share_out: Callable[[], None]) -> None:
        """Call `share_out` before each plan: it grants this pool, and others, how many containers they may have."""
        self._share_out = share_out

    def need(self) -> Need:
        """What this pool needs of the site's room now. Empty until the engine's memory is known."""
        records, settings, booked = self._records, self.options.current, self._visitors.booked
        moving = records.count(State.STARTING) + records.count(State.REMOVING)
        return Need(
            weight=settings.mem_limit,
            limit=records.limit,
            is_limited=self._sizing.programme.max_containers is not None,
            memory=records.memory,
            in_use=records.count(State.CLAIMED),
            ready=records.count(State.READY),
            moving=moving,
            guaranteed=settings.guaranteed_containers,
            waiting=tuple(self._visitors.since(records.limit)),
            expected=self._visitors.expected if self.is_open else 0,
            target=max(0, records.size - booked),
            reserve=booked,
        )

    def grant(self, containers: int) -> None:
        """Let the pool have at most so many containers, all told; ready ones beyond that are given up."""
        if containers != self._records.granted:
            self._records.granted = containers
            self._reconciler.wake()

    # --- its tasks

    def work(self) -> Mapping[str, Coroutine[object, object, None]]:
        """The pool's own work by name; each must run in a task until the pool is closed."""
        return {"reconciler": self._reconciler.run(), "reaper": self._reaper.run()}

    def watch(self) -> Mapping[str, Coroutine[object, object, None]]:
        """More of its work by name, without which sessions go on."""
        return {"busiest": self._busiest.run()}

    async def is_manager(self) -> bool:
        """Whether this process manages the pool, and so may remove all of it."""
        return await self._reconciler.is_manager()

    async def close(self, *, remove_everything: bool, timeout_seconds: float) -> None:
        """Remove half-started and ending containers, or all of them. Call it after the tasks have ended.

        What cannot be removed in time is left to the next start, which finds it by its labels.
        """
        await self._reconciler.close(remove_everything=remove_everything, timeout_seconds=timeout_seconds)

    @property
    def is_idle(self) -> bool:
        """Whether the engine has been listed and there is no container any more, nor anybody who waits for one."""
        return self.listed and not len(self) and not self._visitors.waiting

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

    def knows(self, container_id: str) -> bool:
        """Whether the pool has this container, or remembers its end."""
        return self._records.get(container_id) is not None or self._records.ended(container_id) is not None

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
            reserved=self._visitors.reserved,
            is_open=self.is_open,
            admits_classes=self.admits_classes,
            base=self._sizing.base,
            programme=self._sizing.programme,
            opens_at=self.opens_at,
            decision=self._sizing.decision,
            listed=records.listed,
            engine_down=health.engine_down,
            was_ready=records.was_ready,
            failure=health.failure,
            refusal=health.refusal,
            busy=self._busiest.found,
        )

    @property
    def warm_because(self) -> str:
        """Why kernels are started before visitors come, or none; "" where it is what the operator asks for."""
        return self._warm.because

    @property
    def warm(self) -> tuple[WarmStatus, ...]:
        """The kernels that are started before visitors come. Counts what is ready, so it is not for each page."""
        ready = collections.Counter(name for one in self._records.in_state(State.READY) for name in one.warm)
        problems = self._health.warm_problems
        return tuple(WarmStatus(one, ready[one.name], problems.get(one.name)) for one in self._records.warm)

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
    def base(self) -> int:
        """How many containers the operator wants ready at any time; `size` is that with all that asks for more."""
        return self._sizing.base

    @property
    def capacity(self) -> int:
        """How many containers there may be in all."""
        return self._records.capacity

    @property
    def limit(self) -> int:
        """How many containers the pool may have by its own options and the engine's memory, if it were alone."""
        return self._records.limit

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
        return self._sizing.concurrency

    def lead(self, count: int) -> float:
        """How many seconds ahead to begin, so that `count` containers more are ready in time."""
        return self._sizing.lead(count)

    def extension(self, container_id: str) -> float:
        """By how many seconds this session may live longer than others."""
        return self._visitors.extension(container_id)

    def estimate(self, position: int, now: float) -> float | None:
        """Seconds until the visitor at `position` (1 = next) is served, from measured starts; None = unknown."""
        records = self._records
        starting = [now - one.created_at for one in records.in_state(State.STARTING)]
        room = max(0, records.capacity - len(records))
        concurrency = self.concurrency if self._health.failure is None else 0
        return self._rate.estimate(position, concurrency, starting, now, room=room)

    # --- handing out and ending

    def claim(self, now: float, quota_key: str = "", kernel: str = "") -> Container | None:
        """Claim the one that has been ready longest, preferring the current configuration, then a warm `kernel`.

        It counts for `quota_key`. None if nothing is ready or the capacity is in use.
        """
        return self._records.claim(now, quota_key, kernel)

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

    def wake(self) -> None:
        """Have the reconciler look again soon: it may want another number of containers."""
        self._reconciler.wake()

    def observe_soon(self) -> None:
        """Have the reconciler list the engine at once."""
        self._reconciler.observe_soon()

    # --- the operator

    @property
    def is_open(self) -> bool:
        """Whether new visitors are let in."""
        return self._operations.is_open and not self._sizing.is_shut

    @property
    def admits_classes(self) -> bool:
        """Whether those are let in who come by the link of a class that is on, whatever `is_open` says.

        The timetable does not keep them out: the operator has booked that very time for them.
        """
        return self._operations.admits_classes

    @property
    def opens_at(self) -> float | None:
        """When the timetable lets visitors in again (Unix seconds, `math.inf`: unknown).

        None while it does, and where the operator has closed the pool: then that will not open it.
        """
        return self._sizing.opens_at if self._operations.is_open else None

    @property
    def programme(self) -> Programme:
        """What the timetable says now."""
        return self._sizing.programme

    @property
    def arrivals(self) -> Arrivals:
        """How many visitors came, and when."""
        return self._sizing.arrivals

    def visitor_came(self) -> None:
        """Count a visitor who wants a container, for `pool_size = "auto"`."""
        self._sizing.visitor_came()

    def open_to_newcomers(self) -> None:
        """Let new visitors in. Raises `OSError`."""
        self._operations.open()

    def close_to_newcomers(self, *, to_classes: bool = False) -> None:
        """Let no new visitors in, those of classes neither where `to_classes`. Raises `OSError`.

        Sessions go on; those in line keep their places.
        """
        self._operations.close(to_classes=to_classes)

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
        """Set the base of the number of ready containers until a restart. Raises `SettingsError`."""
        self._operations.resize(size)

    # --- inside

    def _wanted(self) -> int:
        """How many containers visitors want beyond the pool's size. A closed pool serves classes only."""
        self._share_out()
        return self._visitors.admitted + (self._visitors.expected if self.is_open else 0)

    def _gate_moved(self) -> int:
        return self._visitors.gate_moved()

    def _limits_now(self, settings: Settings) -> Limits:
        limits, timeout = Limits.of(settings), self._sizing.programme.cull_timeout
        return limits if timeout is None else dataclasses.replace(limits, timeout=timeout)

    def _timetable_changed(self) -> None:
        """Act on what the timetable says from now on."""
        before = self.limits.value
        self.options.renew(self.limits)
        if self.limits.value != before:
            self._reaper.judge_anew()
        self._reconciler.look_at_capacity()
        if self._sizing.is_shut is not self._is_shut:
            self._is_shut = self._sizing.is_shut
            self._visitors.gate_moved()

    def _moved(self, container: Container) -> None:
        if container.state is State.CLAIMED:
            asyncio.get_running_loop().call_later(_HEAD_START, self._reconciler.wake)
            return
        if container.state is State.READY:
            self._visitors.serve_line()
        self._reconciler.wake()
