"""The process that is followed: starts the new one, hands on to it, then serves what is open until that has ended.

Until the new process serves, everything can be undone: whatever goes wrong with it, this one goes on as before. From
then on this process reads no further request. It finishes those under way, passes bytes through WebSockets, tells the
new process what visitors do by way of them, and ends when nothing is left or `upgrade_timeout` is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from tmpnb_py import __version__
from tmpnb_py.core.errors import TmpnbError, UpgradeError
from tmpnb_py.core.models import State
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.local.process import parent_of
from tmpnb_py.fronts import stamps
from tmpnb_py.fronts.wire import Stamp
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.client import Given
from tmpnb_py.proxy.server import Proxy
from tmpnb_py.service.listeners import Listeners
from tmpnb_py.service.notify import ServiceManager
from tmpnb_py.service.upgrade import channel, wire
from tmpnb_py.service.upgrade.channel import Channel, ChannelError
from tmpnb_py.service.upgrade.former import Former
from tmpnb_py.site.site import Site

VARIABLE = "_TMPNB_PREDECESSOR"  # the number of the new process's end of the channel
_PREPARE_SECONDS = 120.0  # a busy machine, an engine that makes a trial container
_TAKE_SECONDS = 30.0
_END_SECONDS = 10.0
_ROUND_SECONDS = 0.02  # between two looks at connections that may be idle now, right after the new process serves
_LATER_ROUND_SECONDS = 0.25
_BUSY_SECONDS = 3.0
_REPORT_SECONDS = 1.0
# Each takes about 100 MB as long as it serves what was open when it was followed; with this one there is one more.
_MOST_PASSED_ON = 2
_MOST_BACKLOG = 1000  # messages; a new process that reads nothing is told no more

# What engines and images put before a container's program: they end when it does (docker run --init). So does a shell
# that runs a command or a script (`sh -c`), and that nobody types into.
_INITS = frozenset(("docker-init", "tini", "dumb-init", "catatonit"))
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "busybox", "ksh", "zsh"))

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class Followed(Protocol):
    """The service of this process, as far as an upgrade has to do with it."""

    options: LiveOptions
    listeners: Listeners
    proxy: Proxy
    site: Site

    @property
    def is_follower(self) -> bool:
        """Whether it follows another process: who has adopted it since then does not wait for it."""

    @property
    def secret(self) -> bytes:
        """What proofs are made with that do not outlive a service."""

    @property
    def is_busy(self) -> bool:
        """Whether visitors have connections to this process, or notebooks have some to the web by it."""

    @property
    def formers(self) -> tuple[Former, ...]:
        """The processes that were the service before this one and serve what was open then, the newest first."""

    def locks(self) -> Mapping[str, tuple[int, ...]]:
        """Copies of what each pool's lock is on, by the engine's name of the pool, for who is to have them."""

    def release_locks(self) -> None:
        """Let another process take the locks."""

    def open_elsewhere(self, container_id: str) -> int:
        """How many of a session's open connections others have, who report to whoever is the service."""

    async def suspend(self) -> None:
        """Accept nobody, read no further request, give nothing away. The pool is free, but for its lock."""

    async def resume(self) -> None:
        """Take the pool again, as it is now, and go on."""

    def retire(self) -> None:
        """Another process serves: end what cannot be handed on, but for the visitors' connections."""


class Upgrade:
    """The upgrades of one process: one at a time, and only the last one comes to its end."""

    def __init__(self, service: Followed, manager: ServiceManager, finished: Callable[[], None]) -> None:
        """`finished` is called when this process has nothing left to do, after another one has taken its place."""
        self._service = service
        self._manager = manager
        self._finished = finished
        self._tasks = Tasks()
        self._running: asyncio.Task[int] | None = None
        self._successor: _Successor | None = None

    @property
    def is_followed(self) -> bool:
        """Whether another process is the service now."""
        return self._successor is not None

    def begin(self) -> None:
        """Start an upgrade, as a signal does. The log says how it ends."""
        try:
            self._start()
        except UpgradeError as error:
            _log.error("upgrade_refused", error=error.message)

    async def run(self) -> int:
        """Upgrade. Returns the new process's id once that serves. Raises `UpgradeError`; then all is as it was."""
        return await asyncio.shield(self._start())

    def _start(self) -> asyncio.Task[int]:
        if self._running is not None:
            raise UpgradeError("an upgrade is under way")
        if self._successor is not None:
            raise UpgradeError(f"process {self._successor.pid} is the service already: tell that one")
        if not self._service.is_follower and _ends_with_this_process():
            raise UpgradeError(
                "the container that this process is in ends with it",
                remedy="Upgrade containers by restarting them, behind front ends (docs/operating.md).",
            )
        self._running = self._tasks.start("upgrade", self._run(), ended=self._ended)
        return self._running

    def _ended(self, _name: str, error: BaseException | None) -> None:
        self._running = None
        if error is not None and not isinstance(error, UpgradeError):
            _log.error("action_failed", exc_info=error)

    async def give_up(self) -> None:
        """This process ends: kill a new one that does not serve yet, after which all is as it was."""
        await self._tasks.close()

    def close(self) -> None:
        """Hang up. The process that follows goes on."""
        if self._successor is not None:
            self._successor.hang_up()

    # --- up to the moment from which the new process serves

    async def _run(self) -> int:
        began = time.monotonic()
        _log.info("upgrade_started", version=__version__)
        self._manager.reloading()
        successor = await self._started()
        suspended_at = None
        try:
            version = await successor.prepared()
            suspended_at = time.monotonic()
            await self._service.suspend()
            await self._hand_over(successor)
        except BaseException as error:
            status = await successor.kill()
            if suspended_at is not None:
                await self._service.resume()
            self._manager.ready()
            if not isinstance(error, (ChannelError, TimeoutError, TmpnbError)):
                raise
            hint = "this process goes on as before; the new one's own lines are above"
            _log.error("upgrade_failed", error=str(error) or "no answer in time", status=status, hint=hint)
            raise UpgradeError(f"the new process did not take over: {error or 'no answer in time'}") from error
        now = time.monotonic()
        self._successor = successor
        self._manager.succeeded_by(successor.pid)
        _log.info(
            "upgraded", pid=successor.pid, version=version, duration=round(now - began, 2),
            gap=round(now - suspended_at, 3), websockets=self._service.proxy.counters.open_tunnels,
        )  # fmt: skip
        self._tasks.start("followed", self._follow(successor))
        return successor.pid

    async def _started(self) -> _Successor:
        ours, theirs = channel.pair()
        try:
            process = await asyncio.to_thread(_spawn, theirs.fileno())
        except OSError as error:
            ours.close()
            self._manager.ready()
            _log.error("upgrade_failed", error=str(error), hint="this process goes on as before")
            raise UpgradeError(f"the new process could not be started: {error}") from error
        finally:
            theirs.close()
        bound = tuple(self._service.listeners)
        successor = _Successor(process, Channel(ours))
        places = tuple(wire.Place(name=one.name, host=one.host, port=one.port) for one in bound)
        start = wire.Start(protocol=wire.PROTOCOL, version=__version__, listeners=places)
        successor.channel.send(start.written(), tuple(os.dup(one.sock.fileno()) for one in bound))
        return successor

    async def _hand_over(self, successor: _Successor) -> None:
        """Tell what the new process has to know, and that the pool is free; wait until it serves."""
        service, sending = self._service, successor.channel
        self._pass_formers_on(successor)
        containers = [one for pool in service.site.pools.values() for one in pool.in_state(State.CLAIMED)]
        kept = (_kept(one, one.open_connections - service.open_elsewhere(one.id)) for one in containers)
        for sessions in _batched(kept, wire.MOST_AT_ONCE):
            sending.send(wire.Sessions(sessions=sessions).written())
        for ends in _batched(_ends(service.site), wire.MOST_AT_ONCE):
            sending.send(wire.Ends(ends=ends).written())
        lines = list(service.site.claims.values())
        every = itertools.chain.from_iterable(claims.keys() for claims in lines)
        for keys in _batched(every, wire.MOST_AT_ONCE):
            sending.send(wire.Keys(keys=dict(keys)).written())
        for waits in _batched(_waits(service.site), wire.MOST_AT_ONCE):
            sending.send(wire.Waits(waits=waits).written())
        successor.know(containers)
        service.site.subscribe(successor.moved)
        sizes = {name: (pool.base, pool.options.current.base_size) for name, pool in service.site.pools.items()}
        size, option = sizes[service.site.default_pool.name]
        if wire.LOCKS in successor.features:
            for name, descriptors in service.locks().items():
                sending.send(wire.Lock(pool=name).written(), descriptors)
        else:
            service.release_locks()
        yours = wire.Yours(secret=service.secret.hex(), size=size, pool_size=option, sizes=sizes)
        sending.send(yours.written())
        await successor.serving()

    def _pass_formers_on(self, successor: _Successor) -> None:
        """Have the new process hear those that were followed before this one, as far as it can, and not all too many.

        The others go on until it serves, and end then (`Followed.retire`).
        """
        if wire.FORMERS not in successor.features:
            return
        for former in self._service.formers[:_MOST_PASSED_ON]:
            try:
                told, descriptor = former.pass_on()
            except (ChannelError, OSError):  # it has just ended; or no descriptor is free, and it has to
                continue
            successor.channel.send(told.written(), (descriptor,))
            for opened in _batched(former.opened.items(), wire.MOST_AT_ONCE):
                successor.channel.send(wire.Opened(pid=former.pid, opened=dict(opened)).written())

    # --- afterwards

    async def _follow(self, successor: _Successor) -> None:
        """Serve what is open until it has ended, the new process wants that, or the time is over."""
        service = self._service
        proxy, began = service.proxy, time.monotonic()
        proxy.hand_on(successor.give)
        service.retire()
        listening = self._tasks.start("successor", self._listen(successor))
        reported_at = 0.0
        while not listening.done():
            now = time.monotonic()
            proxy.hand_on(successor.give)
            successor.reap()
            if now - reported_at >= _REPORT_SECONDS:
                successor.report(service.site, proxy, now)
                reported_at = now
            if not service.is_busy or now - began >= service.options.current.upgrade_timeout:
                break
            await asyncio.sleep(_ROUND_SECONDS if now - began < _BUSY_SECONDS else _LATER_ROUND_SECONDS)
        if successor.is_lost and await self._taken_back(successor):
            return
        _log.info("followed_to_the_end", pid=successor.pid, connections=len(proxy.clients))
        self._finished()

    async def _listen(self, successor: _Successor) -> None:
        """Do what the new process says, until it has gone or wants this one to end."""
        with contextlib.suppress(ChannelError):
            while True:
                try:
                    message = await successor.receive()
                except wire.NonsenseError as error:  # it serves all the same
                    _log.warning("successor_not_understood", pid=successor.pid, error=str(error))
                    continue
                if isinstance(message, wire.Cut):
                    return
                if isinstance(message, wire.Ended):
                    self._service.proxy.upstreams.drop(message.id)
        successor.is_lost = True

    async def _taken_back(self, successor: _Successor) -> bool:
        """The new process has died without a word: be the service again. False where yet another one is it."""
        status = await successor.kill()
        _log.error("successor_died", pid=successor.pid, status=status, hint="this process is the service again")
        try:
            await self._service.resume()
        except TmpnbError as error:
            _log.error("upgrade_not_undone", error=error.message)
            return False
        self._successor = None
        self._manager.succeeded_by(os.getpid())
        return True


class _Successor:
    """The new process, and what it has been told."""

    def __init__(self, process: subprocess.Popen[bytes], sending: Channel) -> None:
        self.channel = sending
        self.is_lost = False
        self.features: tuple[str, ...] = ()
        self._process = process
        self._told: dict[str, stamps.Seen] = {}
        self._counted = (0, 0, [0] * 6)

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    async def receive(self) -> wire.Message | None:
        """What it says next. Raises `ChannelError`."""
        return wire.read(await self.channel.receive_message())[0]

    async def _heard(self, kind: type[T]) -> T:
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message

    async def prepared(self) -> str:
        """Wait until it can take over; returns its version. Raises `ChannelError`, `TimeoutError`."""
        async with asyncio.timeout(_PREPARE_SECONDS):
            told = await self._heard(wire.Prepared)
        self.features = told.features
        return told.version

    async def serving(self) -> None:
        """Wait until it serves. Raises `ChannelError`, `TimeoutError`."""
        async with asyncio.timeout(_TAKE_SECONDS):
            await self._heard(wire.Serving)

    async def kill(self) -> int | None:
        """End it, whatever it does; returns its status."""
        self.channel.close()
        return await asyncio.to_thread(_ended, self._process)

    def reap(self) -> None:
        """Leave no zombie of it, where it has been followed itself and has ended before this process."""
        self._process.poll()

    def hang_up(self) -> None:
        """This process ends; the other one goes on."""
        self.channel.close()

    # --- telling it

    def give(self, given: Given) -> None:
        """Hand a visitor's connection on."""
        message = wire.Connection(place=given.place).written(given.unread)
        if not wire.fits(message):  # a half-read head, where the option allows such long ones
            os.close(given.descriptor)
            return
        self.channel.send(message, (given.descriptor,))

    def know(self, containers: Iterable[Container]) -> None:
        """All of these has been told."""
        self._told = {container.id: stamps.Seen.of(container) for container in containers}

    def moved(self, container: Container) -> None:
        """A container is in another state: what ends by way of this process ends."""
        if container.state is State.REMOVING and container.reason is not None and container.id in self._told:
            del self._told[container.id]
            gone = wire.Gone(id=container.id, reason=container.reason, at=container.changed_at)
            self.channel.send(wire.Ends(ends=(gone,)).written())

    def report(self, site: Site, proxy: Proxy, now: float) -> None:
        """Tell what visitors have done since the last report. What cannot be told now is told the next time."""
        if self.channel.backlog > _MOST_BACKLOG:
            return
        told: list[Stamp] = []
        for container_id, before in self._told.items():
            container = site.session(container_id)
            if container is not None and (seen := stamps.Seen.of(container)) != before:
                told.append(stamps.stamp_of(container, before, now))
                self._told[container_id] = seen
        counters, (received, sent, responses) = proxy.counters, self._counted
        self._counted = (counters.bytes_received, counters.bytes_sent, list(counters.responses))
        first = wire.Report(
            connections=len(proxy.clients), websockets=counters.open_tunnels,
            received=counters.bytes_received - received, sent=counters.bytes_sent - sent,
            responses=tuple(now - then for now, then in zip(counters.responses, responses, strict=True)),
        )  # fmt: skip
        self.channel.send(first.written())
        for some in _batched(told, wire.MOST_AT_ONCE):
            more = wire.Report(connections=first.connections, websockets=first.websockets, stamps=some)
            self.channel.send(more.written())


def _batched(values: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Groups of at most `size`."""
    left = iter(values)
    while group := tuple(islice(left, size)):
        yield group


def _ends_with_this_process() -> bool:
    """Whether all other processes here end with this one: it is a container's first, or all before it wait for it."""
    pid = os.getpid()
    while pid > 1:
        pid = parent_of(pid)
        if pid < 1 or not _waits_for_its_child(pid):
            return False
    return True


def _waits_for_its_child(pid: int) -> bool:
    """Whether a process does nothing but wait for the one that it has started, and ends then."""
    try:
        name, *arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except (OSError, ValueError):
        return False
    program = name.rpartition("/")[2].removeprefix("-")
    is_interactive = all(one.startswith("--") or (one.startswith("-") and "c" not in one) for one in arguments)
    return program in _INITS or (program in _SHELLS and not is_interactive)


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    """Start the program that is installed now, as this process was started: command line, environment, directory."""
    environ = {**os.environ, VARIABLE: str(descriptor)}
    return subprocess.Popen(  # noqa: S603 - what we were started with
        sys.orig_argv, executable=sys.executable, env=environ, pass_fds=(descriptor,)
    )


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Kill it, unless it has ended or ends at once by itself."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(1.0)
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(_END_SECONDS)
    return None


def _kept(container: Container, opened: int) -> wire.Kept:
    memory = container.memory
    return wire.Kept(
        id=container.id,
        visited=memory.visited,
        has_begun=memory.has_begun,
        client=memory.client[: wire.LONGEST_CLIENT],  # text that a visitor may have chosen must not stop upgrades
        quota_key=memory.quota_key,
        origin=memory.tokenless_origin,
        activity=memory.last_activity,
        presence=memory.last_presence,
        left=memory.left_at,
        kernel=memory.kernel_nudges,
        terminal=memory.terminal_nudges,
        open=max(0, opened),
        trace=memory.visit.traceparent if memory.visit is not None and not memory.visit.is_over else "",
    )


def _waits(site: Site) -> Iterator[wire.Waiting]:
    for name in site.pools:
        for ticket, ahead in site.claims[name].open_requests():
            yield wire.Waiting(
                id=ticket.id, since=ticket.joined_at, ahead=ahead, quota_key=ticket.quota_key, pool=name
            )


def _ends(site: Site) -> Iterator[wire.Gone]:
    for pool in site.pools.values():
        for container_id, reason, at in pool.ends():
            yield wire.Gone(id=container_id, reason=reason, at=at, pool=pool.name)
