"""Which of several pools an operator's request is about: the one that `?pool=` names, else all."""

from __future__ import annotations

from aiohttp import web

from tmpnb_py.pools.pool import Pool
from tmpnb_py.web.context import CONTEXT


def selected(request: web.Request) -> list[Pool]:
    """The pools that a request names, the default one first. Raises `HTTPNotFound` for one that there is not."""
    pools, name = request.app[CONTEXT].site.pools, request.query.get("pool", "")
    if not name:
        return list(pools.values())
    if name not in pools:
        raise web.HTTPNotFound(text=f"There is no pool {name[:64]} here. There is: {', '.join(pools)}.")
    return [pools[name]]


def the_one(request: web.Request) -> Pool:
    """The pool that a request is about, where it can be about one only. Raises `HTTPConflict`, `HTTPNotFound`."""
    found = selected(request)
    if len(found) > 1:
        names = ", ".join(pool.name for pool in found)
        raise web.HTTPConflict(text=f"There are several pools: say which one, of {names} (--pool, or ?pool=).")
    return found[0]
