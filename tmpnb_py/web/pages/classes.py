"""Classes: the link for everybody in it, and the teacher's page. Either link ends in a secret of its own.

Whoever knows a link may do what it is for, and nothing else says who they are: there are no accounts, and the
teacher's page shows numbers only. An unknown key is answered as one that never was. Neither page tells its address to
another (`Referrer-Policy`): notebooks share the origin, and their scripts must not learn a link from where its reader
came. What the teacher's page does needs the key and, as a browser sends it, our own page (`refuse_other_pages`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.bookings.model import LONGEST_TEXT, Booking, Message, new_id, one_line
from tmpnb_py.claims.claims import Claims
from tmpnb_py.core.document_paths import document
from tmpnb_py.core.errors import BookingError
from tmpnb_py.core.links import CLASS_PATTERN, TEACH_PATTERN
from tmpnb_py.core.models import State
from tmpnb_py.core.proofs import is_same
from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.core.units import MINUTE
from tmpnb_py.pools.idle import PRESENCE_WINDOW
from tmpnb_py.site.offers import Offer, UnknownPoolError
from tmpnb_py.web import allocation, event_stream, respond
from tmpnb_py.web.api import views
from tmpnb_py.web.api.schema import ClassState
from tmpnb_py.web.codes_of_links import qr_code
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.event_stream import Event
from tmpnb_py.web.language import preferred, words_of
from tmpnb_py.web.pages import launch
from tmpnb_py.web.visitor import visitor_of
from tmpnb_py.words.tags import to_translate
from tmpnb_py.words.words import Words
from tmpnb_py.workshops.manifest import Workshop

_LONGER = 20 * MINUTE
_LOOK_SECONDS = 1.0
_LONGEST_REFRESH = 1800
# Not `no-referrer`, with which browsers post a form as from nowhere (`Origin: null`): buttons would be refused. Both
# hide the address from the Navigation API of the page that comes next, too; `strict-origin` does not.
_HIDDEN = {"Referrer-Policy": "origin"}


def add_routes(app: web.Application) -> None:
    """Every page of this module."""
    app.router.add_get(CLASS_PATTERN, enter)
    app.router.add_post(CLASS_PATTERN, post)
    app.router.add_get(TEACH_PATTERN, page)
    app.router.add_get(f"{TEACH_PATTERN}/events", events, allow_head=False)
    app.router.add_post(f"{TEACH_PATTERN}/messages", _in_words(tell))
    app.router.add_post(f"{TEACH_PATTERN}/messages/{{id:[0-9a-f]{{8}}}}/withdraw", _in_words(withdraw))
    app.router.add_post(f"{TEACH_PATTERN}/longer", _in_words(longer))
    app.router.add_post(f"{TEACH_PATTERN}/link", _in_words(replace))


def _in_words(handler: Handler) -> Handler:
    """The same, whose refusals are in the page's language also as JSON: its script shows them."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except BookingError as error:
            return respond.refused(request, error, words_of(request))

    return answer


# --- the class


async def enter(request: web.Request) -> web.Response:
    """The class's link: before it begins a page that waits for that, then the launch page, then that it is over."""
    context = request.app[CONTEXT]
    booking = context.site.agenda.bookings.of_class(request.match_info["key"])
    if booking is None:
        raise _no_class()
    await allocation.first_listing(context)
    now = context.site.agenda.bookings.now
    state = views.state_of(booking, now)
    if state != "on":
        seconds = round(booking.begins - now) + 1
        refresh = max(2, min(seconds, _LONGEST_REFRESH)) if state == "planned" else 0
        return respond.page(
            request,
            "class.html",
            status=200 if state == "planned" else 410,
            headers=_HIDDEN,
            title=booking.title,
            workshop=_workshop(request, booking),
            when=views.when(words_of(request), booking),
            is_over=state == "over",
            refresh=refresh,
        )
    key = request.match_info["key"]
    response = await launch.show(request, _wish(context, booking), booking, class_key=key)
    response.headers.update(_HIDDEN)
    return response


def _offered(context: Context, booking: Booking) -> tuple[Offer | None, Workshop | None]:
    """The pool that serves the class, and its workshop, as long as the image of that pool has it."""
    try:
        offer = context.offers.named(context.site.agenda.bookings.pool_of(booking))
    except UnknownPoolError:  # it has gone from the settings since
        return None, None
    return offer, offer.catalogue.manifest.find(booking.workshop) if booking.workshop else None


def _wish(context: Context, booking: Booking) -> str:
    """What the class opens: its workshop."""
    offer, found = _offered(context, booking)
    return "" if offer is None else context.offers.wish_for(offer, "" if found is None else document(found.start))


def _workshop(request: web.Request, booking: Booking) -> Workshop | None:
    """The workshop, as a class without a title of its own is called after it."""
    _, found = _offered(request.app[CONTEXT], booking)
    return None if found is None else found.for_reader(preferred(request))


async def post(request: web.Request) -> web.StreamResponse:
    """The launch page's form."""
    return await launch.post(request, allocation.class_of(request.app[CONTEXT], request.match_info["key"]))


def _no_class() -> web.HTTPException:
    return web.HTTPNotFound(
        text=to_translate("There is no such class: the link may be mistyped, or the class was cancelled.")
    )


# --- its teacher


def _own(request: web.Request) -> Booking:
    booking = request.app[CONTEXT].site.agenda.bookings.of_teacher(request.match_info["key"])
    if booking is None:
        raise _no_class()
    return booking


async def page(request: web.Request) -> web.Response:
    """The teacher's page; its script follows the class."""
    context, booking = request.app[CONTEXT], _own(request)
    key = context.site.agenda.bookings.class_key(booking)
    url = _link(request, context.links.for_class(key))
    return respond.page(
        request,
        "teach.html",
        script="teach.js",
        headers=_HIDDEN,
        title=booking.title,
        workshop=_workshop(request, booking),
        state=_state(context, words_of(request), booking),
        url=url,
        qr=qr_code(url),
        longest=LONGEST_TEXT,
        here=context.links.for_teacher(request.match_info["key"]),
    )


def _link(request: web.Request, path: str) -> str:
    """The class's link under the name by which the teacher came, unless the operator has given one."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    if context.options.current.public_url:
        return context.public_url(path)
    return visitor.at(visitor.authority) + path


async def events(request: web.Request) -> web.StreamResponse:
    """The class as server-sent events: each change of its numbers, until it is over."""
    context, booking = request.app[CONTEXT], _own(request)
    return await event_stream.answer(
        request,
        _events(context, words_of(request), booking.id, request.match_info["key"]),
        is_stopping=context.is_stopping,
        retry_milliseconds=event_stream.RETRY,
    )


async def _events(context: Context, texts: Words, booking_id: str, key: str) -> AsyncGenerator[Event, None]:
    agenda = context.site.agenda
    while (booking := agenda.bookings.get(booking_id)) is not None:
        if not is_same(key, agenda.bookings.teacher_key(booking)):  # the link was replaced
            return
        change = agenda.messages.next_change
        yield Event(_state(context, texts, booking).model_dump_json())
        if agenda.bookings.now >= booking.ends:
            return
        await event_or_time(change, _LOOK_SECONDS)


def _state(context: Context, texts: Words, booking: Booking) -> ClassState:
    agenda, claims, now = context.site.agenda, _claims(context, booking), time.monotonic()
    running = [
        one for pool in context.site for one in pool.in_state(State.CLAIMED) if _is_of(context, booking, one.id)
    ]
    working = sum(one.visited and _is_there(one.open_connections, now - one.last_presence) for one in running)
    return ClassState(
        state=views.state_of(booking, agenda.bookings.now),
        begins=views.unix(booking.begins),
        ends=views.unix(booking.ends),
        when=views.when(texts, booking),
        people=booking.people,
        came=booking.came,
        working=working,
        waiting=claims.waiting_of(booking.id),
        left=claims.left_of(booking.id),
        shut_out=not (claims.pool.is_open or claims.pool.admits_classes),
        messages=tuple(map(views.told, agenda.messages.of_class(booking.id))),
    )


def _claims(context: Context, booking: Booking) -> Claims:
    """Those of the pool that serves it now."""
    return context.site.claims.get(context.site.agenda.bookings.pool_of(booking)) or context.site.default_claims


def _is_of(context: Context, booking: Booking, container_id: str) -> bool:
    found = context.site.agenda.bookings.of_member(container_id)
    return found is not None and found.id == booking.id


def _is_there(open_connections: int, since: float) -> bool:
    return open_connections > 0 or since < PRESENCE_WINDOW


async def tell(request: web.Request) -> web.StreamResponse:
    """Show a message at all notebooks of the class."""
    booking, fields = await _asked(request)
    agenda = request.app[CONTEXT].site.agenda
    try:
        text = one_line(fields.get("text", ""), LONGEST_TEXT)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"The message {error}.") from error
    message = Message(id=new_id(), text=text, at=agenda.messages.now, until=booking.ends, booking=booking.id)
    await agenda.messages.tell(message)
    return _done(request, booking)


async def withdraw(request: web.Request) -> web.StreamResponse:
    """Show a message of the class no longer."""
    booking, _ = await _asked(request)
    messages = request.app[CONTEXT].site.agenda.messages
    if any(one.id == request.match_info["id"] for one in messages.of_class(booking.id)):
        await messages.withdraw(request.match_info["id"])
    return _done(request, booking)


async def longer(request: web.Request) -> web.StreamResponse:
    """Twenty minutes more for everybody: for the class, its reserve and its link, and for each of its notebooks."""
    booking, _ = await _asked(request)
    context, ends = request.app[CONTEXT], booking.ends + _LONGER
    site, pool = context.site, _claims(context, booking).pool.name
    space = site.space(pool, booking.ends, ends, context.options.current.max_containers)
    await site.agenda.bookings.extend(booking.id, _LONGER, space)
    await site.agenda.messages.prolong(booking.id, booking.ends, ends)
    return _done(request, booking)


async def replace(request: web.Request) -> web.StreamResponse:
    """Void the link for the class: strangers have it. Who came by it keeps their notebook."""
    booking, _ = await _asked(request)
    await request.app[CONTEXT].site.replace_link(booking.id)
    return _done(request, booking)


async def _asked(request: web.Request) -> tuple[Booking, dict[str, str]]:
    """The class of a request that changes something, and its form."""
    allocation.refuse_other_pages(visitor_of(request))
    return _own(request), await launch.form(request)


def _done(request: web.Request, booking: Booking) -> web.StreamResponse:
    context = request.app[CONTEXT]
    if respond.wants_html(request):
        response = respond.see_other(request, context.links.for_teacher(request.match_info["key"]))
        response.headers.update(_HIDDEN)
        return response
    return respond.json(_state(context, words_of(request), context.site.agenda.bookings.get(booking.id) or booking))
