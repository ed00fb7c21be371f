"""An image rebuilt under the same name rolls the ready ones over; what is not the pool's own is never touched."""

from __future__ import annotations

import secrets
import subprocess

import pytest

from tests.e2e.service import Deployment
from tests.engine_support import docker

pytestmark = pytest.mark.engine


def _build(tag: str) -> None:
    """Another image under this name."""
    text = f"FROM tmpnb-py-test/server\nLABEL test.version={secrets.token_hex(8)}\n"
    subprocess.run(
        ["docker", "build", "--tag", tag, "-"], input=text.encode(), check=True, capture_output=True, timeout=60
    )


async def test_a_rebuilt_image_rolls_over_the_ready_ones(deployment: Deployment, small: list[str]) -> None:
    tag = f"tmpnb-py-test/rolls:{deployment.pool}"
    _build(tag)
    try:
        service = deployment.start(*small, f"--image={tag}", "--pool-size=2")
        async with service.http() as client:
            stays, goes = [await service.spawn(client) for _ in range(2)]
            await service.ready(2)
            before = set(deployment.containers("name=.ready"))
            _build(tag)
            # The end of a session makes the service look at the engine, and at the image with it.
            async with client.delete(
                f"/api/sessions/{goes['id']}", headers={"Authorization": f"token {goes['token']}"}
            ) as response:
                assert response.status == 200
            await service.event("removed", reason="older configuration", count=2)
            await service.ready(2)
            assert before.isdisjoint(deployment.containers())
            async with client.get(f"{stays['url']}api") as response:
                assert response.status == 200
            # Replaced one after the other: at no moment was there nothing to hand out.
            removed = [service.events.index(one) for one in service.found("removing", reason="older configuration")]
            ready = [service.events.index(one) for one in service.found("ready")]
            assert ready[-2] < removed[0] or ready[-1] < removed[1]
        service.stop()
    finally:
        docker("rmi", "--no-prune", tag, check=False)


async def test_foreign_containers_and_other_pools_are_left_alone(
    deployment: Deployment, small: list[str], server_image: str
) -> None:
    other = f"other{deployment.pool}"
    labels = {
        "nobody": [],
        "project-only": ["org.tmpnb.project=tmpnb-py"],
        "other-pool": ["org.tmpnb.project=tmpnb-py", f"org.tmpnb.pool={other}", "org.tmpnb.id=abc123"],
        "other-project": ["org.tmpnb.project=x", f"org.tmpnb.pool={deployment.pool}x", "org.tmpnb.id=abc124"],
    }
    made = []
    try:
        for name, marks in labels.items():
            arguments = [part for mark in marks for part in ("--label", mark)]
            made.append(docker("create", "--name", f"tmpnb.{other}.{name}", *arguments, server_image, "true"))
        service = deployment.start(*small, "--pool-size=2")
        with Deployment(other).ended() as elsewhere:
            neighbour = elsewhere.start(*small, "--pool-size=1")
            await neighbour.ready(1)
            async with neighbour.http() as client:
                spawned = await neighbour.spawn(client)
                await service.ready(2)
                assert service.stop() == 0
                assert deployment.containers() == {}
                async with client.get(f"{spawned['url']}api") as response:
                    assert response.status == 200
        # The neighbour found "other-pool" and took it for its own; nothing else.
        left = docker("ps", "-aq", "--no-trunc", "--filter", f"name=tmpnb.{other}.").split()
        assert set(left) == {made[0], made[1], made[3]}
    finally:
        docker("rm", "-f", *made, check=False)
