"""A rate: so much per second, and a burst. Pure; `now` is monotonic seconds."""

from __future__ import annotations


class Allowance:
    """A bucket that fills at `rate` per second up to `burst`, and may be overdrawn by one taking."""

    __slots__ = ("_at", "_left", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._left = burst
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Take it, and return for how many seconds the taker has to wait now. A rate of 0 is no limit."""
        if not self.rate:
            return 0.0
        self._left = min(self.burst, self._left + (now - self._at) * self.rate) - amount
        self._at = now
        return max(0.0, -self._left / self.rate)
