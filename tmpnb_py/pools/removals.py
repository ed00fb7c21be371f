"""Removing containers in the engine, a few at once. One that hangs holds up no other.

Used by the reconciler. A removal takes a tenth of a second; what takes longer leaves its place to the next one, and
what has failed is tried again in a lane of its own, ever more rarely.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tmpnb_py.engines.base import Engine

_AT_ONCE = 4
_SLOW = 2.0  # seconds after which a removal hangs
_RETRY_FIRST, _RETRY_LAST = 5.0, 60.0


class Removals:
    """The removals of one pool."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._first = asyncio.Semaphore(_AT_ONCE)
        self._again = asyncio.Semaphore(_AT_ONCE)
        self._failed: dict[str, int] = {}

    async def remove(self, container_id: str) -> None:
        """Have a container removed. Raises what the engine does; then `retry_in` says when to try again."""
        try:
            async with _place(self._again if container_id in self._failed else self._first):
                await self._engine.remove(container_id)
        except Exception:
            self._failed[container_id] = self._failed.get(container_id, 0) + 1
            raise
        self._failed.pop(container_id, None)

    def retry_in(self, container_id: str) -> float:
        """Seconds until a removal that failed is tried again."""
        return float(min(_RETRY_LAST, _RETRY_FIRST * 2 ** min(self._failed.get(container_id, 1) - 1, 10)))


@contextlib.asynccontextmanager
async def _place(places: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of the places, at most for as long as a removal takes that does not hang."""
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
