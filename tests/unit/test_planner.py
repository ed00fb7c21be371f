"""The planner: each rule in a table, then all of them against a model of an engine and any sequence of events."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tmpnb_py.core.models import Address, Ended, EndReason, Exit, Observed, State, TcpAddress
from tmpnb_py.pools.planner import (
    Action,
    Adopt,
    Backoff,
    ContainerFacts,
    Died,
    Discard,
    End,
    Listing,
    Plan,
    Readdress,
    Remove,
    Situation,
    Start,
    Targets,
    is_full,
    plan,
)

NOW = 1000.0
TODAY, OLD = "today", "old"
STARTING, READY, CLAIMED, REMOVING = State
EXITED, KILLED = Exit(1), Exit(137, out_of_memory=True)
STEADY = Backoff(batch=64)
TARGETS = Targets(digest=TODAY, pool_size=3, max_containers=10, concurrency=8)


def record(container_id: str, state: State, digest: str = TODAY, **changed: Any) -> ContainerFacts:
    """A record that last changed before any listing of these tests."""
    return dataclasses.replace(
        ContainerFacts(container_id, state, digest, created_at=NOW - 500, changed_at=NOW - 500, removal_due_at=0.0),
        **changed,
    )


def records(
    starting: int = 0, ready: int = 0, claimed: int = 0, removing: int = 0, old: int = 0
) -> list[ContainerFacts]:
    """So many of each; `old` ones are ready and of an older configuration. Those being removed are under way."""
    return [
        *(record(f"s{number}", STARTING) for number in range(starting)),
        *(record(f"o{number}", READY, OLD) for number in range(old)),
        *(record(f"r{number}", READY) for number in range(ready)),
        *(record(f"c{number}", CLAIMED) for number in range(claimed)),
        *(record(f"x{number}", REMOVING, changed_at=NOW - 1, removal_due_at=math.inf) for number in range(removing)),
    ]


def seen(
    container_id: str,
    state: State,
    ended: Exit | None = None,
    digest: str = TODAY,
    address: Address | None = None,
) -> Observed:
    return Observed(container_id, state, digest, "token", 0.0, 1.0 if state is CLAIMED else None, ended, address)


def listing(*containers: Observed, asked_at: float = NOW - 1, after_outage: bool = False) -> Listing:
    return Listing(asked_at, containers, after_outage)


def situation(
    of: Sequence[ContainerFacts] = (), *, targets: Targets = TARGETS, backoff: Backoff = STEADY, **more: Any
) -> Situation:
    return Situation(NOW, targets, of, backoff=backoff, **more)


def targets(**changed: Any) -> Targets:
    return dataclasses.replace(TARGETS, **changed)


def actions(*arguments: Any, **more: Any) -> list[Action]:
    return list(plan(situation(*arguments, **more)).actions)


def starts(*arguments: Any, **more: Any) -> int:
    """How many are started, where nothing else is done."""
    found = actions(*arguments, **more)
    assert set(found) <= {Start()}
    return len(found)


# --- starting


def claims(*ago: float) -> list[ContainerFacts]:
    return [record(f"c{number}", CLAIMED, changed_at=NOW - seconds) for number, seconds in enumerate(ago)]


@pytest.mark.parametrize(
    ("ago", "waiting", "started"),
    [
        ((0.1, 0.2, 0.3, 0.4), 0, 0),
        ((0.1, 0.2, 0.3), 0, 3),  # no crowd
        ((0.1, 0.2, 0.3, 0.4), 1, 4),  # somebody waits
        ((0.1, 0.2, 0.3, 1.1), 0, 3),  # its second is over
        ((0.1, 0.2, 0.3, 0.4, 5.0), 0, 3),  # visitors come all the time
        ((0.1, 0.2, 0.3, 0.4, 20.0), 0, 0),
    ],
)
def test_a_crowd_has_the_processors_for_a_second(ago: Sequence[float], waiting: int, started: int) -> None:
    wanted = targets(pool_size=3)
    assert starts(claims(*ago), targets=wanted, waiting=waiting) == started


def test_starting_goes_on_after_the_crowd() -> None:
    found = plan(situation(claims(0.1, 0.2, 0.3, 0.4)))
    assert found.actions == ()
    assert found.wake_at == pytest.approx(NOW + 0.6)


def test_a_fresh_start_is_slow() -> None:
    """1, 2, 4 … at once, up to the concurrency."""
    backoff, ready, batches = Backoff(), 0, []
    wanted = targets(pool_size=20, max_containers=50)
    while ready < 20:
        batch = starts(records(ready=ready), targets=wanted, backoff=backoff)
        assert not starts(records(ready=ready, starting=batch), targets=wanted, backoff=backoff)
        for _ in range(batch):
            backoff = backoff.succeeded()
        batches.append(batch)
        ready += batch
    assert batches == [1, 2, 8, 8, 1]  # each of the 2 doubles it, so 8 follow, which is also the concurrency


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({}, 3),
        ({"ready": 1}, 2),
        ({"ready": 3}, 0),
        ({"starting": 1}, 2),
        ({"starting": 2, "ready": 1}, 0),
        ({"ready": 3, "claimed": 5}, 0),
        ({"ready": 2, "claimed": 1}, 1),  # a claim is refilled at once: claimed ones do not count
        ({"claimed": 5}, 3),
        ({"claimed": 8}, 2),  # max_containers
        ({"claimed": 10}, 0),
        ({"claimed": 12}, 0),
        ({"claimed": 5, "removing": 4}, 1),  # what is not yet gone takes room
        ({"ready": 1, "claimed": 8, "starting": 1}, 0),
        ({"removing": 2}, 3),
    ],
)
def test_refill(of: dict[str, int], expected: int) -> None:
    assert starts(records(**of)) == expected


@pytest.mark.parametrize(
    ("starting", "concurrency", "batch", "expected"),
    [
        (0, 2, 64, 2),
        (1, 2, 64, 1),
        (2, 2, 64, 0),
        (3, 2, 64, 0),
        (0, 8, 1, 1),
        (1, 8, 1, 0),
        (1, 8, 2, 1),
        (0, 8, 4, 4),
        (0, 8, 64, 8),
        (0, 0, 64, 0),
    ],
)
def test_no_more_starts_at_once_than_allowed(starting: int, concurrency: int, batch: int, expected: int) -> None:
    wanted = targets(pool_size=20, max_containers=50, concurrency=concurrency)
    assert starts(records(starting=starting), targets=wanted, backoff=Backoff(batch=batch)) == expected


@pytest.mark.parametrize(
    ("begun", "answering", "concurrency", "batch", "expected"),
    [
        (0, 2, 2, 64, 2),
        (1, 1, 2, 64, 1),
        (2, 1, 2, 64, 0),
        (0, 3, 2, 64, 1),
        (0, 4, 2, 64, 0),
        (0, 5, 2, 64, 0),
        (0, 1, 8, 1, 1),
        (1, 1, 8, 1, 0),
    ],
)
def test_as_many_again_may_be_having_their_kernels_started(
    begun: int, answering: int, concurrency: int, batch: int, expected: int
) -> None:
    wanted = targets(pool_size=20, max_containers=50, concurrency=concurrency)
    answer = [record(f"a{number}", STARTING, answers=True) for number in range(answering)]
    assert starts([*records(starting=begun), *answer], targets=wanted, backoff=Backoff(batch=batch)) == expected


@pytest.mark.parametrize(
    ("of", "waiting", "expected"),
    [
        ({}, 2, 5),
        ({"starting": 3}, 2, 2),
        ({"starting": 5}, 2, 0),
        ({"claimed": 9}, 2, 1),
        ({"ready": 4}, 1, 0),
    ],
)
def test_visitors_in_line_add_to_what_is_wanted(of: dict[str, int], waiting: int, expected: int) -> None:
    assert starts(records(**of), waiting=waiting) == expected


def test_an_empty_pool_starts_on_demand() -> None:
    wanted = targets(pool_size=0)
    assert starts(targets=wanted) == 0
    assert starts(targets=wanted, waiting=2) == 2


def test_without_a_configuration_nothing_is_started() -> None:
    assert starts(targets=targets(digest=None), waiting=5) == 0


def test_without_a_capacity_nothing_is_started() -> None:
    assert starts(targets=targets(max_containers=0)) == 0


@pytest.mark.parametrize(("retry_at", "expected"), [(NOW + 0.1, 0), (NOW, 1), (NOW - 1, 1)])
def test_after_a_failure_it_waits_and_then_tries_one(retry_at: float, expected: int) -> None:
    assert starts(backoff=Backoff(failures=3, retry_at=retry_at)) == expected


# --- what the engine has


@pytest.mark.parametrize(
    ("state", "ended", "expected"),
    [
        (STARTING, None, EndReason.HALF_STARTED),
        (STARTING, EXITED, EndReason.ENGINE_RESTARTED),
        (STARTING, KILLED, EndReason.OUT_OF_MEMORY),
        (READY, None, None),
        (READY, EXITED, EndReason.ENGINE_RESTARTED),
        (READY, KILLED, EndReason.OUT_OF_MEMORY),
        (CLAIMED, None, None),
        (CLAIMED, EXITED, EndReason.ENGINE_RESTARTED),
        (CLAIMED, KILLED, EndReason.OUT_OF_MEMORY),
    ],
)
@pytest.mark.parametrize("digest", [TODAY, OLD])
def test_what_is_found_is_taken_up_or_removed(
    state: State, ended: Exit | None, expected: EndReason | None, digest: str
) -> None:
    found = seen("a", state, ended, digest)
    action = Adopt(found) if expected is None else Discard(found, expected)
    assert actions(listing=listing(found)) == [action], "and nothing is started before it is counted"


def test_what_is_found_is_counted_before_anything_is_started() -> None:
    found = [seen("a", CLAIMED), seen("b", STARTING), seen("c", READY)]
    full = targets(max_containers=3)
    assert actions(targets=full, listing=listing(*found)) == [
        Adopt(found[0]),
        Discard(found[1], EndReason.HALF_STARTED),
        Adopt(found[2]),
    ]
    after = [record("c", READY), record("a", CLAIMED), record("b", REMOVING)]
    assert actions(after, targets=full) == [Remove("b")]


def test_an_empty_engine_is_filled() -> None:
    assert starts(listing=listing()) == 3


@pytest.mark.parametrize("state", [STARTING, READY, CLAIMED])
@pytest.mark.parametrize("ended", [None, EXITED])
@pytest.mark.parametrize("gone_at", [None, NOW - 1, NOW])
def test_what_has_ended_never_comes_back(state: State, ended: Exit | None, gone_at: float | None) -> None:
    late = listing(seen("gone", state, ended), seen("c0", CLAIMED), asked_at=NOW - 1)
    gone = {"gone": Ended(EndReason.IDLE, NOW - 9, gone_at)}
    assert starts(records(claimed=1), listing=late, ended=gone) == 3


@pytest.mark.parametrize("state", [STARTING, READY, CLAIMED])
@pytest.mark.parametrize("ended", [None, EXITED])
def test_what_comes_after_its_end_is_removed(state: State, ended: Exit | None) -> None:
    """A create that was given up was carried out later: the engine lists what had been confirmed to be gone."""
    there = seen("gone", state, ended)
    gone = {"gone": Ended(EndReason.START_FAILED, NOW - 9, NOW - 2)}
    assert actions(listing=listing(there, asked_at=NOW - 1), ended=gone) == [Discard(there, EndReason.START_FAILED)]


HERE, THERE = TcpAddress("127.0.0.1", 1), TcpAddress("127.0.0.1", 2)


@pytest.mark.parametrize("known", [HERE, None])
def test_a_session_that_moved_or_could_not_be_dialled_is_followed(known: Address | None) -> None:
    """Somebody restarted its container: the engine has given it another port."""
    moved = seen("a", CLAIMED, address=THERE)
    of = [record("a", CLAIMED, address=known), *records(ready=3)]
    found = listing(moved, *(seen(one.id, READY) for one in of[1:]))
    assert actions(of, listing=found) == [Readdress(moved)]
    late = [dataclasses.replace(of[0], changed_at=NOW), *of[1:]]
    assert actions(late, listing=found) == []


def test_a_ready_one_that_moved_is_not_given_away() -> None:
    of = [record("a", READY, address=HERE), *records(ready=2)]
    others = [seen(one.id, READY) for one in of[1:]]
    assert End("a", EndReason.CRASHED) in actions(of, listing=listing(seen("a", READY, address=THERE), *others))


@pytest.mark.parametrize("state", [STARTING, READY, CLAIMED, REMOVING])
def test_what_is_where_it_was_or_nowhere_stays(state: State) -> None:
    of = [record("a", state, address=HERE, removal_due_at=math.inf), *records(ready=3)]
    for address in (HERE, None):
        found = listing(seen("a", CLAIMED, address=address), *(seen(one.id, READY) for one in of[1:]))
        found_actions = actions(of, targets=targets(pool_size=4), listing=found)
        assert not any(isinstance(one, (Readdress, End)) for one in found_actions)


@pytest.mark.parametrize(
    ("state", "ended", "after_outage", "expected"),
    [
        (STARTING, None, False, []),
        (STARTING, EXITED, False, [Died("a")]),
        (STARTING, KILLED, False, [Died("a")]),
        (STARTING, EXITED, True, [Died("a")]),
        (READY, None, False, []),
        (READY, EXITED, False, [End("a", EndReason.CRASHED)]),
        (READY, KILLED, False, [End("a", EndReason.OUT_OF_MEMORY)]),
        (READY, EXITED, True, [End("a", EndReason.ENGINE_RESTARTED)]),
        (READY, KILLED, True, [End("a", EndReason.OUT_OF_MEMORY)]),
        (CLAIMED, None, False, []),
        (CLAIMED, None, True, []),
        (CLAIMED, EXITED, False, [End("a", EndReason.CRASHED)]),
        (CLAIMED, Exit(0), False, [End("a", EndReason.CRASHED)]),
        (CLAIMED, KILLED, False, [End("a", EndReason.OUT_OF_MEMORY)]),
        (CLAIMED, EXITED, True, [End("a", EndReason.ENGINE_RESTARTED)]),
        (CLAIMED, KILLED, True, [End("a", EndReason.OUT_OF_MEMORY)]),
        (REMOVING, EXITED, False, []),
    ],
)
def test_a_death_of_ours(state: State, ended: Exit | None, after_outage: bool, expected: list[Action]) -> None:
    ours = record("a", state, removal_due_at=math.inf)
    found = listing(seen("a", READY if state is REMOVING else state, ended), after_outage=after_outage)
    assert actions([ours], targets=targets(pool_size=0, max_containers=1), waiting=1, listing=found) == expected


@pytest.mark.parametrize("changed_at", [NOW - 2, NOW - 1, NOW - 0.5])
@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("after_outage", [True, False])
def test_missing_from_a_listing(changed_at: float, state: State, after_outage: bool) -> None:
    """What changed since the engine was asked may be missing because the answer is old; what is starting may be."""
    ours = record("a", state, changed_at=changed_at, removal_due_at=math.inf)
    empty = listing(asked_at=NOW - 1, after_outage=after_outage)
    found = actions([ours], targets=targets(pool_size=1, max_containers=1), listing=empty)
    if state in (READY, CLAIMED) and changed_at < NOW - 1:
        assert found == [End("a", EndReason.ENGINE_RESTARTED if after_outage else EndReason.CRASHED)]
    else:
        assert found == []


def test_a_claim_that_the_listing_does_not_know_yet_stands() -> None:
    assert starts([record("a", CLAIMED, changed_at=NOW)], listing=listing(seen("a", READY))) == 3


def test_without_a_listing_nothing_dies() -> None:
    assert starts(records(ready=3, claimed=2, starting=1)) == 0


def test_the_place_of_a_dead_ready_one_is_filled_once_it_is_gone_or_at_once_where_there_is_room() -> None:
    dead = listing(*(seen(f"r{number}", READY, EXITED if number == 0 else None) for number in range(3)))
    assert actions(records(ready=3), listing=dead) == [End("r0", EndReason.CRASHED), Start()]
    full = targets(max_containers=3)
    assert actions(records(ready=3), targets=full, listing=dead) == [End("r0", EndReason.CRASHED)]


# --- removing


@pytest.mark.parametrize(
    ("due", "expected"), [(0.0, [Remove("a")]), (NOW, [Remove("a")]), (NOW + 1, []), (math.inf, [])]
)
def test_removals_are_asked_for_when_they_are_due(due: float, expected: list[Action]) -> None:
    assert actions([record("a", REMOVING, removal_due_at=due)], targets=targets(pool_size=0)) == expected


@pytest.mark.parametrize("state", [STARTING, READY, CLAIMED])
def test_only_what_is_marked_is_removed(state: State) -> None:
    assert starts([record("a", state, removal_due_at=0.0)], targets=targets(pool_size=1, max_containers=1)) == 0


# --- too many, too old


@pytest.mark.parametrize(
    ("of", "waiting", "expected"),
    [
        ({"ready": 3}, 0, []),
        ({"ready": 5}, 0, ["r0", "r1"]),
        ({"ready": 5}, 1, ["r0"]),
        ({"ready": 5}, 2, []),
        ({"ready": 4, "starting": 2, "claimed": 1}, 0, ["r0"]),
        ({"ready": 4, "claimed": 7}, 0, ["r0"]),
        # `max_containers` (10) holds for those that are ready, too
        ({"ready": 3, "claimed": 10}, 0, ["r0", "r1", "r2"]),
        ({"ready": 3, "claimed": 12}, 2, ["r0", "r1", "r2"]),
        ({"ready": 4, "claimed": 9}, 0, ["r0", "r1", "r2"]),
        ({"ready": 3, "claimed": 7, "starting": 1}, 0, ["r0"]),
        ({"ready": 3, "claimed": 7, "removing": 2}, 0, []),
    ],
)
def test_surplus(of: dict[str, int], waiting: int, expected: list[str]) -> None:
    assert actions(records(**of), waiting=waiting) == [End(one, EndReason.SURPLUS) for one in expected]


def test_surplus_is_ended_though_nothing_can_be_started() -> None:
    held = targets(digest=None, pool_size=1)
    assert actions(records(ready=2), targets=held) == [End("r0", EndReason.SURPLUS)]
    assert actions(records(ready=4), backoff=Backoff(1, NOW + 9)) == [End("r0", EndReason.SURPLUS)]


def test_outdated_ones_go_first() -> None:
    assert actions(records(ready=2, old=2)) == [End("o0", EndReason.OUTDATED), Start()]
    assert actions(records(ready=4, old=2)) == [
        End("o0", EndReason.OUTDATED),
        End("o1", EndReason.OUTDATED),
        End("r0", EndReason.SURPLUS),
    ]


def test_claimed_and_starting_ones_may_be_outdated() -> None:
    of = [record("s", STARTING, OLD), record("c", CLAIMED, OLD), *records(ready=2)]
    assert starts(of) == 0


def test_a_successor_is_started_first_where_there_is_room() -> None:
    assert actions(records(old=3)) == [Start()] * 3
    assert actions(records(old=3, starting=3)) == []
    assert actions(records(old=3, ready=1, starting=2)) == [End("o0", EndReason.OUTDATED)]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({"old": 3}, 1),
        ({"old": 3, "starting": 1}, 0),  # while a successor is on its way, nobody else goes for it
        ({"old": 2, "removing": 1}, 0),  # room is being made
        ({"old": 2, "ready": 1}, 1),
        ({"old": 1, "claimed": 2}, 1),
        ({"old": 2, "claimed": 2}, 1),  # more than fit
    ],
)
def test_where_there_is_no_room_one_goes_for_its_successor(of: dict[str, int], expected: int) -> None:
    full = targets(max_containers=sum(of.values()) - (1 if of == {"old": 2, "claimed": 2} else 0))
    found = actions(records(**of), targets=full)
    assert found == [End(f"o{number}", EndReason.OUTDATED) for number in range(expected)]


@pytest.mark.parametrize(
    "more",
    [
        {"backoff": Backoff(2, NOW + 9)},
        {"targets": targets(digest=None, max_containers=3, ready_max_age=1)},
    ],
)
def test_nothing_goes_for_a_successor_that_cannot_be_started(more: dict[str, Any]) -> None:
    assert actions(records(old=3), **{"targets": targets(max_containers=3), **more}) == []


def test_a_removal_that_hangs_holds_up_no_successor() -> None:
    hangs = record("x0", REMOVING, changed_at=NOW - 11, removal_due_at=math.inf)
    full = targets(max_containers=3)
    assert actions([*records(old=2), hangs], targets=full) == [End("o0", EndReason.OUTDATED)]


def test_a_death_makes_room_too() -> None:
    dead = listing(seen("o0", READY), seen("o1", READY), seen("c0", CLAIMED, EXITED))
    found = actions(records(old=2, claimed=1), targets=targets(max_containers=3), listing=dead)
    assert found == [End("c0", EndReason.CRASHED)]


@pytest.mark.parametrize(("age", "renewed"), [(599.0, False), (600.0, True), (601.0, True)])
def test_a_ready_one_is_renewed_when_it_is_too_old(age: float, renewed: bool) -> None:
    aging = targets(pool_size=1, ready_max_age=600.0)
    of = [record("a", READY, created_at=NOW - age)]
    assert starts(of, targets=aging) == renewed
    successor = record("b", READY, created_at=NOW)
    expected = [End("a", EndReason.RENEWED)] if renewed else [End("a", EndReason.SURPLUS)]
    assert actions([*of, successor], targets=aging) == expected


def test_only_ready_ones_age_and_zero_is_for_ever() -> None:
    ancient = [record(f"a{number}", state, created_at=-1e9) for number, state in enumerate((STARTING, CLAIMED))]
    assert starts(ancient, targets=targets(pool_size=1, ready_max_age=1.0)) == 0
    assert starts([record("a", READY, created_at=-1e9)], targets=targets(pool_size=1)) == 0


def test_an_old_one_of_an_older_configuration_is_called_outdated() -> None:
    of = [record("a", READY, OLD, created_at=0), *records(ready=1)]
    aging = targets(pool_size=1, ready_max_age=600.0)
    assert actions(of, targets=aging) == [End("a", EndReason.OUTDATED)]
    unknown = dataclasses.replace(aging, digest=None)
    assert actions(of, targets=unknown) == [End("a", EndReason.RENEWED)], "older than what, nobody knows"


# --- when to look again


@pytest.mark.parametrize(
    ("of", "more", "expected"),
    [
        ([], {}, math.inf),
        ([], {"backoff": Backoff(1, NOW + 5)}, NOW + 5),
        ([], {"backoff": Backoff(1, NOW)}, math.inf),
        ([record("a", REMOVING, removal_due_at=NOW + 3)], {}, NOW + 3),
        ([record("a", REMOVING, removal_due_at=math.inf)], {}, math.inf),
        ([record("a", REMOVING, removal_due_at=NOW)], {}, math.inf),
        ([record("a", READY, removal_due_at=NOW + 3)], {}, math.inf),
        (
            [record("a", READY, created_at=NOW - 10), record("b", READY, created_at=NOW - 20)],
            {"targets": targets(ready_max_age=60.0)},
            NOW + 40,
        ),
        ([record("a", CLAIMED, created_at=NOW - 10)], {"targets": targets(ready_max_age=60.0)}, math.inf),
        ([record("a", READY, created_at=NOW - 60)], {"targets": targets(ready_max_age=60.0)}, math.inf),
        (
            [record("a", REMOVING, removal_due_at=NOW + 3), record("b", REMOVING, removal_due_at=NOW + 2)],
            {"backoff": Backoff(1, NOW + 5)},
            NOW + 2,
        ),
    ],
)
def test_wake_at(of: list[ContainerFacts], more: dict[str, Any], expected: float) -> None:
    assert plan(situation(of, **more)).wake_at == expected


# --- backoff


def test_the_delay_doubles_up_to_a_minute() -> None:
    backoff, now, delays = Backoff(), 0.0, []
    for _ in range(12):
        backoff = backoff.failed(now, 0.5)
        delays.append(backoff.retry_at - now)
        now = backoff.retry_at
    assert delays == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60])
    assert (backoff.failures, backoff.batch) == (12, 1)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_is_a_quarter_either_way(failures: int, jitter: float) -> None:
    before = Backoff(failures, failed_at=NOW - 70)
    backoff = before.failed(NOW, jitter)
    middle = min(60.0, 0.5 * 2 ** min(failures, 100))
    assert middle * 0.75 - 1e-9 <= backoff.retry_at - NOW < middle * 1.25 + 1e-9
    assert before.failed(NOW, 0.0).retry_at <= backoff.retry_at


def test_starts_that_fail_together_are_one_failure() -> None:
    first = Backoff(batch=8).failed(NOW, 0.5)
    assert first == Backoff(1, NOW + 0.5, 1, NOW)
    assert first.failed(NOW, 0.9) is first
    assert first.failed(NOW + 0.4, 0.9) is first
    assert first.failed(NOW + 0.5, 0.5) == Backoff(2, NOW + 1.5, 1, NOW + 0.5)


def test_a_success_ends_the_waiting_and_doubles_the_batch() -> None:
    assert Backoff(5, NOW + 60, 1, NOW).succeeded() == Backoff(5, -math.inf, 2, NOW)
    backoff = Backoff()
    for _ in range(100):
        backoff = backoff.succeeded()
    assert 64 <= backoff.batch <= 1 << 16, "bounded, and above any concurrency"


def test_failures_count_on_across_successes_until_some_quiet_minutes_have_passed() -> None:
    """A container that becomes ready and dies again must not be started twice a second for ever."""
    backoff = Backoff()
    for second in range(5):
        backoff = backoff.failed(NOW + 10 * second, 0.5).succeeded()
    assert backoff.failed(NOW + 60, 0.5).retry_at == NOW + 60 + 16
    assert backoff.failed(NOW + 40 + 300, 0.5).retry_at == NOW + 340 + 0.5


# --- any situation


@dataclasses.dataclass
class Real:
    """A container as the engine has it."""

    state: State
    digest: str
    exit: Exit | None = None
    port: int = 1


class World:
    """An engine, and records kept as the reconciler keeps them. Each plan is checked while it is applied."""

    def __init__(self, **changed: Any) -> None:
        self.now = NOW
        self.targets = targets(**changed)
        self.backoff = Backoff()
        self.waiting = 0
        self.engine: dict[str, Real] = {}
        self.unseen: set[str] = set()  # what the engine carried out late, until a listing shows it
        self.listed = False
        self.claims: set[str] = set()
        self.ids = (f"c{number}" for number in itertools.count())
        self.forget_everything()

    def forget_everything(self) -> None:
        """The orchestrator crashes; its engine does not."""
        self.records: dict[str, ContainerFacts] = {}
        self.ended: dict[str, Ended] = {}
        self.backoff = Backoff()
        self.waiting = 0
        self.listed = False

    # --- looking

    def in_state(self, *states: State) -> list[ContainerFacts]:
        return [one for one in self.records.values() if one.state in states]

    def is_alive(self, container_id: str) -> bool:
        return container_id in self.engine and self.engine[container_id].exit is None

    @property
    def ready(self) -> int:
        return sum(self.is_alive(one.id) for one in self.in_state(READY))

    @property
    def removals_under_way(self) -> list[ContainerFacts]:
        return [one for one in self.in_state(REMOVING) if one.removal_due_at == math.inf]

    def listing(self, *, after_outage: bool = False) -> Listing:
        self.now += 0.001  # asking takes its time
        found = [
            seen(name, real.state, real.exit, real.digest, TcpAddress("", real.port))
            for name, real in self.engine.items()
        ]
        return Listing(self.now, found, after_outage)

    # --- changing

    def change(self, container_id: str, **changed: Any) -> None:
        """Changes a record; the last changed comes last, as in a pool."""
        self.records[container_id] = dataclasses.replace(self.records.pop(container_id), **changed)

    def mark_removing(self, container_id: str) -> None:
        if self.records[container_id].state is CLAIMED:
            self.ended.setdefault(container_id, Ended(EndReason.IDLE, self.now))
        self.change(container_id, state=REMOVING, changed_at=self.now, removal_due_at=0.0)

    def create(self, container_id: str) -> None:
        """The engine does what a start asked it for."""
        self.engine.setdefault(container_id, Real(STARTING, self.records[container_id].config_digest))

    def start_succeeds(self, container_id: str) -> None:
        self.create(container_id)
        self.engine[container_id].state = READY
        address = TcpAddress("", self.engine[container_id].port)
        self.change(container_id, state=READY, changed_at=self.now, address=address)
        self.backoff = self.backoff.succeeded()

    def start_fails(self, container_id: str, jitter: float = 0.5) -> None:
        self.backoff = self.backoff.failed(self.now, jitter)
        self.mark_removing(container_id)

    def claim(self, container_id: str) -> None:
        assert container_id not in self.claims, "nobody is given what somebody had"
        self.claims.add(container_id)
        self.engine[container_id].state = CLAIMED
        self.change(container_id, state=CLAIMED, changed_at=self.now)

    def removed(self, container_id: str) -> None:
        self.engine.pop(container_id, None)
        del self.records[container_id]
        self.ended[container_id] = Ended(EndReason.IDLE, self.now, self.now)

    # --- reconciling

    def reconcile(self, found: Listing | None = None) -> Plan:
        known = self.listed or found is not None
        order = {state: place for place, state in enumerate(State)}
        now_situation = Situation(
            self.now,
            self.targets if known else dataclasses.replace(self.targets, digest=None),
            sorted(self.records.values(), key=lambda one: order[one.state]),
            found,
            dict(self.ended),
            self.waiting,
            self.backoff,
        )
        result = plan(now_situation)
        assert plan(now_situation) == result
        self.check(now_situation, result)
        for action in result.actions:
            self.apply(action)
        if found is not None:
            self.unseen -= {one.id for one in found.containers}
        if Start() in result.actions:
            assert len((self.records.keys() | self.engine.keys()) - self.unseen) <= self.targets.max_containers
        self.listed = known
        return result

    def check(self, given: Situation, result: Plan) -> None:
        assert result.wake_at > self.now
        named = [
            action.observed.id if isinstance(action, (Adopt, Discard, Readdress)) else action.id
            for action in result.actions
            if not isinstance(action, Start)
        ]
        assert len(named) == len(set(named)), "one thing at a time for each container"
        started = sum(isinstance(action, Start) for action in result.actions)
        if started:
            assert given.targets.digest is not None
            assert self.now >= self.backoff.retry_at
            assert started + len(self.in_state(STARTING)) <= min(given.targets.concurrency, self.backoff.batch)

    def apply(self, action: Action) -> None:
        match action:
            case Start():
                name = next(self.ids)
                assert self.targets.digest is not None
                self.records[name] = ContainerFacts(name, STARTING, self.targets.digest, self.now, self.now, 0.0)
            case Adopt(observed) | Discard(observed):
                self.take_up(observed, State.REMOVING if isinstance(action, Discard) else observed.state)
            case Readdress(observed):
                assert self.records[observed.id].state is CLAIMED
                self.change(observed.id, address=observed.address)
            case End(name, reason):
                self.end(name, reason)
            case Died(name):
                assert self.records[name].state is STARTING
                assert not self.is_alive(name)
                self.start_fails(name)
            case Remove(name):
                assert self.records[name].state is REMOVING
                assert self.records[name].removal_due_at <= self.now
                self.change(name, removal_due_at=math.inf)

    def take_up(self, observed: Observed, state: State) -> None:
        assert observed.id not in self.records
        assert observed.id not in self.ended or state is REMOVING, "what has ended never comes back"
        assert state in (READY, CLAIMED, REMOVING)
        assert not (state is READY and observed.id in self.claims), "a visitor's container is never ready again"
        lives = observed.id in self.claims and self.is_alive(observed.id) and observed.id not in self.ended
        assert not (state is REMOVING and lives)
        self.records[observed.id] = ContainerFacts(
            observed.id, state, observed.config_digest, self.now, self.now, 0.0, observed.address
        )

    def end(self, name: str, reason: EndReason) -> None:
        state = self.records[name].state
        dead = reason in (EndReason.CRASHED, EndReason.OUT_OF_MEMORY, EndReason.ENGINE_RESTARTED)
        assert state in (READY, CLAIMED)
        assert state is READY or dead, "only a death ends a session here; the rest is the reaper's"
        moved = self.is_alive(name) and self.records[name].address != TcpAddress("", self.engine[name].port)
        assert not (dead and self.is_alive(name)) or (state is READY and moved), "what lives is not taken for dead"
        if dead and state is READY:
            self.backoff = self.backoff.failed(self.now, 0.5)
        self.mark_removing(name)

    # --- coming to rest

    def finish_what_is_under_way(self) -> bool:
        """Every start and removal ends as it can; False if there was none."""
        busy = [*self.in_state(STARTING), *self.removals_under_way]
        for one in self.in_state(STARTING):
            self.create(one.id)
            if self.is_alive(one.id):
                self.start_succeeds(one.id)
        for one in self.removals_under_way:
            self.removed(one.id)
        return bool(busy)

    def settle(self) -> int:
        """Reconcile until nothing is left to do; returns the smallest number of ready containers on the way."""
        self.reconcile(self.listing())
        fewest = self.ready
        for _ in range(300):
            busy = self.finish_what_is_under_way()
            result = self.reconcile(self.listing())
            fewest = min(fewest, self.ready)
            if not busy and not result.actions:
                if result.wake_at == math.inf:
                    return fewest
                self.now = result.wake_at
        raise AssertionError("this never comes to rest")

    def assert_at_rest(self) -> None:
        """The pool is as it should be, and every further look finds nothing to do."""
        counts = collections.Counter(one.state for one in self.records.values())
        assert self.records.keys() == self.engine.keys()
        assert all(self.is_alive(name) for name in self.records)
        assert counts[STARTING] == counts[REMOVING] == 0
        assert all(one.config_digest == self.targets.digest for one in self.in_state(READY))
        possible = min(self.targets.pool_size, max(0, self.targets.max_containers - counts[CLAIMED]))
        assert counts[READY] == possible
        assert all(one.address == TcpAddress("", self.engine[one.id].port) for one in self.records.values())
        for found in (None, self.listing(), self.listing(after_outage=True)):
            assert self.reconcile(found) == Plan(())


@pytest.mark.parametrize("pool_size", range(5))
@pytest.mark.parametrize("spare", range(4))
@pytest.mark.parametrize("claimed", range(3))
@pytest.mark.parametrize("batch", [1, 2, 64])
def test_a_new_configuration_is_rolled_out_without_giving_up_more_than_needed(
    pool_size: int, spare: int, claimed: int, batch: int
) -> None:
    world = World(pool_size=pool_size, max_containers=pool_size + spare + claimed)
    names = [next(world.ids) for _ in range(pool_size + claimed)]
    for number, name in enumerate(names):
        world.engine[name] = Real(CLAIMED if number < claimed else READY, TODAY)
    world.settle()
    world.assert_at_rest()
    world.targets = dataclasses.replace(world.targets, digest="tomorrow")
    world.backoff = Backoff(batch=batch)
    fewest = world.settle()
    world.assert_at_rest()
    assert fewest == pool_size - (1 if spare == 0 and pool_size else 0)
    assert len(world.in_state(CLAIMED)) == claimed


def test_a_new_configuration_that_never_starts_costs_one_container_at_most() -> None:
    world = World(pool_size=3, max_containers=3)
    world.engine = {name: Real(READY, OLD) for name in "abc"}
    world.reconcile(world.listing())
    ends = 0
    for _ in range(60):
        world.now += 10
        for one in world.in_state(STARTING):
            world.create(one.id)
            world.engine[one.id].exit = EXITED
        for one in world.removals_under_way:
            world.removed(one.id)
        result = world.reconcile(world.listing())
        ends += sum(isinstance(action, End) for action in result.actions)
    assert ends == 1
    assert world.ready == 2
    assert world.backoff.failures > 5


digests = st.sampled_from([OLD, TODAY, "tomorrow"])
exits = st.sampled_from([EXITED, KILLED, Exit(0)])


class Worlds(RuleBasedStateMachine):
    """Anything that may happen between two looks of the reconciler, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.asked: Listing | None = None

    def some(self, data: st.DataObject, *states: State) -> str | None:
        """A record in one of these states, None where there is none."""
        names = [one.id for one in self.world.in_state(*states)]
        return data.draw(st.sampled_from(names)) if names else None

    @initialize(
        found=st.lists(
            st.builds(Real, st.sampled_from([STARTING, READY, CLAIMED]), digests, st.none() | exits), max_size=6
        )
    )
    def an_engine_with_a_past(self, found: list[Real]) -> None:
        for real in found:
            name = next(self.world.ids)
            self.world.engine[name] = real
            if real.state is CLAIMED:
                self.world.claims.add(name)

    # --- the reconciler

    @precondition(lambda self: self.asked is None)
    @rule()
    def reconcile(self) -> None:
        self.world.reconcile()

    @precondition(lambda self: self.asked is None)
    @rule(after_outage=st.booleans())
    def ask(self, after_outage: bool) -> None:
        """Whatever happens between the question and the answer is not in the answer."""
        self.asked = self.world.listing(after_outage=after_outage)

    @precondition(lambda self: self.asked is not None)
    @rule()
    def hear_the_answer(self) -> None:
        self.world.reconcile(self.asked)
        self.asked = None

    @rule()
    def crash(self) -> None:
        self.world.forget_everything()
        self.asked = None

    # --- time and the operator

    @rule(seconds=st.sampled_from([0.01, 0.5, 1, 10, 100]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(
        digest=digests | st.none(),
        pool_size=st.integers(0, 4),
        max_containers=st.integers(0, 8),
        concurrency=st.integers(1, 4),
        ready_max_age=st.sampled_from([0.0, 0.0, 5.0, 50.0]),
    )
    def configure(self, **changed: Any) -> None:
        self.world.targets = dataclasses.replace(self.world.targets, **changed)

    @rule(waiting=st.integers(0, 5))
    def line(self, waiting: int) -> None:
        self.world.waiting = waiting

    # --- starts and removals

    @rule(data=st.data())
    def the_engine_creates(self, data: st.DataObject) -> None:
        if name := self.some(data, STARTING):
            self.world.create(name)

    @rule(data=st.data())
    def a_start_succeeds(self, data: st.DataObject) -> None:
        name = self.some(data, STARTING)
        if name and (name not in self.world.engine or self.world.is_alive(name)):
            self.world.start_succeeds(name)

    @rule(data=st.data(), jitter=st.floats(0, 1, exclude_max=True))
    def a_start_fails(self, data: st.DataObject, jitter: float) -> None:
        if name := self.some(data, STARTING):
            self.world.start_fails(name, jitter)

    @rule(data=st.data(), fails=st.booleans())
    def a_removal_ends(self, data: st.DataObject, fails: bool) -> None:
        under_way = [one.id for one in self.world.removals_under_way]
        if under_way:
            name = data.draw(st.sampled_from(under_way))
            if fails:
                self.world.change(name, removal_due_at=self.world.now + 5)
            else:
                self.world.removed(name)

    # --- visitors and accidents

    @rule(data=st.data())
    def a_visitor_comes(self, data: st.DataObject) -> None:
        name = self.some(data, READY)
        if name and self.world.is_alive(name):
            self.world.claim(name)

    @rule(data=st.data())
    def a_session_ends(self, data: st.DataObject) -> None:
        if name := self.some(data, CLAIMED):
            self.world.mark_removing(name)

    @rule(data=st.data(), ended=exits)
    def something_dies(self, data: st.DataObject, ended: Exit) -> None:
        if self.world.engine:
            self.world.engine[data.draw(st.sampled_from(sorted(self.world.engine)))].exit = ended

    @rule(data=st.data())
    def somebody_restarts_one(self, data: st.DataObject) -> None:
        alive = [name for name in sorted(self.world.engine) if self.world.is_alive(name)]
        if alive:
            self.world.engine[data.draw(st.sampled_from(alive))].port += 1

    @rule(data=st.data())
    def a_call_that_was_given_up_is_carried_out(self, data: st.DataObject) -> None:
        ended = {name for name, ended in self.world.ended.items() if ended.gone_at is not None}
        gone = sorted(ended - self.world.records.keys() - self.world.claims)
        if gone:
            name = data.draw(st.sampled_from(gone))
            if name not in self.world.engine:
                self.world.engine[name] = Real(STARTING, TODAY)
                self.world.unseen.add(name)

    @rule(data=st.data())
    def something_vanishes(self, data: st.DataObject) -> None:
        if self.world.engine:
            del self.world.engine[data.draw(st.sampled_from(sorted(self.world.engine)))]

    # --- and it always comes right

    @precondition(lambda self: self.asked is None)
    @rule()
    def calm(self) -> None:
        world = self.world
        world.waiting = 0
        world.targets = dataclasses.replace(world.targets, digest=world.targets.digest or TODAY, ready_max_age=0.0)
        world.reconcile(world.listing())
        claimed = len(world.in_state(CLAIMED))
        possible = max(0, min(world.ready, world.targets.pool_size, world.targets.max_containers - claimed))
        has_spare = world.targets.max_containers - claimed > world.targets.pool_size
        fewest = world.settle()
        world.assert_at_rest()
        assert len(world.in_state(CLAIMED)) == claimed
        assert fewest >= possible - (0 if has_spare else 1)

    @invariant()
    def what_is_claimed_is_known(self) -> None:
        assert all(one.id in self.world.claims for one in self.world.in_state(CLAIMED))

    def teardown(self) -> None:
        self.asked = None
        self.calm()


Worlds.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWorlds = Worlds.TestCase


@pytest.mark.parametrize(
    ("changes", "full"),
    [
        ({"records": records(ready=3)}, True),
        ({"records": records(ready=2, starting=1)}, False),
        ({"records": records(ready=2, old=1)}, False),
        ({"records": records(ready=3), "waiting": 1}, False),
        ({"records": records(ready=3), "targets": dataclasses.replace(TARGETS, digest=None)}, False),
    ],
)
def test_a_pool_is_full_where_nothing_is_to_be_started(changes: dict[str, Any], full: bool) -> None:
    assert is_full(dataclasses.replace(situation(), **changes)) is full
