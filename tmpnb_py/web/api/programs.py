"""The API for programs on the public listener: spawn, stats, sessions, health and metrics."""

from __future__ import annotations

import math
import time

import pydantic
from aiohttp import web

from tmpnb_py.core.document_paths import wish_of_address
from tmpnb_py.core.links import SESSION_PATTERN, below_session
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.header_rules import PLACE
from tmpnb_py.site.metrics import CONTENT_TYPE
from tmpnb_py.site.offers import UnknownPoolError
from tmpnb_py.web import allocation, hosted, respond
from tmpnb_py.web.access import is_preflight
from tmpnb_py.web.api import openapi, views
from tmpnb_py.web.api.endpoints import DESCRIPTION_PATH
from tmpnb_py.web.api.schema import Problem, SpawnRequest
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.language import preferred, words_asked
from tmpnb_py.web.messages import ENDED, how_it_ended
from tmpnb_py.web.pages import strangers
from tmpnb_py.web.visitor import visitor_of
from tmpnb_py.words.tags import to_translate


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    for path in ("/api/spawn", "/api/spawn/"):
        app.router.add_post(path, spawn)
    for path in ("/api/stats", "/api/stats/"):
        app.router.add_get(path, stats)
    app.router.add_get("/api/sessions/{id:[a-z0-9]+}", session)
    app.router.add_delete("/api/sessions/{id:[a-z0-9]+}", end_session)
    app.router.add_post("/api/sessions/{id:[a-z0-9]+}/keep", keep_session)
    app.router.add_get(DESCRIPTION_PATH, openapi.public)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_route("*", SESSION_PATTERN, not_running)


def add_shortcuts(app: web.Application) -> None:
    """Paths that tmpnb had outside its API, and hid while an API token was set."""
    for path in ("/stats", "/stats/"):
        app.router.add_get(path, stats)


async def spawn(request: web.Request) -> web.Response:
    """Claim a notebook; `?wait=` waits in line for so many seconds."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    allocation.refuse_foreign(visitor)
    allocation.refuse_robots(visitor)
    wait = _wait(request, context)
    wish = await _destination(request)
    target, place = wish.target, request.headers.get(PLACE.decode(), "")
    claims = wish.offer.claims
    container = await claims.claim(wait=wait, quota_key=visitor.quota_key, place=place, target=target)
    if visitor.is_tokenless:
        container.admit(request.headers["Origin"])
    allocation.begin_session(context, visitor, container, target)
    return respond.json(views.spawned(context, visitor, container, target))


def _wait(request: web.Request, context: Context) -> float:
    text = request.query.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise web.HTTPBadRequest(text="wait is a number of seconds, 0 or more.")
    return min(seconds, context.options.current.max_wait)


async def _destination(request: web.Request) -> allocation.Destination:
    """What to open, in which pool. A body that is not our JSON is ignored: tmpnb's clients send all kinds."""
    try:
        wish = SpawnRequest.model_validate_json(await request.read())
    except pydantic.ValidationError:
        wish = SpawnRequest()
    context, pool = request.app[CONTEXT], wish.pool or request.query.get("pool", "")
    try:
        return allocation.resolved(context, wish.path, pool)
    except UnknownPoolError as error:
        raise web.HTTPBadRequest(text=allocation.unknown_pool(context, error)) from error
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"path: {error}.") from error


async def stats(request: web.Request) -> web.Response:
    """The pool in numbers."""
    return respond.json(views.stats_of(request.app[CONTEXT]))


async def session(request: web.Request) -> web.Response:
    """A session's state. Knowing its id is the permission to ask."""
    found = views.session_of(request.app[CONTEXT], words_asked(request), request.match_info["id"])
    if found is None:
        raise unknown(request, "There is no such session, or it was forgotten.")
    return respond.json(found)


async def end_session(request: web.Request) -> web.Response:
    """End a session for its owner, who shows its token."""
    container = _own_container(request)
    if container is None:
        return _not_the_owner()
    request.app[CONTEXT].site.end(container, EndReason.ENDED_BY_OWNER, time.monotonic())
    return await session(request)


async def keep_session(request: web.Request) -> web.Response:
    """Count as activity: the session's owner says that it is in use.

    Its maximum age still applies. A session that has ended is answered with the reason.
    """
    container = _own_container(request)
    if container is None:
        return _not_the_owner()
    now = time.monotonic()
    container.stamp_presence(now)
    container.stamp_activity(now)
    return await session(request)


def _own_container(request: web.Request) -> Container | None:
    """The container of the session, if the request shows its token (or the API's); None otherwise."""
    container = request.app[CONTEXT].site.find(request.match_info["id"])
    if container is None or container.claimed_at is None:
        raise unknown(request, "There is no such session, or it has ended.")
    visitor = visitor_of(request)
    is_owner = visitor.shows_token_of(container) or visitor.shows_api_token
    return container if is_owner and not visitor.is_refused_site else None


def unknown(request: web.Request, message: str) -> web.HTTPException:
    """404 for an unknown id; 503 until the engine's first listing, as nobody can know before (decision 2)."""
    if request.app[CONTEXT].site.listed:
        return web.HTTPNotFound(text=message)
    return web.HTTPServiceUnavailable(
        text="The service has just started and does not know its sessions yet.", headers={"Retry-After": "2"}
    )


def _not_the_owner() -> web.Response:
    model = Problem(status="unauthorized", message="Send the session's own token: Authorization: token ….")
    return respond.json(model, status=401, headers={"WWW-Authenticate": "token"})


async def metrics(request: web.Request) -> web.Response:
    """The metrics in Prometheus' text format."""
    return web.Response(body=request.app[CONTEXT].metrics.render(), headers={"Content-Type": CONTENT_TYPE})


async def healthz(_request: web.Request) -> web.Response:
    """200 as long as this process serves."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """200 from the moment the first container is ready; until then 503 with the cause's class."""
    pools = [one.pool.status for one in request.app[CONTEXT].offers]
    if any(pool.was_ready for pool in pools):
        return web.json_response({"status": "ready"})
    cause = next((pool.failure.kind.value for pool in pools if pool.failure is not None), None)
    model = Problem(status="starting", message="No notebook has been ready yet.", cause=cause, retry_after=2)
    return respond.json(model, status=503, headers={"Retry-After": "2"})


async def not_running(request: web.Request) -> web.StreamResponse:
    """Answer for `/user/<id>/…` where the proxy knows no running notebook."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    container_id = request.match_info["id"]
    if is_preflight(request):
        return web.Response(status=204)
    html = respond.wants_html(request) or visitor.is_tokenless
    if not context.site.listed:
        return respond.problem(request, 503, "starting", retry_after=2, html=html)
    container = context.site.find(container_id)
    if container is None or container.state is not State.CLAIMED:
        return await _gone(request, context, container_id, html=html)
    if visitor.session_name not in ("", container.session_name):  # under another notebook's host it is nothing
        return await _gone(request, context, "", html=html)
    answer = await _not_let_in(request, container) if container.endpoint is not None else None
    if answer is None:
        message = to_translate("The notebook cannot be reached now.")
        return respond.problem(request, 503, "starting", message, retry_after=5, html=html)
    return answer


async def _not_let_in(request: web.Request, container: Container) -> web.StreamResponse | None:
    """Answer for a notebook that runs, what the proxy did not send to it. None: it did not know the way."""
    if not request.match_info["tail"]:
        query = request.rel_url.raw_query_string
        raise web.HTTPFound(container.path + (f"?{query}" if query else ""))
    visitor = visitor_of(request)
    if visitor.has_host(container):
        return await _on_another_host(request, container)
    if strangers.is_sent_to_login(request):
        return await strangers.page(request, container)
    if visitor.is_tokenless:
        message = to_translate("This page did not start that notebook, or the service was restarted since.")
        return respond.problem(request, 403, "error", message, html=True)
    return None


async def _on_another_host(request: web.Request, container: Container) -> web.StreamResponse:
    """A notebook with a host of its own: who may see it is led there, or let in there."""
    visitor = visitor_of(request)
    if not visitor.navigates or request.method != "GET":
        message = "Send the notebook's token: Authorization: token …"
        return respond.problem(request, 403, "error", message, html=False)
    if hosted.shows_token(request, container):
        if visitor.session_name:
            return hosted.let_in(request, container)
        return hosted.lead(request, container, hosted.wanted(request))
    if not visitor.session_name and hosted.is_whose(visitor, container):
        return hosted.lead(request, container, hosted.wanted(request))
    return await strangers.page(request, container)


async def _gone(request: web.Request, context: Context, container_id: str, *, html: bool) -> web.Response:
    found = views.session_of(context, words_asked(request), container_id)
    reason = found.reason if found is not None else None
    if not html:
        return respond.json(
            Problem(status="gone", message=how_it_ended(words_asked(request), reason), reason=reason), status=410
        )
    # Raw, as the visitor's browser sent it: `target` decodes, and only once.
    wish = context.documents.openable(wish_of_address(below_session(request.rel_url.raw_path)))
    offer = context.offers.of_id(container_id)
    wish = context.offers.wish_for(offer, wish)
    return respond.page(
        request,
        "ended.html",
        status=410,
        why=ENDED.get(reason, "") if reason is not None else "",
        subject=await context.documents.find(
            wish, visitor_of(request).offered_session(offer.pool), preferred(request)
        ),
        has_pages=not context.api_token,
    )
