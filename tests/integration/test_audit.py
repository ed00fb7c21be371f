"""The audit trail: one event when a session begins and one when it ends, complete."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.e2e.inprocess import Rig, running
from tmpnb_py.options.settings import Settings
from tmpnb_py.proxy.header_rules import Network
from tmpnb_py.web.visitor import client_address


async def _session(rig: Rig, **more: Any) -> str:
    spawned = await rig.spawn()
    async with rig.client.get(spawned["url"]):
        pass
    headers = {"Authorization": f"token {spawned['token']}"}
    async with rig.client.delete(f"/api/sessions/{spawned['id']}", headers=headers):
        pass
    return str(spawned["id"])


async def test_begin_and_end() -> None:
    async with running() as rig:
        await rig.ready(1)
        with capture_logs() as logs:
            session_id = await _session(rig)
        (started,) = [one for one in logs if one["event"] == "session_started"]
        (ended,) = [one for one in logs if one["event"] == "session_ended"]
        assert started == {
            "event": "session_started", "id": session_id, "pool": "tmpnb", "workshop": "none", "log_level": "info",
        }  # fmt: skip
        assert {name: ended[name] for name in ("id", "pool", "reason", "visited")} == {
            "id": session_id, "pool": "tmpnb", "reason": "ended by its owner", "visited": True,
        }  # fmt: skip
        began, end = (datetime.datetime.fromisoformat(ended[name]) for name in ("started", "ended"))
        assert began <= end
        assert 0 <= ended["duration"] < 60
        assert "client" not in str(logs)


async def test_a_container_that_nobody_had_is_no_session() -> None:
    with capture_logs() as logs:
        async with running() as rig:
            await rig.ready(1)
    assert {"removing", "removed"} <= {one["event"] for one in logs}
    assert "session_ended" not in {one["event"] for one in logs}


@pytest.mark.parametrize(("trusted", "client"), [((), "127.0.0.1"), (("127.0.0.1",), "203.0.113.7")])
async def test_the_clients_address_if_wanted(trusted: tuple[str, ...], client: str) -> None:
    async with running(audit_client_address=True, trusted_proxies=list(trusted)) as rig:
        await rig.ready(1)
        rig.client.headers["X-Forwarded-For"] = "198.51.100.9, 203.0.113.7"
        with capture_logs() as logs:
            await _session(rig)
        assert [one["client"] for one in logs if one["event"].startswith("session_")] == [client] * 2


def _networks(*texts: str) -> tuple[Network, ...]:
    return Settings(trusted_proxies=list(texts)).trusted_proxies  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("forwarded", "trusted", "address"),
    [
        (["1.2.3.4"], (), "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4"], (), "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4, 10.0.0.1"], ("10.0.0.0/8",), "1.2.3.4"),
        (["6.6.6.6", "1.2.3.4, 10.0.0.2, 10.0.0.1"], ("10.0.0.0/8",), "1.2.3.4"),
        (["1.2.3.4:51000"], ("10.0.0.0/8",), "1.2.3.4"),
        (["[2001:db8::1]:443, 10.0.0.2:4000, 10.0.0.1"], ("10.0.0.0/8",), "2001:db8::1"),
        (["1.2.3.4:51000, [2001:db8:9::1]:9, 10.0.0.1"], ("10.0.0.0/8", "2001:db8:9::/48"), "1.2.3.4"),
        (["10.0.0.1"], ("10.0.0.0/8",), "10.0.0.1"),
        (["nonsense, 10.0.0.1"], ("10.0.0.0/8",), "nonsense"),
        ([], (), ""),
        ([" , "], (), ""),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours(
    forwarded: list[str], trusted: tuple[str, ...], address: str
) -> None:
    assert client_address(forwarded, _networks(*trusted)) == address
