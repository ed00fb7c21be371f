"""Pages to read: the first page, the one about the service, privacy, and robots.txt. `launch` opens notebooks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping

from aiohttp import web

from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.document_paths import BLANK, DEFAULT_DOCUMENT, document, document_target
from tmpnb_py.core.links import NOT_FOR_ROBOTS, ROOT, opened
from tmpnb_py.pools.container import Container
from tmpnb_py.web import allocation, messages, respond
from tmpnb_py.web.api import views
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.documents import Subject
from tmpnb_py.web.language import preferred, words_of
from tmpnb_py.web.pages import keeping
from tmpnb_py.web.visitor import Visitor, visitor_of
from tmpnb_py.words.tags import to_translate
from tmpnb_py.words.words import Words
from tmpnb_py.workshops.manifest import Workshop

_YEAR = 31_536_000


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """A workshop on the first page. `notes` is the URL of its notes, "" for none.

    `busyness`, `at_once` and `open` are those of its pool.
    """

    workshop: Workshop
    path: str
    notes: str
    busyness: str
    at_once: bool
    open: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A running notebook of the visitor's. `is_usable`: other workshops open in it."""

    url: str
    since: str
    is_usable: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A place in line of the visitor's. `document` names what it is for, "" for nothing in particular."""

    url: str
    message: str
    document: str


def add_routes(app: web.Application) -> None:
    """Every page of this module."""
    app.router.add_get("/", landing)
    base = app[CONTEXT].links.base
    if base != ROOT:
        app.router.add_get(base.removesuffix("/"), without_slash)
    for path in ("/info", "/info/"):
        app.router.add_get(path, info)
    app.router.add_get("/privacy", privacy)
    app.router.add_get("/logo", logo)
    app.router.add_get("/robots.txt", robots)


async def without_slash(request: web.Request) -> web.Response:
    """Redirect the first page's URL as people type it."""
    raise web.HTTPFound(request.app[CONTEXT].links.base)


async def landing(request: web.Request) -> web.Response:
    """The first page: the workshops, how busy the service is, and what the visitor has already."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    await allocation.first_listing(context)
    kept, offers, texts = keeping.offered(request), tuple(context.offers), words_of(request)
    states = [one.pool.status for one in offers]
    busyness = {one.name: messages.busyness(texts, one.claims) for one in offers}
    return respond.page(
        request,
        "landing.html",
        blank=BLANK if context.documents.target("") == DEFAULT_DOCUMENT else "",
        script="copy.js" if kept is None else "copy.js keeping.js",
        open=any(one.is_open for one in states),
        why_closed=messages.why_closed(texts, states[0]),
        open_blank=states[0].is_open,
        several=len(offers) > 1,
        at_once=all(messages.at_once(one) for one in states),
        busyness=_same(busyness.values()),
        cards=_cards(context, busyness, preferred(request)),
        running=_running(context, texts, visitor),
        places=_places(request, context, texts),
        place_kept=messages.exactly(texts, context.options.current.place_lease),
        lifetime=_same(messages.lifetime(texts, one.limits.value) for one in offers),
        key=visitor.page_key(),
        keeping=kept,
    )


def _same(texts: Iterable[str]) -> str:
    """What is said of all pools, "" where they differ."""
    found = set(texts)
    return found.pop() if len(found) == 1 else ""


def _cards(context: Context, busyness: Mapping[str, str], languages: str) -> list[Card]:
    return [
        Card(
            workshop=one.workshop.for_reader(languages),
            path=context.offers.wish_for(one.offer, document(one.workshop.start)),
            notes=context.links.notes(one.workshop.slug) if one.offer.notes_cache.can_show(one.workshop) else "",
            busyness=busyness[one.offer.name],
            at_once=messages.at_once(one.offer.pool.status),
            open=one.offer.pool.is_open,
        )
        for one in context.offers.workshops()
    ]


def _running(context: Context, texts: Words, visitor: Visitor) -> list[Running]:
    """The visitor's notebooks, for a page that may speak of them."""
    if not visitor.brings_sessions or not visitor.may_be_told:
        return []
    usable = visitor.usable_session()
    return [
        Running(opened(one.path, _start(context, one), one.token), _since(texts, one), is_usable=one is usable)
        for one in visitor.sessions
    ]


def _start(context: Context, container: Container) -> str:
    """What a notebook opens at if nothing else is named: what the operator chose for its pool."""
    return document_target(context.offers.of(container).options.current.redirect_uri, None)


def _places(request: web.Request, context: Context, texts: Words) -> list[Place]:
    """The visitor's places in line, for a page that may speak of them. Showing them keeps them.

    A notebook that is ready and was not announced yet counts as well.
    """
    visitor, site = visitor_of(request), context.site
    held = visitor.ticket_ids if visitor.may_be_told else []
    found = [site.claims_with(ticket_id).find(ticket_id) for ticket_id in held]
    kept = [ticket for ticket in found if ticket is not None and _is_open(ticket)]
    for ticket in kept:
        site.claims_with(ticket.id).renew(ticket)
    return [
        Place(
            context.links.waiting(one.id, wish),
            messages.standing(context, texts, one),
            _called(context.documents.read(wish, preferred(request))),
        )
        for one in kept
        for wish in (context.offers.wish_for(context.offers.of_claims(site.claims_with(one.id)), one.target),)
    ]


def _is_open(ticket: Ticket) -> bool:
    return ticket.is_waiting or ticket.status is Status.READY


def _called(subject: Subject) -> str:
    """The name of what a link opens."""
    return subject.workshop.title if subject.workshop else subject.document.rstrip("/").rpartition("/")[2]


def _since(texts: Words, container: Container) -> str:
    seconds = 0.0 if container.claimed_at is None else time.monotonic() - container.claimed_at
    return messages.how_long_ago(texts, seconds)


async def info(request: web.Request) -> web.Response:
    """The numbers of `/api/stats` as a page; tmpnb had one."""
    context = request.app[CONTEXT]
    return respond.page(
        request, "info.html", stats=views.stats_of(context), open=any(one.pool.is_open for one in context.offers)
    )


async def privacy(request: web.Request) -> web.Response:
    """The operator's privacy notice."""
    text = respond.branding_of(request).privacy
    if not text:
        raise web.HTTPNotFound(text=to_translate("There is no privacy notice here."))
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    return respond.page(request, "privacy.html", paragraphs=paragraphs)


async def logo(request: web.Request) -> web.Response:
    """The operator's logo. Opened as a page of its own it can do nothing, as an SVG may contain scripts."""
    found = respond.branding_of(request).logo
    if found is None:
        raise web.HTTPNotFound(text=to_translate("There is no picture here."))
    headers = {
        "Cache-Control": f"public, max-age={_YEAR}, immutable",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=found.data, content_type=found.content_type, headers=headers)


async def robots(request: web.Request) -> web.Response:
    """robots.txt: crawlers stay away from where notebooks are started."""
    links = request.app[CONTEXT].links
    lines = ["User-agent: *", *(f"Disallow: {links.base[:-1]}{path}" for path in NOT_FOR_ROBOTS)]
    return web.Response(text="\n".join(lines) + "\n")
