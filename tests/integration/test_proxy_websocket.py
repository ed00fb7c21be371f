"""WebSockets through the proxy: the handshake, the bytes both ways, every ending, and what counts as activity."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import aiohttp
import pytest
from aiohttp import web

from tests.integration import proxy_support
from tests.integration.proxy_support import (
    HANDSHAKE,
    SWITCHING,
    Rig,
    Wire,
    accept_websocket,
    answering,
    echo,
    frame,
    request,
    response,
    soon,
    tunnel,
)
from tests.integration.test_proxy_flow import BIG, MIB, drained_slowly, expire
from tests.waiting import until

rig = proxy_support.rig

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


async def test_the_handshake_is_passed_on_with_its_subprotocol(rig: Rig) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        message = await wire.request()
        assert message.get(b"Upgrade") == b"websocket"
        assert message.get(b"Connection") == b"Upgrade"
        assert message.get(b"Sec-WebSocket-Key") == b"dGhlIHNhbXBsZSBub25jZQ=="
        assert message.get(b"Sec-WebSocket-Protocol") == b"a, b"
        assert message.get(b"X-Forwarded-For") == b"127.0.0.1"
        await wire.send(SWITCHING.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: b\r\n\r\nfirst"))
        assert await wire.exactly(5) == b"hello"
        await wire.send(b"bye")

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, "ws", headers=HANDSHAKE + "Sec-WebSocket-Protocol: a, b\r\n"))
    answer = await client.head()
    assert answer.start_line == b"HTTP/1.1 101 Switching Protocols"
    assert answer.get(b"Sec-WebSocket-Protocol") == b"b"
    assert (answer.get(b"Connection"), answer.get(b"Upgrade")) == (b"Upgrade", b"websocket")
    assert await client.exactly(5) == b"first"
    await client.send(b"hello")
    assert await client.rest() == b"bye"
    assert rig.counters.responses[1] == 1


async def test_a_real_websocket(rig: Rig) -> None:
    """aiohttp's client and server, over a container's path and over our own application."""
    await rig.start()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["v1"])
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data[::-1])
        return socket

    await rig.application(handler)
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{rig.port}/anything"
        async with session.ws_connect(url, protocols=["v1"]) as socket:
            assert socket.protocol == "v1"
            for size in (1, 125, 126, 65535, 65536, 1_000_000):
                await socket.send_str("ab" * size)
                assert (await socket.receive_str(timeout=60)) == "ba" * size
            assert rig.counters.open_tunnels == 1
    await until(lambda: rig.counters.open_tunnels == 0)


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "426 Upgrade Required"])
async def test_a_refusal_is_passed_on_with_its_body(rig: Rig, status: str) -> None:
    """Frames that came early must not be read as a request, so the connection ends."""
    await rig.start()
    server = await rig.server(answering(response(b"no kernel", status=status)))
    client = await rig.client()
    await client.send(request(server, "ws", headers=HANDSHAKE) + request(server, "smuggled"))
    answer = await client.response()
    assert (answer.status, answer.body, answer.get(b"Connection")) == (int(status[:3]), b"no kernel", b"close")
    assert await client.rest() == b""
    assert server.container.open_connections == 0
    assert rig.counters.open_tunnels == 0


_ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (_ACCEPT, b""),
        (_ACCEPT, _ACCEPT * 2),
        (_ACCEPT, b"Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        (_ACCEPT, b"Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n"),  # of another key
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Connection: Upgrade", b"Connection: close"),
    ],
)
async def test_who_does_not_understand_the_handshake_gets_no_connection(rig: Rig, old: bytes, new: bytes) -> None:
    await rig.start()
    server = await rig.server(answering(SWITCHING.replace(old, new)))
    client = await rig.client()
    await client.send(request(server, "ws", headers=HANDSHAKE))
    assert (await client.response()).status == 502
    await until(lambda: server.open == 0)
    assert rig.counters.open_tunnels == 0


async def test_frames_sent_early_wait_for_the_101(rig: Rig) -> None:
    await rig.start()
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await go.wait()
        assert not wire.reader._buffer  # type: ignore[attr-defined]
        await wire.send(SWITCHING)
        assert await wire.exactly(len(early)) == early
        await wire.send(b"got it")
        await wire.closed()

    early = b"".join(frame(BINARY, bytes(1000)) for _ in range(1000))
    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, "ws", headers=HANDSHAKE) + early[:500])
    sending = asyncio.ensure_future(client.send(early[500:]))
    await until(lambda: server.heard)
    await until(lambda: any(not one.state.is_reading for one in rig.proxy.clients))
    go.set()
    await client.head()
    assert await client.exactly(6) == b"got it"
    await sending


async def test_a_client_that_leaves_before_the_101(rig: Rig) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        assert await wire.closed() == b""

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, "ws", headers=HANDSHAKE))
    await until(lambda: server.heard)
    client.reset()
    await until(lambda: server.open == 0)
    assert rig.counters.open_tunnels == server.container.open_connections == 0


async def test_a_client_that_half_closes_before_the_101(rig: Rig) -> None:
    await rig.start()
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await go.wait()
        await wire.send(SWITCHING)
        assert await wire.closed() == b""
        await wire.send(b"last words")

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, "ws", headers=HANDSHAKE))
    client.half_close()
    await until(lambda: any(one.state.half_closed for one in rig.proxy.clients))
    go.set()
    await client.head()
    assert await client.rest() == b"last words"
    await until(lambda: server.container.open_connections == 0)


async def test_a_101_that_comes_too_late(rig: Rig) -> None:
    await rig.start(response_timeout=20)
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await go.wait()
        await wire.send(SWITCHING)

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, "ws", headers=HANDSHAKE))
    await until(lambda: server.heard)
    expire(rig, 21)
    assert (await client.response()).status == 504
    go.set()
    assert await client.rest() == b""
    assert rig.counters.open_tunnels == server.container.open_connections == 0


async def test_an_open_tunnel_has_no_deadline(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(accept_websocket)
    client, inner = await tunnel(rig, server)
    expire(rig, 1_000_000)
    await client.send(b"there?")
    assert await inner.exactly(6) == b"there?"
    await inner.send(b"yes")
    assert await client.exactly(3) == b"yes"


async def test_a_handshake_after_other_requests_on_the_same_connection(rig: Rig) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        message = await wire.request()
        if message.get(b"Upgrade"):
            await wire.send(SWITCHING)
            await wire.send(await wire.exactly(4))
        else:
            await wire.send(response())
            await wire.closed()

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server) + request(server, "ws", headers=HANDSHAKE) + b"1234")
    assert (await client.response()).body == b"ok"
    assert (await client.head()).status == 101
    assert await client.rest() == b"1234"
    assert server.accepted == 2


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("ending", ["half-close", "close", "reset"])
@pytest.mark.parametrize("by", ["client", "server"])
async def test_every_ending_reaches_the_other_side(
    rig: Rig, by: Literal["client", "server"], ending: str, tcp: bool
) -> None:
    await rig.start()
    server = await rig.server(accept_websocket, tcp=tcp)
    before = time.monotonic()
    client, inner = await tunnel(rig, server)
    assert server.container.open_connections == rig.counters.open_tunnels == 1
    one, other = (client, inner) if by == "client" else (inner, client)
    await one.send(b"last")
    assert await other.exactly(4) == b"last"
    if ending == "half-close":
        one.half_close()
        assert await other.rest() == b""
        await other.send(b"heard")
        assert await one.exactly(5) == b"heard"
        other.close()
        assert await one.rest() == b""
    elif ending == "close":
        one.writer.write(b"!" * 100_000)
        one.close()
        assert await other.closed() == b"!" * 100_000
        other.close()
    else:
        one.reset()
        assert await other.closed() == b""
        other.close()
    await until(lambda: server.container.open_connections == 0)
    assert rig.counters.open_tunnels == 0
    assert server.container.left_at is not None
    assert server.container.left_at >= before


@pytest.mark.parametrize("by", ["client", "server"])
async def test_a_half_open_tunnel_is_not_kept_for_ever(rig: Rig, by: str) -> None:
    await rig.start(write_timeout=20)
    server = await rig.server(accept_websocket)
    client, inner = await tunnel(rig, server)
    (inner if by == "server" else client).half_close()
    assert await (client if by == "server" else inner).rest() == b""
    expire(rig, 19)
    assert rig.counters.open_tunnels == 1
    expire(rig, 21)
    await until(lambda: rig.counters.open_tunnels == server.container.open_connections == 0)
    assert await (inner if by == "server" else client).closed() == b""


async def test_a_half_open_tunnel_in_use_is_kept(rig: Rig) -> None:
    await rig.start(write_timeout=20)
    server = await rig.server(accept_websocket)
    client, inner = await tunnel(rig, server)
    inner.half_close()
    assert await client.rest() == b""
    (connection,) = rig.proxy.clients
    connection.deadline = 0.0  # as if the time were over, but for what comes now
    await client.send(frame(TEXT, b"still here"))
    assert await inner.exactly(len(frame(TEXT, b"still here"))) == frame(TEXT, b"still here")
    expire(rig, 19)
    assert rig.counters.open_tunnels == 1
    expire(rig, 21)
    await until(lambda: rig.counters.open_tunnels == 0)


async def test_both_ends_leave_at_once(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(accept_websocket)
    for _ in range(20):
        client, inner = await tunnel(rig, server)
        client.reset()
        inner.reset()
        await until(lambda: rig.clients == 0)
        assert rig.counters.open_tunnels == server.container.open_connections == 0


async def test_many_tunnels_are_counted_right(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(accept_websocket)
    pairs = [await tunnel(rig, server) for _ in range(50)]
    assert rig.counters.open_tunnels == server.container.open_connections == 50
    for client, _ in pairs[:20]:
        client.reset()
    for client, inner in pairs[20:40]:
        inner.close()
        client.close()
    await until(lambda: server.container.open_connections == 10)
    assert rig.counters.open_tunnels == 10
    rig.end(server.container)
    await until(lambda: server.container.open_connections == 0)


async def test_the_last_words_of_a_server_reach_a_slow_client(rig: Rig) -> None:
    await rig.start()
    words = bytes(range(256)) * 1024 * 8

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(SWITCHING)
        await wire.send(words)

    server = await rig.server(script)
    client = await rig.client(receive_buffer=4096)
    await client.send(request(server, "ws", headers=HANDSHAKE))
    await client.head()
    assert await client.rest() == words


@pytest.mark.parametrize("to_client", [True, False])
async def test_back_pressure_both_ways(rig: Rig, to_client: bool) -> None:
    await rig.start()
    server = await rig.server(accept_websocket)
    client, inner = await tunnel(rig, server)
    source, sink = (inner, client) if to_client else (client, inner)
    block = frame(BINARY, bytes(MIB))
    size = len(block) * (BIG // MIB)

    async def pour() -> None:
        for _ in range(BIG // MIB):
            await source.send(block)

    pouring = asyncio.ensure_future(pour())
    await until(lambda: _stalled(rig, to_client))
    assert await drained_slowly(sink, size) < 8 * MIB
    await soon(pouring)
    await sink.send(b"done")
    assert await source.exactly(4) == b"done"


def _stalled(rig: Rig, to_client: bool) -> bool:
    (connection,) = rig.proxy.clients
    if to_client:
        return connection.state.writing_paused
    return not connection.state.is_reading


@pytest.mark.parametrize("to_client", [True, False])
async def test_an_end_that_reads_no_more_does_not_hold_the_other(rig: Rig, to_client: bool) -> None:
    """Its peer has left; what is buffered for it can't be sent, and is given up after a while."""
    await rig.start(write_timeout=20, response_timeout=20)
    server = await rig.server(accept_websocket)
    client, inner = await tunnel(rig, server, receive_buffer=4096)
    source = inner if to_client else client
    pouring = asyncio.ensure_future(source.send(bytes(20 * MIB)))
    await until(lambda: _stalled(rig, to_client))
    source.reset()
    await asyncio.gather(pouring, return_exceptions=True)
    for _ in range(4):
        expire(rig, 100)
        await asyncio.sleep(0.01)
    await until(lambda: rig.counters.open_tunnels == 0)
    await until(lambda: rig.clients == 0)
    await until(lambda: not any(one.open for one in rig.proxy.upstreams.state.values()))


EXECUTE = b'{"header":{"msg_type":"execute_request"},"content":{"silent":false,"code":"1"}}'
ASK = b'{"header":{"msg_type":"kernel_info_request"},"content":{}}'


@pytest.mark.parametrize(
    ("path", "opcode", "payload", "active"),
    [
        ("api/kernels/1/channels", TEXT, EXECUTE, True),
        ("api/kernels/1/channels", BINARY, bytes(60) + EXECUTE, True),
        ("api/kernels/1/channels", TEXT, ASK, False),
        ("api/kernels/1/channels", PING, EXECUTE, False),
        ("api/kernels/1/channels", PONG, EXECUTE, False),
        ("terminals/websocket/1", TEXT, b'["stdin","l"]', True),
        ("terminals/websocket/1", TEXT, b'["set_size",24,80]', False),
        ("proxy/8080/ws", TEXT, b"anything that was not said before", True),
        ("proxy/8080/ws", CLOSE, b"bye", False),
    ],
)
async def test_what_a_person_says_is_activity_and_what_a_page_says_is_not(
    rig: Rig, path: str, opcode: int, payload: bytes, active: bool
) -> None:
    await rig.start()
    server = await rig.server(accept_websocket)
    client, inner = await tunnel(rig, server, path=path)
    server.container.last_activity = 0
    data = frame(opcode, payload)
    await client.send_split(data, [1] * len(data))
    assert await inner.exactly(len(data)) == data
    assert (server.container.last_activity > 0) is active
    await inner.send(frame(TEXT, b"output is none of the visitor's doing"))
    await client.exactly(10)
    assert (server.container.last_activity > 0) is active


async def test_what_a_page_does_to_kernels_and_terminals_is_remembered(rig: Rig) -> None:
    """So that the answers to it are not taken for what a person caused."""
    await rig.start()
    server = await rig.server(accept_websocket)
    container = server.container
    await tunnel(rig, server, path="terminals/websocket/1")
    assert (len(container.terminal_nudges.moments), len(container.kernel_nudges.moments)) == (1, 0)
    await tunnel(rig, server)
    assert (len(container.terminal_nudges.moments), len(container.kernel_nudges.moments)) == (1, 1)


@pytest.mark.parametrize(
    ("path", "offered"),
    [("api/kernels/1/channels", False), ("terminals/websocket/1", False), ("proxy/8080/ws", True)],
)
async def test_channels_that_are_read_are_not_compressed(rig: Rig, path: str, offered: bool) -> None:
    """Else what a person says there could not be told from what a page says."""
    await rig.start()
    seen: list[bytes | None] = []

    async def script(wire: Wire) -> None:
        message = await wire.request()
        seen.append(message.get(b"Sec-WebSocket-Extensions"))
        assert message.get(b"X-Kept") == b"1"
        assert message.get(b"X-Forwarded-For") == b"127.0.0.1"
        await wire.send(SWITCHING)
        await asyncio.Event().wait()

    server = await rig.server(script)
    client = await rig.client()
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nX-Kept: 1\r\n"
    await client.send(request(server, path, headers=HANDSHAKE + offer))
    assert (await client.head()).status == 101
    assert seen == [b"permessage-deflate; client_max_window_bits" if offered else None]


async def test_opening_a_socket_is_presence_only(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(accept_websocket)
    server.container.last_activity = server.container.last_presence = 0
    await tunnel(rig, server)
    assert server.container.last_presence > 0
    assert server.container.last_activity == 0
    assert server.container.left_at is None


async def test_a_websocket_never_takes_a_used_connection(rig: Rig) -> None:
    """So its failure is never a stale connection's."""
    await rig.start()
    server = await rig.server(echo)
    await rig.ask(server)
    server.script = accept_websocket
    await tunnel(rig, server)
    assert server.accepted == 2
