"""Ways in for programs: `POST /api/tickets`, what becomes of a ticket, and `POST /api/spawn`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from tests.pool_support import fail, records_of
from tests.web_support import World, serving
from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core.errors import FailureClass
from tmpnb_py.core.models import EndReason, Failure, State
from tmpnb_py.web import cookies
from tmpnb_py.web.api import tickets
from tmpnb_py.web.api.schema import TicketState

ROBOT = {"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}
FOREIGN = {"Origin": "https://other.example"}
ONCE = "0123456789abcdef" * 2


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path, max_waiting=2) as world:
        yield world


async def open_ticket(world: World, wish: Any = None, **headers: str) -> tuple[int, dict[str, Any], Any]:
    """The status, the JSON and the headers of `POST /api/tickets`."""
    response, text = await world.ask("POST", "/api/tickets", json=wish or {}, headers=headers)
    return response.status, json.loads(text), response.headers


async def test_what_is_ready_is_given_at_once(world: World) -> None:
    world.ready("a")
    status, ticket, headers = await open_ticket(world, {"path": "lab/tree/demo.ipynb"})
    assert (status, ticket["status"], ticket["position"]) == (201, "ready", None)
    assert ticket["session"]["open_url"] == "/user/a/lab/tree/demo.ipynb?token=secret-a"
    jar = headers.getall("Set-Cookie")
    assert [one.partition("=")[0] for one in jar] == ["tmpnb-sessions", "tmpnb-place", "tmpnb-line"]
    assert all("HttpOnly" in one and "SameSite=Lax" in one and "Secure" not in one for one in jar)
    assert world.pool.count(State.CLAIMED) == 1


async def test_over_tls_cookies_are_for_tls_only(world: World) -> None:
    world.ready("a")
    _, _, headers = await open_ticket(world, **{"X-Forwarded-Proto": "https"})
    assert all("Secure" in one for one in headers.getall("Set-Cookie"))


@pytest.mark.parametrize(
    ("path", "headers", "message"),
    [
        ("/api/tickets", FOREIGN, "another site's pages"),
        ("/api/tickets", ROBOT, "Robots may read"),
        ("/api/spawn", FOREIGN, "another site's pages"),
        ("/api/spawn", ROBOT, "Robots may read"),
    ],
)
async def test_who_gets_nothing(world: World, path: str, headers: dict[str, str], message: str) -> None:
    world.ready("a")
    response, text = await world.ask("POST", path, headers=headers)
    assert (response.status, message in text) == (403, True)
    assert (world.pool.count(State.CLAIMED), world.claims.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Send JSON such as"),
        (b'{"path": 7}', "Send JSON such as"),
        (b'{"path": "../x"}', "can't be used"),
        (b'{"workshop": "sails"}', "no workshop of this name"),
    ],
)
async def test_what_cannot_be_opened(world: World, body: bytes, message: str) -> None:
    world.ready("a")
    response, text = await world.ask("POST", "/api/tickets", data=body)
    assert (response.status, message in text) == (400, True)
    assert world.pool.count(State.CLAIMED) == 0


async def test_a_workshop_opens_at_its_start(world: World) -> None:
    world.ready("a")
    _, ticket, _ = await open_ticket(world, {"workshop": "knots"})
    assert "/lab/tree/knots/First%20knot.ipynb" in ticket["session"]["open_url"]


async def test_the_session_that_a_page_has_the_key_to_is_used_again(world: World) -> None:
    container = await world.claimed("a")
    cookie, key = {"Cookie": f"tmpnb-sessions={cookies.entry(container)}"}, cookies.page_key(container)
    status, ticket, _ = await open_ticket(world, {"key": key}, **cookie)
    assert (status, ticket["session"]["id"], ticket["key"]) == (201, "a", key)
    assert "still running" in ticket["message"]
    status, problem, _ = await open_ticket(world, {"key": "another", "reload": True}, **cookie)
    assert (status, problem["status"]) == (409, "stale")
    world.ready("b")
    _, ticket, headers = await open_ticket(world, {"key": key, "fresh": True}, **cookie)
    assert ticket["session"]["id"] == "b"
    (remembered,) = [one for one in headers.getall("Set-Cookie") if one.startswith("tmpnb-sessions")]
    assert remembered.index("b-") < remembered.index("a-"), "both, the newest first"
    assert container.state is State.CLAIMED


async def test_a_fresh_one_may_come_in_the_place_of_the_old_one(world: World) -> None:
    container = await world.claimed("a")
    cookie = {"Cookie": f"tmpnb-sessions={cookies.entry(container)}"}
    world.ready("b")
    await open_ticket(world, {"fresh": True, "end": True, "key": "another's"}, **cookie)
    assert container.state is State.CLAIMED, "who has no key ends nothing"
    world.ready("c")
    await open_ticket(world, {"fresh": True, "end": True, "key": cookies.page_key(container)}, **cookie)
    assert container.reason is EndReason.ENDED_BY_OWNER


async def test_who_may_have_one_only_lets_go_of_it_first(tmp_path: Path) -> None:
    async with serving(tmp_path, max_notebooks_per_address=1) as world:
        world.ready("a")
        _, first, headers = await open_ticket(world)
        cookie = {"Cookie": headers.getall("Set-Cookie")[0].partition(";")[0]}
        world.ready("b")
        status, problem, more = await open_ticket(world, {"fresh": True}, **cookie)
        assert (status, problem["status"], "Retry-After" in more) == (429, "full", True)
        status, second, _ = await open_ticket(world, {"fresh": True, "end": True, "key": first["key"]}, **cookie)
        assert (status, second["session"]["id"]) == (201, "b")
        assert world.pool.count(State.CLAIMED) == 1
        response, _ = await world.ask("POST", "/api/spawn")
        assert response.status == 429


async def test_a_page_of_an_allowed_site_gets_one_and_is_told_of_no_other(tmp_path: Path) -> None:
    async with serving(tmp_path, allow_origin=("https://other.example",)) as world:
        container = await world.claimed("a")
        world.ready("b")
        cookie = {"Cookie": f"tmpnb-sessions={cookies.entry(container)}", **FOREIGN}
        status, ticket, headers = await open_ticket(world, {"key": cookies.page_key(container)}, **cookie)
        assert (status, ticket["session"]["id"], ticket["key"]) == (201, "b", None)
        assert "Set-Cookie" not in headers
        assert headers["Access-Control-Allow-Origin"] == "https://other.example"


async def test_one_wish_sent_twice_is_one(world: World) -> None:
    _, first, _ = await open_ticket(world, {"once": ONCE})
    _, second, _ = await open_ticket(world, {"once": ONCE})
    _, third, _ = await open_ticket(world, {"once": "made up by a page of another site"})
    assert first["id"] == second["id"] != third["id"]
    assert world.claims.waiting == 2


async def test_the_line_is_full(world: World) -> None:
    for _ in range(2):
        assert (await open_ticket(world))[1]["status"] == "waiting"
    status, problem, headers = await open_ticket(world)
    assert (status, problem["status"]) == (429, "full")
    assert int(headers["Retry-After"]) >= 1


async def test_a_closed_service_lets_nobody_new_in(world: World) -> None:
    world.ready("a")
    world.pool.close_to_newcomers()
    for path in ("/api/tickets", "/api/spawn"):
        response, text = await world.ask("POST", path)
        assert (response.status, json.loads(text)["status"]) == (503, "closed")


async def test_a_visitor_who_brings_sessions_waits_for_the_first_listing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = await world.claimed("a")
    world.ready("b")
    cookie = {"Cookie": f"tmpnb-sessions={cookies.entry(container)}"}
    monkeypatch.setattr("tmpnb_py.web.allocation._LISTING_SECONDS", 0.1)
    records_of(world.pool).listed = False
    status, problem, _ = await open_ticket(world, {}, **cookie)
    assert (status, problem["status"]) == (503, "starting")
    status, ticket, _ = await open_ticket(world)
    assert (status, ticket["session"]["id"]) == (201, "b"), "who brings none does not wait"


# --- what becomes of a ticket


async def test_a_ticket_from_its_place_in_line_to_its_end(world: World) -> None:
    _, ticket, _ = await open_ticket(world)
    assert (ticket["status"], ticket["position"]) == ("waiting", 1)
    assert ticket["message"].startswith("You are next in line.")
    path = f"/api/tickets/{ticket['id']}"
    async with world.client.get(f"{path}/events") as stream:
        assert (await stream.content.readuntil(b"\n\n")).startswith(b"retry: ")
        assert b'"waiting"' in await stream.content.readuntil(b"\n\n")
        container = world.ready("a")
        last = await stream.content.readuntil(b"\n\n")
        assert last.startswith(f"id: {ticket['id']}\ndata: ".encode())
        assert b'"ready"' in last
        assert await stream.content.read() == b""
    response, text = await world.ask("GET", path)
    assert (json.loads(text)["session"]["id"], "tmpnb-sessions" in response.cookies) == ("a", True)
    world.pool.end(container, EndReason.CRASHED, 0.0)
    _, text = await world.ask("GET", path)
    ended = json.loads(text)
    assert (ended["status"], ended["session"], ended["key"]) == ("ended", None, None)
    assert "stopped unexpectedly" in ended["message"]


async def test_a_ticket_that_is_shown_was_announced_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(
        type(world.context.site), "session_started", lambda _, container, **more: begun.append(more["workshop"])
    )
    _, ticket, _ = await open_ticket(world, {"workshop": "knots"})
    world.ready("a")
    await world.until_served()
    for _ in range(3):
        await world.ask("GET", f"/api/tickets/{ticket['id']}")
    assert begun == ["knots"]


async def test_a_change_while_an_event_is_sent_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = Ticket("lab", 0.0)
    waiting = TicketState(id=ticket.id, status="waiting", position=1, message="")
    monkeypatch.setattr(tickets, "_shown", lambda *_: waiting)
    states = tickets.states(make_mocked_request("GET", "/"), ticket)
    async with contextlib.aclosing(states):
        await anext(states)
        ticket.notify()  # while a slow client takes what was written
        async with asyncio.timeout(0.5):
            await anext(states)


async def test_giving_up(world: World) -> None:
    _, ticket, _ = await open_ticket(world)
    path = f"/api/tickets/{ticket['id']}"
    response, _ = await world.ask("POST", f"{path}/leave")
    assert (response.status, world.claims.waiting) == (204, 1)
    response, text = await world.ask("DELETE", path)
    assert (response.status, json.loads(text)["status"], world.claims.waiting) == (200, "left", 0)
    assert (await world.ask("GET", path))[0].status == 404


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("GET", "/events"), ("POST", "/leave")])
async def test_tickets_are_not_for_pages_of_other_sites(world: World, method: str, rest: str) -> None:
    _, ticket, _ = await open_ticket(world)
    response, _ = await world.ask(method, f"/api/tickets/{ticket['id']}{rest}", headers=FOREIGN)
    assert (response.status, world.claims.waiting) == (403, 1)


# --- spawn


async def test_spawn_gives_what_is_ready_or_says_when_to_come_back(world: World) -> None:
    response, text = await world.ask("POST", "/api/spawn")
    assert (response.status, json.loads(text)["status"]) == (429, "full")
    assert int(response.headers["Retry-After"]) >= 1
    world.ready("a")
    response, text = await world.ask("POST", "/api/spawn", json={"path": "lab/tree/x.ipynb"})
    spawned = json.loads(text)
    assert (response.status, spawned["url"], spawned["token"]) == (200, "/user/a/", "secret-a")
    assert spawned["open_url"] == "/user/a/lab/tree/x.ipynb?token=secret-a"
    assert "Set-Cookie" not in response.headers


async def test_spawn_waits_in_line(world: World) -> None:
    asking = asyncio.create_task(world.ask("POST", "/api/spawn?wait=30"))
    while not world.claims.waiting:
        await asyncio.sleep(0)
    world.ready("a")
    response, text = await asking
    assert (response.status, json.loads(text)["id"]) == (200, "a")


@pytest.mark.parametrize("wait", ["nan", "-1", "inf", "soon"])
async def test_a_wait_that_is_none(world: World, wait: str) -> None:
    response, text = await world.ask("POST", f"/api/spawn?wait={wait}")
    assert (response.status, "wait is a number of seconds" in text) == (400, True)


async def test_what_keeps_notebooks_from_starting_is_told_by_its_class_only(world: World) -> None:
    fail(world.pool, Failure(FailureClass.IMAGE_MISSING, "a secret of the engine", 0.0))
    response, text = await world.ask("POST", "/api/spawn")
    problem = json.loads(text)
    assert (response.status, problem["status"], problem["cause"]) == (
        503,
        "unavailable",
        FailureClass.IMAGE_MISSING.value,
    )
    assert "secret" not in text
