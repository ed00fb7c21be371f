"""Several pools on a swarm: each has its own services and lease there."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.service import Deployment
from tests.e2e.test_pools_docker import answers, spawn, until
from tests.swarm.relays import RelaysOfNodes
from tests.swarm.test_service import relays, start

__all__ = ["relays"]  # the fixture

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(300)]


async def test_two_pools_are_served_restarted_and_drained(
    relays: RelaysOfNodes, server_image: str, pool: str
) -> None:
    swarm = relays.swarm
    with Deployment(pool, docker_host=swarm.manager.host, tables="ab").ended() as deployment:
        file = deployment.directory / "pools.toml"
        file.write_text("[pools.a]\npool_size = 2\n[pools.b]\npool_size = 1\n")
        first = start(deployment, relays, server_image, f"--config={file}")
        async with first.http() as client, first.http(admin=True) as admin:
            await until(admin, "a", seconds=120, ready=2)
            await until(admin, "b", seconds=120, ready=1)
            sessions = [await spawn(client, name) for name in ("a", "b")]
            assert all([await answers(client, one) for one in sessions])
            async with admin.get("/api/nodes") as response:
                nodes = (await response.json())["nodes"]
            assert sum(one["claimed"] for one in nodes) == 2, "the notebooks of all pools count"
        first.kill()
        file.write_text("[pools.b]\npool_size = 1\n")
        second = start(deployment, relays, server_image, f"--config={file}")
        async with second.http() as client, second.http(admin=True) as admin:
            await until(admin, "b", seconds=120, ready=1, claimed=1)
            await until(admin, "a", seconds=120, ready=0, claimed=1)
            assert all([await answers(client, one) for one in sessions])
            async with admin.delete(f"/api/sessions/{sessions[0]['id']}") as response:
                assert response.status == 200
            await asyncio.to_thread(second.wait_for, "pool_gone", pool="a")
