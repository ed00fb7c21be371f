"""Connections of visitors that a front end and the orchestrator join: what ends, and what is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from tmpnb_py.engines.swarm.link.lines import Connection
from tmpnb_py.fronts import pipes


async def pair() -> tuple[Connection, socket.socket]:
    """A connection, and its far end, which reads nothing unless it is told to."""
    near, far = socket.socketpair()
    far.setblocking(False)
    return await asyncio.open_unix_connection(sock=near), far


@pytest.mark.parametrize("most", [10**9, 300_000], ids=["while-it-is-sent", "with-a-little-unsent"])
async def test_a_notebook_that_reads_nothing_holds_no_connection_that_its_visitor_has_left(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(pipes, "STALLED_SECONDS", 0.2)
    monkeypatch.setattr(pipes, "FLUSH_SECONDS", 0.1)
    (relay, visitor), (dialled, notebook) = await pair(), await pair()
    joined = asyncio.create_task(pipes.join(relay, dialled))
    sent = 0
    with contextlib.suppress(OSError):
        async with asyncio.timeout(0.1):
            while sent < most:
                await asyncio.get_running_loop().sock_sendall(visitor, bytes(10_000))
                sent += 10_000
    visitor.close()
    async with asyncio.timeout(2):
        await joined
        while await asyncio.get_running_loop().sock_recv(notebook, 100_000):
            pass
    notebook.close()


async def test_what_was_sent_last_arrives_though_who_sent_it_has_left() -> None:
    (relay, visitor), (dialled, notebook) = await pair(), await pair()
    joined = asyncio.create_task(pipes.join(relay, dialled))
    await asyncio.get_running_loop().sock_sendall(visitor, bytes(260_000))
    visitor.close()
    await asyncio.sleep(0.05)
    received = 0
    async with asyncio.timeout(5):
        while data := await asyncio.get_running_loop().sock_recv(notebook, 100_000):
            received += len(data)
        await joined
    assert received == 260_000
    notebook.close()
