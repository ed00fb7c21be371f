"""Full: who does not wait is told when to come back; who waits is served first come, first served."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.e2e.inprocess import Rig, running
from tmpnb_py.claims.tickets import Status
from tmpnb_py.core.errors import NoSuchContainerError
from tmpnb_py.core.models import State


async def _end(rig: Rig, spawned: dict[str, str]) -> None:
    headers = {"Authorization": f"token {spawned['token']}"}
    async with rig.client.delete(f"/api/sessions/{spawned['id']}", headers=headers) as response:
        assert response.status == 200


async def test_full_and_not_waiting() -> None:
    async with running(max_containers=1) as rig:
        await rig.ready(1)
        await rig.spawn()
        async with rig.client.post("/api/spawn") as response:
            answer = await response.json()
            assert (response.status, answer["status"]) == (429, "full")
            assert answer["retry_after"] == int(response.headers["Retry-After"]) > 0
        async with rig.client.post("/api/spawn?wait=0.2") as response:
            assert (response.status, (await response.json())["status"]) == (429, "full")
        async with rig.client.get("/") as response:
            assert "All notebooks are in use; you can wait in line." in await response.text()


async def test_with_none_kept_ready_who_does_not_wait_finds_one_when_they_come_back() -> None:
    async with running(pool_size=0) as rig:
        await rig.until(lambda: rig.pool.listed)
        for _ in range(2):
            async with rig.client.post("/api/spawn") as response:
                assert response.status == 429
                assert int(response.headers["Retry-After"]) > 0
            await rig.ready(1)
            await rig.spawn()
        await rig.until(lambda: rig.pool.count(State.STARTING) == 0)
        assert rig.pool.count(State.READY) == 0  # nobody else has asked


async def test_waiting_may_take_longer_than_an_answer_of_a_notebook() -> None:
    async with running(max_containers=1, response_timeout=1.0) as rig:
        await rig.ready(1)
        await rig.spawn()
        async with rig.client.post("/api/spawn?wait=3") as response:
            assert (response.status, (await response.json())["status"]) == (429, "full")


async def test_first_come_first_served() -> None:
    async with running(max_containers=1) as rig:
        await rig.ready(1)
        holder = await rig.spawn()
        waiting = []
        for number in range(3):
            waiting.append(asyncio.create_task(rig.spawn("?wait=20")))
            await rig.until(lambda number=number: rig.claims.waiting == number + 1)  # type: ignore[misc]
        for turn in range(3):
            await _end(rig, holder)
            holder = await waiting[turn]
            assert [task.done() for task in waiting] == [number <= turn for number in range(3)]
        assert rig.claims.waiting == 0


async def test_who_leaves_gives_up_the_place() -> None:
    async with running(max_containers=1) as rig:
        await rig.ready(1)
        holder = await rig.spawn()
        leaver = asyncio.create_task(rig.spawn("?wait=20"))
        await rig.until(lambda: rig.claims.waiting == 1)
        stayer = asyncio.create_task(rig.spawn("?wait=20"))
        await rig.until(lambda: rig.claims.waiting == 2)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        await rig.until(lambda: rig.claims.waiting == 1)
        await _end(rig, holder)
        assert (await stayer)["id"] != holder["id"]


async def test_a_line_that_is_full() -> None:
    async with running(max_containers=1, max_waiting=1) as rig:
        await rig.ready(1)
        await rig.spawn()
        first = asyncio.create_task(rig.spawn("?wait=20"))
        await rig.until(lambda: rig.claims.waiting == 1)
        async with rig.client.post("/api/spawn?wait=20") as response:
            assert (response.status, (await response.json())["status"]) == (429, "full")
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_form_posted_while_full_leads_to_where_one_waits_and_then_to_the_notebook() -> None:
    async with running(max_containers=1, max_waiting=1) as rig:
        await rig.ready(1)
        holder = await rig.spawn()
        wish, origin = {"path": "lab/tree/x.ipynb"}, {"Origin": str(rig.client._base_url).rstrip("/")}
        async with rig.client.post("/spawn", data=wish, headers=origin, allow_redirects=False) as response:
            assert response.status == 303
            place, cookie = response.headers["Location"], response.cookies["tmpnb-place"]
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == (place.partition("?")[0], True, "Lax")
        own = {"Cookie": f"tmpnb-place={cookie.value}"}
        # Whoever was sent the address, or looks at links in advance, is nobody in line, and gets nobody's notebook.
        for headers in ({}, {"Cookie": f"tmpnb-place={'0' * 32}"}):
            async with rig.client.get(place, headers=headers, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (303, "/spawn/lab/tree/x.ipynb")
        async with rig.client.post("/spawn", data=wish, headers=origin) as response:
            assert response.status == 429
            assert "The line is full" in await response.text()
        async with rig.client.get(place, headers=own) as response:
            page = await response.text()
        assert (response.status, '<meta http-equiv="refresh"' in page) == (200, True)
        assert "You are next in line." in page
        assert "<code>x.ipynb</code>" in page
        await _end(rig, holder)
        await rig.until(lambda: rig.claims.waiting == 0 and rig.pool.count(State.CLAIMED) == 1)
        ticket = rig.claims.find(place.split("/")[3].partition("?")[0])
        assert ticket is not None
        await rig.until(lambda: ticket.status is Status.READY)
        async with rig.client.get(place, allow_redirects=False) as response:
            assert response.headers["Location"] == "/spawn/lab/tree/x.ipynb"
            assert "Set-Cookie" not in response.headers
        async with rig.client.get(place, headers=own, allow_redirects=False) as response:
            assert response.status == 303
            assert response.headers["Location"].startswith("/user/")
            assert "/lab/tree/x.ipynb?token=" in response.headers["Location"]


async def test_who_comes_before_the_first_notebook_is_ready_waits_for_it() -> None:
    async with running() as rig:
        assert rig.pool.count(State.READY) == 0
        assert (await rig.spawn("?wait=20"))["id"]


async def test_nobody_shares_a_container_however_many_come_at_once() -> None:
    async with running(pool_size=5, max_containers=40, start_concurrency=8) as rig:
        spawned = await asyncio.gather(*(rig.spawn("?wait=20") for _ in range(35)))
        assert len({one["id"] for one in spawned}) == 35
        assert len({one["token"] for one in spawned}) == 35


async def test_a_claim_that_cannot_be_made_durable_is_not_handed_out() -> None:
    async with running(pool_size=2) as rig:
        await rig.ready(2)
        doomed = rig.pool.in_state(State.READY)[0].id
        rig.engine.fail_next("claim", NoSuchContainerError("gone"))
        assert (await rig.spawn("?wait=20"))["id"] != doomed
        await rig.until(lambda: rig.pool.get(doomed) is None)


async def test_wait_must_be_a_number() -> None:
    async with running() as rig:
        for wait in ("soon", "-1", "nan", "inf", "1e400"):
            async with rig.client.post(f"/api/spawn?wait={wait}") as response:
                assert response.status == 400
                assert "wait is a number of seconds" in (await response.json())["message"]


async def test_spawn_takes_any_body_and_a_trailing_slash() -> None:
    bodies: list[bytes] = [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b"not json",
        b"\xff\xfe",
        b'{"path": 3}',
        b'{"image": "evil"}',
    ]
    async with running(pool_size=1, max_containers=20) as rig:
        for number, body in enumerate(bodies):
            async with rig.client.post("/api/spawn" + "/" * (number % 2) + "?wait=20", data=body) as response:
                answer = await response.json()
                assert response.status == 200, body
                assert answer["open_url"] == f"/user/{answer['id']}/lab?token={answer['token']}"
        async with rig.client.post("/api/spawn?wait=20", json={"path": "lab/tree/a b.ipynb?x=1"}) as response:
            answer = await response.json()
            assert answer["open_url"] == f"/user/{answer['id']}/lab/tree/a%20b.ipynb?x=1&token={answer['token']}"
        async with rig.client.post("/api/spawn", data=b"x" * 100_000) as response:
            assert response.status == 413


async def test_a_websocket_is_refused_politely_when_the_notebook_is_gone() -> None:
    async with running() as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        await _end(rig, spawned)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await rig.client.ws_connect(f"/user/{spawned['id']}/api/kernels/x/channels")
        assert refused.value.status == 410
