"""Claims on a pool that a test makes by hand: its containers, its engine and its clock."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.pool_support import HandMadePool
from tmpnb_py.bookings.agenda import Agenda
from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core.errors import ContainerHangsError
from tmpnb_py.core.models import State, TcpAddress
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.pools.container import Container

LEASE = 120.0


class Engine(FakeEngine):
    """Takes every claim as durable unless it is told to fail, or the container is `taken` by another manager."""

    taken: frozenset[str] = frozenset()

    def __init__(self, host: FakeHost) -> None:
        super().__init__(host)
        self._hanging: set[str] = set()
        self.released = asyncio.Event()

    def hang(self, container_id: str) -> None:
        """Do not answer the claim of this container until `released` is set."""
        self._hanging.add(container_id)

    def recover(self) -> None:
        """Fail no more."""
        self._failures.clear()

    async def claim(self, container_id: str, unix_time: float) -> bool:
        """Mark nothing: there are records and no containers."""
        await self._called("claim", container_id)
        if container_id in self._hanging:
            await self.released.wait()
            raise ContainerHangsError("no answer")
        return container_id not in self.taken


@dataclasses.dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass
class World:
    """A pool, an engine and a clock that a test moves."""

    pool: HandMadePool
    engine: Engine
    claims: Claims
    port: int
    now: float = 1000.0
    made: int = 0

    def ready(self) -> Container:
        """Start one more container, which answers."""
        self.made += 1
        return self.pool.make_ready(f"c{self.made}", Endpoint(TcpAddress("127.0.0.1", self.port)), self.now)

    def set(self, **options: object) -> None:
        """Change options, as a reload does."""
        self.pool.options.replace(self.pool.options.current.model_copy(update=options))

    async def settled(self, *tickets: Ticket) -> None:
        """Wait until none of the tickets waits."""
        async with asyncio.timeout(60):
            for ticket in tickets:
                while ticket.is_waiting:
                    await ticket.changed(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let everything else run until something is so."""
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0)

    def passed(self, seconds: float) -> None:
        """Let time pass, second by second, as the claims' own task sees it."""
        for _ in range(int(seconds)):
            self.now += 1
            self.claims.sweep(self.now)

    def counted(self, outcome: str) -> int:
        """How many claims are counted with this outcome."""
        samples = (sample for family in self.pool.metrics.collect() for sample in family.samples)
        wanted = ("tmpnb_claims_total", {"outcome": outcome})
        return int(sum(sample.value for sample in samples if (sample.name, sample.labels) == wanted))


@contextlib.asynccontextmanager
async def a_world(line: Path | None = None, agenda: Agenda | None = None) -> AsyncIterator[World]:
    """Claims that store their line in a file, or nowhere. They have not been restored."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, FakeHost() as host:
        engine = Engine(host)
        pool = HandMadePool(engine, host.directory, start_concurrency=2, max_waiting=5, place_lease=LEASE)
        claims = Claims(engine, pool, LineStore(line), agenda=agenda, clock=lambda: made.now)
        pool.serve(claims)
        made = World(pool, engine, claims, server.sockets[0].getsockname()[1])
        yield made
        await claims.close()


@contextlib.asynccontextmanager
async def restarted(line: Path, *claimed: str) -> AsyncIterator[World]:
    """A process that has just begun, whose engine lists these containers as claimed; at its end it crashes."""
    async with a_world(line) as world:
        world.claims.restore()
        for container_id in claimed:
            take_up(world, container_id)
        world.pool.engine_is_listed()
        world.claims.serve_line()
        yield world
        await asyncio.sleep(0)
        written = line.read_bytes()
    line.write_bytes(written)


def take_up(world: World, container_id: str) -> Container:
    """The engine lists a claimed container that was there before the service started."""
    one = Container(container_id, "today", "token", created_at=world.now, state=State.CLAIMED, visited=True)
    one.endpoint = Endpoint(TcpAddress("127.0.0.1", world.port))
    return world.pool.insert(one)
