"""Sessions end by the rules, with real kernels, and say afterwards why."""

from __future__ import annotations

import pytest

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment

pytestmark = pytest.mark.engine


async def test_sessions_end_by_each_limit_and_a_busy_kernel_does_not(
    deployment: Deployment, workshop_image: str
) -> None:
    service = deployment.start(
        "--pool-size=3",
        "--start-concurrency=3",
        "--cpu-quota=0",
        "--max-containers=3",  # no refills that compete for the CPUs
        "--cull-timeout=12s",
        "--cull-unvisited=6s",
        "--cull-max=40s",
    )
    await service.ready(3)
    async with service.http() as client:
        unopened, idle, busy = [Notebook.of(client, await service.spawn(client)) for _ in range(3)]
        await busy.call("GET", "api")
        await idle.call("GET", "api/contents")
        async with busy.kernel(await busy.new_kernel()) as kernel:
            await kernel.until_busy(await kernel.send("import time; time.sleep(60)"))

            ended = await service.event("removing", id=unopened.id)
            assert (ended["reason"], ended["duration"] >= 6) == ("never opened", True)
            ended = await service.event("removing", id=idle.id)
            assert (ended["reason"], ended["duration"] >= 12) == ("idle", True)
            await busy.call("GET", "api/kernels?no_track_activity=1")  # it lives
            ended = await service.event("removing", id=busy.id)
            assert (ended["reason"], ended["duration"] >= 40) == ("time up", True)

        for notebook, reason, words in (
            (unopened, "never opened", "It was not opened in time."),
            (idle, "idle", "Nobody had used it for a while."),
            (busy, "time up", "It had reached the longest time that a notebook may run here."),
        ):
            async with client.get(notebook.url("api/kernels"), headers=notebook.headers) as response:
                answer = await response.json()
                assert (response.status, answer["status"], answer["reason"]) == (410, "gone", reason)
            async with client.get(notebook.url("lab"), headers={"Accept": "text/html"}) as response:
                assert response.status == 410
                assert words in await response.text()
            async with client.get(f"/api/sessions/{notebook.id}") as response:
                assert (await response.json())["reason"] == reason
        # A WebSocket to what is gone is refused as plainly.
        async with client.get(
            busy.url("api/kernels/x/channels"), headers={"Connection": "Upgrade", "Upgrade": "websocket"}
        ) as response:
            assert response.status in (400, 410)


async def test_out_of_memory_is_told(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, "--pool-size=1", "--mem-limit=64m")
    async with service.http() as client:
        # The kernel ends the largest process, which is the server. (/tmp holds only a share of the memory.)
        fill = "kept = []\nwhile True: kept.append(b'x' * 65536)"
        for _ in range(4):  # Docker 20.10 may hear of it after the death, and then its state never tells
            spawned = await service.spawn(client)
            async with client.post(f"{spawned['url']}exec", data=fill) as response:
                assert response.status in (410, 502)
            if (await service.event("removing", id=spawned["id"]))["reason"] == "out of memory":
                break
        async with client.get(f"{spawned['url']}lab", headers={"Accept": "text/html"}) as response:
            assert response.status == 410
            assert "It needed more memory than a notebook has here." in await response.text()


async def test_a_container_that_dies_is_noticed_and_never_handed_out(
    deployment: Deployment, small: list[str]
) -> None:
    service = deployment.start(*small, "--pool-size=2")
    async with service.http() as client:
        spawned = await service.spawn(client)
        await service.ready(2)
        ready = deployment.containers("name=.ready")
        victim = min(ready)
        deployment.docker("kill", deployment.docker_id(victim), deployment.docker_id(spawned["id"]))
        await service.event("removed", id=victim, reason="crashed")
        await service.event("removed", id=spawned["id"], reason="crashed")
        assert victim not in {(await service.spawn(client))["id"] for _ in range(3)}
        async with client.get(spawned["url"]) as response:
            assert (response.status, (await response.json())["reason"]) == (410, "crashed")
