"""The operator's endpoints but for the pool's: who may use them, the status in full, sessions listed and ended."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.core.errors import UpgradeError
from tmpnb_py.core.host_names import is_loopback_name
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.core.proofs import is_same
from tmpnb_py.core.quota_keys import is_loopback
from tmpnb_py.pools.pool import Pool
from tmpnb_py.web import respond
from tmpnb_py.web.admin import page as admin_page
from tmpnb_py.web.admin.nodes import of_pools
from tmpnb_py.web.admin.selection import selected
from tmpnb_py.web.api import openapi, programs, views
from tmpnb_py.web.api.endpoints import DESCRIPTION_PATH
from tmpnb_py.web.api.schema import (
    AdminPredecessor,
    AdminSession,
    AdminSessions,
    AdminStatus,
    Problem,
    Start,
    Upgraded,
)
from tmpnb_py.web.context import CONTEXT, Context, Former
from tmpnb_py.web.language import words_asked
from tmpnb_py.web.visitor import presented_token

_NOT_FROM_HERE = "Without ADMIN_AUTH_TOKEN only this machine's own tools are answered, on its loopback address."
_SPEAKS_FOR_ANOTHER = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
_OPEN = frozenset(("/", DESCRIPTION_PATH, "/metrics", "/healthz"))  # scrapers and probes carry no token


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    app.router.add_get("/", admin_page.page)
    app.router.add_get(DESCRIPTION_PATH, openapi.admin)
    app.router.add_get("/metrics", programs.metrics)
    app.router.add_get("/healthz", programs.healthz)
    app.router.add_get("/readyz", programs.readyz)
    app.router.add_get("/api/status", status)
    app.router.add_post("/api/upgrade", upgrade)
    app.router.add_get("/api/sessions", sessions)
    app.router.add_get("/api/sessions/{id:[a-z0-9]+}", session)
    app.router.add_delete("/api/sessions/{id:[a-z0-9]+}", end_session)


@web.middleware
async def operator_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Demand the operator's token. If none is set, answer only tools on this machine.

    The paths that need no token contain nothing secret: the page's shell and the API's description.
    """
    context = request.app[CONTEXT]
    if not context.admin_token and not _is_peer_here(request):
        raise web.HTTPForbidden(text=_NOT_FROM_HERE)
    if request.path in _OPEN:
        return await handler(request)
    if context.admin_token:
        if not is_same(presented_token(request.headers), context.admin_token):
            message = "Send the operator's token: Authorization: token …."
            model = Problem(status="unauthorized", message=message)
            return respond.json(model, status=401, headers={"WWW-Authenticate": "token"})
    elif not _is_our_page(request):
        raise web.HTTPForbidden(text=_NOT_FROM_HERE)
    return await handler(request)


def _is_peer_here(request: web.Request) -> bool:
    """Whether a program on this machine sends the request itself, by the connection's address; no header can say so.

    A proxy on this machine forwards requests from anywhere.
    """
    peer: tuple[object, ...] = request.get_extra_info("peername") or ()
    is_here = bool(peer) and is_loopback(str(peer[0]))
    return is_here and not any(name in request.headers for name in _SPEAKS_FOR_ANOTHER)


def _is_our_page(request: web.Request) -> bool:
    """Whether a tool or the operator's own page sends the request, not a page of another origin.

    `Host` stops a web page that points a name of its own at 127.0.0.1 (DNS rebinding). Browsers name the origin of a
    page that posts (Fetch standard, "append a request Origin header"), and its relation to us in `Sec-Fetch-Site`: a
    notebook's page on another port of this host is only "same-site".
    """
    try:
        host = request.url.host or ""
    except ValueError:  # a malformed `Host`
        return False
    if not is_loopback_name(host.lower()) and not is_loopback(host):
        return False
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{request.headers.get('Host', '').lower()}":
        return False
    return request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")


async def status(request: web.Request) -> web.Response:
    """Everything about one pool, or all together, in one answer."""
    context, pools, now = request.app[CONTEXT], selected(request), time.monotonic()
    failures = sorted((one for pool in pools for one in pool.failures), key=lambda one: one.at, reverse=True)
    starts = sorted(one for pool in pools for one in pool.recent_starts)
    waits = (waited for pool in pools for waited in context.site.claims[pool.name].waits(now))
    model = AdminStatus(
        name=pools[0].name if len(pools) == 1 else context.options.current.pool_name,
        up_since=_moment(context.started_at),
        pool=views.pool_status(pools),
        stats=views.stats_of(context, pools),
        engine_up=all(pool.status.engine_up for pool in pools),
        failure=views.failure_of(pools),
        failures=tuple(map(views.described, failures)),
        starts=tuple(Start(at=_moment(at), seconds=round(took, 3)) for at, took in starts),
        waiting_seconds=tuple(round(waited, 1) for waited in sorted(waits, reverse=True)),
        sessions=_running(context, pools),
        nodes=views.admin_nodes(context, await of_pools(pools)),
        pid=os.getpid(),
        predecessors=tuple(_predecessor(one) for one in context.formers()),
        pools=tuple(views.admin_pool(context, pool) for pool in context.site.pools.values()),
        warnings=tuple(views.warnings(context)),
    )
    return respond.json(model)


def _predecessor(former: Former) -> AdminPredecessor:
    return AdminPredecessor(
        pid=former.pid,
        version=former.version,
        since=_moment(former.since),
        connections=former.connections,
        websockets=former.websockets,
    )


async def upgrade(request: web.Request) -> web.Response:
    """Start the program that is installed now in place of this process. Answers once that serves."""
    begin = request.app[CONTEXT].upgrade
    if begin is None:
        raise web.HTTPConflict(text="This service cannot start itself anew.")
    try:
        return respond.json(Upgraded(pid=await begin()))
    except UpgradeError as error:
        raise web.HTTPConflict(text=f"{error.message}. This process goes on as before; its log says more.") from error


def _running(context: Context, pools: Iterable[Pool]) -> tuple[AdminSession, ...]:
    """The sessions of some pools, the oldest first."""
    found = [one for pool in pools for one in pool.in_state(State.CLAIMED)]
    return tuple(views.admin_session(context, one) for one in sorted(found, key=lambda one: one.claimed_at or 0.0))


def _moment(at: float) -> datetime.datetime:
    found = views.moment(at)
    assert found is not None  # noqa: S101  (only "never" has none)
    return found


async def sessions(request: web.Request) -> web.Response:
    """The running sessions."""
    return respond.json(AdminSessions(sessions=_running(request.app[CONTEXT], selected(request))))


async def session(request: web.Request) -> web.Response:
    """One session."""
    return await programs.session(request)


async def end_session(request: web.Request) -> web.Response:
    """End a session for the operator."""
    context = request.app[CONTEXT]
    container = context.site.find(request.match_info["id"])
    if container is None or container.claimed_at is None:
        raise web.HTTPNotFound(text="There is no such session, or it has ended.")
    context.site.end(container, EndReason.ENDED_BY_OPERATOR, time.monotonic())
    found = views.session_of(context, words_asked(request), container.id)
    assert found is not None  # noqa: S101  (it was ended just now, so it is remembered)
    return respond.json(found)
