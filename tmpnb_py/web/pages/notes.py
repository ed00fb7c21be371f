"""`/workshops/<slug>/`: a workshop's notes, to read and to run in the page; and the scripts for other sites' pages.

Readers cost nothing: pages are rendered once per image, and browsers keep them. Only "Run" asks for a notebook.
"""

from __future__ import annotations

import asyncio
import dataclasses
import html
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
from tmpnb_py.site.offers import Offer
from tmpnb_py.web import allocation, messages, respond
from tmpnb_py.web.assets import Content, answer
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.cookies import page_key
from tmpnb_py.web.language import headers_of, merged, preferred, words_of
from tmpnb_py.web.pages import live_script
from tmpnb_py.web.visitor import visitor_of
from tmpnb_py.words.tags import to_translate
from tmpnb_py.words.words import words
from tmpnb_py.workshops.notes.labels import spoken
from tmpnb_py.workshops.notes.links import file_name
from tmpnb_py.workshops.notes_cache import Book

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{style}; img-src 'self' data: blob:; media-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action {forms}; base-uri 'none'; frame-ancestors {ancestors}; "
    "require-trusted-types-for 'script'; trusted-types tmpnb-parse"
)
# A picture that is opened as a page of its own is a document, and an SVG can contain scripts.
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

# Each workshop's page in each of our languages and of the workshop's, as rendered last, with what it shows beside the
# notes; and its pictures.
_Rendered = dict[tuple[str, str], tuple["_Facts", Content]]
_RENDERED = web.AppKey("rendered_notes", weakref.WeakKeyDictionary[Book, _Rendered])
_PICTURES = web.AppKey("notes_pictures", weakref.WeakKeyDictionary[Book, Mapping[str, Content]])


@dataclasses.dataclass(frozen=True, slots=True)
class _Facts:
    """What a page shows beside its notes. `language` is its own, not that of the notes.

    `lang` is the language in which the workshop's title and description are shown.
    """

    language: str
    lang: str
    branding: Branding
    lifetime: str
    announcements: tuple[str, ...]


def add_routes(app: web.Application) -> None:
    """Every page and file of this module."""
    app[_RENDERED] = weakref.WeakKeyDictionary()
    app[_PICTURES] = weakref.WeakKeyDictionary()
    for path in (WORKSHOPS, f"{WORKSHOPS}/"):
        app.router.add_get(path, overview)
    slug = WORKSHOPS + "/{slug:[a-z0-9-]{1,64}}"
    app.router.add_get(slug, without_slash)
    app.router.add_get(slug + "/", page)
    app.router.add_get(slug + "/{name:(?:files|images)/.+}", picture)
    app.router.add_get("/assets/{name}", live_script.bundle().assets.get)
    app.router.add_get("/live.js", live)
    app.router.add_get("/frame.js", parent)


async def overview(request: web.Request) -> web.Response:
    """Redirect to the first page, which lists the workshops."""
    raise web.HTTPFound(request.app[CONTEXT].links.base)


async def without_slash(request: web.Request) -> web.Response:
    """Redirect to the URL with a slash, as the page's pictures have relative URLs."""
    raise web.HTTPMovedPermanently(request.app[CONTEXT].links.notes(request.match_info["slug"]))


async def page(request: web.Request) -> web.Response:
    """A workshop's notes."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    await allocation.first_listing(context)
    if visitor.may_be_told and await allocation.is_undecided(context, visitor):
        return respond.starting_again(request)  # without the visitor's key "Run" would take another notebook
    branding, session = respond.branding_of(request), visitor.offered_session(_offer(request).pool)
    style = f" {respond.csp_hash(branding.style)}" if branding.style else ""
    ancestors = " ".join(context.options.current.frame_ancestors) or "'none'"
    headers = {
        **respond.page_headers(request),
        "Content-Security-Policy": _POLICY.format(
            style=style, ancestors=ancestors, forms=respond.form_targets(request)
        ),
        "Vary": "Cookie",  # a visitor who goes back after starting a notebook must not see the page without its key
    }
    headers = merged(headers, headers_of(request, words_of(request)))
    if session is not None:
        book = await _book(request)
        text = _render(book, _facts(request, book), respond.links_of(request), session)
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)
    return answer(request, await _content(request), {**headers, "Cache-Control": "no-cache"})


async def live(request: web.Request) -> web.Response:
    """The script for other sites' pages. Its URL never changes, so browsers check it every few minutes."""
    return answer(request, live_script.bundle().live, _LIVE_HEADERS)


async def parent(request: web.Request) -> web.Response:
    """The script for pages that show notes in a frame; likewise."""
    return answer(request, live_script.bundle().parent, _LIVE_HEADERS)


async def picture(request: web.Request) -> web.Response:
    """A picture that the notes show. No other file of the image is served."""
    book, known = await _book(request), request.app[_PICTURES]
    pictures = known.get(book)
    if pictures is None:
        pictures = known[book] = await asyncio.to_thread(_pictures, book)
    found = pictures.get(urllib.parse.quote(request.match_info["name"]))
    if found is None:
        raise web.HTTPNotFound
    return answer(request, found, _PICTURE_HEADERS)


async def _content(request: web.Request) -> Content:
    """A workshop's page, rendered once in each language, and again when what it shows beside the notes changes."""
    book = await _book(request)
    facts, rendered = _facts(request, book), request.app[_RENDERED].setdefault(book, {})
    known = rendered.get((facts.language, facts.lang))
    if known is None or known[0] != facts:
        made = await asyncio.to_thread(_make, book, facts, respond.links_of(request))
        known = rendered[facts.language, facts.lang] = facts, made
    return known[1]


def _facts(request: web.Request, book: Book) -> _Facts:
    texts, lang = words_of(request), book.workshop.for_reader(preferred(request)).lang
    lifetime = messages.lifetime(texts, _offer(request).limits.value)
    return _Facts(texts.tag, lang, respond.branding_of(request), lifetime, respond.announcements_for(request))


def _offer(request: web.Request) -> Offer:
    """The offer of the pool that serves the workshop."""
    offers = request.app[CONTEXT].offers
    found = offers.find(request.match_info["slug"])
    return offers.default if found is None else found.offer


async def _book(request: web.Request) -> Book:
    context = request.app[CONTEXT]
    try:
        book = await _offer(request).notes_cache.book(request.match_info["slug"])
    except EngineError as error:
        raise web.HTTPServiceUnavailable(text=to_translate("These notes cannot be shown now.")) from error
    except NotesError as error:  # permanent
        told = f"These notes cannot be shown: {error.message}. JupyterLab may say more of it."
        raise web.HTTPNotFound(text=told) from error
    if book is None:
        if not all(one.notes_cache.is_known for one in context.offers):
            raise web.HTTPServiceUnavailable(text=to_translate("The workshops are not known yet."))
        raise web.HTTPNotFound(text=to_translate("There are no such notes."))
    return book


def _make(book: Book, facts: _Facts, links: Links) -> Content:
    return Content.of(_render(book, facts, links).encode(), "text/html")


def _pictures(book: Book) -> Mapping[str, Content]:
    """A workshop's pictures by their paths."""
    return {name: Content.of(one.data, one.type) for name, one in book.pictures.items()}


def _render(book: Book, facts: _Facts, links: Links, session: Container | None = None) -> str:
    """The page. With a session it is for that visitor only, and carries the key to use it."""
    notes, branding, texts = book.notes, facts.branding, words(facts.language)
    workshop = book.workshop.for_reader(facts.lang)
    own = notes.title if workshop is book.workshop else ""  # the notes' own heading is in the workshop's language
    return respond.render(
        "notes.html",
        branding,
        links,
        texts,
        announcements=facts.announcements,
        workshop=workshop,
        title=own or workshop.title,
        of_notes=bool(own),
        headings=[heading for heading in notes.headings if heading.level == 2],
        body=spoken(notes.body, lambda label: html.escape(texts.gettext(html.unescape(label))), texts.tag),
        remarks=_remarks(book) if branding.is_preview else (),
        kernel=notes.kernel,
        language=notes.language,
        lang=notes.lang,
        direction=direction(notes.lang),
        launch=links.launch(document(workshop.start)),
        stylesheet=links.to(live_script.bundle().notes_style),
        notes_script=links.to(live_script.bundle().notes_scripts[texts.tag]),
        lifetime=facts.lifetime,
        key="" if session is None else page_key(session),
        session="" if session is None else session.id,
    )


def _remarks(book: Book) -> list[str]:
    """Problems that the author of the notes should know about."""
    missing = (place for place in book.notes.files if file_name(place) not in book.pictures)
    return [*book.notes.remarks, *(f"the picture {place} does not exist, or is not a picture" for place in missing)]
