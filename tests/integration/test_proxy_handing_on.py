"""Requests that are held back, connections that another process takes over, and the end that clients are told of."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.integration import proxy_support
from tests.integration.proxy_support import HANDSHAKE, Rig, Server, Wire, answering, echo, request, response, soon
from tests.waiting import until
from tmpnb_py.proxy.client import Given
from tmpnb_py.proxy.counters import Counters
from tmpnb_py.proxy.frames import CLOSE_FOR_RESTART
from tmpnb_py.proxy.server import Proxy

rig = proxy_support.rig
_QUIET = 0.05  # seconds in which nothing comes


@contextlib.asynccontextmanager
async def other(rig: Rig) -> AsyncIterator[Proxy]:
    """Another proxy, which is to go on."""
    proxy = rig.another_proxy(Counters())
    yield proxy
    for wire in rig.wires:
        wire.close()
    await until(lambda: not proxy.clients)
    await proxy.shut_down(1)


async def _silent(wire: Wire) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wire.reader.read(1), _QUIET)


async def _hand_on(rig: Rig, proxy: Proxy) -> int:
    given: list[Given] = []
    rig.proxy.hand_on(given.append)
    for one in given:
        await proxy.take_on(one)
    return len(given)


async def _answered_once(rig: Rig) -> tuple[Server, Wire]:
    """A notebook, and a client that keeps its connection after the first answer."""
    await rig.start()
    server = await rig.server(echo)
    client = await rig.client()
    await client.send(request(server, "one"))
    assert (await client.response()).status == 200
    return server, client


async def test_what_is_held_back_is_answered_later(rig: Rig) -> None:
    server, client = await _answered_once(rig)
    rig.proxy.hold(on=True)
    await client.send(request(server, "two"))
    await _silent(client)
    rig.proxy.hold(on=False)
    assert b"/two" in (await client.response()).body


@pytest.mark.parametrize("size", [0, 1, 20, 10_000])
async def test_another_process_answers_what_was_half_read(rig: Rig, size: int) -> None:
    """`size` bytes of the request have been read when requests begin to be held back."""
    server, client = await _answered_once(rig)
    message = request(server, "two")
    begun = message[: min(size, len(message) - 1)]
    if begun:
        await client.send(begun)
        await until(lambda: rig.proxy.clients[0].state.unread == len(begun))
    rig.proxy.hold(on=True)
    await client.send(message[len(begun) :])
    async with other(rig) as proxy:
        assert await _hand_on(rig, proxy) == 1
        assert b"/two" in (await client.response()).body
        assert proxy.counters.responses[2] == 1
        await until(lambda: not rig.clients)
        await client.send(request(server, "three"))
        assert b"/three" in (await client.response()).body


@pytest.mark.parametrize("chunked", [False, True])
async def test_who_waits_for_us_is_handed_on_with_the_request(rig: Rig, chunked: bool) -> None:
    """The first handler waits for ever, as for a notebook; the second one answers."""
    asked: list[tuple[str, bytes, str]] = []
    cancelled = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        asked.append((request.path_qs, await request.read(), request.headers["X-Mine"]))
        if len(asked) == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return web.Response(text="served")

    await rig.start()
    await rig.application(handler)
    client = await rig.client()
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 7"
    body = b"3\r\nfir\r\n4\r\nst!!\r\n0\r\n\r\n" if chunked else b"first!!"
    await client.send(b"POST /api/spawn?wait=9 HTTP/1.1\r\nHost: t\r\nX-Mine: 1\r\n%b\r\n\r\n%b" % (framing, body))
    await until(lambda: asked)
    assert rig.proxy.clients[0].waits_for_us
    rig.proxy.hold(on=True)
    await rig.proxy.answered(_QUIET)
    async with other(rig) as proxy:
        assert await _hand_on(rig, proxy) == 1
        assert (await client.response()).body == b"served"
        await soon(cancelled.wait())
        assert asked == [("/api/spawn?wait=9", b"first!!", "1")] * 2


async def test_what_is_under_way_is_finished_first(rig: Rig) -> None:
    """An answer that has begun, and a request to a notebook, which must not be sent twice."""
    await rig.start()
    go_on = asyncio.Event()

    async def slow(wire: Wire) -> None:
        message = await wire.request()
        if message.target.endswith(b"begun"):
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbe")
        await go_on.wait()
        await wire.send(b"un" if message.target.endswith(b"begun") else response(b"done"))

    server = await rig.server(slow)
    begun, waiting = await rig.client(), await rig.client()
    await begun.send(request(server, "begun"))
    await begun.head()
    await waiting.send(request(server, "waiting", method="POST"))
    await until(lambda: len(server.errors) == 0 and rig.counters.responses[2] == 1)
    rig.proxy.hold(on=True)
    async with other(rig) as proxy:
        assert await _hand_on(rig, proxy) == 0
        go_on.set()
        assert await begun.exactly(4) == b"beun"
        assert (await waiting.response()).body == b"done"
        await until(lambda: not any(client.state.has_exchange for client in rig.proxy.clients))
        assert await _hand_on(rig, proxy) == 2


async def test_where_no_descriptor_is_free_a_connection_stays_until_there_is_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = await _answered_once(rig)
    rig.proxy.hold(on=True)

    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, "none is free")

    async with other(rig) as proxy:
        with monkeypatch.context() as lacking:
            lacking.setattr(os, "dup", refuse)
            assert await _hand_on(rig, proxy) == 0
        assert await _hand_on(rig, proxy) == 1
        await client.send(request(server, "two"))
        assert b"/two" in (await client.response()).body


async def test_what_is_no_socket_is_closed_and_nobody_is_served(rig: Rig) -> None:
    await rig.start()
    reading, writing = os.pipe()
    await rig.proxy.take_on(Given(writing, b""))
    assert os.read(reading, 1) == b""  # closed
    os.close(reading)
    assert not rig.proxy.clients


async def test_a_websocket_stays_and_is_closed_for_a_restart(rig: Rig) -> None:
    await rig.start()

    async def talking(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi")  # fmt: skip
        await wire.send(await wire.exactly(4))
        await wire.reader.read()

    server = await rig.server(talking)
    whole, half = await rig.client(), await rig.client()
    for client in (whole, half):
        await client.send(request(server, headers=HANDSHAKE))
        await client.head()
        assert await client.exactly(4) == b"\x81\x02hi"
    await whole.send(b"\x81\x02ab")
    await half.send(b"\x81\x7dab")  # the echo is the beginning of a longer frame
    assert await whole.exactly(4) == b"\x81\x02ab"
    assert await half.exactly(4) == b"\x81\x7dab"
    rig.proxy.hold(on=True)
    async with other(rig) as proxy:
        assert await _hand_on(rig, proxy) == 0
        await rig.proxy.shut_down(1)
        assert await whole.rest() == CLOSE_FOR_RESTART
        assert await half.rest() == b""  # nothing can be said within a frame


async def test_an_idle_connection_may_still_ask_once_at_the_end(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(answering(response()))
    asking, idle = await rig.client(), await rig.client()
    for client in (asking, idle):
        await client.send(request(server))
        await client.response()
    ending = asyncio.create_task(rig.proxy.shut_down(30, patience=0.5))
    sweeping = asyncio.create_task(rig.proxy.run())
    await asyncio.sleep(0)
    await asking.send(request(server))
    answer = await asking.response()
    assert (answer.status, answer.get(b"Connection")) == (200, b"close")
    assert await idle.rest() == b""
    await soon(ending)
    sweeping.cancel()
