"""The pages that one reads: the first one, about the service, privacy. The way to a notebook is in `launch`."""

from __future__ import annotations

import dataclasses
import time

from aiohttp import web

from tmpnb_py.core.links import BLANK, ROOT, document, opened
from tmpnb_py.core.routes import DEFAULT_DOCUMENT
from tmpnb_py.pools.pool import Container
from tmpnb_py.web import messages, respond, visits
from tmpnb_py.web.api import tickets
from tmpnb_py.web.context import CONTEXT, Context, stats_of
from tmpnb_py.web.pages import documents, keeping
from tmpnb_py.workshops.manifest import Workshop

_NOT_FOR_ROBOTS = ("spawn", "user/", "api/", "build/", "v2/", "hub/")
_YEAR = 31_536_000


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """A workshop on the first page. `notes` is where it can be read, "" where it cannot."""

    workshop: Workshop
    path: str
    notes: str


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A notebook of the visitor's: where it is, since when, and whether other workshops open in it."""

    url: str
    since: str
    is_usable: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A place in line of the visitor's: where one waits, how it goes, and what it is for, "" for nothing special."""

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
    """The first page's address as people type it."""
    raise web.HTTPFound(request.app[CONTEXT].links.base)


async def landing(request: web.Request) -> web.Response:
    """The first page: what there is, how busy it is, and the way in."""
    context = request.app[CONTEXT]
    await visits.first_listing(context)
    kept = keeping.offered(request)
    return respond.page(
        request,
        "landing.html",
        blank=BLANK if context.target("") == DEFAULT_DOCUMENT else "",
        script="copy.js" if kept is None else "copy.js keeping.js",
        open=context.operations.is_open,
        at_once=messages.at_once(context),
        busyness=messages.busyness(context),
        cards=_cards(request, context),
        running=_running(request, context),
        places=_places(request, context),
        place_kept=messages.exactly(context.claims.lease),
        lifetime=messages.lifetime(context.limits),
        key=visits.key(request),
        keeping=kept,
        mint=lambda: tickets.mint(context),
    )


def _cards(request: web.Request, context: Context) -> list[Card]:
    has_notes = any(one.canonical.startswith("/workshops/") for one in request.app.router.resources())
    return [
        Card(
            workshop=one,
            path=document(one.start),
            notes=context.links.notes(one.slug) if has_notes and context.notes_cache.can_show(one) else "",
        )
        for one in context.catalogue.manifest.workshops
    ]


def _running(request: web.Request, context: Context) -> list[Running]:
    """The visitor's notebooks."""
    if not visits.may_be_told(request):
        return []
    target, usable = context.target(""), visits.usable(request)
    return [
        Running(opened(one.path, target, one.token), _since(one), is_usable=one is usable)
        for one in visits.sessions(request)
    ]


def _places(request: web.Request, context: Context) -> list[Place]:
    """The visitor's places in line."""
    return [
        Place(
            context.links.waiting(one.id, one.target),
            messages.standing(context, one),
            _called(documents.subject(context, one.target)),
        )
        for one in visits.places(request)
    ]


def _called(subject: documents.Subject) -> str:
    """What a link opens, as people call it."""
    return subject.workshop.title if subject.workshop else subject.document.rstrip("/").rpartition("/")[2]


def _since(container: Container) -> str:
    seconds = 0.0 if container.claimed_at is None else time.monotonic() - container.claimed_at
    return "just now" if seconds < 60 else f"{messages.about(seconds)} ago"


async def info(request: web.Request) -> web.Response:
    """tmpnb's page with the numbers of `/api/stats`, for people."""
    context = request.app[CONTEXT]
    return respond.page(request, "info.html", stats=stats_of(context), open=context.operations.is_open)


async def privacy(request: web.Request) -> web.Response:
    """The operator's own words."""
    text = respond.look_of(request).privacy
    if not text:
        raise web.HTTPNotFound(text="There is no privacy notice here.")
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    return respond.page(request, "privacy.html", paragraphs=paragraphs)


async def logo(request: web.Request) -> web.Response:
    """The operator's picture. A page that is opened on it by itself may do nothing (an SVG can hold scripts)."""
    found = respond.look_of(request).logo
    if found is None:
        raise web.HTTPNotFound(text="There is no picture here.")
    headers = {
        "Cache-Control": f"public, max-age={_YEAR}, immutable",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=found.data, content_type=found.content_type, headers=headers)


async def robots(request: web.Request) -> web.Response:
    """Crawlers have nothing to do where notebooks are started."""
    links = request.app[CONTEXT].links
    lines = ["User-agent: *", *(f"Disallow: {links.to(path)}" for path in _NOT_FOR_ROBOTS)]
    return web.Response(text="\n".join(lines) + "\n")
