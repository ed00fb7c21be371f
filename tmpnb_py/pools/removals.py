"""Removing containers in the engine, a few at once. One that hangs holds up no other.

Used by the reconciler. A removal takes a tenth of a second. One that takes longer gives its place to the next, and
one that has failed is tried again in a lane of its own, ever more rarely.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator

import structlog

from tmpnb_py.core.tasks import Tasks, log_failure
from tmpnb_py.engines.base import Engine
from tmpnb_py.pools.causes import as_engine_error
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.schedule import Schedule

_AT_ONCE = 4
_SLOW = 2.0  # seconds after which a removal hangs
_RETRY_FIRST, _RETRY_LAST = 5.0, 60.0

_log = structlog.get_logger(__name__)


class Removals:
    """Removes the containers of one pool."""

    def __init__(self, engine: Engine, records: Records, tasks: Tasks, schedule: Schedule) -> None:
        self._engine = engine
        self._records = records
        self._tasks = tasks
        self._schedule = schedule
        self._first = asyncio.Semaphore(_AT_ONCE)
        self._again = asyncio.Semaphore(_AT_ONCE)

    def begin(self, container: Container) -> None:
        """Remove a container in a task of its own."""
        container.removal_due_at = math.inf

        def ended(name: str, error: BaseException | None) -> None:
            log_failure(name, error)
            if error is not None:  # not even the failure could be noted
                self._try_again(container)

        self._tasks.start(f"remove-{container.id}", self.remove(container), ended=ended)

    async def remove(self, container: Container) -> None:
        """Remove a container and, once that is confirmed, its record. If it fails, it becomes due again later."""
        try:
            async with _place(self._again if container.failed_removals else self._first):
                await self._engine.remove(container.id)
        except Exception as error:  # noqa: BLE001  (after any error the removal must be tried again)
            self._try_again(container)
            _log.warning(
                "removal_failed", id=container.id, pool=self._records.name, error=as_engine_error(error).message
            )
            return
        self._records.forget(container, time.monotonic())

    def _try_again(self, container: Container) -> None:
        container.failed_removals += 1
        container.removal_due_at = time.monotonic() + retry_in(container.failed_removals)
        self._schedule.wake()


def retry_in(failures: int) -> float:
    """Seconds until a removal that has failed so often is tried again."""
    return float(min(_RETRY_LAST, _RETRY_FIRST * 2 ** min(failures - 1, 10)))


@contextlib.asynccontextmanager
async def _place(places: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of the places, for as long as a removal takes that does not hang."""
    await places.acquire()
    held = True

    def give_up() -> None:
        nonlocal held
        if held:
            held = False
            places.release()

    timer = asyncio.get_running_loop().call_later(_SLOW, give_up)
    try:
        yield
    finally:
        timer.cancel()
        give_up()
