"""Divides the containers that a site may have between its pools: a pure function of what each needs.

First come those in use, which nobody takes away. Then in this order, as far as there is room: guaranteed shares,
which stay free for their pool even while it does not need them; reserves of bookings; visitors who wait, the one who
came first in whatever pool before the others; ready containers, each pool the same part of what it wants; the rest.

So ready containers give way to visitors of another pool, and nobody starves: what becomes free goes to whoever has
waited longest, and where that visitor's container does not fit yet the room is kept for it. Whoever calls this grants
the result at once, so that no two pools count on the same room. Pure.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence

from tmpnb_py.pools.need import Need


def room_of(needs: Sequence[Need], most: int | None) -> tuple[int, list[int]]:
    """The room in all, and what a container of each pool takes of it.

    `most` is the operator's maximum, in containers. Without one the engine's memory is the room, but never less than
    the pools' own maxima, which are the operator's word too, and their ready containers.
    """
    if most is not None:
        return most, [1] * len(needs)
    asked = sum(one.weight * (one.limit if one.is_limited else one.target + one.reserve) for one in needs)
    return max(max((one.memory for one in needs), default=0), asked), [one.weight for one in needs]


def divide(needs: Sequence[Need], most: int | None) -> list[int]:
    """How many containers each pool may have now, all told.

    Never more than there is room for: a pool grows only into what is free, and what another one has to give up is
    free once it is gone.
    """
    room, weights = room_of(needs, most)
    wanted = _Division(needs, weights, room).divided()
    free = room - sum(one.existing * weight for one, weight in zip(needs, weights, strict=True))
    granted = [min(want, one.existing) for want, one in zip(wanted, needs, strict=True)]
    for number in sorted(range(len(needs)), key=lambda one: needs[one].waiting[:1] or (float("inf"),)):
        more = min(max(0, wanted[number] - needs[number].existing), max(0, free) // weights[number])
        granted[number] += more
        free -= more * weights[number]
    return granted


@dataclasses.dataclass
class _Division:
    """The state of one division: `given` to each pool so far, and the `room` that is left."""

    needs: Sequence[Need]
    weights: Sequence[int]
    room: int
    given: list[int] = dataclasses.field(default_factory=list)

    def divided(self) -> list[int]:
        """What each pool should have, if everything could be given up and started at once."""
        self.given = [one.in_use for one in self.needs]
        self.room -= sum(one.in_use * weight for one, weight in zip(self.needs, self.weights, strict=True))
        pools = range(len(self.needs))
        for number in pools:
            self._give(number, self.needs[number].guaranteed - self.given[number])
        for number in pools:
            self._give(number, self.needs[number].in_use + self.needs[number].reserve - self.given[number])
        if self._serve_waiting():
            self._fill()
            for left in range(len(self.needs), 0, -1):  # the same part for each; the last one gets the remainder
                number = len(self.needs) - left
                self._give(number, self.room // left // self.weights[number])
            self._give(0, self.room // self.weights[0])
        return self.given

    def _give(self, number: int, more: int) -> int:
        """Give a pool more, as far as it may have it and there is room. Returns how many were given."""
        fitting = max(0, self.room) // self.weights[number]
        more = max(0, min(more, self.needs[number].limit - self.given[number], fitting))
        self.given[number] += more
        self.room -= more * self.weights[number]
        return more

    def _serve_waiting(self) -> bool:
        """Give one to each visitor in line, in the order in which they came. False once there is no room."""
        lines = [[(came, number) for came in one.waiting] for number, one in enumerate(self.needs)]
        served = [one.in_use + one.reserve for one in self.needs]
        for _, number in heapq.merge(*lines):
            served[number] += 1
            has_one = self.given[number] >= served[number] or served[number] > self.needs[number].limit
            if not has_one and not self._give(number, 1):
                return False
        return True

    def _fill(self) -> None:
        """Give ready containers: to each pool the same part of what it wants.

        A ready container that there is already is not given up for another pool's to come, unless that would leave
        the pools apart by more than one: no container is started to be removed again.
        """
        wants = [self._ready_wanted(number) for number in range(len(self.needs))]
        wanted = sum(want * weight for want, weight in zip(wants, self.weights, strict=True))
        room = max(0, self.room)  # there may be more than the operator allows by now
        parts = wants if wanted <= room else [want * room // wanted for want in wants]
        kept = [
            min(want, part + 1, max(0, one.in_use + one.ready + one.moving - given))
            for want, part, one, given in zip(wants, parts, self.needs, self.given, strict=True)
        ]
        for number, have in enumerate(kept):
            kept[number] = self._give(number, have)
        for number, part in enumerate(parts):
            kept[number] += self._give(number, part - kept[number])
        for number, want in enumerate(wants):
            self._give(number, want - kept[number])

    def _ready_wanted(self, number: int) -> int:
        one = self.needs[number]
        in_all = one.in_use + one.reserve + len(one.waiting) + one.expected + one.target
        return max(0, min(in_all, one.limit) - self.given[number])
