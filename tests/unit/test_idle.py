"""The idle policy, row by row and as properties. The clock is a number; a claim is at 1000 throughout."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tmpnb_py.core.models import EndReason
from tmpnb_py.jupyter.report import Report
from tmpnb_py.pools.idle import (
    ECHO,
    PRESENCE_WINDOW,
    QUESTIONS,
    RETRY_ECHO,
    Ask,
    Evidence,
    Keep,
    Limits,
    Nudges,
    Reap,
    Verdict,
    decide,
    expires_at,
)

MINUTE = 60.0
HOUR = 3600.0
CLAIM = 1000.0

DEFAULTS = Limits(timeout=HOUR, disconnected=15 * MINUTE, busy=HOUR, unvisited=5 * MINUTE, maximum=4 * HOUR)
NEVER = Limits(timeout=0, disconnected=0, busy=0, unvisited=0, maximum=0)

IDLE = Reap(EndReason.IDLE)
UNVISITED = Reap(EndReason.UNVISITED)
TOO_OLD = Reap(EndReason.TOO_OLD)

BUSY = Report(busy=True)
QUIET = Report(busy=False)


def limits(**changed: float) -> Limits:
    return dataclasses.replace(DEFAULTS, **changed)


def session(
    *, active: float = 0, seen: float | None = None, connections: int = 0, left: float | None = None
) -> Evidence:
    """A session that somebody opened; times are seconds after the claim."""
    return Evidence(
        claimed_at=CLAIM,
        visited=True,
        last_activity=CLAIM + active,
        last_presence=CLAIM + (active if seen is None else seen),
        open_connections=connections,
        left_at=None if left is None else CLAIM + left,
    )


UNOPENED = Evidence(claimed_at=CLAIM, visited=False, last_activity=CLAIM, last_presence=CLAIM)


@dataclasses.dataclass
class Row:
    name: str
    evidence: Evidence
    after: float
    verdict: Verdict
    report: Report | None = None
    failed: int = 0
    limits: Limits = DEFAULTS


def keep(after: float) -> Keep:
    return Keep(CLAIM + after)


def said(after: float, *, busy: bool = False) -> Report:
    return Report(busy=busy, kernels=(CLAIM + after,))


def printed(*after: float) -> Report:
    """What terminals did."""
    return Report(busy=False, terminals=tuple(CLAIM + one for one in after))


def nudged(evidence: Evidence, *, kernels: tuple[float, ...] = (), terminals: tuple[float, ...] = ()) -> Evidence:
    """A session whose page made kernels or terminals do something by itself."""
    return dataclasses.replace(
        evidence,
        kernel_nudges=tuple(CLAIM + one for one in kernels),
        terminal_nudges=tuple(CLAIM + one for one in terminals),
    )


ROWS = [
    # A tab that polls is connected, by its requests or by its WebSocket, and yet not active.
    # Each poll moves the end to 15 minutes later, until the hour without activity is over.
    Row("polling tab", session(seen=30 * MINUTE), 30 * MINUTE, keep(45 * MINUTE)),
    Row("polling tab, the two limits meet", session(seen=45 * MINUTE), 45 * MINUTE, keep(HOUR)),
    Row("polling tab, before the hour", session(seen=HOUR - 1), HOUR - 1, keep(HOUR)),
    Row("polling tab, after an hour", session(seen=HOUR), HOUR, Ask()),
    Row("polling tab, nothing runs", session(seen=HOUR), HOUR, IDLE, QUIET),
    Row("tab whose WebSocket is open", session(connections=1), HOUR - 1, keep(HOUR)),
    Row("tab whose WebSocket is open, after an hour", session(connections=1), HOUR, IDLE, QUIET),
    Row(
        "polling stops: the shorter limit counts from the last poll",
        session(seen=20 * MINUTE),
        20 * MINUTE + PRESENCE_WINDOW,
        keep(35 * MINUTE),
    ),
    Row("polling stopped", session(seen=20 * MINUTE), 35 * MINUTE, Ask()),
    Row("polling stopped, nothing runs", session(seen=20 * MINUTE), 35 * MINUTE, IDLE, QUIET),
    Row("polling stopped, busy", session(seen=20 * MINUTE), 35 * MINUTE, keep(50 * MINUTE), BUSY),
    Row(
        "polling went on after the WebSocket closed",
        session(seen=20 * MINUTE, left=60),
        21 * MINUTE,
        keep(35 * MINUTE),
    ),
    # A client between two polls is still there, however short the shorter limit is.
    Row(
        "a limit below the presence window waits for it",
        session(seen=20 * MINUTE),
        20 * MINUTE + PRESENCE_WINDOW - 1,
        keep(20 * MINUTE + PRESENCE_WINDOW),
        limits=limits(disconnected=1),
    ),
    Row(
        "a limit below the presence window, which is over",
        session(seen=20 * MINUTE),
        20 * MINUTE + PRESENCE_WINDOW,
        Ask(),
        limits=limits(disconnected=1),
    ),
    # Typing: frames or requests from a person.
    Row("typing user", session(active=3 * HOUR, connections=1), 3 * HOUR, keep(4 * HOUR)),
    Row("user who typed until the end", session(active=4 * HOUR, connections=1), 4 * HOUR, TOO_OLD),
    Row("user who saves without a WebSocket", session(active=HOUR), HOUR + 1, keep(75 * MINUTE)),
    # A busy kernel.
    Row("busy, client there", session(connections=1), HOUR, keep(2 * HOUR), BUSY),
    Row("busy, client there, for long", session(connections=1), 3.9 * HOUR, keep(4 * HOUR), BUSY),
    Row("busy, nobody", session(left=0), 15 * MINUTE, keep(30 * MINUTE), BUSY),
    Row("busy, nobody, at cull_busy", session(left=0), HOUR, keep(75 * MINUTE), BUSY),
    Row("busy, nobody, beyond cull_busy", session(left=0), 74 * MINUTE, keep(75 * MINUTE), BUSY),
    Row("busy, nobody, cull_busy is over", session(left=0), 75 * MINUTE, IDLE, BUSY),
    Row(
        "busy, nobody: cull_busy counts from the leaving",
        session(left=HOUR),
        2 * HOUR,
        keep(2 * HOUR + 15 * MINUTE),
        BUSY,
    ),
    Row("busy, nobody: or from the last poll", session(seen=HOUR), 2 * HOUR, keep(2.25 * HOUR), BUSY),
    Row(
        "busy, nobody: or from the last frame",
        session(active=HOUR, seen=0),
        2 * HOUR,
        keep(2.25 * HOUR),
        BUSY,
    ),
    Row("busy, and the client left first", session(active=HOUR, left=1), 2 * HOUR, keep(2.25 * HOUR), BUSY),
    # Silent for hours: the kernel's last word is old, but it is busy.
    Row("silent long computation", session(connections=1), 2 * HOUR, keep(3 * HOUR), said(1, busy=True)),
    Row("silent computation, nobody", session(left=60), 20 * MINUTE, keep(35 * MINUTE), said(1, busy=True)),
    # Kernels that became idle, and terminals, by their newest output.
    Row("computation that ended", session(connections=1), HOUR, keep(1.5 * HOUR), said(30 * MINUTE)),
    Row("terminal that prints, client there", session(connections=1), HOUR, keep(2 * HOUR), said(HOUR)),
    Row("terminal that prints, nobody", session(left=0), HOUR, keep(75 * MINUTE), said(HOUR)),
    Row("terminal that prints for ever, nobody", session(left=0), 75 * MINUTE, IDLE, said(75 * MINUTE)),
    Row("terminal that was left", session(left=0), 20 * MINUTE, keep(25 * MINUTE), said(10 * MINUTE)),
    # A page that reconnects makes a shell draw its prompt anew, and an older Jupyter's kernel speak.
    Row(
        "prompt drawn anew",
        nudged(session(connections=1), terminals=(HOUR - 60,)),
        HOUR,
        IDLE,
        printed(HOUR - 60 + ECHO),
    ),
    Row(
        "prompt drawn anew, by an earlier reconnection",
        nudged(session(connections=1), terminals=(HOUR - 60, HOUR - 20)),
        HOUR,
        IDLE,
        printed(HOUR - 59),
    ),
    Row(
        "terminal that prints without any such reason",
        nudged(session(connections=1), terminals=(HOUR - 60, HOUR - 20)),
        HOUR,
        keep(2 * HOUR - 10),
        printed(HOUR - 10),
    ),
    Row(
        "one terminal's prompt, and another that prints",
        nudged(session(connections=1), terminals=(HOUR - 60,)),
        HOUR,
        keep(2 * HOUR - 100),
        printed(HOUR - 59, HOUR - 100),
    ),
    Row(
        "kernel that tells what it is",
        nudged(session(connections=1), kernels=(HOUR - 60,)),
        HOUR,
        IDLE,
        said(HOUR - 59),
    ),
    Row(
        "terminal that prints, and a page that asks kernels",
        nudged(session(connections=1), kernels=(HOUR - 11,)),
        HOUR,
        keep(2 * HOUR - 10),
        printed(HOUR - 10),
    ),
    Row("just reconnected", nudged(session(connections=1), kernels=(HOUR - 1,)), HOUR, Ask(RETRY_ECHO), said(HOUR)),
    Row(
        "just reconnected, whenever it is asked",
        nudged(session(connections=1), kernels=(HOUR - 1,)),
        HOUR,
        IDLE,
        said(HOUR),
        failed=QUESTIONS - 1,
    ),
    # Nobody there: the shorter limit counts from the last client or the last activity, whichever was later.
    Row("nobody, at first", session(left=10), 15 * MINUTE, keep(15 * MINUTE + 10)),
    Row("nobody", session(left=10), 15 * MINUTE + 10, Ask()),
    Row("nobody, nothing runs", session(left=10), 15 * MINUTE + 10, IDLE, QUIET),
    Row("left at once after working", session(active=HOUR, left=HOUR), HOUR, keep(75 * MINUTE)),
    Row("worked by requests after leaving", session(active=HOUR, left=10), HOUR, keep(75 * MINUTE)),
    Row("read for half an hour, then left", session(left=30 * MINUTE), 30 * MINUTE, keep(45 * MINUTE)),
    # The hour without activity bounds it, though the client left later than a quarter of an hour before.
    Row("left when the hour was nearly over", session(left=50 * MINUTE), 50 * MINUTE, keep(HOUR)),
    Row("left when the hour was nearly over, and it is", session(left=50 * MINUTE), HOUR, Ask()),
    # Never opened: nobody is asked.
    Row("never opened, at first", UNOPENED, 0, keep(5 * MINUTE)),
    Row("never opened", UNOPENED, 5 * MINUTE, UNVISITED),
    Row(
        "never opened, a long limit of its own",
        UNOPENED,
        30 * MINUTE,
        keep(2 * HOUR),
        limits=limits(unvisited=2 * HOUR),
    ),
    # Maximum age: without asking, before every other reason.
    Row("maximum age", session(active=4 * HOUR, connections=1), 4 * HOUR, TOO_OLD),
    Row("maximum age, busy", session(connections=1), 4 * HOUR, TOO_OLD, BUSY),
    Row("maximum age, never opened", UNOPENED, 4 * HOUR, TOO_OLD),
    # Questions that fail.
    Row("failed once", session(), HOUR, Ask(), failed=1),
    Row("failed twice", session(), HOUR, Ask(), failed=2),
    Row("failed three times", session(), HOUR, IDLE, failed=3),
    Row("failed three times, not due", session(), MINUTE, keep(15 * MINUTE), failed=3),
    Row("answered at the fourth attempt", session(connections=1), HOUR, keep(2 * HOUR), BUSY, failed=3),
    # A container's clock is its visitor's.
    Row("time from the future", session(connections=1), HOUR, keep(2 * HOUR), said(99 * HOUR)),
    Row("time from the future, nobody", session(left=0), 75 * MINUTE, IDLE, said(99 * HOUR)),
    Row("time from before the claim", session(), HOUR, IDLE, said(-99 * HOUR)),
    # Each limit at 0: never by this rule.
    Row("no timeout", session(connections=1), 3 * HOUR, keep(4 * HOUR), limits=limits(timeout=0)),
    Row("no timeout, nobody", session(), 15 * MINUTE, Ask(), limits=limits(timeout=0)),
    Row("no disconnected", session(), 59 * MINUTE, keep(HOUR), limits=limits(disconnected=0)),
    Row("no busy", session(left=0), 3 * HOUR, keep(3.25 * HOUR), BUSY, limits=limits(busy=0)),
    Row("no unvisited", UNOPENED, 10 * MINUTE, keep(15 * MINUTE), limits=limits(unvisited=0)),
    Row("no unvisited, nobody came", UNOPENED, 15 * MINUTE, IDLE, QUIET, limits=limits(unvisited=0)),
    Row(
        "no maximum",
        session(active=99 * HOUR, connections=1),
        99 * HOUR,
        keep(100 * HOUR),
        limits=limits(maximum=0),
    ),
    Row("no limit at all", session(), 999 * HOUR, Keep(math.inf), limits=NEVER),
    Row("no limit at all, never opened", UNOPENED, 999 * HOUR, Keep(math.inf), limits=NEVER),
    # A busy limit below the presence window: it ends with the window, not a full timeout later.
    Row(
        "window ends after the capped kernel's timeout",
        session(),
        80,
        keep(PRESENCE_WINDOW),
        BUSY,
        limits=limits(timeout=60, busy=10, disconnected=0),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_verdict(row: Row) -> None:
    assert decide(row.evidence, row.limits, CLAIM + row.after, row.report, row.failed) == row.verdict


@pytest.mark.parametrize(
    ("name", "evidence", "after", "allowed", "expected"),
    [
        ("never opened", UNOPENED, 0, DEFAULTS, 5 * MINUTE),
        ("never opened, no such limit", UNOPENED, 0, limits(unvisited=0), 15 * MINUTE),
        ("connected", session(connections=1), 0, DEFAULTS, HOUR),
        ("nobody", session(active=60, left=70), 300, DEFAULTS, 70 + 15 * MINUTE),
        (
            "polling for longer than the shorter limit",
            session(seen=HOUR / 2),
            HOUR / 2,
            DEFAULTS,
            45 * MINUTE,
        ),
        ("polling until the hour is nearly over", session(seen=HOUR - 1), HOUR - 1, DEFAULTS, HOUR),
        ("close to its maximum", session(active=3.9 * HOUR, connections=1), 3.9 * HOUR, DEFAULTS, 4 * HOUR),
        ("overdue, kept by its kernel", session(connections=1), 2 * HOUR, DEFAULTS, 2 * HOUR),
        ("beyond its maximum", session(connections=1), 5 * HOUR, DEFAULTS, 4 * HOUR),
        ("no limit at all", session(), 0, NEVER, math.inf),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_expires_at(name: str, evidence: Evidence, after: float, allowed: Limits, expected: float) -> None:
    assert expires_at(evidence, allowed, CLAIM + after) == CLAIM + expected


moments = st.floats(0, 30_000, allow_nan=False)
some_limits = st.builds(
    Limits,
    *[st.one_of(st.just(0.0), st.floats(1, 20_000, allow_nan=False)) for _ in dataclasses.fields(Limits)],
)
spoken = st.lists(st.floats(-1e5, 1e5), max_size=2).map(tuple)
reports = st.none() | st.builds(Report, busy=st.booleans(), kernels=spoken, terminals=spoken)
failures = st.integers(0, QUESTIONS)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Evidence, float]:
    """Evidence of the past, and a moment."""
    now = draw(moments)
    past = st.floats(0, now)
    claimed_at = draw(past)
    since_claim = st.floats(claimed_at, now)
    evidence = Evidence(
        claimed_at=claimed_at,
        visited=draw(st.booleans()),
        last_activity=draw(since_claim),
        last_presence=draw(since_claim),
        open_connections=draw(st.integers(0, 2)),
        left_at=draw(st.none() | since_claim),
        kernel_nudges=tuple(draw(st.lists(since_claim, max_size=2).map(sorted))),
        terminal_nudges=tuple(draw(st.lists(since_claim, max_size=2).map(sorted))),
    )
    return evidence, now


def test_nudges_are_bounded_and_the_newest_are_kept() -> None:
    nudges = Nudges()
    assert nudges.moments == ()
    for moment in range(1000):
        nudges.add(float(moment))
        nudges.add(moment + 0.1)  # one of a burst is enough
    assert nudges.moments == tuple(float(one) for one in range(968, 1000))


def harshness(verdict: Verdict) -> tuple[int, float]:
    """Orders verdicts from the mildest: a longer keep, a shorter one, a question, the end."""
    match verdict:
        case Keep(until):
            return 0, -until
        case Ask():
            return 1, 0
        case Reap():
            return 2, 0


@given(situations(), some_limits, reports, failures)
def test_keep_reaches_into_the_future_and_makes_progress(
    situation: tuple[Evidence, float], allowed: Limits, report: Report | None, failed: int
) -> None:
    evidence, now = situation
    verdict = decide(evidence, allowed, now, report, failed)
    assume(isinstance(verdict, Keep) and verdict.until < math.inf)
    assert isinstance(verdict, Keep)
    assert verdict.until > now
    for later_report in (None, report):
        again = decide(evidence, allowed, verdict.until, later_report, failed)
        assert not isinstance(again, Keep) or again.until > verdict.until


@given(situations(), some_limits, reports, failures)
def test_nothing_changes_before_a_keep_is_over(
    situation: tuple[Evidence, float], allowed: Limits, report: Report | None, failed: int
) -> None:
    evidence, now = situation
    verdict = decide(evidence, allowed, now, report, failed)
    assume(isinstance(verdict, Keep))
    assert isinstance(verdict, Keep)
    before = now + (min(verdict.until, now + 1e6) - now) / 2
    assume(before < verdict.until)
    # What comes from the future is worth now, and would be worth more later.
    assume(not report or not (report.busy or any(one > now for one in (*report.kernels, *report.terminals))))
    assert decide(evidence, allowed, before, report, failed) == verdict


@given(situations(), some_limits, reports, failures)
def test_nobody_is_reaped_before_the_smallest_applicable_limit(
    situation: tuple[Evidence, float], allowed: Limits, report: Report | None, failed: int
) -> None:
    evidence, now = situation
    match decide(evidence, allowed, now, report, failed):
        case Reap(EndReason.TOO_OLD):
            assert now >= evidence.claimed_at + allowed.maximum > evidence.claimed_at
        case Reap(EndReason.UNVISITED):
            assert not evidence.visited
            assert now >= evidence.claimed_at + allowed.unvisited > evidence.claimed_at
        case Reap(EndReason.IDLE):
            last_seen = max(evidence.last_activity, evidence.last_presence, evidence.left_at or 0)
            connected = evidence.open_connections > 0 or now < evidence.last_presence + PRESENCE_WINDOW
            ends = [evidence.last_activity + allowed.timeout] if allowed.timeout else []
            if allowed.disconnected and not connected:
                ends.append(last_seen + allowed.disconnected)
            assert now >= min(ends)
            assert report is not None or failed >= QUESTIONS


@given(situations(), some_limits, reports, failures, st.data())
def test_more_recent_evidence_never_makes_it_harsher(
    situation: tuple[Evidence, float],
    allowed: Limits,
    report: Report | None,
    failed: int,
    data: st.DataObject,
) -> None:
    evidence, now = situation
    field = data.draw(st.sampled_from(["last_activity", "last_presence", "left_at"]))
    value = getattr(evidence, field)
    later = data.draw(st.floats(evidence.claimed_at if value is None else value, now))
    change: dict[str, Any] = {field: later}
    newer = dataclasses.replace(evidence, **change)
    before, after = (decide(one, allowed, now, report, failed) for one in (evidence, newer))
    assert harshness(after) <= harshness(before)
    assert expires_at(newer, allowed, now) >= expires_at(evidence, allowed, now)


@given(situations(), some_limits, reports)
def test_a_report_never_makes_it_harsher_than_silence(
    situation: tuple[Evidence, float], allowed: Limits, report: Report | None
) -> None:
    evidence, now = situation
    assert harshness(decide(evidence, allowed, now, report, QUESTIONS)) <= harshness(
        decide(evidence, allowed, now, None, QUESTIONS)
    )


@given(situations(), some_limits, reports, failures)
def test_an_open_connection_never_makes_it_harsher(
    situation: tuple[Evidence, float], allowed: Limits, report: Report | None, failed: int
) -> None:
    evidence, now = situation
    alone, open_ = (dataclasses.replace(evidence, open_connections=n) for n in (0, 1))
    assert harshness(decide(open_, allowed, now, report, failed)) <= harshness(
        decide(alone, allowed, now, report, failed)
    )


@given(situations(), some_limits)
def test_what_the_visitor_is_told_is_what_happens(situation: tuple[Evidence, float], allowed: Limits) -> None:
    evidence, now = situation
    told = expires_at(evidence, allowed, now)
    if allowed.maximum:
        assert told <= evidence.claimed_at + allowed.maximum
    match decide(evidence, allowed, now, None, QUESTIONS):
        case Keep(until):
            assert told == until
        case _:
            assert told <= now
    if told < math.inf:
        assert isinstance(decide(evidence, allowed, told, None, QUESTIONS), Reap) or told < now
