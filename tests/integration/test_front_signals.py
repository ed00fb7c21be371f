"""`tmpnb-py front` as a process: SIGHUP makes it read its options again, SIGTERM ends it."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.e2e.service import Front
from tests.ports import free_ports
from tests.swarm.relays import make_secret


async def test_a_front_end_reloads_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    secret, config = make_secret(tmp_path / "front.pem"), tmp_path / "tmpnb.toml"
    config.write_text('max_connections = 100\ntrusted_proxies = ["127.0.0.1"]\n')
    front = Front(
        ["--ip=127.0.0.1", "--port=0", "--admin-port=0", "--log-format=json", f"--config={config}",
         f"--front-orchestrator=127.0.0.1:{free_ports(1)[0]}", f"--front-secret={secret}"],
        command="front",
    )  # fmt: skip
    try:
        await front.event("front_listening")
        config.write_text('max_connections = 50\nmax_head_size = "64k"\nallowed_hosts = ["lab.example"]\n')
        front.signal(signal.SIGHUP)
        await front.event("reloaded", changed=2, need_restart=1)
        assert {one["option"] for one in front.found("option_changed")} == {"max_connections", "trusted_proxies"}
        assert [one["option"] for one in front.found("option_needs_restart")] == ["max_head_size"]
        config.write_text("max_connections = many\n")
        front.signal(signal.SIGHUP)
        await front.event("reload_failed")
        async with front.http() as client, client.get("/healthz") as response:
            assert response.status == 503, "it lives, and has no orchestrator"
        front.signal(signal.SIGTERM)
        assert front.wait() == 0
        assert front.found("front_stopped")
        assert front.other_lines == []
    finally:
        front.kill()
