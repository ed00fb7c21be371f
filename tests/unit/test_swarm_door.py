"""Who does not have the secret crowds nobody out who has."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.swarm.relays import make_secret
from tmpnb_py.engines.swarm.link import door as door_module
from tmpnb_py.engines.swarm.link import tls
from tmpnb_py.engines.swarm.link.door import Door
from tmpnb_py.engines.swarm.link.lines import Connection
from tmpnb_py.engines.swarm.link.tls import Contexts


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return Contexts(make_secret(tmp_path_factory.mktemp("secret") / "relay.pem"))


@pytest.fixture
async def port(contexts: Contexts) -> AsyncIterator[int]:
    """Where what is said comes back."""

    async def echo(peer: Connection) -> None:
        while line := await peer[0].readline():
            peer[1].write(line)

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    bound: int = listener.getsockname()[1]
    door = Door(listener, contexts, echo, "echo")
    door.open()
    yield bound
    await door.close()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", bound)


async def echoed(port: int, contexts: Contexts) -> bytes:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=contexts.client)
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        return line


async def test_an_idle_crowd_keeps_nobody_out(port: int, contexts: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "MOST_STRANGERS", 8)
    crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
    crowd[-1][1].write(b"\x16\x03\x01")  # the beginning of a record, and then nothing
    assert await echoed(port, contexts) == b"hello\n"
    async with asyncio.timeout(10):
        cut = [reader for reader, _ in crowd[:30] if not await reader.read()]
    assert len(cut) == 30, "who began first is cut off first"
    assert await echoed(port, contexts) == b"hello\n"
    for _, writer in crowd:
        writer.close()


async def test_who_is_through_stays_whoever_comes(
    port: int, contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "MOST_STRANGERS", 4)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=contexts.client)
    crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    writer.write(b"still here\n")
    async with asyncio.timeout(10):
        assert await reader.readline() == b"still here\n"
    for one in (writer, *(late for _, late in crowd)):
        one.close()


async def test_a_stranger_has_so_long(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01\x02\x00")
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 4096, b'{"do":"hello"}\n'])
async def test_what_is_no_tls_is_cut_off(port: int, contexts: Contexts, said: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    async with asyncio.timeout(10):
        answer = await _read_all(reader)
    assert b"hello" not in answer
    writer.close()
    assert await echoed(port, contexts) == b"hello\n"


async def test_another_secret_is_refused(port: int, contexts: Contexts, tmp_path: Path) -> None:
    other = Contexts(make_secret(tmp_path / "other.pem"))
    other.client.verify_mode = ssl.CERT_NONE  # it need not believe us
    with contextlib.suppress(OSError):
        assert await echoed(port, other) == b""
    assert await echoed(port, contexts) == b"hello\n"


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""
