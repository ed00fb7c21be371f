"""Notebooks under hosts of their own: the way there, what else is answered there, and what is said to strangers.

Under a notebook's host its own scripts run, and may ask whatever is there. So there is nothing but the notebook, the
static files that all share, what its page may know of its own session, and pages that say why a notebook does not
open. Landing page, launching and API are on the main host, to which such a host is foreign.

Under the host of the shared files there are only those. No page is there, so no script runs in its origin, which
could leave something that notebooks then get.
"""

from __future__ import annotations

import time
import urllib.parse

from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.core.host_names import FILES
from tmpnb_py.core.links import API, ENTER, ROOT, SESSIONS, STATIC, below_session, entered, opened
from tmpnb_py.core.models import State
from tmpnb_py.pools.container import Container
from tmpnb_py.web import respond, traces
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.visitor import Visitor, visitor_of
from tmpnb_py.words.tags import to_translate

_ITS_OWN = f"{API}sessions/"


def add_routes(app: web.Application) -> None:
    """Every route of this module."""
    app.router.add_get(ENTER, enter, allow_head=False)


@web.middleware
async def nothing_else(request: web.Request, handler: Handler) -> web.StreamResponse:
    """404 under a notebook's host for whatever is on the main one only, and for another notebook's session."""
    name = visitor_of(request).session_name
    if name == FILES:
        return await _file(request, handler)
    if not name or request.path == ENTER or request.path.startswith((SESSIONS, STATIC)):
        return await handler(request)
    if request.path.startswith(_ITS_OWN):
        container = request.app[CONTEXT].site.find(request.match_info.get("id", ""))
        if container is None or container.session_name == name:
            return await handler(request)
    elif request.path == ROOT and visitor_of(request).main_origin:
        return respond.see_other(request, respond.links_of(request).base)
    raise web.HTTPNotFound


async def _file(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A shared file, or an answer without any page."""
    status, kept = 404, {}
    if request.path.startswith(STATIC):
        try:
            return await handler(request)
        except web.HTTPException as error:
            status = error.status
            kept = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
    return web.Response(status=status, headers={"X-Content-Type-Options": "nosniff", **kept})


# --- the way there


def lead(request: web.Request, container: Container, target: str) -> web.Response:
    """Redirect a visitor of the main host, who may open this notebook, to a document in it."""
    visitor = visitor_of(request)
    origin = visitor.origin_of(container)
    if not origin:
        return respond.see_other(request, opened(container.path, target, container.token))
    code = request.app[CONTEXT].codes.issue(container, target, visitor.authority, time.monotonic())
    return _sent(request, entered(origin, code))


def _sent(request: web.Request, url: str) -> web.Response:
    response = respond.see_other(request, url)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


async def enter(request: web.Request) -> web.StreamResponse:
    """Let a browser in under a notebook's host: by a code, once."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    if not visitor.session_name or not visitor.may_be_told:
        raise web.HTTPNotFound
    if not context.site.listed:
        return respond.starting_again(request)
    way = context.codes.redeem(request.query.get("code", ""), visitor.session_name, time.monotonic())
    message = to_translate("This link has been used, or is too old. Open your notebook from the first page.")
    if way is None or way.container.state is not State.CLAIMED:
        return respond.problem(request, 403, "error", message)
    if way.is_earlier and context.hosts.value.is_main(way.main.encode()):
        return _sent(request, visitor.at(way.main) + way.container.path + way.target)
    if way.is_earlier:
        return respond.problem(request, 403, "error", message)
    traces.goes_on(way.container.visit)
    response = _sent(request, way.container.path + way.target)
    visitor.let_in(response, way.container, way.main)
    return response


def shows_token(request: web.Request, container: Container) -> bool:
    """Whether a request has the notebook's token, in its address or in its header; or the server demands none."""
    shown = urllib.parse.parse_qs(request.rel_url.raw_query_string).get("token", [""])[0]
    visitor = visitor_of(request)
    return not container.token or visitor.is_token_of(container, shown) or visitor.shows_token_of(container)


def wanted(request: web.Request) -> str:
    """What follows the base path in the address of a notebook's page, without the token."""
    query = [one for one in request.rel_url.raw_query_string.split("&") if one and not one.startswith("token=")]
    return below_session(request.rel_url.raw_path) + (f"?{'&'.join(query)}" if query else "")


def is_whose(visitor: Visitor, container: Container) -> bool:
    """Whether a page for the whole window is asked for by the browser that was given this notebook."""
    return visitor.may_be_told and container in visitor.sessions


def let_in(request: web.Request, container: Container) -> web.Response:
    """Under the notebook's host, somebody has shown the token: from now on their browser has the cookie instead."""
    response = _sent(request, container.path + wanted(request))
    visitor = visitor_of(request)
    visitor.let_in(response, container, visitor.main_authority)
    return response
