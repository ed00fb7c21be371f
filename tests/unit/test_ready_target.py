"""The target of a pool, from everything that asks for containers."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.pools.ready_target import Part, ReadyTarget, ready_target

PARTS = st.builds(Part, st.integers(0, 1000), st.floats(0, 2e9) | st.just(math.inf))


def test_the_larger_of_base_and_timetable_and_the_reserve_on_top() -> None:
    assert ready_target(Part(3)) == ReadyTarget(3)
    assert ready_target(Part(3), timetable=Part(60, 50.0), reserve=Part(20, 40.0)) == ReadyTarget(80, 40.0)
    assert ready_target(Part(3), timetable=Part(2, 50.0)) == ReadyTarget(3, 50.0)
    assert ready_target(Part(3), reserve=Part(4), is_shut=True) == ReadyTarget(4), "the base is for visitors"


@given(PARTS, PARTS, PARTS, st.booleans())
def test_no_source_gets_less_than_it_asks_for(base: Part, timetable: Part, reserve: Part, is_shut: bool) -> None:
    target = ready_target(base, timetable=timetable, reserve=reserve, is_shut=is_shut)
    assert target.size >= timetable.count + reserve.count
    assert is_shut or target.size >= base.count + reserve.count
    assert target.changes_at == min(base.changes_at, timetable.changes_at, reserve.changes_at)
