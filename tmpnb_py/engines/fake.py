"""An engine in memory, for tests and demonstrations. It passes the same contract suite as the Docker engine.

`FakeHost` is the machine. It holds the containers of all pools, each a real HTTP server on a Unix socket (or
on a loopback port), and outlives its engines as a Docker engine outlives the orchestrator. Everything
runs on one event loop.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from aiohttp import web

from tmpnb_py.core import boot_clock
from tmpnb_py.core.errors import (
    EngineDownError,
    EngineError,
    ImageMissingError,
    NoSuchContainerError,
    PoolLockedError,
    TooLargeError,
)
from tmpnb_py.core.models import (
    Address,
    ContainerConfig,
    ContainerSpec,
    Egress,
    EngineInfo,
    Exit,
    Gap,
    ImageFacts,
    NodeState,
    NodeStatus,
    Observed,
    SocketAddress,
    State,
    TcpAddress,
    Transport,
    Usage,
)
from tmpnb_py.engines.image_files import READ_LIMIT
from tmpnb_py.engines.no_images import NoImageStore
from tmpnb_py.engines.one_machine import OneMachine

Behaviour = Literal["ok", "exits", "silent"]

FAKE_IMAGE = ImageFacts("fake", "sha256:fake", supports_socket=True)
PORT_IMAGE = ImageFacts("fake-port", "sha256:fake-port")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answering = Callable[[ContainerSpec], Handler]


@dataclasses.dataclass(slots=True)
class FakeContainer:
    """A container on a `FakeHost`."""

    pool: str
    spec: ContainerSpec
    created_unix: float
    directory: Path
    state: State = State.STARTING
    claimed_unix: float | None = None
    claimed_by: FakeEngine | None = None
    claimed_stamp: str = ""
    exit: Exit | None = None
    address: Address | None = None
    log_lines: list[str] = dataclasses.field(default_factory=list)
    cpu_seconds: float = 0.0
    runner: web.AppRunner | None = None
    node: str = ""


class FakeHost:
    """The machine. Leaving `async with FakeHost() as host:` stops every server and removes every file.

    `start_behaviour` decides what containers started from now on do: answer, exit with status 1, or stay silent;
    `missing` names the documents that no notebook has; `answering` makes servers of another kind. With `nodes` it is
    a cluster: containers start on the first that is active.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.images = {facts.image: facts for facts in (FAKE_IMAGE, PORT_IMAGE)}
        self.missing: set[str] = set()
        self.files: dict[str, dict[str, bytes]] = {}  # each image's files by path
        self.containers: dict[tuple[str, str], FakeContainer] = {}
        self.networks: set[tuple[str, Egress, Transport]] = set()
        self.gaps: tuple[Gap, ...] = ()
        self.start_behaviour: Behaviour = "ok"
        self.nodes: dict[str, NodeState] = {}
        self.memory = 8 * 1024**3
        self.cpus = 4
        self.answering: Answering | None = None
        self.directory = Path(tempfile.mkdtemp(prefix="tmpnb-fake-"))
        self.holders: dict[str, tuple[FakeEngine, Callable[[], None]]] = {}
        self._listeners: set[tuple[str, asyncio.Queue[str]]] = set()
        self._down = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop every server and remove every file."""
        for container in list(self.containers.values()):
            await _stop(container)
        self.containers.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def down(self) -> bool:
        """Whether the engine is down: every call fails and no event arrives, but the containers keep running."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        was, self._down = self._down, down
        if was and not down:
            self.break_events()

    def break_events(self) -> None:
        """Simulate a broken event stream: every listener reconnects, and so gets ""."""
        for _, queue in self._listeners:
            queue.put_nowait("")

    def emit(self, pool: str, container_id: str) -> None:
        """Notify the pool's listeners. While the engine is down the event is lost, as a real one would be."""
        for listening, queue in self._listeners if not self._down else ():
            if listening == pool:
                queue.put_nowait(container_id)

    async def kill(self, pool: str, container_id: str, ended: Exit) -> None:
        """Let a container die by itself: its server stops, it stays listed, and the event is emitted."""
        container = self.containers[pool, container_id]
        await _stop(container)
        container.exit = ended
        self.emit(pool, container_id)

    async def listen(self, pool: str) -> AsyncIterator[str]:
        """Yield a pool's events, for `FakeEngine.events`."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        listener = (pool, queue)
        self._listeners.add(listener)
        try:
            if not self._down:
                yield ""
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(listener)


class FakeEngine(NoImageStore, OneMachine):
    """The containers of one pool on a `FakeHost`. `calls` lists (method, id or image or "") in order."""

    name = "fake"
    shares_network = False
    stores_images = False
    term = 0
    sees_isolation = True

    def __init__(self, host: FakeHost, *, pool: str = "tmpnb") -> None:
        self.host = host
        self.pool = pool
        self.calls: list[tuple[str, str]] = []
        self.delays: dict[str, float] = {}
        self._failures: dict[str, collections.deque[BaseException]] = {}

    # Faults that tests inject

    @property
    def down(self) -> bool:
        """Whether the engine is down (for all engines on the host)."""
        return self.host.down

    @down.setter
    def down(self, down: bool) -> None:
        self.host.down = down

    @property
    def start_behaviour(self) -> Behaviour:
        """What containers started from now on do."""
        return self.host.start_behaviour

    @start_behaviour.setter
    def start_behaviour(self, behaviour: Behaviour) -> None:
        self.host.start_behaviour = behaviour

    def fail_next(self, method: str, error: BaseException, times: int = 1) -> None:
        """Make the next `times` calls of `method` raise `error` before they do anything."""
        self._failures.setdefault(method, collections.deque()).extend([error] * times)

    async def kill(self, container_id: str, ended: Exit | None = None) -> None:
        """Let a container die by itself."""
        await self.host.kill(self.pool, container_id, ended or Exit(1))

    async def _called(self, method: str, subject: str = "") -> None:
        self.calls.append((method, subject))
        await asyncio.sleep(self.delays.get(method, 0.0))
        if self.host.down:
            raise EngineDownError("the fake engine is down", remedy="start it")
        if failures := self._failures.get(method):
            raise failures.popleft()

    def _find(self, container_id: str) -> FakeContainer:
        try:
            return self.host.containers[self.pool, container_id]
        except KeyError:
            raise NoSuchContainerError("the engine has no such container") from None

    # The protocol

    async def open(self) -> None:
        """Check that the engine answers."""
        await self._called("open")

    async def hold(self, image: str, on_lost: Callable[[], None]) -> None:
        """Become the pool's only manager on this host. Raises `PoolLockedError`."""
        await self._called("hold", image)
        if self.host.holders.setdefault(self.pool, (self, on_lost))[0] is not self:
            raise PoolLockedError(f'the pool "{self.pool}" is managed by another engine object', remedy="close that")

    async def release(self) -> None:
        """Let another engine object have the pool."""
        if self.host.holders.get(self.pool, (None,))[0] is self:
            del self.host.holders[self.pool]

    async def close(self) -> None:
        """Release the hold. Containers stay."""
        self.calls.append(("close", ""))
        await self.release()

    async def info(self) -> EngineInfo:
        """Return the host's configured memory and CPUs."""
        await self._called("info")
        return EngineInfo(self.name, "1.0", self.host.memory, self.host.cpus)

    async def nodes(self) -> tuple[NodeStatus, ...]:
        """Return the host's `nodes`."""
        await self._called("nodes")
        return tuple(self._node(name) for name in self.host.nodes)

    async def pause_node(self, node: str, *, paused: bool) -> NodeStatus:
        """Set one's state. Raises `EngineError`."""
        await self._called("pause_node", node)
        if not self.host.nodes:
            return await super().pause_node(node, paused=paused)
        if node not in self.host.nodes:
            raise EngineError(f"the swarm has no node {node}", remedy=f"its nodes are {', '.join(self.host.nodes)}")
        self.host.nodes[node] = NodeState.PAUSED if paused else NodeState.ACTIVE
        return self._node(node)

    def _node(self, name: str) -> NodeStatus:
        here = [one.spec for (pool, _), one in self.host.containers.items() if (pool, one.node) == (self.pool, name)]
        return NodeStatus(
            name,
            name,
            self.host.nodes[name],
            has_relay=True,
            has_image=True,
            memory=self.host.memory,
            reserved=sum(one.config.mem_limit for one in here),
            cpus=self.host.cpus,
            notebooks=frozenset(one.id for one in here),
            lacks=(),
        )

    async def image(self, image: str) -> ImageFacts:
        """Return one of the host's `images`. Raises `ImageMissingError`."""
        await self._called("image", image)
        return self._image(image)

    def _image(self, image: str) -> ImageFacts:
        if image not in self.host.images:
            raise ImageMissingError(f"the engine has no image {image}", remedy="add it to FakeHost.images")
        return self.host.images[image]

    async def read_image(
        self, image: ImageFacts, paths: Sequence[str], *, limit: int = READ_LIMIT
    ) -> dict[str, bytes]:
        """Return the host's `files` at and below `paths`."""
        await self._called("read_image", image.image)
        files = self.host.files.get(image.image, {})
        wanted = {name: files[name] for name in files if any(Path(name).is_relative_to(path) for path in paths)}
        if sum(map(len, wanted.values())) > limit:
            raise TooLargeError("the image has more files there than the read limit allows")
        return wanted

    async def choose_transport(self, config: ContainerConfig) -> Transport:
        """SOCKET if the image supports it."""
        await self._called("choose_transport", config.image.image)
        return Transport.SOCKET if config.image.supports_socket else Transport.PORT

    async def prepare(self, config: ContainerConfig) -> tuple[Gap, ...]:
        """Record the request; return the host's `gaps`."""
        await self._called("prepare")
        self.host.networks.add((self.pool, config.egress, config.transport))
        return self.host.gaps

    async def start(self, spec: ContainerSpec) -> Address:
        """Start a server with the host's `start_behaviour`."""
        await self._called("start", spec.id)
        self._image(spec.config.image.image)
        if (self.pool, spec.id) in self.host.containers:
            raise EngineError(f"the container {spec.id} exists already")
        directory = self.host.directory / self.pool / spec.id
        directory.mkdir(parents=True)
        container = FakeContainer(self.pool, spec, self.host.clock(), directory)
        container.node = next((one for one, state in self.host.nodes.items() if state is NodeState.ACTIVE), "")
        self.host.containers[self.pool, spec.id] = container
        try:
            return await self._serve(container)
        except BaseException:
            await _stop(container)
            shutil.rmtree(directory, ignore_errors=True)
            del self.host.containers[self.pool, spec.id]
            raise

    async def _serve(self, container: FakeContainer) -> Address:
        behaviour = self.host.start_behaviour
        container.log_lines.append(f"fake server at {container.spec.base_path}")
        answering = self.host.answering or functools.partial(_answering, missing=self.host.missing)
        handler = _never if behaviour == "silent" else answering(container.spec)
        container.address = await _start(container, handler)
        if behaviour == "exits":
            container.log_lines.append("fake server: cannot go on")
            await self.host.kill(self.pool, container.spec.id, Exit(1))
        return container.address

    async def mark_ready(self, container_id: str) -> None:
        """Make READY durable."""
        await self._called("mark_ready", container_id)
        self._find(container_id).state = State.READY

    async def claim(self, container_id: str, unix_time: float) -> bool:
        """Make CLAIMED durable, in whole seconds. True for the first caller only."""
        await self._called("claim", container_id)
        container = self._find(container_id)
        if container.state is State.READY:
            container.state, container.claimed_unix, container.claimed_by = State.CLAIMED, float(int(unix_time)), self
            container.claimed_stamp = boot_clock.stamp()
        return container.claimed_by is self and container.claimed_unix == float(int(unix_time))

    async def list(self) -> list[Observed]:
        """Every container of this pool."""
        await self._called("list")
        return [_observed(one) for (pool, _), one in self.host.containers.items() if pool == self.pool]

    async def remove(self, container_id: str) -> None:
        """Stop and forget a container. Succeeds if it is already gone."""
        await self._called("remove", container_id)
        container = self.host.containers.get((self.pool, container_id))
        if container is None:
            return
        await _stop(container)
        shutil.rmtree(container.directory, ignore_errors=True)
        if self.host.containers.pop((self.pool, container_id), None) is not None:
            self.host.emit(self.pool, container_id)

    async def remove_pool(self) -> None:
        """Forget the pool's networks."""
        await self._called("remove_pool")
        self.host.networks = {network for network in self.host.networks if network[0] != self.pool}

    async def usage(self, container_id: str) -> Usage:
        """Return the same figures for every container."""
        await self._called("usage", container_id)
        self._find(container_id)
        return Usage(memory=50_000_000, cpu_seconds=0.5, disk=0)

    async def cpu_seconds(self, container_ids: Sequence[str]) -> Mapping[str, float]:
        """Return the containers' `cpu_seconds`."""
        await self._called("cpu_seconds", ",".join(container_ids))
        known = ((one, self.host.containers.get((self.pool, one))) for one in container_ids)
        return {one: container.cpu_seconds for one, container in known if container is not None}

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        """Return the last of the container's `log_lines`."""
        await self._called("logs", container_id)
        kept = self._find(container_id).log_lines
        return tuple(kept[-lines:]) if lines > 0 else ()

    def events(self) -> AsyncIterator[str]:
        """Yield ids of containers that died or disappeared; "" first and after each `FakeHost.break_events`."""
        return self.host.listen(self.pool)


def _observed(container: FakeContainer) -> Observed:
    return Observed(
        id=container.spec.id,
        state=container.state,
        config_digest=container.spec.config.digest,
        token=container.spec.token,
        created_unix=container.created_unix,
        claimed_unix=container.claimed_unix,
        exit=container.exit,
        address=container.address if container.exit is None else None,
        claimed_stamp=container.claimed_stamp,
        base_url=container.spec.config.base_url,
        session_name=container.spec.session_name,
    )


async def _start(container: FakeContainer, handler: Handler) -> Address:
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", handler)
    container.runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.0)
    await container.runner.setup()
    if container.spec.config.transport is not Transport.SOCKET:
        await web.TCPSite(container.runner, "127.0.0.1", 0).start()
        host, port = container.runner.addresses[0][:2]
        return TcpAddress(host, port)
    directory = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # through the descriptor: a temporary directory's path may exceed the 107 bytes of unix(7)
        await web.UnixSite(container.runner, f"/proc/self/fd/{directory}/server.sock").start()
    finally:
        os.close(directory)
    return SocketAddress(str(container.directory))


async def _stop(container: FakeContainer) -> None:
    runner, container.runner = container.runner, None
    if runner is not None:
        for site in tuple(runner.sites):
            await site.stop()
        for _ in range(3):  # asyncio forgets the socket of a connection that it is accepting when the loop ends
            await asyncio.sleep(0)
        await runner.cleanup()


async def _never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


def _answering(spec: ContainerSpec, missing: set[str]) -> Handler:
    """Handle requests like a notebook server, as far as this program asks."""
    warm = {"kernels": [{"name": one.name, "state": "ready"} for one in spec.config.warm]}
    answers: dict[str, object] = {"api": {"version": "fake"}, "api/kernels": [], "api/terminals": []}
    answers["api/tmpnb/warm"] = warm

    async def answer(request: web.Request) -> web.StreamResponse:
        rest = request.path.removeprefix(spec.base_path)
        if rest.removeprefix("api/contents/") in missing:
            return web.Response(status=404)
        echo = {"method": request.method, "path": request.path_qs, "id": spec.id}
        return web.json_response(answers.get(rest, echo))

    return answer
