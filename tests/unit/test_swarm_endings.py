"""How notebooks of a swarm ended: what visitors of a lost, returned or drained node are told."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tmpnb_py.core.models import EndReason, Exit, NodeState, State
from tmpnb_py.engines.swarm.endings import Endings
from tmpnb_py.engines.swarm.link.lines import RelayAwayError
from tmpnb_py.engines.swarm.link.wire import Question
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.engines.swarm.services import Node, Task

GRACE = 120.0
SESSION = "claimed-1700000000-abcd"
RUNNING = Task("running", node="n1", container="c")
LOST = Exit(137, reason=EndReason.NODE_LOST)


class RelaysOf:
    """A relay that says how a container ended, or is away."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | None = None
        self.absent = 0.0

    def absent_for(self, _: str) -> float:
        return self.absent

    def of(self, _: str) -> RelaysOf:
        return self

    async def ask(self, _: Question) -> dict[str, Any]:
        if self.answer is None:
            raise RelayAwayError("away")
        return self.answer


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.relays = RelaysOf()
        self.endings = Endings(cast(Relays, self.relays), "pool", GRACE, lambda: self.now)
        self.node_is()

    def node_is(self, *, down: bool = False, state: NodeState = NodeState.ACTIVE) -> None:
        self.endings.nodes_are([Node("n1", "node1", not down, down, 1, 1, state)])

    async def ended(self, task: Task | None = RUNNING, state: str = SESSION) -> Exit | None:
        return await self.endings.of("one", state, task)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_session_of_a_lost_node_is_kept_for_the_grace(world: World) -> None:
    assert await world.ended() is None
    world.node_is(down=True)
    assert await world.ended() is None
    assert world.endings.next_in() == GRACE
    world.now += GRACE
    world.node_is(down=True)
    assert await world.ended() is None
    world.now += 1
    assert world.endings.next_in() is None
    assert await world.ended() == LOST


async def test_a_node_that_was_away_twice_has_its_grace_twice(world: World) -> None:
    world.node_is(down=True)
    world.now += GRACE - 1
    world.node_is()
    world.node_is(down=True)
    world.now += GRACE - 1
    assert await world.ended() is None


@pytest.mark.parametrize("state", ["failed", "shutdown", "complete", "orphaned"])
async def test_a_node_that_comes_back_has_lost_what_it_had(world: World, state: str) -> None:
    world.node_is(down=True)
    assert await world.ended() is None
    world.node_is()
    assert await world.ended(Task("running", node="n1", container="c", is_given_up=True)) is None
    assert await world.ended(Task(state, node="n1", status=143)) in (LOST, Exit(143, reason=EndReason.NODE_LOST))


async def test_an_orchestrator_that_came_later_knows_it_from_swarm(world: World) -> None:
    assert await world.ended(Task("running", node="n1", container="c", is_given_up=True)) is None
    world.endings.died("one", Exit(137))
    assert await world.ended() == LOST


async def test_what_ends_by_itself_is_not_its_nodes_fault(world: World) -> None:
    assert await world.ended(Task("failed", node="n1", status=1)) == Exit(1)
    world.endings.forget("one")
    world.relays.answer = {"running": False, "status": 137, "out_of_memory": True}
    world.node_is(down=True)
    assert await world.ended(Task("failed", node="n1", status=137)) == Exit(137, out_of_memory=True)


async def test_a_drained_nodes_sessions_are_told_so(world: World) -> None:
    world.node_is(state=NodeState.DRAINING)
    assert await world.ended(Task("running", node="n1", container="c", is_given_up=True)) is None
    world.endings.died("one", Exit(137))
    assert await world.ended() == Exit(137, reason=EndReason.NODE_DRAINED)


async def test_a_ready_one_out_of_reach_is_replaced_at_once(world: World) -> None:
    assert await world.ended(state=State.READY.value) is None
    world.relays.absent = 16
    assert await world.ended(state=State.READY.value) == LOST
    assert await world.ended() is None, "its relay may be back soon"
    world.relays.absent = 0
    world.node_is(down=True)
    assert await world.ended(state=State.READY.value) == LOST


async def test_what_is_gone_is_forgotten(world: World) -> None:
    world.endings.died("one", Exit(1))
    world.endings.keep({"two"})
    assert await world.ended() is None
    assert await world.ended(None) is None


async def test_a_relay_that_answers_nonsense_says_nothing(world: World) -> None:
    world.relays.answer = {"running": False, "status": "what"}
    assert await world.ended(Task("failed", node="n1", status=3)) == Exit(3)


async def test_what_an_engine_finds_dead_when_it_starts_was_lost_with_its_machine(world: World) -> None:
    """A node that is back within seconds, before Swarm has missed it."""
    world.relays.answer = {"running": False, "status": 255, "out_of_memory": False}
    assert await world.ended(Task("failed", node="n1", status=255)) == Exit(255, reason=EndReason.NODE_LOST)


async def test_what_ended_with_its_engine_is_told_so(world: World) -> None:
    world.endings.was_away("n1")
    world.relays.answer = {"running": False, "status": 0, "out_of_memory": False}
    assert await world.ended(Task("complete", node="n1")) == Exit(0, reason=EndReason.ENGINE_RESTARTED)
    world.endings.forget("one")
    world.relays.answer["out_of_memory"] = True
    assert await world.ended(Task("failed", node="n1")) == Exit(0, out_of_memory=True)
    world.endings.forget("one")
    world.relays.answer["out_of_memory"] = False
    world.now += 61
    assert await world.ended(Task("failed", node="n1")) == Exit(0), "that was its own doing"


async def test_what_swarm_has_ended_did_not_crash(world: World) -> None:
    """The orchestrator was away while a node was lost, and came back."""
    world.relays.answer = {"running": False, "status": 137, "out_of_memory": False}
    assert await world.ended(Task("shutdown", node="n1", status=137)) == LOST
