"""What the orchestrator keeps of its front ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import structlog

from tests.swarm.relays import make_secret
from tmpnb_py.core.models import State
from tmpnb_py.fronts import wire
from tmpnb_py.fronts.hub import Hub
from tmpnb_py.fronts.wire import Hello, Report, Stamp, Told
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container

NOTEBOOK = "n" * 32


class OnePool:
    """A site with one session, until it ends."""

    listed = True

    def __init__(self) -> None:
        self.container = Container(NOTEBOOK, "", "t", created_at=0, state=State.CLAIMED, claimed_at=0)
        self.pools = {"pool": self}
        self.name = "pool"

    def subscribe(self, _: object) -> None:
        pass

    def in_state(self, state: State) -> list[Container]:
        return [self.container] if self.container.state is state else []

    def find(self, _: str) -> Container:
        return self.container


async def test_of_a_session_that_has_ended_nothing_is_kept(tmp_path: Path) -> None:
    """Its WebSockets mostly are open when it ends, and no front end says anything of it afterwards."""
    secret, site = make_secret(tmp_path / "relay.pem"), OnePool()
    hub = Hub(cast(Any, site), cast(Any, SimpleNamespace()), LiveOptions(Settings(front_secret=secret)))
    listener = socket.create_server(("127.0.0.1", 0))
    await hub.open([listener])
    context = wire.Contexts(secret, wire.PROTOCOL).client
    reader, writer = await asyncio.open_connection(*listener.getsockname(), ssl=context)
    with structlog.testing.capture_logs() as logs, contextlib.ExitStack() as stack:
        stack.callback(writer.close)
        writer.write(wire.line_of(Hello(do="routes", front="f" * 32, name="front")))
        writer.write(wire.line_of(Report(stamps=(Stamp(id=NOTEBOOK, open=3),))))
        async with asyncio.timeout(10):
            await _heard(reader, "put")
            while not site.container.open_connections:
                await asyncio.sleep(0.01)
            site.container.state = State.REMOVING
            await _heard(reader, "drop")
            writer.close()
            while not any(one["event"] == "front_lost" for one in logs):
                await asyncio.sleep(0.01)
    await hub.close()
    assert [one["open"] for one in logs if one["event"] == "front_lost"] == [0]


async def _heard(reader: asyncio.StreamReader, event: str) -> None:
    while Told.model_validate_json(await reader.readline()).event != event:
        pass
