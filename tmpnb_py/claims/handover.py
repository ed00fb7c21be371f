"""Claiming a ready container for a visitor, for good: chosen in the pool, then marked durably in the engine.

Used by the dispatcher only. What concerns one container (a call that hangs, a death) costs its visitor the next ready
one and nothing else; what is not the container's own fault (an engine that is down, or refuses every claim) costs no
container. A container that another manager of the same pool has given away is left to it (decision 2).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from tmpnb_py.core.errors import (
    LACK_REMEDY,
    ContainerHangsError,
    EngineDownError,
    EngineError,
    LackError,
    NoSuchContainerError,
)
from tmpnb_py.core.models import EndReason, Failure, State
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.core.turns import Turns, processors
from tmpnb_py.engines.base import Engine
from tmpnb_py.jupyter.questions import accepts
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool
from tmpnb_py.tracing.spans import within

# A claim takes some milliseconds. One that takes longer may hang, or the engine's disk is busy: both are waited for.
_PATIENCE = 0.5
_AT_ONCE = 3  # containers that are tried for one visitor
_REFUSALS = 2  # of different containers: more would not say more
_TURNS_FOR_EACH_PROCESSOR = 4  # a claim also waits for the engine's disk
_TURN_SECONDS = 0.05
_REFUSAL_SECONDS = 10.0  # for which a refusal counts, unless a claim is refused again

_log = structlog.get_logger(__name__)

Task = asyncio.Task[bool]


class Handover:
    """Makes claims durable. `clock` gives monotonic seconds."""

    def __init__(self, engine: Engine, pool: Pool, clock: Callable[[], float], *, turns: Turns | None = None) -> None:
        """`turns` are those in which claims begin, first come, first served."""
        self._engine = engine
        self._pool = pool
        self._clock = clock
        self._tasks = Tasks(_log_mistake)
        self._turns = turns or Turns(_TURNS_FOR_EACH_PROCESSOR * processors(), _TURN_SECONDS)

    async def take(
        self, first: Container, may_take: Callable[[], bool], choose: Callable[[], Container | None]
    ) -> Container | None:
        """Make the claim of `first`, which the pool has chosen, durable, or that of one of the next ready ones.

        `may_take` says whether there is another one for this visitor, and `choose` claims it in the pool. Returns the
        visitor's container, or None where none proved good. Raises `EngineDownError`, and the engine's `EngineError`
        where it refuses claims (the containers that it refused are ready again).
        """
        attempt = _Attempt(self._pool, self._clock)
        turn = None
        try:
            attempt.chosen = first
            # As a task, so that `settle` waits for it, too.
            turn = await self._tasks.start(f"turn-{first.id}", self._turns.take())
            attempt.begin(first, self._start(first))
            while attempt.pending:
                if (container := await attempt.wait()) is not None:
                    attempt.succeeded()
                    return container
                if attempt.may_go_on and may_take():
                    another = choose()
                    if another is not None:
                        attempt.begin(another, self._start(another))
            attempt.failed()
            return None
        finally:
            attempt.leave()
            if turn is not None:
                turn.end()

    def expire_refusal(self, now: float) -> None:
        """Forget that claims were refused, some seconds after the last one was tried."""
        if self._pool.refusal is not None and now - self._pool.refusal.at > _REFUSAL_SECONDS:
            self._pool.forget_refusal()

    async def settle(self) -> None:
        """Wait until the claims under way have ended."""
        await self._tasks.finish()

    async def close(self) -> None:
        """Cancel the claims under way; their containers end."""
        await self._tasks.close()

    def _start(self, container: Container) -> Task:
        return self._tasks.start(f"claim-{container.id}", self._make_durable(container))

    async def _make_durable(self, container: Container) -> bool:
        """Whether the claim is in the engine. After a refusal, which is raised, the container is as it was.

        In all other cases in which it is not the visitor's it has ended.
        """
        named = {"tmpnb.session.id": container.id, "tmpnb.pool": self._pool.name}
        try:
            with within("hand over", attributes=named, links=[container.start_span.context]):
                alive = container.endpoint is not None and await accepts(container.endpoint)
                if alive and container.state is State.CLAIMED:
                    return await self._claim(container)
        except EngineDownError as error:
            self._end(container, EndReason.CLAIM_FAILED)
            self._pool.engine_failed(error)
            raise
        except (NoSuchContainerError, ContainerHangsError) as error:
            _log.warning("claim_failed", id=container.id, error=error.message)
        except asyncio.CancelledError:
            self._end(container, EndReason.UNVISITED)
            raise
        self._end(container, EndReason.CLAIM_FAILED)
        return False

    async def _claim(self, container: Container) -> bool:
        if await self._engine.claim(container.id, time.time()):
            return container.state is State.CLAIMED  # it may have ended meanwhile
        _log.error("claimed_by_another", id=container.id, hint="two services manage this pool: stop one of them")
        self._pool.disown(container)
        self._pool.observe_soon()
        return False

    def _end(self, container: Container, reason: EndReason) -> None:
        self._pool.end(container, reason, self._clock())


class _Attempt:
    """The containers that are tried for one visitor."""

    def __init__(self, pool: Pool, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._clock = clock
        self.chosen: Container | None = None  # whose claim has not begun
        self.pending: dict[Task, Container] = {}
        self._refused: list[Container] = []
        self._refusal: EngineError | None = None

    def begin(self, container: Container, task: Task) -> None:
        """Try this container, too."""
        self.chosen = None
        self.pending[task] = container

    @property
    def may_go_on(self) -> bool:
        """Whether one more container is worth trying."""
        return len(self.pending) < _AT_ONCE and len(self._refused) < _REFUSALS

    async def wait(self) -> Container | None:
        """The container whose claim is durable; None where none is yet. Raises `EngineDownError`, `LackError`."""
        done, _ = await asyncio.wait(self.pending, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            container = self.pending.pop(task)
            try:
                if task.result():
                    return container
            except EngineDownError:
                raise
            except LackError:  # which says nothing of any container
                _log.warning("claim_given_back", id=container.id, hint=LACK_REMEDY)
                self._pool.give_back(container, self._clock())
                raise
            except EngineError as error:
                self._refusal = error
                self._refused.append(container)
            except Exception:  # a mistake of ours, after which nobody knows whether the claim was made
                self._pool.end(container, EndReason.CLAIM_FAILED, self._clock())
                raise
        return None

    def succeeded(self) -> None:
        """Another container's claim went well, so each refusal was its container's own fault."""
        for container in self._refused:
            _log.warning("claim_failed", id=container.id, error=str(self._refusal))
            self._pool.end(container, EndReason.CLAIM_FAILED, self._clock())
        self._refused.clear()
        self._pool.forget_refusal()

    def failed(self) -> None:
        """No claim went well. Raises what the engine said, if it refused one."""
        if self._refusal is None:
            return
        if self._pool.refusal is None:
            _log.error("claims_refused", error=self._refusal.message, remedy=self._refusal.remedy)
        self._pool.refuse(Failure(self._refusal.failure, self._refusal.message, self._clock()))
        raise self._refusal

    def leave(self) -> None:
        """Give back what was refused or not begun, and what is still under way once that is done."""
        if self.chosen is not None:
            self._pool.give_back(self.chosen, self._clock())
        for container in self._refused:
            self._pool.give_back(container, self._clock())
        for task, container in self.pending.items():
            task.add_done_callback(lambda done, container=container: self._late(done, container))  # type: ignore[misc]

    def _late(self, task: Task, container: Container) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None and task.result():
            self._pool.end(container, EndReason.UNVISITED, self._clock())
        elif isinstance(error, EngineError) and not isinstance(error, EngineDownError):
            self._pool.give_back(container, self._clock())


def _log_mistake(_name: str, error: BaseException | None) -> None:
    if error is not None and not isinstance(error, EngineError):  # which the visitor is told
        _log.error("claim_broke", exc_info=error)
