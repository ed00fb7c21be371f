"""What visitors are told of the service and of their place in line: in plain words, with nothing technical."""

from __future__ import annotations

import math

from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.models import State
from tmpnb_py.core.units import DAY, HOUR, MINUTE
from tmpnb_py.pools.idle import Limits
from tmpnb_py.web.context import Context
from tmpnb_py.web.endings import how_it_ended

_TROUBLE = "No notebook can be started at the moment."
_CLOSED = "The people who run this service let nobody in just now, perhaps because they are about to update it."
_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_SOON = 3.0  # seconds below which a number would say too much


def at_once(context: Context) -> bool:
    """Whether somebody who came now would not wait."""
    pool = context.site.pool_for().status  # what an engine that is down had ready is nobody's
    return bool(pool.count(State.READY)) and not pool.is_in_trouble and not pool.waiting


def busyness(context: Context) -> str:
    """How it would go for somebody who came now."""
    pool = context.site.pool_for().status
    if at_once(context):
        return "A notebook is ready for you at once."
    if pool.is_in_trouble or pool.failure is not None:
        return f"{_TROUBLE} You can wait in line, or try again in a few minutes."
    if not pool.was_ready:
        return "The first notebooks are being started. You can wait in line."
    seconds = context.site.claims_for().estimate(pool.waiting + 1)
    if seconds is None:
        return "All notebooks are in use; you can wait in line."
    return f"A notebook will be ready for you in {about(seconds)}."


def told(context: Context, ticket: Ticket, position: int | None, estimate: float | None) -> str:
    """What a visitor with this ticket is told."""
    if ticket.status is Status.ENDED:
        return how_it_ended(ticket.container.reason if ticket.container is not None else None)
    if ticket.is_served:
        return "Your notebook is ready."
    if position is None:
        return "Your place in line was given up."
    return f"{_place(position)} {_outlook(context, position, estimate)}"


def standing(context: Context, ticket: Ticket) -> str:
    """How a ticket's visitor stands now."""
    claims = context.site.claims_with(ticket.id)
    position = claims.position(ticket)
    estimate = None if position is None else claims.estimate(position)
    return told(context, ticket, position, estimate)


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
    latest = latest_turn(context, position)
    bound = "" if latest is None else f" That is in {about(latest)} at the latest."
    return f"All notebooks are in use; your turn comes when enough visitors have left.{bound}"


def latest_turn(context: Context, position: int) -> float | None:
    """Seconds until so many sessions will have reached their longest time; None where nothing bounds them."""
    maximum = context.limits.maximum
    now = context.now()
    ends = sorted(
        one.claimed_at + maximum - now
        for one in context.site.pool_for().in_state(State.CLAIMED)
        if one.claimed_at is not None
    )
    return max(0.0, ends[position - 1]) if maximum and position <= len(ends) else None


def lifetime(limits: Limits) -> str:
    """How long a notebook lives, for whoever is about to get one."""
    leaves = 0 < limits.disconnected < (limits.timeout or math.inf)
    idle = [f"{exactly(limits.timeout)} after you stop using it"] if limits.timeout else []
    idle += [f"{exactly(limits.disconnected)} after you close it"] if leaves else []
    if idle and limits.maximum:
        return f"It ends {', or '.join(idle)}; at the latest {exactly(limits.maximum)} after its start."
    if idle:
        return f"It ends {', or '.join(idle)}."
    return f"It ends {exactly(limits.maximum)} after its start." if limits.maximum else "It stays until you end it."


def exactly(seconds: float) -> str:
    """A length of time that somebody chose, in words: "one hour", "90 minutes"."""
    for name, unit in (("day", DAY), ("hour", HOUR), ("minute", MINUTE), ("second", 1)):
        count = seconds / unit
        if count >= 1 and count == int(count) and not (name == "day" and count < 2):
            number = _NUMBERS[int(count)] if count < len(_NUMBERS) else f"{count:.0f}"
            return f"{number} {name}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"


def about(seconds: float) -> str:
    """A length of time as one would say it; what is not exact is rounded to look so."""
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
