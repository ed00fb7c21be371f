"""A process that was the service before this one, as long as it serves what was open then.

It reports what visitors do there, and hears which sessions end, over a channel. When this process is followed itself,
the channel is passed on to the next one: the old process need not know, and what it has open lives on. The copy that
stays here is not used, but it keeps the old process from believing that nobody serves any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from tmpnb_py.core.models import State
from tmpnb_py.fronts import stamps
from tmpnb_py.proxy.client import Given
from tmpnb_py.proxy.server import Proxy
from tmpnb_py.service.upgrade import channel, wire
from tmpnb_py.service.upgrade.channel import Channel, ChannelError
from tmpnb_py.site.site import Site

_log = structlog.get_logger(__name__)


class Former:
    """One such process. `since` is when it was followed (monotonic seconds)."""

    def __init__(self, receiving: Channel, pid: int, version: str, since: float) -> None:
        self.pid = pid
        self.version = version
        self.since = since
        self._channel = receiving
        self._open: dict[str, int] = {}  # its connections that are counted in the sessions' records here
        self._last = wire.Report()
        self._is_gone = False
        self._is_passed_on = False
        self._waiting: asyncio.Task[object] | None = None

    @classmethod
    def passed_on(cls, told: wire.Behind, descriptors: list[int]) -> Former:
        """One whose channel another process passes on. Raises `ChannelError` for what is none."""
        if len(descriptors) != 1:
            channel.close_all(descriptors)
            raise ChannelError("a process of before comes without its channel")
        found = cls(Channel(channel.inherited(descriptors[0])), told.pid, told.version, told.since)
        found._last = wire.Report(connections=told.connections, websockets=told.websockets)
        return found

    # --- how it does

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self._is_gone

    @property
    def connections(self) -> int:
        """How many of visitors' connections it has open."""
        return self._last.connections

    @property
    def websockets(self) -> int:
        """How many of those are WebSockets."""
        return self._last.websockets

    @property
    def opened(self) -> Mapping[str, int]:
        """Its open connections by session."""
        return self._open

    def know_open(self, opened: Mapping[str, int]) -> None:
        """It has these open, which the sessions' records are still to count."""
        self._open |= opened

    # --- hearing and telling it

    async def receive(self) -> channel.Received:
        """The next message, while its process is not followed yet. Raises `ChannelError`."""
        return await self._channel.receive()

    def send(self, message: wire.Message) -> None:
        """Tell it. No-op once it has ended, or is another process's to tell."""
        if not self._is_gone and not self._is_passed_on:
            self._channel.send(message.written())

    def ended(self, container_id: str) -> None:
        """A session has ended: its connections there are to be closed."""
        self._open.pop(container_id, None)
        self.send(wire.Ended(id=container_id))

    def cut(self) -> None:
        """Have it close what it has open, and end."""
        self.send(wire.Cut())

    async def follow(self, site: Site, proxy: Proxy) -> None:
        """Take connections and reports until it has ended, or is passed on."""
        self._is_passed_on = False
        self._count(proxy, wire.Report(), self._last)
        try:
            while not self._is_passed_on:
                self._waiting = asyncio.current_task()
                received = await self._channel.receive()
                self._waiting = None
                await self._heed(site, proxy, *received)
        except ChannelError as error:
            self._channel.close()  # so that nothing is sent to where nobody reads
            self._is_gone = True
            self._lose(site)
            _log.info("predecessor_gone", pid=self.pid, reason=str(error))
        finally:
            self._waiting = None
            self._count(proxy, self._last, wire.Report())

    async def _heed(self, site: Site, proxy: Proxy, data: bytes, descriptors: list[int]) -> None:
        """Do what a message says. One that makes no sense is left out: those after it are visitors' connections."""
        try:
            message, more = wire.read(data)
        except wire.NonsenseError as error:
            _log.warning("predecessor_not_understood", pid=self.pid, error=str(error))
            message, more = None, b""
        if isinstance(message, wire.Connection) and len(descriptors) == 1:
            await proxy.take_on(Given(descriptors[0], more, message.place))
            return
        channel.close_all(descriptors)
        if isinstance(message, wire.Report):
            self._take(site, proxy, message)
        elif isinstance(message, wire.Ends):
            self._end(site, message)

    def _take(self, site: Site, proxy: Proxy, report: wire.Report) -> None:
        now, counters = time.monotonic(), proxy.counters
        self._count(proxy, self._last, report)
        self._last = report
        counters.bytes_received += report.received
        counters.bytes_sent += report.sent
        for digit, count in enumerate(report.responses):
            counters.responses[digit] += count
        for stamp in report.stamps:
            container = site.find(stamp.id)
            if container is not None and container.state is State.CLAIMED:
                stamps.apply(stamp, container, stamp.open - self._open.get(stamp.id, 0), now)
                self._open[stamp.id] = stamp.open

    @staticmethod
    def _count(proxy: Proxy, before: wire.Report, after: wire.Report) -> None:
        proxy.counters.left_connections += after.connections - before.connections
        proxy.counters.left_tunnels += after.websockets - before.websockets

    def _end(self, site: Site, ends: wire.Ends) -> None:
        for gone in ends.ends:
            container = site.find(gone.id)
            if container is not None:
                site.end(container, gone.reason, time.monotonic())

    def _lose(self, site: Site) -> None:
        """It has ended, and what it had open with it."""
        now = time.monotonic()
        for container_id, count in self._open.items():
            container = site.find(container_id)
            if container is not None and count:
                stamps.lose(container, count, now)
        self._open = {}

    # --- when this process is followed itself

    def pass_on(self) -> tuple[wire.Behind, int]:
        """Hear it no more; returns what the next process has to know, and a copy of the channel's descriptor.

        What has been read until then has been heeded: no visitor's connection is between two processes. Raises
        `ChannelError` where it has just ended, and `OSError` where no descriptor is free.
        """
        if self._is_gone:
            raise ChannelError("it has ended")
        copy = self._channel.copy()
        self._is_passed_on = True
        if self._waiting is not None:  # and not in the middle of a message
            self._waiting.cancel()
        told = wire.Behind(
            pid=self.pid, version=self.version, since=self.since, connections=self.connections,
            websockets=self.websockets,
        )  # fmt: skip
        return told, copy

    def retire(self, site: Site) -> None:
        """Another process serves: it has this one's channel now, or this one is to end."""
        if not self._is_passed_on:
            self.cut()
        else:
            self._add_to(site, -1)

    def take_back(self, site: Site, *, anew: bool) -> None:
        """This process goes on as the service, before it follows again; `anew` if another one has been it."""
        if anew and self._is_passed_on:
            self._add_to(site, 1)

    def _add_to(self, site: Site, sign: int) -> None:
        for container_id, count in self._open.items():
            if (container := site.find(container_id)) is not None:
                container.open_connections = max(0, container.open_connections + sign * count)

    @property
    def is_passed_on(self) -> bool:
        """Whether another process hears it."""
        return self._is_passed_on

    def close(self) -> None:
        """Hang up."""
        self._is_gone = True
        self._channel.close()
