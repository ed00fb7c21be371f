"""When sessions end; `pools.idle` says how these limits work together."""

from __future__ import annotations

from typing import Annotated, ClassVar

from tmpnb_py.options.declaration import Group, Reload, option
from tmpnb_py.options.kinds import NEVER


class SessionOptions(Group):
    """The limits of a session."""

    title: ClassVar[str] = "End of sessions"

    cull_timeout: Annotated[float, NEVER] = option(
        3600.0,
        "Time without activity after which a session ends (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )
    cull_disconnected: Annotated[float, NEVER] = option(
        900.0,
        "Time without activity after which a session without a connected browser ends (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )
    cull_busy: Annotated[float, NEVER] = option(
        3600.0,
        "Time that a busy kernel keeps a session alive with nobody connected (duration); 0 is no limit.",
        reload=Reload.AT_ONCE,
    )
    cull_unvisited: Annotated[float, NEVER] = option(
        300.0,
        "Time after which a session that nobody has opened ends (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )
    cull_max: Annotated[float, NEVER] = option(
        14400.0,
        "Age at which a session ends regardless of activity (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )
