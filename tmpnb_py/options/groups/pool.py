"""The pool: how many containers there are, and how many people may wait for one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from tmpnb_py.core.units import DAY
from tmpnb_py.options import timetables, values
from tmpnb_py.options.declaration import Group, Reload, Tables, option
from tmpnb_py.options.kinds import NEVER, SOON, Kind, Quantity
from tmpnb_py.options.timetables import Entry

AUTO = "auto"
# For a pool that is to have nobody and nothing ready, as an update of its options.
EMPTY = {"pool_size": 0, "timetable": ()}


class PoolOptions(Group):
    """Options of a pool and of the line before it."""

    title: ClassVar[str] = "Pool"

    pool_name: Annotated[str, AfterValidator(values.read_pool_name)] = option(
        "tmpnb", "Name of the pool; two services on one engine need different names.", reload=Reload.RESTART
    )
    default_pool: Annotated[str, AfterValidator(values.read_pool_name)] | None = option(
        None,
        "Of several pools, the one that serves what names none: links without a workshop, and programs.",
        unset="the first",
        reload=Reload.AT_ONCE,
    )
    pool_size: Annotated[Literal["auto"] | int, Quantity(Kind.NUMBER, 0, 100_000, word=AUTO)] = option(
        10,
        "Number of containers to keep started and ready for the next visitors; auto follows how many come, so that "
        "few have to wait (wait_target).",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    pool_size_min: Annotated[int, Quantity(Kind.NUMBER, 0, 100_000)] = option(
        2,
        "Least number of ready containers where pool_size is auto.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    pool_size_max: Annotated[int | None, Quantity(Kind.NUMBER, 0, 100_000)] = option(
        None,
        "Largest number of ready containers where pool_size is auto.",
        unset="the maximum of containers",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    wait_target: Annotated[float, Quantity(Kind.PERCENT, 0.0001, 0.5)] = option(
        0.01,
        "Share of visitors that may have to wait where pool_size is auto (percent).",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    max_containers: Annotated[int | None, Quantity(Kind.NUMBER, 1, 1_000_000)] = option(
        None,
        "Maximum number of containers, ready and in use; never below pool_size. At the top level it is that of all "
        "pools together.",
        unset="what fits the engine's memory",
        reload=Reload.AT_ONCE,
        tables=Tables.OWN,
    )
    guaranteed_containers: Annotated[int, Quantity(Kind.NUMBER, 0, 1_000_000)] = option(
        0,
        "Number of containers, ready and in use, that this pool can have at any time; the others never take that "
        "room, even while it is empty.",
        reload=Reload.AT_ONCE,
        tables=Tables.ONLY,
    )
    workshops: Annotated[tuple[str, ...], BeforeValidator(values.read_slugs), NoDecode] = option(
        (),
        "Workshops that this pool serves where images of several pools have them (comma list of their slugs).",
        reload=Reload.AT_ONCE,
        tables=Tables.ONLY,
    )
    timetable: Annotated[tuple[Entry, ...], BeforeValidator(timetables.read_timetable), NoDecode] = option(
        (),
        "Times with a pool of another size: tables [[timetable]] in the file, JSON here and in the environment.",
        reload=Reload.AT_ONCE,
        tables=Tables.OWN,
    )
    start_concurrency: Annotated[int | None, Quantity(Kind.NUMBER, 1, 1000)] = option(
        None,
        "Number of containers that may start at the same time; "
        "as many again may have their kernels started (warm_kernels).",
        unset="number of the engine's CPUs; in a swarm, of all its nodes",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    start_timeout: Annotated[float, SOON] = option(
        60.0,
        "Time for a started container to answer (duration); after that it is removed.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    ready_max_age: Annotated[float, NEVER] = option(
        86400.0,
        "Age at which an unused ready container is replaced (duration); 0 is never.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    user_length: Annotated[int, Quantity(Kind.NUMBER, 25, 64)] = option(
        26,
        "Length of the id in each notebook's URL, which nobody must be able to guess: at least 25 characters.",
        reload=Reload.RESTART,
    )
    max_waiting: Annotated[int, Quantity(Kind.NUMBER, 0, 1_000_000)] = option(
        200,
        "Number of people who may wait in line when no container is ready.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    max_wait: Annotated[float, Quantity(Kind.DURATION, 0, 3600)] = option(
        60.0, "Longest wait that a request can ask for with ?wait= (duration).", reload=Reload.AT_ONCE
    )
    place_lease: Annotated[float, Quantity(Kind.DURATION, 5, DAY)] = option(
        120.0,
        "Time that a place in line is kept while the visitor's browser is away (duration).",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
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
        name = "pool_size_min" if info.data.get("pool_size") == AUTO else "pool_size"
        pool_size = info.data.get(name, 0)
        if max_containers is not None and max_containers < pool_size:
            raise ValueError(f"is below {name}, which is {pool_size}: raise it, or lower {name}")
        return max_containers

    @field_validator("pool_size_max")
    @classmethod
    def _not_below_least(cls, pool_size_max: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get("pool_size_min", 0)
        if pool_size_max is not None and pool_size_max < least:
            raise ValueError(f"is below pool_size_min, which is {least}: exchange them")
        return pool_size_max

    @field_validator("timetable")
    @classmethod
    def _room_for_timetable(cls, entries: tuple[Entry, ...], info: ValidationInfo) -> tuple[Entry, ...]:
        timetables.check_sizes(entries, info.data.get("max_containers"))
        return entries

    @property
    def base_size(self) -> int:
        """How many containers are to be ready in any case: `pool_size`, or the least that `auto` may choose."""
        return self.pool_size if isinstance(self.pool_size, int) else self.pool_size_min

    @property
    def largest_size(self) -> int:
        """The largest number of containers that are to be ready at any time of the timetable."""
        return max(self.base_size, *(entry.pool_size for entry in self.timetable), 0)

    @property
    def label(self) -> str:
        """The pool's name for people and in metrics: its table's, or `pool_name`.

        `pool_name` is what its files and its containers in the engine are called, `<pool_name>.<table>` for a table:
        no operator can give that name, so two services of different names never have one pool.
        """
        return self.pool_name.rpartition(".")[2]

    def starts_at_once(self, cpus: int) -> int:
        """How many containers may be starting at a time: `start_concurrency`, or one per CPU of the engine."""
        return self.start_concurrency or max(1, cpus)
