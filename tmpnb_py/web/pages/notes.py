"""`/workshops/<slug>/`: a workshop's notes to read, and to run in the page; and what other sites need for that.

Readers cost nothing: everything here is made once per image, and browsers keep it. Only "Run" asks for a notebook.
"""

from __future__ import annotations

import asyncio
import urllib.parse
import weakref
from collections.abc import Mapping

from aiohttp import web

from tmpnb_py.core.branding import Branding
from tmpnb_py.core.document_paths import document
from tmpnb_py.core.errors import EngineError, NotesError
from tmpnb_py.core.language_tags import direction
from tmpnb_py.core.links import WORKSHOPS, Links
from tmpnb_py.pools.container import Container
from tmpnb_py.web import admission, messages, respond
from tmpnb_py.web.assets import Assets, Content, answer, source
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.cookies import page_key
from tmpnb_py.web.pages import live_script
from tmpnb_py.web.visitor import visitor_of
from tmpnb_py.workshops.notes.links import file_name
from tmpnb_py.workshops.notes_cache import Book

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{style}; img-src 'self' data: blob:; media-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}; "
    "require-trusted-types-for 'script'; trusted-types tmpnb-parse"
)
# A picture that is opened by itself is a document, and SVG can hold scripts.
_PICTURE_HEADERS = {
    "Cache-Control": "public, max-age=300",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_LIVE_HEADERS = {
    "Cache-Control": "public, max-age=300",
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

# Each workshop's page and pictures as they were made last, with what they were made for.
_RENDERED = web.AppKey("rendered_notes", weakref.WeakKeyDictionary[Book, tuple[Branding, str, Mapping[str, Content]]])

_assets = Assets()
_style = _assets.add("notes.css", source("style.css") + source("live/cell.css") + source("notes.css"))
_frame = live_script.add_frame(_assets)
_scripts = {"RENDERER": live_script.add_renderer(_assets), "LIBRARIES": live_script.add_libraries(_assets)}
_script = _assets.add("notes.js", live_script.notes_script(_frame, _scripts))
_live = live_script.live_script(_frame, _scripts)
_parent = live_script.parent_script()


def add_routes(app: web.Application) -> None:
    """Every page and file of this module."""
    app[_RENDERED] = weakref.WeakKeyDictionary()
    for path in (WORKSHOPS, f"{WORKSHOPS}/"):
        app.router.add_get(path, overview)
    slug = WORKSHOPS + "/{slug:[a-z0-9-]{1,64}}"
    app.router.add_get(slug, without_slash)
    app.router.add_get(slug + "/", page)
    app.router.add_get(slug + "/{name:(?:files|images)/.+}", picture)
    app.router.add_get("/assets/{name}", _assets.get)
    app.router.add_get("/live.js", live)
    app.router.add_get("/frame.js", parent)


async def overview(request: web.Request) -> web.Response:
    """The first page is the list of the workshops."""
    raise web.HTTPFound(request.app[CONTEXT].links.base)


async def without_slash(request: web.Request) -> web.Response:
    """Pictures' addresses are relative to the page."""
    raise web.HTTPMovedPermanently(request.app[CONTEXT].links.notes(request.match_info["slug"]))


async def page(request: web.Request) -> web.Response:
    """A workshop's notes."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    await admission.first_listing(context)
    if visitor.may_be_told and await admission.is_undecided(context, visitor):
        return respond.starting_again(request)  # without the visitor's key "Run" would take another notebook
    branding, session = respond.branding_of(request), visitor.offered_session
    style = f" {respond.csp_hash(branding.style)}" if branding.style else ""
    ancestors = " ".join(context.options.current.frame_ancestors) or "'none'"
    headers = {
        **respond.page_headers(request),
        "Content-Security-Policy": _POLICY.format(style=style, ancestors=ancestors),
        "Vary": "Cookie",  # whoever goes back here after a notebook began must not see the page that knew of none
    }
    if session is not None:
        text = _render(await _book(request), branding, respond.links_of(request), _lifetime(request), session)
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)
    contents = await _contents(request)
    return answer(request, contents[""], {**headers, "Cache-Control": "no-cache"})


async def live(request: web.Request) -> web.Response:
    """The script for other sites; its address never changes, so it is looked at again after a while."""
    return answer(request, _live, _LIVE_HEADERS)


async def parent(request: web.Request) -> web.Response:
    """The script for pages that show notes in a frame, likewise."""
    return answer(request, _parent, _LIVE_HEADERS)


async def picture(request: web.Request) -> web.Response:
    """A picture of the notes: one that the page shows, and no other file of the image."""
    contents = await _contents(request)
    found = contents.get(urllib.parse.quote(request.match_info["name"]))
    if found is None:
        raise web.HTTPNotFound
    return answer(request, found, _PICTURE_HEADERS)


async def _contents(request: web.Request) -> Mapping[str, Content]:
    """What there is below a workshop's address, made once, and anew when pages are to look otherwise."""
    book, branding, lifetime = await _book(request), respond.branding_of(request), _lifetime(request)
    rendered = request.app[_RENDERED]
    known = rendered.get(book)
    if known is None or known[0] is not branding or known[1] != lifetime:
        made = await asyncio.to_thread(_make, book, branding, respond.links_of(request), lifetime)
        known = rendered[book] = branding, lifetime, made
    return known[2]


def _lifetime(request: web.Request) -> str:
    return messages.lifetime(request.app[CONTEXT].limits)


async def _book(request: web.Request) -> Book:
    context = request.app[CONTEXT]
    try:
        book = await context.notes_cache.book(request.match_info["slug"])
    except EngineError as error:
        raise web.HTTPServiceUnavailable(text="These notes cannot be shown now.") from error
    except NotesError as error:  # waiting does not help
        told = f"These notes cannot be shown: {error.message}. JupyterLab may say more of it."
        raise web.HTTPNotFound(text=told) from error
    if book is None:
        if not context.notes_cache.is_known:
            raise web.HTTPServiceUnavailable(text="The workshops are not known yet.")
        raise web.HTTPNotFound(text="There are no such notes.")
    return book


def _make(book: Book, branding: Branding, links: Links, lifetime: str) -> Mapping[str, Content]:
    pictures = {name: Content.of(one.data, one.type) for name, one in book.pictures.items()}
    return {"": Content.of(_render(book, branding, links, lifetime).encode(), "text/html"), **pictures}


def _render(book: Book, branding: Branding, links: Links, lifetime: str, session: Container | None = None) -> str:
    """The page; with a session it is for one visitor, whose that is, and has the key to use it."""
    workshop, notes = book.workshop, book.notes
    return respond.render(
        "notes.html",
        branding,
        links,
        workshop=workshop,
        title=notes.title or workshop.title,
        headings=[heading for heading in notes.headings if heading.level == 2],
        body=notes.body,
        remarks=_remarks(book) if branding.is_preview else (),
        kernel=notes.kernel,
        language=notes.language,
        lang=notes.lang,
        direction=direction(notes.lang),
        launch=links.launch(document(workshop.start)),
        stylesheet=links.to(_style),
        notes_script=links.to(_script),
        lifetime=lifetime,
        key="" if session is None else page_key(session),
        session="" if session is None else session.id,
    )


def _remarks(book: Book) -> list[str]:
    """What the author of the notes should know."""
    missing = (place for place in book.notes.files if file_name(place) not in book.pictures)
    return [*book.notes.remarks, *(f"the picture {place} is not there, or is none" for place in missing)]
