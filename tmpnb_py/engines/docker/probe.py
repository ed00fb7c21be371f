"""Our end of a probe that tests whether a container's Unix socket reaches us, and its directory stays sealed.

A socket does not reach us if the engine runs on another machine, or in a virtual machine that shares files but not
sockets. Used by the Docker engine, and the Swarm engine for what a probe says; `probe_inside` is the other end.
"""

from __future__ import annotations

import asyncio

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import SocketAddress
from tmpnb_py.engines.docker.probe_inside import ANSWER
from tmpnb_py.engines.docker.trials import SLOW
from tmpnb_py.jupyter.endpoint import Endpoint

_RETRY_SECONDS = 0.05
_LONGEST = 64


class Answer(asyncio.Protocol):
    """Collects what a probe says, at most so many bytes of it, until it closes the connection."""

    def __init__(self, most: int = _LONGEST) -> None:
        self._most = most
        self.data = b""
        self.ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data[: self._most - len(self.data)]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.ended.done():
            self.ended.set_result(self.data)


async def asked(address: SocketAddress, seconds: float) -> str | None:
    """The probe's report on its directory ("sealed" or "open"); None if it cannot be connected to.

    Raises `EngineError` if it accepts but does not answer within `seconds`: then it is only slow.
    """
    protocol: Answer | None = None
    try:
        async with asyncio.timeout(seconds):
            while (protocol := await _connected(address)) is None:  # noqa: ASYNC110 - the event is in a container
                await asyncio.sleep(_RETRY_SECONDS)
            text = (await protocol.ended).decode("ascii", "replace")
    except TimeoutError as error:
        if protocol is None:
            return None
        raise EngineError(f"a probe did not answer within {seconds:g} s", remedy=SLOW) from error
    finally:
        if protocol is not None and protocol.transport is not None:
            protocol.transport.close()
    return text.removeprefix(ANSWER) if text.startswith(ANSWER) else None


async def _connected(address: SocketAddress) -> Answer | None:
    """Connect; None if nothing listens there yet."""
    try:
        endpoint = Endpoint(address)
    except OSError:
        return None
    try:
        return await endpoint.connect(Answer)
    except OSError:
        return None
    finally:
        endpoint.close()
