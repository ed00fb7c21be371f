"""A class on a swarm: it goes on whatever becomes of the process, and of a node with a part of its reserve."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.e2e.service import Deployment, Service
from tests.e2e.test_class_upgrade import Class, a_class, drawn, serving, until_pool
from tests.e2e.test_pools_docker import spawn
from tests.e2e.test_upgrade import finally_ended, gone, upgraded
from tests.swarm import test_service
from tests.swarm.relays import RelaysOfNodes
from tests.swarm.test_service import node_of, start

relays = test_service.relays

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(600)]

_PEOPLE = 7
_POOLS = "[pools.a]\npool_size = 1\n[pools.b]\npool_size = 1\n"
_SECONDS = 120.0


async def test_a_class_goes_on_whatever_becomes_of_process_and_node(
    relays: RelaysOfNodes, server_image: str, pool: str
) -> None:
    """Its pool is one of two. People come while the service is upgraded; it is restarted, killed; a node dies."""
    with Deployment(pool, docker_host=relays.swarm.manager.host, tables="ab").ended() as deployment:
        file = deployment.directory / "pools.toml"
        file.write_text(_POOLS)

        def started(*, cleanup: bool) -> Service:
            options = (f"--config={file}", "--node-grace=1s")
            return start(deployment, relays, server_image, *options, cleanup=cleanup)

        service = started(cleanup=False)
        course = await _upgraded(service)

        second = started(cleanup=False)
        course.moved_to(second)
        await until_pool(second, "b", _SECONDS, ready=_PEOPLE - 4 + 1)
        await course.check(second)
        await course.comes(second, 1)
        second.kill()

        third = started(cleanup=True)
        course.moved_to(third)
        await until_pool(third, "b", _SECONDS, ready=_PEOPLE - 5 + 1)
        await course.check(third)
        await _node_dies(third, relays, course)


async def _upgraded(service: Service) -> Class:
    """The class begins, a process takes over while its people come, and is stopped as an operator does it."""
    async with finally_ended(service):
        await until_pool(service, "a", _SECONDS, ready=1)
        course = await a_class(service, _PEOPLE, "b")
        await until_pool(service, "b", _SECONDS, ready=_PEOPLE + 1)
        await course.comes(service, 1)
        async with service.http() as client:
            await spawn(client, "b")  # the pool's own one; what is left is the class's
            assert (await drawn(client))["status"] == "ready", "that of the first pool"
        _, new = await asyncio.gather(course.comes(service, 2), upgraded(service))
        assert await serving(service) == new
        await course.check(service)
        await course.comes(service, 1)
        os.kill(new, signal.SIGTERM)
        await gone(new)
    return course


async def _node_dies(service: Service, relays: RelaysOfNodes, course: Class) -> None:
    """Whoever was there has lost their notebook, and nobody else; those who come later get theirs at once."""
    places = {one: node_of(relays, one) for one in course.sessions}
    dead = max(relays.swarm.nodes[1:], key=list(places.values()).count)
    on_it = [one for one, node in places.items() if node is dead]
    assert 0 < len(on_it) < len(places), "spread over the nodes"
    await asyncio.to_thread(dead.power_off)
    for session in on_it:
        await service.event("session_ended", id=session, seconds=_SECONDS)
        del course.sessions[session]
    await until_pool(service, "b", _SECONDS, ready=_PEOPLE - 5 + 1, starting=0)
    await course.comes(service, 2)
    (found,) = (await service.admin("GET", "/api/bookings"))["bookings"]
    assert (found["came"], found["left"]) == (_PEOPLE, 0)
