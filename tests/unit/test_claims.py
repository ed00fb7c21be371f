"""Tickets: first come, first served, nobody served twice, nobody lost, whatever the engine and the visitors do."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.pool_support import HandMadePool
from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.line import Line
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.core.errors import (
    AddressFullError,
    ClosedError,
    ContainerHangsError,
    EngineDownError,
    EngineError,
    FullError,
    LackError,
    LineFullError,
    NoSuchContainerError,
    UnavailableError,
)
from tmpnb_py.core.models import EndReason, State, TcpAddress
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.container import Container

LEASE = 120.0


class Engine(FakeEngine):
    """Takes every claim as durable unless it is told to fail, or the container is `taken` by somebody else."""

    taken: frozenset[str] = frozenset()

    def __init__(self, host: FakeHost) -> None:
        super().__init__(host)
        self._hanging: set[str] = set()
        self.released = asyncio.Event()

    def hang(self, container_id: str) -> None:
        self._hanging.add(container_id)

    async def claim(self, container_id: str, unix_time: float) -> bool:
        await self._called("claim", container_id)
        if container_id in self._hanging:
            await self.released.wait()
            raise ContainerHangsError("no answer")
        return container_id not in self.taken


@dataclasses.dataclass
class World:
    """A pool, an engine, options and a clock that a test moves."""

    options: LiveOptions
    pool: HandMadePool
    engine: Engine
    claims: Claims
    port: int
    now: float = 1000.0
    made: int = 0

    def set(self, **changed: int) -> None:
        """Put other values of these options in force."""
        self.options.replace(self.options.current.model_copy(update=changed))

    def ready(self) -> Container:
        """One more container is started and answers."""
        self.made += 1
        return self.pool.make_ready(f"c{self.made}", Endpoint(TcpAddress("127.0.0.1", self.port)), self.now)

    async def settled(self, *tickets: Ticket) -> None:
        async with asyncio.timeout(60):
            for ticket in tickets:
                while ticket.status is Status.WAITING:
                    await ticket.changed(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0)

    def passed(self, seconds: float) -> None:
        """Time passes, second by second, as the claims' own task sees it."""
        for _ in range(int(seconds)):
            self.now += 1
            self.claims.sweep(self.now)

    def counted(self, outcome: str) -> int:
        return self.pool.metrics.claims_by_outcome(outcome)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with _world() as world:
        yield world


@contextlib.asynccontextmanager
async def _world(book: LineStore | None = None) -> AsyncIterator[World]:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, FakeHost() as host:
        engine = Engine(host)
        pool = HandMadePool(engine, host.directory, start_concurrency=2, max_waiting=5, place_lease=LEASE)
        options = pool.options
        line = Line(lambda: options.current.max_waiting)
        claims = Claims(engine, pool, options, line=line, book=book, clock=lambda: made.now)
        pool.serve(claims)
        made = World(options, pool, engine, claims, server.sockets[0].getsockname()[1])
        yield made
        await claims.close()


async def test_a_ticket_is_ready_at_once_where_something_is(world: World) -> None:
    one = world.ready()
    ticket = await world.claims.open_ticket("lab")
    assert (ticket.status, ticket.container) == (Status.READY, one)
    assert world.claims.position(ticket) is None
    assert world.claims.find(ticket.id) is ticket
    assert world.counted("hit") == 1


async def test_pages_and_programs_stand_in_one_line(world: World) -> None:
    first = await world.claims.open_ticket("lab")
    second = asyncio.create_task(world.claims.claim(wait=60))
    await world.until(lambda: world.claims.waiting == 2)
    third = await world.claims.open_ticket("lab")
    assert [world.claims.position(ticket) for ticket in (first, third)] == [1, 3]
    made = [world.ready() for _ in range(3)]
    await world.settled(first, third)
    assert [first.container, await second, third.container] == made
    assert world.counted("waited") == 3


async def test_a_key_used_twice_is_one_wish_even_at_the_same_moment(world: World) -> None:
    world.ready()
    world.ready()
    drawn = await asyncio.gather(*(world.claims.open_ticket("lab", key="k") for _ in range(3)))
    await world.settled(*drawn)
    assert len({ticket.id for ticket in drawn}) == 1
    assert world.pool.count(State.READY) == 1
    container = drawn[0].container
    assert container is not None
    world.pool.end(container, EndReason.IDLE, world.now)
    assert (await world.claims.open_ticket("lab", key="k")).container is not container


async def test_a_visitor_who_reloads_in_the_very_moment_gets_what_was_being_claimed(world: World) -> None:
    world.engine.delays["claim"] = 0.01
    one, two = world.ready(), world.ready()
    first = asyncio.create_task(world.claims.open_ticket("lab", key="k"))
    await world.until(lambda: one.state is State.CLAIMED)
    first.cancel()
    again = await world.claims.open_ticket("lab", key="k")
    assert world.claims.find(again.id) is again
    await world.settled(again)
    assert first.cancelled()
    assert (again.container, two.state) == (one, State.READY)


async def test_a_place_is_kept_for_the_lease_and_then_given_up(world: World) -> None:
    away, asks, watches = [await world.claims.open_ticket("lab") for _ in range(3)]
    with world.claims.watching(watches):
        world.passed(LEASE - 1)
        assert world.claims.find(asks.id) is asks
        world.passed(2)
        assert (away.status, world.claims.find(away.id)) == (Status.LEFT, None)
        assert world.claims.position(asks) == 1
        world.passed(LEASE)
        assert [asks.status, watches.status] == [Status.LEFT, Status.WAITING]
    world.passed(LEASE - 1)
    assert world.claims.waiting == 1
    world.passed(1)
    assert world.claims.find(watches.id) is None
    assert world.claims.waiting == 0
    assert world.counted("left") == 3


async def test_a_page_that_is_left_gives_its_place_up_soon_unless_it_comes_back(world: World) -> None:
    left, reloaded = [await world.claims.open_ticket("lab") for _ in range(2)]
    for ticket in (left, reloaded):
        world.claims.release(ticket, 15)
    world.passed(10)
    assert world.claims.find(reloaded.id) is reloaded
    world.passed(6)
    assert [left.status, reloaded.status] == [Status.LEFT, Status.WAITING]


@pytest.mark.parametrize("first", ["stream", "words"])
async def test_a_page_that_says_that_it_is_left_may_do_so_before_or_after_its_stream_ends(
    world: World, first: str
) -> None:
    ticket = await world.claims.open_ticket("lab")
    with world.claims.watching(ticket):
        if first == "words":
            world.claims.release(ticket, 15)
            world.passed(60)
            assert ticket.status is Status.WAITING
    if first == "stream":
        world.claims.release(ticket, 15)
    world.passed(14)
    assert world.claims.waiting == 1
    world.passed(1)
    assert world.claims.waiting == 0


async def test_served_while_away_it_waits_for_the_lease_and_no_longer(world: World) -> None:
    away, other = [await world.claims.open_ticket("lab") for _ in range(2)]
    one, _ = world.ready(), world.ready()
    await world.settled(away, other)
    other.announced = True
    world.passed(LEASE - 1)
    assert one.state is State.CLAIMED
    world.passed(1)
    assert (one.state, one.reason) == (State.REMOVING, EndReason.UNVISITED)
    assert world.claims.find(away.id) is None
    # Whoever was told may be about to open it: that is left to the reaper, and the ticket can still be found.
    assert other.container is not None
    assert other.container.state is State.CLAIMED
    assert world.claims.find(other.id) is other
    world.pool.end(other.container, EndReason.IDLE, world.now)
    assert other.has_ended
    world.passed(LEASE)
    assert world.claims.find(other.id) is None


async def test_giving_up_gives_back_what_was_never_opened(world: World) -> None:
    waiting = await world.claims.open_ticket("lab")
    world.claims.leave(waiting)
    assert world.claims.waiting == 0
    unopened, opened = world.ready(), world.ready()
    opened.visited = True
    tickets = [await world.claims.open_ticket("lab") for _ in range(2)]
    for ticket in tickets:
        world.claims.leave(ticket)
    assert [unopened.state, opened.state] == [State.REMOVING, State.CLAIMED]


async def test_who_leaves_while_being_served_loses_nothing_for_the_others(world: World) -> None:
    leaver, stayer = [await world.claims.open_ticket("lab") for _ in range(2)]
    world.engine.delays["claim"] = 0.02
    one = world.ready()
    world.claims.leave(leaver)
    two = world.ready()
    await world.settled(stayer)
    assert stayer.container is two
    await world.until(lambda: one.state is State.REMOVING)
    assert leaver.status is Status.LEFT


async def test_a_claim_that_fails_costs_nobody_the_place(world: World) -> None:
    first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
    world.engine.fail_next("claim", NoSuchContainerError("gone"))
    world.ready()
    await world.until(lambda: first.container is None and world.claims.waiting == 2)
    assert [world.claims.position(ticket) for ticket in (first, second)] == [1, 2]
    two, three = world.ready(), world.ready()
    await world.settled(first, second)
    assert [first.container, second.container] == [two, three]


async def test_a_container_that_hangs_costs_its_visitor_half_a_second_and_nobody_else(world: World) -> None:
    hanging, two, three = [world.ready() for _ in range(3)]
    world.engine.hang(hanging.id)
    began = time.monotonic()
    assert await world.claims.claim() is two
    assert time.monotonic() - began < 5
    assert not world.pool.engine_down
    assert await world.claims.claim() is three
    assert hanging.state is State.CLAIMED  # nobody can tell yet
    world.engine.released.set()
    await world.until(lambda: hanging.state is State.REMOVING)


async def test_who_stands_in_line_gets_the_next_one_too_where_one_hangs(world: World) -> None:
    first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
    world.engine.hang("c1")
    hanging, two, three = [world.ready() for _ in range(3)]
    await world.settled(first, second)
    assert {first.container, second.container} == {two, three}
    world.engine.released.set()
    await world.until(lambda: hanging.state is State.REMOVING)


async def test_a_claim_that_is_only_slow_serves_its_visitor(world: World) -> None:
    world.engine.delays["claim"] = 0.7
    slow = world.ready()
    assert await world.claims.claim() is slow


async def test_a_refusal_that_is_not_the_containers_own_burns_none(world: World) -> None:
    made = [world.ready() for _ in range(4)]
    world.engine.fail_next("claim", EngineError("no space left on device"), times=100)
    for _ in range(3):
        with pytest.raises(EngineError, match="no space"):
            await world.claims.claim()
    waiting = await world.claims.open_ticket("lab")
    assert (waiting.status, world.claims.waiting) == (Status.WAITING, 1)
    assert [one.state for one in made] == [State.READY] * 4
    assert world.pool.refusal is not None
    calls = len(world.engine.calls)
    world.passed(3)
    await world.until(lambda: world.claims._handing_over == 0)
    assert len(world.engine.calls) - calls <= 8  # it tries again now and then, and does not spin
    with pytest.raises(UnavailableError):
        await world.claims.claim()  # behind whoever waits; and what is said is not "full"
    world.engine._failures.clear()
    world.passed(1)
    await world.settled(waiting)
    assert waiting.container in made
    assert world.pool.refusal is None


async def test_what_we_lack_ourselves_costs_no_container_and_blames_none(world: World) -> None:
    one, two = world.ready(), world.ready()
    world.engine.fail_next("claim", LackError("no file descriptor is left"))
    with pytest.raises(LackError):
        await world.claims.claim()
    assert (one.state, two.state) == (State.READY, State.READY)
    assert await world.claims.claim() is two
    assert await world.claims.claim() is one


async def test_what_alone_is_refused_is_blamed_itself(world: World) -> None:
    broken, two = world.ready(), world.ready()
    world.engine.fail_next("claim", EngineError("its file is gone"))
    assert await world.claims.claim() is two
    assert (broken.state, broken.reason) == (State.REMOVING, EndReason.CLAIM_FAILED)
    assert world.pool.refusal is None


async def test_what_somebody_else_was_given_is_theirs(world: World) -> None:
    theirs, ours = world.ready(), world.ready()
    world.engine.taken = frozenset({theirs.id})
    assert await world.claims.claim() is ours
    assert world.pool.get(theirs.id) is None  # neither removed nor remembered as ended: it is listed as claimed
    assert world.pool.ended(theirs.id) is None


async def test_nobody_overtakes_whose_container_proves_dead(world: World) -> None:
    """Neither a newcomer nor who joined behind them; and all are served once that is decided."""
    world.engine.delays["claim"] = 0.02
    world.engine.fail_next("claim", NoSuchContainerError("gone"))
    first = await world.claims.open_ticket("lab")
    dead, two = world.ready(), world.ready()
    assert (dead.state, world.claims.waiting) == (State.CLAIMED, 0)
    newcomer = await world.claims.open_ticket("lab")
    with pytest.raises(FullError):
        await world.claims.claim()
    world.claims.sweep(world.now)
    assert [first.status, newcomer.status, two.state] == [Status.WAITING, Status.WAITING, State.READY]
    await world.until(lambda: first.container is two)
    three = world.ready()
    await world.settled(first, newcomer)
    assert [first.container, newcomer.container] == [two, three]
    assert world.claims._handing_over == 0


async def test_nobody_overtakes_who_came_first_and_got_a_dead_one_at_once(world: World) -> None:
    world.engine.delays["claim"] = 0.02
    world.engine.fail_next("claim", NoSuchContainerError("gone"))
    dead = world.ready()
    first = asyncio.create_task(world.claims.open_ticket("lab"))
    await world.until(lambda: dead.state is State.CLAIMED)
    second = await world.claims.open_ticket("lab")
    assert (second.status, first.done()) == (Status.WAITING, False)
    ticket = await first
    assert [world.claims.position(one) for one in (ticket, second)] == [1, 2]
    one, two = world.ready(), world.ready()
    await world.settled(ticket, second)
    assert [ticket.container, second.container] == [one, two]


async def test_who_is_being_served_keeps_no_more_than_one_from_newcomers(world: World) -> None:
    world.engine.delays["claim"] = 0.02
    first = await world.claims.open_ticket("lab")
    one, two, _ = [world.ready() for _ in range(3)]
    newcomer = await world.claims.open_ticket("lab")
    assert (newcomer.status, newcomer.container) == (Status.READY, two)
    last = await world.claims.open_ticket("lab")
    await world.settled(first, last)
    assert first.container is one


async def test_waiting_goes_on_while_the_engine_is_down(world: World) -> None:
    first = await world.claims.open_ticket("lab")
    world.engine.down = True
    world.ready()
    await world.until(lambda: world.pool.engine_down and first.container is None)
    second = await world.claims.open_ticket("lab")
    with pytest.raises(EngineDownError):
        await world.claims.claim(wait=60)
    one, two = world.ready(), world.ready()
    assert world.pool.count(State.READY) == 2  # nothing is tried meanwhile
    world.engine.down = False
    world.pool.engine_is_listed()
    world.passed(1)
    await world.settled(first, second)
    assert [first.container, second.container] == [one, two]


async def test_who_waits_when_the_service_is_closed_keeps_the_place_and_newcomers_are_not_let_in(
    world: World,
) -> None:
    first = await world.claims.open_ticket("lab")
    program = asyncio.create_task(world.claims.claim(wait=1000))
    await world.until(lambda: world.claims.waiting == 2)
    last = await world.claims.open_ticket("lab")
    told = asyncio.create_task(first.changed(None))
    await asyncio.sleep(0)
    world.pool.close_to_newcomers()
    assert world.claims.gate_moved() == 3
    assert await told
    assert [world.claims.position(one) for one in (first, last)] == [1, 3]
    assert world.claims.estimate(1) is None
    with pytest.raises(ClosedError):
        await world.claims.open_ticket("lab")
    with pytest.raises(ClosedError):
        await world.claims.claim(wait=60)
    assert world.counted("refused") == 2
    ready = [world.ready() for _ in range(3)]
    world.passed(1)
    assert world.pool.count(State.READY) == 3  # nobody is served meanwhile, and nobody else gets them
    world.pool.open_to_newcomers()
    world.claims.gate_moved()
    await world.settled(first, last)
    assert [first.container, await program, last.container] == ready


async def test_a_program_that_waited_in_vain_hears_that_the_service_is_closed(world: World) -> None:
    program = asyncio.create_task(world.claims.claim(wait=0.05))
    await world.until(lambda: world.claims.waiting == 1)
    world.pool.close_to_newcomers()
    world.claims.gate_moved()
    world.passed(1)
    world.claims.gate_moved()
    with pytest.raises(ClosedError):
        await program
    assert (world.claims.waiting, world.counted("refused")) == (0, 1)


async def test_a_place_in_a_closed_service_is_kept_for_the_lease_as_ever(world: World) -> None:
    ticket = await world.claims.open_ticket("lab", key="k")
    world.pool.close_to_newcomers()
    world.claims.gate_moved()
    assert await world.claims.open_ticket("lab", key="k") is ticket
    world.passed(LEASE + 1)
    assert world.claims.find(ticket.id) is None
    with pytest.raises(ClosedError):
        await world.claims.open_ticket("lab", key="k")


async def test_a_full_line_takes_nobody_and_remembers_nobody(world: World) -> None:
    for _ in range(5):
        await world.claims.open_ticket("lab")
    with pytest.raises(LineFullError):
        await world.claims.open_ticket("lab", key="k")
    with pytest.raises(LineFullError):
        await world.claims.claim(wait=60)
    assert len(world.claims._tickets) == 5
    assert world.claims._by_key == {}


async def test_a_program_that_waited_long_enough_leaves_the_line(world: World) -> None:
    with pytest.raises(FullError):
        await world.claims.claim()
    program = asyncio.create_task(world.claims.claim(wait=0.01))
    await world.until(lambda: world.claims.waiting == 1)
    world.now += 1
    with pytest.raises(FullError):
        await program
    assert world.claims.waiting == 0
    assert world.claims._tickets == {}


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_nobody_shares_and_nobody_is_lost(world: World, seed: int) -> None:
    chance = random.Random(seed)
    world.set(max_waiting=1000)
    drawn: list[Ticket] = []
    left: set[str] = set()
    for _ in range(200):
        event = chance.random()
        if event < 0.45:
            drawn.append(await world.claims.open_ticket("lab"))
        elif event < 0.85:
            world.ready()
        elif event < 0.92 and drawn:
            chosen = chance.choice(drawn)
            world.claims.leave(chosen)
            left.add(chosen.id)
        elif event < 0.97:
            world.engine.fail_next("claim", NoSuchContainerError("gone"))
        await asyncio.sleep(0)
    stayed = [ticket for ticket in drawn if ticket.id not in left]
    world.engine._failures.clear()
    while any(ticket.status is Status.WAITING for ticket in stayed):
        world.ready()
        await asyncio.sleep(0)
    await world.settled(*stayed)
    given = [ticket.container for ticket in stayed]
    assert len({id(one) for one in given}) == len(stayed)
    assert all(one is not None and one.state is State.CLAIMED for one in given)
    with contextlib.suppress(FullError):
        assert (await world.claims.claim()) not in given


async def test_one_address_gets_its_share_and_no_more(world: World) -> None:
    """In use and in line, of pages and programs; what has ended counts no more."""
    world.set(max_notebooks_per_address=2)
    one = world.ready()
    assert (await world.claims.open_ticket("lab", key="k", quota_key="x")).container is one
    waiting = await world.claims.open_ticket("lab", quota_key="x")
    assert waiting.status is Status.WAITING
    with pytest.raises(AddressFullError):
        await world.claims.open_ticket("lab", quota_key="x")
    with pytest.raises(AddressFullError):
        await world.claims.claim(wait=60, quota_key="x")
    assert world.counted("refused") == 2
    assert world.claims.waiting == 1
    assert (await world.claims.open_ticket("lab", key="k", quota_key="x")).container is one  # sent twice
    other, nobodys = await world.claims.open_ticket("lab", quota_key="y"), await world.claims.open_ticket("lab")
    made = [world.ready() for _ in range(3)]
    await world.settled(waiting, other, nobodys)
    assert [container.quota_key for container in (one, *made)] == ["x", "x", "y", ""]
    with pytest.raises(AddressFullError):
        await world.claims.open_ticket("lab", quota_key="x")
    world.pool.end(one, EndReason.ENDED_BY_OWNER, world.now)
    assert (await world.claims.open_ticket("lab", quota_key="x")).status is Status.WAITING
    world.set(max_notebooks_per_address=0)
    assert (await world.claims.open_ticket("lab", quota_key="x")).status is Status.WAITING


async def test_two_at_once_from_one_address_are_counted_one_after_the_other(world: World) -> None:
    world.set(max_notebooks_per_address=1)
    world.ready()
    world.ready()
    answers = await asyncio.gather(
        *(world.claims.claim(quota_key="x") for _ in range(2)),
        world.claims.open_ticket("lab", quota_key="x"),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, AddressFullError) for answer in answers) == 2
    assert world.pool.count(State.READY) == 1


# --- a service that ends and starts again


@contextlib.asynccontextmanager
async def _restarted(path: Path, *taken_up: tuple[str, State]) -> AsyncIterator[World]:
    """A process that has just begun, with these containers listed by its engine; at its end it crashes."""
    async with _world(LineStore(path)) as world:
        world.claims.restore()
        for container_id, state in taken_up:
            one = Container(container_id, "today", "token", created_at=world.now, state=state, visited=True)
            one.endpoint = Endpoint(TcpAddress("127.0.0.1", world.port))
            world.pool.insert(one)
        world.pool.engine_is_listed()
        world.claims.serve_line()
        yield world
        await asyncio.sleep(0)
        written = path.read_bytes()
    path.write_bytes(written)


def _ticket(world: World, of: Ticket) -> Ticket:
    found = world.claims.find(of.id)
    assert found is not None
    return found


async def test_the_line_outlives_the_service_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        drawn = [await world.claims.open_ticket(f"lab/tree/{number}") for number in range(4)]
        world.claims.leave(drawn[1])
        world.passed(30)
    async with _restarted(path) as world:
        assert world.claims.waiting == 3
        again = [world.claims.find(one.id) for one in drawn]
        assert [one and (one.target, world.claims.position(one)) for one in again] == [
            ("lab/tree/0", 1), None, ("lab/tree/2", 2), ("lab/tree/3", 3),
        ]  # fmt: skip
        newcomer = await world.claims.open_ticket("lab")
        assert world.claims.position(newcomer) == 4
        one = world.ready()
        assert again[0] is not None
        await world.settled(again[0])
        assert again[0].container is one


async def test_who_was_served_and_not_told_has_that_very_notebook_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
        world.ready()
        await world.settled(first)
    async with _restarted(path, ("c1", State.CLAIMED)) as world:
        again = _ticket(world, first)
        assert (again.status, again.container and again.container.id, again.announced) == (Status.READY, "c1", False)
        assert world.claims.position(_ticket(world, second)) == 1
        world.claims.told(again)
    async with _restarted(path, ("c1", State.CLAIMED)) as world:
        again = _ticket(world, first)
        assert (again.status, again.container and again.container.id, again.announced) == (Status.READY, "c1", True)
        # Told is told: what becomes of the notebook is the reaper's affair, who knows when it was last used.
        world.passed(LEASE * 3)
        assert world.pool.count(State.CLAIMED) == 1
    async with _restarted(path) as world:  # it has ended
        assert world.claims.find(first.id) is None


async def test_where_the_notebook_is_gone_as_well_the_turn_is_still_theirs(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
        world.ready()
        await world.settled(first)
    async with _restarted(path, ("other", State.CLAIMED)) as world:
        assert [world.claims.position(_ticket(world, one)) for one in (first, second)] == [1, 2]


async def test_before_the_engine_is_listed_nobody_is_served_twice(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        first, second = [await world.claims.open_ticket("lab") for _ in range(2)]
        world.ready()
        await world.settled(first)
    async with _world(LineStore(path)) as world:
        world.claims.restore()
        world.made = 5
        world.ready()  # taken up before the claimed one
        world.passed(5)
        assert world.pool.count(State.READY) == 1
        claimed = Container("c1", "today", "token", created_at=world.now, state=State.CLAIMED, visited=True)
        world.pool.insert(claimed)
        world.pool.engine_is_listed()
        world.passed(1)
        await world.settled(_ticket(world, first), _ticket(world, second))
        assert _ticket(world, first).container is claimed
        assert _ticket(world, second).container is not claimed


async def test_who_never_comes_back_gets_one_notebook_at_most_however_often_the_service_crashes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        gone = await world.claims.open_ticket("lab")
        world.ready()
        await world.settled(gone)
    for _ in range(3):
        async with _restarted(path, ("c1", State.CLAIMED)) as world:
            world.passed(10)
            world.ready()
            assert world.pool.count(State.CLAIMED) == 1
    async with _restarted(path, ("c1", State.CLAIMED)) as world:
        world.passed(LEASE + 1)
        assert world.pool.count(State.CLAIMED) == 0
        assert world.claims.find(gone.id) is None


async def test_who_gives_up_before_the_notebook_was_found_again_leaves_none_behind(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        first = await world.claims.open_ticket("lab")
        world.ready()
        await world.settled(first)
    async with _world(LineStore(path)) as world:
        world.claims.restore()
        world.claims.leave(_ticket(world, first))
        claimed = Container("c1", "today", "token", created_at=world.now, state=State.CLAIMED, visited=True)
        world.pool.insert(claimed)
        world.pool.engine_is_listed()
        world.passed(1)
        assert (claimed.state, claimed.reason) == (State.REMOVING, EndReason.UNVISITED)


async def test_who_does_not_come_back_after_a_restart_keeps_the_place_for_the_lease(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        drawn = [await world.claims.open_ticket("lab") for _ in range(2)]
    async with _restarted(path) as world:
        world.passed(LEASE - 1)
        assert world.claims.find(drawn[1].id) is not None
        world.passed(2)
        assert world.claims.find(drawn[0].id) is None
        assert world.claims.waiting == 1
    async with _restarted(path) as world:
        assert world.claims.waiting == 1


async def test_a_page_that_was_closed_holds_no_place_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        closed, reloaded = [await world.claims.open_ticket("lab") for _ in range(2)]
        for one in (closed, reloaded):
            world.claims.release(one, 15)
        assert world.claims.find(reloaded.id) is reloaded
    async with _restarted(path) as world:
        world.passed(20)
        assert world.claims.find(closed.id) is None
        assert world.claims.position(_ticket(world, reloaded)) == 1


async def test_nobody_is_served_or_given_up_while_the_service_stops(tmp_path: Path) -> None:
    """Nobody could be told; and nobody can come back just then."""
    path = tmp_path / "line"
    async with _restarted(path) as world:
        first = await world.claims.open_ticket("lab")
        world.claims.stop()
        world.ready()
        world.passed(LEASE * 2)
        assert world.pool.count(State.READY) == 1
    async with _restarted(path) as world:
        assert world.claims.position(_ticket(world, first)) == 1


async def test_how_long_one_has_waited_goes_on_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        await world.claims.open_ticket("lab")
    since = str(json.loads(path.read_text().splitlines()[0])["since"])
    path.write_text(path.read_text().replace(since, str(float(since) - 90)))
    async with _restarted(path) as world:
        assert world.claims.waits(world.now) == [pytest.approx(90, abs=30)]


async def test_whoever_was_let_into_the_line_is_not_turned_away_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        first = [await world.claims.open_ticket("lab") for _ in range(5)]  # the line is full
        world.ready()
        world.ready()
        await world.settled(*first[:2])
        first += [await world.claims.open_ticket("lab") for _ in range(2)]
    async with _restarted(path) as world:
        assert [world.claims.position(_ticket(world, one)) for one in first] == [1, 2, 3, 4, 5, 6, 7]
        with pytest.raises(LineFullError):
            await world.claims.open_ticket("lab")


async def test_a_restart_of_a_closed_service_keeps_the_places_too(tmp_path: Path) -> None:
    path = tmp_path / "line"
    async with _restarted(path) as world:
        first = await world.claims.open_ticket("lab")
    async with _world(LineStore(path)) as world:
        world.pool.close_to_newcomers()
        assert world.claims.restore() == 1
        ready = world.ready()
        world.passed(1)
        assert (_ticket(world, first).status, ready.state) == (Status.WAITING, State.READY)
    async with _restarted(path) as world:
        assert world.claims.position(_ticket(world, first)) == 1


async def test_who_waits_with_an_open_request_is_not_written_down(tmp_path: Path) -> None:
    """Their connection ends with the service, so nobody would come for the notebook."""
    path = tmp_path / "line"
    async with _restarted(path) as world:
        waiting = asyncio.create_task(world.claims.claim(wait=60))
        await world.until(lambda: world.claims.waiting == 1)
        assert path.read_bytes() == b""
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
