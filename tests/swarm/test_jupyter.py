"""A real JupyterLab in a swarm: cells over WebSockets through the relay, and an orchestrator that is killed."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment
from tests.swarm.relays import swarm_with_relays

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(600)]


async def test_a_kernel_outlives_relay_and_orchestrator(workshop_image: str, pool: str, swarm_docker: str) -> None:
    with (
        swarm_with_relays(workshop_image, count=1, version=swarm_docker) as relays,
        Deployment(pool, docker_host=relays.swarm.manager.host).ended() as deployment,
    ):
        options = (
            "--engine=swarm", f"--swarm-relays={','.join(relays.names)}", f"--swarm-secret={relays.secret}",
            f"--image={workshop_image}", "--pool-size=1", "--max-containers=3", "--cpu-quota=0",
        )  # fmt: skip
        service = deployment.start(*options)
        await service.ready(1)
        async with service.http() as client:
            notebook = Notebook.of(client, await service.spawn(client))
            kernel = await notebook.new_kernel()
            assert await notebook.run("answer = 6 * 7; print(answer)", kernel) == "42\n"
            assert await notebook.run("print(open('/proc/net/dev').read().count(':'))", kernel) == "1\n", "only lo"
            code = "try:\n open('/run/tmpnb/more', 'w')\nexcept OSError as error:\n print(error)"
            assert "Permission" in await notebook.run(code, kernel), "sealed"
            (node,) = relays.swarm.nodes
            relays.stop(node)
            relays.start(node)
            async with asyncio.timeout(60):
                while True:
                    try:
                        assert await notebook.run("print(answer)", kernel) == "42\n"
                        break
                    except (aiohttp.ClientError, AssertionError):
                        await asyncio.sleep(0.2)
        service.kill()
        again = deployment.start(*options)
        await again.ready(1)
        async with again.http() as client:
            notebook = Notebook(client, notebook.id, notebook.token)
            assert await notebook.run("print(answer)", kernel) == "42\n"
