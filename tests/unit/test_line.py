"""The line of those who wait, against a plain list."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tmpnb_py.claims.line import RETRY_AFTER, Line
from tmpnb_py.core.errors import LineFullError

CAPACITY = 5
visitors = st.sampled_from("abcdefgh")


class LineMachine(RuleBasedStateMachine):
    """Any sequence of joining, leaving and serving keeps the order and leaves no gaps."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.model: list[str] = []

    @rule(visitor=visitors)
    def join(self, visitor: str) -> None:
        if visitor in self.model:
            assert self.line.join(visitor, capacity=CAPACITY).id == visitor
        elif len(self.model) >= CAPACITY:
            with pytest.raises(LineFullError):
                self.line.join(visitor, capacity=CAPACITY)
        else:
            ticket = self.line.join(visitor, capacity=CAPACITY)
            assert ticket.id == visitor
            self.model.append(visitor)

    @rule(visitor=visitors)
    def leave(self, visitor: str) -> None:
        assert self.line.leave(visitor) == (visitor in self.model)
        if visitor in self.model:
            self.model.remove(visitor)

    @precondition(lambda self: self.model)
    @rule()
    def pop(self) -> None:
        ticket = self.line.take(self.model[0])
        assert ticket is not None
        assert ticket.id == self.model.pop(0)

    @invariant()
    def same_as_a_list(self) -> None:
        assert len(self.line) == len(self.model)
        assert list(self.line) == self.model
        for visitor in "abcdefgh":
            expected = self.model.index(visitor) + 1 if visitor in self.model else None
            assert self.line.position(visitor) == expected


TestLine = LineMachine.TestCase


def test_nobody_can_be_taken_out_of_an_empty_line() -> None:
    line = Line()
    assert line.take("a") is None
    assert (list(line), len(line)) == ([], 0)


def test_joining_twice_keeps_ticket_and_place_even_when_the_line_is_full() -> None:
    line = Line()
    ticket = line.join("a", capacity=2)
    line.join("b", capacity=2)
    assert line.join("a", capacity=2) is ticket
    assert line.position("a") == 1


def test_whoever_comes_back_after_leaving_goes_to_the_end() -> None:
    line = Line()
    line.join("a")
    line.join("b")
    line.leave("a")
    line.join("a")
    assert [line.position(visitor) for visitor in "ba"] == [1, 2]


def test_a_full_line_says_when_to_come_back() -> None:
    line = Line()
    with pytest.raises(LineFullError) as caught:
        line.join("a", capacity=0)
    assert caught.value.retry_after == RETRY_AFTER
    with pytest.raises(LineFullError) as caught:
        line.join("a", capacity=0, retry_after=7.0)
    assert caught.value.retry_after == 7.0


def test_a_reserved_number_stands_before_all_who_came_after() -> None:
    line = Line()
    number = line.reserve()
    line.join("b")
    line.join("a", number=number)
    line.join("c")
    assert list(line) == ["a", "b", "c"]


def test_ten_thousand_wait_and_leave_from_the_middle() -> None:
    line = Line()
    for number in range(10_000):
        line.join(str(number))
    for number in range(1, 10_000, 2):
        line.leave(str(number))
    assert all(line.position(str(number)) == number // 2 + 1 for number in range(0, 10_000, 2))
    assert [line.take(one) for one in [*line, "0"]].count(None) == 1


def test_whoever_could_not_be_served_is_back_at_the_same_place() -> None:
    line = Line()
    for name in "abc":
        line.join(name)
    first, second = line.take("a"), line.take("b")
    assert first is not None
    assert second is not None
    for place in (second, first, first):
        line.put_back(place)
    assert [line.position(name) for name in "abc"] == [1, 2, 3]
