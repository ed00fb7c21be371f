"""When something that fails is tried again."""

from __future__ import annotations

from tmpnb_py.core.backoff import Attempts


def test_what_goes_on_failing_is_tried_ever_more_rarely() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    assert attempts.is_due("a")
    assert [attempts.failed("a") for _ in range(9)] == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert attempts.has_failed("a")
    assert not attempts.is_due("a")
    assert attempts.is_due("b")
    now = 600.0
    assert attempts.is_due("a")
    attempts.succeeded("a")
    assert attempts.failed("a") == 5
    assert attempts.failed("a", for_good=True) is None
    now = 1e12
    assert not attempts.is_due("a")
