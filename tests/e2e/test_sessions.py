"""What a session's owner may ask and say of it: its limits, "keep it", "end it"."""

from __future__ import annotations

import datetime
import itertools
import time
import types
from typing import Any

import pytest

from tests.e2e.inprocess import Rig, running
from tests.pool_support import reaper_of, rewind
from tmpnb_py.engines.fake import FakeHost

HOUR = 3600.0


def _token(spawned: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"token {spawned['token']}"}


async def _ask(rig: Rig, spawned: dict[str, Any]) -> dict[str, Any]:
    async with rig.client.get(f"/api/sessions/{spawned['id']}") as response:
        assert response.status == 200
        assert response.headers["Date"]  # whoever shows a countdown compares with this clock
        return dict(await response.json())


def _rewind(rig: Rig, spawned: dict[str, Any], seconds: float) -> None:
    """As if the session had been claimed, and last used, that much earlier."""
    container = rig.pool.get(spawned["id"])
    assert container is not None
    assert container.claimed_at is not None
    container.stamp_presence(container.claimed_at)
    rewind(container, seconds)


def _seconds(later: str, earlier: str) -> float:
    moments = [datetime.datetime.fromisoformat(one) for one in (later, earlier)]
    return (moments[0] - moments[1]).total_seconds()


async def test_its_limits_are_told() -> None:
    async with running(cull_timeout=HOUR, cull_max=4 * HOUR) as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        told = await _ask(rig, spawned)
        assert (told["state"], told["idle_timeout"]) == ("claimed", HOUR)
        assert abs(_seconds(told["ends_at"], told["started"]) - 4 * HOUR) <= 1
    async with running(cull_timeout=0, cull_max=0, cull_disconnected=0, cull_unvisited=0) as rig:
        await rig.ready(1)
        told = await _ask(rig, await rig.spawn())
        assert (told["expires_at"], told["ends_at"], told["idle_timeout"]) == (None, None, None)


async def test_one_answer_tells_by_one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has done anything yet: the latest activity is the start, though the clock is set while it is told."""
    clock = itertools.count(time.time(), -1)
    async with running() as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        set_back = types.SimpleNamespace(time=lambda: next(clock), monotonic=time.monotonic)
        monkeypatch.setattr("tmpnb_py.web.api.views.time", set_back)
        told = await _ask(rig, spawned)
    assert told["started"] == told["last_activity"]


async def test_asking_is_no_activity_and_keeping_is() -> None:
    async with running(cull_timeout=HOUR, cull_disconnected=0, cull_max=0) as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        _rewind(rig, spawned, HOUR / 2)
        before = await _ask(rig, spawned)
        assert await _ask(rig, spawned) == before
        async with rig.client.post(f"/api/sessions/{spawned['id']}/keep", headers=_token(spawned)) as response:
            assert response.status == 200
            kept = await response.json()
        assert abs(_seconds(kept["expires_at"], before["expires_at"]) - HOUR / 2) < 60


async def test_keeping_does_not_outlast_the_longest_time() -> None:
    async with running(cull_timeout=HOUR, cull_max=HOUR) as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        _rewind(rig, spawned, HOUR - 1)
        async with rig.client.post(f"/api/sessions/{spawned['id']}/keep", headers=_token(spawned)) as response:
            kept = await response.json()
        assert kept["expires_at"] == kept["ends_at"]
        _rewind(rig, spawned, 2)
        await reaper_of(rig.pool).reap_once()
        assert (await _ask(rig, spawned))["reason"] == "time up"


async def test_only_its_owner_keeps_it() -> None:
    site = "https://example.org"
    async with running(pool_size=2, allow_origin=site) as rig:
        await rig.ready(2)
        spawned, other = await rig.spawn(), await rig.spawn()
        path = f"/api/sessions/{spawned['id']}/keep"
        own = _token(spawned)
        for headers, status in (
            ({}, 401),
            (_token(other), 401),
            ({**own, "Origin": "https://evil.example"}, 401),
            ({**own, "Sec-Fetch-Site": "cross-site"}, 401),
            ({**own, "Origin": site}, 200),
            (own, 200),
        ):
            async with rig.client.post(path, headers=headers) as response:
                assert response.status == status, headers
        async with rig.client.get(path, headers=own) as response:
            assert response.status == 405
        async with rig.client.post("/api/sessions/unknown/keep", headers=own) as response:
            assert response.status == 404
        # The API's token stands for every session's, and the session's own opens the API for itself.
    async with running(api_auth_token="api0secret") as rig:
        await rig.ready(1)
        async with rig.client.post("/api/spawn", headers={"Authorization": "token api0secret"}) as response:
            spawned = await response.json()
        for headers, status in (({}, 401), (_token(spawned), 200), ({"Authorization": "token api0secret"}, 200)):
            async with rig.client.post(f"/api/sessions/{spawned['id']}/keep", headers=headers) as response:
                assert response.status == status, headers


async def test_what_was_kept_and_ended_says_why() -> None:
    async with running() as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        async with rig.client.delete(f"/api/sessions/{spawned['id']}", headers=_token(spawned)) as response:
            assert (await response.json())["reason"] == "ended by its owner"
        async with rig.client.post(f"/api/sessions/{spawned['id']}/keep", headers=_token(spawned)) as response:
            assert response.status in (200, 404)  # by then it may have been removed
        assert (await _ask(rig, spawned))["reason"] == "ended by its owner"


async def test_until_the_engine_was_listed_no_session_is_said_to_be_gone() -> None:
    async with FakeHost() as host:
        host.down = True
        async with running(host, cleanup_on_exit=False) as rig:
            for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/keep")):
                async with rig.client.request(method, f"/api/sessions/abc{path}") as response:
                    assert (response.status, response.headers["Retry-After"]) == (503, "2")
            host.down = False
            await rig.until(lambda: rig.pool.listed)
            async with rig.client.get("/api/sessions/abc") as response:
                assert response.status == 404
