"""Tickets over HTTP: draw one, look at it, watch it as a stream of events, give it up.

A ticket's id is a capability of 128 random bits. `settled` is how pages and other protocols than ours use the line.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Mapping

import pydantic
from aiohttp import web

from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import AddressFullError
from tmpnb_py.core.links import document, opened
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import expires_at
from tmpnb_py.web import messages, respond, visits
from tmpnb_py.web.access import is_foreign, refuse_foreign
from tmpnb_py.web.api.schema import Spawned, TicketRequest, TicketState
from tmpnb_py.web.audit import session_begins, visitor_origin
from tmpnb_py.web.context import CONTEXT, Context, moment
from tmpnb_py.web.robots import refuse_robots

# A reload comes back within seconds; who has really left should not keep a place for minutes.
_LEAVING = 15.0
_HEARTBEAT = 15.0
_RETRY_MILLISECONDS = 2000

_PATH = "/api/tickets/{id:[0-9a-f]{32}}"
_OWN_NAME = re.compile(r"[0-9a-f]{32}")


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    app.router.add_post("/api/tickets", open_ticket)
    app.router.add_get(_PATH, look)
    app.router.add_delete(_PATH, give_up)
    app.router.add_get(f"{_PATH}/events", events, allow_head=False)
    app.router.add_post(f"{_PATH}/leave", leave)


# --- for handlers of every kind


def spawned(context: Context, container: Container, target: str) -> Spawned:
    """A notebook as its owner learns of it."""
    return Spawned(
        id=container.id,
        url=container.path,
        open_url=opened(container.path, target, container.token),
        token=container.token,
        expires_at=moment(expires_at(container.evidence, context.limits, time.monotonic())),
    )


def target_of(context: Context, path: str, workshop: str = "") -> str:
    """The document that is meant. Raises `HTTPBadRequest` for what cannot be opened."""
    if workshop:
        found = context.catalogue.manifest.find(workshop)
        if found is None:
            raise web.HTTPBadRequest(text="There is no workshop of this name.")
        path = document(found.start)
    try:
        return context.target(path)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"The link's path can't be used: {error}.") from error


_STATUSES: Mapping[Status, str] = {
    Status.WAITING: "waiting",
    Status.HANDING_OVER: "waiting",
    Status.READY: "ready",
    Status.ANNOUNCED: "ready",
    Status.ENDED: "ended",
    Status.CLOSED: "left",
    Status.LEFT: "left",
}


def announce(request: web.Request, ticket: Ticket) -> None:
    """Note that the visitor is about to be shown a ticket. A notebook's session begins when it is first shown."""
    context = request.app[CONTEXT]
    if context.site.claims_with(ticket.id).announce(ticket) and ticket.container is not None:
        session_begins(request, ticket.container, ticket.target)


def state_of(request: web.Request, ticket: Ticket) -> TicketState:
    """A ticket as its visitor sees it. `announce` has to go before."""
    context = request.app[CONTEXT]
    claims = context.site.claims_with(ticket.id)
    position = claims.position(ticket)
    estimate = None if position is None else claims.estimate(position)
    container = ticket.container if ticket.is_served else None
    return TicketState.model_validate(
        {
            "id": ticket.id,
            "status": _STATUSES[ticket.status],
            "position": position,
            "estimate": None if estimate is None else math.ceil(estimate),
            "session": None if container is None else spawned(context, container, ticket.target),
            "key": _key(request, container),
            "message": messages.told(context, ticket, position, estimate),
        }
    )


def _key(request: web.Request, container: Container | None) -> str | None:
    """For pages of ours, which can be loaded again and are to know then that it is the same session."""
    remembers = request.app[CONTEXT].options.current.remember_sessions
    return visits.key_of(container) if container is not None and remembers and not is_foreign(request) else None


def pause(position: int | None) -> float:
    """Seconds after which a waiting visitor is told anew: the nearer the turn, the sooner."""
    return min(10.0, 1.0 + (position or 1) / 20)


# --- a wish that is sent twice


async def drawn(request: web.Request, target: str, once: str, *, instead_of: Container | None = None) -> Ticket:
    """Draw a ticket for a wish. The session that it is to come in the place of ends then; raises as `Claims.draw`.

    Who may have no more than that one has to let go of it first.
    """
    context, key, origin = request.app[CONTEXT], minted(request.app[CONTEXT], once), visitor_origin(request)
    claims = context.site.claims_for(target)
    try:
        ticket = await claims.open_ticket(target, idempotency_key=key, quota_key=origin)
    except AddressFullError:
        if instead_of is None:
            raise
        _end(context, instead_of)
        return await claims.open_ticket(target, idempotency_key=key, quota_key=origin)
    if instead_of is not None:
        _end(context, instead_of)
    return ticket


def _end(context: Context, container: Container) -> None:
    if container.state is State.CLAIMED:
        context.site.end(container, EndReason.ENDED_BY_OWNER, time.monotonic())


def mint(context: Context) -> str:
    """A name for a wish that a form is going to send. It is as good as the ticket: nobody can guess another's."""
    name = secrets.token_hex(16)
    return f"{name}{_seal(context, name)}"


def minted(context: Context, once: str) -> str:
    """The name, if it was made here, or is 128 bits of a script's own; else "".

    Scripts are the same for everybody, and also in pages of other sites: they can bring no name from here.
    """
    if _OWN_NAME.fullmatch(once):
        return once
    name, seal = once[:32], once[32:]
    return name if hmac.compare_digest(_seal(context, name).encode(), seal.encode()) else ""


def _seal(context: Context, name: str) -> str:
    return hmac.new(context.secret, name.encode(), hashlib.sha256).hexdigest()[:32]


# --- the endpoints


async def open_ticket(request: web.Request) -> web.Response:
    """A ticket, or the session that the visitor has."""
    refuse_foreign(request)
    refuse_robots(request)
    context = request.app[CONTEXT]
    wish = _wish(await request.read())
    target = target_of(context, wish.path, wish.workshop)
    may_be_reused = not wish.fresh and not is_foreign(request)
    if may_be_reused and await visits.is_undecided(request):
        return respond.starting_again(request)
    container = visits.usable_with(request, wish.key) if may_be_reused else None
    if container is not None:
        return _answer(request, _reused(context, container, target), container, status=201)
    if may_be_reused and wish.reload and visits.usable(request) is not None:
        message = "You have a notebook already. Please load this page again, and it is used."
        return respond.problem(request, 409, "stale", message)
    ended = visits.usable_with(request, wish.key) if wish.end and wish.fresh and not is_foreign(request) else None
    ticket = await drawn(request, target, wish.once, instead_of=ended)
    announce(request, ticket)
    response = _answer(request, state_of(request, ticket), ticket.container, status=201)
    if not is_foreign(request):
        visits.hold(request, response, ticket)
    return response


def _wish(body: bytes) -> TicketRequest:
    try:
        return TicketRequest.model_validate_json(body or b"{}")
    except pydantic.ValidationError as error:
        raise web.HTTPBadRequest(text='Send JSON such as {"path": "lab/tree/demo.ipynb"}, or nothing.') from error


def _reused(context: Context, container: Container, target: str) -> TicketState:
    return TicketState(
        id=secrets.token_hex(16),  # there is nothing to wait for, so nobody will ask for this one
        status="ready",
        session=spawned(context, container, target),
        key=visits.key_of(container),
        message="Your notebook is still running.",
    )


def _answer(
    request: web.Request, state: TicketState, container: Container | None, *, status: int = 200
) -> web.Response:
    response = respond.json(state, status=status)
    if state.session is not None and container is not None and not is_foreign(request):
        visits.remember(request, response, container)
    return response


def _found(request: web.Request) -> Ticket:
    refuse_foreign(request)
    ticket_id = request.match_info["id"]
    ticket = request.app[CONTEXT].site.claims_with(ticket_id).find(ticket_id)
    if ticket is None:
        raise web.HTTPNotFound(text="There is no such ticket, or its place was given up.")
    return ticket


async def look(request: web.Request) -> web.Response:
    """A ticket now; asking keeps the place."""
    ticket = _found(request)
    request.app[CONTEXT].site.claims_with(ticket.id).renew(ticket)
    announce(request, ticket)
    return _answer(request, state_of(request, ticket), ticket.container)


async def give_up(request: web.Request) -> web.Response:
    """Give a place up, or a notebook that was never opened."""
    ticket = _found(request)
    request.app[CONTEXT].site.claims_with(ticket.id).leave(ticket)
    state = TicketState(id=ticket.id, status="left", message="Your place in line was given up.")
    return respond.json(state)


async def leave(request: web.Request) -> web.Response:
    """The page is being left (`navigator.sendBeacon`): keep the place for as long as a reload takes."""
    ticket = _found(request)
    request.app[CONTEXT].site.claims_with(ticket.id).release(ticket, _LEAVING)
    return web.Response(status=204)


async def events(request: web.Request) -> web.StreamResponse:
    """A ticket as server-sent events (WHATWG HTML §9.2): what changes, until nothing will any more."""
    ticket = _found(request)
    claims = request.app[CONTEXT].site.claims_with(ticket.id)
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers={**headers, "X-Content-Type-Options": "nosniff"})
    with claims.watching(ticket):
        await response.prepare(request)
        await response.write(b"retry: %d\n\n" % _RETRY_MILLISECONDS)
        await _tell_until_settled(request, response, ticket, claims)
    return response


async def _tell_until_settled(
    request: web.Request, response: web.StreamResponse, ticket: Ticket, claims: Claims
) -> None:
    sent, silent_since = "", time.monotonic()
    while True:
        announce(request, ticket)
        state = state_of(request, ticket)
        text = state.model_dump_json()
        if text != sent:
            await response.write(f"id: {ticket.id}\ndata: {text}\n\n".encode())
            sent, silent_since = text, time.monotonic()
        elif time.monotonic() - silent_since >= _HEARTBEAT:
            await response.write(b": still here\n\n")
            silent_since = time.monotonic()
        if state.status != "waiting" or claims.stopping:
            return
        await ticket.changed(pause(state.position))
