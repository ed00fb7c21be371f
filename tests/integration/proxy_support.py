"""A real `Proxy` on a real listener, with scripted notebook servers on real sockets, on both event loops.

A test module takes the fixture by assignment: `rig = proxy_support.rig`. When a test ends, the rig
fails it if anything was logged by asyncio, reported to the loop's exception
handler, or left behind (connections, tasks, counters).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import pathlib
import secrets
import socket
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from aiohttp import web

from tests.waiting import SECONDS, until
from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.models import Address, EndReason, SocketAddress, TcpAddress
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.records import Records
from tmpnb_py.proxy.answers import Page
from tmpnb_py.proxy.counters import Counters
from tmpnb_py.proxy.server import Proxy

T = TypeVar("T")
P = TypeVar("P", bound=asyncio.BaseProtocol)


async def soon(awaitable: Awaitable[T], seconds: float = SECONDS) -> T:
    """Await with a bound."""
    return await asyncio.wait_for(awaitable, seconds)


@dataclasses.dataclass
class Message:
    """A request or a response as it was on the wire."""

    start_line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""

    @property
    def status(self) -> int:
        """A response's."""
        return int(self.start_line.split(b" ")[1])

    @property
    def target(self) -> bytes:
        """A request's."""
        return self.start_line.split(b" ")[1]

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        """The one value of a header, or None."""
        values = self.all(name)
        assert len(values) < 2
        return values[0] if values else None


class Wire:
    """One end of a connection, read and written by a script."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.heads = 0

    async def send(self, data: bytes) -> None:
        """Write and wait until it may be buffered."""
        self.writer.write(data)
        await soon(self.writer.drain())

    async def send_split(self, data: bytes, sizes: list[int]) -> None:
        """Write in pieces that arrive as pieces."""
        for size in [*sizes, len(data)]:
            piece, data = data[:size], data[size:]
            if piece:
                await self.send(piece)
                await asyncio.sleep(0)

    async def exactly(self, size: int) -> bytes:
        """Read so many bytes."""
        return await soon(self.reader.readexactly(size))

    async def head(self) -> Message:
        """Read up to the empty line."""
        raw = await soon(self.reader.readuntil(b"\r\n\r\n"))
        self.heads += 1
        start_line, *lines = raw[:-4].split(b"\r\n")
        pairs = [line.split(b": ", 1) for line in lines]
        return Message(start_line, [(name, value) for name, value in pairs])

    async def request(self) -> Message:
        """Read a whole request."""
        message = await self.head()
        if message.get(b"Transfer-Encoding"):
            message.body = await self.chunked()
        else:
            message.body = await self.exactly(int(message.get(b"Content-Length") or 0))
        return message

    async def response(self, method: str = "GET") -> Message:
        """Read a whole response: of a known length, chunked, or up to the end."""
        message = await self.head()
        length = message.get(b"Content-Length")
        if method == "HEAD" or message.status in (204, 304) or message.status < 200:
            return message
        if message.get(b"Transfer-Encoding"):
            message.body = await self.chunked()
        elif length is not None:
            message.body = await self.exactly(int(length))
        else:
            message.body = await self.rest()
        return message

    async def chunked(self) -> bytes:
        """Read a chunked body."""
        parts: list[bytes] = []
        while True:
            size = int((await soon(self.reader.readuntil(b"\r\n")))[:-2], 16)
            if size == 0:
                assert await self.exactly(2) == b"\r\n"
                return b"".join(parts)
            parts.append(await self.exactly(size))
            assert await self.exactly(2) == b"\r\n"

    async def rest(self) -> bytes:
        """Read up to the end; a reset is an error."""
        return await soon(self.reader.read())

    async def closed(self) -> bytes:
        """Read up to the end, however it ends."""
        try:
            return await self.rest()
        except ConnectionError:
            return b""

    async def silent(self) -> None:
        """Nothing has come and nothing will come by itself: give the loop some rounds to prove otherwise."""
        for _ in range(20):
            await asyncio.sleep(0)
        assert not self.reader._buffer  # type: ignore[attr-defined]

    def half_close(self) -> None:
        """Send no more."""
        self.writer.write_eof()

    def close(self) -> None:
        """Close in good order."""
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset (TCP), without sending what is buffered."""
        sock = self.writer.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Wire], Coroutine[Any, Any, None]]


class Server:
    """A scripted notebook server: `script` runs for each connection. What it raises fails the test."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.accepted = 0
        self.open = 0
        self.wires: list[Wire] = []
        self.errors: list[BaseException] = []
        self.container: Container
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def heard(self) -> int:
        """How many heads of requests have come: a connection that is accepted here may still be dialled for there."""
        return sum(wire.heads for wire in self.wires)

    async def start(self, directory: pathlib.Path | None) -> Address:
        """Listen on a socket in the directory, or on a TCP port."""
        if directory is None:
            self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, backlog=1024)
            return TcpAddress("127.0.0.1", self._server.sockets[0].getsockname()[1])
        path = directory / "server.sock"
        self._server = await asyncio.start_unix_server(self._accepted, path, backlog=1024)
        return SocketAddress(str(directory))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self.open += 1
        wire = Wire(reader, writer)
        self.wires.append(wire)
        try:
            await self.script(wire)
        except (asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:  # noqa: BLE001  (told to the test at its end)
            self.errors.append(error)
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End every script."""
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Rig:
    """The proxy under test and everything round it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.pool = Records("test")
        self.pool.limit = 1000
        self.counters = Counters()
        self.reports: list[dict[str, Any]] = []
        self.servers: list[Server] = []
        self.wires: list[Wire] = []
        self.proxy: Proxy
        self.port = 0
        self._stack = contextlib.AsyncExitStack()

    async def start(self, *, trusted: tuple[str, ...] = (), **limits: float) -> None:
        """Listen; may be called once, with limits that differ from the usual ones."""
        self._started = Settings.model_validate({"allowed_hosts": "*", "trusted_proxies": trusted})
        self._started = self._started.model_copy(update=limits)  # also what is too short for a real service
        self._options = LiveOptions(self._started)
        self.proxy = self.another_proxy(self.counters)
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(self.proxy.client_factory, "127.0.0.1", 0, backlog=1024)
        self._stack.callback(listener.close)
        self.port = listener.sockets[0].getsockname()[1]

    def another_proxy(self, counters: Counters) -> Proxy:
        """One that knows the same sessions and the same application."""
        return Proxy(
            self.pool,
            application=self._dial_application,
            error_page=_error_page,
            counters=counters,
            options=self._options,
            hosts=self._options.derive(lambda settings: Hosts(settings.allowed_hosts)),
        )

    def set(self, **options: object) -> None:
        """Run with the options of the start but for these."""
        self._options.replace(self._started.model_copy(update=options))

    async def _dial_application(self, factory: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        return (await loop.create_unix_connection(factory, str(self.directory / "application")))[1]

    async def application(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        """Our own pages: an aiohttp application that answers everything with one handler."""
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.UnixSite(runner, str(self.directory / "application")).start()

    async def server(self, script: Script, *, tcp: bool = False, session_id: str = "") -> Server:
        """A claimed container whose notebook server does what the script says."""
        server = Server(script)
        session_id = session_id or secrets.token_hex(16)
        directory = self.directory / session_id
        directory.mkdir()
        address = await server.start(None if tcp else directory)
        self._stack.push_async_callback(server.stop)
        server.container = self.claimed(session_id, address)
        self.servers.append(server)
        return server

    def claimed(self, session_id: str, address: Address) -> Container:
        """A claimed container at an address."""
        now = time.monotonic()
        container = Container(session_id, "digest", "token", now)
        self.pool.insert(container)
        endpoint = Endpoint(address)
        self._stack.callback(endpoint.close)
        assert self.pool.mark_ready(container, endpoint, now)
        assert self.pool.claim(now) is container
        return container

    def end(self, container: Container) -> None:
        """What the reaper and the composition root do when a session ends."""
        self.pool.end(container, EndReason.IDLE, time.monotonic())
        self.proxy.upstreams.drop(container.id)

    async def client(self, *, receive_buffer: int = 0, source: str = "127.0.0.1") -> Wire:
        """A connection of a visitor at an address of the loopback network."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((source, 0))
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await soon(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port)))
        wire = Wire(*await asyncio.open_connection(sock=sock, limit=2**16))
        self.wires.append(wire)
        return wire

    async def ask(
        self, server: Server, path: str = "x", *, method: str = "GET", headers: str = "", body: bytes = b""
    ) -> Message:
        """One request on a connection of its own."""
        client = await self.client()
        await client.send(request(server, path, method=method, headers=headers, body=body))
        answer = await client.response(method)
        client.close()
        return answer

    @property
    def clients(self) -> int:
        """How many connections the proxy holds."""
        return self.counters.open_connections

    async def stop(self) -> None:
        """Close everything and look at what is left."""
        for wire in self.wires:
            if not wire.writer.is_closing():
                wire.reset()
        try:
            if hasattr(self, "proxy"):
                await self._stop_proxy()
        finally:
            await self._stack.aclose()
        await asyncio.sleep(0.002)
        assert self.counters.open_tunnels == 0
        assert [server.container.open_connections for server in self.servers] == [0] * len(self.servers)
        assert [server.errors for server in self.servers] == [[]] * len(self.servers)
        assert self.reports == []

    async def _stop_proxy(self) -> None:
        await until(lambda: not self.clients)
        await self.proxy.shut_down(1)
        await until(lambda: not any(one.open for one in self.proxy.upstreams.state.values()))
        assert not any(one.idle or one.closing for one in self.proxy.upstreams.state.values())
        assert not self.proxy.dialling


def _error_page(status: int, *, wants_html: bool, languages: str = "") -> Page:
    if wants_html:
        return Page(b"text/html", b"<h1>%d</h1>" % status)
    return Page(b"application/json", b'{"status": %d}' % status)


R = TypeVar("R", bound=Rig)


@contextlib.asynccontextmanager
async def stopped(rig: R) -> AsyncIterator[R]:
    """The rig, which has what the loop reports meanwhile, and is stopped afterwards."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: rig.reports.append(context))
    try:
        yield rig
    finally:
        await rig.stop()
        loop.set_exception_handler(None)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of a test that nobody should have to read."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
async def rig(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Rig]:
    """Started with the usual limits by `await rig.start()`, or with others."""
    with tempfile.TemporaryDirectory(prefix="proxy-") as directory:
        async with stopped(Rig(pathlib.Path(directory))) as rig:
            yield rig
        assert warnings_in(caplog) == []


def request(server: Server, path: str = "x", *, method: str = "GET", headers: str = "", body: bytes = b"") -> bytes:
    """A request for a container, as bytes. `headers` is raw, each line with its end."""
    length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
    target = f"/user/{server.container.id}/{path}"
    return f"{method} {target} HTTP/1.1\r\nHost: t\r\n{length}{headers}\r\n".encode() + body


def response(body: bytes = b"ok", *, status: str = "200 OK", headers: str = "", length: bool = True) -> bytes:
    """A response, as bytes."""
    framing = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"HTTP/1.1 {status}\r\n{framing}{headers}\r\n".encode() + body


def answering(*answers: bytes) -> Script:
    """A server that gives these answers on each connection, the last one again and again."""

    async def script(wire: Wire) -> None:
        left = list(answers)
        while not wire.reader.at_eof():
            await wire.request()
            await wire.send(left.pop(0) if len(left) > 1 else left[0])

    return script


async def echo(wire: Wire) -> None:
    """A server that answers with what it got: the head and the body."""
    while True:
        message = await wire.request()
        lines = [message.start_line, *(b"%b: %b" % header for header in message.headers)]
        await wire.send(response(b"\n".join(lines) + b"\n\n" + message.body))


# The example of RFC 6455 §1.3.
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
HANDSHAKE = "Connection: Upgrade\r\nUpgrade: websocket\r\n" + KEY
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def frame(opcode: int, payload: bytes) -> bytes:
    """A masked frame of a client (RFC 6455 §5.2), its mask being zero."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


async def tunnel(
    rig: Rig, server: Server, *, receive_buffer: int = 0, path: str = "api/kernels/1/channels"
) -> tuple[Wire, Wire]:
    """An open WebSocket: the visitor's end and the server's. The server's script must keep it open."""
    client = await rig.client(receive_buffer=receive_buffer)
    await client.send(request(server, path, headers=HANDSHAKE))
    answer = await client.head()
    assert answer.status == 101
    return client, server.wires[-1]


async def accept_websocket(wire: Wire) -> None:
    """A server that upgrades, and then leaves the connection to the test."""
    await wire.request()
    await wire.send(SWITCHING)
    await asyncio.Event().wait()
