"""Streaming, time and endings: back-pressure, deadlines, who leaves when, limits and shutdown."""

from __future__ import annotations

import asyncio
import gc
import os
import pathlib
import time

import pytest
from aiohttp import web

from tests.integration import proxy_support
from tests.integration.proxy_support import (
    Rig,
    Server,
    Wire,
    accept_websocket,
    answering,
    echo,
    request,
    response,
    soon,
    tunnel,
)
from tests.waiting import until
from tmpnb_py.core.models import Refusal
from tmpnb_py.proxy.frames import CLOSE_FOR_RESTART
from tmpnb_py.proxy.upstream import Upstream

rig = proxy_support.rig

MIB = 1024 * 1024
BIG = 200 * MIB


def resident() -> int:
    """The memory of this process in bytes."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def expire(rig: Rig, seconds: float = 1000.0) -> None:
    """The proxy's sweep, as if so much time had passed."""
    rig.proxy.sweep(time.monotonic() + seconds)


# --- streaming


async def drained_slowly(wire: Wire, size: int) -> int:
    """Read as a slow peer would: little at a time, with the memory looked at in between."""
    gc.collect()
    before, grown, left, turn = resident(), 0, size, 0
    while left:
        left -= len(await soon(wire.reader.read(min(left, 256 * 1024))))
        turn += 1
        if turn % 16 == 0:
            grown = max(grown, resident() - before)
            await asyncio.sleep(0)
    return grown


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_download_does_not_grow_the_process(rig: Rig, chunked: bool) -> None:
    await rig.start()
    block = bytes(MIB)

    async def script(wire: Wire) -> None:
        await wire.request()
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {BIG}"
        await wire.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        for _ in range(BIG // MIB):
            await wire.send(b"%x\r\n%b\r\n" % (MIB, block) if chunked else block)
        await wire.send(b"0\r\n\r\n" if chunked else b"")

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    await client.head()
    await until(lambda: any(one.state.writing_paused for one in rig.proxy.clients))
    grown = await drained_slowly(client, BIG)
    assert grown < 8 * MIB


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_upload_does_not_grow_the_process(rig: Rig, chunked: bool) -> None:
    await rig.start()
    block = bytes(MIB)
    go = asyncio.Event()
    grown: list[int] = []

    async def script(wire: Wire) -> None:
        await wire.head()
        await go.wait()
        grown.append(await drained_slowly(wire, BIG))
        await wire.send(response())
        await wire.closed()

    server = await rig.server(script)
    client = await rig.client()
    framing = "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {BIG}\r\n"

    async def upload() -> None:
        await client.send(request(server, method="PUT", headers=framing))
        for _ in range(BIG // MIB):
            await client.send(b"%x\r\n%b\r\n" % (MIB, block) if chunked else block)
        await client.send(b"0\r\n\r\n" if chunked else b"")

    uploading = asyncio.ensure_future(upload())
    await until(lambda: any(one.state.upstream_paused and not one.state.is_reading for one in rig.proxy.clients))
    go.set()
    await soon(uploading, 30)
    assert (await client.response()).status == 200
    assert grown[0] < 8 * MIB


async def test_a_large_upload_and_download_with_aiohttp(rig: Rig) -> None:
    """Our own application is a real HTTP server; both directions at once."""
    await rig.start()

    async def mirror(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": request.headers["Content-Length"]})
        await answer.prepare(request)
        async for part in request.content.iter_any():
            await answer.write(part)
        return answer

    await rig.application(mirror)
    client = await rig.client()
    body = os.urandom(MIB) * 20
    await client.send(b"POST /mirror HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body))
    writing = asyncio.ensure_future(client.send(body))
    answer = await client.response()
    await writing
    assert answer.body == body


# --- time


async def test_a_slow_head_is_answered_408(rig: Rig) -> None:
    await rig.start(head_timeout=20, keepalive_timeout=50)
    client = await rig.client()
    await client.send(b"GET / HTTP/1.1\r\nHost: t\r\n")
    await until(lambda: any(one.state.unread for one in rig.proxy.clients))
    await client.send(b"X: y\r\n")
    expire(rig, 19)
    assert rig.clients == 1
    expire(rig, 21)
    answer = await client.response()
    assert (answer.status, answer.get(b"Connection")) == (408, b"close")
    assert await client.rest() == b""


async def test_slow_clients_are_hung_up_on_while_others_are_served(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep as it runs; tests/benchmarks/slow_clients.py measures it with thousands."""
    monkeypatch.setattr("tmpnb_py.proxy.server._SWEEP_SECONDS", 0.01)
    await rig.start()
    server = await rig.server(echo)
    slow = [await rig.client(source=f"127.0.0.{2 + number % 200}") for number in range(300)]
    for number, client in enumerate(slow):
        await client.send((b"GET / HTTP/1.1\r\nHost: t\r\n", b"G", b"POST / HTTP/1.1\r\n")[number % 3])
    await until(lambda: sum(bool(one.state.unread) for one in rig.proxy.clients) == 300)
    normal = await rig.client()
    for connection in rig.proxy.clients:
        connection.deadline = 0.0 if connection.state.unread else connection.deadline
    sweeping = asyncio.ensure_future(rig.proxy.run())
    ended = asyncio.gather(*(client.response() for client in slow))
    while not ended.done():
        await normal.send(request(server))
        assert (await normal.response()).status == 200
    assert [answer.status for answer in ended.result()] == [408] * 300
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    for client in slow:
        client.close()
    await until(lambda: rig.clients == 1)


async def test_a_silent_client_is_closed_without_a_word(rig: Rig) -> None:
    await rig.start(head_timeout=20)
    client = await rig.client()
    await until(lambda: rig.clients)
    expire(rig, 21)
    assert await client.rest() == b""


async def test_an_idle_connection_is_kept_for_a_while_and_then_closed(rig: Rig) -> None:
    await rig.start(head_timeout=20, keepalive_timeout=50)
    server = await rig.server(echo)
    client = await rig.client()
    await client.send(request(server))
    await client.response()
    expire(rig, 30)
    await client.send(request(server))
    await client.response()
    expire(rig, 51)
    assert await client.rest() == b""


async def test_a_trusted_proxys_connection_is_kept_until_that_proxy_closes_it(rig: Rig) -> None:
    """Caddy and Traefik keep theirs longer than we would, also unused ones, and answer 502 if we close first."""
    await rig.start(trusted=("127.0.0.1",), head_timeout=20, keepalive_timeout=50, proxy_keepalive_timeout=3600)
    server = await rig.server(echo)
    proxy, visitor = await rig.client(), await rig.client(source="127.0.0.9")
    await until(lambda: rig.clients == 2)
    expire(rig, 3500)
    assert await visitor.rest() == b""
    for seconds in (3500, 3601):
        await proxy.send(request(server, method="PUT", body=b"x"))
        assert (await proxy.response()).status == 200
        expire(rig, seconds)
    assert await proxy.rest() == b""
    slow = await rig.client()
    await slow.send(b"GET / HTTP/1.1\r\n")
    await until(lambda: any(one.state.unread for one in rig.proxy.clients))
    expire(rig, 21)
    assert (await slow.response()).status == 408


@pytest.mark.parametrize("framing", ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_a_body_that_does_not_come_is_answered_408(rig: Rig, framing: str) -> None:
    await rig.start(body_timeout=20)

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.closed()

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, method="PUT", headers=framing) + b"5\r\nabc")
    await until(lambda: server.heard)
    expire(rig, 21)
    assert (await client.response()).status == 408
    assert await client.rest() == b""
    await until(lambda: server.open == 0)


async def test_no_answer_is_a_gateway_timeout(rig: Rig) -> None:
    await rig.start(response_timeout=20)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.closed()

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    await until(lambda: server.heard)
    expire(rig, 19)
    assert rig.clients == 1
    expire(rig, 21)
    assert (await client.response()).status == 504
    assert await client.rest() == b""
    await until(lambda: server.open == 0)


async def test_an_answer_under_way_takes_as_long_as_it_takes(rig: Rig) -> None:
    await rig.start()
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(response(b"", headers="Content-Length: 4\r\n", length=False) + b"ab")
        await go.wait()
        await wire.send(b"cd")

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    await client.head()
    assert await client.exactly(2) == b"ab"
    expire(rig, 100_000)
    go.set()
    assert await client.exactly(2) == b"cd"


async def stalled_download(rig: Rig) -> tuple[Server, Wire]:
    """A download whose client has stopped reading."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n".encode())
        while True:
            await wire.send(bytes(MIB))

    server = await rig.server(script)
    client = await rig.client(receive_buffer=4096)
    await client.send(request(server))
    await client.head()
    await until(lambda: any(one.state.writing_paused for one in rig.proxy.clients))
    return server, client


async def test_a_client_that_stops_reading_is_not_waited_for_for_ever(rig: Rig) -> None:
    await rig.start(write_timeout=20)
    server, _client = await stalled_download(rig)
    expire(rig, 19)
    assert rig.clients == 1
    expire(rig, 21)
    await until(lambda: rig.clients == 0)
    await until(lambda: server.open == 0)


async def test_a_client_that_reads_slowly_gets_its_time(rig: Rig) -> None:
    await rig.start(write_timeout=20)
    _server, client = await stalled_download(rig)
    (connection,) = rig.proxy.clients
    for _ in range(3):
        await until(lambda: connection.state.writing_paused)
        before = connection.state.buffered
        while connection.state.writing_paused and connection.state.buffered >= before:
            await client.reader.read(65536)
            await asyncio.sleep(0)
        expire(rig, 21)
        assert rig.clients == 1
    client.reset()


async def test_a_last_answer_that_nobody_reads_does_not_stay(rig: Rig) -> None:
    """The answer is complete and the connection closing, but its end is still buffered."""
    await rig.start(write_timeout=20)
    server = await rig.server(answering(response(bytes(8 * MIB))))
    client = await rig.client(receive_buffer=4096)
    await client.send(request(server, headers="Connection: close\r\n"))
    await client.head()
    await until(lambda: any(one.state.writing_paused for one in rig.proxy.clients))
    (connection,) = rig.proxy.clients
    while connection.state.has_exchange:  # the container's part is done; about 64 KiB are left to send
        await client.reader.read(65536)
        await asyncio.sleep(0)
    expire(rig, 21)
    if rig.clients:
        expire(rig, 50)
    await until(lambda: rig.clients == 0)


@pytest.mark.parametrize("tcp", [False, True])
async def test_nobody_listening_is_a_bad_gateway(rig: Rig, tcp: bool) -> None:
    await rig.start()
    server = await rig.server(echo, tcp=tcp)
    await server.stop()
    answer = await rig.ask(server, method="POST", body=b"x" * 1000)
    assert (answer.status, answer.get(b"Retry-After")) == (502, b"5")


async def test_a_dial_that_takes_too_long_is_a_gateway_timeout(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.start(connect_timeout=0.05)
    server = await rig.server(echo)

    async def connect(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("tmpnb_py.jupyter.endpoint.Endpoint.connect", connect)
    assert (await rig.ask(server)).status == 504


async def test_a_full_backlog_is_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """unix(7): connecting without blocking fails with EAGAIN while the server's backlog is full."""
    await rig.start()
    server = await rig.server(echo)
    endpoint = server.container.endpoint
    assert endpoint is not None
    connect, calls = endpoint.connect, []

    async def busy(factory: object) -> object:
        calls.append(1)
        if len(calls) < 3:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await connect(factory)  # type: ignore[arg-type]

    monkeypatch.setattr(endpoint, "connect", busy)
    assert (await rig.ask(server)).status == 200
    assert len(calls) == 3


@pytest.mark.parametrize("ends", [False, True])
async def test_however_many_wait_for_a_full_backlog_one_looks_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Anybody can stop their own server and ask it for much: that must cost the others nothing."""
    await rig.start()
    server = await rig.server(echo)
    endpoint = server.container.endpoint
    assert endpoint is not None
    connect, under_way, most, full = endpoint.connect, 0, 0, True

    async def busy(factory: object) -> object:
        nonlocal under_way, most
        if not full:
            return await connect(factory)  # type: ignore[arg-type]
        under_way += 1
        try:
            await asyncio.sleep(0.01)
            if waiting.is_set():
                most = max(most, under_way)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        finally:
            under_way -= 1

    waiting = asyncio.Event()
    monkeypatch.setattr(endpoint, "connect", busy)
    asked = [asyncio.ensure_future(rig.ask(server)) for _ in range(50)]
    await until(lambda: sum(one.state.has_exchange for one in rig.proxy.clients) == 50)
    exchange = next(iter(rig.proxy.clients))._exchange
    assert exchange is not None
    upstream = exchange.upstream
    assert isinstance(upstream, Upstream)
    await until(lambda: len(upstream._turn._waiters or ()) == 49)
    waiting.set()
    await until(lambda: most)
    assert most == 1
    if ends:
        upstream.close()
    full = False
    assert {(await one).status for one in asked} == {502 if ends else 200}


# --- who leaves when


async def test_a_client_that_leaves_while_waiting_takes_the_request_with_it(rig: Rig) -> None:
    await rig.start(write_timeout=20)

    async def script(wire: Wire) -> None:
        await wire.request()
        assert await wire.closed() == b""

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    await until(lambda: server.heard)
    client.reset()
    await until(lambda: server.open == 0)
    assert rig.clients == 0
    client = await rig.client()
    await client.send(request(server))
    await until(lambda: server.open)
    client.close()  # looks like a half-close: it is waited for, but not for long
    await until(lambda: any(one.state.half_closed for one in rig.proxy.clients))
    expire(rig, 21)
    await until(lambda: server.open == 0)


async def test_a_client_that_leaves_while_it_is_dialled_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.start()
    server = await rig.server(echo)
    dialling, cancelled = asyncio.Event(), asyncio.Event()

    async def connect(*_: object) -> None:
        dialling.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr("tmpnb_py.jupyter.endpoint.Endpoint.connect", connect)
    client = await rig.client()
    await client.send(request(server))
    await soon(dialling.wait())
    client.reset()
    await soon(cancelled.wait())
    await until(lambda: rig.clients == 0)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_in_the_middle_of_its_upload(rig: Rig, reset: bool) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.head()
        assert await wire.exactly(3) == b"abc"
        got.set()
        assert await wire.closed() == b""

    got = asyncio.Event()
    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, method="PUT", headers="Content-Length: 1000\r\n") + b"abc")
    await soon(got.wait())
    client.reset() if reset else client.close()
    await until(lambda: server.open == 0)
    await until(lambda: rig.clients == 0)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_in_the_middle_of_its_download(rig: Rig, reset: bool) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await wire.send(b"more")
            await asyncio.sleep(0.001)

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    await client.head()
    client.reset() if reset else client.close()
    await until(lambda: server.open == 0)
    await until(lambda: rig.clients == 0)


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_server_that_dies_before_its_answer(rig: Rig, tcp: bool) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        wire.reset()

    assert (await rig.ask(await rig.server(script, tcp=tcp))).status == 502


async def test_a_server_that_dies_under_a_large_upload(rig: Rig) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.head()
        wire.reset()

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, method="PUT", headers=f"Content-Length: {BIG}\r\n"))
    writing = asyncio.ensure_future(client.send(bytes(BIG)))
    answer = await client.response()
    assert (answer.status, answer.get(b"Connection")) == (502, b"close")
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    client.reset()


@pytest.mark.parametrize("reads_on", [True, False])
async def test_an_early_answer_to_a_large_upload_arrives(rig: Rig, reads_on: bool) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(response(b"too large", status="413 Content Too Large", headers="Connection: close\r\n"))
        if reads_on:
            await wire.closed()

    server = await rig.server(script)
    for _ in range(20):
        client = await rig.client()
        await client.send(request(server, method="PUT", headers=f"Content-Length: {BIG}\r\n"))
        writing = asyncio.ensure_future(client.send(bytes(8 * MIB)))
        answer = await client.response()
        assert (answer.status, answer.body) == (413, b"too large")
        assert answer.get(b"Connection") == b"close"
        assert await client.rest() == b""
        await asyncio.gather(writing, return_exceptions=True)
        client.close()
        await until(lambda: rig.clients == 0)
        await until(lambda: server.open == 0)


async def test_an_early_answer_leaves_the_next_request_unharmed(rig: Rig) -> None:
    """The container answers before it has read a body that the client has sent whole: some of it is buffered."""
    await rig.start()
    answered = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            head = await wire.head()
            while not answered.is_set() and not any(one.state.unread for one in rig.proxy.clients):
                await asyncio.sleep(0.005)
                answered.set()
            await wire.send(response(head.target[-1:]))
            await wire.exactly(int(head.get(b"Content-Length") or 0))

    server = await rig.server(script)
    for size in range(250_000, 700_000, 15_000):
        answered.clear()
        client = await rig.client()
        await client.send(request(server, "1", method="PUT", body=bytes(size)))
        answer = await client.response()
        assert answer.body == b"1"
        if answer.get(b"Connection") is None:
            await client.send(request(server, "2"))
            assert (await client.response()).body == b"2"
        client.close()


async def test_lingering_ends(rig: Rig) -> None:
    await rig.start()
    client = await rig.client()
    await client.send(b"BAD\r\n\r\n")
    assert (await client.response()).status == 400
    assert rig.clients == 1
    expire(rig, 6)
    await until(lambda: rig.clients == 0)


async def test_who_still_sends_has_more_time_to_read_the_last_answer_but_not_for_ever(rig: Rig) -> None:
    await rig.start()
    client = await rig.client()
    await client.send(b"BAD\r\n\r\n")
    assert (await client.response()).status == 400
    (connection,) = rig.proxy.clients
    connection.deadline = 0.0  # as if the time were over, but for what comes now
    await client.send(b"more")
    await until(lambda: connection.deadline)
    expire(rig, 4)
    assert rig.clients == 1
    connection._lingers_until = time.monotonic() + 1
    await client.send(b"more")
    await until(lambda: connection.deadline < time.monotonic() + 1)
    expire(rig, 2)
    await until(lambda: rig.clients == 0)


# --- sessions that end, limits, shutdown


@pytest.mark.parametrize("stage", ["dialling", "waiting", "answering", "tunnel"])
async def test_the_end_of_a_session_closes_its_connections(
    rig: Rig, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        if stage == "tunnel":
            await accept_websocket(wire)
        await wire.request()
        if stage == "answering":
            await wire.send(response(b"", headers="Content-Length: 9\r\n", length=False))
        assert await wire.closed() == b""

    server = await rig.server(script)
    if stage == "tunnel":
        client, inner = await tunnel(rig, server)
        assert server.container.open_connections == rig.counters.open_tunnels == 1
        rig.end(server.container)
        assert await inner.closed() == b""
        await until(lambda: server.container.open_connections == 0)
        assert server.container.left_at is not None
        assert await client.closed() == b""
        return
    if stage == "dialling":
        endpoint = server.container.endpoint
        assert endpoint is not None
        connect = endpoint.connect

        async def ending(factory: object) -> object:
            rig.end(server.container)
            return await connect(factory)  # type: ignore[arg-type]

        monkeypatch.setattr(endpoint, "connect", ending)
    client = await rig.client()
    await client.send(request(server))
    if stage != "dialling":
        await until(lambda: server.heard)
    if stage == "answering":
        assert (await client.head()).status == 200
    rig.end(server.container)
    if stage == "answering":
        assert await client.closed() == b""
    else:
        assert (await client.response()).status == 502
    await until(lambda: server.open == 0)


async def test_too_many_connections_are_closed_at_once(rig: Rig) -> None:
    await rig.start(max_connections=3)
    server = await rig.server(echo)
    clients = [await rig.client() for _ in range(3)]
    await until(lambda: rig.clients == 3)
    assert await (await rig.client()).closed() == b""
    assert rig.counters.refused_connections[Refusal.TOO_MANY] == 1
    clients[0].close()
    await until(lambda: rig.clients == 2)
    assert (await rig.ask(server)).status == 200


async def test_too_many_connections_of_one_address_are_closed_at_once(rig: Rig) -> None:
    await rig.start(max_connections_per_address=2)
    server = await rig.server(echo)
    first, _second = await rig.client(), await rig.client()
    await until(lambda: rig.clients == 2)
    for _ in range(3):
        assert await (await rig.client()).closed() == b""
    assert rig.counters.refused_connections[Refusal.ONE_ADDRESS] == 3
    other = await rig.client(source="127.0.0.2")
    await other.send(request(server))
    assert (await other.response()).status == 200
    first.close()
    await until(lambda: rig.clients == 2)
    assert (await rig.ask(server)).status == 200
    rig.set(max_connections_per_address=0)
    more = [await rig.client() for _ in range(5)]
    await until(lambda: rig.clients >= 7)
    rig.set(max_connections_per_address=6)
    assert await (await rig.client()).closed() == b""  # those before count, whatever the limit was then
    for client in more:
        client.close()
    await until(lambda: rig.clients <= 2)
    assert (await rig.ask(server)).status == 200


async def test_connections_of_trusted_proxies_are_not_held_to_a_limit_per_address(rig: Rig) -> None:
    await rig.start(trusted=("127.0.0.1/32",), max_connections_per_address=1)
    server = await rig.server(echo)
    clients = [await rig.client() for _ in range(5)]
    for client in clients:
        await client.send(request(server))
        assert (await client.response()).status == 200
    other = await rig.client(source="127.0.0.2")
    await other.send(request(server))
    assert (await other.response()).status == 200
    assert await (await rig.client(source="127.0.0.2")).closed() == b""
    assert rig.counters.refused_connections == {
        Refusal.TOO_MANY: 0,
        Refusal.ONE_ADDRESS: 1,
        Refusal.SHUTTING_DOWN: 0,
    }


async def test_shutdown_finishes_what_is_under_way_and_closes_the_rest(rig: Rig) -> None:
    await rig.start()
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await go.wait()
        await wire.send(response())
        await wire.closed()

    server, socket_server = await rig.server(script), await rig.server(accept_websocket)
    idle, working = await rig.client(), await rig.client()
    joined, _inner = await tunnel(rig, socket_server)
    await working.send(request(server))
    await until(lambda: server.heard)
    stopping = asyncio.ensure_future(rig.proxy.shut_down(60))
    assert await idle.rest() == b""
    assert await joined.closed() == CLOSE_FOR_RESTART
    joined.close()
    assert not stopping.done()
    go.set()
    answer = await working.response()
    assert (answer.status, answer.get(b"Connection")) == (200, b"close")
    assert await working.rest() == b""
    await soon(stopping)
    assert await (await rig.client()).closed() == b""


async def test_shutdown_ends_in_time(rig: Rig) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.closed()

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    await until(lambda: server.heard)
    began = time.monotonic()
    await rig.proxy.shut_down(0.05)
    assert time.monotonic() - began < 10
    assert rig.clients == 0
    assert await client.closed() == b""
    await until(lambda: server.open == 0)


async def test_idle_connections_to_servers_are_closed_after_a_while(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    await rig.ask(server)
    expire(rig, 59)
    await asyncio.sleep(0)
    assert server.open == 1
    expire(rig, 61)
    await until(lambda: server.open == 0)


async def test_nothing_is_left_behind(rig: Rig) -> None:
    """File descriptors, tasks and objects after many endings of every kind."""
    await rig.start()
    server = await rig.server(echo)
    await rig.ask(server)

    def count() -> int:
        return len(list(pathlib.Path("/proc/self/fd").iterdir()))

    async def one_of_each(number: int) -> None:
        client = await rig.client()
        if number % 3 == 0:
            await client.send(request(server, method="POST", body=b"x"))
            await client.response()
        elif number % 3 == 1:
            await client.send(b"BAD\r\n\r\n")
            await client.response()
        else:
            await client.send(request(server, method="PUT", headers="Content-Length: 9\r\n"))
        client.reset()

    await asyncio.sleep(0.01)
    rig.wires.clear()
    before, tasks = count(), len(asyncio.all_tasks())
    for _ in range(5):
        await soon(asyncio.gather(*(one_of_each(number) for number in range(60))))
    await until(lambda: rig.clients == 0)
    rig.wires.clear()
    expire(rig)
    await until(lambda: server.open == 0)
    await until(lambda: count() < before)
    assert len(asyncio.all_tasks()) <= tasks
