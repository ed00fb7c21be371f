"""Makes the engine's containers what the operator wants: the only place that creates and removes them.

One loop: observe, plan (pure), apply. Claims, the engine's events and a timer only wake it. Each action runs in a
task of its own and ends in a transition of a record, which wakes the loop again. The number of STARTING records
bounds the starts, `Removals` the removals.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from tmpnb_py.core.errors import EngineError, LackError, PoolLockedError, WrongEngineError
from tmpnb_py.core.models import ContainerConfig, EndReason, Observed, State
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.base import Engine
from tmpnb_py.options.live import Change, LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools import planner
from tmpnb_py.pools.adoption import Adoption
from tmpnb_py.pools.configuration import Capacity
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.health import Health
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.removals import Removals
from tmpnb_py.pools.schedule import Schedule
from tmpnb_py.pools.sizing import Sizing
from tmpnb_py.pools.start_rate import StartRate
from tmpnb_py.pools.starts import Starts
from tmpnb_py.pools.warmth import Warmth

_ENGINE_DYING = 30.0  # dockerd gives containers 10 s to end, and some more to itself

_log = structlog.get_logger(__name__)


class Configuration(Protocol):
    """Where today's configuration comes from (`tmpnb_py.pools.configuration`)."""

    async def resolve(self) -> ContainerConfig: ...

    async def capacity(self) -> Capacity: ...


class Reconciler:
    """Keeps one pool as it should be. `wanted` tells how many containers visitors want beyond the pool's size."""

    def __init__(
        self,
        engine: Engine,
        records: Records,
        health: Health,
        options: LiveOptions,
        *,
        configuration: Configuration,
        rate: StartRate,
        sizing: Sizing,
        wanted: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._records = records
        self._health = health
        self._options = options
        self._configuration = configuration
        self._sizing = sizing
        self._wanted = wanted
        self._config: ContainerConfig | None = None
        self._capacity_for: tuple[tuple[int, int | None], Settings] | None = None
        self._opened = False
        self._schedule = Schedule()
        self._tasks = Tasks()
        self._adoption = Adoption(records)
        self._removals = Removals(engine, records, self._tasks, self._schedule)
        self._warmth = Warmth(health, self._tasks, lambda: wanted() > 0)
        self._starts = Starts(
            engine,
            records,
            health,
            options,
            rate=rate,
            tasks=self._tasks,
            schedule=self._schedule,
            warmth=self._warmth,
        )
        options.subscribe(self._options_changed)

    # --- what others call

    def wake(self) -> None:
        """Look again soon."""
        self._schedule.wake()

    def observe_soon(self) -> None:
        """The engine may differ from the records: list it in the next round."""
        self._schedule.observe_soon()

    def look_at_capacity(self) -> None:
        """How many containers there may be may have changed: ask in the next round, which is due."""
        self._schedule.list_by(time.monotonic())

    def engine_failed(self, error: EngineError) -> None:
        """The engine does not answer."""
        now = time.monotonic()
        if self._health.engine_failed(error, now):
            self._records.blame_engine(now - _ENGINE_DYING)
        self._schedule.retry(now)

    async def prepare(self) -> None:
        """Connect, and find out with which configuration containers are started. Raises `EngineError`."""
        await self._open()
        await self._resolve()

    async def run(self) -> None:
        """Reconcile until cancelled; what is under way then is cancelled too, and cleaned up by `close()`."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(), name="engine-events")
                while True:
                    self._schedule.begin_round()
                    await self._schedule.next_round(await self.reconcile_once())
        finally:
            await self._tasks.close()

    async def close(self, *, remove_everything: bool, timeout_seconds: float = 30.0) -> None:
        """After `run()` has ended: remove what is half started or marked, or (on request) all that is ours.

        What cannot be removed in time is left to the next start, which finds it by its labels.
        """
        await self._tasks.close()
        try:
            async with asyncio.timeout(timeout_seconds):
                if remove_everything:
                    await self._take_up_everything()
                now = time.monotonic()
                ours = tuple(self._records)
                doomed = [one for one in ours if remove_everything or one.state in (State.STARTING, State.REMOVING)]
                for container in doomed:
                    self._records.end(container, EndReason.SHUTDOWN, now)
                await asyncio.gather(*(self._removals.remove(container) for container in doomed))
        except TimeoutError:
            _log.warning("containers_left", count=self._records.count(State.REMOVING))

    async def is_manager(self) -> bool:
        """Whether the pool is this process's own, so that it may remove all of it."""
        try:
            await self._hold()
        except PoolLockedError as error:
            _log.error("pool_taken", pool=self._records.name, error=error.message, hint="nothing of it is removed")
            return False
        except EngineError:  # which cannot tell: what was listed was listed by its manager
            return self._records.listed
        return True

    async def _take_up_everything(self) -> None:
        """What no listing has shown yet: after a stop soon after the start, or from a crash's last call."""
        try:
            for observed in await self._engine.list():
                if self._records.get(observed.id) is None:
                    self._adoption.discard(observed, EndReason.SHUTDOWN)
        except EngineError as error:
            _log.warning("containers_left", error=error.message, remedy=error.remedy)

    # --- one round

    async def reconcile_once(self) -> float:
        """Observe if due, plan, apply. Returns when to look again though nothing happened (monotonic seconds)."""
        resized_at = self._resize()
        listing = await self._observe() if time.monotonic() >= self._schedule.list_at else None
        if listing is not None:
            self._health.engine_answered()
        situation = self._situation(listing)
        if planner.is_full(situation):
            self._health.is_full(situation.now)
        plan = planner.plan(situation)
        for action in plan.actions:
            self._apply(action)
        if listing is not None:
            self._records.listed = True
        return min(plan.wake_at, self._schedule.list_at, resized_at)

    def _resize(self) -> float:
        """Note today's target. Returns when it changes by itself (monotonic seconds)."""
        before, now = self._records.size, time.monotonic()
        changes_at = now + self._sizing.look()
        if self._records.size > max(before, self._records.capacity):
            self._schedule.list_by(now)  # and ask again how many fit
        return changes_at

    async def _observe(self) -> planner.Listing | None:
        asked_at = time.monotonic()
        self._schedule.listing(asked_at)
        try:
            await self._hold()
            containers = await self._engine.list()
            await self._learn_capacity()
        except LackError as error:
            self._health.lacking(error, time.monotonic())
            self._schedule.retry(time.monotonic())
            return None
        except EngineError as error:
            if isinstance(error, WrongEngineError) and not self._opened:
                raise  # `run` ends with it, and so does the service
            self.engine_failed(error)
            return None
        await self._resolve()
        for observed in containers:
            if (container := self._records.get(observed.id)) is not None:
                container.exit = observed.exit
        after_outage = self._health.engine_down or not self._records.listed
        return planner.Listing(asked_at, containers, after_outage=after_outage)

    async def _hold(self) -> None:
        """Be connected, and the pool's only manager. `run` ends with `PoolLockedError` and `WrongEngineError`."""
        await self._open()
        await self._engine.hold(self._options.current.image, self.observe_soon)

    async def _open(self) -> None:
        if not self._opened:
            await self._engine.open()
            self._opened = True

    async def _learn_capacity(self) -> None:
        """Ask for capacity and CPUs where size or settings have changed, also while it was last asked for."""
        limits, settings = (self._records.size, self._sizing.programme.max_containers), self._options.current
        if self._capacity_for is not None and self._capacity_for[0] == limits and self._capacity_for[1] is settings:
            return
        found = await self._configuration.capacity()
        self._records.limit, self._records.cpus, self._records.memory = found.limit, found.cpus, found.memory
        self._capacity_for = (limits, settings)

    async def _resolve(self) -> None:
        try:
            self._config = await self._configuration.resolve()
        except EngineError as error:
            self._config = None
            self._health.not_configured(error, time.monotonic())
            self._schedule.list_by(self._health.backoff.retry_at)
            return
        self._health.configured()
        self._records.current_digest, self._records.warm = self._config.digest, self._config.warm

    def _situation(self, listing: planner.Listing | None) -> planner.Situation:
        settings, records = self._options.current, self._records
        is_known = self._config is not None and not self._health.engine_down
        may_start = is_known and (records.listed or listing is not None)
        wanted = self._wanted()  # which also settles how many containers there may be
        return planner.Situation(
            now=time.monotonic(),
            targets=planner.Targets(
                digest=self._config.digest if may_start and self._config is not None else None,
                pool_size=records.size,
                max_containers=records.capacity,
                concurrency=self._sizing.concurrency,
                ready_max_age=settings.ready_max_age,
            ),
            records=[_facts(container) for container in records],
            listing=listing,
            ended=records.ended_ids,
            waiting=wanted,
            backoff=self._health.backoff,
        )

    def _apply(self, action: planner.Action) -> None:
        match action:
            case planner.Start() if self._config is not None:
                self._starts.begin(self._config)
            case planner.Adopt(observed):
                self._adopt(observed)
            case planner.Readdress(observed):
                self._adoption.readdress(observed)
            case planner.Discard(observed, reason):
                self._adoption.discard(observed, reason)
            case planner.End(container_id, reason):
                self._end(container_id, reason)
            case planner.Died(container_id):
                self._start_died(container_id)
            case planner.Remove(container_id):
                if (container := self._records.get(container_id)) is not None:
                    self._removals.begin(container)

    def _adopt(self, observed: Observed) -> None:
        """Take up a container. One that is ready is asked what is warm in it; those before this process knew."""
        self._adoption.adopt(observed)
        container = self._records.get(observed.id)
        if container is not None and observed.config_digest == self._records.current_digest:
            self._warmth.watch(container, self._records.warm, self._options.current.start_timeout)

    def _end(self, container_id: str, reason: EndReason) -> None:
        container = self._records.get(container_id)
        if container is None:
            return
        was_ready = container.state is State.READY
        self._records.end(container, reason, time.monotonic())
        if was_ready and reason in (EndReason.CRASHED, EndReason.OUT_OF_MEMORY):
            self._starts.ready_one_died(container, reason)

    def _start_died(self, container_id: str) -> None:
        container = self._records.get(container_id)
        if container is not None and container.died is not None:
            container.died.set()

    async def _watch(self) -> None:
        """Turn the engine's events into observations; reconnecting is the engine's own business."""
        async for container_id in self._engine.events():
            if not container_id:  # nodes may have come or gone
                self._capacity_for = None
            if not self._records.is_leaving(container_id):
                self.observe_soon()

    def _options_changed(self, _: Change) -> None:
        self.observe_soon()


def _facts(container: Container) -> planner.ContainerFacts:
    """What the planner needs to know of a container."""
    return planner.ContainerFacts(
        id=container.id,
        state=container.state,
        config_digest=container.config_digest,
        created_at=container.created_at,
        changed_at=container.changed_at,
        removal_due_at=container.removal_due_at,
        address=None if container.endpoint is None else container.endpoint.address,
        answers=container.answers,
    )
