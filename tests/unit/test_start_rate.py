"""The estimate of how long a visitor waits, against a simulation."""

from __future__ import annotations

import heapq
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.units import DAY, MINUTE
from tmpnb_py.pools.start_rate import StartRate


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


def test_the_lead_follows_measured_starts() -> None:
    assert rate().lead(0, 2, 0.0) == 0
    assert rate().lead(60, 2, 0.0) == MINUTE + 1.5 * 300, "ten seconds each are assumed"
    assert rate(1.0).lead(60, 2, 0.0) == MINUTE + 45
    assert rate().lead(100_000, 1, 0.0) == DAY / 2


@given(count=st.integers(1, 1000), seconds=st.floats(0.1, 60), concurrency=st.integers(1, 64))
def test_the_lead_is_long_enough_for_all_of_them(count: int, seconds: float, concurrency: int) -> None:
    assert 60 <= rate(seconds).lead(count, concurrency, 0.0) <= DAY / 2
    assert rate(seconds).lead(count, concurrency, 0.0) >= min(DAY / 2, count * seconds / concurrency)
