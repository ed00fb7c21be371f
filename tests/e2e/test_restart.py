"""What survives the service: `kill -9`, SIGTERM, a second manager, a second signal."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import shutil
import signal

import aiohttp
import pytest
from playwright.async_api import expect

from tests.e2e.held import Held
from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment, run_to_the_end
from tests.integration.browser_support import browser
from tests.ports import free_ports

pytestmark = pytest.mark.engine


async def test_kill_9_loses_nothing(deployment: Deployment, workshop_image: str) -> None:
    options = ("--pool-size=2", "--start-concurrency=2", "--cpu-quota=0")
    first = deployment.start(*options)
    await first.ready(2)
    async with first.http() as client:
        notebook = Notebook.of(client, await first.spawn(client))
        kernel_id = await notebook.new_kernel()
        assert await notebook.run("answer = 6 * 7", kernel_id) == ""
        await first.ready(2)
        async with client.get(f"/api/sessions/{notebook.id}") as response:
            session = await response.json()
        # A second claim, and the crash in the very moment when its replacement is being started.
        begun = len(first.found("starting"))
        second = Notebook.of(client, await first.spawn(client))
    half_started = (await first.event("starting", count=begun + 1))["id"]
    while half_started not in deployment.containers():
        await asyncio.sleep(0)
    first.kill()
    before = deployment.containers()
    assert before[half_started].endswith(".starting")
    ready = {one for one, name in before.items() if name.endswith(".ready")}
    claimed = {one for one, name in before.items() if ".claimed-" in name}
    assert claimed == {notebook.id, second.id}
    assert len(ready) == 1
    assert half_started not in ready | claimed

    service = deployment.start(*options)
    await service.ready(2)
    after = deployment.containers()
    assert ready | claimed < after.keys()
    assert half_started not in after
    assert {one["id"] for one in service.found("starting")} == after.keys() - before.keys()  # one was missing
    async with service.http() as client:
        notebook = Notebook(client, notebook.id, notebook.token)
        assert await notebook.run("print(answer)", kernel_id) == "42\n"
        async with client.get(f"/api/sessions/{notebook.id}") as response:
            again = await response.json()
        assert abs(_seconds(again["started"]) - _seconds(session["started"])) <= 1.5
        new = {(await service.spawn(client))["id"] for _ in range(4)}
        assert len(new) == 4
        assert new.isdisjoint(claimed)
        assert ready < new
        await Notebook(client, second.id, second.token).call("GET", "api/status")


def _seconds(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment).timestamp()


async def test_before_the_first_listing_nobody_is_told_that_a_notebook_is_gone(
    deployment: Deployment, small: list[str]
) -> None:
    first = deployment.start(*small, "--pool-size=1")
    async with first.http() as client:
        spawned = await first.spawn(client)
    first.kill()
    # The engine is away at this start, so nothing is known of what it has.
    service = deployment.start(*small, "--pool-size=1", env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    await service.event("engine_down")
    async with service.http() as client, client.get(spawned["url"]) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
    service.stop()
    service = deployment.start(*small, "--pool-size=1")
    await service.ready(1)
    async with service.http() as client, client.get(spawned["url"]) as response:
        assert response.status == 200


@pytest.mark.parametrize("crash", [True, False])
async def test_the_line_outlives_the_service(deployment: Deployment, small: list[str], crash: bool) -> None:
    """After a crash as after an upgrade everybody has the place that they had, and newcomers stand behind them."""
    options = (*small, "--pool-size=1", "--max-containers=1")
    first = deployment.start(*options, cleanup=False)
    await first.ready(1)
    async with first.http() as client:
        holder = await first.spawn(client)
        drawn = [await _draw(client, f"lab/tree/{number}.ipynb") for number in range(3)]
    if crash:
        first.kill()
    else:
        assert first.stop() == 0

    service = deployment.start(*options)
    assert (await service.event("line_restored"))["waiting"] == 3
    async with service.http() as client:
        newcomer = await _draw(client, "lab")
        assert [await _position(client, one) for one in (*drawn, newcomer)] == [1, 2, 3, 4]
        for turn, one in enumerate(drawn):
            await service.stats_when(lambda stats: stats["claimed"] == 1)
            headers = {"Authorization": f"token {holder['token']}"}
            async with client.delete(f"/api/sessions/{holder['id']}", headers=headers) as response:
                assert response.status == 200
            async with client.get(f"/api/tickets/{one}/events") as stream:
                told = [json.loads(line[6:]) async for line in stream.content if line.startswith(b"data: ")][-1]
            assert told["status"] == "ready"
            holder = told["session"]
            assert f"/lab/tree/{turn}.ipynb" in holder["open_url"]
            assert await _position(client, newcomer) == 3 - turn
        async with client.delete(f"/api/tickets/{newcomer}") as response:
            assert response.status == 200
    assert service.stop() == 0
    assert not list((deployment.directory / "run").glob("*.line*"))


@pytest.mark.browser
async def test_pages_that_wait_need_not_know_of_a_crash(deployment: Deployment, small: list[str]) -> None:
    """Two browsers stand in line when the service is killed: they stand where they stood, and are served."""
    options = (*small, "--pool-size=1", "--max-containers=1")
    (port,) = free_ports(1)  # one that the kernel gives to nobody while the service is away
    first = deployment.start(*options, f"--port={port}")
    await first.ready(1)
    async with first.http() as client, browser() as one, browser() as other:
        holder = await first.spawn(client)
        pages = []
        for number, context in enumerate((one, other), start=1):
            page = await context.new_page()
            await page.goto(f"{first.url}spawn/lab/tree/{number}.ipynb")
            await expect(page.locator("#position")).to_have_text(str(number))
            pages.append(page)
        urls = [page.url for page in pages]
        first.kill()
        service = deployment.start(*options, f"--port={port}")
        await service.stats_when(lambda stats: stats["claimed"] == 1)
        newcomer = await _draw(client, "lab")  # sooner than the browsers notice, perhaps
        assert await _position(client, newcomer) == 3
        async with client.delete(
            f"/api/sessions/{holder['id']}", headers={"Authorization": f"token {holder['token']}"}
        ) as response:
            assert response.status == 200
        await pages[0].wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab/tree/1\.ipynb"))
        await expect(pages[1].locator("#position")).to_have_text("1")
        assert pages[1].url == urls[1]


async def _draw(client: aiohttp.ClientSession, path: str) -> str:
    async with client.post("/api/tickets", json={"path": path}) as response:
        assert response.status == 201
        return str((await response.json())["id"])


async def _position(client: aiohttp.ClientSession, ticket: str) -> int | None:
    async with client.get(f"/api/tickets/{ticket}") as response:
        assert response.status == 200
        position = (await response.json())["position"]
    return None if position is None else int(position)


async def test_a_second_manager_is_refused(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, "--pool-size=1")
    await service.ready(1)
    second = await asyncio.to_thread(
        run_to_the_end, "serve", "--port=0", "--admin-port=0", f"--pool-name={deployment.pool}",
        f"--runtime-dir={deployment.directory / 'run'}", *small,
    )  # fmt: skip
    assert second.returncode == 6
    assert second.stderr.splitlines() == [
        f'error: the pool "{deployment.pool}" is managed by another tmpnb-py, process {service.pid}',
        "  → Stop that one first, or give this one a pool of its own with --pool-name.",
    ]
    assert (await service.stats())["available"] == 1


async def test_a_second_manager_is_refused_wherever_it_comes_from(deployment: Deployment, small: list[str]) -> None:
    """With another runtime directory, as another user's service or one in a container has it; `purge` likewise."""
    service = deployment.start(*small, "--pool-size=1")
    async with service.http() as client:
        session = await service.spawn(client)
    await service.ready(1)
    elsewhere = (f"--pool-name={deployment.pool}", f"--runtime-dir={deployment.directory / 'elsewhere'}")
    second = await asyncio.to_thread(
        run_to_the_end,
        "serve",
        "--ip=127.0.0.1",
        "--port=0",
        "--admin-port=0",
        "--cleanup-on-exit",
        *elsewhere,
        *small,
    )
    assert (second.returncode, "Traceback" in second.stderr) == (6, False)
    error = f'error: the pool "{deployment.pool}" is managed by another tmpnb-py, process {service.pid} on '
    assert error in second.stderr
    purge = await asyncio.to_thread(run_to_the_end, "purge", "--yes", *elsewhere)
    assert (purge.returncode, error in purge.stderr) == (6, True)
    assert (await service.stats())["available"] == 1
    async with service.http() as client, client.get(f"{session['url']}api") as response:
        assert response.status == 200


async def test_a_hold_that_was_lost_to_somebody_else_ends_the_service_and_nothing_more(
    deployment: Deployment, small: list[str]
) -> None:
    first = deployment.start(*small, "--pool-size=1")
    await first.ready(1)
    first.signal(signal.SIGSTOP)
    deployment.docker("rm", "--force", f"tmpnb.{deployment.pool}.manager")
    second = deployment.start(*small, "--pool-size=1", f"--runtime-dir={deployment.directory / 'run'}2")
    await second.ready(1)
    first.signal(signal.SIGCONT)
    assert await asyncio.to_thread(first.wait) == 6
    assert first.found("hold_lost")
    assert not first.found("removing")
    assert (await second.stats())["available"] == 1
    first.other_lines.clear()
    shutil.rmtree(deployment.directory / "run")  # whose sockets are the second's business no more


async def test_a_runtime_directory_that_is_removed_costs_no_session_and_lets_nobody_in(
    deployment: Deployment, small: list[str]
) -> None:
    run = deployment.directory / "run"
    service = deployment.start(*small, "--pool-size=1")
    async with service.http() as client:
        session = await service.spawn(client)
        await service.ready(1)
        shutil.rmtree(run)
        second = await asyncio.to_thread(
            run_to_the_end, "serve", "--ip=127.0.0.1", "--port=0", "--admin-port=0", f"--pool-name={deployment.pool}",
            f"--runtime-dir={run}", *small,
        )  # fmt: skip
        assert second.returncode == 6
        assert str(service.pid) in second.stderr
        await service.event("runtime_dir_cleaned")
        assert (run / f"{deployment.pool}.lock").read_text() == f"{service.pid}\n"
        async with client.get(f"{session['url']}api") as response:
            assert response.status == 200
        again = await service.spawn(client)
        async with client.get(f"{again['url']}api") as response:
            assert response.status == 200
        await service.ready(1)
        fresh = await service.spawn(client)
        async with client.get(f"{fresh['url']}api") as response:
            assert response.status == 200


async def test_after_kill_9_the_next_start_has_the_pool_at_once(deployment: Deployment, small: list[str]) -> None:
    """What a process that is gone has held is free."""
    first = deployment.start(*small, "--pool-size=1")
    await first.ready(1)
    first.kill()
    second = deployment.start(*small, "--pool-size=1")
    await second.ready(1)
    assert not second.found("starting")  # it has taken over what was ready


async def test_sigterm_keeps_containers_and_the_next_start_takes_them_up(
    deployment: Deployment, small: list[str]
) -> None:
    first = deployment.start(*small, "--pool-size=2", cleanup=False)
    async with first.http() as client:
        claimed = (await first.spawn(client))["id"]
    await first.ready(2)
    before = deployment.containers("status=running")
    assert first.stop() == 0
    assert deployment.containers("status=running") == before
    assert first.found("stopped")[0]["kept"] == 3

    service = deployment.start(*small, "--pool-size=2")
    await service.ready(2)
    assert deployment.containers("status=running") == before
    assert not service.found("starting")
    async with service.http() as client, client.get(f"/user/{claimed}/api") as response:
        assert response.status == 200
    assert service.stop() == 0
    assert deployment.containers() == {}


async def test_another_configuration_replaces_the_ready_and_leaves_the_claimed(
    deployment: Deployment, small: list[str]
) -> None:
    first = deployment.start(*small, "--pool-size=2", cleanup=False)
    async with first.http() as client:
        claimed = (await first.spawn(client))["id"]
    await first.ready(2)
    before = deployment.containers().keys()
    first.stop()
    service = deployment.start(*small, "--pool-size=1", "--pids-limit=99")
    await service.event("removed", reason="older configuration", count=2)
    await service.ready(1)
    after = deployment.containers().keys()
    assert after & before == {claimed}
    assert len(after) == 2


async def test_cleanup_on_exit_removes_the_claimed_too(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, "--pool-size=1")
    async with service.http() as client:
        spawned = await service.spawn(client)
        service.signal(signal.SIGINT)
        assert await asyncio.to_thread(service.wait) == 0
    assert service.found("removed", id=spawned["id"], reason="shutdown")
    assert deployment.remains() == []


async def test_stopping_lets_requests_finish_and_a_second_signal_forces(
    deployment: Deployment, small: list[str]
) -> None:
    service = deployment.start(*small, "--pool-size=1", "--shutdown-timeout=30s", cleanup=False)
    async with service.http() as client:
        spawned = await service.spawn(client)
        await service.ready(1)
        slow = await Held.of(deployment, client, spawned)
        service.signal(signal.SIGTERM)
        await service.event("stopping")
        await slow.let_go()
        assert await slow.answer == "done\n"
    assert await asyncio.to_thread(service.wait, 60) == 0

    service = deployment.start(*small, "--pool-size=1", "--shutdown-timeout=30s")
    await service.ready(1)
    async with service.http() as client:
        slow = await Held.of(deployment, client, spawned)
        service.signal(signal.SIGTERM)
        await service.event("stopping")
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.wait, 25) == 0
        assert service.found("forced")
        with pytest.raises(aiohttp.ClientError):
            await slow.answer
    assert len(deployment.containers()) == 2  # forced: what was there stays for the next start
    await deployment.start(*small, "--pool-size=1").ready(1)
