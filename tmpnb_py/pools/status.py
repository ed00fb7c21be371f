"""A snapshot of a pool, for pages, the operator's API, metrics and tests. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tmpnb_py.core.models import Failure, State


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool at one moment.

    `containers` counts them by state; `size` is how many are to be ready, `capacity` how many there may be in all,
    `waiting` how many visitors are in line. `is_open` says whether newcomers are let in, `listed` whether the engine
    has been listed since the start, `engine_down` whether it did not answer when it was last asked, `was_ready`
    whether any container ever was ready.
    `failure` keeps containers from becoming ready now, and `refusal` keeps the ready ones from being handed out.
    """

    name: str
    containers: Mapping[State, int]
    size: int
    capacity: int
    waiting: int
    is_open: bool
    listed: bool
    engine_down: bool
    was_ready: bool
    failure: Failure | None
    refusal: Failure | None

    def count(self, state: State) -> int:
        """How many containers are in a state."""
        return self.containers[state]

    @property
    def engine_up(self) -> bool:
        """Whether the engine is known to answer."""
        return self.listed and not self.engine_down

    @property
    def is_in_trouble(self) -> bool:
        """Whether what is ready cannot be handed out."""
        return self.engine_down or self.refusal is not None
