"""The pools' tables: `[pools.<name>]` in the TOML file, and variables such as `TMPNB_POOLS__R__IMAGE`.

A pool's snapshot is made as the service's is, of the top level's values with the table's laid over them, so that
every check holds for a pool as well. `sources` calls this with values that it has read. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tmpnb_py.options.declaration import ENV_PREFIX, Tables
from tmpnb_py.options.settings import OPTIONS, Settings

KEY = "pools"
_VARIABLE = f"{ENV_PREFIX}{KEY.upper()}__"
# As a pool's name, but shorter by what stands before it in the engine; `__` ends a name in a variable.
_NAME = re.compile(r"(?!.*__)[a-z0-9][a-z0-9_-]{0,30}")


def wrong_name(name: str) -> str:
    """Why a table cannot have this name; "" where it can."""
    if _NAME.fullmatch(name):
        return ""
    return f'"{name}" is no name of a pool: use 1 to 31 of a-z, 0-9, - and single _, the first a letter or a digit'


def wrong_option(name: str) -> str:
    """Why a table cannot have this option, which there is, and what to do; "" where it can."""
    if OPTIONS[name].tables is not Tables.NONE:
        return ""
    return "holds for the whole service: write it at the top level, before the first table"


def wrong_at_top(name: str, *, has_tables: bool) -> str:
    """Why this option cannot be at the top level, and what to do; "" where it can."""
    if OPTIONS[name].tables is Tables.ONLY:
        return "is of one pool among several: write it in that pool's table, [pools.<name>]"
    if has_tables and name == "timetable":
        return "is of one pool: write it below that pool's table, as [[pools.<name>.timetable]]"
    if has_tables and name == "workshops_file":
        return "lists the workshops of one pool: write it in that pool's table"
    return ""


def inherited(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a table takes from the top level. The options of the service come along: checks ask for them."""
    return {name: value for name, value in values.items() if OPTIONS[name].tables in (Tables.NONE, Tables.INHERITED)}


def pool_of(settings: Settings, name: str) -> Settings:
    """A table's snapshot under the name that its pool has in the engine (`PoolOptions.label` says why).

    The table that is called as `pool_name` says has that name: it goes on with what there was without tables.
    """
    if name == settings.pool_name:
        return settings
    return settings.model_copy(update={"pool_name": f"{settings.pool_name}.{name}"})


def is_own(pool_name: str, other: str) -> bool:
    """Whether a pool of the name `other`, as the engine has it, is one of a service with this `pool_name`."""
    return other == pool_name or (other.startswith(f"{pool_name}.") and not wrong_name(other[len(pool_name) + 1 :]))


def from_environment(environ: Mapping[str, str], known: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Each variable of a pool: the table's name, the option's, the value, and the variable.

    A table of the file is meant by its name with `_` for `-` as well, which shells do not allow in variables.
    """
    spelt = {name.replace("-", "_"): name for name in known}
    for variable in sorted(environ):
        if not is_variable(variable) or not environ[variable]:
            continue
        table, _, option = variable[len(_VARIABLE) :].lower().partition("__")
        yield (table if table in known else spelt.get(table, table)), option, environ[variable], variable


def is_variable(name: str) -> bool:
    """Whether an environment variable is one of a pool's."""
    return name.upper().startswith(_VARIABLE)


def problems_of_all(top: Settings, *, is_bounded: bool) -> Iterator[str]:
    """What is wrong with the pools taken together. `is_bounded`: the operator has set `max_containers`."""
    pools = top.tables
    if top.default_pool is not None and top.default_pool not in pools:
        there = ", ".join(pools) or "none: write [pools.<name>] tables"
        yield f"default_pool: there is no pool {top.default_pool}; there is {there}"
    claimed: dict[str, str] = {}
    for name, pool in pools.items():
        for slug in pool.workshops:
            if slug in claimed:
                yield f"workshops: {slug} is listed by the pools {claimed[slug]} and {name}: leave it to one of them"
            claimed.setdefault(slug, name)
        if pool.max_containers is not None and pool.guaranteed_containers > pool.max_containers:
            yield f"guaranteed_containers of pool {name} is above its max_containers, which is {pool.max_containers}"
    if not is_bounded or top.max_containers is None:
        return
    for name, pool in pools.items():
        for number, entry in enumerate(pool.timetable, 1):
            if entry.pool_size > top.max_containers:
                yield (
                    f"table {number} of the timetable of pool {name}: pool_size = {entry.pool_size} is above the top "
                    f"level's max_containers, which is {top.max_containers}: raise that, or lower pool_size"
                )
    for what, numbers in (
        ("pool_size", [pool.base_size for pool in pools.values()]),
        ("guaranteed_containers", [pool.guaranteed_containers for pool in pools.values()]),
    ):
        total = sum(numbers)
        if total > top.max_containers:
            yield (
                f"max_containers is {top.max_containers}, below {total}, the sum of the pools' {what}: raise it, or "
                f"lower {what} in the tables"
            )
