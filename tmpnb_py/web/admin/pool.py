"""The operator's endpoints for pools: their size, draining them, and closing them to newcomers.

`DELETE /api/pool` is tmpnb's; the others are ours. The pool only notes what it is told and returns at once.
"""

from __future__ import annotations

import time

from aiohttp import web

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.web import respond
from tmpnb_py.web.admin import bodies
from tmpnb_py.web.admin.selection import selected, the_one
from tmpnb_py.web.api.schema import Drained, PoolSize
from tmpnb_py.web.api.views import pool_status
from tmpnb_py.web.context import CONTEXT


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    for path in ("/api/pool", "/api/pool/"):
        app.router.add_get(path, show)
        app.router.add_patch(path, resize)
        app.router.add_delete(path, drain)
    app.router.add_post("/api/close", close)
    app.router.add_post("/api/open", open_again)


async def show(request: web.Request) -> web.Response:
    """The pool's state and its targets."""
    return respond.json(pool_status(selected(request)))


async def drain(request: web.Request) -> web.Response:
    """Replace every ready container. Sessions stay."""
    return respond.json(Drained(drained=sum(pool.drain(time.monotonic()) for pool in selected(request))))


async def resize(request: web.Request) -> web.Response:
    """Change how many containers are kept ready, until the service restarts."""
    pool = the_one(request)
    wish = await bodies.read(request, PoolSize, '{"size": 20}')
    most = request.app[CONTEXT].options.current.max_containers
    if most is not None and wish.size > most:
        raise web.HTTPConflict(text=f"{wish.size} is above max_containers, which is {most}.")
    try:
        pool.resize(wish.size)
    except SettingsError as error:
        raise web.HTTPConflict(text=f"{error.message}.") from error
    return respond.json(pool_status([pool]))


async def close(request: web.Request) -> web.Response:
    """Close the service to newcomers. Sessions go on, and classes that are on get in, unless `?classes=1` says so."""
    pools, classes = selected(request), request.query.get("classes", "0")
    if classes not in ("0", "1"):
        raise web.HTTPBadRequest(text="classes is 1, to close it to classes, too, or 0.")
    for pool in pools:
        pool.close_to_newcomers(to_classes=classes == "1")
    return respond.json(pool_status(pools))


async def open_again(request: web.Request) -> web.Response:
    """Let newcomers in again."""
    pools = selected(request)
    for pool in pools:
        pool.open_to_newcomers()
    return respond.json(pool_status(pools))
