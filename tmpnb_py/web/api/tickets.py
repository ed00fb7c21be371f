"""Tickets over HTTP: open one, look at it, watch it as a stream of events, give it up.

A ticket's id is a capability of 128 random bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import pydantic
from aiohttp import web

from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.pools.container import Container
from tmpnb_py.web import allocation, event_stream, respond, traces
from tmpnb_py.web.api import views
from tmpnb_py.web.api.schema import TicketRequest, TicketState
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.event_stream import Event
from tmpnb_py.web.language import words_asked
from tmpnb_py.web.visitor import Visitor, visitor_of
from tmpnb_py.words.tags import to_translate

# A reload comes back within seconds; a visitor who has really left should not keep a place for minutes.
_LEAVING = 15.0

_PATH = "/api/tickets/{id:[0-9a-f]{32}}"


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    app.router.add_post("/api/tickets", open_ticket)
    app.router.add_get(_PATH, look)
    app.router.add_delete(_PATH, give_up)
    app.router.add_get(f"{_PATH}/events", events, allow_head=False)
    app.router.add_post(f"{_PATH}/leave", leave)


async def open_ticket(request: web.Request) -> web.Response:
    """Open a ticket, or answer with the session that the visitor has."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    allocation.refuse_foreign(visitor)
    allocation.refuse_robots(visitor)
    wish = _wish(await request.read())
    booking = allocation.class_of(context, wish.class_key)
    place = allocation.destination(context, wish.path, wish.workshop, wish.pool)
    target, pool = place.target, place.offer.pool
    if not visitor.is_foreign and not wish.fresh:
        if await allocation.is_undecided(context, visitor):
            return respond.starting_again(request)
        session = visitor.session_with_key(wish.key, pool)
        if session is not None:
            return _answer(
                visitor, views.reused(context, words_asked(request), visitor, session, target), session, status=201
            )
        if wish.reload and visitor.usable_session(pool) is not None:
            message = to_translate("You have a notebook already. Please load this page again to use it.")
            return respond.problem(request, 409, "stale", message)
    ends = not visitor.is_foreign and wish.fresh and wish.end
    ended = visitor.session_with_key(wish.key) if ends else None
    if (
        wish.fresh
        and (own := allocation.notebook_of_class(context, visitor, booking)) is not ended
        and own is not None
    ):
        message = to_translate(
            "You have a notebook of this class. Please load this page again: there you can end it for another one."
        )
        return respond.problem(request, 409, "stale", message)
    ticket = await allocation.open_ticket(context, visitor, place, wish.once, instead_of=ended, booking=booking)
    response = _answer(visitor, _shown(request, ticket), ticket.container, status=201)
    if not visitor.is_foreign:
        visitor.hold(response, ticket)
    return response


def _shown(request: web.Request, ticket: Ticket) -> TicketState:
    """The ticket's state, announced to its visitor."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    allocation.announce(context, visitor, ticket)
    return views.ticket_state(context, words_asked(request), visitor, ticket)


def _wish(body: bytes) -> TicketRequest:
    try:
        return TicketRequest.model_validate_json(body or b"{}")
    except pydantic.ValidationError as error:
        raise web.HTTPBadRequest(text='Send JSON such as {"path": "lab/tree/demo.ipynb"}, or nothing.') from error


def _answer(visitor: Visitor, state: TicketState, container: Container | None, *, status: int = 200) -> web.Response:
    response = respond.json(state, status=status)
    if state.session is not None and container is not None and not visitor.is_foreign:
        visitor.remember(response, container)
    return response


def _found(request: web.Request) -> Ticket:
    allocation.refuse_foreign(visitor_of(request))
    ticket_id = request.match_info["id"]
    ticket = request.app[CONTEXT].site.claims_with(ticket_id).find(ticket_id)
    if ticket is None:
        raise web.HTTPNotFound(text=to_translate("There is no such ticket, or its place was given up."))
    traces.goes_on(ticket.visit)
    return ticket


async def look(request: web.Request) -> web.Response:
    """A ticket as it is now; asking keeps the place."""
    ticket = _found(request)
    request.app[CONTEXT].site.claims_with(ticket.id).renew(ticket)
    return _answer(visitor_of(request), _shown(request, ticket), ticket.container)


async def give_up(request: web.Request) -> web.Response:
    """Give up the place, or the notebook if it was never opened."""
    ticket = _found(request)
    request.app[CONTEXT].site.claims_with(ticket.id).leave(ticket)
    state = TicketState(
        id=ticket.id, status="left", message=words_asked(request).gettext("Your place in line was given up.")
    )
    return respond.json(state)


async def leave(request: web.Request) -> web.Response:
    """The visitor leaves the page (`navigator.sendBeacon`): keep the place only as long as a reload takes."""
    ticket = _found(request)
    request.app[CONTEXT].site.claims_with(ticket.id).release(ticket, _LEAVING)
    return web.Response(status=204)


async def events(request: web.Request) -> web.StreamResponse:
    """A ticket as server-sent events: every change, up to a final status."""
    ticket = _found(request)
    claims = request.app[CONTEXT].site.claims_with(ticket.id)
    with claims.watching(ticket):
        return await event_stream.answer(
            request,
            _events(request, ticket),
            is_stopping=lambda: claims.stopping,
            retry_milliseconds=event_stream.RETRY,
        )


async def _events(request: web.Request, ticket: Ticket) -> AsyncGenerator[Event, None]:
    async with contextlib.aclosing(states(request, ticket)) as found:
        async for state in found:
            yield Event(state.model_dump_json(), ticket.id)


async def states(request: web.Request, ticket: Ticket) -> AsyncGenerator[TicketState, None]:
    """A ticket's state at each change, and from time to time without one, up to a final status."""
    while True:
        change = ticket.next_change  # it may come while a client takes the event
        state = _shown(request, ticket)
        yield state
        if state.status != "waiting":
            return
        await event_or_time(change, _pause(state.position))


def _pause(position: int | None) -> float:
    """Seconds until a waiting visitor's estimate is made anew: the nearer the turn, the sooner."""
    return min(10.0, 1.0 + (position or 1) / 20)
