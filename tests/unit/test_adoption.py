"""Taking up what the engine lists: how old a session is, whatever the clocks say, and what cannot be dialled."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import structlog

from tmpnb_py.core import boot_clock
from tmpnb_py.core.models import Address, EndReason, Observed, SocketAddress, State, TcpAddress
from tmpnb_py.pools.adoption import Adoption, session_age, taken_up
from tmpnb_py.pools.journal import Journal
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.records import Records

NOW = 1_800_000_000.0
YEARS = 10 * 365 * 86_400.0
HERE = "11111111"
HERE_BY_TCP = TcpAddress("127.0.0.1", 1)


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


# --- taking up


@pytest.fixture
def records() -> Records:
    return Records("test")


def listed(state: State, address: Address | None) -> Observed:
    return Observed("a", state, "d", "t", time.time() - 100, time.time() - 50, None, address)


async def test_a_session_that_can_be_dialled_goes_on(records: Records) -> None:
    Adoption(records).adopt(listed(State.CLAIMED, HERE_BY_TCP))
    container = records.session("a")
    assert container is not None
    assert (container.visited, container.has_begun, container.unreachable_since) == (True, True, None)


async def test_a_session_out_of_reach_is_kept_and_reached_later(records: Records, tmp_path: Path) -> None:
    adoption = Adoption(records)
    adoption.adopt(listed(State.CLAIMED, SocketAddress(str(tmp_path / "gone"))))
    container = records.get("a")
    assert container is not None
    assert records.session("a") is None
    assert container.is_cut_off
    assert container.unreachable_since is not None
    adoption.readdress(listed(State.CLAIMED, HERE_BY_TCP))
    assert records.session("a") is container
    assert not container.unreachable_since


@pytest.mark.parametrize("address", [None, SocketAddress("/nowhere")])
async def test_a_ready_one_out_of_reach_is_removed(records: Records, address: Address | None) -> None:
    Adoption(records).adopt(listed(State.READY, address))
    assert [one.reason for one in records.in_state(State.REMOVING)] == [EndReason.CRASHED]


async def test_what_is_discarded_after_its_end_is_no_session_that_ends_again(records: Records) -> None:
    adoption = Adoption(records)
    adoption.adopt(listed(State.CLAIMED, HERE_BY_TCP))
    session = records.get("a")
    assert session is not None
    records.end(session, EndReason.IDLE, time.monotonic())
    records.forget(session, time.monotonic())
    metrics = PoolMetrics()
    records.subscribe(Journal(records, metrics))
    with structlog.testing.capture_logs() as logged:
        adoption.discard(listed(State.CLAIMED, HERE_BY_TCP), EndReason.IDLE)
    assert [one["event"] for one in logged] == ["removing"]
    assert observed_by(metrics, "tmpnb_session_duration_seconds") == 0
    again = records.get("a")
    assert again is not None
    assert (again.state, again.reason, again.claimed_at) == (State.REMOVING, EndReason.IDLE, None)


async def test_a_ready_one_that_is_taken_up_is_no_start(records: Records) -> None:
    """Nobody knows how long it took; counted as 0 s it would make the starts look faster than they are."""
    metrics = PoolMetrics()
    records.subscribe(Journal(records, metrics))
    Adoption(records).adopt(listed(State.READY, HERE_BY_TCP))
    assert records.count(State.READY) == 1
    assert observed_by(metrics, "tmpnb_start_duration_seconds") == 0


def observed_by(metrics: PoolMetrics, histogram: str) -> float:
    """How many values a histogram has."""
    samples = (sample for family in metrics.collect() for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == f"{histogram}_count")
