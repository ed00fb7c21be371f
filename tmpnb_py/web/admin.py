"""The second listener, for the operator: metrics, the pool with its last failure, sessions listed and ended."""

from __future__ import annotations

import time

from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.models import EndReason, State
from tmpnb_py.web import api, respond
from tmpnb_py.web.context import (
    CONTEXT,
    admin_session,
    failure_of,
    presented_token,
    same_token,
    session_of,
    stats_of,
)
from tmpnb_py.web.schema import AdminStatus, Problem

_OPEN = frozenset(("/metrics", "/healthz"))  # nothing secret, and scrapers and probes carry no token


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    app.router.add_get("/metrics", api.metrics)
    app.router.add_get("/healthz", api.healthz)
    app.router.add_get("/readyz", api.readyz)
    app.router.add_get("/api/status", status)
    app.router.add_get("/api/sessions", sessions)
    app.router.add_get("/api/sessions/{id:[a-z0-9]+}", session)
    app.router.add_delete("/api/sessions/{id:[a-z0-9]+}", end_session)


@web.middleware
async def operator_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Demand the token; without one, accept only who speaks to this machine by name.

    The `Host` check stops a web page that points a name of its own at 127.0.0.1 (DNS rebinding), the `Origin`
    check every other page: neither can come from an operator's own tools.
    """
    context = request.app[CONTEXT]
    if request.path in _OPEN:
        return await handler(request)
    if context.admin_token:
        if not same_token(presented_token(request), context.admin_token):
            message = "Send the operator's token: Authorization: token …."
            model = Problem(status="unauthorized", message=message)
            return respond.json(model, status=401, headers={"WWW-Authenticate": "token"})
    elif "Origin" in request.headers or (request.url.host or "") not in context.admin_hosts:
        raise web.HTTPForbidden(text="Without ADMIN_AUTH_TOKEN only this machine's own tools are answered.")
    return await handler(request)


async def status(request: web.Request) -> web.Response:
    """Everything about the pool at once."""
    context = request.app[CONTEXT]
    model = AdminStatus(
        stats=stats_of(context),
        failure=failure_of(context),
        sessions=tuple(admin_session(context, one) for one in context.pool.in_state(State.CLAIMED)),
    )
    return respond.json(model)


async def sessions(request: web.Request) -> web.Response:
    """The running sessions."""
    context = request.app[CONTEXT]
    running = [admin_session(context, one) for one in context.pool.in_state(State.CLAIMED)]
    return web.json_response({"sessions": [one.model_dump(mode="json") for one in running]})


async def session(request: web.Request) -> web.Response:
    """One session."""
    return await api.session(request)


async def end_session(request: web.Request) -> web.Response:
    """End a session for the operator."""
    context = request.app[CONTEXT]
    container = context.pool.get(request.match_info["id"])
    if container is None or container.claimed_at is None:
        raise web.HTTPNotFound(text="There is no such session, or it has ended.")
    context.pool.mark_removing(container, EndReason.ENDED_BY_OPERATOR, time.monotonic())
    found = session_of(context, container.id)
    assert found is not None  # noqa: S101  (it was marked just now, so it is remembered)
    return respond.json(found)
