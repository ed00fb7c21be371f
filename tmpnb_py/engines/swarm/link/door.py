"""Accepts TLS connections so that strangers crowd nobody out. Used by relays, and by the service for front ends.

Until its handshake is over anybody may be at the other end, and may say nothing, or a byte now and then. So only so
many may be in the middle of one, each for ten seconds at most; one more cuts off whoever began first. Who has the
secret is through in a few milliseconds, and so before its turn to be cut off comes: to keep it out, thousands of
connections have to be opened in each of these, and an idle crowd costs so much memory and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.swarm.link import lines, tls
from tmpnb_py.engines.swarm.link.lines import Connection

log = structlog.get_logger(__name__)

MOST_STRANGERS = 512
_BACKLOG = 512
_PAUSE_SECONDS = 0.2  # where there are no descriptors, or no memory, for another connection


class Door:
    """One bound socket. `serve` is called with each holder of the secret, as a task; its end closes the connection.

    Who has finished a handshake and is none, or speaks another version, is refused here: `<name>_refused` in the log.
    """

    def __init__(
        self,
        listener: socket.socket,
        contexts: tls.Contexts,
        serve: Callable[[Connection], Coroutine[Any, Any, None]],
        name: str,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._contexts = contexts
        self._serve = serve
        self._name = name
        self._strangers: dict[socket.socket, asyncio.Task[None]] = {}  # in the order in which they came
        self._served = Tasks()
        self._accepting: asyncio.Task[None] | None = None
        self._tasks = Tasks()

    def open(self) -> None:
        """Listen, and accept until `shut`."""
        self._listener.listen(_BACKLOG)
        self._accepting = self._tasks.start(f"{self._name}-accepts", self._accept())

    def shut(self) -> None:
        """Accept nothing more. Whoever is served goes on."""
        if self._accepting is not None:
            self._accepting.cancel()
        self._listener.close()

    async def close(self) -> None:
        """Cut all connections."""
        self.shut()
        await self._tasks.close()
        await self._served.close()

    async def _accept(self) -> None:
        loop, failing = asyncio.get_running_loop(), False
        while True:
            try:
                peer, _ = await loop.sock_accept(self._listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if not failing:
                    log.warning("cannot_accept", error=str(error))
                failing = True
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            failing = False
            while len(self._strangers) >= MOST_STRANGERS:
                first = next(iter(self._strangers))
                self._strangers.pop(first).cancel()
            self._strangers[peer] = self._tasks.start(f"{self._name}-handshake", self._shake_hands(peer))

    async def _shake_hands(self, peer: socket.socket) -> None:
        reader = asyncio.StreamReader(limit=lines.LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, peer, ssl=self._contexts.server, ssl_handshake_timeout=tls.HANDSHAKE_SECONDS
            )
        except (OSError, EOFError):  # ssl.SSLError is such; who does not have the secret, or has left
            peer.close()
            return
        except asyncio.CancelledError:
            peer.close()
            raise
        finally:
            self._strangers.pop(peer, None)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._served.start(self._name, self._served_by(reader, writer))

    async def _served_by(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            if self._contexts.is_ours(writer):
                await self._serve((reader, writer))
            else:
                log.warning(f"{self._name}_refused", peer=str(writer.get_extra_info("peername")))
