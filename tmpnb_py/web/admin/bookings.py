"""The operator's endpoints for bookings and for announcements."""

from __future__ import annotations

import datetime

from aiohttp import web

from tmpnb_py.bookings import when
from tmpnb_py.bookings.model import LONGEST_TEXT, LONGEST_TITLE, Booking, Message, new_id, one_line
from tmpnb_py.claims.claims import Claims
from tmpnb_py.core import time_zones
from tmpnb_py.core.units import DAY, HOUR
from tmpnb_py.site.offers import Offer, UnknownPoolError
from tmpnb_py.web import allocation, respond
from tmpnb_py.web.admin import bodies
from tmpnb_py.web.api import views
from tmpnb_py.web.api.schema import (
    AdminBookings,
    Announcement,
    AnnouncementRequest,
    Announcements,
    BookingRequest,
    LinkRequest,
)
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.language import words_asked
from tmpnb_py.web.messages import sentence

_ID = "{id:[0-9a-f]{8}}"
_SHOWN = 60  # characters of what somebody wrote


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    app.router.add_get("/api/bookings", bookings)
    app.router.add_post("/api/bookings", book)
    app.router.add_get(f"/api/bookings/{_ID}", booking)
    app.router.add_delete(f"/api/bookings/{_ID}", cancel)
    app.router.add_post(f"/api/bookings/{_ID}/link", replace_link)
    app.router.add_get("/api/announcements", announcements)
    app.router.add_post("/api/announcements", announce)
    app.router.add_delete(f"/api/announcements/{_ID}", withdraw)


# --- bookings


async def bookings(request: web.Request) -> web.Response:
    """The bookings that are not over."""
    context = request.app[CONTEXT]
    found = tuple(views.admin_booking(context, words_asked(request), one) for one in context.site.agenda.bookings)
    return respond.json(AdminBookings(bookings=found))


async def booking(request: web.Request) -> web.Response:
    """One booking, with the picture of its link."""
    context = request.app[CONTEXT]
    found = context.site.agenda.bookings.get(request.match_info["id"])
    if found is None:
        raise web.HTTPNotFound(text="There is no such booking.")
    return respond.json(views.admin_booking(context, words_asked(request), found, with_picture=True))


async def book(request: web.Request) -> web.Response:
    """Take a booking, where it fits."""
    context = request.app[CONTEXT]
    wish = await bodies.read(request, BookingRequest, '{"when": "Tue 14:00-16:00", "people": 60}')
    made, claims = _booking(context, wish)
    if not claims.pool.listed:
        raise web.HTTPServiceUnavailable(
            text="The service has just started and does not know yet how many notebooks fit. Try again in a moment.",
            headers={"Retry-After": "2"},
        )
    site, pool = context.site, claims.pool.name
    space = site.space(pool, made.begins, made.ends, context.options.current.max_containers, before=HOUR)
    await site.agenda.bookings.book(made, space)
    notes = [site.agenda.bookings.crowd_before(made, space)]
    if not made.for_class and site.is_shut_at(pool, made.begins):
        notes.append("the timetable lets nobody in at that time but classes, which come by a link (for_class)")
    booked = views.admin_booking(context, words_asked(request), made, with_picture=True)
    note = " ".join(sentence(one) for one in notes if one)
    return respond.json(booked.model_copy(update={"note": note}), status=201)


def _booking(context: Context, wish: BookingRequest) -> tuple[Booking, Claims]:
    """What is to be booked. Raises `HTTPBadRequest` for what cannot be."""
    claims = _offer(context, wish).claims
    if wish.for_class and context.api_token:
        raise web.HTTPBadRequest(
            text="The option api_auth_token is set, so this service has no pages, and no link for a class."
        )
    try:
        zone = time_zones.zone(wish.time_zone)
        now = datetime.datetime.fromtimestamp(context.site.agenda.bookings.now, zone)
        span = when.read_span(wish.when, now)
        title = one_line(wish.title, LONGEST_TITLE) if wish.title else ""
    except ValueError as error:
        raise _unreadable(error) from error
    made = Booking(
        id=new_id(),
        pool=claims.pool.name,
        begins=span.begins.timestamp(),
        ends=span.ends.timestamp(),
        zone=str(zone),
        people=wish.people,
        workshop=wish.workshop,
        title=title,
        for_class=wish.for_class,
    )
    return made, claims


def _offer(context: Context, wish: BookingRequest) -> Offer:
    """The pool for a booking: the one that it names, that of its workshop, or the default pool."""
    offers, slug = context.offers, wish.workshop
    try:
        if not slug:
            return offers.named(wish.pool)
        found = offers.find(slug, wish.pool)
    except UnknownPoolError as error:
        raise web.HTTPBadRequest(text=allocation.unknown_pool(context, error)) from error
    if found is not None:
        return found.offer
    if not offers.are_known:
        raise web.HTTPServiceUnavailable(text="The workshops are not known yet. Try again in a moment.")
    where = f"in the pool {wish.pool}" if wish.pool else "here"
    of_these = [one for one in offers.workshops() if not wish.pool or one.offer.name == wish.pool]
    known = ", ".join(one.workshop.slug for one in of_these) or "none"
    raise web.HTTPBadRequest(text=f"There is no workshop {slug[:_SHOWN]!r} {where}. There is: {known}.")


async def cancel(request: web.Request) -> web.Response:
    """Remove a booking. Its links are void at once; notebooks that were given away go on."""
    context = request.app[CONTEXT]
    found = await context.site.agenda.bookings.cancel(request.match_info["id"])
    if found is None:
        raise web.HTTPNotFound(text="There is no such booking.")
    return respond.json(views.admin_booking(context, words_asked(request), found))


async def replace_link(request: web.Request) -> web.Response:
    """Void the link of a class, or its teacher's, for a new one. Notebooks that were given away go on."""
    context = request.app[CONTEXT]
    wish = await bodies.read(request, LinkRequest, '{"of": "class"}')
    found = await context.site.replace_link(request.match_info["id"], of_teacher=wish.of == "teacher")
    if found is None:
        raise web.HTTPNotFound(text="There is no such class.")
    return respond.json(views.admin_booking(context, words_asked(request), found, with_picture=True))


# --- announcements


async def announcements(request: web.Request) -> web.Response:
    """Those that are shown now."""
    found = request.app[CONTEXT].site.agenda.messages.all()
    return respond.json(Announcements(announcements=tuple(map(_announcement, found))))


async def announce(request: web.Request) -> web.Response:
    """Tell all who are at a notebook something."""
    context = request.app[CONTEXT]
    wish = await bodies.read(request, AnnouncementRequest, '{"text": "Maintenance at 18:00"}')
    if wish.pool and wish.pool not in context.site.pools:
        known = ", ".join(context.site.pools)
        raise web.HTTPBadRequest(text=f"There is no pool {wish.pool[:_SHOWN]!r} here. There is: {known}.")
    messages = context.site.agenda.messages
    try:
        text = one_line(wish.text, LONGEST_TEXT)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"The text {error}.") from error
    until = _until(wish, messages.now)
    message = Message(id=new_id(), text=text, at=messages.now, until=until, pool=wish.pool)
    await messages.tell(message)
    return respond.json(_announcement(message), status=201)


def _until(wish: AnnouncementRequest, now: float) -> float:
    if not wish.until:
        return now + DAY
    try:
        zone = time_zones.zone(wish.time_zone)
        return when.read_moment(wish.until, datetime.datetime.fromtimestamp(now, zone)).timestamp()
    except ValueError as error:
        raise _unreadable(error) from error


async def withdraw(request: web.Request) -> web.Response:
    """Show an announcement no longer."""
    messages = request.app[CONTEXT].site.agenda.messages
    is_announced = any(one.id == request.match_info["id"] for one in messages.all())  # and no class's message
    found = await messages.withdraw(request.match_info["id"]) if is_announced else None
    if found is None:
        raise web.HTTPNotFound(text="There is no such announcement.")
    return respond.json(_announcement(found))


def _announcement(message: Message) -> Announcement:
    return Announcement(
        id=message.id,
        text=message.text,
        pool=message.pool,
        at=views.unix(message.at),
        until=views.unix(message.until),
    )


def _unreadable(error: ValueError) -> web.HTTPException:
    return web.HTTPBadRequest(text=sentence(str(error)))
