"""Tickets over HTTP: a place in line that outlives the request, watched through the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.inprocess import Rig, running
from tests.e2e.service import Deployment
from tests.pool_support import fail
from tmpnb_py.core.errors import FailureClass
from tmpnb_py.core.models import EndReason, Failure, State
from tmpnb_py.web import event_stream


async def open_ticket(rig: Rig, headers: dict[str, str] | None = None, **wish: Any) -> dict[str, Any]:
    async with rig.client.post("/api/tickets", json=wish, headers=headers) as response:
        assert response.status == 201, await response.text()
        return dict(await response.json())


async def look(rig: Rig, ticket: dict[str, Any]) -> dict[str, Any]:
    async with rig.client.get(f"/api/tickets/{ticket['id']}") as response:
        assert response.status == 200
        return dict(await response.json())


class Stream:
    """A client's end of an event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.raw = b""

    async def next(self) -> dict[str, Any]:
        """The next event's data."""
        async with asyncio.timeout(20):
            while True:
                line = await self._response.content.readline()
                assert line, "the stream has ended"
                self.raw += line
                if line.startswith(b"data: "):
                    return dict(json.loads(line[6:]))

    async def until(self, text: bytes) -> None:
        """A line that begins so."""
        async with asyncio.timeout(20):
            while not (line := await self._response.content.readline()).startswith(text):
                assert line, "the stream has ended"

    async def end(self) -> None:
        """Nothing more comes."""
        async with asyncio.timeout(20):
            self.raw += await self._response.content.read()


@contextlib.asynccontextmanager
async def watch(rig: Rig, ticket: dict[str, Any]) -> AsyncIterator[Stream]:
    accept = {"Accept": "text/event-stream"}
    async with rig.client.get(f"/api/tickets/{ticket['id']}/events", headers=accept) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        yield Stream(response)


def end(rig: Rig, container_id: str) -> None:
    container = rig.pool.get(container_id)
    assert container is not None
    rig.pool.end(container, EndReason.ENDED_BY_OPERATOR, time.monotonic())


async def test_a_notebook_at_once() -> None:
    async with running() as rig:
        await rig.ready(1)
        ticket = await open_ticket(rig, path="lab/tree/a b.ipynb")
        session = ticket["session"]
        assert (ticket["status"], ticket["position"], ticket["estimate"]) == ("ready", None, None)
        assert session["open_url"] == f"/user/{session['id']}/lab/tree/a%20b.ipynb?token={session['token']}"
        assert await look(rig, ticket) == ticket
        async with watch(rig, ticket) as stream:
            assert await stream.next() == ticket
            await stream.end()
        end(rig, session["id"])
        ended = await look(rig, ticket)
        assert (ended["status"], ended["session"]) == ("ended", None)


async def test_the_line_moves_before_ones_eyes() -> None:
    async with running(max_containers=1) as rig:
        await rig.ready(1)
        holder = await rig.spawn()
        first, second = await open_ticket(rig), await open_ticket(rig)
        assert [first["status"], first["position"], second["position"]] == ["waiting", 1, 2]
        assert "You are next in line." in first["message"]
        assert "One visitor is before you." in second["message"]
        assert "All notebooks are in use" in second["message"]
        async with watch(rig, first) as one, watch(rig, second) as two:
            assert [(await stream.next())["position"] for stream in (one, two)] == [1, 2]
            # What is told comes at once: nothing on the way holds it back until the stream ends.
            end(rig, holder["id"])
            state = await one.next()
            while state["status"] == "waiting":
                state = await one.next()
            assert state["status"] == "ready"
            await one.end()
            assert f"id: {first['id']}".encode() in one.raw
            while (moved := await two.next())["position"] != 1:
                pass
            assert moved["status"] == "waiting"
        async with rig.client.get(state["session"]["open_url"]) as response:
            assert response.status == 200


async def test_pages_and_programs_are_served_in_the_order_in_which_they_came() -> None:
    async with running(max_containers=1) as rig:
        await rig.ready(1)
        holder = (await rig.spawn())["id"]
        first = await open_ticket(rig)
        program = asyncio.create_task(rig.spawn("?wait=20"))
        await rig.until(lambda: rig.claims.waiting == 2)
        third = await open_ticket(rig)
        end(rig, holder)
        async with watch(rig, first) as stream:
            while (state := await stream.next())["status"] == "waiting":
                pass
        assert not program.done()
        end(rig, state["session"]["id"])
        answer = await program
        assert (await look(rig, third))["status"] == "waiting"
        end(rig, answer["id"])
        async with watch(rig, third) as stream:
            while (state := await stream.next())["status"] == "waiting":
                pass
        assert state["status"] == "ready"


async def test_a_quiet_stream_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.0)
    async with running(max_containers=1) as rig:
        await rig.ready(1)
        await rig.spawn()
        async with watch(rig, await open_ticket(rig)) as stream:
            await stream.next()
            await stream.until(b": still here")


async def test_giving_up_and_leaving() -> None:
    async with running(max_containers=1) as rig:
        await rig.ready(1)
        await rig.spawn()
        gives_up, leaves, stays = [await open_ticket(rig) for _ in range(3)]
        async with rig.client.delete(f"/api/tickets/{gives_up['id']}") as response:
            assert (response.status, (await response.json())["status"]) == (200, "left")
        async with rig.client.get(f"/api/tickets/{gives_up['id']}") as response:
            assert response.status == 404
        async with rig.client.post(f"/api/tickets/{leaves['id']}/leave") as response:
            assert response.status == 204
        rig.claims.sweep(time.monotonic() + 60)
        assert (await look(rig, stays))["position"] == 1
        rig.claims.sweep(time.monotonic() + 121)
        assert rig.claims.waiting == 0


async def test_who_hangs_up_keeps_the_place_for_the_lease() -> None:
    async with running(max_containers=1, place_lease=30) as rig:
        await rig.ready(1)
        await rig.spawn()
        ticket = await open_ticket(rig)
        async with watch(rig, ticket) as stream:
            await stream.next()
            rig.claims.sweep(time.monotonic() + 3600)
            assert rig.claims.waiting == 1
        found = rig.claims.find(ticket["id"])
        assert found is not None
        await rig.until(lambda: found.watchers == 0)
        rig.claims.sweep(time.monotonic() + 15)
        assert rig.claims.waiting == 1
        rig.claims.sweep(time.monotonic() + 60)
        assert rig.claims.waiting == 0


async def test_trouble_and_closing_are_told_in_words() -> None:
    async with running(max_containers=1) as rig:
        await rig.ready(1)
        await rig.spawn()
        ticket = await open_ticket(rig)
        async with watch(rig, ticket) as stream:
            await stream.next()
            fail(rig.pool, Failure(FailureClass.EXITS_AT_ONCE, "Traceback: secret", time.monotonic()))
            while "No notebook can be started" not in (state := await stream.next())["message"]:
                pass
            assert state["status"] == "waiting"
            assert "you keep your place" in state["message"]
            assert b"secret" not in stream.raw
            rig.pool.close_to_newcomers()
            while "are not letting anyone new in right now" not in (state := await stream.next())["message"]:
                pass
            assert (state["status"], state["position"], state["estimate"]) == ("waiting", 1, None)
            assert "You keep your place" in state["message"]
        async with rig.client.post("/api/tickets") as response:
            assert (response.status, (await response.json())["status"]) == (503, "closed")


async def test_only_ours_and_allowed_sites_may() -> None:
    async with running(allow_origin=("https://good.example",), max_containers=1) as rig:
        await rig.ready(1)
        await rig.spawn()
        async with rig.client.post("/api/tickets", headers={"Origin": "https://evil.example"}) as response:
            assert response.status == 403
        good = {"Origin": "https://good.example"}
        ticket = await open_ticket(rig, good)
        for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/leave"), ("DELETE", "")):
            url = f"/api/tickets/{ticket['id']}{path}"
            async with rig.client.request(method, url, headers={"Origin": "https://evil.example"}) as response:
                assert response.status == 403, (method, path)
            async with rig.client.request(method, url, headers=good) as response:
                assert response.status in (200, 204), (method, path)
                assert response.headers["Access-Control-Allow-Origin"] == "https://good.example"
                assert "Set-Cookie" not in response.headers


async def test_a_wish_that_is_sent_twice_is_one_until_nothing_can_come_of_it() -> None:
    name, other = "0123456789abcdef" * 2, {"Origin": "https://a.example"}
    async with running(pool_size=1, max_containers=1, allow_origin="https://a.example") as rig:
        await rig.ready(1)
        first = await open_ticket(rig, once=name)
        assert first["key"]  # for our own pages only
        assert await open_ticket(rig, other, once=name) == {**first, "key": None}
        end(rig, first["session"]["id"])
        await rig.ready(1)
        fresh = await open_ticket(rig, once=name)
        assert fresh["session"]["id"] != first["session"]["id"]
        waiting = await open_ticket(rig, once=name[::-1])
        assert (await open_ticket(rig, once=name[::-1]))["id"] == waiting["id"]
        async with rig.client.delete(f"/api/tickets/{waiting['id']}") as response:
            assert response.status == 200
        again = await open_ticket(rig, once=name[::-1])
        assert (again["status"], again["id"] == waiting["id"]) == ("waiting", False)
        # What anybody may think of is no name.
        for bad in ("1", name.upper(), name + "0", name + name, f"{name}\n"):
            assert (await open_ticket(rig, once=bad))["id"] != (await open_ticket(rig, once=bad))["id"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "Send JSON"),
        (b"{", "Send JSON"),
        (b'{"path": "//evil.example"}', "can't be used"),
        (b'{"path": "api/kernels"}', "can't be used"),
        (b'{"workshop": "unheard-of"}', "no workshop"),
    ],
)
async def test_a_wish_that_cannot_be_granted(body: bytes, said: str) -> None:
    async with running() as rig:
        await rig.ready(1)
        async with rig.client.post("/api/tickets", data=body) as response:
            assert response.status == 400
            assert said in (await response.json())["message"]
        assert rig.pool.count(State.READY) == 1


async def test_a_stop_ends_the_streams() -> None:
    async with running(max_containers=1, shutdown_timeout=15) as rig:
        await rig.ready(1)
        await rig.spawn()
        async with watch(rig, await open_ticket(rig)) as stream:
            await stream.next()
            began = time.monotonic()
            await asyncio.gather(rig.service.stop(), stream.end())
            assert time.monotonic() - began < 15


async def test_an_engine_that_goes_down_costs_nobody_the_place() -> None:
    async with running(max_containers=1) as rig:
        await rig.ready(1)
        holder = await rig.spawn()
        ticket = await open_ticket(rig)
        rig.engine.down = True
        rig.pool.observe_soon()
        await rig.until(lambda: rig.pool.engine_down)
        late = await open_ticket(rig)
        assert (late["status"], late["position"]) == ("waiting", 2)
        end(rig, holder["id"])
        rig.engine.down = False
        async with watch(rig, ticket) as stream:
            while (state := await stream.next())["status"] == "waiting":
                pass
        assert state["status"] == "ready"


@pytest.mark.engine
async def test_with_real_containers(deployment: Deployment, small: list[str]) -> None:
    service = deployment.start(*small, "--pool-size=1", "--max-containers=1")
    await service.ready(1)
    async with service.http() as client:
        holder = await service.spawn(client)
        async with client.post("/api/tickets", json={"path": "lab/tree/x.ipynb"}) as response:
            ticket = await response.json()
        assert (ticket["status"], ticket["position"]) == ("waiting", 1)
        async with client.get(f"/api/tickets/{ticket['id']}/events") as response:
            stream = Stream(response)
            await stream.next()
            headers = {"Authorization": f"token {holder['token']}"}
            async with client.delete(f"/api/sessions/{holder['id']}", headers=headers) as ended:
                assert ended.status == 200
            while (state := await stream.next())["status"] == "waiting":
                pass
        async with client.get(state["session"]["open_url"]) as response:
            assert (response.status, (await response.json())["id"]) == (200, state["session"]["id"])
