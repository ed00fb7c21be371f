"""The process that follows another one: takes its listeners, its pool and its connections, and hears its reports.

It does all that can be done without the pool first, as only what comes then is a gap for visitors. What goes wrong
before it serves ends it, and the other process goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import MutableMapping

import structlog

from tmpnb_py import __version__
from tmpnb_py.core.errors import SettingsError, UpgradeError
from tmpnb_py.core.models import State
from tmpnb_py.fronts import stamps
from tmpnb_py.pools.container import Container, Memory
from tmpnb_py.proxy.client import Given
from tmpnb_py.proxy.server import Proxy
from tmpnb_py.service.listeners import Bound
from tmpnb_py.service.upgrade import channel, wire
from tmpnb_py.service.upgrade.channel import Channel, ChannelError
from tmpnb_py.service.upgrade.old import VARIABLE
from tmpnb_py.site.site import Site

_START_SECONDS = 10.0
_WAIT_SECONDS = 60.0  # for the pool: the old process waits for hand-overs that are under way

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True)
class Tunnels:
    """What the old process still has open."""

    pid: int
    version: str
    since: float
    connections: int
    websockets: int


class Predecessor:
    """The process that this one follows."""

    def __init__(self, receiving: Channel, start: wire.Start, pid: int) -> None:
        self.listeners: list[Bound] = []
        self._channel = receiving
        self._version = start.version
        self._pid = pid
        self._since = time.monotonic()
        self._kept: dict[str, wire.Kept] = {}
        self._open: dict[str, int] = {}
        self._keys: dict[str, str] = {}
        self._last = wire.Report()
        self._is_gone = False
        self._asked_to_stop: asyncio.Event | None = None

    @classmethod
    async def of(cls, environ: MutableMapping[str, str]) -> Predecessor | None:
        """The process that has started this one to follow it, None where nobody has. Raises `UpgradeError`."""
        number = environ.pop(VARIABLE, "")
        if not number.isdecimal():
            return None
        try:
            receiving = Channel(channel.inherited(int(number)))
        except ChannelError as error:
            raise UpgradeError(f"there is no process to be followed: {error}") from error
        with contextlib.ExitStack() as unless_all_is_well:
            unless_all_is_well.callback(receiving.close)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    data, descriptors = await receiving.receive()
                sockets = [socket.socket(fileno=one) for one in descriptors]
                for sock in sockets:
                    unless_all_is_well.callback(sock.close)
                start, _ = wire.read(data)
            except (ChannelError, TimeoutError, OSError) as error:
                raise UpgradeError(f"the process that is to be followed says nothing: {error}") from error
            if not isinstance(start, wire.Start) or start.protocol != wire.PROTOCOL:
                raise UpgradeError("the process that is to be followed is of another kind", remedy="Restart instead.")
            if len(sockets) != len(start.listeners):
                raise UpgradeError("the process that is to be followed sent other listeners than it says")
            unless_all_is_well.pop_all()
        predecessor = cls(receiving, start, os.getppid())
        places = zip(start.listeners, sockets, strict=True)
        predecessor.listeners = [Bound(place.name, sock, place.host, place.port) for place, sock in places]
        return predecessor

    # --- up to the moment from which this process serves

    def follow_unless(self, asked_to_stop: asyncio.Event) -> None:
        """Do not even ask for the pool once this is set: the other process is not told to stop."""
        self._asked_to_stop = asked_to_stop

    async def pool(self, site: Site) -> bytes:
        """Say that all is prepared, and wait for the pool; returns the secret of proofs. Raises `UpgradeError`."""
        if self._asked_to_stop is not None and self._asked_to_stop.is_set():
            raise UpgradeError("this process has been told to stop before it was the service")
        self._channel.send(wire.Prepared(version=__version__).written())
        site.subscribe(lambda container: self._moved(container, time.monotonic()))
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                while True:
                    message, _ = wire.read(await self._channel.receive_message())
                    if isinstance(message, wire.Yours):
                        _resize(site, message)
                        return bytes.fromhex(message.secret)
                    self._learn(site, message)
        except (ChannelError, TimeoutError) as error:
            raise UpgradeError(f"the process that is to be followed went on by itself: {error}") from error

    def _learn(self, site: Site, message: wire.Message | None) -> None:
        if isinstance(message, wire.Sessions):
            self._kept |= {one.id: one for one in message.sessions}
        elif isinstance(message, wire.Ends):
            for gone in message.ends:
                site.pool_for().know_ended(gone.id, gone.reason, gone.at)
        elif isinstance(message, wire.Keys):
            self._keys |= message.keys

    def line_restored(self, site: Site) -> None:
        """Tickets are known again: those who ask once more with the same key get the same one."""
        for key, ticket_id in self._keys.items():
            site.claims_for().know_key(ticket_id, key)
        self._keys = {}

    def serving(self) -> None:
        """Say that this process is the service now."""
        self._channel.send(wire.Serving().written())
        self._kept = {}  # what was not listed is no session any more

    def _moved(self, container: Container, now: float) -> None:
        """A session has been taken up, or has ended."""
        if container.state is State.CLAIMED and (kept := self._kept.pop(container.id, None)) is not None:
            container.remember(_memory(kept), now)
            if kept.open:
                self._open[container.id] = kept.open
                container.open_connections += kept.open
        elif container.state is State.REMOVING and container.claimed_at is not None and not self._is_gone:
            self._open.pop(container.id, None)
            self._channel.send(wire.Ended(id=container.id).written())

    # --- afterwards

    async def follow(self, site: Site, proxy: Proxy) -> None:
        """Take connections and reports until the old process has ended."""
        try:
            while True:
                await self._heed(site, proxy, *await self._channel.receive())
        except ChannelError as error:
            self._channel.close()  # so that nothing is sent to where nobody reads
            self._is_gone = True
            self._lose(site)
            proxy.counters.left_connections = proxy.counters.left_tunnels = 0
            _log.info("predecessor_gone", pid=self._pid, reason=str(error))

    async def _heed(self, site: Site, proxy: Proxy, data: bytes, descriptors: list[int]) -> None:
        """Do what a message says. One that makes no sense is left out: those after it are visitors' connections."""
        try:
            message, more = wire.read(data)
        except wire.NonsenseError as error:
            _log.warning("predecessor_not_understood", pid=self._pid, error=str(error))
            message, more = None, b""
        if isinstance(message, wire.Connection) and len(descriptors) == 1:
            await proxy.take_on(Given(descriptors[0], more))
            return
        channel.close_all(descriptors)
        if isinstance(message, wire.Report):
            self._take(site, proxy, message)
        elif isinstance(message, wire.Ends):
            self._end(site, message)

    def _take(self, site: Site, proxy: Proxy, report: wire.Report) -> None:
        self._last, now, counters = report, time.monotonic(), proxy.counters
        counters.left_connections, counters.left_tunnels = report.connections, report.websockets
        counters.bytes_received += report.received
        counters.bytes_sent += report.sent
        for digit, count in enumerate(report.responses):
            counters.responses[digit] += count
        for stamp in report.stamps:
            container = site.find(stamp.id)
            if container is not None and container.state is State.CLAIMED:
                stamps.apply(stamp, container, stamp.open - self._open.get(stamp.id, 0), now)
                self._open[stamp.id] = stamp.open

    def _end(self, site: Site, ends: wire.Ends) -> None:
        for gone in ends.ends:
            container = site.find(gone.id)
            if container is not None:
                site.end(container, gone.reason, time.monotonic())

    def _lose(self, site: Site) -> None:
        """The old process has ended, and what it had open with it."""
        now = time.monotonic()
        for container_id, count in self._open.items():
            container = site.find(container_id)
            if container is not None and count:
                stamps.lose(container, count, now)
        self._open = {}

    def cut(self) -> None:
        """Have the old process close what it has open: this one ends, too, or is followed itself."""
        if not self._is_gone:
            with contextlib.suppress(ChannelError):
                self._channel.send(wire.Cut().written())

    def close(self) -> None:
        """Hang up."""
        self._is_gone = True
        self._channel.close()

    # --- how it does

    @property
    def tunnels(self) -> Tunnels | None:
        """What the old process has open now; None once it has ended."""
        if self._is_gone:
            return None
        return Tunnels(self._pid, self._version, self._since, self._last.connections, self._last.websockets)


def _resize(site: Site, yours: wire.Yours) -> None:
    """A size that the operator has set stays, as at a reload, unless the option itself has changed."""
    pool = site.pool_for()
    if yours.size is not None and yours.size != yours.pool_size == pool.size:
        with contextlib.suppress(SettingsError):  # above a limit of today
            pool.resize(yours.size)


def _memory(kept: wire.Kept) -> Memory:
    return Memory(
        visited=kept.visited,
        has_begun=kept.has_begun,
        client=kept.client,
        quota_key=kept.quota_key,
        tokenless_origin=kept.origin,
        last_activity=kept.activity,
        last_presence=kept.presence,
        left_at=kept.left,
        kernel_nudges=kept.kernel,
        terminal_nudges=kept.terminal,
    )
