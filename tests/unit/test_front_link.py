"""Which orchestrator a front end follows, where two say that they are the one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from tests.ports import free_ports
from tests.swarm.relays import make_secret
from tests.unit.test_front_hub import Pool, made
from tests.waiting import until
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.swarm.link import tls
from tmpnb_py.fronts import link as module
from tmpnb_py.fronts import wire
from tmpnb_py.fronts.hub import Hub
from tmpnb_py.fronts.link import Link
from tmpnb_py.fronts.table import Table
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings

A, B, C = "a" * 32, "b" * 32, "c" * 32


class Orchestrator:
    """A hub at a port, with sessions and a term."""

    def __init__(self, secret: Path, port: int, term: int, *ids: str) -> None:
        self.term = term
        self.site = Pool([made(one) for one in ids])
        self._secret, self._port = secret, port
        self._hub: Hub | None = None

    async def start(self) -> None:
        options = LiveOptions(Settings(front_secret=self._secret))
        self._hub = Hub(cast(Any, self.site), cast(Any, SimpleNamespace()), options, term=lambda: self.term)
        await self._hub.open([socket.create_server(("127.0.0.1", self._port))])

    async def end(self) -> None:
        if self._hub is not None:
            await self._hub.close()
        self._hub = None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACK_OFF", (0.01, 0.05))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return make_secret(tmp_path / "front.pem")


@contextlib.asynccontextmanager
async def followed(secret: Path, *ports: int) -> AsyncIterator[tuple[Link, Table, list[str]]]:
    """A front end's link and table, and what its table has dropped."""
    ended: list[str] = []

    def no_way(_: object) -> Any:
        raise ConnectionRefusedError

    table = Table(no_way, came=lambda _: None, ended=lambda one: ended.append(one.id))
    names = [f"127.0.0.1:{port}" for port in ports]
    contexts = tls.Contexts(secret, *wire.PROTOCOLS)
    link, tasks = Link(names, contexts, table, options=lambda _: None, lost=lambda: None), Tasks()
    tasks.start("link", link.run())
    try:
        yield link, table, ended
    finally:
        await tasks.close()


async def knows(table: Table, count: int) -> None:
    await until(lambda: len(table) == count, 10)


@contextlib.contextmanager
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as logs:
        yield cast(list[Any], logs)


async def test_a_front_end_never_goes_back_to_an_orchestrator_that_was_followed_by_another(secret: Path) -> None:
    """The old one answers, knows less and does not know that it was followed: for seconds, after a partition."""
    first, second = free_ports(2)
    old, new = Orchestrator(secret, first, 5, A), Orchestrator(secret, second, 9, A, B)
    with logged() as logs:
        async with followed(secret, first, second) as (link, table, ended):
            await old.start()
            await knows(table, 1)
            await old.end()  # cut off
            await new.start()
            await knows(table, 2)
            await new.end()  # a hiccup; and the old one can be reached again
            await old.start()
            await until(lambda: any(one["event"] == "orchestrator_outdated" for one in logs), 10)
            assert not link.up.is_set(), "nobody is forwarded to it either"
            new.site.containers.append(made(C))
            await new.start()
            await knows(table, 3)
            assert ended == [], "no session was dropped for a moment"
            await new.end()
            await old.end()


async def test_a_lower_term_counts_once_no_higher_one_has_been_heard_for_long(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A swarm that was made anew counts from the beginning."""
    monkeypatch.setattr(module, "_LATEST_SECONDS", 0.5)
    (port,) = free_ports(1)
    before, anew = Orchestrator(secret, port, 900, A), Orchestrator(secret, port, 3, A, B)
    async with followed(secret, port) as (_, table, _ended):
        await before.start()
        await knows(table, 1)
        await before.end()
        await anew.start()
        await knows(table, 2)
        await anew.end()


async def test_one_that_has_just_started_may_answer_before_it_has_a_term(secret: Path) -> None:
    """Its pages say that it is starting; its routes are not believed before."""
    (port,) = free_ports(1)
    before, starting = Orchestrator(secret, port, 900, A), Orchestrator(secret, port, 0, A, B)
    starting.site.listed = False
    async with followed(secret, port) as (link, table, ended):
        await before.start()
        await knows(table, 1)
        await before.end()
        await until(lambda: not link.up.is_set(), 10)
        async with asyncio.timeout(10):
            await starting.start()
            await link.up.wait()
        assert len(table) == 1
        starting.term, starting.site.listed = 901, True
        starting.site.moved(starting.site.containers[0])
        await knows(table, 2)
        assert ended == []
        await starting.end()


async def test_each_side_speaks_the_newest_version_that_both_have(secret: Path) -> None:
    (port,) = free_ports(1)
    ours = Orchestrator(secret, port, 5, A)
    await ours.start()
    old_front = tls.Contexts(secret, "tmpnb-front/1").client
    newer_front = tls.Contexts(secret, "tmpnb-front/4", *wire.PROTOCOLS).client
    for context, expected in ((old_front, "tmpnb-front/1"), (newer_front, "tmpnb-front/3")):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        assert tls.spoken(writer) == expected
        writer.close()
    await ours.end()


async def test_an_orchestrator_that_hangs_up_at_once_is_not_asked_without_a_pause(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it tells all routes: ten times a second by all front ends would be its end."""
    monkeypatch.setattr(module, "_BACK_OFF", (0.01, 10.0))
    contexts, dialled = tls.Contexts(secret, *wire.PROTOCOLS), 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        await reader.readline()
        writer.write(b'{"event":"wait"}\n')
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=contexts.server)
    async with followed(secret, server.sockets[0].getsockname()[1]) as (link, _, _ended):
        began = time.monotonic()
        await until(lambda: dialled >= 7, 20)
        assert time.monotonic() - began > 0.01 + 0.02 + 0.04 + 0.08 + 0.16, "twice as long each time"
        assert link.losses >= 6
    server.close()
