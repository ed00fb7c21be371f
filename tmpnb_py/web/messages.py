"""Every text for visitors that code puts together: errors, the line, waiting times, and how sessions end.

Plain words and nothing technical: the readers came for a notebook. Each function gets the `texts` of its reader's
language. Queries only.
"""

from __future__ import annotations

import datetime
import math
import time
import zoneinfo
from collections.abc import Mapping

from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.core.units import DAY, HOUR, MINUTE
from tmpnb_py.pools.idle import Limits
from tmpnb_py.pools.status import PoolStatus
from tmpnb_py.site.offers import Offer
from tmpnb_py.web.context import Context
from tmpnb_py.words.tags import to_translate
from tmpnb_py.words.words import Words

# How a session ended: on our pages, from the API, and in the scripts that ask it.
ENDED: Mapping[EndReason, str] = {
    EndReason.IDLE: to_translate("Nobody had used it for a while."),
    EndReason.UNVISITED: to_translate("It was not opened in time."),
    EndReason.TOO_OLD: to_translate("It had reached the longest time that a notebook may run here."),
    EndReason.TOO_BUSY: to_translate("It kept the processor busy for longer than a notebook may here."),
    EndReason.OUT_OF_MEMORY: to_translate("It needed more memory than a notebook has here."),
    EndReason.CRASHED: to_translate("Its server stopped unexpectedly."),
    EndReason.UNREACHABLE: to_translate("The service could no longer reach it."),
    EndReason.ENGINE_RESTARTED: to_translate("The machine it ran on was restarted."),
    EndReason.ENDED_BY_OWNER: to_translate("You ended it."),
    EndReason.ENDED_BY_OPERATOR: to_translate("The people who run this service ended it."),
    EndReason.NODE_DRAINED: to_translate("The people who run this service took the machine it ran on out of use."),
    EndReason.NODE_LOST: to_translate("The machine it ran on failed."),
}

_PROBLEMS: Mapping[int, tuple[str, str]] = {
    400: (to_translate("This request can't be understood"), to_translate("Please go back and try again.")),
    403: (to_translate("This was refused"), to_translate("Please start on this service's own page.")),
    404: (to_translate("There is no such page"), to_translate("The link may be old or mistyped.")),
    405: (
        to_translate("That can't be done here"),
        to_translate("The page exists, but not for this kind of request."),
    ),
    406: (to_translate("This address is for programs"), to_translate("Please start on this service's first page.")),
    408: (to_translate("The request took too long"), to_translate("Please try again.")),
    413: (to_translate("Too large"), to_translate("The request is larger than this service accepts.")),
    414: (to_translate("This address is too long"), to_translate("Please use a shorter link.")),
    426: (to_translate("An old version of WebSocket"), to_translate("Please use version 13.")),
    429: (
        to_translate("All notebooks are in use"),
        to_translate("A place becomes free when somebody leaves. Please try again in a moment."),
    ),
    431: (to_translate("The request is too large"), to_translate("Please delete this site's cookies and try again.")),
    500: (to_translate("Something went wrong here"), to_translate("The error has been logged. Please try again.")),
    501: (to_translate("That is not supported here"), to_translate("Only notebooks answer requests of this kind.")),
    502: (
        to_translate("The notebook does not answer"),
        to_translate("It may just have ended. Please try again, or start a fresh one."),
    ),
    503: (
        to_translate("Not ready yet"),
        to_translate("The service is starting or waits for its engine. Please try again in a moment."),
    ),
    504: (to_translate("The notebook took too long"), to_translate("It may be busy. Please try again.")),
    505: (to_translate("This version of HTTP is not supported here"), to_translate("Please use HTTP/1.1.")),
}

OVERFLOW = (
    to_translate("Too many cookies"),
    to_translate("Another page has made more cookies for this site than can be sent. They are being taken away."),
)
READY = to_translate("A notebook is ready for you at once.")
_CLOSED = to_translate(
    "The people who run this service are not letting anyone new in right now, "
    "perhaps because they are about to update it."
)
_NUMBERS = {
    2: to_translate("two"),
    3: to_translate("three"),
    4: to_translate("four"),
    5: to_translate("five"),
    6: to_translate("six"),
    7: to_translate("seven"),
    8: to_translate("eight"),
    9: to_translate("nine"),
    10: to_translate("ten"),
    11: to_translate("eleven"),
    12: to_translate("twelve"),
}
_SOON = 3.0  # seconds below which a number would say too much


def problem_message(texts: Words, status: int) -> tuple[str, str]:
    """The title of an error, and what to do about it."""
    title, advice = _PROBLEMS.get(status, (to_translate("That did not work"), to_translate("Please try again.")))
    return texts.gettext(title), texts.gettext(advice)


def sentence(text: str) -> str:
    """What an error says, as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"


def at_once(pool: PoolStatus) -> bool:
    """Whether a visitor who came now would get a notebook of this pool without waiting."""
    return bool(pool.available) and not pool.is_in_trouble and not pool.waiting


def busyness(texts: Words, claims: Claims, booking: str = "") -> str:
    """What a visitor who came now, by the link of the class `booking`, could expect of the pool with these claims."""
    pool = claims.pool.status
    if not claims.admits(booking):
        return why_closed(texts, pool)
    if at_once(pool):
        return texts.gettext(READY)
    if pool.is_in_trouble or pool.failure is not None:
        return texts.gettext(
            "No notebook can be started at the moment. You can wait in line, or try again in a few minutes."
        )
    if not pool.was_ready:
        return texts.gettext("The first notebooks are being started. You can wait in line.")
    seconds = claims.estimate(claims.admitted + 1, booking)
    if seconds is None:
        return texts.gettext("All notebooks are in use; you can wait in line.")
    return texts.gettext("A notebook will be ready for you in {duration}.", duration=about(texts, seconds))


def why_closed(texts: Words, pool: PoolStatus) -> str:
    """Why this pool, which is closed, lets nobody in, and until when, as far as that is known."""
    if pool.opens_at is None:
        return texts.gettext(_CLOSED)
    when = opens_again(texts, pool) or texts.gettext("When it opens again is not known yet.")
    times = texts.gettext("This service lets people in at certain times only.")
    return f"{times} {when}"


def opens_again(texts: Words, pool: PoolStatus) -> str:
    """When the timetable lets people in again, in the time zone that it is written in; "" if unknown."""
    coming = pool.programme.following[0] if pool.programme.following else None
    if pool.opens_at is None or coming is None:
        return ""
    when = datetime.datetime.fromtimestamp(pool.opens_at, zoneinfo.ZoneInfo(coming.entry.zone))
    day = texts.date(when, texts.pgettext("pattern of a date (CLDR)", "EEEE, d MMMM"))
    time_of_day, zone = f"{when:%H:%M}", coming.entry.zone
    return texts.gettext("It opens again on {day}, at {time} ({zone}).", day=day, time=time_of_day, zone=zone)


def span(texts: Words, begins: datetime.datetime, ends: datetime.datetime) -> str:
    """From when until when, both in the time zone to show."""
    day = texts.date(begins, texts.pgettext("pattern of a date (CLDR)", "EEEE d MMMM y"))
    facts = {"day": day, "begins": f"{begins:%H:%M}", "ends": f"{ends:%H:%M}", "zone": begins.tzinfo}
    if ends.date() != begins.date() and facts["ends"] != "00:00":
        return texts.gettext("{day}, {begins}-{ends} of the next day ({zone})", **facts)
    if ends.date() != begins.date():
        facts["ends"] = "24:00"
    return texts.gettext("{day}, {begins}-{ends} ({zone})", **facts)


def ticket_message(
    context: Context, texts: Words, ticket: Ticket, position: int | None, estimate: float | None
) -> str:
    """What to tell the visitor who holds a ticket. `position` and `estimate` (seconds) are those of `Claims`."""
    if ticket.status is Status.ENDED:
        return how_it_ended(texts, ticket.container.reason if ticket.container is not None else None)
    if ticket.is_served:
        return texts.gettext("Your notebook is ready.")
    if position is None:
        return texts.gettext("Your place in line was given up.")
    offer = context.offers.of_claims(context.site.claims_with(ticket.id))
    return f"{_place(texts, position)} {_outlook(texts, offer, position, estimate, ticket.booking)}"


def standing(context: Context, texts: Words, ticket: Ticket) -> str:
    """`ticket_message`, as things are now."""
    claims = context.site.claims_with(ticket.id)
    position = claims.position(ticket)
    estimate = None if position is None else claims.estimate(position, ticket.booking)
    return ticket_message(context, texts, ticket, position, estimate)


def _place(texts: Words, position: int) -> str:
    if position == 1:
        return texts.gettext("You are next in line.")
    return texts.ngettext("One visitor is before you.", "{count} visitors are before you.", position - 1)


def _outlook(texts: Words, offer: Offer, position: int, estimate: float | None, booking: str) -> str:
    pool = offer.pool.status
    if not offer.claims.admits(booking):
        keeps = texts.gettext("You keep your place as long as this page is open, and it goes on then.")
        return f"{why_closed(texts, pool)} {keeps}"
    if pool.is_in_trouble or pool.failure is not None:
        return texts.gettext(
            "No notebook can be started at the moment. The service keeps trying, and you keep your place."
        )
    if estimate is not None:
        return texts.gettext("Your notebook will be ready in {duration}.", duration=about(texts, estimate))
    if not pool.was_ready:
        return texts.gettext("The first notebooks are being started, which can take some minutes.")
    turn = texts.gettext("All notebooks are in use; your turn comes when enough visitors have left.")
    latest = latest_turn(offer, position, time.monotonic())
    if latest is None:
        return turn
    at_latest = texts.gettext("That is in {duration} at the latest.", duration=about(texts, latest))
    return f"{turn} {at_latest}"


def latest_turn(offer: Offer, position: int, now: float) -> float | None:
    """Seconds until as many sessions as `position` have reached their maximum age; None where there is no maximum."""
    maximum = offer.limits.value.maximum
    ends = sorted(
        one.claimed_at + maximum - now for one in offer.pool.in_state(State.CLAIMED) if one.claimed_at is not None
    )
    return max(0.0, ends[position - 1]) if maximum and position <= len(ends) else None


def lifetime(texts: Words, limits: Limits) -> str:
    """How long a notebook lives, for a visitor who is about to get one."""
    known = {
        "idle": exactly(texts, limits.timeout) if limits.timeout else "",
        "away": exactly(texts, limits.disconnected) if limits.disconnected else "",
        "maximum": exactly(texts, limits.maximum) if limits.maximum else "",
    }
    leaves = 0 < limits.disconnected < (limits.timeout or math.inf)
    return texts.gettext(_LIFETIMES[bool(limits.timeout), leaves, bool(limits.maximum)], **known)


# Whether there is a limit of idleness, one that is shorter for who has left, and one in any case.
_LIFETIMES: Mapping[tuple[bool, bool, bool], str] = {
    (False, False, False): to_translate("It stays until you end it."),
    (False, False, True): to_translate("It ends {maximum} after its start."),
    (False, True, False): to_translate("It ends {away} after you close it."),
    (False, True, True): to_translate("It ends {away} after you close it; at the latest {maximum} after its start."),
    (True, False, False): to_translate("It ends {idle} after you stop using it."),
    (True, False, True): to_translate(
        "It ends {idle} after you stop using it; at the latest {maximum} after its start."
    ),
    (True, True, False): to_translate("It ends {idle} after you stop using it, or {away} after you close it."),
    (True, True, True): to_translate(
        "It ends {idle} after you stop using it, or {away} after you close it; "
        "at the latest {maximum} after its start."
    ),
}


def exactly(texts: Words, seconds: float) -> str:
    """A duration that the operator chose, in words: "one hour", "90 minutes"."""
    days, hours, minutes = seconds / DAY, seconds / HOUR, seconds / MINUTE
    if days >= 2 and days == int(days):
        return texts.ngettext("one day", "{count} days", days, count=_number(texts, days))
    if hours >= 1 and hours == int(hours):
        return texts.ngettext("one hour", "{count} hours", hours, count=_number(texts, hours))
    if minutes >= 1 and minutes == int(minutes):
        return texts.ngettext("one minute", "{count} minutes", minutes, count=_number(texts, minutes))
    return texts.ngettext("one second", "{count} seconds", seconds, count=_number(texts, seconds))


def _number(texts: Words, count: float) -> str:
    """A number as one writes it within a sentence."""
    if count in _NUMBERS:
        return texts.gettext(_NUMBERS[int(count)])
    return texts.number(int(count) if count == int(count) else count)


def about(texts: Words, seconds: float) -> str:
    """An estimated duration, rounded so that it does not look exact. Texts have it after "in"."""
    if seconds < _SOON:
        return texts.gettext("a few seconds")
    if seconds < 90:
        rounded = round(seconds) if seconds < 20 else round(seconds / 5) * 5
        return texts.ngettext("about one second", "about {count} seconds", rounded)
    minutes = round(seconds / 60)
    if minutes < 90:
        return texts.ngettext("about one minute", "about {count} minutes", minutes)
    hours = round(minutes / 30) / 2
    return texts.ngettext("about one hour", "about {count} hours", int(hours) if hours == int(hours) else hours)


def how_long_ago(texts: Words, seconds: float) -> str:
    """When something began."""
    if seconds < 60:
        return texts.gettext("Started just now.")
    return texts.gettext("Started {duration} ago.", duration=about(texts, seconds))


def how_it_ended(texts: Words, reason: EndReason | None) -> str:
    """That a session has ended, and the reason if it is known."""
    ended = texts.gettext("This notebook has ended.")
    why = "" if reason is None else ENDED.get(reason, "")
    return f"{ended} {texts.gettext(why)}" if why else ended
