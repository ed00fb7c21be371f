"""First come, first served, where many ask at once for what takes the machine's processors a moment.

Served side by side, all of a crowd are done as late as the last one of them. In turn, the last one is done as early,
and the others before. Called from one event loop.
"""

from __future__ import annotations

import asyncio
import collections
import os
from collections.abc import Callable


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Turns:
    """Turns that so many have at once. Each ends after `seconds` at the latest.

    So what hangs, or waits for something else than the processors, holds the others up no longer: `at_once / seconds`
    get their turn in each second, whatever those before them do.
    """

    def __init__(self, at_once: int, seconds: float) -> None:
        self._left = at_once
        self._seconds = seconds
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    async def take(self) -> Turn:
        """Wait for a turn. Its `end` lets the next one begin."""
        loop = asyncio.get_running_loop()
        if self._left:
            self._left -= 1
        else:
            given: asyncio.Future[None] = loop.create_future()
            self._waiting.append(given)
            try:
                await given
            except asyncio.CancelledError:
                if given.cancelled():
                    self._waiting.remove(given)
                else:  # it was given just now
                    self._next()
                raise
        return Turn(self._next, self._seconds)

    def _next(self) -> None:
        """Give a turn that has ended to the first who waits."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._left += 1


class Turn:
    """Somebody's turn, from now on."""

    __slots__ = ("_over", "_timer")

    def __init__(self, over: Callable[[], None], seconds: float) -> None:
        """`over` is called once, when it ends."""
        self._over: Callable[[], None] | None = over
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def end(self) -> None:
        """Let the next one begin. No-op if it has ended."""
        over, self._over = self._over, None
        self._timer.cancel()
        if over is not None:
            over()
