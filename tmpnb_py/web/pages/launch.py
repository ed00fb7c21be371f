"""From a link to a notebook: the launch page, its form, and the waiting page.

The pages work without JavaScript; a notebook does not, and the page says so before one is claimed. `GET` never
allocates (decision 6). With JavaScript the launch page posts by itself and stays: `visit.js` opens a ticket and
follows it, and the address bar gets the waiting page's URL, so that a reload finds the place again.
"""

from __future__ import annotations

import urllib.parse

from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.document_paths import DEFAULT_DOCUMENT, document
from tmpnb_py.core.errors import AddressFullError, FullError
from tmpnb_py.core.links import SPAWN_PATTERN, WAITING_PATTERN
from tmpnb_py.pools.container import Container
from tmpnb_py.web import allocation, hosted, idempotency, messages, respond
from tmpnb_py.web.api import views
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.documents import NoNetworkError
from tmpnb_py.web.visitor import visitor_of

# Seconds that a form waits for a notebook before it leads to the waiting page.
_MOMENT = 1.0
_LONGEST_SOURCE = 200  # characters of an address that is shown


def add_routes(app: web.Application) -> None:
    """Every page of this module."""
    app.router.add_get(WAITING_PATTERN, wait)
    app.router.add_post(WAITING_PATTERN, give_up)
    app.router.add_get(SPAWN_PATTERN, launch)
    app.router.add_post(SPAWN_PATTERN, post_launch)
    app.router.add_get("/hub/user-redirect{path:(/.*)?}", hub_link)


# --- the launch page


async def launch(request: web.Request) -> web.Response:
    """The page whose form asks for a notebook: crawlers and link previews get no further, and cost nothing."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    await allocation.first_listing(context)
    try:
        wish = _wish(request)
    except NoNetworkError:
        return _without_network(request)
    if visitor.may_be_told and await allocation.is_undecided(context, visitor):
        return respond.starting_again(request)
    container, documents = visitor.offered_session, context.documents
    pool = context.site.pool_for()
    if container is None and not pool.is_open:
        return respond.closed(request)
    subject = documents.read(wish) if visitor.is_robot else await documents.find(wish, container)
    now = pool.status
    return respond.page(
        request,
        "launch.html",
        script="" if visitor.is_robot else "visit.js",
        subject=subject,
        running=container is not None,
        open=now.is_open,
        at_once=messages.at_once(now),
        busyness=messages.busyness(context, now),
        lifetime=messages.lifetime(context.limits),
        once=idempotency.issue(context),
        key=visitor.page_key,
    )


def _wish(request: web.Request) -> str:
    """The document's path with its query, from any form of link."""
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
    """The page for a link that needs the network where notebooks have none: it says so before one is claimed."""
    return respond.page(request, "no_network.html", status=409, source=_source(request), path=DEFAULT_DOCUMENT)


def _source(request: web.Request) -> str:
    """What such a link fetches from, to be shown; it can be any text, "" if the link does not say."""
    query = urllib.parse.parse_qs(request.rel_url.raw_query_string)
    wish = next(iter(query.get("urlpath", [])), "") if "repo" not in query else ""
    repos = query.get("repo") or urllib.parse.parse_qs(wish.partition("?")[2]).get("repo") or [""]
    return repos[0][:_LONGEST_SOURCE]


@web.middleware
async def deep_links(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Redirect `/lab/tree/…`, `/rstudio/` and the like to their launch page, unless there is a page of ours."""
    nowhere = isinstance(request.match_info.http_exception, web.HTTPNotFound) and request.method in ("GET", "HEAD")
    if not nowhere or request.path.split("/")[1] not in request.app[CONTEXT].documents.interfaces:
        return await handler(request)
    raise web.HTTPFound(request.app[CONTEXT].links.launch_at(request.rel_url.raw_path_qs))


async def hub_link(request: web.Request) -> web.StreamResponse:
    """Redirect links that nbgitpuller's generator makes for a JupyterHub."""
    wish = request.rel_url.raw_path_qs.removeprefix("/hub/user-redirect")
    raise web.HTTPFound(request.app[CONTEXT].links.launch_at(wish))


# --- its form


async def post_launch(request: web.Request) -> web.StreamResponse:
    """Claim a notebook for the visitor who pressed the button, and redirect to it, or to the waiting page."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    allocation.refuse_other_pages(visitor)
    allocation.refuse_robots(visitor)
    fields = await _form(request)
    wish = fields.get("path", "")
    target = allocation.target_of(context, wish)
    if visitor.may_be_told and "fresh" not in fields:
        if await allocation.is_undecided(context, visitor):
            return respond.see_other(request, context.links.launch_of(wish))
        if (session := visitor.usable_session) is not None:
            return _lead(request, session, target)
    ended = visitor.session_with_key(fields["end"]) if {"end", "fresh"} <= fields.keys() else None
    try:
        ticket = await allocation.open_ticket(context, visitor, target, fields.get("once", ""), instead_of=ended)
    except FullError as full:
        return _full(request, full, wish)
    if ticket.is_waiting:
        await ticket.changed(_MOMENT)
    if ticket.container is not None:
        allocation.announce(context, visitor, ticket)
        return _lead(request, ticket.container, ticket.target)
    response = respond.see_other(request, context.links.waiting(ticket.id, wish))
    visitor.hold(response, ticket)
    return response


def _full(request: web.Request, full: FullError, wish: str) -> web.Response:
    headers = {"Retry-After": str(max(1, round(full.retry_after)))}
    is_one_address = isinstance(full, AddressFullError)
    return respond.page(request, "full.html", status=429, headers=headers, path=wish, one_address=is_one_address)


async def _form(request: web.Request) -> dict[str, str]:
    """A form's fields. Raises `HTTPBadRequest` for what none of our pages sends, such as files (multipart)."""
    try:
        if request.content_type.startswith("multipart/"):
            raise ValueError("files are not taken")
        fields = {name: str(value) for name, value in (await request.post()).items()}
        "".join(fields.values()).encode()  # some charsets decode to lone surrogates, which are no text
    except (ValueError, LookupError) as error:
        raise web.HTTPBadRequest(text="This form can't be read.") from error
    return fields


def _lead(request: web.Request, container: Container, target: str) -> web.Response:
    response = hosted.lead(request, container, target)
    visitor_of(request).remember(response, container)
    return response


# --- the waiting page


async def wait(request: web.Request) -> web.Response:
    """A place in line, and a redirect once there is a notebook. Without JavaScript the page reloads itself.

    Only the browser that holds the place sees it; people who were sent the URL, and link previews, get the launch
    page. A visitor who got a notebook in another tab meanwhile needs no second one.
    """
    context, visitor = request.app[CONTEXT], visitor_of(request)
    wish = context.documents.openable(request.query.get("path", ""))
    if not visitor.holds(request.match_info["id"]):
        raise web.HTTPSeeOther(context.links.launch(wish))
    claims = context.site.claims_with(request.match_info["id"])
    ticket = claims.find(request.match_info["id"])
    if ticket is None or ticket.status in (Status.CLOSED, Status.LEFT):
        if not context.site.pool_for().is_open:
            return respond.closed(request)
        return respond.page(request, "lost.html", status=404, path=wish)
    subject = context.documents.read(wish)
    if ticket.status is Status.ENDED and ticket.container is not None:
        reason = ticket.container.reason
        return respond.page(request, "ended.html", status=410, reason=reason, subject=subject, has_pages=True)
    claims.renew(ticket)
    own = visitor.offered_session
    if own is not None and _came_meanwhile(own, ticket):
        claims.leave(ticket)
        return _lead(request, own, ticket.target)
    if ticket.container is not None:
        allocation.announce(context, visitor, ticket)
        return _lead(request, ticket.container, ticket.target)
    state = views.ticket_state(context, visitor, ticket)
    # A visitor who waits beside a running notebook asked for another one; the page asks again if the place is lost.
    another = idempotency.issue(context) if own is not None else ""
    return respond.page(request, "wait.html", script="visit.js", subject=subject, state=state, another=another)


def _came_meanwhile(container: Container, ticket: Ticket) -> bool:
    """Whether the visitor got this notebook in another tab while the ticket waited.

    A visitor who had one before wants another one.
    """
    return ticket.is_waiting and (container.claimed_at or 0.0) > ticket.joined_at


async def give_up(request: web.Request) -> web.StreamResponse:
    """The button on the waiting page: leave the line."""
    allocation.refuse_other_pages(visitor_of(request))
    claims = request.app[CONTEXT].site.claims_with(request.match_info["id"])
    ticket = claims.find(request.match_info["id"])
    if ticket is not None:
        claims.leave(ticket)
    return respond.see_other(request, request.app[CONTEXT].links.base)
