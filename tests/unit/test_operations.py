"""What the operator may do at run time: the marks and targets that are set, and what the planner makes of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.operations import LARGEST_POOL, Gate, Operations
from tmpnb_py.pools.planner import Backoff, ContainerFacts, End, Remove, Situation, Start, Targets, plan
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.sizing import Sizing
from tmpnb_py.pools.start_rate import StartRate

NOW = 100.0


def pool_of(**counts: int) -> Records:
    pool = Records("test")
    for state in State:
        for number in range(counts.get(state.value, 0)):
            pool.insert(Container(f"{state.value[0]}{number}", "today", "", created_at=0.0, state=state))
    return pool


def control_of(pool: Records, directory: Path, *, max_containers: int | None = None) -> tuple[Operations, list[str]]:
    calls: list[str] = []

    def moved() -> int:
        calls.append("line told")
        return 2

    options = LiveOptions(Settings(pool_size=pool.size, max_containers=max_containers))
    control = Operations(
        pool,
        Sizing(pool, options, StartRate()),
        Gate(directory / "test.closed"),
        options,
        gate_moved=moved,
        observe_soon=lambda: calls.append("woken"),
    )
    return control, calls


def planned(pool: Records, *, waiting: int = 0) -> list[object]:
    """The planner's actions for a pool as it stands."""
    records = [ContainerFacts(one.id, one.state, one.config_digest, 0.0, 0.0, removal_due_at=0.0) for one in pool]
    targets = Targets(digest="today", pool_size=pool.size, max_containers=20, concurrency=20)
    return list(plan(Situation(NOW, targets, records, waiting=waiting, backoff=Backoff(batch=64))).actions)


# --- size and drain


@pytest.mark.parametrize(
    ("counts", "size", "expected"),
    [
        ({"ready": 3}, 3, []),
        ({"ready": 3}, 5, [Start(), Start()]),
        ({"ready": 2, "starting": 2}, 5, [Start()]),
        ({"ready": 3}, 1, [End("r0", EndReason.SURPLUS), End("r1", EndReason.SURPLUS)]),
        ({"ready": 2, "claimed": 3}, 0, [End("r0", EndReason.SURPLUS), End("r1", EndReason.SURPLUS)]),
        ({"starting": 2}, 0, []),  # they become ready, and are surplus then
        ({"claimed": 3}, 0, []),
    ],
)
def test_the_planner_follows_the_size(
    counts: dict[str, int], size: int, expected: list[object], tmp_path: Path
) -> None:
    pool = pool_of(**counts)
    control, calls = control_of(pool, tmp_path)
    control.resize(size)
    assert planned(pool) == expected
    assert calls == ["woken"]


def test_who_waits_is_served_by_a_pool_of_none(tmp_path: Path) -> None:
    pool = pool_of(ready=1)
    control_of(pool, tmp_path)[0].resize(0)
    assert planned(pool, waiting=2) == [Start()]


def test_a_drain_is_refilled_at_once(tmp_path: Path) -> None:
    pool = pool_of(ready=2, starting=1, claimed=1)
    pool.size = 3
    assert control_of(pool, tmp_path)[0].drain(NOW) == 2
    assert [one.reason for one in pool.in_state(State.REMOVING)] == [EndReason.DRAINED] * 2
    assert (pool.count(State.STARTING), pool.count(State.CLAIMED)) == (1, 1)
    assert planned(pool) == [Remove("r0"), Remove("r1"), Start(), Start()]
    assert control_of(pool, tmp_path)[0].drain(NOW) == 0


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (-1, f"size is a whole number from 0 to {LARGEST_POOL}"),
        (LARGEST_POOL + 1, f"size is a whole number from 0 to {LARGEST_POOL}"),
        (6, "6 is above max_containers, which is 5"),
    ],
)
def test_a_size_that_cannot_be(size: int, message: str, tmp_path: Path) -> None:
    pool = pool_of()
    control, calls = control_of(pool, tmp_path, max_containers=5)
    with pytest.raises(SettingsError) as caught:
        control.resize(size)
    assert caught.value.message == message
    assert (pool.size, calls) == (0, [])
    control.resize(5)


# --- the gate


def test_closing_is_remembered(tmp_path: Path) -> None:
    control, calls = control_of(pool_of(ready=1), tmp_path)
    assert control.is_open
    control.close()
    control.close()
    assert (control.is_open, calls) == (False, ["line told", "line told"])
    calls.clear()
    control.open()
    assert (control.is_open, calls) == (True, ["line told", "woken"])
    control.close()
    again = Gate(tmp_path / "test.closed")
    assert not again.is_open
    again.open()
    again.open()
    assert Gate(tmp_path / "test.closed").is_open


def test_closing_to_classes_is_remembered_and_taken_back(tmp_path: Path) -> None:
    control, calls = control_of(pool_of(ready=1), tmp_path)
    assert control.admits_classes
    control.close()
    assert control.admits_classes
    control.close(to_classes=True)
    again = Gate(tmp_path / "test.closed")
    assert (again.is_open, again.admits_classes) == (False, False)
    calls.clear()
    control.close()
    assert (control.admits_classes, Gate(tmp_path / "test.closed").admits_classes) == (True, True)
    assert calls == ["line told", "woken"], "those of classes who wait are wanted containers for"
    control.close(to_classes=True)
    control.open()
    assert (control.is_open, control.admits_classes) == (True, True)


def test_what_another_process_did_to_the_gate_is_seen(tmp_path: Path) -> None:
    ours, theirs = Gate(tmp_path / "test.closed"), Gate(tmp_path / "test.closed")
    theirs.close()
    ours.look()
    assert not ours.is_open
    theirs.open()
    ours.look()
    assert ours.is_open


def test_a_closed_pool_stays_warm(tmp_path: Path) -> None:
    pool = pool_of(ready=2)
    pool.size = 2
    control_of(pool, tmp_path)[0].close()
    assert planned(pool) == []


def test_closing_that_cannot_be_written_down_fails(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gone" / "x.closed")
    with pytest.raises(FileNotFoundError):
        gate.close()
    assert gate.is_open
    target = tmp_path / "target"
    link = tmp_path / "link.closed"
    link.symlink_to(target)
    gate = Gate(link)
    with pytest.raises(OSError, match="symbolic"):
        gate.close()
    assert (gate.is_open, target.exists()) == (True, False)


def test_nothing_is_due_later_for_a_size(tmp_path: Path) -> None:
    pool = pool_of(ready=1)
    control_of(pool, tmp_path)[0].resize(1)
    records = [ContainerFacts(one.id, one.state, "today", 0.0, 0.0) for one in pool]
    targets = Targets(digest="today", pool_size=1, max_containers=1, concurrency=1)
    assert plan(Situation(NOW, targets, records)).wake_at == math.inf
