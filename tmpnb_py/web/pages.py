"""Pages for visitors. They work without JavaScript; `GET` never allocates (decision 6)."""

from __future__ import annotations

import urllib.parse

from aiohttp import web

from tmpnb_py.errors import FullError
from tmpnb_py.models import State
from tmpnb_py.routes import document_target
from tmpnb_py.web import api, respond
from tmpnb_py.web.audit import session_begins
from tmpnb_py.web.context import CONTEXT, Context, stats_of

_FORM_WAIT = 25.0  # seconds that a posted form waits in line before its page offers to wait on
_DEEP_LINKS = ("lab", "tree", "notebooks", "files")
_VIEWS = ("lab/tree/", "tree/", "notebooks/", "files/")


def add_routes(app: web.Application) -> None:
    """Every page of this module."""
    app.router.add_get("/", landing)
    app.router.add_get("/spawn{path:(/.*)?}", launch)
    app.router.add_post("/spawn{path:(/.*)?}", post_launch)
    for root in _DEEP_LINKS:
        app.router.add_get(f"/{root}{{path:(/.*)?}}", deep_link)
    for path in ("/info", "/info/"):
        app.router.add_get(path, info)


async def landing(request: web.Request) -> web.Response:
    """The first page: what this is, how busy it is, and the way in."""
    context = request.app[CONTEXT]
    if not context.control.is_open:
        return respond.page("closed.html")
    workshops = [(workshop, f"lab/tree/{workshop.start}") for workshop in context.catalogue.manifest.workshops]
    return respond.page("landing.html", busyness=_busyness(context), workshops=workshops)


async def launch(request: web.Request) -> web.Response:
    """The page that posts: crawlers and link previews stop here and cost nothing."""
    wish = _wish(request)
    if not request.app[CONTEXT].control.is_open:
        return respond.closed(request)
    return respond.page("launch.html", path=wish, document=_document(wish), busyness=_busyness(request.app[CONTEXT]))


async def post_launch(request: web.Request) -> web.StreamResponse:
    """Claim a notebook for the visitor who pressed the button, and lead there (303)."""
    if not _is_from_our_page(request):
        raise web.HTTPForbidden(text="This button works on this service's own pages only.")
    context = request.app[CONTEXT]
    form = await request.post()
    wish = form.get("path", "")
    try:
        target = document_target(wish if isinstance(wish, str) and wish else context.redirect_uri)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"The link's path can't be used: {error}.") from error
    try:
        container = await context.claims.claim(wait=min(_FORM_WAIT, context.max_wait))
    except FullError as full:
        headers = {"Retry-After": str(max(1, round(full.retry_after)))}
        return respond.page("full.html", status=429, headers=headers, path=wish)
    session_begins(request, container, target)
    raise web.HTTPSeeOther(api.open_url(container, target))


async def info(request: web.Request) -> web.Response:
    """tmpnb's page with the numbers of `/api/stats`, for people."""
    context = request.app[CONTEXT]
    return respond.page("info.html", stats=stats_of(context), open=context.control.is_open)


async def deep_link(request: web.Request) -> web.StreamResponse:
    """`/lab/tree/…` and its kin lead to the launch page of the same document."""
    raise web.HTTPFound("/spawn" + request.rel_url.raw_path_qs)


def _wish(request: web.Request) -> str:
    path = request.rel_url.raw_path.removeprefix("/spawn").lstrip("/")
    query = request.rel_url.raw_query_string
    wish = f"{path}?{query}" if query else path
    try:
        document_target(wish)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"The link's path can't be used: {error}.") from error
    return wish


def _document(wish: str) -> str:
    """A wish as a person would name the document; "" where it is none in particular."""
    path = urllib.parse.unquote(wish.partition("?")[0])
    return next((path.removeprefix(view) for view in _VIEWS if path.startswith(view)), "")


def _is_from_our_page(request: web.Request) -> bool:
    """A browser names a posting page's origin; one that names none must at least say that it is ours."""
    if "Origin" in request.headers:
        return not api.is_foreign(request)
    return request.headers.get("Sec-Fetch-Site") == "same-origin"


def _busyness(context: Context) -> str:
    pool = context.pool
    if pool.count(State.READY) and not context.claims.waiting:
        return "A notebook is ready for you at once."
    if pool.engine_down or pool.failure is not None:
        return "No notebook can be started at the moment. Please try again in a few minutes."
    if not pool.was_ready:
        return "The first notebooks are being started. You can wait in line."
    seconds = context.claims.estimate(context.claims.waiting + 1)
    if seconds is None:
        return "All notebooks are in use; you can wait in line."
    return f"A notebook will be ready for you in about {max(1, round(seconds))} s."
