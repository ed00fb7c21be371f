"""One notebook's way to the web: its socket, its connections, what it may take and what it has taken.

Whoever connects to the socket is this notebook. A notebook that wants more than its share is not refused but not
accepted either, so the kernel makes it wait, and this service spends nothing on it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import structlog

from tmpnb_py.core.tasks import Tasks, event_or_time
from tmpnb_py.core.web_targets import Target
from tmpnb_py.egress.allowance import Allowance
from tmpnb_py.egress.counters import WebCounters, WebRoom
from tmpnb_py.egress.exchange import Exchange
from tmpnb_py.egress.policy import RefusedError, WebPolicy
from tmpnb_py.egress.resolving import Resolver
from tmpnb_py.egress.wire import Clock, End

_ASKED_PER_SECOND, _ASKED_AT_ONCE = 20.0, 100.0  # connections, and requests after the first of one
_PARSED_PER_SECOND, _PARSED_AT_ONCE = 2000.0, 1000.0  # heads and chunks of plain HTTP, at 12 µs of a processor each
_PARSED_NAP = 0.02  # seconds; a wait for each would cost more than what it holds up
_BURST_SECONDS = 2.0  # of the rate
_ACCEPT_AGAIN_SECONDS = 1.0  # after an error such as no free descriptor
_TOLD_SECONDS = 60.0  # between two lines in the log about refusals of one notebook

_log = structlog.get_logger(__name__)


class Notebook:
    """Serves the connections of one notebook until it is closed."""

    def __init__(
        self,
        container_id: str,
        listener: socket.socket,
        *,
        policy: Callable[[], WebPolicy],
        resolver: Resolver,
        counters: WebCounters,
        room: WebRoom,
    ) -> None:
        self.inode = 0
        self._id = container_id
        self._listener = listener
        self._policy = policy
        self._resolver = resolver
        self._counters = counters
        self._room = room
        now = time.monotonic()
        self._asking = Allowance(_ASKED_PER_SECOND, _ASKED_AT_ONCE, now)
        self._parsing = Allowance(_PARSED_PER_SECOND, _PARSED_AT_ONCE, now)
        self._bytes = Allowance(0.0, 0.0, now)
        self._tasks = Tasks()
        self._open = 0
        self._not_begun: set[socket.socket] = set()  # accepted, and not served yet
        self._left = asyncio.Event()
        self._told_at = -_TOLD_SECONDS
        self._untold = 0
        self._opened = 0
        self._moved = [0, 0]  # bytes in, and out

    def start(self) -> None:
        """Begin to accept connections."""
        self._tasks.start("web-accept", self._accept())

    async def close(self) -> None:
        """End every connection, and say what was used."""
        await self._tasks.close()
        for sock in self._not_begun:
            sock.close()
        self._listener.close()  # not before: the loop watches its descriptor until then
        self._count(-self._open)
        if self._opened:
            received, sent = self._moved
            _log.info("web_used", id=self._id, connections=self._opened, bytes_in=received, bytes_out=sent)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._pace()
            while self._open >= self._policy().connections or not self._room.has_room(self._open):
                self._left.clear()
                await event_or_time(self._left, _ACCEPT_AGAIN_SECONDS)
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError:
                await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
                continue
            self._not_begun.add(sock)
            self._count(1)
            self._opened += 1
            self._counters.connections += 1
            self._tasks.start("web-connection", self._serve(sock), ended=self._ended)

    def _ended(self, name: str, error: BaseException | None) -> None:
        self._count(-1)
        self._left.set()
        if error is not None:
            _log.error("action_failed", task=name, id=self._id, exc_info=error)

    async def _serve(self, sock: socket.socket) -> None:
        self._not_begun.discard(sock)
        clock = Clock()
        try:
            client = await End.of(sock, clock, self._meter, inside=True)

            async def dial(target: Target) -> End:
                found = await self._resolver.dial(target, self._policy())
                if self._policy().log_hosts:
                    _log.info("web_reached", id=self._id, host=target.host, port=target.port)
                return await End.of(found, clock, self._meter, inside=False)

            exchange = Exchange(client, self._policy(), dial, self._refused, pace=self._pace, parsed=self._parsed)
            await exchange.run()
        except OSError:
            sock.close()

    def _count(self, more: int) -> None:
        self._open += more
        self._counters.open += more
        self._room.open += more

    async def _pace(self) -> None:
        if wait := self._asking.take(1.0, time.monotonic()):
            await asyncio.sleep(wait)

    async def _parsed(self) -> None:
        """Wait while more was parsed than this notebook's share: a byte must not cost a thousand times another."""
        if (wait := self._parsing.take(1.0, time.monotonic())) >= _PARSED_NAP:
            await asyncio.sleep(wait)

    async def _meter(self, size: int, inside: bool) -> None:
        """Count what was read, and wait while it is more than the rate. `inside`: it came from the notebook."""
        rate = self._policy().rate
        self._moved[inside] += size
        if inside:
            self._counters.bytes_out += size
        else:
            self._counters.bytes_in += size
        self._bytes.rate, self._bytes.burst = rate, rate * _BURST_SECONDS
        if wait := self._bytes.take(size, time.monotonic()):
            await asyncio.sleep(wait)

    def _refused(self, error: RefusedError, target: Target | None) -> None:
        """Count it, and say so once a minute at most: a notebook can make any number of them."""
        self._counters.refused[error.reason] += 1
        self._untold += 1
        now = time.monotonic()
        if now - self._told_at < _TOLD_SECONDS:
            return
        shown = {"host": target.host, "port": target.port} if target and self._policy().log_hosts else {}
        _log.info("web_refused", id=self._id, reason=error.reason, count=self._untold, **shown)
        self._told_at, self._untold = now, 0
