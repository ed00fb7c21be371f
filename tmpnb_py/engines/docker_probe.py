"""Does a Unix socket made in a container reach us? The probe's two ends. Used by the Docker engine only.

It does not where the engine runs on another machine, or in a virtual machine that shares files but not
sockets.
"""

from __future__ import annotations

import asyncio

from tmpnb_py.endpoint import Endpoint
from tmpnb_py.engines.docker_options import SOCKET_PATH
from tmpnb_py.models import SocketAddress

PROBE_SECONDS = 20.0
_RETRY_SECONDS = 0.05
_ANSWER = b"tmpnb"

# Runs in the image. It gives up by itself, so that a crashed orchestrator leaves nothing running.
PROBE_SCRIPT = f"""
import os, signal, socket
signal.alarm(30)
server = socket.socket(socket.AF_UNIX)
server.bind({SOCKET_PATH!r})
os.chmod({SOCKET_PATH!r}, 0o666)
server.listen()
while True:
    server.accept()[0].sendall({_ANSWER!r})
"""


class _Answer(asyncio.Protocol):
    """Collects what the container says until it hangs up."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data[: len(_ANSWER)]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.ended.done():
            self.ended.set_result(self.data)


async def answers(address: SocketAddress, seconds: float) -> bool:
    """Whether the probe's answer comes through within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not await _asked(address):  # noqa: ASYNC110 - the event is in a container
                await asyncio.sleep(_RETRY_SECONDS)
    except TimeoutError:
        return False
    return True


async def _asked(address: SocketAddress) -> bool:
    """One question; False where nothing listens there yet."""
    try:
        endpoint = Endpoint(address)
    except OSError:
        return False
    try:
        protocol = await endpoint.connect(_Answer)
    except OSError:
        return False
    finally:
        endpoint.close()
    try:
        return await protocol.ended == _ANSWER
    finally:
        if protocol.transport is not None:
            protocol.transport.close()
