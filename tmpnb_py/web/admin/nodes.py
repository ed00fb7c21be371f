"""The operator's endpoints for the nodes of a cluster: what they are, and which take notebooks."""

from __future__ import annotations

import time

from aiohttp import web

from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.core.models import NodeStatus
from tmpnb_py.web import respond
from tmpnb_py.web.api import views
from tmpnb_py.web.api.schema import AdminNodes
from tmpnb_py.web.context import CONTEXT

_NODE = "{node:[A-Za-z0-9][A-Za-z0-9._-]*}"


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    app.router.add_get("/api/nodes", show)
    app.router.add_post(f"/api/nodes/{_NODE}/pause", pause)
    app.router.add_post(f"/api/nodes/{_NODE}/activate", activate)


async def show(request: web.Request) -> web.Response:
    """The nodes by name."""
    context = request.app[CONTEXT]
    return respond.json(AdminNodes(nodes=views.admin_nodes(context, await context.site.pool_for().nodes())))


async def pause(request: web.Request) -> web.Response:
    """Have a node take no new notebooks, and replace its ready ones elsewhere. Its sessions go on."""
    pool = request.app[CONTEXT].site.pool_for()
    try:
        found = await pool.pause_node(request.match_info["node"], time.monotonic())
    except EngineError as error:
        raise _refusal(error) from error
    return _shown(request, found)


async def activate(request: web.Request) -> web.Response:
    """Have a node take notebooks again."""
    pool = request.app[CONTEXT].site.pool_for()
    try:
        found = await pool.activate_node(request.match_info["node"])
    except EngineError as error:
        raise _refusal(error) from error
    return _shown(request, found)


def _shown(request: web.Request, node: NodeStatus) -> web.Response:
    (found,) = views.admin_nodes(request.app[CONTEXT], [node])
    return respond.json(found)


def _refusal(error: EngineError) -> web.HTTPException:
    text = f"{error.message}: {error.remedy}" if error.remedy else error.message
    if isinstance(error, EngineDownError):
        return web.HTTPServiceUnavailable(text=f"{text}.")
    return web.HTTPConflict(text=f"{text}.")
