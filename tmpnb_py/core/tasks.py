"""Background tasks, and waiting for an event or for a time.

A part of the service that starts work in the background has a `Tasks`, which names each task, keeps it alive (the
event loop holds tasks weakly), tells how it ended, and ends them all in `close`. Where one task's failure has to end
its siblings too, an `asyncio.TaskGroup` is the owner instead. There is no third way: a test holds that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

_log = structlog.get_logger(__name__)

T = TypeVar("T")
_STALL_SECONDS = 5.0

Ended = Callable[[str, BaseException | None], object]


def log_failure(name: str, error: BaseException | None) -> None:  # noqa: ARG001  (an `Ended`)
    """Log the error of a task that nobody waits for: a mistake of ours, which must not stop the service."""
    if error is not None:
        _log.error("action_failed", exc_info=error)


class Tasks:
    """The background tasks of one owner.

    `ended(name, error)` is called when a task has ended by itself, with None if it returned or was cancelled by
    somebody else. It is not called for tasks that `close` ends.
    """

    def __init__(self, ended: Ended = log_failure) -> None:
        self._ended = ended
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, name: str, work: Coroutine[Any, Any, T], *, ended: Ended | None = None) -> asyncio.Task[T]:
        """Run `work` from the loop's next turn on. `ended` replaces the owner's for this task."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        if ended is None:
            task.add_done_callback(self._done)
        else:
            task.add_done_callback(lambda done: self._done(done, ended))
        return task

    def _done(self, task: asyncio.Task[Any], ended: Ended | None = None) -> None:
        if task not in self._running:
            return  # closed
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        (ended or self._ended)(task.get_name(), error)

    async def finish(self) -> None:
        """Wait until all tasks have ended by themselves."""
        while self._running:
            await asyncio.wait(tuple(self._running))
            await asyncio.sleep(0)  # lets their owners be told

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended, with those that they start meanwhile."""
        while self._running:
            running, self._running = self._running, set()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def event_or_time(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until `event` is set, for `seconds` at most (None: without a limit). Return whether it is set.

    Not `asyncio.wait_for`: that of Python 3.11 forgets a cancellation that comes together with the event.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class Changes:
    """Wakes all who wait for the next change of something.

    Who waits takes `next` before looking at it, so that no change in between is missed.
    """

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next = asyncio.Event()

    def tell(self) -> None:
        """Wake all who wait."""
        woken, self.next = self.next, asyncio.Event()
        woken.set()


def has_stalled(due: float, now: float) -> bool:
    """Whether what was to go on at `due` goes on at `now` so much later that this process cannot have been running.

    It was stopped by a signal, swapped out, or its virtual machine was moved. What others have sent meanwhile is in
    the kernel still, so nobody is to be thought absent for that time.
    """
    return now - due > _STALL_SECONDS


async def finish_unless(stop: asyncio.Event, work: Coroutine[Any, Any, object], *, name: str) -> bool:
    """Run `work` to its end, or cancel it as soon as `stop` is set. Return whether it came to its end.

    Raises what `work` raises.
    """
    loop = asyncio.get_running_loop()
    working, stopping = loop.create_task(work, name=name), loop.create_task(stop.wait(), name=f"{name}-unless")
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, stopping):
            task.cancel()  # no-op for what is done
        await asyncio.gather(working, stopping, return_exceptions=True)
    if working.cancelled():
        return False
    working.result()
    return True
