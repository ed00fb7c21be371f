"""The line of those who wait, against a plain list; the estimate, against a simulation."""

from __future__ import annotations

import heapq
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tmpnb_py.claims.line import RETRY_AFTER, Line
from tmpnb_py.core.errors import LineFullError
from tmpnb_py.pools.start_rate import StartRate

CAPACITY = 5
visitors = st.sampled_from("abcdefgh")


class LineMachine(RuleBasedStateMachine):
    """Any sequence of joining, leaving and serving keeps the order and leaves no gaps."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line(lambda: CAPACITY)
        self.model: list[str] = []
        self.now = 0.0

    @rule(visitor=visitors)
    def join(self, visitor: str) -> None:
        self.now += 1
        if visitor in self.model:
            assert self.line.join(visitor, self.now).joined_at < self.now
        elif len(self.model) >= CAPACITY:
            with pytest.raises(LineFullError):
                self.line.join(visitor, self.now)
        else:
            ticket = self.line.join(visitor, self.now)
            assert (ticket.id, ticket.joined_at) == (visitor, self.now)
            self.model.append(visitor)

    @rule(visitor=visitors)
    def leave(self, visitor: str) -> None:
        assert self.line.leave(visitor) == (visitor in self.model)
        if visitor in self.model:
            self.model.remove(visitor)

    @precondition(lambda self: self.model)
    @rule()
    def pop(self) -> None:
        ticket = self.line.pop_first()
        assert ticket is not None
        assert ticket.id == self.model.pop(0)

    @invariant()
    def same_as_a_list(self) -> None:
        assert len(self.line) == len(self.model)
        first = self.line.first()
        assert (first.id if first else None) == (self.model[0] if self.model else None)
        for visitor in "abcdefgh":
            expected = self.model.index(visitor) + 1 if visitor in self.model else None
            assert self.line.position(visitor) == expected


TestLine = LineMachine.TestCase


def test_an_empty_line_has_no_first() -> None:
    line = Line(lambda: 1)
    assert line.first() is None
    assert line.pop_first() is None
    assert len(line) == 0


def test_joining_twice_keeps_ticket_and_place_even_when_the_line_is_full() -> None:
    line = Line(lambda: 2)
    ticket = line.join("a", 1.0)
    line.join("b", 2.0)
    assert line.join("a", 3.0) is ticket
    assert line.position("a") == 1


def test_whoever_comes_back_after_leaving_goes_to_the_end() -> None:
    line = Line(lambda: 2)
    line.join("a", 1.0)
    line.join("b", 2.0)
    line.leave("a")
    line.join("a", 3.0)
    assert [line.position(visitor) for visitor in "ba"] == [1, 2]


def test_a_full_line_says_when_to_come_back() -> None:
    line = Line(lambda: 0)
    with pytest.raises(LineFullError) as caught:
        line.join("a", 0.0)
    assert caught.value.retry_after == RETRY_AFTER
    with pytest.raises(LineFullError) as caught:
        line.join("a", 0.0, retry_after=7.0)
    assert caught.value.retry_after == 7.0


def test_ten_thousand_wait_and_leave_from_the_middle() -> None:
    line = Line(lambda: 10_000)
    for number in range(10_000):
        line.join(str(number), 0.0)
    for number in range(1, 10_000, 2):
        line.leave(str(number))
    assert all(line.position(str(number)) == number // 2 + 1 for number in range(0, 10_000, 2))
    assert [line.pop_first() for _ in range(5_001)].count(None) == 1


def rate(*durations: float, at: float = 0.0) -> StartRate:
    measured = StartRate()
    for seconds in durations:
        measured.started(at, seconds)
    return measured


def test_nothing_measured_nothing_said() -> None:
    assert StartRate().estimate(1, 2, [], 0.0) is None


@pytest.mark.parametrize(
    ("position", "concurrency", "starting", "expected"),
    [
        (1, 1, [], 10.0),
        (3, 1, [], 30.0),
        (2, 2, [], 10.0),
        (3, 2, [], 20.0),
        (1, 2, [4.0, 7.0], 3.0),
        (2, 2, [4.0, 7.0], 6.0),
        (3, 2, [4.0, 7.0], 13.0),
        (1, 4, [4.0], 6.0),
        (2, 4, [4.0], 10.0),
        (6, 4, [4.0], 20.0),
        (2, 1, [2.0, 6.0], 8.0),  # more under way than allowed: the first to end has no successor
        (3, 1, [2.0, 6.0], 18.0),
        (1, 0, [4.0], 6.0),
        (2, 0, [4.0], None),  # starts are held back
        (1, 0, [], None),
        (1, 1, [11.0], 10.0),  # longer than any before: worth a new one
    ],
)
def test_estimate(position: int, concurrency: int, starting: list[float], expected: float | None) -> None:
    assert rate(10.0, 10.0).estimate(position, concurrency, starting, 0.0) == expected


def test_no_estimate_beyond_what_the_pool_has_room_for() -> None:
    measured = rate(10.0)
    assert [measured.estimate(n, 2, [4.0], 0.0, room=1) for n in (1, 2, 3)] == [6.0, 10.0, None]
    assert measured.estimate(1, 2, [], 0.0, room=0) is None


def test_a_slow_start_is_judged_by_the_slow_ones() -> None:
    assert rate(1.0, 1.0, 1.0, 1.75).estimate(1, 1, [1.25], 0.0) == 0.5


def test_the_latest_starts_count_and_old_ones_only_where_there_is_nothing_else() -> None:
    measured = rate(100.0, 100.0, at=0.0)
    assert measured.estimate(1, 1, [], 10_000.0) == 100.0
    measured.started(10_000.0, 2.0)
    assert measured.estimate(1, 1, [], 10_000.0) == 2.0
    for _ in range(1000):
        measured.started(10_000.0, 3.0)
    assert measured.estimate(1, 1, [], 10_000.0) == 3.0


def simulated(position: int, concurrency: int, remaining: list[float], typical: float) -> float:
    """Starts one after the other, each as soon as a slot is free."""
    ends = sorted(remaining)
    for _ in range(concurrency - len(ends)):
        heapq.heappush(ends, typical)
    for _ in range(position - 1):
        end = heapq.heappop(ends)
        if len(ends) < concurrency:
            heapq.heappush(ends, end + typical)
    return ends[0]


@given(
    position=st.integers(1, 60),
    concurrency=st.integers(1, 8),
    ages=st.lists(st.floats(0, 9.9), max_size=12),
)
def test_estimate_is_what_a_simulation_says(position: int, concurrency: int, ages: list[float]) -> None:
    estimate = rate(10.0).estimate(position, concurrency, ages, 0.0)
    assert estimate == pytest.approx(simulated(position, concurrency, [10.0 - age for age in ages], 10.0))


@given(
    durations=st.lists(st.floats(0.1, 100), min_size=1, max_size=40),
    concurrency=st.integers(0, 8),
    ages=st.lists(st.floats(0, 200), max_size=12),
    room=st.none() | st.integers(0, 20),
)
def test_estimates_are_positive_and_grow_with_the_position(
    durations: list[float], concurrency: int, ages: list[float], room: int | None
) -> None:
    measured = rate(*durations)
    estimates = [measured.estimate(n, concurrency, ages, 0.0, room=room) for n in range(1, 40)]
    known = [estimate for estimate in estimates if estimate is not None]
    assert estimates[: len(known)] == known  # once unknown, unknown for all behind
    assert known == pytest.approx(sorted(known))  # equal ones may differ in their last digit
    assert all(estimate > 0 for estimate in known)
    if known and concurrency and not ages:
        assert known[0] == statistics.median(durations[-32:])


def test_whoever_could_not_be_served_is_back_at_the_same_place() -> None:
    line = Line(lambda: 3)
    for name in "abc":
        line.join(name, 0.0)
    first, second = line.pop_first(), line.pop_first()
    assert first is not None
    assert second is not None
    for place in (second, first, first):
        line.take_back(place)
    assert [line.position(name) for name in "abc"] == [1, 2, 3]
