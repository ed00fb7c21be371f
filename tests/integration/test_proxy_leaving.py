"""Clients that leave without a word, or hold a connection with next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
import time
from collections.abc import AsyncIterator

import pytest

from tests.fuzz.memory import TARGET, Container, Memory, Request

_REQUEST = b"GET %b HTTP/1.1\r\nHost: t\r\n\r\n" % TARGET


def _begin_to_answer(container: Container, _: Request) -> None:
    """A head and a first chunk, and then silence."""
    container.transport.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")


@contextlib.asynccontextmanager
async def listening(memory: Memory) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(memory.proxy.client_factory, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await memory.proxy.shut_down(1.0)


async def _ask(port: int, data: bytes) -> socket.socket:
    loop, client = asyncio.get_running_loop(), socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, data)
    assert await loop.sock_recv(client, 65536)
    return client


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def _until_nobody_is_left(memory: Memory) -> None:
    async with asyncio.timeout(60):
        while memory.counters.open_connections:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("extra", [b"", b"G", b"\r\n", b"\r", _REQUEST, _REQUEST * 20])
async def test_one_that_has_left_something_behind_is_noticed(extra: bytes) -> None:
    memory = Memory()
    memory.respond = _begin_to_answer
    async with listening(memory) as port:
        _reset(await _ask(port, _REQUEST + extra))
        await _until_nobody_is_left(memory)


async def test_one_that_has_left_too_much_behind_is_given_the_time_of_a_write() -> None:
    """It is not read from, so nobody can tell whether it is still there."""
    memory = Memory(write_timeout=60.0)
    memory.respond = _begin_to_answer
    async with listening(memory) as port:
        client = await _ask(port, _REQUEST + _REQUEST * 200)
        memory.proxy.sweep(time.monotonic() + 50)
        assert memory.counters.open_connections == 1
        _reset(client)
        memory.proxy.sweep(time.monotonic() + 61)  # it was written to since
        memory.proxy.sweep(time.monotonic() + 61)
        await _until_nobody_is_left(memory)


async def test_one_that_waits_for_a_long_answer_may_wait() -> None:
    memory = Memory()
    memory.respond = _begin_to_answer
    async with listening(memory) as port:
        client = await _ask(port, _REQUEST)
        memory.proxy.sweep(time.monotonic() + 86400)
        await asyncio.sleep(0.1)
        assert memory.counters.open_connections == 1
        client.close()


async def test_an_empty_line_before_a_request_is_ignored_and_no_more() -> None:
    memory = Memory()
    seen = await memory.visit(b"\r\n" + _REQUEST + b"\r\n" + _REQUEST)
    assert len(seen.requests) == 2
    assert seen.answer.count(b"\r\n\r\nfine") == 2
    for data in (b"\r\n\r\n" + _REQUEST, b"\r\n\r", b"\r\n" * 100_000):
        seen = await memory.visit(data)
        assert seen.requests == []
        assert seen.answer.startswith(b"HTTP/1.1 400 ")


async def test_empty_lines_do_not_win_time() -> None:
    memory = Memory(head_timeout=15.0)
    _, transport = memory.client()
    protocol = transport.get_protocol()
    started = protocol.deadline  # type: ignore[attr-defined]  # what the sweep looks at
    assert started != math.inf
    for piece in (b"\r", b"\n"):
        transport.feed(piece)
        await memory.settle()
    assert protocol.deadline - started < 1  # type: ignore[attr-defined]
    transport.feed(b"\r")
    await memory.settle()
    assert transport.lost or transport.closing or memory.counters.responses[4] == 1
    transport.vanish()
    await memory.settle()
