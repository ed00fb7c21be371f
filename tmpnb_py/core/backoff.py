"""When to try again what failed: ever more rarely, so that nothing that goes on failing is done in every round.

Used where something is read that notebooks do without.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_FIRST, _LAST = 5.0, 600.0


class Attempts:
    """Failures by what was tried. What has not failed is due."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[int, float]] = {}  # how often, and when to try again

    def has_failed(self, key: str) -> bool:
        """Whether this has failed, and did not go well since."""
        return key in self._failed

    def is_due(self, key: str) -> bool:
        """Whether to try this now."""
        return self._clock() >= self._failed.get(key, (0, -math.inf))[1]

    def failed(self, key: str, *, for_good: bool = False) -> float | None:
        """It failed. Returns the seconds until it is due again; None for what always will fail."""
        times = self._failed.pop(key, (0, 0.0))[0]
        delay = math.inf if for_good else min(_LAST, _FIRST * 2 ** min(times, 10))
        self._failed[key] = (times + 1, self._clock() + delay)
        return None if for_good else delay

    def succeeded(self, key: str) -> None:
        """It went well: earlier failures are forgotten."""
        self._failed.pop(key, None)
