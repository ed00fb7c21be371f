"""What the orchestrator keeps of its front ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from tests.swarm.relays import make_secret
from tests.waiting import until
from tmpnb_py.core.models import State
from tmpnb_py.engines.swarm.link import lines, tls
from tmpnb_py.fronts import wire
from tmpnb_py.fronts.hub import Hub
from tmpnb_py.fronts.wire import Hello, Report, Stamp, Told
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.tracing.spans import NO_SPAN
from tmpnb_py.tracing.visits import Visit

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
NOTEBOOK = "n" * 32


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Pool:
    """A site with a pool of sessions."""

    listed = True

    def __init__(self, containers: list[Container]) -> None:
        self.containers = containers
        self.pools = {"pool": self}
        self.name = self.engine_name = "pool"
        self._subscriber: Callable[[Any], None] = lambda _: None

    def subscribe(self, subscriber: Callable[[Any], None]) -> None:
        self._subscriber = subscriber

    def moved(self, container: Container) -> None:
        self._subscriber(container)

    def get(self, container_id: str) -> Container | None:
        return self.find(container_id)

    def in_state(self, state: State) -> list[Container]:
        return [one for one in self.containers if one.state is state]

    def find(self, container_id: str) -> Container | None:
        return next((one for one in self.containers if one.id == container_id), None)


@contextlib.asynccontextmanager
async def open_hub(tmp_path: Path, site: Pool, **more: Any) -> AsyncIterator[Callable[..., Awaitable[Stream]]]:
    """Gives what opens a front end's connection."""
    secret = make_secret(tmp_path / "relay.pem")
    hub = Hub(cast(Any, site), cast(Any, SimpleNamespace()), LiveOptions(Settings(front_secret=secret)), **more)
    listener = socket.create_server(("127.0.0.1", 0))
    await hub.open([listener])
    writers: list[asyncio.StreamWriter] = []

    async def connect(*protocols: str, front: str = "f" * 32, hello: Hello | None = None) -> Stream:
        context = tls.Contexts(secret, *(protocols or wire.PROTOCOLS)).client
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)  # else it has room for all that is told
        sock.connect(listener.getsockname())
        reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="")
        writers.append(writer)
        writer.write(lines.line_of(hello or Hello(do="routes", front=front, name="front")))
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        await hub.close()


def made(container_id: str, **more: Any) -> Container:
    return Container(container_id, "", "t", created_at=0, state=State.CLAIMED, claimed_at=0, **more)


async def test_a_session_that_no_route_can_say_keeps_no_other_from_front_ends(tmp_path: Path) -> None:
    """An odd container (here of a token that no header can carry) once ended the task that tells of all."""
    site = Pool([made("a" * 32), made("b" * 32, base_url="no base")])
    async with open_hub(tmp_path, site) as connect:
        with structlog.testing.capture_logs() as logs:
            reader, _ = await connect()
            assert await _ids(reader) == ["a" * 32]
            site.containers.append(made("c" * 32))
            site.moved(site.containers[2])
            assert await _ids(reader) == ["c" * 32], "it goes on"
            site.containers[1].base_url = "/"
            site.containers[1].admit("https://a.example")
            site.moved(site.containers[1])
            assert await _ids(reader) == ["b" * 32], "and looks again once the session has changed"
        assert [one["id"] for one in logs if one["event"] == "route_invalid"] == ["b" * 32], "said once"


async def test_a_front_end_that_reports_without_end_holds_up_nobody(tmp_path: Path) -> None:
    """Unknown sessions, as fast as it can: others are told and heard as ever, and the loop has time."""
    site = Pool([made(NOTEBOOK)])
    flood = lines.line_of(Report(stamps=tuple(Stamp(id=f"x{number}", open=9) for number in range(wire.MOST_STAMPS))))
    async with open_hub(tmp_path, site) as connect:
        _, flooding = await connect(front="e" * 32)

        async def pour() -> None:
            while True:
                flooding.write(flood)
                await flooding.drain()

        pouring = asyncio.create_task(pour())
        await asyncio.sleep(0.3)
        reader, writer = await connect()
        writer.write(lines.line_of(Report(stamps=(Stamp(id=NOTEBOOK, open=3),))))
        async with asyncio.timeout(10):
            while not site.containers[0].open_connections:
                await asyncio.sleep(0)
            await _heard(reader, "put")
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)


async def test_a_front_end_that_reads_nothing_is_hung_up_on_and_others_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "WRITE_SECONDS", 0.5)
    site = Pool([made(f"{number:032x}") for number in range(20_000)])
    for one in site.containers:
        one.token = "t" * 250  # all of them are more than the kernel keeps for who does not read
    async with open_hub(tmp_path, site) as connect:
        with structlog.testing.capture_logs() as logs:
            await connect(front="e" * 32)
            reader, _ = await connect()
            async with asyncio.timeout(wire.SILENCE_SECONDS - 1):  # after which it would be lost anyhow
                await _heard(reader, "alive")
                await until(lambda: any(one["event"] == "front_lost" for one in logs))


async def test_terms_and_traces_are_told_to_those_who_know_them(tmp_path: Path) -> None:
    """A front end of a version before would refuse a message with one."""
    site, term = Pool([made(NOTEBOOK)]), 7
    site.containers[0].trace(Visit(NO_SPAN, TRACE))
    spoken = {wire.PROTOCOLS: (7, TRACE), wire.PROTOCOLS[1:]: (7, ""), wire.PROTOCOLS[2:]: (0, "")}
    async with open_hub(tmp_path, site, term=lambda: term) as connect:
        for protocols, (expected, trace) in spoken.items():
            reader, _ = await connect(*protocols)
            told = [Told.model_validate_json(await reader.readline()) for _ in range(4)]
            assert [one.event for one in told] == ["options", "snapshot", "put", "alive"]
            assert [one.term for one in told] == [expected, expected, 0, expected]
            assert told[2].route is not None
            assert told[2].route.trace == trace
        with contextlib.suppress(OSError):
            reader, _ = await connect("tmpnb-front/4")
            assert await reader.read() == b""


async def test_front_ends_are_told_that_a_session_is_traced(tmp_path: Path) -> None:
    """Whether they know the session already, or of another version."""
    site = Pool([made(NOTEBOOK)])
    async with open_hub(tmp_path, site) as connect:
        reader, _ = await connect()
        old, _ = await connect(*wire.PROTOCOLS[1:], front="e" * 32)
        assert (await _heard(reader, "put")).route == (await _heard(old, "put")).route
        site.containers[0].trace(Visit(NO_SPAN, TRACE))
        site.moved(site.containers[0])
        traced, untraced = (await _heard(reader, "put")).route, (await _heard(old, "put")).route
        assert traced is not None
        assert untraced is not None
        assert (traced.trace, untraced.trace) == (TRACE, "")


async def test_of_a_session_that_has_ended_nothing_is_kept(tmp_path: Path) -> None:
    """Its WebSockets mostly are open when it ends, and no front end says anything of it afterwards."""
    site = Pool([made(NOTEBOOK)])
    with structlog.testing.capture_logs() as logs:
        async with open_hub(tmp_path, site) as connect:
            reader, writer = await connect()
            writer.write(lines.line_of(Report(stamps=(Stamp(id=NOTEBOOK, open=3),))))
            [container] = site.containers
            async with asyncio.timeout(10):
                await _heard(reader, "put")
                await until(lambda: container.open_connections)
                container.state = State.REMOVING
                await _heard(reader, "drop")
                writer.close()
                await until(lambda: any(one["event"] == "front_lost" for one in logs))
    assert [one["open"] for one in logs if one["event"] == "front_lost"] == [0]


async def _ids(reader: asyncio.StreamReader) -> list[str]:
    """Which routes are told until all are."""
    found: list[str] = []
    async with asyncio.timeout(10):
        while (told := Told.model_validate_json(await reader.readline())).event != "alive":
            if told.route is not None:
                found.append(told.route.id)
        return found or await _ids(reader)


async def _heard(reader: asyncio.StreamReader, event: str) -> Told:
    while (told := Told.model_validate_json(await reader.readline())).event != event:
        pass
    return told
