"""What concerns one container, or the engine's disk, and what it costs visitors: as little as can be."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.own_engine import OwnEngine, own_engine_on_small_disk
from tests.e2e.service import Deployment
from tests.engine_support import hung

pytestmark = pytest.mark.engine


async def test_one_container_that_hangs_costs_others_nothing(deployment: Deployment, small: list[str]) -> None:
    """The one that would be given away next: its calls wait while the engine answers. It took the service down."""
    service = deployment.start(*small, "--pool-size=3", "--start-concurrency=1")
    await service.ready(3)
    first = service.found("ready")[0]["id"]
    with hung(deployment.docker_id(first)):
        async with service.http() as client:
            took = []
            for _ in range(2):
                began = time.monotonic()
                async with client.post("/api/spawn") as response:
                    assert response.status == 200, service.report()
                    assert (await response.json())["id"] != first
                took.append(time.monotonic() - began)
            async with client.get("/api/stats") as response:
                assert (await response.json())["cause"] is None
        assert max(took) < 5, took  # half a second, on an idle machine
        assert not service.found("engine_down"), service.report()
    await service.event("removed", id=first)
    assert not service.found("session_ended", id=first)


@pytest.fixture
def engine(server_image: str) -> Iterator[OwnEngine]:
    """An engine whose containers' files are on a small disk of their own."""
    with own_engine_on_small_disk(server_image, 8 * 2**20) as engine:
        yield engine


def _fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(16 * 2**20 // 4096):  # twice what there is
            file.write(bytes(4096))
        pytest.fail("the disk is larger than it was made")
    return filler


async def test_a_full_disk_burns_no_ready_notebook(engine: OwnEngine, pool: str, small: list[str]) -> None:
    """Claims cannot be written: nobody is served, nothing that is ready is lost, and the reason is said."""
    with Deployment(pool, docker_host=engine.host).ended() as deployment:
        service = deployment.start(*small, "--pool-size=3")
        await service.ready(3)
        assert engine.disk is not None
        filler = _fill(engine.disk)
        async with service.http() as client:
            for _ in range(4):
                async with client.post("/api/spawn") as response:
                    answer = await response.json()
                    assert (response.status, answer["status"]) == (503, "unavailable"), service.report()
                    assert answer["cause"] == "start refused"
            async with client.get("/", headers={"Accept": "text/html"}) as response:
                assert "No notebook can be started at the moment" in await response.text()
            async with client.post("/api/tickets", json={"path": "lab"}) as response:
                ticket = (await response.json())["id"]
            assert (await service.stats())["available"] == 3
            assert len(service.found("claims_refused")) == 1
            assert not service.found("session_ended")
            filler.unlink()
            async with asyncio.timeout(60):
                while True:
                    async with client.get(f"/api/tickets/{ticket}") as response:
                        if (await response.json())["status"] == "ready":
                            break
                    await asyncio.sleep(0.1)
            session = await service.spawn(client)
            async with client.get(f"{session['url']}api") as response:
                assert response.status == 200
