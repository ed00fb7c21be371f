"""The way to a notebook: the page that posts, the claim, the page on which one waits.

The pages work without JavaScript, too; a notebook does not, which is said before one is claimed.
`GET` never allocates (decision 6). With JavaScript the launch page posts by itself and stays: `visit.js` draws a
ticket and follows it, and the address becomes the waiting page's, so that a reload finds the place again.
"""

from __future__ import annotations

import urllib.parse

from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.document_paths import DEFAULT_DOCUMENT, document
from tmpnb_py.core.errors import AddressFullError, FullError
from tmpnb_py.core.links import SPAWN_PATTERN, WAITING_PATTERN, opened
from tmpnb_py.pools.container import Container
from tmpnb_py.web import admission, idempotency, messages, respond
from tmpnb_py.web.api import views
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.documents import NoNetworkError
from tmpnb_py.web.visitor import visitor_of

# What is about to be ready is waited for, rather than shown a page about waiting.
_MOMENT = 1.0
_LONGEST_SOURCE = 200  # characters of an address that is shown


def add_routes(app: web.Application) -> None:
    """Every page of this module."""
    app.router.add_get(WAITING_PATTERN, wait)
    app.router.add_post(WAITING_PATTERN, give_up)
    app.router.add_get(SPAWN_PATTERN, launch)
    app.router.add_post(SPAWN_PATTERN, post_launch)
    app.router.add_get("/hub/user-redirect{path:(/.*)?}", hub_link)


# --- the page that posts


async def launch(request: web.Request) -> web.Response:
    """The page that posts: crawlers and link previews stop here and cost nothing, also those that run scripts."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    await admission.first_listing(context)
    try:
        wish = _wish(request)
    except NoNetworkError:
        return _without_network(request)
    if visitor.may_be_told and await admission.is_undecided(context, visitor):
        return respond.starting_again(request)
    container, documents = visitor.offered_session, context.documents
    if container is None and not context.site.pool_for().is_open:
        return respond.closed(request)
    subject = documents.read(wish) if visitor.is_robot else await documents.find(wish, container)
    return respond.page(
        request,
        "launch.html",
        script="" if visitor.is_robot else "visit.js",
        subject=subject,
        running=container is not None,
        open=context.site.pool_for().is_open,
        at_once=messages.at_once(context),
        busyness=messages.busyness(context),
        lifetime=messages.lifetime(context.limits),
        once=idempotency.issue(context),
        key=visitor.page_key,
    )


def _wish(request: web.Request) -> str:
    """The document's path with its query, from whichever form of link."""
    path = request.rel_url.raw_path.removeprefix("/spawn").lstrip("/")
    query, raw_query = request.rel_url.query, request.rel_url.raw_query_string
    if not path and "workshop" in query:
        return _workshop_path(request.app[CONTEXT], query["workshop"])
    if not path and "urlpath" in query:
        wish = query["urlpath"].lstrip("/")
    else:
        wish = f"{path}?{raw_query}" if raw_query else path
    try:
        request.app[CONTEXT].documents.target(wish)
    except NoNetworkError:
        raise
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"The link's path can't be used: {error}.") from error
    return wish


def _workshop_path(context: Context, slug: str) -> str:
    found = context.catalogue.manifest.find(slug)
    if found is None and not context.catalogue.is_known:
        raise web.HTTPServiceUnavailable(text="The service has just started. Please try again in a moment.")
    if found is None:
        raise web.HTTPNotFound(text="There is no workshop of this name here.")
    return document(found.start)


def _without_network(request: web.Request) -> web.Response:
    """What is told before a notebook is taken for a link that could only fail in it."""
    return respond.page(request, "no_network.html", status=409, source=_source(request), path=DEFAULT_DOCUMENT)


def _source(request: web.Request) -> str:
    """Where such a link fetches from, for people to read; it may be anything. "" where it does not say."""
    query = urllib.parse.parse_qs(request.rel_url.raw_query_string)
    wish = next(iter(query.get("urlpath", [])), "") if "repo" not in query else ""
    repos = query.get("repo") or urllib.parse.parse_qs(wish.partition("?")[2]).get("repo") or [""]
    return repos[0][:_LONGEST_SOURCE]


@web.middleware
async def deep_links(request: web.Request, handler: Handler) -> web.StreamResponse:
    """`/lab/tree/…`, `/rstudio/` and their kin lead to their launch page; our own pages go first."""
    nowhere = isinstance(request.match_info.http_exception, web.HTTPNotFound) and request.method in ("GET", "HEAD")
    if not nowhere or request.path.split("/")[1] not in request.app[CONTEXT].documents.interfaces:
        return await handler(request)
    raise web.HTTPFound(request.app[CONTEXT].links.launch_at(request.rel_url.raw_path_qs))


async def hub_link(request: web.Request) -> web.StreamResponse:
    """nbgitpuller's links for a JupyterHub, as their generator writes them."""
    wish = request.rel_url.raw_path_qs.removeprefix("/hub/user-redirect")
    raise web.HTTPFound(request.app[CONTEXT].links.launch_at(wish))


# --- the claim


async def post_launch(request: web.Request) -> web.StreamResponse:
    """Claim a notebook for the visitor who pressed the button, and lead there (303), or to where one waits."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    admission.refuse_other_pages(visitor)
    admission.refuse_robots(visitor)
    fields = await _form(request)
    wish = fields.get("path", "")
    target = admission.target_of(context, wish)
    if visitor.may_be_told and "fresh" not in fields:
        if await admission.is_undecided(context, visitor):
            return respond.see_other(request, context.links.launch_of(wish))
        if (session := visitor.usable_session) is not None:
            return _lead(request, session, target)
    ended = visitor.session_with_key(fields["end"]) if {"end", "fresh"} <= fields.keys() else None
    try:
        ticket = await admission.open_ticket(context, visitor, target, fields.get("once", ""), instead_of=ended)
    except FullError as full:
        return _full(request, full, wish)
    if ticket.status is Status.WAITING:
        await ticket.changed(_MOMENT)
    if ticket.status is Status.READY and ticket.container is not None:
        admission.announce(context, visitor, ticket)
        return _lead(request, ticket.container, ticket.target)
    response = respond.see_other(request, context.links.waiting(ticket.id, wish))
    visitor.hold(response, ticket)
    return response


def _full(request: web.Request, full: FullError, wish: str) -> web.Response:
    headers = {"Retry-After": str(max(1, round(full.retry_after)))}
    is_one_address = isinstance(full, AddressFullError)
    return respond.page(request, "full.html", status=429, headers=headers, path=wish, one_address=is_one_address)


async def _form(request: web.Request) -> dict[str, str]:
    """A form's fields. Raises `HTTPBadRequest` for what no page of ours sends, files (multipart) among it."""
    try:
        if request.content_type.startswith("multipart/"):
            raise ValueError("files are not taken")
        fields = {name: str(value) for name, value in (await request.post()).items()}
        "".join(fields.values()).encode()  # some charsets have what is no text: lone surrogates
    except (ValueError, LookupError) as error:
        raise web.HTTPBadRequest(text="This form can't be read.") from error
    return fields


def _lead(request: web.Request, container: Container, target: str) -> web.Response:
    response = respond.see_other(request, opened(container.path, target, container.token))
    visitor_of(request).remember(response, container)
    return response


# --- the page on which one waits


async def wait(request: web.Request) -> web.Response:
    """A place in line; without JavaScript the page asks again by itself. Once it is served, it leads there.

    Whoever was sent the address, and the programs that look at links in advance, get the launch page. Who has got
    a notebook in another tab meanwhile needs no second one.
    """
    context, visitor = request.app[CONTEXT], visitor_of(request)
    wish = _openable(context, request.query.get("path", ""))
    if not visitor.holds(request.match_info["id"]):
        raise web.HTTPSeeOther(context.links.launch(wish))
    claims = context.site.claims_with(request.match_info["id"])
    ticket = claims.find(request.match_info["id"])
    if ticket is None or ticket.status is Status.LEFT:
        if not context.site.pool_for().is_open:
            return respond.closed(request)
        return respond.page(request, "lost.html", status=404, path=wish)
    subject = context.documents.read(wish)
    if ticket.has_ended and ticket.container is not None:
        reason = ticket.container.reason
        return respond.page(request, "ended.html", status=410, reason=reason, subject=subject, has_pages=True)
    own = visitor.offered_session
    if own is not None and _came_meanwhile(own, ticket):
        claims.leave(ticket)
        return _lead(request, own, ticket.target)
    if ticket.status is Status.READY and ticket.container is not None:
        admission.announce(context, visitor, ticket)
        return _lead(request, ticket.container, ticket.target)
    state = views.ticket_state(context, ticket, with_key=visitor.keeps_sessions)
    # Who has a notebook and waits has asked for another one, and has to again where the place was lost.
    another = idempotency.issue(context) if own is not None else ""
    return respond.page(request, "wait.html", script="visit.js", subject=subject, state=state, another=another)


def _openable(context: Context, wish: str) -> str:
    """A wish from an address, if it can be opened; else ""."""
    try:
        context.documents.target(wish)
    except ValueError:
        return ""
    return wish


def _came_meanwhile(container: Container, ticket: Ticket) -> bool:
    """Whether the visitor got this notebook elsewhere, in another tab, while the ticket waited.

    Not one that they had before: whoever has one and waits wants another one.
    """
    return ticket.status is Status.WAITING and (container.claimed_at or 0.0) > ticket.joined_at


async def give_up(request: web.Request) -> web.StreamResponse:
    """The button on that page: leave the line."""
    admission.refuse_other_pages(visitor_of(request))
    claims = request.app[CONTEXT].site.claims_with(request.match_info["id"])
    ticket = claims.find(request.match_info["id"])
    if ticket is not None:
        claims.leave(ticket)
    return respond.see_other(request, request.app[CONTEXT].links.base)
