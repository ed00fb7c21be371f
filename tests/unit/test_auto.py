"""`pool_size = "auto"`: what is counted, and what is decided from it."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks import arrivals as benchmark
from tmpnb_py.core.state_file import StateFile
from tmpnb_py.core.units import DAY
from tmpnb_py.pools.arrivals import NO_PEAKS, QUARTER, SPANS, STEP, VERSION, Arrivals, Counts, Peaks
from tmpnb_py.pools.arrivals_file import ArrivalsFile
from tmpnb_py.pools.auto import Bounds, Decision, decide, most_within

NOW = 1_800_000_000.0
WIDE = Bounds(0, 1000, 0.01)


def decided(arrivals: Arrivals, now: float = NOW, *, bounds: Bounds = WIDE, start: float = 3.0) -> Decision:
    return decide(arrivals.recent(now), arrivals.earlier(now), bounds, start_seconds=start, concurrency=2)


def steady(per_minute: float, minutes: int = 15) -> Arrivals:
    arrivals, dice, moment = Arrivals(), random.Random(1), NOW - minutes * 60
    while (moment := moment + dice.expovariate(per_minute / 60)) < NOW:
        arrivals.came(moment)
    return arrivals


# --- counts


def test_recent_arrivals_are_in_steps_and_fade() -> None:
    arrivals = Arrivals()
    for ago in (0, 5, 15, 70):
        arrivals.came(NOW - ago)
    assert arrivals.recent(NOW).within(1) >= 1
    assert arrivals.recent(NOW).within(9) == 4
    assert arrivals.recent(NOW + 2000).within(90) == 0


def test_earlier_days_are_known_by_their_peaks() -> None:
    arrivals = Arrivals()
    for week in (4, 3, 1):
        for person in range(10 * week):
            arrivals.came(NOW - 7 * week * DAY + person / 100)
    assert dict(arrivals.earlier(NOW)) == {"yesterday": NO_PEAKS, "this weekday": (30, 30, 30)}, "the middle one"
    arrivals.came(NOW - DAY)
    assert dict(arrivals.earlier(NOW))["yesterday"] == (1, 1, 1)
    assert dict(arrivals.earlier(NOW + 2 * QUARTER)) == {"yesterday": NO_PEAKS}


def test_counts_are_forgotten_after_four_weeks() -> None:
    arrivals = Arrivals()
    for day in range(60):
        for quarter in range(96):
            arrivals.came(NOW + day * DAY + quarter * QUARTER)
    assert len(arrivals._quarters) <= 28 * 96 + 1
    assert len(arrivals._steps) < 3


def test_a_clock_that_is_set_back_loses_no_count_of_now() -> None:
    arrivals = Arrivals()
    arrivals.came(NOW)
    arrivals.came(NOW - 60)
    assert arrivals.recent(NOW).within(1) == 2
    arrivals.came(NOW - DAY)
    assert arrivals.recent(NOW - DAY).within(1) == 1


def a_file(path: Path, arrivals: Arrivals) -> ArrivalsFile:
    return ArrivalsFile(StateFile(path, Counts, version=VERSION, prepare=lambda: None), arrivals)


async def test_counts_outlive_the_service(tmp_path: Path) -> None:
    path = tmp_path / "x.arrivals"
    before, after = Arrivals(), Arrivals()
    await a_file(path, before).save()
    assert not path.exists(), "nothing to write"
    before.came(NOW - DAY)
    await a_file(path, before).save()
    assert path.stat().st_mode & 0o777 == 0o600
    a_file(path, after).load()
    assert dict(after.earlier(NOW)) == dict(before.earlier(NOW))


async def test_counts_go_on_in_another_process_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.arrivals"
    old, new = Arrivals(), Arrivals()
    olds, news = a_file(path, old), a_file(path, new)
    old.came(NOW - DAY)
    await olds.hand_on()
    news.load()
    new.came(NOW - DAY)
    await olds.hand_on()
    await news.hand_on()
    olds.load()
    assert dict(old.earlier(NOW)) == dict(new.earlier(NOW)) == {"yesterday": (1, 1, 1)}
    olds.remove()
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", '{"version": 2}', '{"version": 1, "quarters": {"x": [1, 2, 3]}}',
        '{"version": 1, "quarters": {"1": [1, -2, 3]}}', '{"version": 1, "quarters": 3}',
    ],
)  # fmt: skip
def test_a_file_of_something_else_changes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.arrivals").write_text(text)
    arrivals = Arrivals()
    a_file(tmp_path / "x.arrivals", arrivals).load()
    assert arrivals.counts == Counts()


# --- decisions


def test_nobody_is_expected_where_nobody_came() -> None:
    assert decided(Arrivals()) == Decision(0, "nobody came in the last 15 min")
    assert decided(Arrivals(), bounds=Bounds(2, 9, 0.01)).size == 2


def test_more_arrivals_slower_starts_and_a_stricter_target_want_more() -> None:
    sizes = [decided(steady(rate)).size for rate in (1, 10, 30, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 4
    assert sizes[-1] > 15
    assert decided(steady(10), start=1).size < decided(steady(10), start=6).size
    assert decided(steady(10), bounds=Bounds(0, 99, 0.1)).size < decided(steady(10), bounds=Bounds(0, 99, 0.001)).size


def test_what_the_starts_cannot_keep_up_with_is_kept_ready_for_minutes() -> None:
    """A hundred a minute come, and forty can be started: what is missing in five minutes has to be there."""
    assert decided(steady(100)).size > 5 * 60
    assert "100" not in decided(steady(1)).because


def test_a_lecture_of_last_week_is_expected_again() -> None:
    arrivals = Arrivals()
    for person in range(40):
        arrivals.came(NOW - 7 * DAY + person / 4)
    decision = decided(arrivals)
    assert decision.size == 40
    assert decision.because == "40 came within 10 s at this time on this weekday"


def test_reasons_are_in_the_words_of_the_operator() -> None:
    assert str(decided(steady(10))).split(" because ")[1].endswith("and a start takes 3.0 s")
    assert str(decided(steady(10), bounds=Bounds(0, 1, 0.01))).startswith("1 because that is the most; ")


@given(st.integers(0, 5000), st.sampled_from([60.0, 300.0, 900.0]), st.floats(0.1, 300), st.floats(0.0001, 0.5))
def test_the_most_that_come_is_a_true_quantile(count: int, seconds: float, span: float, share: float) -> None:
    most = most_within(span, count, seconds, share)
    assert 0 <= most < 50_000
    assert most == 0 or most >= count * span / seconds - 10 * math.sqrt(count + 1) * (1 + span / seconds)
    assert most_within(span, count, seconds, share / 2) >= most


def test_the_quantile_holds_where_arrivals_are_drawn() -> None:
    dice, misses, rounds = random.Random(5), 0, 4000
    most = most_within(30, 20, 300, 0.05)
    for _ in range(rounds):
        mean = dice.gammavariate(20.5, 30 / 300)
        moment, drawn = dice.expovariate(1), 0
        while moment < mean:
            moment, drawn = moment + dice.expovariate(1), drawn + 1
        misses += drawn > most
    assert 0.01 < misses / rounds < 0.055


@given(st.lists(st.integers(0, 900), max_size=200), st.integers(0, 20), st.integers(20, 400))
def test_a_decision_is_within_its_bounds(moments: list[int], least: int, most: int) -> None:
    arrivals = Arrivals()
    for moment in sorted(moments):
        arrivals.came(NOW - 900 + moment)
    peaks: Peaks = (1, 2, 3)
    decision = decide(
        arrivals.recent(NOW), [("yesterday", peaks)], Bounds(least, most, 0.01), start_seconds=None, concurrency=1
    )
    assert least <= decision.size <= most
    assert len(SPANS) == len(peaks)
    assert STEP == 10


def test_fewer_wait_than_with_a_fixed_size_of_the_same_mean() -> None:
    """An hour of the benchmark's news; the table of the documentation is of three whole traces."""
    moments = [moment for moment in benchmark.news(days=2.55) if moment > benchmark.BEGIN + 2.4 * DAY]
    auto = benchmark.automatic(moments)
    assert auto.share < 0.03
    assert auto.waited < benchmark.fixed(moments, math.ceil(auto.mean)).waited
