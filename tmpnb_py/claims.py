"""Giving a ready container to a visitor, once and for ever: the only place where that happens.

Called by the web layer, once per visitor and concurrently; `serve_line` is called at each transition of the pool.
The choice is synchronous; then the claim is made durable in the engine, and only then anybody learns the URL. A
container whose claim could not be made durable is never handed out again (decision 2).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

import structlog

from tmpnb_py.engines.base import Engine
from tmpnb_py.errors import ClosedError, EngineDownError, EngineError, FullError
from tmpnb_py.line import RETRY_AFTER, Line, StartRate
from tmpnb_py.metrics import Metrics
from tmpnb_py.models import EndReason, State
from tmpnb_py.pool import Container, Pool
from tmpnb_py.readiness import accepts

_CLOSED = "the operator has closed the service to newcomers"

_log = structlog.get_logger(__name__)


class Claims:
    """The visitors' side of a pool."""

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        metrics: Metrics,
        *,
        line: Line,
        rate: StartRate,
        concurrency: int,
        wake_reconciler: Callable[[], None],
        is_open: Callable[[], bool] = lambda: True,
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._metrics = metrics
        self._line = line
        self._rate = rate
        self._concurrency = concurrency
        self._wake_reconciler = wake_reconciler
        self._is_open = is_open
        self._served: dict[str, asyncio.Future[Container]] = {}

    def configure(self, *, concurrency: int, max_waiting: int) -> None:
        """Change how many start at a time (for the estimates) and how many may wait from now on."""
        self._concurrency = concurrency
        self._line.capacity = max_waiting

    def waits(self, now: float) -> list[float]:
        """How many seconds each visitor in line has waited, the first first."""
        return self._line.waits(now)

    @property
    def recent_starts(self) -> tuple[tuple[float, float], ...]:
        """When the latest containers became ready, and after how many seconds."""
        return self._rate.measured

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._line)

    async def claim(self, *, wait: float = 0.0) -> Container:
        """A container of the visitor's own, waiting up to `wait` seconds in line for it.

        Raises `FullError` (or `LineFullError`) with a time to come back, `ClosedError` while the operator lets
        nobody in, `EngineDownError` where the claim cannot be made durable.
        """
        began = time.monotonic()
        outcome = "hit"
        try:
            container = await self._claim_at_once()
            if container is None:
                outcome = "waited"
                container = await self._claim_in_line(began + wait)
        except (FullError, ClosedError, EngineError):
            self._metrics.claimed("refused", time.monotonic() - began)
            raise
        seconds = time.monotonic() - began
        self._metrics.claimed(outcome, seconds)
        _log.debug(
            "claim_answered", id=container.id, pool=self._pool.name, outcome=outcome, duration=round(seconds, 4)
        )
        return container

    def serve_line(self) -> None:
        """Give what is ready to those who wait, first come, first served."""
        while len(self._line) and self._pool.count(State.READY):
            ticket = self._line.pop_first()
            container = self._pool.claim(time.monotonic())
            if ticket is None or container is None:
                return
            self._served[ticket.id].set_result(container)

    def dismiss_line(self) -> int:
        """Tell everybody who waits that the service is closed. Returns how many there were."""
        dismissed = 0
        while (ticket := self._line.pop_first()) is not None:
            self._served[ticket.id].set_exception(ClosedError(_CLOSED))
            dismissed += 1
        return dismissed

    def estimate(self, position: int) -> float | None:
        """Seconds until the visitor at `position` (1 = next) is served, from measured starts; None = unknown."""
        now = time.monotonic()
        starting = [now - one.created_at for one in self._pool.in_state(State.STARTING)]
        room = max(0, self._pool.capacity - len(self._pool))
        held_back = self._pool.failure is not None
        return self._rate.estimate(position, 0 if held_back else self._concurrency, starting, now, room=room)

    async def _claim_at_once(self) -> Container | None:
        if not self._is_open():
            raise ClosedError(_CLOSED)
        self._check_engine()
        while not len(self._line):
            container = self._pool.claim(time.monotonic())
            if container is None:
                return None
            if await self._made_durable(container):
                return container
        return None

    def _check_engine(self) -> None:
        if self._pool.engine_down:
            raise EngineDownError("the engine does not answer, so no notebook can be handed out")

    async def _claim_in_line(self, deadline: float) -> Container:
        while time.monotonic() < deadline:
            container = await self._wait_in_line(deadline)
            if container is not None and await self._made_durable(container):
                return container
        raise FullError("no notebook is ready", retry_after=self._retry_after())

    async def _wait_in_line(self, deadline: float) -> Container | None:
        ticket_id = secrets.token_hex(8)
        self._line.join(ticket_id, time.monotonic(), retry_after=self._retry_after())
        served = self._served[ticket_id] = asyncio.get_running_loop().create_future()
        self._wake_reconciler()
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                return await asyncio.shield(served)
        except TimeoutError:
            return served.result() if served.done() else None
        except asyncio.CancelledError:
            # The visitor left in the very moment of being served.
            if served.done() and served.exception() is None:
                self._pool.mark_removing(served.result(), EndReason.UNVISITED, time.monotonic())
            raise
        finally:
            self._line.leave(ticket_id)
            del self._served[ticket_id]

    async def _made_durable(self, container: Container) -> bool:
        """Whether the container lives and the engine has recorded the claim; if not, it ends here."""
        now = time.monotonic()
        try:
            alive = container.endpoint is not None and await accepts(container.endpoint)
            if alive and container.state is State.CLAIMED:
                await self._engine.mark_claimed(container.id, time.time())
                if container.state is State.CLAIMED:
                    return True
        except EngineDownError:
            self._pool.mark_removing(container, EndReason.CLAIM_FAILED, now)
            self._pool.engine_down = True
            raise
        except EngineError as error:
            _log.warning("claim_failed", id=container.id, error=str(error))
        except asyncio.CancelledError:
            self._pool.mark_removing(container, EndReason.UNVISITED, now)
            raise
        self._pool.mark_removing(container, EndReason.CLAIM_FAILED, now)
        return False

    def _retry_after(self) -> float:
        estimate = self.estimate(len(self._line) + 1)
        return RETRY_AFTER if estimate is None else max(1.0, estimate)
