"""Giving a visitor a notebook: the steps that pages, the API and BinderHub's protocol have in common.

Every way in takes them in the same order: refuse clients that may not ask, read what to open, reuse a session if
there is one, otherwise open a ticket; and announce the notebook before its URL is shown.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time

from aiohttp import web

from tmpnb_py.bookings.model import Booking
from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core import wishes
from tmpnb_py.core.document_paths import document
from tmpnb_py.core.errors import AddressFullError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.pools.container import Container
from tmpnb_py.site.offers import Offer, UnknownPoolError
from tmpnb_py.web import idempotency, messages, traces
from tmpnb_py.web.context import Context
from tmpnb_py.web.visitor import Visitor
from tmpnb_py.words.tags import to_translate

_LISTING_SECONDS = 2.0  # of patience with an engine that was not listed yet
_POLL_SECONDS = 0.05


# --- clients that may not ask


def refuse_foreign(visitor: Visitor) -> None:
    """Raise `HTTPForbidden` for another site's page, unless the operator allows that site."""
    if visitor.is_refused_site:
        raise web.HTTPForbidden(text=to_translate("Requests from another site's pages are not accepted."))


def refuse_other_pages(visitor: Visitor) -> None:
    """Raise `HTTPForbidden` for a form that was not posted from one of our pages."""
    if not visitor.is_on_our_page:
        raise web.HTTPForbidden(text=to_translate("This button works on this service's own pages only."))


def refuse_hidden_page(visitor: Visitor) -> None:
    """Raise `HTTPForbidden` for a browser that does not say whose page asks. For the GET that allocates."""
    if visitor.hides_its_page:
        raise web.HTTPForbidden(text=to_translate("A browser must say whose page asks (Referer)."))


def refuse_robots(visitor: Visitor) -> None:
    """Raise `HTTPForbidden` for a robot, unless it shows the operator's API token."""
    if visitor.is_robot and not visitor.shows_api_token:
        raise web.HTTPForbidden(text=to_translate("Robots may read the pages here; notebooks are for people."))


# --- what to open


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """Where a visitor is to get: a document below a notebook's base path (`target`), in a notebook of this pool."""

    offer: Offer
    target: str


def destination(context: Context, wish: str, workshop: str = "", pool: str = "") -> Destination:
    """What to open, and in which pool. Raises `HTTPBadRequest` if it cannot be opened, or there is no such pool."""
    try:
        if workshop:
            found = context.offers.find(workshop, pool)
            if found is None:
                raise web.HTTPBadRequest(text=to_translate("There is no workshop of this name."))
            wish, pool = document(found.workshop.start), found.offer.name
        return resolved(context, wish, pool)
    except UnknownPoolError as error:
        raise web.HTTPBadRequest(text=unknown_pool(context, error)) from error
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"The link's path can't be used: {error}.") from error


def resolved(context: Context, wish: str, pool: str) -> Destination:
    """What to open, in this pool or in the one that opens it. Raises `UnknownPoolError`, `ValueError`."""
    if pool:
        wish = wishes.joined(wishes.split(wish)[1], context.offers.named(pool).name)
    return Destination(context.offers.choose(wish)[0], context.documents.target(wish))


def unknown_pool(context: Context, error: UnknownPoolError) -> str:
    """What to say where somebody names a pool that there is not."""
    there = ", ".join(one.name for one in context.offers)
    return f"{messages.sentence(str(error))} There is: {there}."


# --- sessions that run already


async def first_listing(context: Context) -> None:
    """Right after a start, wait up to two seconds for the first listing: of sessions, and of the workshops."""
    for _ in range(round(_LISTING_SECONDS / _POLL_SECONDS)):
        if context.site.listed or all(pool.engine_down or pool.listed for pool in context.site.pools.values()):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def is_undecided(context: Context, visitor: Visitor) -> bool:
    """Whether it is unknown which sessions the visitor has: they bring some, and no listing came in two seconds."""
    if context.site.listed or not visitor.brings_sessions:
        return False
    await first_listing(context)
    return not context.site.listed


# --- a new notebook


def class_of(context: Context, key: str) -> Booking | None:
    """The class whose link ends in `key`; None for no key. Raises `HTTPForbidden` where it is not on now."""
    if not key:
        return None
    bookings = context.site.agenda.bookings
    booking = bookings.of_class(key)
    if booking is None or not booking.begins <= bookings.now < booking.ends:
        raise web.HTTPForbidden(text=to_translate("This class is not on now. Open its link again."))
    return booking


def notebook_of_class(context: Context, visitor: Visitor, booking: Booking | None) -> Container | None:
    """The notebook of a class that a visitor's browser has: it gets no second one beside it.

    This is for people, who press a button twice. Programs keep no cookies: what bounds those is the number of people
    that was booked, and that the link can be replaced.
    """
    if booking is None or visitor.is_foreign:
        return None
    member_of = context.site.agenda.bookings.of_member
    return next((one for one in visitor.sessions if (found := member_of(one.id)) and found.id == booking.id), None)


async def open_ticket(
    context: Context,
    visitor: Visitor,
    place: Destination,
    once: str = "",
    *,
    instead_of: Container | None = None,
    booking: Booking | None = None,
) -> Ticket:
    """Open a ticket for a destination. Raises as `Claims.open_ticket` does.

    `once` is an idempotency key (see `idempotency`). The session `instead_of` ends once there is a ticket, or before
    if the visitor's address may have no further notebook beside it. That somebody of a class (`booking`) has
    come is on the disk before they know their notebook.
    """
    traces.belongs_to(idempotency.page_of(context, once))
    key = idempotency.accepted(context, once)
    ticket = await _open_ticket(context, visitor, place, key, instead_of=instead_of, booking=booking)
    if booking is not None:
        await context.site.agenda.settled()
    if instead_of is not None:
        _end(context, instead_of)
    return ticket


async def _open_ticket(
    context: Context,
    visitor: Visitor,
    place: Destination,
    key: str,
    *,
    instead_of: Container | None,
    booking: Booking | None,
) -> Ticket:
    claims, target, of_class = place.offer.claims, place.target, ""
    if booking is not None:
        pool = context.site.agenda.bookings.pool_of(booking)
        claims, of_class = context.site.claims.get(pool) or claims, booking.id
    quota_key = visitor.quota_key
    try:
        return await claims.open_ticket(target, idempotency_key=key, quota_key=quota_key, booking=of_class)
    except AddressFullError:
        if instead_of is None:
            raise
        _end(context, instead_of)
        return await claims.open_ticket(target, idempotency_key=key, quota_key=quota_key, booking=of_class)


def _end(context: Context, container: Container) -> None:
    if container.state is State.CLAIMED:
        context.site.end(container, EndReason.ENDED_BY_OWNER, time.monotonic())


def announce(context: Context, visitor: Visitor, ticket: Ticket) -> None:
    """Record that the visitor is about to see a READY ticket, and with it the URL: the session begins.

    Call it before a ticket is shown. No-op for a ticket that is not READY, and for one that was announced before.
    """
    if context.site.claims_with(ticket.id).announce(ticket) and ticket.container is not None:
        begin_session(context, visitor, ticket.container, ticket.target)


def begin_session(context: Context, visitor: Visitor, container: Container, target: str) -> None:
    """Record that a visitor is told the URL of their notebook. Called once per claim."""
    client = visitor.address if context.options.current.audit_client_address else ""
    workshop = context.offers.of(container).catalogue.workshop_of(target)
    context.site.session_started(container, workshop=workshop, client=client)
