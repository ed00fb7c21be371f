"""The process that follows another one: takes its listeners, its pool and its connections, and hears its reports.

It does all that can be done without the pool first, as only what comes then is a gap for visitors. What goes wrong
before it serves ends it, and the other process goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import MutableMapping, Sequence

from tmpnb_py import __version__
from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core.errors import SettingsError, UpgradeError
from tmpnb_py.core.models import State
from tmpnb_py.pools.container import Container, Memory
from tmpnb_py.service.listeners import Bound
from tmpnb_py.service.upgrade import channel, wire
from tmpnb_py.service.upgrade.channel import Channel, ChannelError
from tmpnb_py.service.upgrade.former import Former
from tmpnb_py.service.upgrade.old import VARIABLE
from tmpnb_py.site.site import Site
from tmpnb_py.tracing.spans import Tracing
from tmpnb_py.tracing.visits import taken_up

_START_SECONDS = 10.0
_WAIT_SECONDS = 60.0  # for the pool: the old process waits for hand-overs that are under way


class Predecessor:
    """The process that this one follows."""

    def __init__(self, receiving: Channel, start: wire.Start, pid: int) -> None:
        self.listeners: list[Bound] = []
        self.locks: dict[str, Sequence[int]] = {}  # descriptors of the pools' locks, by the engine's name of each
        self._newest = Former(receiving, pid, start.version, time.monotonic())
        self._formers = [self._newest]
        self._kept: dict[str, wire.Kept] = {}
        self._keys: dict[str, str] = {}
        self._waits: list[wire.Waiting] = []
        self._asked_to_stop: asyncio.Event | None = None
        self._tracing: Tracing | None = None

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

    async def pool(self, site: Site, tracing: Tracing | None = None) -> bytes:
        """Say that all is prepared, and wait for the pools; returns the secret of proofs. Raises `UpgradeError`."""
        self._tracing = tracing
        if self._asked_to_stop is not None and self._asked_to_stop.is_set():
            raise UpgradeError("this process has been told to stop before it was the service")
        self._newest.send(wire.Prepared(version=__version__, features=wire.FEATURES))
        site.subscribe(lambda container: self._moved(container, time.monotonic()))
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                while True:
                    data, descriptors = await self._newest.receive()
                    message = _read(data, descriptors)
                    if isinstance(message, wire.Yours):
                        channel.close_all(descriptors)
                        _resize(site, message)
                        return bytes.fromhex(message.secret)
                    self._learn(site, message, descriptors)
        except (ChannelError, TimeoutError) as error:
            raise UpgradeError(f"the process that is to be followed went on by itself: {error}") from error

    def _learn(self, site: Site, message: wire.Message | None, descriptors: list[int]) -> None:
        if isinstance(message, wire.Behind):
            self._formers.append(Former.passed_on(message, descriptors))
            return
        if isinstance(message, wire.Lock):
            self.locks[message.pool] = descriptors
            return
        channel.close_all(descriptors)
        if isinstance(message, wire.Sessions):
            self._kept |= {one.id: one for one in message.sessions}
        elif isinstance(message, wire.Ends):
            for gone in message.ends:
                pool = site.pools.get(gone.pool) or site.default_pool
                pool.know_ended(gone.id, gone.reason, gone.at)
        elif isinstance(message, wire.Keys):
            self._keys |= message.keys
        elif isinstance(message, wire.Waits):
            self._waits += message.waits
        elif isinstance(message, wire.Opened):
            for former in self._formers:
                if former.pid == message.pid:
                    former.know_open(message.opened)

    def line_restored(self, site: Site) -> None:
        """Tickets are known again: those who ask once more with the same key get the same one.

        Programs whose open requests are still to come have their places in line.
        """
        for name in site.pools:
            waits = [one for one in self._waits if one.pool == name]
            site.claims[name].hold_places((_ticket(one), one.ahead) for one in waits)
        self._waits = []
        for key, ticket_id in self._keys.items():
            site.claims_with(ticket_id).know_key(ticket_id, key)
        self._keys = {}

    def serving(self) -> None:
        """Say that this process is the service now."""
        self._newest.send(wire.Serving())
        for descriptors in self.locks.values():  # of pools that are here no more
            channel.close_all([*descriptors])
        self._kept = {}  # what was not listed is no session any more

    def _moved(self, container: Container, now: float) -> None:
        """A session has been taken up, or has ended."""
        if container.state is State.CLAIMED and (kept := self._kept.pop(container.id, None)) is not None:
            container.remember(_memory(kept, self._tracing), now)
            self._newest.know_open({container.id: kept.open} if kept.open else {})
            container.open_connections += sum(one.opened.get(container.id, 0) for one in self._formers)
        elif container.state is State.REMOVING and container.claimed_at is not None:
            for one in self._formers:
                one.ended(container.id)

    # --- afterwards

    @property
    def formers(self) -> tuple[Former, ...]:
        """The processes that still serve what was open when they were followed, the newest first."""
        return tuple(one for one in self._formers if not one.is_gone)

    def close(self) -> None:
        """Hang up."""
        for one in self._formers:
            one.close()


def _ticket(wait: wire.Waiting) -> Ticket:
    return Ticket("", wait.since, quota_key=wait.quota_key, ticket_id=wait.id)


def _read(data: bytes, descriptors: list[int]) -> wire.Message | None:
    """A message; the descriptors that came with what is none are closed. Raises `NonsenseError`."""
    try:
        return wire.read(data)[0]
    except wire.NonsenseError:
        channel.close_all(descriptors)
        raise


def _resize(site: Site, yours: wire.Yours) -> None:
    """A size that the operator has set stays, as at a reload, unless the option itself has changed."""
    sizes = dict(yours.sizes)
    if not sizes and yours.size is not None:
        sizes = {site.default_pool.name: (yours.size, yours.pool_size)}
    for name, (size, option) in sizes.items():
        pool = site.pools.get(name)
        if pool is not None and size != option == pool.base:
            with contextlib.suppress(SettingsError):  # above a limit of today
                pool.resize(size)


def _memory(kept: wire.Kept, tracing: Tracing | None) -> Memory:
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
        visit=taken_up(kept.trace, tracing),
    )
