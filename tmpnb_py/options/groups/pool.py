"""The pool: how many containers there are, and how many people may wait for one."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, ValidationInfo, field_validator

from tmpnb_py.core.units import DAY
from tmpnb_py.options import values
from tmpnb_py.options.declaration import Group, Reload, option
from tmpnb_py.options.kinds import NEVER, SOON, Kind, Quantity


class PoolOptions(Group):
    """Options of a pool and of the line before it."""

    title: ClassVar[str] = "Pool"

    pool_name: Annotated[str, AfterValidator(values.read_pool_name)] = option(
        "tmpnb", "Name of the pool; two services on one engine need different names.", reload=Reload.RESTART
    )
    pool_size: Annotated[int, Quantity(Kind.NUMBER, 0, 100_000)] = option(
        10,
        "Number of containers to keep started and ready for the next visitors.",
        reload=Reload.AT_ONCE,
    )
    max_containers: Annotated[int | None, Quantity(Kind.NUMBER, 1, 1_000_000)] = option(
        None,
        "Maximum number of containers, ready and in use; never below pool_size.",
        unset="what fits the engine's memory",
        reload=Reload.AT_ONCE,
    )
    start_concurrency: Annotated[int | None, Quantity(Kind.NUMBER, 1, 1000)] = option(
        None,
        "Number of containers that may start at the same time.",
        unset="number of the engine's CPUs; in a swarm, of all its nodes",
        reload=Reload.AT_ONCE,
    )
    start_timeout: Annotated[float, SOON] = option(
        60.0,
        "Time for a started container to answer (duration); after that it is removed.",
        reload=Reload.AT_ONCE,
    )
    ready_max_age: Annotated[float, NEVER] = option(
        86400.0,
        "Age at which an unused ready container is replaced (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )
    user_length: Annotated[int, Quantity(Kind.NUMBER, 25, 64)] = option(
        26,
        "Length of the id in each notebook's URL, which nobody must be able to guess: at least 25 characters.",
        reload=Reload.RESTART,
    )
    max_waiting: Annotated[int, Quantity(Kind.NUMBER, 0, 1_000_000)] = option(
        200, "Number of people who may wait in line when no container is ready.", reload=Reload.AT_ONCE
    )
    max_wait: Annotated[float, Quantity(Kind.DURATION, 0, 3600)] = option(
        60.0, "Longest wait that a request can ask for with ?wait= (duration).", reload=Reload.AT_ONCE
    )
    place_lease: Annotated[float, Quantity(Kind.DURATION, 5, DAY)] = option(
        120.0,
        "Time that a place in line is kept while the visitor's browser is away (duration).",
        reload=Reload.AT_ONCE,
    )
    max_notebooks_per_address: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000, zero="no limit")] = option(
        0,
        "Number of notebooks, in use and waited for, per client address (for IPv6, per /64 network); 0 is no limit. "
        "A whole class may share an address.",
        reload=Reload.AT_ONCE,
    )

    @field_validator("max_containers")
    @classmethod
    def _room_for_pool(cls, max_containers: int | None, info: ValidationInfo) -> int | None:
        pool_size = info.data.get("pool_size", 0)
        if max_containers is not None and max_containers < pool_size:
            raise ValueError(f"is below pool_size, which is {pool_size}: raise it, or lower pool_size")
        return max_containers

    def starts_at_once(self, cpus: int) -> int:
        """How many containers may be starting at a time: `start_concurrency`, or one per CPU of the engine."""
        return self.start_concurrency or max(1, cpus)
