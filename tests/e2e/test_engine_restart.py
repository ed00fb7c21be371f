"""The engine goes away and comes back; the service stays and recovers by itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.e2e.own_engine import OwnEngine, own_engine
from tests.e2e.service import Deployment
from tests.engine_support import skip_or_fail

pytestmark = pytest.mark.engine


@pytest.fixture
def engine(server_image: str) -> Iterator[OwnEngine]:
    if os.geteuid() != 0:
        skip_or_fail("only root can start a Docker engine")
    with own_engine() as engine:
        engine.load(server_image)
        yield engine


async def test_the_service_survives_its_engine(engine: OwnEngine, pool: str, small: list[str]) -> None:
    with Deployment(pool, docker_host=engine.host).ended() as deployment:
        service = deployment.start(*small, "--pool-size=2")
        async with service.http() as client:
            spawned = await service.spawn(client)
            await service.ready(2)
            before = deployment.containers().keys()

            await asyncio.to_thread(engine.stop)
            await service.stats_when(lambda stats: stats["cause"] == "engine down")
            async with client.post("/api/spawn") as response:
                answer = await response.json()
                assert (response.status, answer["cause"]) == (503, "engine down")
                assert int(response.headers["Retry-After"]) > 0
            async with client.get("/") as response:
                assert response.status == 200
                assert "No notebook can be started at the moment" in await response.text()
            # An engine that is ending answers now and then, so it may go down more than once.
            assert 1 <= len(service.found("engine_down")) <= 10, service.report()
            assert service.found("engine_down")[0]["remedy"]

            await asyncio.to_thread(engine.start)
            await service.event("removed", id=spawned["id"])
            recovered = await service.ready(2)
            assert recovered["cause"] is None
            assert deployment.containers().keys().isdisjoint(before)
            async with client.get(spawned["url"]) as response:
                assert (response.status, (await response.json())["reason"]) == (410, "server restarted")
            again = await service.spawn(client)
            async with client.get(f"{again['url']}api") as response:
                assert response.status == 200
            # The event stream is back too: a death is noticed without waiting for the next listing.
            await service.ready(2)
            victim = min(deployment.containers("name=.ready"))
            deployment.docker("kill", deployment.docker_id(victim))
            await service.event("removed", id=victim, reason="crashed", seconds=25)
            await service.ready(2)
