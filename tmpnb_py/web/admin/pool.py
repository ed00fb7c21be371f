"""The operator's endpoints for the pool: its size, draining it, and closing it to newcomers.

`DELETE /api/pool` is tmpnb's; the others are ours. The pool only notes what it is told and returns at once.
"""

from __future__ import annotations

import time

import pydantic
from aiohttp import web

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.web import respond
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
    return respond.json(pool_status(request.app[CONTEXT]))


async def drain(request: web.Request) -> web.Response:
    """Replace every ready container. Sessions stay."""
    return respond.json(Drained(drained=request.app[CONTEXT].site.pool_for().drain(time.monotonic())))


async def resize(request: web.Request) -> web.Response:
    """Change how many containers are kept ready, until the service restarts."""
    context = request.app[CONTEXT]
    try:
        wish = PoolSize.model_validate_json(await request.read())
    except pydantic.ValidationError as error:
        raise web.HTTPBadRequest(text=f'Send JSON such as {{"size": 20}}: {_explain(error)}.') from error
    try:
        context.site.pool_for().resize(wish.size)
    except SettingsError as error:
        raise web.HTTPConflict(text=f"{error.message}.") from error
    return respond.json(pool_status(context))


def _explain(error: pydantic.ValidationError) -> str:
    details = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, details["loc"])) or "the body"
    return f"{place}: {details['msg']}"


async def close(request: web.Request) -> web.Response:
    """Close the service to newcomers. Sessions go on."""
    context = request.app[CONTEXT]
    context.site.pool_for().close_to_newcomers()
    return respond.json(pool_status(context))


async def open_again(request: web.Request) -> web.Response:
    """Let newcomers in again."""
    context = request.app[CONTEXT]
    context.site.pool_for().open_to_newcomers()
    return respond.json(pool_status(context))
