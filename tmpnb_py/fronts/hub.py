"""The orchestrator's side of the front ends: tells them the routes, takes their reports, and lets visitors in.

Made and run by the composition root where a port for front ends is set. Whoever connects has proved to hold the
stack's secret before a byte of theirs is read (`wire`). What a forwarded connection says of its visitor (address,
scheme, host) is believed like a trusted proxy's: only a front end of ours can open one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import Iterable, Iterator
from functools import partial

import pydantic
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tmpnb_py.core.errors import EngineError, SettingsError
from tmpnb_py.core.models import State
from tmpnb_py.core.tasks import Tasks, event_or_time
from tmpnb_py.fronts import stamps, wire
from tmpnb_py.fronts.ledger import Ledger
from tmpnb_py.fronts.wire import Contexts, Hello, Place, Report, Route, Stamp, Told
from tmpnb_py.options.groups.swarm import DEFAULT_SECRET
from tmpnb_py.options.kinds import format_value
from tmpnb_py.options.live import Change, LiveOptions
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.server import Proxy
from tmpnb_py.site.site import Site

log = structlog.get_logger(__name__)

GRACE_SECONDS = 120.0  # for which the open connections of a front end that is away count as open
_LOOK_SECONDS = 1.0
_WRITE_SECONDS = 10.0
_MOST_FRONTS = 1000

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclasses.dataclass(eq=False)
class _Front:
    """One front end, from its first hello until its grace is over. `open` are its WebSockets by session."""

    name: str
    writer: asyncio.StreamWriter
    open: dict[str, int] = dataclasses.field(default_factory=dict)
    lost_at: float | None = None


class Hub(Collector):
    """Serves the front ends of one service. As a collector it says how many there are."""

    def __init__(self, site: Site, proxy: Proxy, options: LiveOptions) -> None:
        self._site = site
        self._proxy = proxy
        self._shared = options.derive(shared)
        self._options = options
        self._ledger = Ledger()
        self._fronts: dict[str, _Front] = {}
        self._tasks = Tasks()
        self._servers: list[asyncio.Server] = []
        self._changed = asyncio.Event()  # replaced at each change
        self._look = asyncio.Event()
        self._is_written = False  # whether the ledger knows every session
        site.subscribe(self._moved)
        options.subscribe(self._reloaded)

    async def open(self, listeners: Iterable[socket.socket]) -> None:
        """Serve on bound sockets until `close`. Raises `SettingsError` where the secret cannot be used."""
        listeners = tuple(listeners)
        try:
            contexts = contexts_of(self._options.current)
        except SettingsError:
            for listener in listeners:
                listener.close()
            raise
        for listener in listeners:
            server = await asyncio.start_server(
                partial(self._accept, contexts), sock=listener, ssl=contexts.server, limit=wire.LIMIT,
                ssl_handshake_timeout=wire.HANDSHAKE_SECONDS,
            )  # fmt: skip
            self._servers.append(server)
        self._tasks.start("fronts", self._follow_site())

    def open_of(self, container_id: str) -> int:
        """How many of a session's open connections are at front ends."""
        return sum(front.open.get(container_id, 0) for front in self._fronts.values())

    def forget_open(self) -> None:
        """Another process serves now, and front ends report to that one what they have open."""
        for front in self._fronts.values():
            for container_id, opened in front.open.items():
                if (container := self._site.find(container_id)) is not None:
                    container.open_connections = max(0, container.open_connections - opened)
            front.open = {}

    def retire(self) -> None:
        """This process ends: have front ends look for the next one. What they have forwarded is still answered."""
        for server in self._servers:
            server.close()
        for front in self._fronts.values():
            front.writer.close()

    async def close(self) -> None:
        """Hang up. Front ends go on with what they know."""
        self.retire()
        await self._tasks.close()

    def collect(self) -> Iterator[Metric]:
        """How many front ends are connected."""
        connected = sum(front.lost_at is None for front in self._fronts.values())
        yield GaugeMetricFamily("tmpnb_fronts", "Front ends that are connected.", value=connected)

    # --- what changes

    def _moved(self, _: Container) -> None:
        self._look.set()

    def _reloaded(self, _: Change) -> None:
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _follow_site(self) -> None:
        """Write down what changed: at each transition, and now and then what is told by none."""
        while True:
            self._look.clear()
            if self._site.listed:
                changed, self._is_written = self._write_down() or not self._is_written, True
                if changed:
                    self._wake()
            self._forget_lost(time.monotonic())
            await event_or_time(self._look, _LOOK_SECONDS)
            await asyncio.sleep(0)  # several at once are one round

    def _write_down(self) -> bool:
        before, there = self._ledger.seq, set()
        for pool in self._site.pools.values():
            for container in pool.in_state(State.CLAIMED):
                there.add(container.id)
                address = container.endpoint.address if container.endpoint is not None else None
                key = (address, container.tokenless_origin)
                if not self._ledger.is_known(container.id, key):
                    place = None if address is None else Place.of(address)
                    route = Route(
                        id=container.id, pool=pool.name, token=container.token, base_url=container.base_url,
                        origin=container.tokenless_origin, place=place,
                    )  # fmt: skip
                    self._ledger.put(route, key)
        for gone in self._ledger.missing(there):
            self._ledger.drop(gone)
            for front in self._fronts.values():  # which says no more of it, also not that its connections have ended
                front.open.pop(gone, None)
        return self._ledger.seq != before

    # --- connections

    def _accept(self, contexts: Contexts, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.start("front", self._serve(contexts, reader, writer))

    async def _serve(self, contexts: Contexts, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not contexts.is_ours(writer):
                log.warning("front_refused", peer=str(writer.get_extra_info("peername")))
                return
            async with asyncio.timeout(wire.HANDSHAKE_SECONDS):
                line = await wire.read_line(reader)
            if not line:
                return
            hello = Hello.model_validate_json(line)
            if hello.do == "forward":
                await self._forward((reader, writer))
            elif hello.front and (hello.front in self._fronts or len(self._fronts) < _MOST_FRONTS):
                await self._keep(hello, (reader, writer))
        except (OSError, EngineError, pydantic.ValidationError) as error:
            log.info("front_connection_lost", error=type(error).__name__)
        finally:
            writer.close()

    async def _forward(self, front: Connection) -> None:
        """A visitor's connection, as the front end passes it on."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._proxy.forwarded_client, theirs)
            own = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        await wire.join(front, own)

    async def _keep(self, hello: Hello, connection: Connection) -> None:
        """Tell a front end and listen to it until either side ends."""
        reader, writer = connection
        front = self._fronts.get(hello.front)
        if front is None:
            front = self._fronts[hello.front] = _Front(hello.name, writer)
        else:  # the same process came anew: what it had before is void
            front.writer.close()
            front.writer, front.lost_at = writer, None
        log.info("front_joined", front=front.name)
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell(hello, writer))
                await self._listen(front, reader)
                telling.cancel()
        except* (OSError, EngineError, pydantic.ValidationError) as errors:
            log.info("front_connection_lost", front=front.name, error=type(errors.exceptions[0]).__name__)
        finally:
            if front.writer is writer:
                front.lost_at = time.monotonic()
                log.warning("front_lost", front=front.name, open=sum(front.open.values()))

    async def _tell(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        epoch, seq, shared = hello.epoch, hello.seq, None
        while True:
            changed = self._changed
            if shared != self._shared.value:
                shared = self._shared.value
                writer.write(wire.line_of(Told(event="options", options=shared)))
            if self._is_written:
                now_at = self._ledger.seq
                for told in self._ledger.since(epoch, seq):
                    writer.write(wire.line_of(told))
                    await _drained(writer)
                epoch, seq = self._ledger.epoch, now_at
                writer.write(wire.line_of(Told(event="alive", epoch=epoch, seq=seq)))
            else:
                writer.write(wire.line_of(Told(event="wait")))
            await _drained(writer)
            await event_or_time(changed, wire.HEARTBEAT_SECONDS)

    async def _listen(self, front: _Front, reader: asyncio.StreamReader) -> None:
        while True:
            async with asyncio.timeout(wire.SILENCE_SECONDS):
                line = await wire.read_line(reader)
            if not line:
                return
            now = time.monotonic()
            for stamp in Report.model_validate_json(line).stamps:
                self._take(front, stamp, now)

    # --- reports

    def _take(self, front: _Front, stamp: Stamp, now: float) -> None:
        container = self._site.find(stamp.id)
        if container is None or container.state is not State.CLAIMED:
            front.open.pop(stamp.id, None)
            return
        stamps.apply(stamp, container, stamp.open - front.open.pop(stamp.id, 0), now)
        if stamp.open:
            front.open[stamp.id] = stamp.open

    def _forget_lost(self, now: float) -> None:
        for key, front in tuple(self._fronts.items()):
            if front.lost_at is not None and (not front.open or now - front.lost_at > GRACE_SECONDS):
                del self._fronts[key]
                for container_id, opened in front.open.items():
                    container = self._site.find(container_id)
                    if container is not None:
                        stamps.lose(container, opened, now)


async def _drained(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(_WRITE_SECONDS):
        await writer.drain()


def shared(settings: Settings) -> dict[str, str]:
    """The options that front ends are told, as they are written; those at their defaults are left out."""
    return {
        name: format_value(OPTIONS[name].kind, getattr(settings, name))
        for name in wire.SHARED
        if getattr(settings, name) != Settings.model_fields[name].default
    }


def contexts_of(settings: Settings) -> Contexts:
    """The TLS of front ends' connections. Raises `SettingsError` where the secret cannot be used."""
    return Contexts(settings.front_secret or settings.swarm_secret or DEFAULT_SECRET, wire.PROTOCOL)
