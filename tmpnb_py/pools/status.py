"""A snapshot of a pool, for pages, the operator's API, metrics and tests. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tmpnb_py.core.models import Failure, State
from tmpnb_py.core.warm import WarmKernel
from tmpnb_py.pools.auto import Decision
from tmpnb_py.pools.timetable import Programme


@dataclasses.dataclass(frozen=True, slots=True)
class WarmStatus:
    """A kernel that is started before visitors come: how many ready containers have it ready, and how it last failed.

    `problem` is None once it became ready again in some container.
    """

    kernel: WarmKernel
    ready: int
    problem: Failure | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool at one moment.

    `containers` counts them by state; `size` is how many are to be ready, `capacity` how many there may be in all,
    `waiting` how many visitors are in line, `reserved` how many of the ready ones are held for classes. `is_open`
    says whether newcomers are let in, `listed` whether the engine has been listed since the start, `engine_down`
    whether it did not answer when it was last asked, `was_ready` whether any container ever was ready.
    `admits_classes` says whether those are who come by the link of a class that is on.
    `base` is what the operator wants ready at any time, or what `decision` may not go below where it is "auto".
    `programme` is what the timetable says; `opens_at` (Unix seconds) is when it lets people in again, None while it
    does.
    `busy` are the ids of sessions that keep the processor busy, the busiest first, with their `CpuUse.ratio`.
    `failure` keeps containers from becoming ready now, and `refusal` keeps the ready ones from being handed out.
    """

    name: str
    containers: Mapping[State, int]
    size: int
    capacity: int
    waiting: int
    reserved: int
    is_open: bool
    listed: bool
    engine_down: bool
    was_ready: bool
    failure: Failure | None
    refusal: Failure | None
    admits_classes: bool = True
    base: int = 0
    programme: Programme = dataclasses.field(default_factory=Programme)
    opens_at: float | None = None
    decision: Decision | None = None
    busy: tuple[tuple[str, float], ...] = ()

    def count(self, state: State) -> int:
        """How many containers are in a state."""
        return self.containers[state]

    @property
    def available(self) -> int:
        """How many are ready for anybody."""
        return max(0, self.containers[State.READY] - self.reserved)

    @property
    def engine_up(self) -> bool:
        """Whether the engine is known to answer."""
        return self.listed and not self.engine_down

    @property
    def is_in_trouble(self) -> bool:
        """Whether what is ready cannot be handed out."""
        return self.engine_down or self.refusal is not None
