"""The records of a pool: who gets what, that nobody gets it twice, and what is remembered."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tmpnb_py.core.models import Ended, EndReason, State, TcpAddress
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.pools import records
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.records import Records

OLD, TODAY = "old", "today"


class ClosableEndpoint(Endpoint):
    """An endpoint that tells whether it was closed."""

    def __init__(self) -> None:
        super().__init__(TcpAddress("127.0.0.1", 1))
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        super().close()


def container(container_id: str, *, digest: str = TODAY, state: State = State.STARTING, at: float = 0) -> Container:
    return Container(container_id, digest, "token", created_at=at, changed_at=at, state=state)


def pool_of(*containers: Container) -> Records:
    pool = Records("test")
    pool.current_digest, pool.limit = TODAY, 100
    for one in containers:
        pool.insert(one)
    return pool


def ready(pool: Records, container_id: str, *, digest: str = TODAY, at: float = 0) -> Container:
    """A container that was started and answers."""
    one = container(container_id, digest=digest, at=at)
    pool.insert(one)
    assert pool.mark_ready(one, ClosableEndpoint(), at)
    return one


# --- claiming


def test_the_one_that_waited_longest_goes_first() -> None:
    pool = pool_of()
    first, second, third = (ready(pool, name, at=at) for at, name in enumerate("cab"))
    assert [pool.claim(9), pool.claim(9), pool.claim(9), pool.claim(9)] == [first, second, third, None]


def test_waiting_counts_from_the_moment_it_answered() -> None:
    pool = pool_of(slow := container("slow", at=0), quick := container("quick", at=1))
    assert pool.mark_ready(quick, ClosableEndpoint(), 2)
    assert pool.mark_ready(slow, ClosableEndpoint(), 3)
    assert pool.claim(4) is quick


def test_todays_configuration_goes_before_older_ones() -> None:
    pool = pool_of()
    old = [ready(pool, f"old{number}", digest=OLD) for number in range(2)]
    new = [ready(pool, f"new{number}") for number in range(2)]
    assert [pool.claim(1) for _ in range(5)] == [*new, *old, None]


def test_a_warm_kernel_goes_before_the_longest_wait_and_after_the_configuration() -> None:
    pool = pool_of()
    old = ready(pool, "old", digest=OLD)
    cold, python, r = (ready(pool, name) for name in ("cold", "python", "r"))
    old.warm = r.warm = frozenset({"ir"})
    python.warm = frozenset({"python3", "bash"})
    assert pool.claim(1, kernel="ir") is r
    assert pool.claim(1, kernel="ir") is cold, "none is waited for, and an older configuration is no better"
    assert pool.claim(1, kernel="octave") is python
    assert pool.claim(1, kernel="ir") is old


@pytest.mark.parametrize("digest", [None, "a third one"])
def test_any_configuration_is_better_than_none(digest: str | None) -> None:
    pool = pool_of()
    old = ready(pool, "old", digest=OLD)
    pool.current_digest = digest
    assert pool.claim(1) is old


@pytest.mark.parametrize("state", [State.STARTING, State.CLAIMED, State.REMOVING])
def test_only_ready_ones_are_claimed(state: State) -> None:
    assert pool_of(container("a", state=state)).claim(1) is None


def test_as_many_as_there_may_be_are_given_away_and_no_more() -> None:
    """The operator has lowered `max_containers`: what is still ready only waits for its removal."""
    pool = pool_of(*(container(f"c{number}", state=State.CLAIMED) for number in range(4)))
    for number in range(3):
        ready(pool, f"r{number}")
    pool.limit = 4
    assert (pool.claimable, pool.claim(1)) == (0, None)
    pool.limit = 5
    assert pool.claimable == 1
    assert pool.claim(1) is not None
    assert pool.claim(1) is None


def test_a_claim_that_nobody_was_told_of_is_undone_silently() -> None:
    pool = pool_of()
    one = ready(pool, "a")
    told: list[State] = []
    pool.subscribe(lambda container: told.append(container.state))
    assert pool.claim(1) is one
    assert pool.give_back(one, 2)
    assert (one.state, one.claimed_at, told) == (State.READY, None, [State.CLAIMED])
    assert pool.claim(3) is one
    pool.end(one, EndReason.ENDED_BY_OPERATOR, 4)
    assert not pool.give_back(one, 5), "what has ended meanwhile stays ended"


def test_a_claim_sets_the_clocks_and_is_no_visit() -> None:
    pool = pool_of()
    ready(pool, "a", at=5)
    claimed = pool.claim(7)
    assert claimed is not None
    assert claimed.state is State.CLAIMED
    assert claimed.changed_at == claimed.claimed_at == claimed.last_activity == claimed.last_presence == 7
    assert claimed.ready_at == 5
    assert not claimed.visited


# --- transitions


def test_each_transition_is_told_after_it_happened() -> None:
    pool = pool_of()
    told: list[tuple[str, State, int]] = []
    other: list[str] = []
    pool.subscribe(lambda one: told.append((one.id, one.state, pool.count(one.state))))
    pool.subscribe(lambda one: other.append(one.id))
    one = ready(pool, "a", at=1)
    pool.claim(2)
    pool.end(one, EndReason.IDLE, 3)
    pool.forget(one, 4)
    assert told == [
        ("a", State.STARTING, 1),
        ("a", State.READY, 1),
        ("a", State.CLAIMED, 1),
        ("a", State.REMOVING, 1),
        ("a", State.REMOVING, 0),
    ]
    assert other == ["a"] * 5


def test_what_changes_nothing_is_not_told() -> None:
    pool = pool_of()
    one = ready(pool, "a")
    pool.end(one, EndReason.IDLE, 1)
    stranger = container("b")
    told: list[Container] = []
    pool.subscribe(told.append)
    assert pool.claim(2) is None
    assert not pool.mark_ready(one, ClosableEndpoint(), 2)
    assert not pool.end(one, EndReason.CRASHED, 2)
    assert not pool.end(stranger, EndReason.CRASHED, 2)
    pool.forget(stranger, 2)
    assert told == []
    assert one.reason is EndReason.IDLE
    assert one.changed_at == 1


@pytest.mark.parametrize("state", [State.READY, State.CLAIMED, State.REMOVING])
def test_only_what_is_starting_becomes_ready(state: State) -> None:
    one = container("a", state=state)
    pool = pool_of(one)
    assert not pool.mark_ready(one, ClosableEndpoint(), 1)
    assert one.state is state
    assert one.endpoint is None


@pytest.mark.parametrize("state", [State.STARTING, State.READY, State.CLAIMED])
def test_anything_alive_can_be_ended_once(state: State) -> None:
    one = container("a", state=state)
    pool = pool_of(one)
    assert pool.end(one, EndReason.CRASHED, 1)
    assert not pool.end(one, EndReason.IDLE, 2)
    assert (one.state, one.reason, one.changed_at) == (State.REMOVING, EndReason.CRASHED, 1)
    assert pool.in_state(State.REMOVING) == [one]
    assert len(pool) == 1, "it takes room until the engine has confirmed that it is gone"


def test_a_record_that_was_forgotten_stays_forgotten() -> None:
    one = container("a", state=State.CLAIMED)
    pool = pool_of(one)
    pool.forget(one, 1)
    assert not pool.end(one, EndReason.IDLE, 2)
    pool.forget(one, 3)
    assert pool.get("a") is None
    assert pool.ended("a") == Ended(EndReason.CRASHED, 1, gone_at=1)


def test_forgetting_closes_the_endpoint_once() -> None:
    pool = pool_of()
    one = ready(pool, "a")
    assert isinstance(one.endpoint, ClosableEndpoint)
    pool.end(one, EndReason.SURPLUS, 1)
    assert one.endpoint.closed == 0
    pool.forget(one, 2)
    pool.forget(one, 3)
    assert one.endpoint.closed == 1


# --- how sessions ended


def test_an_ended_session_is_known_from_the_decision_on() -> None:
    pool = pool_of()
    ready(pool, "a")
    claimed = pool.claim(1)
    assert claimed is not None
    assert pool.session("a") is claimed
    pool.end(claimed, EndReason.IDLE, 2)
    assert pool.session("a") is None
    assert pool.ended("a") == Ended(EndReason.IDLE, 2)
    pool.forget(claimed, 9)
    assert pool.ended("a") == Ended(EndReason.IDLE, 2, gone_at=9)


@pytest.mark.parametrize("state", [State.STARTING, State.READY])
def test_what_nobody_had_is_remembered_only_once_it_is_gone(state: State) -> None:
    """A late listing must not bring it back; but before that, it is a record and no ended session."""
    one = container("a", state=state)
    pool = pool_of(one)
    pool.end(one, EndReason.START_FAILED, 1)
    assert pool.ended("a") is None
    pool.forget(one, 2)
    assert "a" in pool.ended_ids


def test_the_memory_of_the_ended_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_REMEMBERED_ENDS", 3)
    pool = pool_of()
    for name in "abcde":
        one = container(name, state=State.CLAIMED)
        pool.insert(one)
        pool.end(one, EndReason.IDLE, 1)
        pool.forget(one, 2)
    assert list(pool.ended_ids) == ["c", "d", "e"]
    assert len(pool) == 0


def test_what_crashed_just_before_an_outage_was_the_engines_doing() -> None:
    """Only crashes, only since that moment; what is being removed and what is gone alike."""
    everyone = {name: container(name, state=State.CLAIMED) for name in ("early", "crashed", "idle", "gone")}
    pool = pool_of(*everyone.values())
    pool.end(everyone["early"], EndReason.CRASHED, 9)
    pool.end(everyone["crashed"], EndReason.CRASHED, 10)
    pool.end(everyone["idle"], EndReason.IDLE, 11)
    pool.end(everyone["gone"], EndReason.CRASHED, 11)
    pool.forget(everyone["gone"], 12)
    pool.blame_engine(10)
    restarted = EndReason.ENGINE_RESTARTED
    assert dict(pool.ended_ids) == {
        "early": Ended(EndReason.CRASHED, 9),
        "crashed": Ended(restarted, 10),
        "idle": Ended(EndReason.IDLE, 11),
        "gone": Ended(restarted, 11, gone_at=12),
    }
    assert everyone["early"].reason is EndReason.CRASHED
    assert everyone["crashed"].reason is restarted
    assert list(pool.ended_ids) == ["early", "crashed", "idle", "gone"], "the oldest is still the first to be lost"


# --- looking up


def test_looking_up() -> None:
    everyone = [container(state.value, state=state) for state in State]
    pool = pool_of(*everyone)
    assert len(pool) == 4
    assert sorted(one.id for one in pool) == sorted(state.value for state in State)
    for one in everyone:
        assert pool.get(one.id) is one
        assert pool.in_state(one.state) == [one]
        assert pool.count(one.state) == 1
    assert pool.get("nobody") is None
    assert pool.session("nobody") is None


@pytest.mark.parametrize("state", list(State))
def test_visitors_are_led_only_to_claimed_containers_that_can_be_dialled(state: State) -> None:
    one = container("a", state=state)
    pool = pool_of(one)
    assert pool.session("a") is None
    one.endpoint = ClosableEndpoint()
    assert pool.session("a") is (one if state is State.CLAIMED else None)


def test_listeners_and_loops_may_change_what_they_look_at() -> None:
    pool = pool_of(*(container(name, state=State.CLAIMED) for name in "abc"))
    for one in pool.in_state(State.CLAIMED):
        pool.end(one, EndReason.IDLE, 1)
    for one in pool:
        pool.forget(one, 2)
    assert len(pool) == 0


# --- evidence


def test_evidence_of_a_fresh_claim() -> None:
    pool = pool_of()
    ready(pool, "a", at=1)
    claimed = pool.claim(5)
    assert claimed is not None
    found = claimed.evidence
    assert (found.claimed_at, found.visited, found.last_activity, found.last_presence) == (5, False, 5, 5)
    assert (found.open_connections, found.left_at) == (0, None)


def test_evidence_of_a_visit() -> None:
    one = container("a", state=State.CLAIMED)
    one.claimed_at = 5
    one.stamp_presence(10)
    assert (one.evidence.visited, one.evidence.last_presence, one.evidence.last_activity) == (True, 10, 5)
    one.stamp_activity(11)
    assert (one.evidence.last_presence, one.evidence.last_activity) == (10, 11)


def test_evidence_of_connections() -> None:
    one = container("a", state=State.CLAIMED)
    one.connection_opened(10)
    one.connection_opened(11)
    assert (one.evidence.open_connections, one.evidence.left_at, one.evidence.last_presence) == (2, None, 11)
    assert one.evidence.visited
    one.connection_closed(12)
    assert one.evidence.open_connections == 1
    one.connection_closed(13)
    assert (one.evidence.open_connections, one.evidence.left_at) == (0, 13)
    assert one.evidence.last_activity == 0, "opening and closing is presence, no activity"


def test_evidence_is_never_older_than_the_claim() -> None:
    one = container("a", state=State.CLAIMED, at=3)
    one.claimed_at, one.last_activity, one.last_presence = 9, 4, 5
    assert (one.evidence.last_activity, one.evidence.last_presence) == (9, 9)
    one.claimed_at = None
    assert (one.evidence.claimed_at, one.evidence.last_activity, one.evidence.last_presence) == (3, 4, 5)


def test_base_path() -> None:
    assert container("abc").base_path == b"/user/abc/"


# --- any sequence


class PoolMachine(RuleBasedStateMachine):
    """Any sequence of transitions, against plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Records("test")
        self.pool.current_digest, self.pool.limit = TODAY, 1000
        self.ids = (f"c{number}" for number in itertools.count())
        self.states: dict[Container, State] = {}
        self.ready: list[Container] = []
        self.claimed: set[str] = set()
        self.told = 0
        self.expected = 0
        self.now = 0.0
        self.pool.subscribe(self.on_transition)

    def on_transition(self, one: Container) -> None:
        self.told += 1

    def some(self, data: st.DataObject, *states: State) -> Container:
        return data.draw(st.sampled_from([one for one, state in self.states.items() if state in states]))

    @rule(digest=st.sampled_from([OLD, TODAY]))
    def insert(self, digest: str) -> None:
        one = container(next(self.ids), digest=digest, at=self.now)
        self.pool.insert(one)
        self.states[one] = State.STARTING
        self.expected += 1

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def answers(self, data: st.DataObject) -> None:
        self.now += 1
        one = self.some(data, *State)
        was_starting = self.states[one] is State.STARTING
        assert self.pool.mark_ready(one, ClosableEndpoint(), self.now) == was_starting
        if was_starting:
            self.states[one] = State.READY
            self.ready.append(one)
            self.expected += 1

    @rule()
    def claim(self) -> None:
        self.now += 1
        one = self.pool.claim(self.now)
        best = [*(o for o in self.ready if o.config_digest == self.pool.current_digest), *self.ready, None][0]
        assert one is best
        if one is not None:
            assert one.id not in self.claimed, "no container is handed out twice"
            self.claimed.add(one.id)
            self.ready.remove(one)
            self.states[one] = State.CLAIMED
            self.expected += 1

    @precondition(lambda self: State.CLAIMED in self.states.values())
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        one = self.some(data, State.CLAIMED)
        assert self.pool.give_back(one, self.now)
        self.claimed.discard(one.id)
        self.ready.append(one)
        self.states[one] = State.READY

    @precondition(lambda self: self.states)
    @rule(data=st.data(), reason=st.sampled_from(EndReason))
    def end(self, data: st.DataObject, reason: EndReason) -> None:
        self.now += 1
        one = self.some(data, *State)
        is_new = self.states[one] is not State.REMOVING
        assert self.pool.end(one, reason, self.now) == is_new
        if is_new:
            if one in self.ready:
                self.ready.remove(one)
            self.states[one] = State.REMOVING
            self.expected += 1

    @precondition(lambda self: State.REMOVING in self.states.values())
    @rule(data=st.data())
    def gone(self, data: st.DataObject) -> None:
        one = self.some(data, State.REMOVING)
        self.pool.forget(one, self.now)
        del self.states[one]
        assert self.pool.ended(one.id) is not None
        self.expected += 1

    @rule(digest=st.sampled_from([OLD, TODAY, None]))
    def configure(self, digest: str | None) -> None:
        self.pool.current_digest = digest

    @invariant()
    def the_records_are_the_model(self) -> None:
        assert {one: one.state for one in self.pool} == self.states
        assert len(self.pool) == len(self.states) == sum(self.pool.count(state) for state in State)
        assert self.pool.in_state(State.READY) == self.ready
        assert all(self.pool.get(one.id) is one for one in self.states)
        assert self.told == self.expected


TestPoolMachine = PoolMachine.TestCase
