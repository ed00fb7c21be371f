"""Every text for visitors that code puts together: errors, the line, waiting times, and how sessions end.

Plain words and nothing technical: the readers came for a notebook. Queries only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.core.units import DAY, HOUR, MINUTE
from tmpnb_py.pools.idle import Limits
from tmpnb_py.pools.status import PoolStatus
from tmpnb_py.web.context import Context

# How a session ended: on our pages, from the API, and in the scripts that ask it.
ENDED: Mapping[EndReason, str] = {
    EndReason.IDLE: "Nobody had used it for a while.",
    EndReason.UNVISITED: "It was not opened in time.",
    EndReason.TOO_OLD: "It had reached the longest time that a notebook may run here.",
    EndReason.OUT_OF_MEMORY: "It needed more memory than a notebook has here.",
    EndReason.CRASHED: "Its server stopped unexpectedly.",
    EndReason.UNREACHABLE: "The service could no longer reach it.",
    EndReason.ENGINE_RESTARTED: "The machine it ran on was restarted.",
    EndReason.ENDED_BY_OWNER: "You ended it.",
    EndReason.ENDED_BY_OPERATOR: "The people who run this service ended it.",
    EndReason.NODE_DRAINED: "The people who run this service took the machine it ran on out of use.",
    EndReason.NODE_LOST: "The machine it ran on failed.",
}

_PROBLEMS: Mapping[int, tuple[str, str]] = {
    400: ("This request can't be understood", "Please go back and try again."),
    403: ("This was refused", "Please start on this service's own page."),
    404: ("There is no such page", "The link may be old or mistyped."),
    405: ("That can't be done here", "The page exists, but not for this kind of request."),
    406: ("This address is for programs", "Please start on this service's first page."),
    408: ("The request took too long", "Please try again."),
    413: ("Too large", "The request is larger than this service accepts."),
    414: ("This address is too long", "Please use a shorter link."),
    426: ("An old version of WebSocket", "Please use version 13."),
    429: ("All notebooks are in use", "A place becomes free when somebody leaves. Please try again in a moment."),
    431: ("The request is too large", "Please delete this site's cookies and try again."),
    500: ("Something went wrong here", "The error has been logged. Please try again."),
    501: ("That is not supported here", "Only notebooks answer requests of this kind."),
    502: ("The notebook does not answer", "It may just have ended. Please try again, or start a fresh one."),
    503: ("Not ready yet", "The service is starting or waits for its engine. Please try again in a moment."),
    504: ("The notebook took too long", "It may be busy. Please try again."),
    505: ("This version of HTTP is not supported here", "Please use HTTP/1.1."),
}

OVERFLOW = (
    "Too many cookies",
    "Another page has made more cookies for this site than can be sent. They are being taken away.",
)
_TROUBLE = "No notebook can be started at the moment."
_CLOSED = (
    "The people who run this service are not letting anyone in right now, "
    "perhaps because they are about to update it."
)
_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_SOON = 3.0  # seconds below which a number would say too much


def problem_message(status: int) -> tuple[str, str]:
    """The title of an error, and what to do about it."""
    return _PROBLEMS.get(status, ("That did not work", "Please try again."))


def at_once(pool: PoolStatus) -> bool:
    """Whether a visitor who came now would get a notebook of this pool without waiting."""
    return bool(pool.count(State.READY)) and not pool.is_in_trouble and not pool.waiting


def busyness(context: Context, pool: PoolStatus) -> str:
    """What a visitor who came now could expect of this pool."""
    if at_once(pool):
        return "A notebook is ready for you at once."
    if pool.is_in_trouble or pool.failure is not None:
        return f"{_TROUBLE} You can wait in line, or try again in a few minutes."
    if not pool.was_ready:
        return "The first notebooks are being started. You can wait in line."
    seconds = context.site.claims_for().estimate(pool.waiting + 1)
    if seconds is None:
        return "All notebooks are in use; you can wait in line."
    return f"A notebook will be ready for you in {about(seconds)}."


def ticket_message(context: Context, ticket: Ticket, position: int | None, estimate: float | None) -> str:
    """What to tell the visitor who holds a ticket. `position` and `estimate` (seconds) are those of `Claims`."""
    if ticket.status is Status.ENDED:
        return how_it_ended(ticket.container.reason if ticket.container is not None else None)
    if ticket.is_served:
        return "Your notebook is ready."
    if position is None:
        return "Your place in line was given up."
    return f"{_place(position)} {_outlook(context, position, estimate)}"


def standing(context: Context, ticket: Ticket) -> str:
    """`ticket_message`, as things are now."""
    claims = context.site.claims_with(ticket.id)
    position = claims.position(ticket)
    estimate = None if position is None else claims.estimate(position)
    return ticket_message(context, ticket, position, estimate)


def _place(position: int) -> str:
    if position == 1:
        return "You are next in line."
    return f"{'One visitor is' if position == 2 else f'{position - 1} visitors are'} before you."


def _outlook(context: Context, position: int, estimate: float | None) -> str:
    pool = context.site.pool_for().status
    if not pool.is_open:
        return f"{_CLOSED} You keep your place as long as this page is open, and it goes on when they open it again."
    if pool.is_in_trouble or pool.failure is not None:
        return f"{_TROUBLE} The service keeps trying, and you keep your place."
    if estimate is not None:
        return f"Your notebook will be ready in {about(estimate)}."
    if not pool.was_ready:
        return "The first notebooks are being started, which can take some minutes."
    latest = latest_turn(context, position, time.monotonic())
    bound = "" if latest is None else f" That is in {about(latest)} at the latest."
    return f"All notebooks are in use; your turn comes when enough visitors have left.{bound}"


def latest_turn(context: Context, position: int, now: float) -> float | None:
    """Seconds until as many sessions as `position` have reached their maximum age; None where there is no maximum."""
    maximum = context.limits.maximum
    ends = sorted(
        one.claimed_at + maximum - now
        for one in context.site.pool_for().in_state(State.CLAIMED)
        if one.claimed_at is not None
    )
    return max(0.0, ends[position - 1]) if maximum and position <= len(ends) else None


def lifetime(limits: Limits) -> str:
    """How long a notebook lives, for a visitor who is about to get one."""
    leaves = 0 < limits.disconnected < (limits.timeout or math.inf)
    idle = [f"{exactly(limits.timeout)} after you stop using it"] if limits.timeout else []
    idle += [f"{exactly(limits.disconnected)} after you close it"] if leaves else []
    if idle and limits.maximum:
        return f"It ends {', or '.join(idle)}; at the latest {exactly(limits.maximum)} after its start."
    if idle:
        return f"It ends {', or '.join(idle)}."
    return f"It ends {exactly(limits.maximum)} after its start." if limits.maximum else "It stays until you end it."


def exactly(seconds: float) -> str:
    """A duration that the operator chose, in words: "one hour", "90 minutes"."""
    for name, unit in (("day", DAY), ("hour", HOUR), ("minute", MINUTE), ("second", 1)):
        count = seconds / unit
        if count >= 1 and count == int(count) and not (name == "day" and count < 2):
            number = _NUMBERS[int(count)] if count < len(_NUMBERS) else f"{count:.0f}"
            return f"{number} {name}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"


def about(seconds: float) -> str:
    """An estimated duration, rounded so that it does not look exact."""
    if seconds < _SOON:
        return "a few seconds"
    if seconds < 20:
        return f"about {round(seconds)} seconds"
    if seconds < 90:
        return f"about {round(seconds / 5) * 5} seconds"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} minutes"
    hours = round(minutes / 30) / 2
    return f"about {hours:g} hours"


def how_it_ended(reason: EndReason | None) -> str:
    """That a session has ended, and the reason if it is known."""
    why = "" if reason is None else ENDED.get(reason, "")
    return f"This notebook has ended. {why}".rstrip()
