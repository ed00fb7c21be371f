"""What must never reach a container, and what a container's answer must never do (RFC 9112, request smuggling)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.integration import proxy_support
from tests.integration.proxy_support import HANDSHAKE, KEY, Rig, Wire, answering, echo, request, response
from tests.waiting import until
from tmpnb_py.proxy.framing import MAX_HEADERS

rig = proxy_support.rig

HOST = "Host: t\r\n"
CHUNKED = HOST + "Transfer-Encoding: chunked\r\n"
WEBSOCKET = "GET {} HTTP/1.1\r\n" + HOST + "Connection: Upgrade\r\nUpgrade: websocket\r\n"
VERSION = "Sec-WebSocket-Version: 13\r\n"

# `{}` is the container's path. The expected status is after the arrow.
REFUSED = {
    "length and chunked": ("POST {} HTTP/1.1\r\n" + CHUNKED + "Content-Length: 3\r\n\r\n0\r\n\r\n", 400),
    "chunked and length": (
        "POST {} HTTP/1.1\r\n" + HOST + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "two lengths": ("POST {} HTTP/1.1\r\n" + HOST + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "the same length twice": (
        "POST {} HTTP/1.1\r\n" + HOST + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        400,
    ),
    "a list of lengths": ("POST {} HTTP/1.1\r\n" + HOST + "Content-Length: 1, 1\r\n\r\na", 400),
    "a signed length": ("POST {} HTTP/1.1\r\n" + HOST + "Content-Length: +1\r\n\r\na", 400),
    "a negative length": ("POST {} HTTP/1.1\r\n" + HOST + "Content-Length: -1\r\n\r\na", 400),
    "a hexadecimal length": ("POST {} HTTP/1.1\r\n" + HOST + "Content-Length: 0x1\r\n\r\na", 400),
    "an empty length": ("POST {} HTTP/1.1\r\n" + HOST + "Content-Length:\r\n\r\na", 400),
    "a length beyond 64 bits": ("POST {} HTTP/1.1\r\n" + HOST + f"Content-Length: {2**64}\r\n\r\na", 400),
    "a length beyond signed 64 bits": ("POST {} HTTP/1.1\r\n" + HOST + f"Content-Length: {2**63}\r\n\r\n", 400),
    "gzip, chunked": ("POST {} HTTP/1.1\r\n" + HOST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": ("POST {} HTTP/1.1\r\n" + CHUNKED + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked, identity": ("POST {} HTTP/1.1\r\n" + CHUNKED + "Transfer-Encoding: identity\r\n\r\n", 400),
    "identity": ("POST {} HTTP/1.1\r\n" + HOST + "Transfer-Encoding: identity\r\n\r\n", 400),
    "xchunked": ("POST {} HTTP/1.1\r\n" + HOST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "quoted chunked": ("POST {} HTTP/1.1\r\n" + HOST + 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    "an empty coding": ("POST {} HTTP/1.1\r\n" + HOST + "Transfer-Encoding:\r\n\r\n", 400),
    "chunked with a tab before": ("POST {} HTTP/1.1\r\n" + HOST + "Transfer-Encoding:\x0bchunked\r\n\r\n", 400),
    "chunked in HTTP/1.0": ("POST {} HTTP/1.0\r\n" + CHUNKED + "\r\n0\r\n\r\n", 400),
    "obs-fold": ("GET {} HTTP/1.1\r\n" + HOST + "X: a\r\n b\r\n\r\n", 400),
    "obs-fold first": ("GET {} HTTP/1.1\r\n X: a\r\n" + HOST + "\r\n", 400),
    "bare LF": ("GET {} HTTP/1.1\nHost: t\n\n", 400),
    "one bare LF": ("GET {} HTTP/1.1\r\nHost: t\nX: y\r\n\r\n", 400),
    "bare LF at the end": ("GET {} HTTP/1.1\r\nHost: t\r\n\nX", 400),
    "bare CR": ("GET {} HTTP/1.1\r\nHost: t\rX: y\r\n\r\n", 400),
    "NUL in a value": ("GET {} HTTP/1.1\r\n" + HOST + "X: a\0b\r\n\r\n", 400),
    "a control character in a value": ("GET {} HTTP/1.1\r\n" + HOST + "X: a\x01b\r\n\r\n", 400),
    "DEL in a value": ("GET {} HTTP/1.1\r\n" + HOST + "X: a\x7fb\r\n\r\n", 400),
    "NUL in a name": ("GET {} HTTP/1.1\r\n" + HOST + "X\0: a\r\n\r\n", 400),
    "NUL in the target": ("GET {}\0 HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "a space before the colon": ("GET {} HTTP/1.1\r\n" + HOST + "X : a\r\n\r\n", 400),
    "a tab before the colon": ("GET {} HTTP/1.1\r\n" + HOST + "X\t: a\r\n\r\n", 400),
    "no name": ("GET {} HTTP/1.1\r\n" + HOST + ": a\r\n\r\n", 400),
    "no colon": ("GET {} HTTP/1.1\r\n" + HOST + "X\r\n\r\n", 400),
    "parentheses in a name": ("GET {} HTTP/1.1\r\n" + HOST + "X(y): a\r\n\r\n", 400),
    "a name beyond ASCII": ("GET {} HTTP/1.1\r\n" + HOST + "X\xe9: a\r\n\r\n", 400),
    "absolute form without a host": ("GET http://{} HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "absolute form with a user": ("GET http://t@u{} HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "absolute form with a backslash": ("GET http://t\\{} HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "absolute form with a fragment": ("GET http://t{}#x HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "absolute form with a wrong port": ("GET http://t:8x{} HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "absolute form of another scheme": ("GET ftp://t{} HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "absolute form without Host": ("GET http://t{} HTTP/1.1\r\n\r\n", 400),
    "absolute form with two Hosts": ("GET http://t{} HTTP/1.1\r\n" + HOST + HOST + "\r\n", 400),
    "absolute form with a malformed Host": ("GET http://t{} HTTP/1.1\r\nHost: t/x\r\n\r\n", 400),
    "authority form": ("CONNECT t:80 HTTP/1.1\r\n" + HOST + "\r\n", 501),
    "CONNECT with a path": ("CONNECT {} HTTP/1.1\r\n" + HOST + "\r\n", 501),
    "TRACE": ("TRACE {} HTTP/1.1\r\n" + HOST + "\r\n", 501),
    "asterisk form": ("GET * HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "a fragment": ("GET {}#x HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "a target beyond ASCII": ("GET {}\xe9 HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "two spaces": ("GET  {} HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "two spaces before the version": ("GET {}  HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "a space in the target": ("GET {} x HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "a tab in the first line": ("GET\t{} HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "a space before the method": (" GET {} HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "a space after the version": ("GET {} HTTP/1.1 \r\n" + HOST + "\r\n", 400),
    "a method in lower case": ("get {} HTTP/1.1\r\n" + HOST + "\r\n", 501),
    "HEAD in lower case": ("head {} HTTP/1.1\r\n" + HOST + "\r\n", 501),
    "CONNECT in lower case": ("connect t:80 HTTP/1.1\r\n" + HOST + "\r\n", 501),
    "an unknown method for our pages": ("SMUGGLE / HTTP/1.1\r\n" + HOST + "\r\n", 501),
    "a method that is no token": ("GE(T {} HTTP/1.1\r\n" + HOST + "\r\n", 400),
    "no Host": ("GET {} HTTP/1.1\r\n\r\n", 400),
    "an empty Host": ("GET {} HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "two Hosts": ("GET {} HTTP/1.1\r\n" + HOST + HOST + "\r\n", 400),
    "two Hosts in HTTP/1.0": ("GET {} HTTP/1.0\r\n" + HOST + HOST + "\r\n", 400),
    "a Host with a path": ("GET {} HTTP/1.1\r\nHost: t/x\r\n\r\n", 400),
    "a Host with a user": ("GET {} HTTP/1.1\r\nHost: a@t\r\n\r\n", 400),
    "a Host of two": ("GET {} HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "HTTP/0.9": ("GET {}\r\n", 400),
    "HTTP/0.9 by name": ("GET {} HTTP/0.9\r\n" + HOST + "\r\n", 505),
    "HTTP/2.0": ("GET {} HTTP/2.0\r\n" + HOST + "\r\n", 505),
    "HTTP/2's preface": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/11": ("GET {} HTTP/11\r\n" + HOST + "\r\n", 400),
    "http in lower case": ("GET {} http/1.1\r\n" + HOST + "\r\n", 400),
    "RTSP/1.0": ("GET {} RTSP/1.0\r\n" + HOST + "\r\n", 400),
    "RTSP/1.1": ("OPTIONS {} RTSP/1.1\r\n" + HOST + "\r\n", 400),
    "ICE/1.0": ("SOURCE {} ICE/1.0\r\n" + HOST + "\r\n", 400),
    "an over-long target": ("GET {}" + "x" * 40_000 + " HTTP/1.1\r\n" + HOST + "\r\n", 414),
    "an over-long head": ("GET {} HTTP/1.1\r\n" + HOST + "X: " + "y" * 40_000 + "\r\n\r\n", 431),
    "an endless head": ("GET {} HTTP/1.1\r\n" + HOST + "X: y\r\n" * 6_000, 431),
    "too many headers": ("GET {} HTTP/1.1\r\n" + HOST + "a:\r\n" * MAX_HEADERS + "\r\n", 431),
    "a WebSocket with a body": (
        "GET {} HTTP/1.1\r\n" + HOST + HANDSHAKE + "Content-Length: 1\r\n\r\nx",
        400,
    ),
    "a WebSocket without a key": (WEBSOCKET + VERSION + "\r\n", 400),
    "a WebSocket with an empty key": (WEBSOCKET + VERSION + "Sec-WebSocket-Key:\r\n\r\n", 400),
    "a WebSocket with a short key": (WEBSOCKET + VERSION + "Sec-WebSocket-Key: eHh4eA==\r\n\r\n", 400),
    "a WebSocket with two keys": (WEBSOCKET + KEY + KEY.splitlines(keepends=True)[0] + "\r\n", 400),
    "a WebSocket without a version": (WEBSOCKET + KEY.splitlines(keepends=True)[0] + "\r\n", 426),
    "a WebSocket of version 8": (WEBSOCKET + KEY.replace("13", "8") + "\r\n", 426),
    "a WebSocket of two versions": (WEBSOCKET + KEY + VERSION + "\r\n", 426),
    "a handshake of old": ("GET {} HTTP/1.1\r\n" + HOST + "Sec-WebSocket-Key1: x\r\n\r\n", 400),
    "a service worker": ("GET {} HTTP/1.1\r\n" + HOST + "Service-Worker: script\r\n\r\n", 403),
    "a length that some take for one": ("POST {} HTTP/1.1\r\n" + HOST + "Content_Length: 1\r\n\r\na", 400),
    "a coding that some take for one": (
        "POST {} HTTP/1.1\r\n" + HOST + "Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a length in octal": ("POST {} HTTP/1.1\r\n" + HOST + "Content-Length: 010\r\n\r\n0123456789", 400),
    "a length in Arabic digits": ("POST {} HTTP/1.1\r\n" + HOST + "Content-Length: \xd9\xa5\r\n\r\n12345", 400),
    "a length with a vertical tab": ("POST {} HTTP/1.1\r\n" + HOST + "Content-Length: 1\x0b\r\n\r\na", 400),
    "a length in two spellings": (
        "POST {} HTTP/1.1\r\n" + HOST + "Content-Length: 1\r\nCONTENT-LENGTH: 1\r\n\r\na",
        400,
    ),
    "chunked and nothing": ("POST {} HTTP/1.1\r\n" + HOST + "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400),
    "nothing and chunked": ("POST {} HTTP/1.1\r\n" + HOST + "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked with a parameter": (
        "POST {} HTTP/1.1\r\n" + HOST + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a coding before the Host's fold": ("GET {} HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", 400),
    "a Host beyond ASCII": ("GET {} HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400),
    "a Host with a space": ("GET {} HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a Host with a scheme": ("GET {} HTTP/1.1\r\nHost: http://t\r\n\r\n", 400),
    "a Host with an escape": ("GET {} HTTP/1.1\r\nHost: t%00\r\n\r\n", 400),
    "a Host with a backslash": ("GET {} HTTP/1.1\r\nHost: t\\x\r\n\r\n", 400),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),
}


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(("raw", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_refused_requests_never_reach_a_container(rig: Rig, raw: str, status: int, split: bool) -> None:
    await rig.start()
    server = await rig.server(echo)
    data = raw.replace("{}", f"/user/{server.container.id}/x", 1).encode("latin-1")
    client = await rig.client()
    with contextlib.suppress(ConnectionError):
        await client.send_split(data, [1] * len(data) if split and len(data) < 1000 else [])
    answer = await client.response()
    assert answer.status == status
    assert answer.get(b"Connection") == (b"close, Upgrade" if status == 426 else b"close")
    assert answer.get(b"Sec-WebSocket-Version") == (b"13" if status == 426 else None)
    assert await client.closed() == b""
    assert server.accepted == 0


BAD_CHUNKS = [
    b"x\r\n",
    b"\r\n",
    b"-1\r\na\r\n",
    b"+1\r\na\r\n",
    b"0x1\r\na\r\n",
    b" 1\r\na\r\n",
    b"1 \r\na\r\n",
    b"1 ;a\r\na\r\n",
    b"1\t;a=b\r\na\r\n",
    b"1\na\n0\n\n",
    b"1\ra\r\n",
    b"1\r\nab\r\n",
    b"1\r\na\n0\r\n\r\n",
    b"1\r\na0\r\n\r\n",
    b"1;a\nb\r\na\r\n",
    b"1;a\0\r\na\r\n",
    b"1;" + b"x" * 5000,
    b"FFFFFFFFFFFFFFFF1\r\na",
    b"0000000000000000000001\r\na\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\nX: y\n\r\n\r\n",
    b"0\r\n X: y\r\n\r\n",
    b"0\r\n" + b"X: y\r\n" * 5000,
    b"0\r\nX: " + b"y" * 5000,
]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("chunks", BAD_CHUNKS, ids=lambda chunks: repr(chunks[:20]))
async def test_malformed_chunks_end_the_request(rig: Rig, chunks: bytes, split: bool) -> None:
    """The head went ahead; the container sees the body break off, and nothing that could follow it."""
    await rig.start()
    seen = bytearray()

    async def script(wire: Wire) -> None:
        await wire.head()
        seen.extend(await wire.closed())

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, method="PUT", headers="Transfer-Encoding: chunked\r\n") + b"2\r\nok\r\n")
    await until(lambda: server.heard)
    with contextlib.suppress(ConnectionError):
        await client.send_split(chunks, [1] * len(chunks) if split and len(chunks) < 100 else [])
    answer = await client.response()
    assert (answer.status, answer.get(b"Connection")) == (400, b"close")
    assert await client.closed() == b""
    await until(lambda: server.open == 0)
    assert bytes(seen) in (b"", b"2\r\nok\r\n", b"2\r\nok\r\n1\r\na\r\n", b"3\r\noka\r\n")


async def test_a_refusal_waits_for_the_answers_before_it(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    client = await rig.client()
    await client.send(request(server, "1") + request(server, "2") + b"BAD\r\n\r\n" + request(server, "3"))
    assert [(await client.response()).status for _ in range(3)] == [200, 200, 400]
    assert await client.rest() == b""


@pytest.mark.parametrize("pieces", [[b"\r\n\r\n"], [b"\r\n", b"\r\n"], [b"\r", b"\n\r", b"\n"], [b"\r\n\r", b"\n"]])
async def test_empty_lines_behind_a_request_wait_for_its_answer_in_any_split(rig: Rig, pieces: list[bytes]) -> None:
    """One is ignored (RFC 9112 §2.2), two are refused; but what was asked before has been done, and is answered."""
    await rig.start()
    got, go = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        got.set()
        await go.wait()
        await wire.send(response(b"done"))
        await wire.closed()

    client = await rig.client()
    await client.send(request(await rig.server(script), method="POST", body=b"x"))
    await got.wait()
    (connection,) = rig.proxy.clients
    for piece in pieces:
        before = rig.counters.bytes_received
        await client.send(piece)
        await until(lambda before=before: rig.counters.bytes_received > before)  # type: ignore[misc]
    assert connection.state.has_exchange
    go.set()
    assert (await client.response()).body == b"done"
    assert (await client.response()).status == 400
    assert await client.rest() == b""


# What a container may answer instead of an answer.
MALFORMED = {
    "rubbish": b"rubbish\r\n\r\n",
    "binary": b"\0\1\2\r\n\r\n\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "one bare LF": b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nok",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 2\r\n\r\nok",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    "chunked and length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "a hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "a length in octal": b"HTTP/1.1 200 OK\r\nContent-Length: 02\r\n\r\nok",
    "an empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    "a length beyond signed 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok",
    "xchunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
    "chunked twice": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "an interim answer with a length": b"HTTP/1.1 103 Hints\r\nContent-Length: 40\r\n\r\n" + response(),
    "an interim answer with chunks": b"HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + response(),
    "an empty line first": b"\r\n" + response(),
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 300 + b"Content-Length: 2\r\n\r\nok",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 2\r\n\r\nok",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok",
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\nok",
    "status 600": b"HTTP/1.1 600 No\r\nContent-Length: 2\r\n\r\nok",
    "status 999": b"HTTP/1.1 999 No\r\nContent-Length: 2\r\n\r\nok",
    "status 20": b"HTTP/1.1 20 No\r\nContent-Length: 2\r\n\r\nok",
    "status 2000": b"HTTP/1.1 2000 No\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a request": b"GET / HTTP/1.1\r\nHost: t\r\n\r\n",
    "an upgrade that nobody asked for": proxy_support.SWITCHING,
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 12_000,
    "endless interim answers": b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 2_000,
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_answers_are_a_bad_gateway(rig: Rig, raw: bytes) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(raw)
        wire.half_close()
        await wire.closed()

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    answer = await client.response()
    while answer.status == 103:
        answer = await client.response()
    assert (answer.status, answer.body) == (502, b'{"status": 502}')
    assert await client.rest() == b""
    await until(lambda: server.open == 0)
    server.script = answering(response(b"good"))
    assert (await rig.ask(server)).body == b"good"


EXCESS = {
    "a second answer": response() + response(b"evil"),
    "more than the length": response() + b"evil",
    "more than the last chunk": response(
        b"2\r\nok\r\n0\r\n\r\nevil", headers="Transfer-Encoding: chunked\r\n", length=False
    ),
    "a body of 204": response(b"evil", status="204 No Content"),
    "a body of 304": response(b"evil", status="304 Not Modified"),
}


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("raw", EXCESS.values(), ids=EXCESS.keys())
async def test_excess_never_leaks(rig: Rig, raw: bytes, separate: bool) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send_split(
            raw,
            [raw.index(b"evil") - 60 if b"HTTP/1.1 200 OK" in raw[9:] else raw.index(b"evil")] if separate else [],
        )
        await wire.closed()

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    answer = await client.response()
    assert answer.body in (b"ok", b"")
    await until(lambda: server.open == 0)
    server.script = answering(response(b"good"))
    await client.send(request(server))
    assert (await client.response()).body == b"good"
    await client.silent()


async def test_a_body_of_a_head_request_never_leaks(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(answering(response(b"evil")))
    client = await rig.client()
    for _ in range(2):
        await client.send(request(server, method="HEAD"))
        assert (await client.response("HEAD")).get(b"Content-Length") == b"4"
    await client.silent()
    assert server.accepted == 2


TRUNCATED = {
    "shorter than its length": response(b"ok", headers="X: y\r\n").replace(b"Length: 2", b"Length: 3"),
    "in the middle of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
    "before the last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    "a bad chunk after a good one": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n|x\r\n",
}


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("raw", TRUNCATED.values(), ids=TRUNCATED.keys())
async def test_a_truncated_answer_looks_truncated(rig: Rig, raw: bytes, tcp: bool) -> None:
    await rig.start()
    told = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        first, _, second = raw.partition(b"|")
        await wire.send(first)
        await told.wait()
        await wire.send(second)

    server = await rig.server(script, tcp=tcp)
    client = await rig.client()
    await client.send(request(server))
    answer = await client.head()
    told.set()
    body = await client.closed()
    assert answer.status == 200
    assert not body.endswith(b"0\r\n\r\n")
    assert len(body) < int(answer.get(b"Content-Length") or 1000)
