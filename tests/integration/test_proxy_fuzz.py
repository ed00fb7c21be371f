"""Any bytes in any split: a well-defined forward or a clean refusal; never an exception, a hang or a cross-talk.

The rig itself fails the test when anything is logged or reported to the loop, or left behind. Examples run inside one
loop and one rig per test, so that one example's rubbish meets the next one's connections.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import re
from collections.abc import Callable, Coroutine
from typing import Any

import httptools
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.integration import proxy_support
from tests.integration.proxy_support import HANDSHAKE, KEY, SWITCHING, Rig, Wire, request, response
from tests.waiting import until
from tmpnb_py.proxy.framing import ChunkedReader, MalformedError

rig = proxy_support.rig

Work = Coroutine[Any, Any, None]
Call = Callable[[Work], None]
_EXAMPLES = 150
_SETTINGS = settings(
    max_examples=_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)

# Pieces of HTTP from which hypothesis puts messages together, well-formed and otherwise.
REQUEST_PIECES = [
    b"GET {} HTTP/1.1\r\n",
    b"POST {} HTTP/1.1\r\n",
    b"HEAD {} HTTP/1.0\r\n",
    b"GET {} HTTP/1.1\r\nHost: t\r\n\r\n",
    b"POST {} HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT {} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET {} HTTP/1.1\r\nHost: t\r\n" + HANDSHAKE.encode() + b"\r\n",
    KEY.encode(),
    b"Host: t\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"X: y\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b"\0",
    b"0\r\n",
    b"3\r\n",
    b"abc",
    b"abc\r\n",
    b"FFFFFFFF\r\n",
]
RESPONSE_PIECES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n",
    b"HTTP/1.1 999 What\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n",
    SWITCHING,
    b"Content-Length: 4\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Set-Cookie: a=b; Domain=x; Path=/\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b":",
    b"0\r\n\r\n",
    b"4\r\nEVIL\r\n",
    b"EVIL",
]


def messages(pieces: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that are mostly, but not always, pieces of HTTP."""
    one = st.one_of(st.sampled_from(pieces), st.sampled_from(pieces), st.binary(min_size=1, max_size=8))
    return st.lists(one, min_size=1, max_size=10).map(b"".join)


splits = st.lists(st.integers(1, 40), max_size=12)


@dataclasses.dataclass
class Seen:
    """What a lenient recorder upstream has been sent on one connection."""

    data: bytes = b""


@pytest.mark.parametrize("ending", ["close", "half-close", "reset"])
async def test_any_request_bytes(rig: Rig, ending: str) -> None:
    """The container checks every byte with a parser of its own: nothing but whole, well-formed requests for it."""
    await rig.start(max_head_size=2048)
    streams: list[Seen] = []

    async def script(wire: Wire) -> None:
        seen = Seen()
        streams.append(seen)
        answered = 0
        while data := await wire.reader.read(65536):
            seen.data += data
            complete = _complete_requests(seen.data)
            for _ in range(complete - answered):
                await wire.send(response(b"fine"))
            answered = complete

    server, other = await rig.server(script), await rig.server(script)
    target = f"/user/{server.container.id}/x".encode()
    loop = asyncio.get_running_loop()

    async def one(data: bytes, sizes: list[int]) -> None:
        client = await rig.client()
        try:
            await client.send_split(data, sizes)
            if ending == "half-close":
                client.half_close()
        except (ConnectionError, OSError):
            pass
        if ending == "close":
            client.close()
        elif ending == "half-close":
            await _until_quiet(rig)
        if not client.writer.is_closing():
            client.reset()
        await _until_quiet(rig)
        rig.wires.clear()
        for seen in streams:
            assert _only_requests(seen.data, target)
        streams.clear()
        assert rig.reports == []

    await run_examples(loop, _requests(one, target))
    await until(lambda: rig.clients == 0)
    assert other.accepted == 0


def _requests(one: Callable[[bytes, list[int]], Work], target: bytes) -> Callable[[Call], None]:
    @_SETTINGS
    @given(data=messages(REQUEST_PIECES), sizes=splits)
    @example(data=b"GET {} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n\r\n", sizes=[])
    @example(data=b"PUT {} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX", sizes=[1])
    def run(call: Call, data: bytes, sizes: list[int]) -> None:
        call(one(data.replace(b"{}", target), sizes))

    return run


async def _until_quiet(rig: Rig) -> None:
    """The sweep ends what waits for more; everything must be over soon after."""
    turns = itertools.count()

    def is_quiet() -> bool:
        if rig.clients and next(turns) > 20:
            rig.proxy.sweep(float("inf"))
        return rig.clients == 0

    await until(is_quiet, 15)


async def run_examples(loop: asyncio.AbstractEventLoop, test: Callable[[Call], None]) -> None:
    """Run a hypothesis test in a thread, its examples on this loop."""

    def call(coroutine: Work) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)

    await asyncio.to_thread(test, call)


class _Requests:
    """Counts and checks requests with llhttp, as the container would."""

    def __init__(self) -> None:
        self.complete = 0
        self.targets: list[bytes] = []

    def on_url(self, target: bytes) -> None:
        self.targets.append(target)

    def on_message_complete(self) -> None:
        self.complete += 1


def _read_requests(data: bytes) -> tuple[_Requests, bool]:
    seen = _Requests()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return seen, True
    except httptools.HttpParserError:
        return seen, False
    return seen, True


def _complete_requests(data: bytes) -> int:
    return _read_requests(data)[0].complete


def _only_requests(data: bytes, target: bytes) -> bool:
    """Whether a container's connection carried well-formed requests for that container (the last maybe cut off)."""
    seen, well_formed = _read_requests(data)
    own = all(one == target or one.startswith(target) for one in seen.targets)
    return well_formed and own and b"\0" not in data.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("ending", ["close", "open"])
async def test_any_response_bytes(rig: Rig, ending: str) -> None:
    """The client sees whole, well-formed answers or a visible truncation, and the next visitor sees nothing of it."""
    await rig.start()
    todo: list[tuple[bytes, list[int]]] = []

    async def script(wire: Wire) -> None:
        while True:
            message = await wire.request()
            if b"/good" in message.target:
                await wire.send(response(b"good"))
                continue
            data, sizes = todo[0]  # again, if it was tried once more
            await wire.send_split(data, sizes)
            if ending == "close":
                return

    server = await rig.server(script)
    loop = asyncio.get_running_loop()

    async def one(data: bytes, sizes: list[int], method: str, version: bytes) -> None:
        todo[:] = [(data, sizes)]
        client = await rig.client()
        await client.send(request(server, "bad", method=method).replace(b"HTTP/1.1", b"HTTP/" + version))
        for _ in range(30):
            await asyncio.sleep(0)
        raw = bytearray()
        reading = asyncio.ensure_future(client.closed())
        turns = itertools.count()

        def is_over() -> bool:
            if not reading.done():
                rig.proxy.sweep(float("inf"))  # whatever waits for more is over now
                if next(turns) > 100:  # an answer up to the end of the connection, or a tunnel
                    rig.proxy.upstreams.drop(server.container.id)
            return reading.done()

        await until(is_over, 15)
        raw += await reading
        assert _is_answer(bytes(raw), method), (bytes(raw), data)
        client.close()
        answer = await rig.ask(server, "good")
        assert answer.body == b"good"
        assert rig.reports == []
        rig.wires.clear()

    await run_examples(loop, _responses(one))


def _responses(one: Callable[[bytes, list[int], str, bytes], Work]) -> Callable[[Call], None]:
    @_SETTINGS
    @given(
        data=messages(RESPONSE_PIECES),
        sizes=splits,
        method=st.sampled_from(["GET", "GET", "HEAD"]),
        version=st.sampled_from([b"1.1", b"1.1", b"1.0"]),
    )
    def run(call: Call, data: bytes, sizes: list[int], method: str, version: bytes) -> None:
        call(one(data, sizes, method, version))

    return run


_HEAD = re.compile(rb"HTTP/1\.1 [1-5]\d\d [^\r\n\0]*\r\n(?:[!-9;-~]+: [^\r\n\0]*\r\n)*\r\n")


def _is_answer(raw: bytes, method: str) -> bool:
    """At most one final answer, of well-formed heads; what follows a head is that answer's body and no more."""
    while found := _HEAD.match(raw):
        raw = raw[found.end() :]
        status = int(found.group()[9:12])
        if status >= 200:
            return _is_body(found.group(), raw, method, status)
    return raw == b""  # cut off before a final answer


def _is_body(head: bytes, body: bytes, method: str, status: int) -> bool:
    length = re.search(rb"Content-Length: (\d+)", head)
    if method == "HEAD" or status in (204, 304):
        return body == b""
    if length:
        return len(body) <= int(length.group(1))
    if b"Transfer-Encoding: chunked" in head:
        reader = ChunkedReader()
        reader.feed(body)
        return reader.rest == b""
    return True  # up to the end of the connection


# --- the chunked reader by itself, against llhttp


class _Body:
    def __init__(self) -> None:
        self.body = b""
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


CHUNK_PIECES = [
    b"3\r\nabc\r\n",
    b"0\r\n",
    b"\r\n",
    b"a",
    b"3",
    b"3;x=y\r\nabc\r\n",
    b"\n",
    b"X: y\r\n",
    b"00\r\n\r\n",
]


@settings(max_examples=1000, deadline=None)
@given(
    data=st.lists(st.one_of(st.sampled_from(CHUNK_PIECES), st.binary(max_size=3)), max_size=8).map(b"".join),
    cuts=st.lists(st.integers(1, 5), max_size=10),
)
def test_what_the_chunked_reader_accepts_llhttp_reads_alike(data: bytes, cuts: list[int]) -> None:
    reader = ChunkedReader()
    body, left = b"", data
    try:
        for size in [*cuts, len(data)]:
            if not reader.done:
                body += reader.feed(left[:size])
                left = left[size:]
    except MalformedError:
        return
    theirs = _Body()
    parser = httptools.HttpRequestParser(theirs)
    parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        parser.feed_data(data[: len(data) - len(left) - len(reader.rest)])
    except httptools.HttpParserError:
        assert not reader.done  # ours looks at a trailer once it is whole
    else:
        assert (theirs.body, theirs.complete) == (body, reader.done)


@settings(max_examples=500, deadline=None)
@given(
    parts=st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    rest=st.binary(max_size=10),
    cuts=st.lists(st.integers(1, 30), max_size=20),
)
def test_chunked_bodies_are_read_in_any_split(parts: list[bytes], rest: bytes, cuts: list[int]) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX: y\r\n\r\n" + rest
    reader = ChunkedReader()
    body = b""
    for size in [*cuts, len(data)]:
        piece, data = data[:size], data[size:]
        if not reader.done:
            body += reader.feed(piece)
        else:
            reader.rest += piece
    assert (body, reader.done, reader.rest) == (b"".join(parts), True, rest)
