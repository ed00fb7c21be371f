"""Whatever visitors, containers, the engine and the operator do, in whatever order: nobody has two notebooks, no
notebook is anybody else's, a ticket goes only where it may, and what nobody has is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.pool_support import HandMadePool
from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import (
    ClosedError,
    ContainerHangsError,
    EngineDownError,
    EngineError,
    FullError,
    NoSuchContainerError,
)
from tmpnb_py.core.models import EndReason, State, TcpAddress
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.jupyter.endpoint import Endpoint, P
from tmpnb_py.pools.container import Container

LEASE = 30.0
REACHABLE = {
    Status.WAITING: set(Status),
    Status.HANDING_OVER: set(Status) - {Status.CLOSED},
    Status.READY: {Status.READY, Status.ANNOUNCED, Status.ENDED},
    Status.ANNOUNCED: {Status.ANNOUNCED, Status.ENDED},
    Status.ENDED: {Status.ENDED},
    Status.CLOSED: {Status.CLOSED},
    Status.LEFT: {Status.LEFT},
}
FAILURES: list[Callable[[], EngineError]] = [
    lambda: NoSuchContainerError("gone"),
    lambda: ContainerHangsError("no answer"),
    lambda: EngineError("no space"),
    lambda: EngineDownError("no engine"),
]


class Listening(Endpoint):
    """Somebody always listens there."""

    async def connect(self, factory: Callable[[], P]) -> P:
        return factory()


class Engine(FakeEngine):
    """Answers a claim when the test says so, and says which container was claimed durably."""

    def __init__(self, host: FakeHost) -> None:
        super().__init__(host)
        self.asked: dict[str, asyncio.Future[bool]] = {}
        self.durable: list[str] = []

    async def claim(self, container_id: str, unix_time: float) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.asked[container_id] = answer
        is_ours = await answer
        if is_ours:
            self.durable.append(container_id)
        return is_ours


class Life(RuleBasedStateMachine):
    """Claims and their visitors; time passes only where a rule says so."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.now = 1000.0
        self.made = 0
        self.drawn: dict[str, Ticket] = {}
        self.seen: dict[str, Status] = {}
        self.containers: list[Container] = []
        self.opening: list[asyncio.Task[None]] = []
        self.programs: list[asyncio.Task[Container]] = []
        self.do(self._begin)

    async def _begin(self) -> None:
        directory = Path(self.directory.name)
        self.engine = Engine(FakeHost())
        self.pool = HandMadePool(self.engine, directory, start_concurrency=2, max_waiting=4, place_lease=LEASE)
        self.pool.engine_is_listed()
        self.claims = Claims(self.engine, self.pool, LineStore(directory / "line"), clock=lambda: self.now)
        self.pool.serve(self.claims)
        self.claims.restore()

    def do(self, act: Callable[[], object]) -> None:
        """Act in the event loop, and let everything come to rest that does not wait for the engine."""

        async def run() -> None:
            done = act()
            if asyncio.iscoroutine(done):
                await done
            for _ in range(30):
                await asyncio.sleep(0)

        self.loop.run_until_complete(run())

    # --- visitors

    @rule(key=st.sampled_from(["", "", "j", "k"]))
    def open_ticket(self, key: str) -> None:
        self.do(lambda: self.opening.append(self.loop.create_task(self._open(key))))

    async def _open(self, key: str) -> None:
        with contextlib.suppress(FullError, ClosedError):
            ticket = await self.claims.open_ticket("lab", idempotency_key=key)
            self.drawn[ticket.id] = ticket

    @rule(wait=st.sampled_from([0.0, 60.0]))
    def claim(self, wait: float) -> None:
        self.do(lambda: self.programs.append(self.loop.create_task(self.claims.claim(wait=wait))))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if running := [one for one in (*self.programs, *self.opening) if not one.done()]:
            self.do(data.draw(st.sampled_from(running)).cancel)

    @rule(data=st.data())
    def announce(self, data: st.DataObject) -> None:
        self._with_ticket(data, self.claims.announce)

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        self._with_ticket(data, self.claims.renew)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self._with_ticket(data, lambda ticket: self.claims.release(ticket, 5.0))

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self._with_ticket(data, self.claims.leave)

    @rule(data=st.data())
    def visit(self, data: st.DataObject) -> None:
        self._with_ticket(data, self._visit)

    def _visit(self, ticket: Ticket) -> None:
        if ticket.status is Status.ANNOUNCED and ticket.container is not None:
            ticket.container.stamp_presence(self.now)

    def _with_ticket(self, data: st.DataObject, act: Callable[[Ticket], object]) -> None:
        if self.drawn:
            ticket = data.draw(st.sampled_from(list(self.drawn.values())))
            self.do(lambda: act(ticket))

    # --- containers and the engine

    @rule()
    def ready(self) -> None:
        self.made += 1
        endpoint = Listening(TcpAddress("127.0.0.1", 1))
        self.do(lambda: self.containers.append(self.pool.make_ready(f"c{self.made}", endpoint, self.now)))

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if claimed := self.pool.in_state(State.CLAIMED):
            container = data.draw(st.sampled_from(claimed))
            self.do(lambda: self.pool.end(container, EndReason.IDLE, self.now))

    @rule(data=st.data(), is_ours=st.sampled_from([True, True, True, False]))
    def engine_answers(self, data: st.DataObject, is_ours: bool) -> None:
        if future := self._asked(data):
            self.do(lambda: future.set_result(is_ours))

    @rule(data=st.data(), failure=st.sampled_from(FAILURES))
    def engine_refuses(self, data: st.DataObject, failure: Callable[[], EngineError]) -> None:
        if future := self._asked(data):
            self.do(lambda: future.set_exception(failure()))

    def _asked(self, data: st.DataObject) -> asyncio.Future[bool] | None:
        open_ones = [name for name, future in self.engine.asked.items() if not future.done()]
        return self.engine.asked[data.draw(st.sampled_from(open_ones))] if open_ones else None

    @rule()
    def engine_is_back(self) -> None:
        self.pool.engine_is_listed()

    # --- the operator, and time

    @rule(is_open=st.booleans())
    def move_gate(self, is_open: bool) -> None:
        self.do(self.pool.open_to_newcomers if is_open else self.pool.close_to_newcomers)

    @rule(seconds=st.sampled_from([1, 10, 40]))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.do(lambda: self.claims.sweep(self.now))

    # --- what always holds

    @invariant()
    def every_ticket_goes_only_where_it_may(self) -> None:
        for ticket in self.drawn.values():
            assert ticket.status in REACHABLE[self.seen.get(ticket.id, Status.WAITING)]
            self.seen[ticket.id] = ticket.status

    @invariant()
    def no_notebook_is_given_twice(self) -> None:
        given = self._of_programs() + [ticket.container for ticket in self.drawn.values() if ticket.container]
        assert len({one.id for one in given}) == len(given)
        assert {one.id for one in given} <= set(self.engine.durable)
        assert len(self.engine.durable) == len(set(self.engine.durable))

    def _of_programs(self) -> list[Container]:
        finished = [one for one in self.programs if one.done() and not one.cancelled()]
        return [one.result() for one in finished if one.exception() is None]

    @invariant()
    def what_is_ready_was_never_given_to_anybody(self) -> None:
        assert not {one.id for one in self.pool.in_state(State.READY)} & set(self.engine.durable)

    @invariant()
    def who_waits_has_a_place_of_their_own(self) -> None:
        positions = [self.claims.position(one) for one in self.drawn.values() if one.status is Status.WAITING]
        assert len(set(positions)) == len(positions)
        assert all(position is not None and position <= self.claims.waiting for position in positions)

    @invariant()
    def a_ticket_with_a_running_notebook_says_so_and_no_other(self) -> None:
        for ticket in self.drawn.values():
            if ticket.container is not None:
                assert ticket.is_served == (ticket.container.state is State.CLAIMED)

    def teardown(self) -> None:
        """When the engine has answered everything and everybody has left, only what is used is claimed still."""
        self.pool.engine_is_listed()
        for task in (*self.programs, *self.opening):
            self.do(task.cancel)
        for ticket in self.drawn.values():
            self.do(lambda ticket=ticket: self.claims.leave(ticket))  # type: ignore[misc]
        self.now += LEASE  # tickets whose visitors went before they had them
        for _ in range(self.made + 1):
            self.do(lambda: self.claims.sweep(self.now))
            while pending := [one for one in self.engine.asked.values() if not one.done()]:
                self.do(lambda pending=pending: pending[0].set_result(True))  # type: ignore[misc]
        programs = {one.id for one in self._of_programs()}
        for container in self.pool.in_state(State.CLAIMED):
            assert container.visited or container.id in programs
        assert self.claims.waiting == 0
        self.do(self.claims.close)
        self.do(lambda: asyncio.gather(*self.programs, *self.opening, return_exceptions=True))
        self.loop.close()
        self.directory.cleanup()


@pytest.mark.parametrize("patience", [1000.0, 0.0])
def test_whatever_happens(patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where claims take longer than visitors' patience, several containers are tried for each of them."""
    monkeypatch.setattr("tmpnb_py.claims.handover._PATIENCE", patience)
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
