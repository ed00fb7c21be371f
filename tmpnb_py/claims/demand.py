"""Notebooks to start for visitors who did not wait and may come back.

Where the operator keeps none ready, a program that does not wait would find none however often it asks. So each one
that is sent away counts for a while as one that is wanted. Owned by `Claims`.
"""

from __future__ import annotations

from collections.abc import Callable

from tmpnb_py.pools.pool import Pool

_GRACE_SECONDS = 60.0  # beyond the time after which a visitor was told to come back


class Demand:
    """The visitors of one pool who are expected back."""

    def __init__(self, pool: Pool, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._clock = clock
        self._until: list[float] = []  # when each of them is expected no longer

    @property
    def expected(self) -> int:
        """How many visitors are expected back."""
        now = self._clock()
        return sum(until > now for until in self._until)

    def sent_away(self, retry_after: float) -> bool:
        """Expect a visitor who was told to come back after so many seconds. Returns whether a start is wanted."""
        if self._pool.size > 0 or self.expected >= self._pool.concurrency:
            return False
        self._until.append(self._clock() + retry_after + _GRACE_SECONDS)
        return True

    def came(self) -> None:
        """Count one visitor less: somebody has got a notebook."""
        self.prune()
        del self._until[:1]

    def prune(self) -> None:
        """Drop expired entries."""
        now = self._clock()
        self._until = [until for until in self._until if until > now]
