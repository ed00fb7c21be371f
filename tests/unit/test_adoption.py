"""How old a session is when it is taken up after a restart: clocks that were wrong end none and prolong none."""

from __future__ import annotations

import math
import time

import pytest

from tmpnb_py.core import boot_clock
from tmpnb_py.core.models import Observed, State
from tmpnb_py.pools.adoption import session_age, taken_up

NOW = 1_800_000_000.0
YEARS = 10 * 365 * 86_400.0
HERE = "11111111"


def session(claimed_unix: float | None, *, created_unix: float = NOW - 1000, stamp: str = "") -> Observed:
    return Observed("a", State.CLAIMED, "d", "t", created_unix, claimed_unix, None, None, stamp)


@pytest.fixture(autouse=True)
def _uptime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_clock, "stamp", lambda: f"5000-{HERE}")


@pytest.mark.parametrize("claimed_unix", [NOW - 600, NOW - YEARS, NOW + YEARS, 0.0, None])
@pytest.mark.parametrize("created_unix", [NOW - 1000, NOW - YEARS, NOW + YEARS])
def test_a_clock_that_nobody_sets_is_believed(claimed_unix: float | None, created_unix: float) -> None:
    one = session(claimed_unix, created_unix=created_unix, stamp=f"4400-{HERE}")
    assert session_age(one, unix=NOW) == 600


@pytest.mark.parametrize("stamp", ["", "4400-22222222", "nonsense", f"4400-{HERE}-1"])
@pytest.mark.parametrize(
    ("claimed_unix", "created_unix", "age"),
    [
        (NOW - 600, NOW - 1000, 600),
        (NOW - 600, NOW - 590, 600),  # the clocks of two machines
        (None, NOW - 1000, 1000),
        (NOW + YEARS, NOW - 1000, 0),
        (NOW - YEARS, NOW - 1000, 0),
        (NOW + YEARS, NOW + YEARS, 0),
    ],
)
def test_without_it_the_wall_clock_is_believed_where_it_can_be_right(
    stamp: str, claimed_unix: float | None, created_unix: float, age: float
) -> None:
    """Another machine's stamp, another boot's or none: a claim comes after the container, and before now."""
    assert session_age(session(claimed_unix, created_unix=created_unix, stamp=stamp), unix=NOW) == age


def test_a_stamp_of_later_is_of_now() -> None:
    assert session_age(session(NOW, stamp=f"9000-{HERE}"), unix=NOW) == 0


def test_a_session_keeps_its_age_and_its_activity_counts_from_now() -> None:
    one = taken_up(session(NOW - YEARS, stamp=f"4400-{HERE}"), State.CLAIMED, now=100_000, unix=NOW)
    assert (one.claimed_at, one.last_activity, one.visited) == (99_400, 100_000, True)
    ready = taken_up(Observed("a", State.READY, "d", "t", NOW + 5, None, None, None), State.READY, now=1, unix=NOW)
    assert (ready.claimed_at, ready.created_at, ready.visited) == (None, 1, False)


def test_this_machine_tells_a_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    made = boot_clock.stamp()
    age = boot_clock.seconds_since(made)
    assert age is not None
    assert 0 <= age <= 5
    assert math.isclose(int(made.split("-")[0]), time.clock_gettime(time.CLOCK_BOOTTIME), abs_tol=5)
    assert boot_clock.seconds_since("") is None
