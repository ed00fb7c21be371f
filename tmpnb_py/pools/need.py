"""What one pool needs of the room that all pools of a site share. Pure; `site.division` divides by it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """Numbers of containers, but for `weight` and `memory` in bytes.

    `weight`: the memory of one. `limit`: the most that the pool may have; `is_limited`: the operator says so.
    `memory`: the engine's, 0 while it is not known. `in_use`, `ready` and `moving` (starting or being removed) are
    those that there are. `guaranteed`: the pool's own share. `reserve`: ready ones that bookings hold. `waiting`:
    when each visitor in line came, in order; `expected`: visitors who were sent away and may come back. `target`: how
    many are to be ready for drop-in visitors.
    """

    weight: int
    limit: int
    is_limited: bool
    memory: int
    in_use: int
    ready: int
    moving: int
    guaranteed: int
    waiting: tuple[float, ...]
    expected: int
    target: int
    reserve: int = 0

    @property
    def existing(self) -> int:
        """How many take room now."""
        return self.in_use + self.ready + self.moving
