"""Sessions, tickets and the pool as the API shows them: facts of the service in the models of `schema`.

Queries only; nothing here changes anything.
"""

from __future__ import annotations

import datetime
import functools
import math
import secrets
import time
from collections.abc import Mapping, Sequence

from tmpnb_py import __version__
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.links import opened
from tmpnb_py.core.models import Failure, NodeStatus, State
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import expires_at
from tmpnb_py.web import messages
from tmpnb_py.web.api.schema import (
    AdminNode,
    AdminSession,
    LastFailure,
    PoolStatus,
    Session,
    Spawned,
    Stats,
    TicketState,
)
from tmpnb_py.web.context import Context
from tmpnb_py.web.cookies import page_key
from tmpnb_py.web.visitor import Visitor


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


def session_of(context: Context, container_id: str) -> Session | None:
    """A session by its id: running, or ended and still remembered; None for a container that was never claimed."""
    container = context.site.find(container_id)
    if container is not None and container.claimed_at is not None:
        return Session.model_validate(_facts(context, container))
    ended = context.site.ended(container_id)
    if ended is None:
        return None
    message = messages.how_it_ended(ended.reason)
    return Session(id=container_id, state=State.REMOVING, reason=ended.reason, message=message)


def admin_session(context: Context, container: Container) -> AdminSession:
    """A session as the operator sees it."""
    facts = _facts(context, container)
    more = {"visited": container.visited, "open_connections": container.open_connections}
    return AdminSession.model_validate({**facts, **more})


def _facts(context: Context, container: Container) -> dict[str, object]:
    evidence = container.evidence
    claimed = container.state is State.CLAIMED
    limits = context.limits
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
        "message": None if container.reason is None else messages.how_it_ended(container.reason),
    }


def admin_nodes(context: Context, nodes: Sequence[NodeStatus]) -> tuple[AdminNode, ...]:
    """The cluster's machines as the operator sees them."""
    return tuple(_admin_node(context, one) for one in sorted(nodes, key=lambda one: one.name))


def _admin_node(context: Context, node: NodeStatus) -> AdminNode:
    counts = dict.fromkeys(State, 0)
    for one in node.notebooks:
        # What has no record yet was found at the last listing only, or is being removed after one.
        container = context.site.pool_for().get(one)
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


def stats_of(context: Context) -> Stats:
    """The pool in numbers."""
    pool = context.site.pool_for().status
    return Stats(
        available=pool.count(State.READY),
        capacity=pool.capacity,
        version=__version__,
        container_image=context.options.current.image,
        pool_size=pool.size,
        starting=pool.count(State.STARTING),
        claimed=pool.count(State.CLAIMED),
        removing=pool.count(State.REMOVING),
        waiting=pool.waiting,
        cause=pool.failure.kind.value if pool.failure is not None else None,
    )


def failure_of(context: Context) -> LastFailure | None:
    """The failure that keeps containers from becoming ready now, in full."""
    failure = context.site.pool_for().failure
    return None if failure is None else described(failure)


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
        expires_at=moment(expires_at(container.evidence, context.limits, time.monotonic())),
    )


_STATUSES: Mapping[Status, str] = {
    Status.WAITING: "waiting",
    Status.HANDING_OVER: "waiting",
    Status.READY: "ready",
    Status.ANNOUNCED: "ready",
    Status.ENDED: "ended",
    Status.CLOSED: "left",
    Status.LEFT: "left",
}


def ticket_state(context: Context, visitor: Visitor, ticket: Ticket) -> TicketState:
    """A ticket as its visitor sees it. Call `allocation.announce` before showing it.

    A visitor who `keeps_sessions` gets the session's key, for our own pages: with it they use the session again after
    a reload.
    """
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
            "session": None if container is None else spawned(context, visitor, container, ticket.target),
            "key": page_key(container) if visitor.keeps_sessions and container is not None else None,
            "message": messages.ticket_message(context, ticket, position, estimate),
        }
    )


def reused(context: Context, visitor: Visitor, container: Container, target: str) -> TicketState:
    """The visitor's running session in the form of a ticket. Its id is made up, as there is nothing to wait for."""
    return TicketState(
        id=secrets.token_hex(16),
        status="ready",
        session=spawned(context, visitor, container, target),
        key=page_key(container),
        message="Your notebook is still running.",
    )


def pool_status(context: Context) -> PoolStatus:
    """The pool as the operator controls it."""
    pool = context.site.pool_for().status
    return PoolStatus(
        size=pool.size,
        max_containers=pool.capacity,
        ready=pool.count(State.READY),
        starting=pool.count(State.STARTING),
        claimed=pool.count(State.CLAIMED),
        removing=pool.count(State.REMOVING),
        waiting=pool.waiting,
        closed=not pool.is_open,
    )
