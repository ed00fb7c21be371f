"""The operator's endpoints for the nodes of a cluster: what they are, and which take notebooks."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterable

from aiohttp import web

from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.core.models import NodeStatus
from tmpnb_py.pools.pool import Pool
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
    return respond.json(AdminNodes(nodes=views.admin_nodes(context, await of_pools(context.site))))


async def of_pools(pools: Iterable[Pool]) -> list[NodeStatus]:
    """The nodes as several pools see them, with the notebooks and reserved memory of all.

    A node has the image only if it has each pool's; what it lacks, or why, is told by the first pool that can.
    """
    found: dict[str, NodeStatus] = {}
    for nodes in await asyncio.gather(*(pool.nodes() for pool in pools)):
        for node in nodes:
            found[node.id] = _merged(found[node.id], node) if node.id in found else node
    return list(found.values())


def _merged(node: NodeStatus, other: NodeStatus) -> NodeStatus:
    has_image = None if None in (node.has_image, other.has_image) else bool(node.has_image and other.has_image)
    return dataclasses.replace(
        node,
        has_image=has_image,
        reserved=node.reserved + other.reserved,
        notebooks=node.notebooks | other.notebooks,
        lacks=other.lacks if node.lacks is None else node.lacks,
        trouble=node.trouble or other.trouble,
        remedy=node.remedy or other.remedy,
        pulling=node.pulling or other.pulling,
        image_error=node.image_error or other.image_error,
    )


async def pause(request: web.Request) -> web.Response:
    """Have a node take no new notebooks, and replace its ready ones elsewhere. Its sessions go on."""
    try:
        for pool in request.app[CONTEXT].site:  # each replaces its own ready ones
            await pool.pause_node(request.match_info["node"], time.monotonic())
        return await _shown(request)
    except EngineError as error:
        raise _refusal(error) from error


async def activate(request: web.Request) -> web.Response:
    """Have a node take notebooks again."""
    try:
        for pool in request.app[CONTEXT].site:
            await pool.activate_node(request.match_info["node"])
        return await _shown(request)
    except EngineError as error:
        raise _refusal(error) from error


async def _shown(request: web.Request) -> web.Response:
    """The node that the request names, as it is now. Raises `EngineError`."""
    context, name = request.app[CONTEXT], request.match_info["node"]
    for node in await of_pools(context.site):
        if name in (node.name, node.id):
            return respond.json(views.admin_nodes(context, [node])[0])
    raise EngineError(f"the node {name} has left the swarm")


def _refusal(error: EngineError) -> web.HTTPException:
    text = f"{error.message}: {error.remedy}" if error.remedy else error.message
    if isinstance(error, EngineDownError):
        return web.HTTPServiceUnavailable(text=f"{text}.")
    return web.HTTPConflict(text=f"{text}.")
