"""What a running service takes on when it reads its settings anew, and what it says of the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from tests.e2e.inprocess import Rig, running
from tests.e2e.service import Deployment
from tmpnb_py.core.models import State
from tmpnb_py.options.settings import Settings


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        yield rig


def _changed(rig: Rig, **options: Any) -> Settings:
    return rig.service.options.current.model_copy(update=options)


async def test_other_sites_come_and_go(rig: Rig) -> None:
    """And what a tokenless page started is remembered, which a restart would not do."""
    site = {"Origin": "https://old.example"}
    rig.service.reload(_changed(rig, tokenless_origin=("https://old.example",), binder_spec=("gh/org/repo",)))
    async with rig.client.post("/api/spawn", headers=site) as response:
        assert response.status == 200
        url = f"{(await response.json())['url']}x"
    for options, status in ({"tokenless_origin": ()}, None), ({"tokenless_origin": ("https://old.example",)}, 200):
        rig.service.reload(_changed(rig, **options))
        async with rig.client.get(url, headers=site) as response:
            assert ("Access-Control-Allow-Origin" in response.headers) == (status is not None)
            assert response.status == 200  # the stand-in server demands no token


async def test_the_pool_grows_and_shrinks(rig: Rig) -> None:
    rig.service.reload(_changed(rig, pool_size=3))
    await rig.ready(3)
    rig.service.reload(_changed(rig, pool_size=1))
    await rig.ready(1)


async def test_a_size_that_the_operator_set_meanwhile_stays(rig: Rig) -> None:
    rig.pool.resize(2)
    rig.service.reload(_changed(rig, max_wait=5.0))
    await rig.ready(2)
    assert rig.pool.size == 2


async def test_containers_are_renewed_and_sessions_stay(rig: Rig) -> None:
    spawned = await rig.spawn()
    await rig.ready(1)
    before = rig.pool.current_digest
    rig.service.reload(_changed(rig, mem_limit=1 << 30))
    await rig.until(lambda: [one.config_digest != before for one in rig.pool.in_state(State.READY)] == [True])
    assert rig.pool.session(spawned["id"]) is not None


async def test_limits_of_sessions_hold_at_once(rig: Rig) -> None:
    await rig.spawn()
    rig.service.reload(_changed(rig, cull_unvisited=0.2))
    await rig.until(lambda: rig.pool.count(State.CLAIMED) == 0)


async def test_token_and_waiting_and_documents(rig: Rig) -> None:
    rig.service.reload(_changed(rig, admin_auth_token=SecretStr("new0token"), max_waiting=0))
    async with rig.admin.get("/api/status") as response:
        assert response.status == 401
    async with rig.admin.get("/api/status", headers={"Authorization": "token new0token"}) as response:
        assert response.status == 200


async def test_one_line_for_each_option(rig: Rig) -> None:
    with capture_logs() as logs:
        rig.service.reload(_changed(rig, port=4711, pool_name="other", cull_max=60.0, log_level="warning"))
    lines = [(one["event"], one.get("option"), one.get("value")) for one in logs if "option" in one]
    assert lines == [
        ("option_needs_restart", "port", None),
        ("option_needs_restart", "pool_name", None),
        ("option_changed", "cull_max", "1m"),
        ("option_changed", "log_level", "warning"),
    ]
    rig.service.reload(_changed(rig, log_level="info"))


async def test_no_secret_is_logged(rig: Rig) -> None:
    with capture_logs() as logs:
        rig.service.reload(_changed(rig, admin_auth_token=SecretStr("new0token")))
    assert "new0token" not in str(logs)
    assert {"event": "option_changed", "option": "admin_auth_token", "value": "set", "log_level": "warning"} in logs


@pytest.mark.engine
async def test_sighup_reads_the_file_again(pool: str, server_image: str, tmp_path: Path) -> None:
    config = tmp_path / "t.toml"
    config.write_text("pool_size = 1\n")
    options = [f"--config={config}", f"--image={server_image}", "--mem-limit=128m"]
    options.append("--command=python3 /server.py --base {base_path} --socket {socket}")
    with Deployment(pool).ended() as deployment:
        service = deployment.start(*options)
        await service.ready(1)
        config.write_text("pool_size = 2\nport = 1\n")  # the port is given on the command line, so it stays
        service.signal(1)
        reloaded = await service.event("reloaded")
        assert (reloaded["changed"], reloaded["need_restart"]) == (1, 0)
        await service.ready(2)

        config.write_text("pool_size = many\n")
        service.signal(1)
        failed = await service.event("reload_failed")
        assert "is not valid TOML" in failed["error"]
        config.write_text("pool_size = 1\nmax_head_size = '64k'\n")
        service.signal(1)
        assert (await service.event("option_needs_restart"))["option"] == "max_head_size"
        await service.ready(1)
