"""From a link to a notebook: the launch page, its form, and the waiting page.

The pages work without JavaScript; a notebook does not, and the page says so before one is claimed. `GET` never
allocates (decision 6). With JavaScript the launch page posts by itself and stays: `visit.js` opens a ticket and
follows it, and the address bar gets the waiting page's URL, so that a reload finds the place again.
"""

from __future__ import annotations

import urllib.parse

from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.bookings.model import Booking
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core import wishes
from tmpnb_py.core.document_paths import DEFAULT_DOCUMENT, document
from tmpnb_py.core.errors import AddressFullError, FullError
from tmpnb_py.core.links import SPAWN_PATTERN, WAITING_PATTERN
from tmpnb_py.pools.container import Container
from tmpnb_py.site.offers import UnknownPoolError
from tmpnb_py.web import ahead, allocation, hosted, idempotency, messages, respond, traces
from tmpnb_py.web.api import views
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.documents import NoNetworkError
from tmpnb_py.web.language import preferred, words_of
from tmpnb_py.web.visitor import visitor_of
from tmpnb_py.words.tags import to_translate

# Seconds that a form waits for a notebook before it leads to the waiting page.
_MOMENT = 1.0
_LONGEST_SOURCE = 200  # characters of an address that is shown
_LONGEST_POOL = 64


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
    await allocation.first_listing(request.app[CONTEXT])
    try:
        wish = _wish(request)
    except NoNetworkError:
        return _without_network(request)
    except UnknownPoolError:
        return _unknown_pool(request)
    return await show(request, wish)


async def show(
    request: web.Request, wish: str, booking: Booking | None = None, *, class_key: str = ""
) -> web.Response:
    """The launch page of a document; of a class, whose link ends in `class_key`."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    if visitor.may_be_told and await allocation.is_undecided(context, visitor):
        return respond.starting_again(request)
    offer, documents = context.offers.choose(wish)[0], context.documents
    container, pool = visitor.offered_session(offer.pool), offer.pool
    of_class = "" if booking is None else booking.id
    is_open, has_reserve = offer.claims.admits(of_class), offer.claims.left_of(of_class) > 0
    if container is None and not is_open:
        return respond.closed(request, pool.name)
    reader = preferred(request)
    subject = documents.read(wish, reader) if visitor.is_robot else await documents.find(wish, container, reader)
    now, texts = pool.status, words_of(request)
    return respond.page(
        request,
        "launch.html",
        script="" if visitor.is_robot else "visit.js",
        subject=subject,
        running=container is not None,
        open=is_open,
        why_closed=messages.why_closed(texts, now),
        at_once=has_reserve or messages.at_once(now),
        busyness=texts.gettext(messages.READY) if has_reserve else messages.busyness(texts, offer.claims, of_class),
        class_key=class_key,
        only_one=allocation.notebook_of_class(context, visitor, booking) is not None,
        lifetime=messages.lifetime(texts, offer.limits.value),
        once=idempotency.issue_of_page(context, traces.page_span()),
        key=visitor.page_key(pool),
        ahead=() if visitor.is_robot or container is not None else await ahead.addresses(request, subject.path),
    )


def _wish(request: web.Request) -> str:
    """The document's path with its query, from any form of link."""
    path = request.rel_url.raw_path.removeprefix("/spawn").lstrip("/")
    query, raw_query = request.rel_url.query, request.rel_url.raw_query_string
    if not path and "workshop" in query:
        return _workshop_path(request.app[CONTEXT], query["workshop"], query.get("pool", ""))
    if not path and "urlpath" in query:
        wish = wishes.joined(query["urlpath"].lstrip("/"), query.get("pool", ""))
    else:
        wish = f"{path}?{raw_query}" if raw_query else path
    try:
        request.app[CONTEXT].documents.target(wish)
    except (NoNetworkError, UnknownPoolError):
        raise
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"The link's path can't be used: {error}.") from error
    return wish


def _workshop_path(context: Context, slug: str, pool: str) -> str:
    found = context.offers.find(slug, pool)
    if found is None and not context.offers.are_known:
        raise web.HTTPServiceUnavailable(
            text=to_translate("The service has just started. Please try again in a moment.")
        )
    if found is None:
        raise web.HTTPNotFound(text=to_translate("There is no workshop of this name here."))
    return context.offers.wish_for(found.offer, document(found.workshop.start))


def _unknown_pool(request: web.Request) -> web.Response:
    """The page for a link to a pool that there is not: it says so, and shows what there is."""
    context = request.app[CONTEXT]
    name = request.query.get("pool", "")[:_LONGEST_POOL]
    offered, languages = context.offers.workshops(), preferred(request)
    pools = [
        (one.name, [found.workshop.for_reader(languages) for found in offered if found.offer is one])
        for one in context.offers
    ]
    return respond.page(request, "unknown_pool.html", status=404, name=name, pools=pools)


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
    return await post(request)


async def post(request: web.Request, booking: Booking | None = None) -> web.StreamResponse:
    """The same, for one who may be of a class."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    allocation.refuse_other_pages(visitor)
    allocation.refuse_robots(visitor)
    fields = await form(request)
    wish = fields.get("path", "")
    place = allocation.destination(context, wish)
    target, pool = place.target, place.offer.pool
    if visitor.may_be_told and "fresh" not in fields:
        if await allocation.is_undecided(context, visitor):
            return respond.see_other(request, context.links.launch_of(wish))
        if (session := visitor.usable_session(pool)) is not None:
            return _lead(request, session, target)
    ended = visitor.session_with_key(fields["end"]) if {"end", "fresh"} <= fields.keys() else None
    own = allocation.notebook_of_class(context, visitor, booking)
    if booking is not None and own not in (None, ended) and "fresh" in fields:
        return respond.see_other(request, context.links.for_class(context.site.agenda.bookings.class_key(booking)))
    try:
        ticket = await allocation.open_ticket(
            context, visitor, place, fields.get("once", ""), instead_of=ended, booking=booking
        )
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


async def form(request: web.Request) -> dict[str, str]:
    """A form's fields. Raises `HTTPBadRequest` for what none of our pages sends, such as files (multipart)."""
    try:
        if request.content_type.startswith("multipart/"):
            raise ValueError("files are not taken")
        fields = {name: str(value) for name, value in (await request.post()).items()}
        "".join(fields.values()).encode()  # some charsets decode to lone surrogates, which are no text
    except (ValueError, LookupError) as error:
        raise web.HTTPBadRequest(text=to_translate("This form can't be read.")) from error
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
        pool = context.offers.choose(wish)[0].pool
        if not pool.is_open:
            return respond.closed(request, pool.name)
        return respond.page(request, "lost.html", status=404, path=wish)
    subject = context.documents.read(wish, preferred(request))
    if ticket.status is Status.ENDED and ticket.container is not None:
        reason = ticket.container.reason
        why = "" if reason is None else messages.ENDED.get(reason, "")
        return respond.page(request, "ended.html", status=410, why=why, subject=subject, has_pages=True)
    traces.goes_on(ticket.visit)
    claims.renew(ticket)
    own = visitor.offered_session(claims.pool)
    if own is not None and _came_meanwhile(own, ticket):
        claims.leave(ticket)
        return _lead(request, own, ticket.target)
    if ticket.container is not None:
        allocation.announce(context, visitor, ticket)
        return _lead(request, ticket.container, ticket.target)
    state = views.ticket_state(context, words_of(request), visitor, ticket)
    # A visitor who waits beside a running notebook asked for another one; the page asks again if the place is lost.
    another = idempotency.issue(context) if own is not None else ""
    booking = context.site.agenda.bookings.get(ticket.booking)
    class_key = "" if booking is None else context.site.agenda.bookings.class_key(booking)  # see `forget_link`
    return respond.page(
        request,
        "wait.html",
        script="visit.js",
        subject=subject,
        state=state,
        another=another,
        class_key=class_key,
        ahead=await ahead.addresses(request, wish),
    )


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
