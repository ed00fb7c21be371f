"""The tickets that are kept are found as long as they are kept, and the line store says the same of them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.claims_support import LEASE, Clock
from tmpnb_py.claims.line_store import Entry, LineStore
from tmpnb_py.claims.registry import TicketRegistry
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.models import State
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def line_store(tmp_path: Path) -> LineStore:
    store = LineStore(tmp_path / "pool.line")
    store.open(LEASE)
    return store


@pytest.fixture
def tickets(line_store: LineStore, clock: Clock) -> TicketRegistry:
    return TicketRegistry(line_store, LiveOptions(Settings(place_lease=LEASE)), clock)


def stored(tmp_path: Path) -> list[Entry]:
    """What a service that starts now would find."""
    copy = tmp_path / "copy.line"
    shutil.copy(tmp_path / "pool.line", copy)
    return LineStore(copy).open(LEASE)


def claimed(container_id: str = "c1") -> Container:
    return Container(container_id, "today", "token", created_at=0.0, state=State.CLAIMED)


def served(tickets: TicketRegistry, container: Container) -> Ticket:
    ticket = Ticket("lab", 1000.0)
    tickets.add(ticket)
    tickets.store(ticket)
    ticket.hand_over()
    tickets.serve(ticket, container)
    return ticket


def test_a_key_finds_its_ticket_as_long_as_it_is_good_for_a_notebook(tickets: TicketRegistry) -> None:
    ticket, other = Ticket("lab", 0.0, idempotency_key="k"), Ticket("lab", 0.0)
    tickets.add(ticket)
    tickets.add(other)
    assert tickets.repeated("k") is ticket
    assert tickets.repeated("") is None
    ticket.leave()
    assert tickets.repeated("k") is None
    assert tickets.get(ticket.id) is ticket


def test_a_key_that_is_used_anew_is_not_forgotten_with_its_first_ticket(tickets: TicketRegistry) -> None:
    first, second = (Ticket("lab", 0.0, idempotency_key="k") for _ in range(2))
    tickets.add(first)
    first.leave()
    tickets.add(second)
    tickets.forget(first)
    assert tickets.repeated("k") is second


def test_looking_up_changes_nothing(tickets: TicketRegistry, clock: Clock) -> None:
    ticket = Ticket("lab", clock.now, idempotency_key="k")
    tickets.add(ticket)
    tickets.renew(ticket)
    clock.now += LEASE - 1
    assert (tickets.get(ticket.id), tickets.repeated("k"), tickets.expired(clock.now)) == (ticket, ticket, [])
    clock.now += 1
    assert tickets.expired(clock.now) == [ticket]
    assert tickets.expired(clock.now) == [ticket]


def test_nothing_is_left_of_a_ticket_that_is_forgotten(tickets: TicketRegistry, tmp_path: Path) -> None:
    container = claimed()
    ticket = served(tickets, container)
    tickets.forget(ticket)
    tickets.forget(ticket)
    assert (len(tickets), list(tickets), stored(tmp_path)) == (0, [], [])
    container.state = State.REMOVING
    tickets.notebook_ended(container)
    assert ticket.status is Status.READY


def test_leases_are_stored_where_they_are_shorter_than_usual(
    tickets: TicketRegistry, clock: Clock, tmp_path: Path
) -> None:
    ticket = Ticket("lab", clock.now)
    tickets.add(ticket)
    tickets.store(ticket)
    tickets.shorten(ticket, 15.0)
    assert stored(tmp_path)[0].until == pytest.approx(time.time() + 15, abs=10)
    clock.now += 14
    with tickets.watching(ticket):
        clock.now += 1000
        assert tickets.expired(clock.now) == []
        assert stored(tmp_path)[0].until == pytest.approx(time.time() + LEASE, abs=10)
    assert not ticket.has_expired(clock.now + LEASE - 1)
    assert ticket.has_expired(clock.now + LEASE)


def test_what_a_ticket_is_given_is_stored_and_announced_once(tickets: TicketRegistry, tmp_path: Path) -> None:
    waiting = Ticket("lab", 1000.0)
    assert not tickets.announce(waiting)
    ticket = served(tickets, claimed())
    assert (stored(tmp_path)[0].container, stored(tmp_path)[0].told) == ("c1", False)
    assert tickets.announce(ticket)
    assert not tickets.announce(ticket)
    assert (ticket.status, stored(tmp_path)[0].told) == (Status.ANNOUNCED, True)


@pytest.mark.parametrize("is_announced", [False, True])
def test_a_ticket_ends_with_its_notebook(tickets: TicketRegistry, is_announced: bool) -> None:
    one, two = claimed("c1"), claimed("c2")
    ticket, other = served(tickets, one), served(tickets, two)
    if is_announced:
        tickets.announce(ticket)
    tickets.notebook_ended(one)
    tickets.notebook_ended(one)
    assert (ticket.status, ticket.container, other.status) == (Status.ENDED, one, Status.READY)
    assert not tickets.announce(ticket)


def test_a_notebook_that_ended_while_it_was_handed_over_is_none(tickets: TicketRegistry) -> None:
    container = claimed()
    container.state = State.REMOVING
    assert served(tickets, container).status is Status.ENDED


def test_who_waits_with_an_open_request_is_not_stored(tickets: TicketRegistry, tmp_path: Path) -> None:
    ticket = Ticket("", 1000.0)
    tickets.add(ticket)
    tickets.renew(ticket)
    tickets.shorten(ticket, 1.0)
    ticket.hand_over()
    tickets.serve(ticket, claimed())
    tickets.announce(ticket)
    assert stored(tmp_path) == []


def test_a_lease_that_was_over_while_nobody_could_be_heard_begins_anew(tickets: TicketRegistry, clock: Clock) -> None:
    ticket = Ticket("lab", clock.now)
    tickets.add(ticket)
    tickets.renew(ticket)
    clock.now += LEASE + 1
    assert tickets.expired(clock.now) == [ticket]
    tickets.forgive(clock.now)
    assert tickets.expired(clock.now + LEASE - 1) == []
    assert tickets.expired(clock.now + LEASE) == [ticket]
