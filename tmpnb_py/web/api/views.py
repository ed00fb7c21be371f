"""Sessions, tickets and the pool as the API shows them: facts of the service in the models of `schema`.

Queries only; nothing here changes anything.
"""

from __future__ import annotations

import datetime
import functools
import math
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from tmpnb_py import __version__
from tmpnb_py.bookings.model import Booking, Message
from tmpnb_py.claims.tickets import Status as TicketStatus
from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core import time_zones
from tmpnb_py.core.links import opened
from tmpnb_py.core.models import Failure, NodeStatus, State
from tmpnb_py.core.units import CPU
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import expires_at
from tmpnb_py.pools.pool import Pool
from tmpnb_py.pools.status import PoolStatus as Status
from tmpnb_py.pools.timetable import Occurrence
from tmpnb_py.web import messages
from tmpnb_py.web.api.schema import (
    AdminBooking,
    AdminNode,
    AdminPool,
    AdminSession,
    LastFailure,
    PoolStatus,
    Session,
    Spawned,
    Stats,
    TicketState,
    TimetableEntry,
    Told,
    WarmKernels,
)
from tmpnb_py.web.codes_of_links import qr_code
from tmpnb_py.web.context import Context
from tmpnb_py.web.cookies import page_key
from tmpnb_py.web.visitor import Visitor
from tmpnb_py.words.words import Words, words


def moment(at: float | None, *, epoch: float | None = None) -> datetime.datetime | None:
    """A monotonic time as UTC, in whole seconds; None for never.

    `epoch` is a result of `monotonic_epoch`. Times that readers compare take the same one, so that equal ones stay
    equal.
    """
    if at is None or not math.isfinite(at):
        return None
    unix = at + (monotonic_epoch() if epoch is None else epoch)
    return datetime.datetime.fromtimestamp(round(unix), datetime.UTC)


def monotonic_epoch() -> float:
    """When the monotonic clock was 0, in Unix time; each call gives a slightly different result."""
    return time.time() - time.monotonic()


def unix(at: float) -> datetime.datetime:
    """Unix seconds as UTC, in whole seconds."""
    return datetime.datetime.fromtimestamp(round(at), datetime.UTC)


def told(message: Message) -> Told:
    """A message as its readers get it."""
    return Told(
        id=message.id,
        text=message.text,
        source="teacher" if message.booking else "operator",
        at=unix(message.at),
    )


def state_of(booking: Booking, now: float) -> Literal["planned", "on", "over"]:
    """How a booking stands at a moment (Unix seconds)."""
    return "planned" if now < booking.begins else "on" if now < booking.ends else "over"


def when(texts: Words, booking: Booking) -> str:
    """The time of a booking for people, in the time zone that it was made in."""
    try:
        zone = time_zones.zone(booking.zone)
    except ValueError:  # the machine's database of time zones has lost it
        zone = time_zones.zone("UTC")
    begins, ends = (datetime.datetime.fromtimestamp(at, zone) for at in (booking.begins, booking.ends))
    return messages.span(texts, begins, ends)


def admin_booking(context: Context, texts: Words, booking: Booking, *, with_picture: bool = False) -> AdminBooking:
    """A booking as the operator sees it."""
    bookings = context.site.agenda.bookings
    claims = context.site.claims.get(bookings.pool_of(booking))
    class_url = teacher_url = None
    if booking.for_class and bookings.get(booking.id) is not None:
        class_url = context.public_url(context.links.for_class(bookings.class_key(booking)))
        teacher_url = context.public_url(context.links.for_teacher(bookings.teacher_key(booking)))
    return AdminBooking(
        id=booking.id,
        pool=bookings.pool_of(booking),
        begins=unix(booking.begins),
        ends=unix(booking.ends),
        when=when(texts, booking),
        people=booking.people,
        came=booking.came,
        left=0 if claims is None else claims.left_of(booking.id),
        workshop=booking.workshop,
        title=booking.title,
        for_class=booking.for_class,
        class_url=class_url,
        teacher_url=teacher_url,
        qr=qr_code(class_url) if with_picture and class_url else None,
    )


def warnings(context: Context) -> list[str]:
    """What the operator should put right: workshops that several pools have, bookings whose pool has gone."""
    bookings = context.site.agenda.bookings
    moved = [(one, pool) for one in bookings if (pool := bookings.pool_of(one)) != one.pool]
    return context.offers.conflicts() + [
        f"the booking {one.id} is of the pool {one.pool}, which there is no more: {pool} serves it. Give that pool "
        f"back its table, or cancel the booking"
        for one, pool in moved
    ]


def session_of(context: Context, texts: Words, container_id: str) -> Session | None:
    """A session by its id: running, or ended and still remembered; None for a container that was never claimed."""
    container = context.site.find(container_id)
    if container is not None and container.claimed_at is not None:
        return Session.model_validate(_facts(context, texts, container))
    ended = context.site.ended(container_id)
    if ended is None:
        return None
    message = messages.how_it_ended(texts, ended.reason)
    return Session(id=container_id, state=State.REMOVING, reason=ended.reason, message=message)


def admin_session(context: Context, container: Container) -> AdminSession:
    """A session as the operator sees it."""
    facts = _facts(context, words(), container)
    cpu = container.cpu
    more = {
        "visited": container.visited,
        "open_connections": container.open_connections,
        "cpu_seconds": None if cpu.seconds is None else round(cpu.seconds, 1),
        "cpu_ratio": None if cpu.ratio is None else round(cpu.ratio, 3),
        "busy": cpu.is_busy,
        "pool": context.offers.of(container).name,
    }
    return AdminSession.model_validate({**facts, **more})


def _facts(context: Context, texts: Words, container: Container) -> dict[str, object]:
    evidence = container.evidence
    claimed = container.state is State.CLAIMED
    limits = context.limits_of(container)
    end = expires_at(evidence, limits, time.monotonic()) if claimed else None
    latest = evidence.claimed_at + limits.maximum if claimed and limits.maximum > 0 else None
    tell = functools.partial(moment, epoch=monotonic_epoch())
    return {
        "id": container.id,
        "state": container.state,
        "now": tell(time.monotonic()),
        "started": tell(container.claimed_at),
        "last_activity": tell(evidence.last_activity),
        "expires_at": tell(end),
        "ends_at": tell(latest),
        "idle_timeout": limits.timeout if claimed and limits.timeout > 0 else None,
        "reason": container.reason,
        "message": None if container.reason is None else messages.how_it_ended(texts, container.reason),
    }


def admin_nodes(context: Context, nodes: Sequence[NodeStatus]) -> tuple[AdminNode, ...]:
    """The cluster's machines as the operator sees them."""
    return tuple(_admin_node(context, one) for one in sorted(nodes, key=lambda one: one.name))


def _admin_node(context: Context, node: NodeStatus) -> AdminNode:
    counts = dict.fromkeys(State, 0)
    for one in node.notebooks:
        # What has no record yet was found at the last listing only, or is being removed after one.
        container = context.site.find(one)
        counts[State.REMOVING if container is None else container.state] += 1
    return AdminNode(
        id=node.id,
        name=node.name,
        state=node.state,
        relay=node.has_relay,
        image=node.has_image,
        pulling=node.pulling,
        image_error=node.image_error,
        memory_bytes=node.memory,
        reserved_bytes=node.reserved,
        cpus=node.cpus,
        ready=counts[State.READY],
        claimed=counts[State.CLAIMED],
        starting=counts[State.STARTING],
        removing=counts[State.REMOVING],
        missing=node.lacks,
    )


def stats_of(context: Context, pools: Collection[Pool] = ()) -> Stats:
    """Some pools, or all of them, in numbers; the image is the first one's."""
    pools = pools or context.site.pools.values()
    states = [pool.status for pool in pools]
    return Stats(
        available=sum(one.available for one in states),
        capacity=sum(one.capacity for one in states),
        version=__version__,
        container_image=next(pool.options.current.image for pool in pools),
        pool_size=sum(one.size for one in states),
        starting=_count(states, State.STARTING),
        claimed=_count(states, State.CLAIMED),
        removing=_count(states, State.REMOVING),
        waiting=sum(one.waiting for one in states),
        cause=next((one.failure.kind.value for one in states if one.failure is not None), None),
    )


def _count(states: Iterable[Status], state: State) -> int:
    return sum(one.count(state) for one in states)


def failure_of(pools: Iterable[Pool]) -> LastFailure | None:
    """The failure that keeps containers of these pools from becoming ready now, in full."""
    return next((described(pool.failure) for pool in pools if pool.failure is not None), None)


def described(failure: Failure) -> LastFailure:
    """A failure as the operator sees it."""
    at = moment(failure.at) or datetime.datetime.now(datetime.UTC)
    return LastFailure(cause=failure.kind.value, message=failure.message, at=at, log_lines=failure.log_lines)


def spawned(context: Context, visitor: Visitor, container: Container, target: str) -> Spawned:
    """A notebook as its owner sees it. `target` is the document that `open_url` opens."""
    origin = visitor.origin_of(container)
    return Spawned(
        id=container.id,
        url=container.path,
        session_url=origin + container.path if origin else None,
        open_url=opened(container.path, target, container.token),
        token=container.token,
        expires_at=moment(expires_at(container.evidence, context.limits_of(container), time.monotonic())),
    )


_STATUSES: Mapping[TicketStatus, str] = {
    TicketStatus.WAITING: "waiting",
    TicketStatus.HANDING_OVER: "waiting",
    TicketStatus.READY: "ready",
    TicketStatus.ANNOUNCED: "ready",
    TicketStatus.ENDED: "ended",
    TicketStatus.CLOSED: "left",
    TicketStatus.LEFT: "left",
}


def ticket_state(context: Context, texts: Words, visitor: Visitor, ticket: Ticket) -> TicketState:
    """A ticket as its visitor sees it. Call `allocation.announce` before showing it.

    A visitor who `keeps_sessions` gets the session's key, for our own pages: with it they use the session again after
    a reload.
    """
    claims = context.site.claims_with(ticket.id)
    position = claims.position(ticket)
    estimate = None if position is None else claims.estimate(position, ticket.booking)
    container = ticket.container if ticket.is_served else None
    return TicketState.model_validate(
        {
            "id": ticket.id,
            "status": _STATUSES[ticket.status],
            "position": position,
            "estimate": None if estimate is None else math.ceil(estimate),
            "session": None if container is None else spawned(context, visitor, container, ticket.target),
            "key": page_key(container) if visitor.keeps_sessions and container is not None else None,
            "message": messages.ticket_message(context, texts, ticket, position, estimate),
        }
    )


def reused(context: Context, texts: Words, visitor: Visitor, container: Container, target: str) -> TicketState:
    """The visitor's running session in the form of a ticket. Its id is made up, as there is nothing to wait for."""
    return TicketState(
        id=secrets.token_hex(16),
        status="ready",
        session=spawned(context, visitor, container, target),
        key=page_key(container),
        message=texts.gettext("Your notebook is still running."),
    )


def pool_status(pools: Iterable[Pool]) -> PoolStatus:
    """Pools as the operator controls them, taken together; closed if none of them lets newcomers in."""
    pools = tuple(pools)
    states = [pool.status for pool in pools]
    opens = [one.opens_at for one in states if one.opens_at is not None]
    opens_at = min(opens) if opens and len(opens) == len(states) else None
    return PoolStatus(
        size=sum(one.size for one in states),
        max_containers=sum(one.capacity for one in states),
        ready=_count(states, State.READY),
        starting=_count(states, State.STARTING),
        claimed=_count(states, State.CLAIMED),
        removing=_count(states, State.REMOVING),
        waiting=sum(one.waiting for one in states),
        closed=not any(one.is_open for one in states),
        closed_to_classes=not any(one.admits_classes or one.is_open for one in states),
        base=sum(one.base for one in states),
        because=_because(states),
        timetable=tuple(entry for one in states for entry in _timetable(one)),
        shut_by_timetable=opens_at is not None,
        opens_at=unix(opens_at) if opens_at is not None and math.isfinite(opens_at) else None,
        warm=tuple(entry for pool in pools for entry in _warm(pool)),
        warm_because=_told([(pool.name, pool.warm_because) for pool in pools]),
    )


def _warm(pool: Pool) -> tuple[WarmKernels, ...]:
    return tuple(
        WarmKernels(
            kernel=one.kernel.name,
            packages=one.kernel.packages,
            ready=one.ready,
            problem=None if one.problem is None else one.problem.message,
            pool=pool.name,
        )
        for one in pool.warm
    )


def admin_pool(context: Context, pool: Pool) -> AdminPool:
    """One of the service's pools as the operator sees it."""
    names, settings = [one.name for one in context.offers], pool.options.current
    return AdminPool(
        name=pool.name,
        is_default=pool.name == names[0],
        leaving=pool.name not in names,
        image=settings.image,
        pool=pool_status([pool]),
        engine_up=pool.status.engine_up,
        failure=failure_of([pool]),
        sessions=pool.count(State.CLAIMED),
        mem_limit=settings.mem_limit,
        cpus=settings.cpu_quota / CPU or None,
        cull_timeout=pool.limits.value.timeout,
        guaranteed_containers=settings.guaranteed_containers,
        egress=settings.egress,
    )


def _because(states: Sequence[Status]) -> str | None:
    """Why the size is what it is, where it is decided automatically."""
    return _told([(one.name, "" if one.decision is None else str(one.decision)) for one in states])


def _told(reasons: Sequence[tuple[str, str]]) -> str | None:
    """What pools give as a reason, each with its name where there are several; None where none gives any."""
    given = [(name, reason) for name, reason in reasons if reason]
    if len(reasons) == 1:
        return next((reason for _, reason in given), None)
    return "; ".join(f"{name}: {reason}" for name, reason in given) or None


def _timetable(pool: Status) -> tuple[TimetableEntry, ...]:
    """What is on, what is being prepared, and the next one that is neither."""
    programme = pool.programme
    coming = [one for one in programme.following if one not in programme.preparing][:1]
    states: tuple[tuple[Literal["on", "preparing", "next"], Sequence[Occurrence]], ...]
    states = (("on", programme.on), ("preparing", programme.preparing), ("next", coming))
    return tuple(
        TimetableEntry(
            state=state,
            begins=unix(one.begins),
            ends=unix(one.ends),
            pool_size=one.entry.pool_size,
            text=str(one.entry),
            pool=pool.name,
        )
        for state, found in states
        for one in found
    )
