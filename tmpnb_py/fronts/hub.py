"""The orchestrator's side of the front ends: tells them the routes, takes their reports, and lets visitors in.

Made and run by the composition root where a port for front ends is set. Whoever connects has proved to hold the
stack's secret before a byte of theirs is read (`tls`). What a forwarded connection says of its visitor (address,
scheme, host) is believed like a trusted proxy's: only a front end of ours can open one.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import pydantic
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tmpnb_py.core.errors import EngineError, SettingsError
from tmpnb_py.core.models import State
from tmpnb_py.core.tasks import Tasks, event_or_time
from tmpnb_py.engines.swarm.link import lines, tls
from tmpnb_py.engines.swarm.link.door import Door
from tmpnb_py.engines.swarm.link.lines import Connection
from tmpnb_py.engines.swarm.link.tls import Contexts
from tmpnb_py.fronts import pipes, wire
from tmpnb_py.fronts.file_server import FileServer
from tmpnb_py.fronts.ledger import Ledger
from tmpnb_py.fronts.reports import Reporter, Reports, Turns
from tmpnb_py.fronts.wire import Hello, Place, Report, Route, Told
from tmpnb_py.options.groups.swarm import DEFAULT_SECRET
from tmpnb_py.options.kinds import format_value
from tmpnb_py.options.live import Change, LiveOptions
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.server import Proxy
from tmpnb_py.shared_files.shared import SharedFiles
from tmpnb_py.site.site import Site

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0
_LINES_AT_ONCE = 200  # of routes: as they are sent together, and then others have their turn


class Hub(Collector):
    """Serves the front ends of one service. As a collector it says how many there are."""

    def __init__(
        self,
        site: Site,
        proxy: Proxy,
        options: LiveOptions,
        *,
        files: Sequence[SharedFiles] = (),
        term: Callable[[], int] = lambda: 0,
    ) -> None:
        """`files` are given to front ends that keep copies; `term` is this manager's (`wire.Told`)."""
        self._turns = Turns()
        self._files = FileServer(files, self._turns)
        self._term = term
        self._contexts: Contexts | None = None  # until it is open
        self._site = site
        self._proxy = proxy
        self._shared = options.derive(shared)
        self._options = options
        self._ledger = Ledger()
        self._have_moved: dict[str, Container] = {}
        self._unusable: dict[str, Hashable] = {}  # sessions that front ends cannot be told of, and why
        self._reports = Reports(site.find)
        self._tasks = Tasks()
        self._doors: list[Door] = []
        self._changed = asyncio.Event()  # replaced at each change
        self._look = asyncio.Event()
        self._is_written = False  # whether the ledger knows every session
        site.subscribe(self._moved)
        options.subscribe(self._reloaded)

    async def open(self, listeners: Iterable[socket.socket]) -> None:
        """Serve on bound sockets until `close`. Raises `SettingsError` where the secret cannot be used."""
        listeners = tuple(listeners)
        try:
            self._contexts = contexts = contexts_of(self._options.current)
        except SettingsError:
            for listener in listeners:
                listener.close()
            raise
        for listener in listeners:
            door = Door(listener, contexts, self._serve, "front")
            door.open()
            self._doors.append(door)
        if not len(self._tasks):  # it may be opened again, after it was retired
            self._tasks.start("fronts", self._follow_site())

    def open_of(self, container_id: str) -> int:
        """How many of a session's open connections are at front ends."""
        return self._reports.open_of(container_id)

    def forget_open(self) -> None:
        """Another process serves now, and front ends report to that one what they have open."""
        self._reports.forget_open()

    def retire(self) -> None:
        """This process ends: have front ends look for the next one. What they have forwarded is still answered."""
        for door in self._doors:
            door.shut()
        for front in self._reports:
            front.hang_up()

    async def close(self) -> None:
        """Hang up. Front ends go on with what they know."""
        self.retire()
        for door in self._doors:
            await door.close()
        await self._tasks.close()

    def collect(self) -> Iterator[Metric]:
        """How many front ends are connected."""
        yield GaugeMetricFamily("tmpnb_fronts", "Front ends that are connected.", value=len(tuple(self._reports)))

    # --- what changes

    def _moved(self, container: Container) -> None:
        if self._contexts is not None:  # else nobody takes note of it
            self._have_moved[container.id] = container
            self._look.set()

    def _reloaded(self, _: Change) -> None:
        if self._contexts is not None:
            renew(self._contexts)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _follow_site(self) -> None:
        """Write down what changed: at each transition, and now and then what is told by none."""
        looked_at = -math.inf
        while True:
            self._look.clear()
            now = time.monotonic()
            if self._site.listed:
                before, was_written = self._ledger.seq, self._is_written
                if not was_written or now - looked_at >= _LOOK_SECONDS:
                    looked_at = now
                    await self._write_all_down()
                    self._is_written = True
                self._write_moved_down()
                if self._ledger.seq != before or not was_written:
                    self._wake()
            self._reports.forget_lost(now)
            await event_or_time(self._look, _LOOK_SECONDS)
            await asyncio.sleep(0)  # several at once are one round

    async def _write_all_down(self) -> None:
        claimed: set[str] = set()
        for pool in self._site.pools.values():
            containers = pool.in_state(State.CLAIMED)
            claimed.update(container.id for container in containers)
            for start in range(0, len(containers), _LINES_AT_ONCE):
                for container in containers[start : start + _LINES_AT_ONCE]:
                    self._write_one_down(container, pool.engine_name)
                await asyncio.sleep(0)  # they may be thousands
        for gone in self._ledger.missing(claimed):
            self._drop(gone)
        for gone in self._unusable.keys() - claimed:
            del self._unusable[gone]

    def _write_moved_down(self) -> None:
        moved, self._have_moved = self._have_moved, {}
        for container in moved.values():
            pool = self._pool_of(container)
            if pool and container.state is State.CLAIMED:
                self._write_one_down(container, pool)
            elif container.id in self._ledger:
                self._drop(container.id)

    def _pool_of(self, container: Container) -> str:
        return next(
            (pool.engine_name for pool in self._site.pools.values() if pool.get(container.id) is container), ""
        )

    def _drop(self, container_id: str) -> None:
        self._ledger.drop(container_id)
        self._reports.ended(container_id)

    def _write_one_down(self, container: Container, pool: str) -> None:
        """Have front ends told of a session, unless they know it. What no route can say they leave to this process,
        as any that they do not know: one odd container must not keep them from hearing of all others."""
        address = container.endpoint.address if container.endpoint is not None else None
        trace = "" if container.visit is None else container.visit.traceparent
        key = (address, container.tokenless_origin, trace)
        if self._ledger.is_known(container.id, key) or container.state is not State.CLAIMED:
            return
        if self._unusable.get(container.id) == key:
            return
        try:
            route = Route(
                id=container.id, pool=pool, token=container.token, base_url=container.base_url,
                session_name=container.session_name,
                origin=container.tokenless_origin, place=None if address is None else Place.of(address), trace=trace,
            )  # fmt: skip
        except pydantic.ValidationError as error:
            self._unusable[container.id] = key
            log.error("route_invalid", id=container.id, error=_what(error), hint="only the orchestrator leads there")
            if container.id in self._ledger:
                self._ledger.drop(container.id)
            return
        self._ledger.put(route, key)

    # --- connections

    async def _serve(self, peer: Connection) -> None:
        reader, writer = peer
        try:
            async with asyncio.timeout(tls.HANDSHAKE_SECONDS):
                line = await lines.read_line(reader)
            if not line:
                return
            hello = Hello.model_validate_json(line)
            if hello.do == "forward":
                await self._forward((reader, writer))
            elif hello.do == "files":
                await self._files.serve((reader, writer))
            elif front := hello.front and self._reports.join(hello.front, hello.name, writer.close):
                await self._keep(front, hello, (reader, writer))
        except (OSError, EngineError, pydantic.ValidationError) as error:
            log.info("front_connection_lost", error=type(error).__name__)
        finally:
            writer.close()

    async def _forward(self, front: Connection) -> None:
        """A visitor's connection, as the front end passes it on."""
        _, own = await pipes.paired(self._proxy.forwarded_client)
        await pipes.join(front, own)

    async def _keep(self, front: Reporter, hello: Hello, connection: Connection) -> None:
        """Tell a front end and listen to it until either side ends."""
        reader, writer = connection
        log.info("front_joined", front=front.name)
        ours = front.hang_up
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell(hello, writer))
                await self._listen(front, reader)
                telling.cancel()
        except* (OSError, EngineError, pydantic.ValidationError) as errors:
            log.info("front_connection_lost", front=front.name, error=type(errors.exceptions[0]).__name__)
        finally:
            if front.hang_up is ours:
                front.lost_at = time.monotonic()
                log.warning("front_lost", front=front.name, open=sum(front.open.values()))

    async def _tell(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        epoch, seq, shared = hello.epoch, hello.seq, None
        knows_terms = tls.spoken(writer) in wire.WITH_TERMS
        traced = tls.spoken(writer) in wire.WITH_TRACES
        while True:
            changed, term = self._changed, self._term() if knows_terms else 0
            if shared != self._shared.value:
                shared = self._shared.value
                writer.write(lines.line_of(Told(event="options", options=shared, term=term)))
            if self._is_written:
                changes, now_at = self._ledger.since(epoch, seq, term=term, traced=traced), self._ledger.seq
                for start in range(0, len(changes), _LINES_AT_ONCE):
                    async with self._turns.taken():
                        writer.write(b"".join(changes[start : start + _LINES_AT_ONCE]))
                    await lines.drained(writer)
                epoch, seq = self._ledger.epoch, now_at
                writer.write(lines.line_of(Told(event="alive", epoch=epoch, seq=seq, term=term)))
            else:
                writer.write(lines.line_of(Told(event="wait", term=term)))
            await lines.drained(writer)
            await event_or_time(changed, wire.HEARTBEAT_SECONDS)

    async def _listen(self, front: Reporter, reader: asyncio.StreamReader) -> None:
        while True:
            async with asyncio.timeout(wire.SILENCE_SECONDS):
                line = await lines.read_line(reader)
            if not line:
                return
            async with self._turns.taken():
                self._reports.take(front, Report.model_validate_json(line).stamps, time.monotonic())


def _what(error: pydantic.ValidationError) -> str:
    """Which fields are wrong, without what is in them: a token may be."""
    return ", ".join(".".join(map(str, one["loc"])) + ": " + one["msg"] for one in error.errors())[:500]


def shared(settings: Settings) -> dict[str, str]:
    """The options that front ends are told, as they are written; those at their defaults are left out."""
    return {
        name: format_value(OPTIONS[name].kind, getattr(settings, name))
        for name in wire.SHARED
        if getattr(settings, name) != Settings.model_fields[name].default
    }


def contexts_of(settings: Settings) -> Contexts:
    """The TLS of front ends' connections. Raises `SettingsError` where the secret cannot be used."""
    return Contexts(settings.front_secret or settings.swarm_secret or DEFAULT_SECRET, *wire.PROTOCOLS)


def renew(contexts: Contexts) -> None:
    """Read the secret again, for connections from now on. One that cannot be used changes nothing."""
    try:
        if contexts.renew():
            log.warning("front_secret_changed", hint="connections stay; new ones need the new one on both sides")
    except SettingsError as error:
        log.error("reload_failed", error=error.message, remedy=error.remedy)
