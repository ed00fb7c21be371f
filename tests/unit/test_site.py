"""A site of two pools: what belongs to which, found by id alone; and each pool's own line, gate and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.pool_support import HandMadePool
from tmpnb_py.bookings.fit import Room
from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.claims.tickets import Status
from tmpnb_py.core.errors import ClosedError, FullError
from tmpnb_py.core.models import EndReason, State, TcpAddress
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.pools.container import Container
from tmpnb_py.site.metrics import SiteMetrics
from tmpnb_py.site.site import Site

NOW = 1000.0


class Engine(FakeEngine):
    """Takes every claim as durable."""

    async def claim(self, container_id: str, unix_time: float) -> bool:
        await self._called("claim", container_id)
        return True


@dataclasses.dataclass
class World:
    """Two pools, "python" and "r", with an engine each."""

    site: Site
    pools: dict[str, HandMadePool]
    claims: dict[str, Claims]
    port: int

    def ready(self, pool: str, container_id: str) -> Container:
        """One more container of a pool is started and answers."""
        return self.pools[pool].make_ready(container_id, Endpoint(TcpAddress("127.0.0.1", self.port)), NOW)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(hang_up, "127.0.0.1", 0))
        host = await stack.enter_async_context(FakeHost())
        pools, claims = {}, {}
        for name in ("python", "r"):
            engine = Engine(host, pool=name)
            pools[name] = HandMadePool(engine, tmp_path, name, max_waiting=5)
            claims[name] = Claims(engine, pools[name], LineStore(None), clock=lambda: NOW)
            pools[name].serve(claims[name])
            stack.push_async_callback(claims[name].close)
        yield World(Site(claims.values()), pools, claims, server.sockets[0].getsockname()[1])


def samples(metrics: SiteMetrics, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric by the values of its labels, in the order of their names."""
    families = text_string_to_metric_families(metrics.render().decode())
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


async def test_sessions_are_found_in_whatever_pool_they_are(world: World) -> None:
    ids = {name: f"session-{name}" for name in world.pools}
    for name, container_id in ids.items():
        container = world.ready(name, container_id)
        assert world.site.session(container_id) is None, "nobody's yet"
        assert world.site.find(container_id) is container
        assert await world.claims[name].claim() is container
        assert world.site.session(container_id) is container
    assert world.site.session("another") is None
    assert world.site.find("another") is None


async def test_a_session_is_ended_in_its_own_pool(world: World) -> None:
    world.ready("python", "a")
    world.ready("r", "b")
    mine, other = await world.claims["r"].claim(), await world.claims["python"].claim()
    assert world.site.end(mine, EndReason.IDLE, NOW)
    assert not world.site.end(mine, EndReason.CRASHED, NOW), "the first reason stays"
    ended = world.site.ended("b")
    assert ended is not None
    assert ended.reason is EndReason.IDLE
    assert world.site.ended("a") is None
    assert (world.pools["r"].count(State.REMOVING), world.pools["python"].count(State.REMOVING)) == (1, 0)
    assert world.site.session("a") is other


async def test_each_pool_has_a_line_of_its_own(world: World) -> None:
    first = await world.claims["python"].open_ticket("lab")
    second = await world.claims["r"].open_ticket("lab")
    assert [one.position(ticket) for one, ticket in zip(world.claims.values(), (first, second), strict=True)] == [
        1,
        1,
    ]
    assert world.site.claims_with(first.id) is world.claims["python"]
    assert world.site.claims_with(second.id) is world.claims["r"]
    assert world.site.claims_with("0" * 32) is world.claims["python"], "the default pool's say that there is none"
    container = world.ready("r", "b")
    async with asyncio.timeout(60):
        while second.is_waiting:
            await second.changed(None)
    assert (second.container, first.status) == (container, Status.WAITING)


async def test_a_pool_is_closed_to_newcomers_alone(world: World) -> None:
    world.pools["python"].close_to_newcomers()
    with pytest.raises(ClosedError):
        await world.claims["python"].claim()
    with pytest.raises(FullError):
        await world.claims["r"].claim()
    world.ready("r", "b")
    assert (await world.claims["r"].claim()).id == "b"


async def test_the_first_pool_is_the_default(world: World) -> None:
    assert world.site.default_pool is world.pools["python"]
    assert world.site.default_claims is world.site.claims["python"] is world.claims["python"]
    assert world.site.claims["r"] is world.claims["r"]
    assert list(world.site.pools.values()) == list(world.pools.values())


async def test_nobody_knows_all_sessions_before_every_engine_was_listed(world: World) -> None:
    assert not world.site.listed
    world.pools["python"].engine_is_listed()
    assert not world.site.listed
    world.pools["r"].engine_is_listed()
    assert world.site.listed


async def test_whoever_subscribes_hears_of_every_pool(world: World) -> None:
    heard: list[tuple[str, State]] = []
    world.site.subscribe(lambda one: heard.append((one.id, one.state)))
    world.ready("python", "a")
    world.ready("r", "b")
    assert heard == [("a", State.STARTING), ("a", State.READY), ("b", State.STARTING), ("b", State.READY)]


async def test_metrics_say_whose_they_are_where_there_are_several_pools(world: World) -> None:
    world.ready("python", "a")
    world.ready("r", "b")
    world.site.session_started(await world.claims["r"].claim(), workshop="other")
    both = SiteMetrics(world.site.pools.values(), version="1")
    assert samples(both, "tmpnb_containers")["python", "ready"] == 1
    assert samples(both, "tmpnb_containers")["r", "claimed"] == 1
    assert samples(both, "tmpnb_workshop_claims_total")["r", "other"] == 1
    assert samples(both, "tmpnb_workshop_claims_total")["python", "other"] == 0
    alone = SiteMetrics([world.pools["r"]], version="1")
    assert samples(alone, "tmpnb_containers")["claimed",] == 1


async def test_bookings_of_all_pools_share_what_there_is(world: World) -> None:
    memory, small = 24 << 30, 512 << 20
    assert world.site.space("r", 0, 60, None).in_all is None, "the engine's memory is not known yet"
    for pool in world.pools.values():
        pool._records.memory = memory
    room = world.site.space("r", 0, 60, None).in_all
    assert room is not None
    assert (room.capacity, room.weights) == (memory, {"python": small, "r": small})
    assert world.site.space("r", 0, 60, 12).in_all == Room(12, {"python": 0})
    world.site.remove("python")
    assert world.site.space("r", 0, 60, None).in_all is None, "one that is alone has its own maximum"


async def test_two_pools_of_one_name_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match="name"):
        Site([world.claims["r"], world.claims["r"]])


async def test_pools_come_and_go(world: World) -> None:
    heard: list[str] = []
    site = Site([world.claims["python"]])
    site.subscribe(lambda one: heard.append(one.id))
    container = world.ready("r", "a")
    assert site.find("a") is None
    site.add(world.claims["r"])
    assert (site.find("a"), site.pool_of("a")) == (container, world.pools["r"])
    site.put_in_order(["r"])
    assert (list(site.pools), site.default_pool) == (["r", "python"], world.pools["r"])
    world.ready("r", "b")
    assert heard == ["b", "b"]
    site.remove("r")
    assert (site.find("a"), list(site.pools)) == (None, ["python"])
