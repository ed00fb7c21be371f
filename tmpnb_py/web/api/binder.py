"""BinderHub's launch API, as thebe and its kin use it: `GET /build/<provider>/<spec>`, a stream of events.

Nothing is built: the spec chooses a workshop of the image (`binder_spec`), and the stream reports on a ticket. This
is the one GET that allocates (DESIGN decision 6), so it serves only clients that ask for an event stream.

Sources: BinderHub's documentation of its API, and for reconnecting WHATWG HTML §9.2 ("Server-sent events"). The
events' id is the ticket's: a client that reconnects with it in `Last-Event-ID` has the same place and the same
notebook.
"""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from collections.abc import AsyncGenerator

from aiohttp import web

from tmpnb_py import __version__
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core import binder_spec
from tmpnb_py.core.document_paths import document, document_of, placed
from tmpnb_py.core.errors import AddressFullError, ClosedError, EngineError, FullError
from tmpnb_py.core.links import BUILD, LAUNCH_LINK
from tmpnb_py.jupyter.questions import begin_in
from tmpnb_py.site.offers import Offer, UnknownPoolError
from tmpnb_py.web import allocation, event_stream, messages, respond
from tmpnb_py.web.api import tickets
from tmpnb_py.web.api.schema import BuildEvent, TicketState
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.event_stream import Event
from tmpnb_py.web.language import words_asked
from tmpnb_py.web.visitor import visitor_of

_RETRY_MILLISECONDS = 3000
# The suffix marks the last event of a stream, so a client that reconnects with it has seen that one.
_EVENT_ID = re.compile(r"([0-9a-f]{32})?(-ready|failed)?")
# Seconds. Thebe gives up when a connection breaks, and a browser reconnects within seconds.
_PLACE_KEPT = 30.0


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    app.router.add_get(BUILD + "{provider}/{spec:.+}", build, allow_head=False)


def add_pages(app: web.Application) -> None:
    """Every page for people who follow a link made for BinderHub or JupyterHub."""
    app.router.add_get(LAUNCH_LINK + "{provider}/{spec:.+}", launch_link)
    app.router.add_get("/versions", versions)
    for path in ("/hub/api", "/hub/api/"):
        app.router.add_get(path, hub_version)


class _UnknownError(Exception):
    """The spec names no workshop of this service."""


# MyST's launch button asks any site's visitor's browser which kind of service this is, and only makes a link of it,
# so any origin may read this. (It fetches without credentials, and expects `binderhub` or `version` in the JSON.)
_FOR_ANYBODY = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def versions(_request: web.Request) -> web.Response:
    """BinderHub's `/versions`: says that links of its form work here."""
    return web.json_response({"binderhub": f"tmpnb-py {__version__}", "builder": "none"}, headers=_FOR_ANYBODY)


async def hub_version(_request: web.Request) -> web.Response:
    """JupyterHub's `/hub/api/`: says that links of its form (`/hub/user-redirect/…`) work here."""
    return web.json_response({"version": f"tmpnb-py {__version__}"}, headers=_FOR_ANYBODY)


def _start(request: web.Request, context: Context) -> tuple[str, Offer]:
    """The start document of the workshop that the spec chooses, "" for none in particular, and the pool that has it.

    Raises `_UnknownError`.
    """
    _, _, provider, raw = request.rel_url.raw_path.split("/", 3)
    pool = request.query.get("pool", "")
    try:
        spec = binder_spec.read(provider, raw)
    except ValueError as error:
        raise _UnknownError(f"What is asked for {error}.") from error
    try:
        slugs = [one.workshop.slug for one in context.offers.workshops()]
        chosen = binder_spec.choose(spec, context.binder_rules, slugs)
        slug, _, named = (chosen or "").partition("@")
        pool = pool or named
        if chosen is not None and not slug:
            return "", context.offers.named(pool)
        found = None if chosen is None else context.offers.find(slug, pool)
    except UnknownPoolError as error:
        raise _UnknownError(allocation.unknown_pool(context, error)) from error
    if found is None:
        raise _UnknownError(
            f"{spec} is not offered here: nothing is built, and no workshop of this service has that name."
        )
    return found.workshop.start, found.offer


def _opened(start: str) -> str:
    return document(start) if start else ""


async def launch_link(request: web.Request) -> web.StreamResponse:
    """Redirect BinderHub's links for people to the launch page, which posts.

    Paths in them are relative to the repository, which here is the workshop's folder.
    """
    query = request.query
    try:
        start, offer = _start(request, request.app[CONTEXT])
    except _UnknownError as error:
        raise web.HTTPNotFound(text=str(error)) from error
    path = _opened(start)
    for name, view in (("urlpath", ""), ("labpath", "lab/tree/"), ("filepath", "tree/")):
        if wish := query.get(name, "").lstrip("/"):
            path = placed(view + urllib.parse.quote(wish, safe="/?=&%"), posixpath.dirname(start))
            break
    context = request.app[CONTEXT]
    raise web.HTTPFound(context.links.launch(context.offers.wish_for(offer, path)))


async def build(request: web.Request) -> web.StreamResponse:
    """A notebook, reported on as BinderHub does."""
    visitor = visitor_of(request)
    allocation.refuse_foreign(visitor)
    if not _asks_for_events(request):
        link = request.app[CONTEXT].links.launch_link(request.rel_url.raw_path)
        message = f"It answers programs with a stream of events (Accept: text/event-stream). People open {link}."
        return respond.problem(request, 406, "error", message)
    allocation.refuse_hidden_page(visitor)
    seen = _EVENT_ID.fullmatch(request.headers.get("Last-Event-ID", ""))
    ticket_id, ending = seen.groups() if seen is not None else (None, None)
    ticket = request.app[CONTEXT].site.claims_with(ticket_id).find(ticket_id) if ticket_id else None
    if ending == "failed" or (ending and (ticket is None or ticket.status is Status.ENDED)):
        return web.Response(status=204)  # which ends a browser's reconnecting
    return await _answer(request, ticket)


def _asks_for_events(request: web.Request) -> bool:
    """Whether a program reads a stream, as opposed to a navigation, a prefetch, or a robot that accepts anything."""
    purpose = request.headers.get("Sec-Purpose", request.headers.get("Purpose", ""))
    is_visit = request.headers.get("Sec-Fetch-Mode") == "navigate" or "prefetch" in purpose
    return (
        "text/event-stream" in request.headers.get("Accept", "") and not is_visit and not visitor_of(request).is_robot
    )


async def _answer(request: web.Request, ticket: Ticket | None) -> web.StreamResponse:
    problem = ""
    try:
        ticket = ticket or await _draw(request)
    except _UnknownError as error:
        problem = str(error)
    except ClosedError as error:
        problem = messages.why_closed(words_asked(request), request.app[CONTEXT].site.pools[error.pool].status)
    except AddressFullError as error:
        problem = messages.sentence(error.message)
    except FullError as error:
        problem = f"The line is full. Please try again in {max(1, round(error.retry_after))} seconds."
    except EngineError:
        problem = "No notebook can be started now."
    if ticket is None or problem:
        return await _stream(request, _failure(problem))
    claims = request.app[CONTEXT].site.claims_with(ticket.id)
    try:
        with claims.watching(ticket):
            return await _stream(request, _phases(request, ticket))
    finally:
        claims.release(ticket, _PLACE_KEPT)


async def _stream(request: web.Request, events: AsyncGenerator[Event, None]) -> web.StreamResponse:
    is_stopping = request.app[CONTEXT].is_stopping
    return await event_stream.answer(request, events, is_stopping=is_stopping, retry_milliseconds=_RETRY_MILLISECONDS)


async def _failure(problem: str) -> AsyncGenerator[Event, None]:
    yield _event("failed", BuildEvent(phase="failed", message=problem))


async def _draw(request: web.Request) -> Ticket:
    context = request.app[CONTEXT]
    start, offer = _start(request, context)
    place = allocation.destination(context, _opened(start), pool=offer.name)
    return await allocation.open_ticket(context, visitor_of(request), place)


async def _phases(request: web.Request, ticket: Ticket) -> AsyncGenerator[Event, None]:
    """The ticket in BinderHub's terms, from waiting to ready or failed."""
    async for state in tickets.states(request, ticket):
        if state.status == "waiting":
            yield _event(ticket.id, BuildEvent(phase="waiting", message=state.message))
        elif state.status == "ready":
            yield _event(ticket.id, BuildEvent(phase="launching", message="Launching your notebook…"))
            await _begin_in_folder(ticket)
            yield _event(f"{ticket.id}-ready", _ready(request, state))
        else:
            yield _event("failed", BuildEvent(phase="failed", message=state.message))


async def _begin_in_folder(ticket: Ticket) -> None:
    """Start kernels in the workshop's folder, so that code finds its files: the clients name no folder."""
    container = ticket.container
    folder = posixpath.dirname(document_of(ticket.target.partition("?")[0]))
    if folder and container is not None and container.endpoint is not None:
        await begin_in(container.endpoint, container.path, container.token, folder)


def _event(event_id: str, event: BuildEvent) -> Event:
    return Event(event.model_dump_json(exclude_none=True), event_id)


def _ready(request: web.Request, state: TicketState) -> BuildEvent:
    session = state.session
    assert session is not None  # noqa: S101  (a ready ticket has one)
    # As our own proxy passes them on: the URL that it, or a trusted proxy in front, was asked for.
    scheme, host = (_first(request.headers.get(f"X-Forwarded-{name}", "")) for name in ("Proto", "Host"))
    url = f"{scheme or request.scheme}://{host or request.host}{session.url}"
    return BuildEvent(phase="ready", message=f"server running at {url}\n", url=url, token=session.token)


def _first(value: str) -> str:
    return value.partition(",")[0].strip()
