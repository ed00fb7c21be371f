"""A session's owner over the API, what scrapers and probes ask, and the operator's listener."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.pool_support import records_of
from tests.web_support import World, serving
from tmpnb_py.core.models import EndReason, State


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as world:
        yield world


OWN = {"Authorization": "token secret-a"}


# --- a session


async def test_a_session_from_its_start_to_its_end(world: World) -> None:
    await world.claimed("a")
    response, text = await world.ask("GET", "/api/sessions/a")
    assert (response.status, json.loads(text)["state"]) == (200, "claimed")
    response, text = await world.ask("POST", "/api/sessions/a/keep", headers=OWN)
    assert (response.status, json.loads(text)["reason"]) == (200, None)
    response, text = await world.ask("DELETE", "/api/sessions/a", headers=OWN)
    ended = json.loads(text)
    assert (response.status, ended["reason"], ended["message"]) == (
        200,
        "ended by its owner",
        "This notebook has ended. You ended it.",
    )
    assert "secret" not in text


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "token other"}, {**OWN, "Origin": "https://other.example"}]
)
@pytest.mark.parametrize(("method", "rest"), [("DELETE", ""), ("POST", "/keep")])
async def test_only_its_owner_may(world: World, method: str, rest: str, headers: dict[str, str]) -> None:
    container = await world.claimed("a")
    before = container.last_presence
    response, _ = await world.ask(method, f"/api/sessions/a{rest}", headers=headers)
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "token")
    assert (container.state, container.last_presence) == (State.CLAIMED, before)


async def test_keeping_is_activity(world: World) -> None:
    container = await world.claimed("a")
    container.stamp_activity(0.0)
    await world.ask("POST", "/api/sessions/a/keep", headers=OWN)
    assert container.last_activity > 0
    assert container.visited


async def test_a_session_that_nobody_knows(world: World) -> None:
    world.ready("a")
    for path in ("/api/sessions/a", "/api/sessions/b"):
        assert (await world.ask("GET", path))[0].status == 404, "nobody's, or none at all"
    assert (await world.ask("DELETE", "/api/sessions/b", headers=OWN))[0].status == 404
    records_of(world.pool).listed = False
    response, _ = await world.ask("GET", "/api/sessions/b")
    assert (response.status, response.headers["Retry-After"]) == (503, "2")


# --- probes and numbers


async def test_what_probes_and_scrapers_are_told(world: World) -> None:
    assert (await world.ask("GET", "/healthz"))[0].status == 200
    response, text = await world.ask("GET", "/readyz")
    assert (response.status, json.loads(text)["status"]) == (503, "starting")
    world.ready("a")
    response, text = await world.ask("GET", "/readyz")
    assert (response.status, json.loads(text)["status"]) == (200, "ready")
    response, text = await world.ask("GET", "/metrics")
    assert (response.status, "tmpnb_waiting" in text) == (200, True)
    _, text = await world.ask("GET", "/api/stats")
    stats = json.loads(text)
    assert (stats["available"], stats["claimed"], stats["waiting"]) == (1, 0, 0)


async def test_browsers_ask_what_they_may_do(tmp_path: Path) -> None:
    async with serving(tmp_path, allow_origin=("https://other.example",)) as world:
        asks = {"Origin": "https://other.example", "Access-Control-Request-Method": "POST"}
        response, _ = await world.ask("OPTIONS", "/api/spawn", headers=asks)
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, asks["Origin"])
        response, _ = await world.ask("OPTIONS", "/user/nobody/api/kernels", headers=asks)
        assert (response.status, "DELETE" in response.headers["Access-Control-Allow-Methods"]) == (204, True)
        response, _ = await world.ask("OPTIONS", "/api/spawn", headers=asks | {"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in response.headers


# --- the operator's listener


async def test_the_operator_sees_and_ends_sessions(world: World) -> None:
    container = await world.claimed("a")
    async with world.admin.get("/api/status") as response:
        status = await response.json()
    assert (status["pool"]["claimed"], [one["id"] for one in status["sessions"]]) == (1, ["a"])
    assert "secret-a" not in json.dumps(status)
    async with world.admin.delete("/api/sessions/a") as response:
        assert (response.status, (await response.json())["reason"]) == (200, EndReason.ENDED_BY_OPERATOR.value)
    assert container.state is State.REMOVING
    async with world.admin.delete("/api/sessions/b") as response:
        assert response.status == 404


async def test_the_operator_steers_the_pool(world: World) -> None:
    world.ready("a")
    async with world.admin.post("/api/close") as response:
        assert (await response.json())["closed"] is True
    assert not world.pool.is_open
    async with world.admin.post("/api/open") as response:
        assert (await response.json())["closed"] is False
    async with world.admin.delete("/api/pool") as response:
        assert (await response.json())["drained"] == 1
    async with world.admin.patch("/api/pool", json={"size": 3}) as response:
        assert (response.status, (await response.json())["size"]) == (200, 3)
    for body in (b"", b'{"size": -1}', b'{"size": "3"}', b'{"size": 3, "more": 1}'):
        async with world.admin.patch("/api/pool", data=body) as response:
            assert response.status == 400
    async with world.admin.get("/api/pool") as response:
        assert (await response.json())["size"] == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://other.example"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
    ],
)
async def test_without_a_token_only_this_machines_own_tools_are_answered(
    world: World, headers: dict[str, str]
) -> None:
    async with world.admin.post("/api/close", headers=headers) as response:
        assert response.status == 403
    assert world.pool.is_open


async def test_with_a_token_everybody_shows_it(tmp_path: Path) -> None:
    async with serving(tmp_path, admin_auth_token="operator") as world:
        for headers, status in ((None, 401), ("token other", 401), ("token operator", 200)):
            shown = {} if headers is None else {"Authorization": headers}
            async with world.admin.get("/api/status", headers=shown) as response:
                assert response.status == status
        for path in ("/", "/api/openapi.json", "/metrics", "/healthz"):
            async with world.admin.get(path) as response:
                assert response.status == 200, "nothing secret"
