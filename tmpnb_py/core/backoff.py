"""Exponential backoff by key: what keeps failing is tried again ever more rarely.

Used for reading what notebooks can do without.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_FIRST, _LAST = 5.0, 600.0


class Attempts:
    """The failures of each key. A key without a failure is due."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[int, float]] = {}  # how often, and when to try again

    def has_failed(self, key: str) -> bool:
        """Whether the last attempt failed."""
        return key in self._failed

    @property
    def failing(self) -> frozenset[str]:
        """The keys whose last attempt failed."""
        return frozenset(self._failed)

    def is_due(self, key: str) -> bool:
        """Whether to try now."""
        return self._clock() >= self._failed.get(key, (0, -math.inf))[1]

    def failed(self, key: str, *, for_good: bool = False) -> float | None:
        """Record a failure. Return the seconds until the next attempt; None where it failed `for_good`."""
        times = self._failed.pop(key, (0, 0.0))[0]
        delay = math.inf if for_good else min(_LAST, _FIRST * 2 ** min(times, 10))
        self._failed[key] = (times + 1, self._clock() + delay)
        return None if for_good else delay

    def succeeded(self, key: str) -> None:
        """Record a success: forget earlier failures."""
        self._failed.pop(key, None)
