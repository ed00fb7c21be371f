"""What must hold for any bytes in any split; hypothesis and atheris both try to break it."""

from __future__ import annotations

import asyncio
import dataclasses
import re

import h11

from tests.fuzz.memory import (
    ANSWER,
    OTHER_ID,
    SESSION_ID,
    TARGET,
    Container,
    Memory,
    Request,
    answer_fine,
    answer_late,
)
from tests.integration.proxy_support import HANDSHAKE, SWITCHING
from tmpnb_py.pools.activity import Channel, Familiar, is_persons_message
from tmpnb_py.proxy.frames import PEEK, MessageReader
from tmpnb_py.proxy.framing import ChunkedReader, MalformedError

_UNCOMPARED = frozenset(
    (
        b"connection", b"content-length", b"cookie", b"expect", b"http2-settings", b"keep-alive",
        b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"referer", b"te", b"trailer",
        b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
_HEAD = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [\t -~\x80-\xff]*\r\n((?:[!-9;-~]+: [\t -~\x80-\xff]*\r\n)*)\r\n")


@dataclasses.dataclass(frozen=True)
class Answer:
    """A response as a client reads it. `whole` is False where it visibly broke off."""

    status: int
    body: bytes
    whole: bool


@dataclasses.dataclass(frozen=True)
class Reading:
    """A request as somebody reads it."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


# --- requests


async def check_request_bytes(memory: Memory, data: bytes, cuts: list[int]) -> None:
    """Any bytes of a client: well-formed requests for the one container, and what h11 reads in the same bytes."""
    memory.respond = answer_fine
    seen = await memory.visit(data, cuts)
    requests = [request for request in seen.requests if request.complete]
    for request in seen.requests:
        assert request.target.startswith(f"/user/{SESSION_ID}".encode()), request
        assert request.all(b"x-forwarded-for") == [seen.address], request
        assert len(request.all(b"cookie")) <= 1, request
    if OTHER_ID.encode() not in data:
        assert not memory.connections[OTHER_ID]
    answers = read_answers(seen.answer, _methods(memory))
    assert len(answers) <= len(memory.order) + 1
    assert all(answer.whole for answer in answers)
    _compare([reading(request) for request in requests], data)
    for pieces, respond in (([], answer_fine), (cuts, answer_late)):
        memory.respond = respond
        again = await memory.visit(data, pieces)
        assert [reading(request) for request in again.requests if request.complete] == [
            reading(request) for request in requests
        ]
        assert _outcomes(read_answers(again.answer, _methods(memory))) == _outcomes(answers)


def _outcomes(answers: list[Answer]) -> list[Answer | str]:
    """What is wrong in two ways is refused for the one that is seen first, which depends on the pieces."""
    refused = (400, 403, 414, 426, 431, 501, 505)
    return ["refused" if answer.status in refused else answer for answer in answers]


def _methods(memory: Memory) -> list[bytes]:
    """Of all requests in order, one that broke off being the last."""
    everywhere = [request for every in memory.connections.values() for one in every for request in one.requests]
    return [one.method for one in (*memory.order, *(one for one in everywhere if not one.complete))]


def reading(request: Request) -> Reading:
    """What of a request must be the same for every reader."""
    return Reading(request.method, request.target, _end_to_end(request.headers), request.body)


def _end_to_end(headers: list[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    lowered = [(name.lower(), value) for name, value in headers]
    named = {token.strip().lower() for name, value in lowered if name == b"connection" for token in value.split(b",")}
    named -= {b"host", b"cookie", b"authorization"}
    return tuple(
        (name, value)
        for name, value in lowered
        if name not in _UNCOMPARED | named and not name.startswith((b"x-forwarded-", b"forwarded", b"x-real-ip"))
    )


def _compare(ours: list[Reading], data: bytes) -> None:
    """Each request that we passed on must be one that h11 reads in the same bytes, in the same order."""
    read = (with_single_slashes(in_origin_form(one)) for one in read_with_h11(data))
    theirs = [with_host(one) for one in read if one.target.startswith(TARGET)]
    ours = [with_host(one) for one in ours]
    assert ours == theirs[: len(ours)], (ours, theirs)


def in_origin_form(one: Reading) -> Reading:
    """A target in absolute form is the path in it, and its host takes the place of `Host` (RFC 9112 §3.2.2)."""
    found = re.fullmatch(rb"(?i:https?)://([^/?]*)(/.*)", one.target)
    if found is None:
        return one
    others = tuple(header for header in one.headers if header[0] != b"host")
    return dataclasses.replace(one, target=found[2], headers=((b"host", found[1]), *others))


def with_single_slashes(one: Reading) -> Reading:
    """The proxy collapses slashes before and right after the base path, which old embedding clients double."""
    target = re.sub(rb"^/+(?=user/)", b"/", one.target)
    return dataclasses.replace(one, target=re.sub(rb"^(/user/[a-z0-9]+)/+", rb"\1/", target))


def with_host(one: Reading) -> Reading:
    """The proxy speaks HTTP/1.1 to containers, where HTTP/1.0 clients need no Host; an empty port is none.

    Where among the headers it stands means nothing.
    """
    hosts = [value.removesuffix(b":") for name, value in one.headers if name == b"host"] or [b"localhost"]
    others = (header for header in one.headers if header[0] != b"host")
    return dataclasses.replace(one, headers=(*((b"host", host) for host in hosts), *others))


def read_with_h11(data: bytes) -> list[Reading]:
    """The requests in these bytes as h11 reads them, up to what it refuses."""
    found: list[Reading] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    data = data.removeprefix(b"\r\n")  # RFC 9112 §2.2, which h11 does not do
    connection.receive_data(data)
    request: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                headers = list(request.headers.raw_items())
                found.append(Reading(request.method, request.target, _end_to_end(headers), body))
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                rest = bytes(connection.trailing_data[0])
                if _keeps_alive_as_1_0(request):
                    return found + read_with_h11(rest)
                if connection.our_state is not h11.DONE:
                    return found
                connection.start_next_cycle()
                if rest.startswith(b"\r\n"):
                    return found + read_with_h11(rest)
            elif event in (h11.NEED_DATA, h11.PAUSED):
                return found
            else:
                return found
    except (h11.RemoteProtocolError, h11.LocalProtocolError):  # the second after CONNECT
        return found


def _keeps_alive_as_1_0(request: h11.Request) -> bool:
    """HTTP/1.0's way to keep a connection, which h11 does not know."""
    values = [value.lower() for name, value in request.headers if name == b"connection"]
    tokens = {token.strip() for value in values for token in value.split(b",")}
    return request.http_version == b"1.0" and b"keep-alive" in tokens and b"close" not in tokens


# --- answers


async def check_response_bytes(memory: Memory, data: bytes, cuts: list[int], method: bytes, *, old: bool) -> None:
    """Any bytes of a container: at most one final answer, whole or visibly broken off, and nothing for the next."""

    def respond(container: Container, request: Request) -> None:
        if request.target.endswith(b"/good"):
            answer_fine(container, request)
            return
        left = data
        for size in [*cuts, len(data)]:
            piece, left = left[:size], left[size:]
            if piece and not container.ended:
                container.transport.feed(piece)
        if old:
            container.transport.feed(None)

    memory.respond = respond
    version = b"1.0" if old else b"1.1"
    head = b"%b /user/%b/static/x HTTP/%b\r\nHost: t\r\n" % (method, SESSION_ID.encode(), version)
    seen = await memory.visit(head + b"Accept-Encoding: gzip\r\n\r\n")  # below static/ the proxy may compress
    answers = read_answers(seen.answer, [method])
    assert len(answers) <= 1, answers
    good = await memory.visit(b"GET %b/good HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n" % TARGET)
    assert read_answers(good.answer, [b"GET"]) == [Answer(200, ANSWER[-4:], whole=True)], good.answer


def read_answers(data: bytes, methods: list[bytes]) -> list[Answer]:
    """Every final answer in what a client got; `AssertionError` for what is none. A tunnel's bytes end it."""
    found: list[Answer] = []
    while data:
        head = _HEAD.match(data)
        assert head, data
        data = data[head.end() :]
        status = int(head[1])
        if status == 101:
            return found
        if status < 200:
            continue
        method = methods[len(found)] if len(found) < len(methods) else b""
        answer, data = _read_answer(status, head[2], data, method)
        found.append(answer)
    return found


def _read_answer(status: int, headers: bytes, data: bytes, method: bytes) -> tuple[Answer, bytes]:
    lengths = re.findall(rb"(?i)^content-length: (.*)\r$", headers, re.MULTILINE)
    codings = re.findall(rb"(?i)^transfer-encoding: (.*)\r$", headers, re.MULTILINE)
    assert len(lengths) + len(codings) <= 1, headers
    assert codings in ([], [b"chunked"])
    if method == b"HEAD" or status in (204, 304):
        return Answer(status, b"", whole=True), data
    if lengths:
        size = int(lengths[0])
        return Answer(status, data[:size], whole=len(data) >= size), data[size:]
    if codings:
        body, whole, rest = _read_chunks(data)
        return Answer(status, body, whole=whole), rest
    assert b"onnection: close" in headers
    return Answer(status, data, whole=True), b""


def _read_chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while found := re.match(rb"([0-9a-f]+)\r\n", data):
        size = int(found[1], 16)
        start = found.end()
        body += data[start : start + size]
        if len(data) < start + size + 2:
            return body, False, b""
        assert data[start + size : start + size + 2] == b"\r\n"
        data = data[start + size + 2 :]
        if size == 0:
            return body, True, data
    assert re.fullmatch(rb"(?:[0-9a-f]+\r?)?", data)
    return body, False, b""


# --- tunnels


async def check_tunnel(memory: Memory, steps: list[tuple[str, bytes]], ending: str) -> None:
    """After an upgrade every byte passes, in order and unaltered, however both ends stall; so does the end.

    A step is who does it ("client", "container") and the bytes sent, or (empty) that this end stalls or goes on.
    """
    memory.respond = lambda container, _request: container.transport.feed(SWITCHING)
    seen, client = memory.client()
    client.feed(f"GET {TARGET.decode()} HTTP/1.1\r\nHost: t\r\n{HANDSHAKE}\r\n".encode())
    await memory.settle()
    container = memory.connections[SESSION_ID][-1]
    assert seen.answer.startswith(b"HTTP/1.1 101 ")
    up, down = len(container.sent), len(seen.answer)
    ends = {"client": client, "container": container.transport}
    stalled: set[str] = set()
    for who, data in steps:
        if data:
            ends[who].feed(data)
            await asyncio.sleep(0)
            continue
        stalled ^= {who}
        ends[who].stall(stalled=who in stalled)
        other = ends["container" if who == "client" else "client"]
        assert other.is_reading() is (who not in stalled)
    for who in tuple(stalled):
        ends[who].stall(stalled=False)
    await memory.settle()
    assert container.sent[up:] == b"".join(data for who, data in steps if who == "client")
    assert seen.answer[down:] == b"".join(data for who, data in steps if who == "container")
    who, _, kind = ending.partition(" ")
    if kind == "resets":
        ends[who].vanish()
    else:
        ends[who].feed(None)
        await memory.settle()
        assert seen.closed if who == "container" else container.ended
        other = ends["container" if who == "client" else "client"]
        other.feed(b"last words")
        other.feed(None)
    await memory.settle()
    assert client.lost
    assert container.transport.lost
    assert (container.sent if who == "container" else seen.answer).endswith(
        b"" if kind == "resets" else b"last words"
    )
    assert memory.reports == []


# --- readers by themselves


def check_chunks(data: bytes, cuts: list[int]) -> None:
    """A chunked body means the same in any split, and what is accepted h11 accepts, with the same body."""
    body, rest, done = _read_with_ours(data, cuts)
    assert (body, rest, done) == _read_with_ours(data, []) or body is None
    if not done or body is None:
        return
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(
        b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + data[: len(data) - len(rest)]
    )
    theirs, event = b"", reader.next_event()
    while not isinstance(event, h11.EndOfMessage):
        assert event is not h11.NEED_DATA
        theirs += bytes(event.data) if isinstance(event, h11.Data) else b""
        event = reader.next_event()
    assert (theirs, reader.trailing_data[0]) == (body, b"")


def _read_with_ours(data: bytes, cuts: list[int]) -> tuple[bytes | None, bytes, bool]:
    """The body (None where it is refused), what follows it, and whether it is complete."""
    reader, body = ChunkedReader(), b""
    try:
        for size in [*cuts, len(data)]:
            piece, data = data[:size], data[size:]
            if reader.done:
                reader.rest += piece
            else:
                body += reader.feed(piece)
    except MalformedError:
        return None, b"", False
    return body, reader.rest, reader.done


def check_frames(data: bytes, cuts: list[int]) -> None:
    """The reader never raises, sees in any split what it sees byte by byte, and keeps little."""
    reader, bytewise, familiar = MessageReader(), MessageReader(), Familiar()
    for size in [*cuts, len(data)]:
        piece, data = data[:size], data[size:]
        found = reader.feed(piece)
        each = [one for byte in piece for one in bytewise.feed(bytes((byte,)))]
        assert found == each[: len(found)]
        if len(found) == 64:
            return  # more in one read are not looked at
        assert len(found) == len(each)
        for start, whole in found:
            assert len(start) <= PEEK
            for channel in Channel:
                is_persons_message(channel, start, familiar, whole=whole)
