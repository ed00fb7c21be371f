"""A ticket goes through its life in one direction, and says so to those who watch it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.models import State
from tmpnb_py.pools.container import Container

MOVES: dict[Status, Callable[[Ticket], None]] = {
    Status.WAITING: Ticket.wait_again,
    Status.HANDING_OVER: Ticket.hand_over,
    Status.READY: lambda ticket: ticket.serve(Container("c", "today", "token", created_at=0.0, state=State.CLAIMED)),
    Status.ANNOUNCED: Ticket.announce,
    Status.ENDED: Ticket.end,
    Status.CLOSED: Ticket.close,
    Status.LEFT: Ticket.leave,
}
PATHS = {
    Status.WAITING: (),
    Status.HANDING_OVER: (Status.HANDING_OVER,),
    Status.READY: (Status.HANDING_OVER, Status.READY),
    Status.ANNOUNCED: (Status.HANDING_OVER, Status.READY, Status.ANNOUNCED),
    Status.ENDED: (Status.HANDING_OVER, Status.READY, Status.ENDED),
    Status.CLOSED: (Status.CLOSED,),
    Status.LEFT: (Status.LEFT,),
}
ALLOWED = {
    (Status.WAITING, Status.HANDING_OVER),
    (Status.WAITING, Status.CLOSED),
    (Status.WAITING, Status.LEFT),
    (Status.HANDING_OVER, Status.WAITING),
    (Status.HANDING_OVER, Status.READY),
    (Status.HANDING_OVER, Status.LEFT),
    (Status.READY, Status.ANNOUNCED),
    (Status.READY, Status.ENDED),
    (Status.ANNOUNCED, Status.ENDED),
}


def ticket_in(status: Status) -> Ticket:
    ticket = Ticket("lab", 0.0)
    for step in PATHS[status]:
        MOVES[step](ticket)
    return ticket


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Status, Status)))
def test_each_transition_checks_where_it_comes_from(before: Status, after: Status) -> None:
    ticket = ticket_in(before)
    assert ticket.status is before
    if (before, after) in ALLOWED:
        MOVES[after](ticket)
        assert ticket.status is after
    else:
        with pytest.raises(RuntimeError, match="cannot go"):
            MOVES[after](ticket)
        assert ticket.status is before


@pytest.mark.parametrize("status", list(Status))
def test_what_a_status_means(status: Status) -> None:
    ticket = ticket_in(status)
    assert ticket.is_waiting == (status in (Status.WAITING, Status.HANDING_OVER))
    assert ticket.is_served == (status in (Status.READY, Status.ANNOUNCED))
    assert ticket.is_alive == (status not in (Status.ENDED, Status.CLOSED, Status.LEFT))
    assert (ticket.container is not None) == (status in (Status.READY, Status.ANNOUNCED, Status.ENDED))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Status.HANDING_OVER, Status.READY), (Status.HANDING_OVER, Status.WAITING), (Status.READY, Status.ENDED),
        (Status.WAITING, Status.LEFT), (Status.WAITING, Status.CLOSED),
    ],
)  # fmt: skip
async def test_who_watches_is_woken_by_what_a_visitor_sees(before: Status, after: Status) -> None:
    ticket = ticket_in(before)
    watches = asyncio.create_task(ticket.changed(None))
    await asyncio.sleep(0)
    MOVES[after](ticket)
    assert await watches


async def test_a_change_that_does_not_come_in_time_is_none() -> None:
    assert not await Ticket("lab", 0.0).changed(0.001)


def test_a_lease_runs_from_the_last_renewal_and_not_while_somebody_watches() -> None:
    ticket = Ticket("lab", 100.0)
    assert ticket.has_expired(100.0)  # nobody has asked for it
    ticket.renew(100.0, 30.0)
    assert not ticket.has_expired(129.9)
    assert ticket.has_expired(130.0)
    with ticket.watched(), ticket.watched():
        assert not ticket.has_expired(1000.0)
    assert ticket.has_expired(1000.0)


def test_ids_cannot_be_guessed_and_are_kept_over_a_restart() -> None:
    assert len({Ticket("lab", 0.0).id for _ in range(100)}) == 100
    assert len(Ticket("lab", 0.0).id) == 32
    assert Ticket("lab", 0.0, ticket_id="0" * 32).id == "0" * 32
