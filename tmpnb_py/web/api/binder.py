"""BinderHub's launch API, as thebe and its kin use it: `GET /build/<provider>/<spec>`, a stream of events.

Nothing is built: the spec chooses a workshop of the image (`binder_spec`), and the stream tells of a ticket. It is
the one GET that allocates (DESIGN decision 6), so it answers to nothing but a client that asks for an event stream.

Sources: BinderHub's documentation of its API, and for reconnecting WHATWG HTML §9.2 ("Server-sent events"). The id of
the events is the ticket's: who comes back with it in `Last-Event-ID` has the same place, and the same notebook.
"""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from collections.abc import AsyncGenerator

from aiohttp import web

from tmpnb_py import __version__
from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core import binder_spec
from tmpnb_py.core.document_paths import document, document_of, placed
from tmpnb_py.core.errors import AddressFullError, ClosedError, EngineError, FullError
from tmpnb_py.core.links import BUILD, LAUNCH_LINK
from tmpnb_py.jupyter.questions import begin_in
from tmpnb_py.web import admission, event_stream, respond
from tmpnb_py.web.api import tickets
from tmpnb_py.web.api.schema import BuildEvent, TicketState
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.event_stream import Event
from tmpnb_py.web.visitor import visitor_of

_RETRY_MILLISECONDS = 3000
# The suffix says that its client has had the last word of this stream.
_EVENT_ID = re.compile(r"([0-9a-f]{32})?(-ready|failed)?")
# Thebe gives up at a broken connection, and a browser is back within seconds: nobody else comes for the place.
_PLACE_KEPT = 30.0


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    app.router.add_get(BUILD + "{provider}/{spec:.+}", build, allow_head=False)


def add_pages(app: web.Application) -> None:
    """What people see who follow a link to BinderHub."""
    app.router.add_get(LAUNCH_LINK + "{provider}/{spec:.+}", launch_link)
    app.router.add_get("/versions", versions)
    for path in ("/hub/api", "/hub/api/"):
        app.router.add_get(path, hub_version)


class _UnknownError(Exception):
    """What is asked for is no workshop of ours."""


# MyST's launch button asks which kind of service it was given, from whichever site it is on: it only makes a link, so
# anybody may read this. (What it expects: `fetch` without credentials, and `binderhub` or `version` in the JSON.)
_FOR_ANYBODY = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def versions(_request: web.Request) -> web.Response:
    """BinderHub's `/versions`: links of its form lead here."""
    return web.json_response({"binderhub": f"tmpnb-py {__version__}", "builder": "none"}, headers=_FOR_ANYBODY)


async def hub_version(_request: web.Request) -> web.Response:
    """JupyterHub's `/hub/api/`: links of its form (`/hub/user-redirect/…`) lead here, too."""
    return web.json_response({"version": f"tmpnb-py {__version__}"}, headers=_FOR_ANYBODY)


def _start(request: web.Request, context: Context) -> str:
    """The start of the workshop that is asked for; "" is none in particular. Raises `_UnknownError`."""
    _, _, provider, raw = request.rel_url.raw_path.split("/", 3)
    manifest = context.catalogue.manifest
    try:
        spec = binder_spec.read(provider, raw)
    except ValueError as error:
        raise _UnknownError(f"What is asked for {error}.") from error
    slug = binder_spec.choose(spec, context.binder_rules, [workshop.slug for workshop in manifest.workshops])
    if slug == "":
        return ""
    workshop = None if slug is None else manifest.find(slug)
    if workshop is None:
        raise _UnknownError(
            f"{spec} is not offered here: nothing is built, and no workshop of this service has that name."
        )
    return workshop.start


def _opened(start: str) -> str:
    return document(start) if start else ""


async def launch_link(request: web.Request) -> web.StreamResponse:
    """BinderHub's links for people lead to the launch page, which posts.

    Their paths are relative to the repository's folder, which here is the workshop's.
    """
    query = request.query
    try:
        start = _start(request, request.app[CONTEXT])
    except _UnknownError as error:
        raise web.HTTPNotFound(text=str(error)) from error
    path = _opened(start)
    for name, view in (("urlpath", ""), ("labpath", "lab/tree/"), ("filepath", "tree/")):
        if wish := query.get(name, "").lstrip("/"):
            path = placed(view + urllib.parse.quote(wish, safe="/?=&%"), posixpath.dirname(start))
            break
    raise web.HTTPFound(request.app[CONTEXT].links.launch(path))


async def build(request: web.Request) -> web.StreamResponse:
    """A notebook, told of as BinderHub does."""
    visitor = visitor_of(request)
    admission.refuse_foreign(visitor)
    if not _asks_for_events(request):
        link = request.app[CONTEXT].links.launch_link(request.rel_url.raw_path)
        message = f"It answers programs with a stream of events (Accept: text/event-stream). People open {link}."
        return respond.problem(request, 406, "error", message)
    admission.refuse_hidden_page(visitor)
    seen = _EVENT_ID.fullmatch(request.headers.get("Last-Event-ID", ""))
    ticket_id, ending = seen.groups() if seen is not None else (None, None)
    ticket = request.app[CONTEXT].site.claims_with(ticket_id).find(ticket_id) if ticket_id else None
    if ending == "failed" or (ending and (ticket is None or ticket.has_ended)):
        return web.Response(status=204)  # which ends a browser's reconnecting
    return await _answer(request, ticket)


def _asks_for_events(request: web.Request) -> bool:
    """Whether a program reads a stream: no navigation, no prefetch, no robot that accepts whatever comes."""
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
    except ClosedError:
        problem = "The people who run this service let nobody new in right now."
    except AddressFullError as error:
        problem = f"{error.message[:1].upper()}{error.message[1:]}."
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
    claims = request.app[CONTEXT].site.claims_for()
    return await event_stream.answer(
        request, events, is_stopping=lambda: claims.stopping, retry_milliseconds=_RETRY_MILLISECONDS
    )


async def _failure(problem: str) -> AsyncGenerator[Event, None]:
    yield _event("failed", BuildEvent(phase="failed", message=problem))


async def _draw(request: web.Request) -> Ticket:
    context = request.app[CONTEXT]
    target = admission.target_of(context, _opened(_start(request, context)))
    return await admission.open_ticket(context, visitor_of(request), target)


async def _phases(request: web.Request, ticket: Ticket) -> AsyncGenerator[Event, None]:
    """The ticket in BinderHub's words, from waiting to ready or failed."""
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
    """Code in a page of another site finds the workshop's files beside it: the client names no folder for it."""
    container = ticket.container
    folder = posixpath.dirname(document_of(ticket.target.partition("?")[0]))
    if folder and container is not None and container.endpoint is not None:
        await begin_in(container.endpoint, container.path, container.token, folder)


def _event(event_id: str, event: BuildEvent) -> Event:
    return Event(event.model_dump_json(exclude_none=True), event_id)


def _ready(request: web.Request, state: TicketState) -> BuildEvent:
    session = state.session
    assert session is not None  # noqa: S101  (that is what ready means)
    # As our own proxy passes them on: what it was asked for, or what a trusted proxy before it was.
    scheme, host = (_first(request.headers.get(f"X-Forwarded-{name}", "")) for name in ("Proto", "Host"))
    url = f"{scheme or request.scheme}://{host or request.host}{session.url}"
    return BuildEvent(phase="ready", message=f"server running at {url}\n", url=url, token=session.token)


def _first(value: str) -> str:
    return value.partition(",")[0].strip()
