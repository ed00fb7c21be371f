"""Visitors who notice everything: requests at a rate, on kept and on fresh connections, and WebSockets.

The HTTP client is written out, because libraries repeat a request whose connection was closed under it. Here that is
a request that was cut.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from tests.waiting import until

_SECONDS = 30.0


class Connection:
    """One kept connection of a client that repeats nothing."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._port = port
        self._host = host
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, token: str = "", *, last: bool = False) -> tuple[int, bytes]:
        """Status and body. Raises `OSError` and `EOFError` for what is refused or cut."""
        async with asyncio.timeout(_SECONDS):
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 0"]
            lines += [f"Authorization: token {token}"] if token else []
            lines += ["Connection: close"] if last else []
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if "transfer-encoding: chunked" in head:
                body = await _chunked(reader)
            else:
                length = head.partition("content-length:")[2].partition("\r\n")[0]
                body = await reader.readexactly(int(length or 0))
            if last or "connection: close" in head:
                self.close()
            return int(head.split()[1]), body

    def close(self) -> None:
        """Hang up; the next request is on a connection of its own."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


@dataclasses.dataclass
class Counted:
    """What became of requests that are asked again and again, on connections that may be kept."""

    answered: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)

    async def ask(self, client: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
        """One more."""
        try:
            async with client.get(url, headers=headers) as response:
                await response.read()
                if response.status == 200:
                    self.answered += 1
                else:
                    self.lost.append(str(response.status))
        except (OSError, aiohttp.ClientError) as error:
            self.lost.append(repr(error))


@dataclasses.dataclass
class Traffic:
    """What a crowd does, and what it met."""

    port: int
    session: dict[str, Any]
    answered: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    failed: list[str] = dataclasses.field(default_factory=list)
    slowest: float = 0.0
    claimed: list[str] = dataclasses.field(default_factory=list)
    closed: list[int | None] = dataclasses.field(default_factory=list)  # the WebSockets' closing codes
    joined: int = 0  # WebSockets that were echoed to
    echoes: int = 0
    host: str = "127.0.0.1"

    @contextlib.asynccontextmanager
    async def of(self, rate: float, *, workers: int, websockets: int, claimants: int) -> AsyncIterator[Traffic]:
        """So many requests per second by so many workers, WebSockets, and people who come and go, meanwhile."""
        async with aiohttp.ClientSession(f"http://{self.host}:{self.port}") as client, asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(number, workers / rate)) for number in range(workers)]
            tasks += [group.create_task(self._claim()) for _ in range(claimants)]
            tasks += [group.create_task(self._echo(client)) for _ in range(websockets)]
            await until(lambda: self.joined >= websockets and self.answered, _SECONDS)
            yield self
            for task in tasks:
                task.cancel()

    async def _met(self, connection: Connection, *request: str, last: bool = False) -> bytes:
        began = time.monotonic()
        try:
            status, body = await connection.ask(*request, last=last)
        except (OSError, EOFError, TimeoutError) as error:
            connection.close()
            self.failed.append(f"{request[:2]}: {error!r}")
            return b""
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answered[status] += 1
        if status >= 400:
            self.failed.append(f"{request[:2]}: {status} {body[:200]!r}")
        return body

    async def _ask(self, number: int, pause: float) -> None:
        """Notebook, API and pages; every third worker on a fresh connection each time."""
        connection, base = Connection(self.port, self.host), f"/user/{self.session['id']}/"
        token = self.session["token"]
        requests = [("GET", f"{base}api", token), ("GET", "/api/stats"), ("GET", f"{base}api/kernels", token)]
        with contextlib.closing(connection):
            while True:
                for request in (*requests, ("GET", "/healthz")):
                    began = time.monotonic()
                    await self._met(connection, *request, last=number % 3 == 0)
                    await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))

    async def _claim(self) -> None:
        with contextlib.closing(Connection(self.port, self.host)) as connection:
            while True:
                body = await self._met(connection, "POST", "/api/spawn?wait=30")
                with contextlib.suppress(ValueError, KeyError):
                    got = json.loads(body)
                    self.claimed.append(got["id"])
                    await self._met(connection, "DELETE", f"/api/sessions/{got['id']}", got["token"])
                await asyncio.sleep(0.1)

    async def _echo(self, client: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"token {self.session['token']}"}
        async with client.ws_connect(f"/user/{self.session['id']}/echo", headers=headers) as socket:
            for number in range(1_000_000):
                with contextlib.suppress(aiohttp.ClientError):  # it has been closed, and says so when it is read
                    await socket.send_str(f"{number}")
                message = await socket.receive(_SECONDS)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    is_told = message.type is aiohttp.WSMsgType.CLOSE  # aiohttp forgets it where it cannot answer
                    self.closed.append(message.data if is_told else socket.close_code)
                    return
                assert message.data == f"{number}"
                self.joined += number == 0
                self.echoes += 1
                await asyncio.sleep(0.2)

    def check(self) -> None:
        """Nobody was refused or cut, and nobody got what somebody else had."""
        assert not self.failed, (len(self.failed), self.failed[:5])
        assert not self.closed, self.closed
        assert len(set(self.claimed)) == len(self.claimed)
