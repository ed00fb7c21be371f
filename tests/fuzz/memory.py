"""The real proxy with transports in memory: thousands of messages per second, and every byte of both legs is seen.

A client's bytes go in through its protocol, in pieces of any size; what the proxy sends to the container is read by a
strict reader of its own. Only what asyncio promises to protocols is used, so the proxy's inside may change freely.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, cast

from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.models import TcpAddress
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container as Record
from tmpnb_py.pools.records import Records
from tmpnb_py.proxy.answers import Page
from tmpnb_py.proxy.counters import Counters
from tmpnb_py.proxy.server import Proxy

SESSION_ID = "a" * 32
OTHER_ID = "b" * 32
TARGET = f"/user/{SESSION_ID}/x".encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
_MAX_READ = 64 * 1024
_ROUNDS = 200

P = TypeVar("P", bound=asyncio.BaseProtocol)


class MemoryTransport(asyncio.Transport):
    """One end of a connection: the proxy's. `received` is called with what it sends, None at its end."""

    def __init__(self, protocol: asyncio.BaseProtocol, received: Callable[[bytes | None], None]) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._received = received
        self._waiting: collections.deque[bytes | None] = collections.deque()
        self._paused = False
        self._eof_written = False
        self.closing = False
        self.lost = False
        self.address = "127.0.0.1"

    # --- what the other end does

    def feed(self, data: bytes | None) -> None:
        """The other end sends bytes, or (None) no more."""
        self._waiting.append(data)
        self._deliver()

    def vanish(self) -> None:
        """The other end is gone, with a reset."""
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._lose, ConnectionResetError(104, "Connection reset by peer"))

    def stall(self, *, stalled: bool) -> None:
        """The other end does not keep up, or does again."""
        if not self.closing:
            protocol = cast(asyncio.Protocol, self._protocol)
            protocol.pause_writing() if stalled else protocol.resume_writing()

    def _deliver(self) -> None:
        while self._waiting and not self._paused and not self.closing:
            data = self._waiting.popleft()
            if data is None:
                if not cast(asyncio.Protocol, self._protocol).eof_received():
                    self.close()
            elif len(data) > _MAX_READ:
                self._waiting.extendleft((data[_MAX_READ:], data[:_MAX_READ]))
            elif isinstance(self._protocol, asyncio.BufferedProtocol):
                self._into_buffer(self._protocol, data)
            else:
                cast(asyncio.Protocol, self._protocol).data_received(data)

    def _into_buffer(self, protocol: asyncio.BufferedProtocol, data: bytes) -> None:
        buffer = memoryview(protocol.get_buffer(len(data)))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        if data[size:]:
            self._waiting.appendleft(data[size:])
        protocol.buffer_updated(size)

    def _lose(self, error: Exception | None) -> None:
        self.lost = True
        self._protocol.connection_lost(error)
        if error is None:
            self._received(None)

    # --- what asyncio promises

    def write(self, data: Any) -> None:
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not self.closing and data:
            self._loop.call_soon(self._received, bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not self._eof_written and not self.closing:
            self._eof_written = True
            self._loop.call_soon(self._received, None)

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._lose, None)

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return not self._paused and not self.closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self.address, 1) if name == "peername" else default


# --- the container's side


@dataclasses.dataclass
class Request:
    """A request as the container was sent it. `complete` is False where it broke off."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    complete: bool = False

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a header, by its name in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


_REQUEST_LINE = re.compile(rb"(?=OPTIONS |[^ ]+ /)([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\*|/[!-~]*) HTTP/1\.1")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)")


def read_requests(data: bytes, *, field: re.Pattern[bytes] = FIELD) -> tuple[list[Request], int]:
    """Read a connection's bytes by the letter; `AssertionError` for anything that the proxy should not write.

    The second part is how many bytes whole requests took. `field` is what a header must look like.
    """
    found: list[Request] = []
    position = 0
    while True:
        end = data.find(b"\r\n\r\n", position)
        if end < 0:
            assert data.count(b"\n", position) == data.count(b"\r\n", position)
            return found, position
        lines = data[position:end].split(b"\r\n")
        first = _REQUEST_LINE.fullmatch(lines[0])
        assert first, lines[0]
        fields = [field.fullmatch(line) for line in lines[1:]]
        assert all(fields), lines
        request = Request(first[1], first[2], [(one[1], one[2]) for one in fields if one])
        found.append(request)
        size = _read_body(request, data[end + 4 :])
        if not request.complete:
            return found, position
        position = end + 4 + size
        if request.all(b"upgrade"):
            return found, position


def _read_body(request: Request, data: bytes) -> int:
    lengths, codings = request.all(b"content-length"), request.all(b"transfer-encoding")
    assert len(lengths) + len(codings) <= 1
    assert codings in ([], [b"chunked"])
    if codings:
        return _read_chunks(request, data)
    size = 0
    if lengths:
        assert re.fullmatch(rb"0|[1-9][0-9]*", lengths[0])
        size = int(lengths[0])
    request.body = data[:size]
    request.complete = len(data) >= size
    return size


def _read_chunks(request: Request, data: bytes) -> int:
    position = 0
    while (end := data.find(b"\r\n", position)) >= 0:
        assert re.fullmatch(rb"0|[1-9a-f][0-9a-f]*", data[position:end])
        size = int(data[position:end], 16)
        chunk = data[end + 2 : end + 2 + size]
        request.body += chunk
        position = end + 2 + size
        after = data[position : position + 2]
        if len(chunk) < size or len(after) < 2:
            break
        assert after == b"\r\n"
        position += 2
        if size == 0:
            request.complete = True
            return position
    return position


class Container:
    """The container's end of one connection: answers whole requests, or does what the test wants."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.sent = b""
        self.answered = 0
        self.ended = False
        self.transport: MemoryTransport

    def received(self, data: bytes | None) -> None:
        """The proxy sends."""
        if data is None:
            self.ended = True
            return
        self.sent += data
        requests, _ = read_requests(self.sent)
        whole = [request for request in requests if request.complete]
        for request in whole[self.answered :]:
            self.answered += 1
            self._memory.order.append(request)
            self._memory.respond(self, request)

    @property
    def requests(self) -> list[Request]:
        """What it has been sent so far; the last may be incomplete."""
        return read_requests(self.sent)[0]


class _MemoryEndpoint(Endpoint):
    """Dials the container in memory."""

    def __init__(self, memory: Memory, session_id: str) -> None:
        super().__init__(TcpAddress("127.0.0.1", 1))
        self._memory, self._session_id = memory, session_id

    async def connect(self, factory: Callable[[], P]) -> P:
        return self._memory.dialled(factory, self._session_id)


@dataclasses.dataclass
class Seen:
    """What one client's bytes have led to."""

    address: bytes
    answer: bytes = b""
    closed: bool = False
    containers: list[Container] = dataclasses.field(default_factory=list)

    @property
    def requests(self) -> list[Request]:
        """All that the container was sent, in order of the connections."""
        return [request for container in self.containers for request in container.requests]


class Memory:
    """A proxy that lives as long as the test, so that one example's rubbish meets the next one's connections."""

    def __init__(self, **limits: Any) -> None:
        self.reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.reports.append(context))
        self.counters = Counters()
        self._pool = Records("memory")
        self._pool.limit = 1000
        options = LiveOptions(Settings(allowed_hosts=("*",), **limits))
        self.proxy = Proxy(
            self._pool,
            application=self._dial_application,
            error_page=lambda status, *, wants_html, languages: Page(b"application/json", b'{"status": %d}' % status),
            counters=self.counters,
            options=options,
            hosts=options.derive(lambda settings: Hosts(settings.allowed_hosts)),
        )
        now = time.monotonic()
        for session_id in (SESSION_ID, OTHER_ID):
            record = Record(session_id, "digest", "token", now)
            self._pool.insert(record)
            assert self._pool.mark_ready(record, _MemoryEndpoint(self, session_id), now)
            assert self._pool.claim(now) is record
        self.respond: Callable[[Container, Request], None] = answer_fine
        self._visits = 0
        self._moved = 0  # pieces that the proxy has sent to anybody
        self.order: list[Request] = []  # whole requests to whomever, as they came in
        self.connections: dict[str, list[Container]] = {SESSION_ID: [], OTHER_ID: [], "": []}

    async def _dial_application(self, factory: Callable[[], P]) -> P:
        return self.dialled(factory, "")

    def dialled(self, factory: Callable[[], P], session_id: str) -> P:
        """A connection to a container, or (with no id) to our own application."""

        def received(part: bytes | None) -> None:
            self._moved += 1
            container.received(part)

        protocol, container = factory(), Container(self)
        container.transport = MemoryTransport(protocol, received)
        self.connections[session_id].append(container)
        protocol.connection_made(container.transport)
        return protocol

    async def visit(
        self,
        data: bytes,
        cuts: Iterable[int] = (),
        *,
        ending: Literal["timeout", "close", "half-close", "reset"] = "timeout",
    ) -> Seen:
        """One client sends these bytes in pieces, and then nothing more until everything is over."""
        seen, transport = self.client()
        for size in [*cuts, len(data)]:
            piece, data = data[:size], data[size:]
            if piece:
                transport.feed(piece)
                await asyncio.sleep(0)
        await self.settle()
        if ending == "half-close":
            transport.feed(None)
        elif ending == "close":
            transport.feed(None)
            await asyncio.sleep(0)
            transport.vanish()
        elif ending == "reset":
            transport.vanish()
        for turn in range(_ROUNDS):
            await self.settle()
            if transport.lost:
                break
            self.proxy.sweep(float("inf"))
            if turn > 20:  # a tunnel, or an answer without end
                transport.vanish()
        assert transport.lost, "it hangs"
        seen.containers = self.connections[SESSION_ID][:]
        assert self.reports == [], self.reports
        return seen

    def client(self) -> tuple[Seen, MemoryTransport]:
        """A new client's connection; what was before is over."""
        self.order.clear()
        for containers in self.connections.values():
            containers[:] = [one for one in containers if not one.ended]
            for container in containers:  # kept by the proxy
                container.sent, container.answered = b"", 0
        self._visits += 1
        address = f"192.0.2.{self._visits % 7}"
        seen = Seen(address.encode())

        def received(part: bytes | None) -> None:
            self._moved += 1
            seen.closed = seen.closed or part is None
            seen.answer += part or b""

        protocol = self.proxy.client_factory()
        transport = MemoryTransport(protocol, received)
        transport.address = address
        protocol.connection_made(transport)
        return seen, transport

    async def settle(self) -> None:
        """Let everything happen that can: a pipeline of many requests takes as many turns."""
        moved = -1
        while moved != self._moved:
            moved = self._moved
            for _ in range(12):
                await asyncio.sleep(0)


def answer_late(container: Container, request: Request) -> None:
    """A container that takes its time: what its client sends meanwhile is there before the answer."""
    loop = asyncio.get_running_loop()

    def later(turns: int) -> None:
        if turns:
            loop.call_soon(later, turns - 1)
        else:
            answer_fine(container, request)

    later(4)


def answer_fine(container: Container, request: Request) -> None:
    """The usual container."""
    container.transport.feed(ANSWER if request.method != b"HEAD" else ANSWER[:-4])
