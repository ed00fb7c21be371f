"""Every line that a real service logs in its life is as the reference and the JSON Schema say."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import jsonschema
import pytest

from tests.e2e.service import Deployment, Service
from tests.e2e.test_upgrade import finally_ended, upgraded
from tests.event_reference import SCHEMA, mistakes

pytestmark = [pytest.mark.engine, pytest.mark.long]


def check(service: Service, *expected: str) -> None:
    """All lines so far, by the schema as it is published; these events are among them."""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    seen: dict[str, frozenset[str]] = {}
    for line in list(service.events):
        assert mistakes(line) == [], line
        if seen.setdefault(line["event"], frozenset()) != line.keys():
            seen[line["event"]] = frozenset(line)
            validator.validate(line)
    assert set(expected) <= seen.keys(), service.report()
    assert service.other_lines == []


async def test_a_life_with_mishaps(deployment: Deployment, small: list[str], tmp_path: Path) -> None:
    """Claims, an end, a death, a reload with a mistake and one without, an upgrade, and the service's end."""
    config = tmp_path / "tmpnb.toml"
    config.write_text("pool_size = 2\n")
    service = deployment.start(*small, f"--config={config}")
    async with finally_ended(service):
        await service.ready(2)
        async with service.http() as client:
            session = await service.spawn(client)
            async with client.get(session["url"], headers={"Authorization": f"token {session['token']}"}):
                pass
            headers = {"Authorization": f"token {session['token']}"}
            async with client.delete(f"/api/sessions/{session['id']}", headers=headers) as response:
                assert response.status == 200
            other = await service.spawn(client)
            deployment.docker("kill", deployment.docker_id(other["id"]))
            await service.event("session_ended", id=other["id"])
            async with client.get("/", headers={"Host": "elsewhere.example"}) as response:
                assert response.status == 421
        config.write_text("pool_size = many\n")
        service.signal(signal.SIGHUP)
        await service.event("reload_failed")
        config.write_text("pool_size = 1\nuser_length = 30\n")
        service.signal(signal.SIGHUP)
        await service.event("reloaded")
        await service.admin("POST", "api/close")
        await service.admin("POST", "api/open")
        await upgraded(service)
        await service.event("listening", count=2)
    check(
        service,
        *("listening", "transport_chosen", "starting", "ready", "claimed", "session_started", "session_ended"),
        *("removing", "removed", "claim_answered", "host_refused", "reload_failed", "option_changed", "reloaded"),
        *("option_needs_restart", "closed", "opened", "upgrade_started", "upgraded", "stopping", "stopped"),
    )
