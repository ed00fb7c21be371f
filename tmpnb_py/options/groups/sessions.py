"""When sessions end; `pools.idle` says how these limits work together."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from tmpnb_py.core.units import DAY
from tmpnb_py.options.declaration import Group, Reload, Tables, option
from tmpnb_py.options.kinds import NEVER, Kind, Quantity


class SessionOptions(Group):
    """The limits of a session."""

    title: ClassVar[str] = "End of sessions"

    cull_timeout: Annotated[float, NEVER] = option(
        3600.0,
        "Time without activity after which a session ends (duration); 0 is never.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    cull_disconnected: Annotated[float, NEVER] = option(
        900.0,
        "Time without activity after which a session without a connected browser ends (duration); 0 is never.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    cull_busy: Annotated[float, NEVER] = option(
        3600.0,
        "Time that a busy kernel keeps a session alive with nobody connected (duration); 0 is no limit.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    cull_unvisited: Annotated[float, NEVER] = option(
        300.0,
        "Time after which a session that nobody has opened ends (duration); 0 is never.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    cull_max: Annotated[float, NEVER] = option(
        14400.0,
        "Age at which a session ends regardless of activity (duration); 0 is never.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    busy_cpu: Annotated[int, Quantity(Kind.NUMBER, 1, 100, zero="never")] = option(
        80,
        "Percent of its CPU time (cpu_quota, or one CPU) that makes a session one of the busiest, which are logged "
        "and counted; 0 measures nothing.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    busy_window: Annotated[float, Quantity(Kind.DURATION, 10, DAY)] = option(
        300.0,
        "Time over which the CPU time of a session is averaged for that (duration).",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    busy_action: Literal["warn", "end"] = option(
        "warn",
        "What happens to one of the busiest: it is only logged and counted (warn), or it ends (end).",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
