"""How many notebooks one client address may have, over every way to get one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.e2e.inprocess import Rig, running
from tmpnb_py.core.models import State
from tmpnb_py.options.values import read_networks

ONE, OTHER = {"X-Forwarded-For": "2001:db8:1:2::5"}, {"X-Forwarded-For": "2001:db8:1:3::5"}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A service behind a trusted proxy, which is the test, with two notebooks for each address."""
    proxies = read_networks("127.0.0.1")
    async with running(pool_size=5, max_notebooks_per_address=2, trusted_proxies=proxies) as rig:
        await rig.ready(5)
        yield rig


async def test_a_third_notebook_is_refused_on_every_way(rig: Rig) -> None:
    for suffix in ("5", "6:7"):  # two addresses of one network
        headers = {"X-Forwarded-For": f"198.51.100.9, 2001:db8:1:2::{suffix}"}
        async with rig.client.post("/api/spawn", headers=headers) as answer:
            assert answer.status == 200
    async with rig.client.post("/api/spawn", headers=ONE) as answer:
        problem = await answer.json()
        assert (answer.status, problem["status"]) == (429, "full")
        assert "no more than 2 notebooks" in problem["message"]
        assert int(answer.headers["Retry-After"]) > 0
    async with rig.client.post("/api/tickets", headers=ONE) as answer:
        assert answer.status == 429
    page = {"Accept": "text/html", "Origin": str(rig.client._base_url).rstrip("/"), **ONE}
    async with rig.client.post("/spawn", data={"path": ""}, headers=page) as answer:
        assert answer.status == 429
        assert "Enough notebooks from here" in await answer.text()
    assert rig.pool.count(State.CLAIMED) == 2
    async with rig.client.post("/api/tickets", headers=OTHER) as answer:
        assert (await answer.json())["status"] == "ready"


async def test_the_port_that_a_gateway_writes_makes_nobody_another_visitor(rig: Rig) -> None:
    """As Azure's gateway does; a visitor has another port on each connection."""
    for port, status in ((51000, 200), (51001, 200), (51002, 429)):
        async with rig.client.post("/api/spawn", headers={"X-Forwarded-For": f"203.0.113.7:{port}"}) as answer:
            assert answer.status == status
    async with rig.client.post("/api/spawn", headers={"X-Forwarded-For": "203.0.113.7"}) as answer:
        assert answer.status == 429
    async with rig.client.post("/api/spawn", headers={"X-Forwarded-For": "[2001:db8:1:2::5]:443"}) as answer:
        assert answer.status == 200


async def test_whoever_ends_one_may_have_another(rig: Rig) -> None:
    async def spawned() -> tuple[int, dict[str, str]]:
        async with rig.client.post("/api/spawn", headers=ONE) as answer:
            return answer.status, json.loads(await answer.text())

    (_, first), _ = await spawned(), await spawned()
    assert (await spawned())[0] == 429
    token = {"Authorization": f"token {first['token']}"}
    async with rig.client.delete(f"/api/sessions/{first['id']}", headers=token) as answer:
        assert answer.status == 200
    assert (await spawned())[0] == 200


async def test_the_limit_can_be_changed_and_nothing_is_kept_without_it(rig: Rig) -> None:
    options = rig.service.options.current.model_copy(update={"max_notebooks_per_address": 0})
    rig.service.reload(options)
    for _ in range(3):
        async with rig.client.post("/api/spawn", headers=ONE) as answer:
            assert answer.status == 200
    assert {one.quota_key for one in rig.pool} == {""}


async def test_programs_with_the_apis_token_are_not_held_to_it() -> None:
    async with running(pool_size=2, max_notebooks_per_address=1, api_auth_token="secret") as rig:
        await rig.ready(2)
        for _ in range(2):
            async with rig.client.post("/api/spawn", headers={"Authorization": "token secret"}) as answer:
                assert answer.status == 200
