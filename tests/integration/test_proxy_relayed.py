"""The proxy before notebooks that a relay leads to: what its tests of flow, WebSockets and leaving hold, and more.

The tests of those modules run here once again, each server behind a relay's streams: nothing tells the two apart.
"""

from __future__ import annotations

import asyncio
import pathlib
import socket
import tempfile
from collections.abc import AsyncIterator

import pytest
import uvloop

from tests.integration.proxy_support import Rig, Server, Wire, answering, echo, response, soon, stopped, warnings_in
from tests.integration.test_proxy_flow import *  # noqa: F403
from tests.integration.test_proxy_leaving import *  # noqa: F403
from tests.integration.test_proxy_websocket import *  # noqa: F403
from tests.relay_support import Way, a_way
from tests.waiting import until
from tmpnb_py.core.models import Address, SocketAddress
from tmpnb_py.pools.container import Container


class RelayedRig(Rig):
    """Its servers are behind a relay."""

    way: Way

    def claimed(self, session_id: str, address: Address) -> Container:
        return super().claimed(session_id, self.way.address(session_id, address))


@pytest.fixture  # type: ignore[no-redef]
async def rig(caplog: pytest.LogCaptureFixture) -> AsyncIterator[RelayedRig]:
    with tempfile.TemporaryDirectory(prefix="proxy-") as directory:
        rig = RelayedRig(pathlib.Path(directory))
        async with a_way() as rig.way:
            async with stopped(rig):
                yield rig
            await until(lambda: not len(rig.way.ours) and not len(rig.way.theirs))
        assert warnings_in(caplog) == []


@pytest.mark.parametrize(("method", "status"), [("GET", 503), ("POST", 502)])
async def test_who_only_reads_is_told_to_come_again_where_a_relay_is_lost(
    rig: RelayedRig, method: str, status: int
) -> None:
    """Who changes something may have been heard, and is not invited to do it twice."""
    await rig.start()
    asked = asyncio.Event()

    async def silent(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await wire.closed()

    server = await rig.server(silent)
    answer = asyncio.create_task(rig.ask(server, method=method, body=b"x" if method == "POST" else b""))
    await soon(asked.wait())
    rig.way.cut()
    assert ((await answer).status, (await answer).get(b"Retry-After")) == (status, b"5")
    assert (await rig.ask(server)).status == 503


async def test_a_notebook_that_hangs_up_is_no_relay_that_is_away(rig: RelayedRig) -> None:
    await rig.start()

    async def rude(wire: Wire) -> None:
        await wire.request()
        wire.close()

    assert (await rig.ask(await rig.server(rude))).status == 502


async def test_a_notebook_that_is_gone(rig: RelayedRig) -> None:
    await rig.start()
    server = await rig.server(echo)
    await server.stop()
    assert (await rig.ask(server)).status == 502


async def test_a_busy_notebook_is_waited_for(rig: RelayedRig) -> None:
    """unix(7): its backlog is full. What dialling raises on its node it raises here, so the proxy does the same."""
    if not isinstance(asyncio.get_running_loop(), uvloop.Loop):
        pytest.skip("asyncio takes a full backlog for a connection; relays and the service run on uvloop")
    await rig.start()
    directory = rig.directory / "busy"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(directory / "server.sock"))
        listener.listen(0)
        first.connect(str(directory / "server.sock"))
        server = Server(answering(response()))
        server.container = rig.claimed("b" * 32, SocketAddress(str(directory)))
        answer = asyncio.create_task(rig.ask(server))
        await until(lambda: rig.proxy.dialling)
        await asyncio.sleep(0.1)
        assert not answer.done()
        listener.accept()[0].close()
        server._server = await asyncio.start_unix_server(server._accepted, sock=listener)
        assert (await soon(answer)).status == 200
        await server.stop()


async def test_who_reads_nothing_holds_up_nobody(rig: RelayedRig) -> None:
    """One visitor does not take a large answer, another's notebook does not take an upload: the third is served."""
    await rig.start()
    sent, taken = 0, asyncio.Event()

    async def pours(wire: Wire) -> None:
        nonlocal sent
        await wire.request()
        wire.writer.write(response(b"", headers="Content-Length: 1000000000\r\n", length=False))
        while True:
            await wire.send(b"x" * 65536)
            sent += 65536

    async def stuck(wire: Wire) -> None:
        await wire.head()
        await taken.wait()

    greedy, deaf, other = await rig.server(pours), await rig.server(stuck), await rig.server(answering(response()))
    reads_nothing = await rig.client(receive_buffer=4096)
    await reads_nothing.send(f"GET /user/{greedy.container.id}/x HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    uploads = await rig.client()
    head = f"POST /user/{deaf.container.id}/x HTTP/1.1\r\nHost: t\r\nContent-Length: 100000000\r\n\r\n"
    uploads.writer.write(head.encode() + bytes(10_000_000))
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.1)
        assert (await rig.ask(other)).status == 200
    assert 0 < sent < 16 * 1024 * 1024
    taken.set()
    reads_nothing.reset()
    uploads.reset()
