"""How many containers of a pool are to be ready: one pure function of everything that asks for some.

A pool's target is the larger of its base and its timetable, and on top of it what a reserve still has to hold. With
`pool_size = "auto"` the decision of `auto` takes the place of the base. The reconciler asks `Sizing` in each round,
which asks here. Moments are wall-clock seconds (Unix): timetables and bookings are written in the time of people.
"""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """What one source asks for: so many containers until `changes_at`, when it has to be asked again."""

    count: int = 0
    changes_at: float = math.inf


NOTHING = Part()


@dataclasses.dataclass(frozen=True, slots=True)
class ReadyTarget:
    """So many containers are to be ready until `changes_at`."""

    size: int
    changes_at: float = math.inf


def ready_target(
    base: Part, *, timetable: Part = NOTHING, reserve: Part = NOTHING, is_shut: bool = False
) -> ReadyTarget:
    """Combine the sources. `base` is what the operator set, or the automatic decision.

    `is_shut`: the timetable lets nobody in now, so that only what it and the reserve ask for is kept ready.
    """
    size = max(0 if is_shut else base.count, timetable.count) + reserve.count
    return ReadyTarget(size, min(base.changes_at, timetable.changes_at, reserve.changes_at))
