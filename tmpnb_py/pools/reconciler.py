"""Makes the engine's containers what the operator wants: the only place that creates and removes them.

One loop: observe, plan (pure), apply. Claims, the engine's events and a timer only wake it. Each action runs in a
task of the loop's own TaskGroup and ends in a transition of the pool, which wakes the loop again; the number of
STARTING records bounds the starts, `Removals` the removals.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import secrets
import string
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

import structlog

from tmpnb_py.core.errors import (
    EngineDownError,
    EngineError,
    FailureClass,
    ImageMissingError,
    LackError,
    PoolLockedError,
    StartFailedError,
)
from tmpnb_py.core.log_cleaning import clean_lines
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, EndReason, Exit, Failure, Observed, State
from tmpnb_py.engines.base import Engine
from tmpnb_py.jupyter.endpoint import Endpoint, is_removed
from tmpnb_py.jupyter.questions import wait_until_ready
from tmpnb_py.options.live import Change, LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools import planner
from tmpnb_py.pools.adoption import taken_up
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.removals import Removals
from tmpnb_py.pools.start_rate import StartRate

_ID_ALPHABET = string.ascii_lowercase + string.digits
_LIST_SECONDS = 30.0
_RETRY_ENGINE = 2.0
_ENGINE_DYING = 30.0  # dockerd gives containers 10 s to end, and some more to itself
_LOG_LINES = 20

_log = structlog.get_logger(__name__)


class Configuration(Protocol):
    """Where today's configuration comes from (`tmpnb_py.pools.configuration`)."""

    async def resolve(self) -> ContainerConfig: ...

    async def capacity(self) -> int: ...


class Reconciler:
    """Keeps one pool as it should be."""

    def __init__(
        self,
        engine: Engine,
        pool: Records,
        metrics: PoolMetrics,
        *,
        options: LiveOptions,
        configuration: Configuration,
        rate: StartRate,
        waiting: Callable[[], int],
        on_image_missing: Callable[[], None] | None = None,
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._metrics = metrics
        self._options = options
        pool.size = options.current.pool_size
        self._capacity_for: tuple[int, Settings] | None = None
        self._configuration = configuration
        self._rate = rate
        self._waiting = waiting
        self._on_image_missing = on_image_missing
        self._config: ContainerConfig | None = None
        self._backoff = planner.Backoff()
        self._woken = asyncio.Event()
        self._list_at = -math.inf
        self._opened = False
        self._group: asyncio.TaskGroup | None = None
        self._died: dict[str, asyncio.Event] = {}
        self._exits: dict[str, Exit] = {}  # of the last listing
        self._removal_due: dict[str, float] = {}
        self._removals = Removals(engine)
        options.subscribe(self._options_changed)

    # --- what others call

    def _options_changed(self, change: Change) -> None:
        """A size that the operator has set meanwhile stays, unless the option itself has changed."""
        if "pool_size" in change.changed:
            self._pool.size = change.settings.pool_size
        self.observe_soon()

    def wake(self) -> None:
        """Look again soon."""
        self._woken.set()

    def observe_soon(self) -> None:
        """The engine may differ from the records: list at the next round."""
        self._list_at = -math.inf
        self._woken.set()

    async def run(self) -> None:
        """Reconcile until cancelled; what is under way then is cancelled too and cleaned up by `close()`."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._watch(), name="engine-events")
            while True:
                self._woken.clear()
                wake_at = await self.reconcile_once()
                # Not wait_for: that of Python 3.11 forgets a cancellation that comes together with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, wake_at - time.monotonic())):
                        await self._woken.wait()

    async def close(self, *, remove_everything: bool, timeout_seconds: float = 30.0) -> None:
        """After `run()` has ended: remove what is half started or marked, or (on request) all that is ours.

        What cannot be removed in time is left to the next start, which finds it by its labels.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                if remove_everything:
                    await self._take_up_everything()
                now = time.monotonic()
                ours = tuple(self._pool)
                doomed = [one for one in ours if remove_everything or one.state in (State.STARTING, State.REMOVING)]
                for container in doomed:
                    self._pool.end(container, EndReason.SHUTDOWN, now)
                await asyncio.gather(*(self._remove(container) for container in doomed))
        except TimeoutError:
            _log.warning("containers_left", count=self._pool.count(State.REMOVING))

    async def is_manager(self) -> bool:
        """Whether the pool is this process's own, so that it may remove all of it."""
        try:
            await self._hold()
        except PoolLockedError as error:
            _log.error("pool_taken", pool=self._pool.name, error=error.message, hint="nothing of it is removed")
            return False
        except EngineError:  # which cannot tell: what was listed was listed by its manager
            return self._pool.listed
        return True

    async def _take_up_everything(self) -> None:
        """What no listing has shown yet: after a stop soon after the start, or from a crash's last call."""
        try:
            for observed in await self._engine.list():
                if self._pool.get(observed.id) is None:
                    self._discard(observed, EndReason.SHUTDOWN)
        except EngineError as error:
            _log.warning("containers_left", error=error.message, remedy=error.remedy)

    # --- one round

    async def reconcile_once(self) -> float:
        """Observe if due, plan, apply. Returns when to look again though nothing happened (monotonic seconds)."""
        listing = await self._observe() if time.monotonic() >= self._list_at else None
        if listing is not None:
            self._pool.engine_down = False
            self._exits = {one.id: one.exit for one in listing.containers if one.exit is not None}
        plan = planner.plan(self._situation(listing))
        for action in plan.actions:
            self._apply(action)
        if listing is not None:
            self._pool.listed = True
        return min(plan.wake_at, self._list_at)

    async def _observe(self) -> planner.Listing | None:
        self._list_at = time.monotonic() + _LIST_SECONDS
        asked_at = time.monotonic()
        try:
            await self._hold()
            containers = await self._engine.list()
            await self._learn_capacity()
        except LackError as error:
            self._lacking(error)
            return None
        except EngineError as error:
            self.engine_failed(error)
            return None
        await self._resolve()
        return planner.Listing(asked_at, containers, after_outage=self._pool.engine_down or not self._pool.listed)

    async def _hold(self) -> None:
        """Be connected, and the pool's only manager. Raises `PoolLockedError`, with which `run` ends."""
        if not self._opened:
            await self._engine.open()
            self._opened = True
        await self._engine.hold(self._options.current.image, self.observe_soon)

    async def _learn_capacity(self) -> None:
        """Ask for the capacity where size or settings have changed, also while it was last asked for."""
        size, settings = self._pool.size, self._options.current
        if self._capacity_for is not None and self._capacity_for[0] == size and self._capacity_for[1] is settings:
            return
        self._pool.capacity = await self._configuration.capacity()
        self._capacity_for = (size, settings)

    async def _resolve(self) -> None:
        try:
            self._config = await self._configuration.resolve()
        except EngineError as error:
            self._config = None
            if isinstance(error, ImageMissingError) and self._on_image_missing is not None:
                self._on_image_missing()
            if time.monotonic() >= self._backoff.retry_at:  # events and visitors make us look more often than that
                self._failed(error.failure, error.message, remedy=error.remedy)
            self._list_at = min(self._list_at, self._backoff.retry_at)
            return
        if self._pool.failure is not None and self._pool.failure.kind in (
            FailureClass.ENGINE_DOWN,
            FailureClass.IMAGE_MISSING,
            FailureClass.SHORT,
        ):
            self._pool.failure = None
            self._backoff = planner.Backoff()
        self._pool.current_digest = self._config.digest

    def _lacking(self, error: LackError) -> None:
        """The engine could not be asked for want of something of ours: that is no word on the engine."""
        if self._pool.failure is None or self._pool.failure.kind is not error.failure:
            _log.error("short_of_resources", error=error.message, remedy=error.remedy)
        self._pool.fail(Failure(error.failure, error.message, time.monotonic()))
        self._list_at = time.monotonic() + _RETRY_ENGINE

    def engine_failed(self, error: EngineError) -> None:
        """The engine does not answer. Said once, until it has been listed again."""
        if not self._pool.engine_down:
            _log.error("engine_down", error=error.message, remedy=error.remedy)
            self._pool.blame_engine(time.monotonic() - _ENGINE_DYING)
        self._pool.engine_down = True
        self._pool.fail(Failure(FailureClass.ENGINE_DOWN, error.message, time.monotonic()))
        self._list_at = time.monotonic() + _RETRY_ENGINE

    def _situation(self, listing: planner.Listing | None) -> planner.Situation:
        settings = self._options.current
        digest = None if self._config is None or self._pool.engine_down else self._config.digest
        return planner.Situation(
            now=time.monotonic(),
            targets=planner.Targets(
                digest=digest if self._pool.listed or listing is not None else None,
                pool_size=self._pool.size,
                max_containers=self._pool.capacity,
                concurrency=settings.starts_at_once,
                ready_max_age=settings.ready_max_age,
            ),
            records=[self._record(container) for container in self._pool],
            listing=listing,
            ended=self._pool.ended_ids,
            waiting=self._waiting(),
            backoff=self._backoff,
        )

    def _record(self, container: Container) -> planner.Record:
        return planner.Record(
            id=container.id,
            state=container.state,
            config_digest=container.config_digest,
            created_at=container.created_at,
            changed_at=container.changed_at,
            removal_due_at=self._removal_due.get(container.id, 0.0),
            address=None if container.endpoint is None else container.endpoint.address,
        )

    def _apply(self, action: planner.Action) -> None:
        match action:
            case planner.Start():
                self._begin_start()
            case planner.Adopt(observed):
                self._adopt(observed)
            case planner.Readdress(observed):
                self._readdress(observed)
            case planner.Discard(observed, reason):
                self._discard(observed, reason)
            case planner.End(container_id, reason):
                self._end(container_id, reason)
            case planner.Died(container_id):
                if container_id in self._died:
                    self._died[container_id].set()
            case planner.Remove(container_id):
                self._begin_removal(container_id)

    # --- starting

    def _begin_start(self) -> None:
        config = self._config
        if config is None:
            return
        container_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(self._options.current.user_length))
        token = secrets.token_hex(24) if config.use_tokens else ""
        now = time.monotonic()
        container = Container(
            container_id, config.digest, token, created_at=now, changed_at=now, base_url=config.base_url
        )
        self._died[container_id] = asyncio.Event()
        self._pool.insert(container)
        self._spawn(self._start(container, ContainerSpec(container_id, token, config)), f"start-{container_id}")

    async def _start(self, container: Container, spec: ContainerSpec) -> None:
        endpoint: Endpoint | None = None
        try:
            address = await self._engine.start(spec)
            endpoint = await wait_until_ready(
                address, spec, timeout_seconds=self._options.current.start_timeout, died=self._died[container.id]
            )
            await self._engine.mark_ready(container.id)
        except Exception as error:  # noqa: BLE001  (whatever it is, the record must not stay STARTING for ever)
            if endpoint is not None:
                endpoint.close()
            await self._start_failed(container, _as_engine_error(error))
            return
        except asyncio.CancelledError:
            if endpoint is not None:
                endpoint.close()
            raise
        finally:
            self._died.pop(container.id, None)
        now = time.monotonic()
        if not self._pool.mark_ready(container, endpoint, now):
            endpoint.close()
            return
        self._rate.started(now, now - container.created_at)
        self._backoff = self._backoff.succeeded()
        self._pool.failure = None

    async def _start_failed(self, container: Container, error: EngineError) -> None:
        lines: tuple[str, ...] = ()
        if isinstance(error, StartFailedError):
            lines = error.log_lines or await self._last_lines(container)
        if isinstance(error, EngineDownError):
            self.observe_soon()
        message = error.message + self._exit_of(container.id)
        self._failed(error.failure, message, clean_lines(lines, [container.token]), container.id)
        self._pool.end(container, EndReason.START_FAILED, time.monotonic())

    async def _last_lines(self, container: Container) -> tuple[str, ...]:
        try:
            return await self._engine.logs(container.id, lines=_LOG_LINES)
        except Exception:  # noqa: BLE001  (the log is a help, not a duty)
            return ()

    def _exit_of(self, container_id: str) -> str:
        """How it ended, to be put behind a message; "" where nobody knows."""
        ended = self._exits.get(container_id)
        if ended is None:
            return ""
        return ", out of memory" if ended.out_of_memory else f", with status {ended.status}"

    async def _ready_one_died(self, container: Container, reason: EndReason) -> None:
        """Tell the cause with the last log lines; only then may it be removed, log and all."""
        try:
            lines = clean_lines(await self._last_lines(container), [container.token])
            message = f"a ready container ended: {reason.value}{self._exit_of(container.id)}"
            self._failed(FailureClass.EXITS_AT_ONCE, message, lines, container.id)
        finally:
            self._removal_due.pop(container.id, None)
            self.wake()

    def _failed(
        self,
        kind: FailureClass,
        message: str,
        lines: tuple[str, ...] = (),
        container_id: str = "",
        remedy: str = "",
    ) -> None:
        now = time.monotonic()
        self._metrics.start_failed(kind.value)
        self._backoff = self._backoff.failed(now, random.random())  # noqa: S311  (jitter, not a secret)
        self._pool.fail(Failure(kind, message, now, lines))
        _log.error(
            "start_failed",
            id=container_id,
            pool=self._pool.name,
            cause=kind.value,
            error=message,
            remedy=remedy,
            log_lines=list(lines),
            retry_in=round(max(0.0, self._backoff.retry_at - now), 1),
        )

    # --- taking up and ending

    def _adopt(self, observed: Observed) -> None:
        container = taken_up(observed, observed.state, now=time.monotonic(), unix=time.time())
        error = self._reach(container, observed)
        if error and observed.state is State.READY:
            self._discard(observed, EndReason.CRASHED)
            return
        if error:
            hint = "it is tried again; after an hour out of reach a session ends, without its directory after minutes"
            _log.warning("session_unreachable", id=container.id, pool=self._pool.name, error=error, hint=hint)
        self._pool.insert(container)

    def _readdress(self, observed: Observed) -> None:
        """A session is somewhere else than before (somebody restarted its container), or is tried again."""
        container = self._pool.get(observed.id)
        if container is not None and not self._reach(container, observed):
            _log.info("session_reached", id=container.id, pool=self._pool.name)

    def _reach(self, container: Container, observed: Observed) -> str:
        """Dial the container at its listed address from now on. Returns why not, "" where that can be."""
        if observed.address is None:
            return "the engine lists no address"
        try:
            endpoint = Endpoint(observed.address)
        except OSError as error:
            container.is_cut_off = is_removed(observed.address)
            return str(error)
        if container.endpoint is not None:
            container.endpoint.close()
        container.endpoint, container.unreachable_since, container.is_cut_off = endpoint, None, False
        return ""

    def _discard(self, observed: Observed, reason: EndReason) -> None:
        container = taken_up(observed, State.REMOVING, now=time.monotonic(), unix=time.time())
        if self._pool.ended(observed.id) is not None:
            container.claimed_at = None  # its session has ended before
        container.reason = reason
        self._pool.insert(container)

    def _end(self, container_id: str, reason: EndReason) -> None:
        container = self._pool.get(container_id)
        if container is None:
            return
        was_ready = container.state is State.READY
        self._pool.end(container, reason, time.monotonic())
        if was_ready and reason in (EndReason.CRASHED, EndReason.OUT_OF_MEMORY):
            self._removal_due[container_id] = math.inf
            self._spawn(self._ready_one_died(container, reason), f"died-{container_id}")

    def _begin_removal(self, container_id: str) -> None:
        container = self._pool.get(container_id)
        if container is not None:
            self._removal_due[container_id] = math.inf
            self._spawn(self._remove(container), f"remove-{container_id}")

    async def _remove(self, container: Container) -> None:
        try:
            await self._removals.remove(container.id)
        except Exception as error:  # noqa: BLE001  (whatever it is, the removal must be tried again)
            message = _as_engine_error(error).message
            _log.warning("removal_failed", id=container.id, pool=self._pool.name, error=message)
            self._removal_due[container.id] = time.monotonic() + self._removals.retry_in(container.id)
            self.wake()
            return
        self._removal_due.pop(container.id, None)
        self._pool.forget(container, time.monotonic())

    # --- the loop's own tasks

    async def _watch(self) -> None:
        """Turn the engine's events into observations; reconnecting is the engine's own business."""
        async for _ in self._engine.events():
            self.observe_soon()

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        if self._group is None:
            work.close()
            return
        self._group.create_task(_guarded(work), name=name)


def _as_engine_error(error: Exception) -> EngineError:
    """The error itself, or (for a mistake of ours, which is logged with its trace) one that can be handled."""
    if isinstance(error, EngineError):
        return error
    _log.error("unexpected", exc_info=error)
    return EngineError(f"unexpected {type(error).__name__}: {error}")


async def _guarded(work: Awaitable[None]) -> None:
    """A mistake of ours in one action must not stop the service; it is logged with its trace."""
    try:
        await work
    except Exception:  # noqa: BLE001  (the boundary of a task: nobody above could do better)
        _log.exception("action_failed")
