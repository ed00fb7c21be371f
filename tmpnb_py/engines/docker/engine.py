"""The Docker engine: one container per notebook.

Built by the composition root; called by the reconciler, the claims and the command line, from any number of
tasks at once. All durable state is in the engine (names and labels, see `options`); this object only caches.
aiodocker makes the short calls; `streams` reads long answers over the same HTTP session (`connection`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiodocker
import structlog
from aiodocker.containers import DockerContainer

from tmpnb_py.core import boot_clock
from tmpnb_py.core.errors import (
    ContainerHangsError,
    EngineDownError,
    EngineError,
    FailureClass,
    ImageMissingError,
    NoSuchContainerError,
    SettingsError,
    StartFailedError,
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
    Observed,
    SocketAddress,
    State,
    TcpAddress,
    Transport,
    Usage,
)
from tmpnb_py.engines.base import WebDoors
from tmpnb_py.engines.docker import facts, options, reach
from tmpnb_py.engines.docker.connection import Connection
from tmpnb_py.engines.docker.hold import Hold
from tmpnb_py.engines.docker.host import NetworkGoneError, RefusedError
from tmpnb_py.engines.docker.isolation import Isolation
from tmpnb_py.engines.docker.leftovers import Leftovers
from tmpnb_py.engines.docker.networks import Networks
from tmpnb_py.engines.docker.streams import ImageStreams, post, read_log, read_paths, watch
from tmpnb_py.engines.docker.trials import Trials
from tmpnb_py.engines.docker.usage import read_cpu_seconds, read_image_size, read_usage
from tmpnb_py.engines.image_files import READ_LIMIT
from tmpnb_py.engines.isolation import limits_of
from tmpnb_py.engines.one_machine import OneMachine
from tmpnb_py.engines.sockets import SocketDirectories
from tmpnb_py.engines.web_socket import NoDoors

log = structlog.get_logger(__name__)

_POOL = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")
_INSPECTS_AT_ONCE = 8
_INSPECT_SECONDS = 3.0  # an inspection takes a millisecond; a longer one is waiting for a container that hangs
_GONE_POLL_SECONDS = 0.1
_DEAD_LOG_LINES = 20


class DockerEngine(ImageStreams, OneMachine):
    """Starts, marks, lists and removes the containers of one pool in a Docker engine.

    `docker_host` None means `DOCKER_HOST`, else the usual socket. `call_timeout` bounds short calls,
    `start_timeout` (both in seconds) bounds starts and removals.
    """

    name = "docker"
    shares_network = False
    stores_images = True
    term = 0
    sees_isolation = True

    def __init__(
        self,
        *,
        pool: str,
        runtime_dir: Path,
        docker_host: str | None = None,
        call_timeout: float = 10.0,
        start_timeout: float = 30.0,
    ) -> None:
        if not _POOL.fullmatch(pool):
            raise SettingsError(f"{pool!r} cannot be a pool's name: use letters, digits, - and _")
        self._connection = Connection(docker_host, call_timeout)
        self._calling, self._stream = self._connection.calling, self._connection.stream
        super().__init__(self._stream)
        self._pool = pool
        self._call_timeout = call_timeout
        self._start_timeout = start_timeout
        self._sockets = SocketDirectories(runtime_dir, pool)
        networks = Networks(self._calling, pool, self._labels())
        trials = Trials(self._calling, self._stream, self._remove_docker_id, pool, seconds=start_timeout)
        self._isolation = Isolation(self._calling, trials, networks, self._sockets, pool)
        self._ids: dict[str, str] = {}
        self._claimant = secrets.token_hex(4)
        self._hold = Hold(self._calling, pool, self._remove_docker_id)
        self._directories: dict[str, str] = {}  # socket directories, as mounted
        self._quotas: dict[str, int] = {}  # CPU quotas of containers that are starting
        self._host_ports: dict[str, int] = {}  # ports of containers in the host's network
        self._has_init = True
        self._leftovers = Leftovers(pool, self._listed, self._remove_docker_id, self._sockets)
        self._engine_info: Mapping[str, Any] = {}  # the engine's last answer to `GET /info`
        self._where = reach.Where()
        self._doors: WebDoors = NoDoors()
        self._has_doors = False  # there are notebooks with a way to the web that an earlier service started

    def serve_web(self, doors: WebDoors) -> None:
        """See `Engine.serve_web`."""
        self._doors = doors

    # Opening and closing

    async def hold(self, image: str, on_lost: Callable[[], None]) -> None:
        """Become the pool's only manager. Raises `PoolLockedError` if there is another one."""
        if self._hold.is_held:
            return

        def lost() -> None:
            self._isolation.forget()  # after a restart it may be another engine, or have another configuration
            on_lost()

        try:
            image_id = (await self.image(image)).image_id
        except ImageMissingError:
            listed = await self._listed(self._labels())
            image_id = next((str(one["ImageID"]) for one in listed), "")
        if image_id:  # without the image there are no containers to compete for
            await self._hold.take(image_id, lost)

    async def open(self) -> None:
        """Connect, check that a Docker engine answers, and remove what a crashed orchestrator left."""
        async with self._connection.opening() as host:
            await self.info()
            self._where = await reach.find(host.base)
        self._isolation.forget()
        await self._remove_leftovers()

    async def release(self) -> None:
        """Let the process that follows this one have the pool."""
        await self._hold.hand_on()

    async def close(self) -> None:
        """Close every connection. Containers stay."""
        await self._leftovers.close()
        await self._hold.release()
        await self._connection.close()

    async def info(self) -> EngineInfo:
        """Return memory, CPUs and version of the engine's machine."""
        async with self._calling("info") as docker:
            self._engine_info = info = await docker.system.info()
            # dockerd answers "N/A" if it could not run docker-init; a container that asks for it would
            # not start.
            self._has_init = (info.get("InitCommit") or {}).get("ID") != "N/A"
            return facts.of_info(self.name, info, time.time())

    # Images

    async def _inspect_image(self, image: str) -> Mapping[str, Any]:
        async with self._calling("inspect the image") as docker:
            found: Mapping[str, Any] = await docker.images.inspect(image)
            str(found["Id"])
            return found

    async def read_image(
        self, image: ImageFacts, paths: Sequence[str], *, limit: int = READ_LIMIT
    ) -> dict[str, bytes]:
        """Read files of an image from a container that is created, never started, and removed."""
        name = f"tmpnb.{self._pool}.read{secrets.token_hex(8)}"
        try:
            async with self._calling("read an image", self._start_timeout) as docker:
                await docker.containers.create(options.reading_body(self._pool, image), name=name)
            return await read_paths(self._stream, name, paths, limit=limit)
        finally:
            with contextlib.suppress(NoSuchContainerError):
                await self._remove_docker_id(name)

    async def choose_transport(self, config: ContainerConfig) -> Transport:
        """SOCKET if the image supports it and a real socket in a bind mount reaches us; else PORT."""
        await self._see_that_it_has(config.runtime)
        if not config.image.supports_socket:
            return Transport.PORT
        return Transport.SOCKET if await self._isolation.socket_works(config) else Transport.PORT

    async def prepare(self, config: ContainerConfig) -> tuple[Gap, ...]:
        """Create the network that such containers need, if any, and check the isolation from inside one."""
        self._where.see_that_it_is_reached(config)
        await self._see_that_it_has(config.runtime)
        gaps = await self._isolation.prepare(config)
        if (config.egress is Egress.WEB or self._has_doors) and (
            addresses := await self._isolation.machines_addresses(config)
        ):
            self._doors.shut_out(addresses)
        return gaps

    async def _see_that_it_has(self, runtime: str) -> None:
        if runtime and runtime not in options.runtimes_of(self._engine_info):
            await self.info()
            options.see_that_it_has(runtime, options.runtimes_of(self._engine_info))

    async def remove_networks(self) -> None:
        """Remove this pool's networks, except those that containers still use."""
        await self._isolation.remove_networks()

    async def remove_pool(self) -> None:
        """Remove everything of the pool but its containers. The caller must hold the pool, so nothing is starting."""
        await self._leftovers.remove_probes(all_of_them=True)  # a probe may use a network
        await self.remove_networks()
        await self._remove_directories(await asyncio.to_thread(self._leftovers.directories))
        await asyncio.to_thread(self._sockets.remove_pool)

    # Containers

    async def start(self, spec: ContainerSpec) -> Address:
        """Create and start a container, marked STARTING. Removes it again on any error.

        (If the engine is silent for so long that the removal fails, too, `list` shows it as STARTING later.)
        """
        try:
            return await self._start_once(spec)
        except NetworkGoneError:  # `docker network prune` removes a network that is unused for a moment
            await self._isolation.make_network(spec.config)
            return await self._start_once(spec)

    async def _start_once(self, spec: ContainerSpec) -> Address:
        if spec.id in self._ids:
            raise EngineError(f"the container {options.handle(spec.id)} exists already")
        by_socket, to_web = spec.config.transport is Transport.SOCKET, spec.config.egress is Egress.WEB
        source = self._sockets.create(spec.id) if by_socket or to_web else None
        try:
            if to_web:
                self._doors.open(spec.id, str(source))
            docker_id = await self._create(spec, source)
            async with self._calling("start a container", self._start_timeout) as docker:
                container = docker.containers.container(docker_id)
                await container.start()
                if by_socket:
                    return SocketAddress(str(source), options.SOCKET_NAME)
                inspected = await container.show()
            return await self._reached(spec.id, inspected)
        except BaseException as error:
            with contextlib.suppress(EngineError):
                await self._undo(spec.id, error)
            raise

    async def _create(self, spec: ContainerSpec, source: Path | None) -> str:
        init = self._has_init and self._wants_init(spec.config.image)
        body = options.create_body(
            self._pool,
            spec,
            socket_source=str(source) if source else None,
            hosts_source=str(self._sockets.hosts_file()) if source else None,
            init=init,
            port=self._host_port(spec),
        )
        quota = spec.config.cpu_quota
        if quota and options.has_own_kernel(spec.config.runtime, self._engine_info):  # runsc has no "update"
            body["HostConfig"] |= options.cpu_limit(quota)
            quota = 0
        if not limits_of(self._engine_info).cpu:  # `prepare` told it; asking for it all the same fails (rootless)
            quota = 0
        name = options.name_of(self._pool, spec.id, State.STARTING)
        async with self._calling("create a container", self._start_timeout) as docker:
            await self._learn_id(spec.id, asyncio.ensure_future(docker.containers.create(body, name=name)))
        docker_id = self._ids[spec.id]
        self._quotas[spec.id] = quota
        return docker_id

    async def _learn_id(self, container_id: str, creating: asyncio.Future[DockerContainer]) -> None:
        """Remember Docker's id of the container that is being created, even if cancelled meanwhile.

        The engine creates it anyway, too late for a removal that does not know its id.
        """
        try:
            self._ids[container_id] = (await asyncio.shield(creating)).id
        except asyncio.CancelledError:
            await asyncio.wait((creating,), timeout=self._call_timeout)
            if creating.done() and not creating.cancelled() and creating.exception() is None:
                self._ids[container_id] = creating.result().id
            creating.cancel()
            raise

    async def _undo(self, container_id: str, error: BaseException) -> None:
        """Clean up after a failed start. If creation was refused, only the directory needs removing."""
        self._doors.close(container_id)
        refused = isinstance(error, EngineError) and not isinstance(error, EngineDownError)
        if refused and container_id not in self._ids:
            self._host_ports.pop(container_id, None)
            await asyncio.to_thread(self._sockets.remove, container_id)
        else:
            await self.remove(container_id)

    def _host_port(self, spec: ContainerSpec) -> int | None:
        """Reserve a port of the host for a container in the host's network, until the container is gone."""
        config = spec.config
        if config.transport is not Transport.HOST:
            return None
        taken = set(self._host_ports.values())
        port = reach.free_host_port(config.container_ip, config.container_port, taken)
        self._host_ports[spec.id] = port
        return port

    async def _reached(self, container_id: str, inspected: Mapping[str, Any]) -> TcpAddress:
        if inspected["State"]["Running"]:
            if address := self._where.address_of_inspect(inspected):
                return address
            raise EngineError("the engine gave the container no address", remedy="see the engine's log")
        lines = await self.logs(container_id, lines=_DEAD_LOG_LINES)
        message = f"the container ended at once with status {inspected['State']['ExitCode']}"
        raise StartFailedError(message, FailureClass.EXITS_AT_ONCE, log_lines=lines)

    async def mark_ready(self, container_id: str) -> None:
        """Seal the socket directory, set the CPU limit, then make READY durable."""
        self._sockets.seal(container_id)
        if quota := self._quotas.pop(container_id, 0):
            await self._update(container_id, options.cpu_limit(quota))
        await self._rename(container_id, options.name_of(self._pool, container_id, State.READY))

    async def claim(self, container_id: str, unix_time: float) -> bool:
        """Make CLAIMED and its time durable. True for exactly one caller.

        The rename addresses the container by its ready name. The engine resolves a name first and then waits for the
        container's lock, so that of two simultaneous renames both succeed. A manager that holds the pool has no
        rival. One that does not uses the same name as every rival: the engine refuses to give a container the name
        that it has. The time is then not recorded, and a claim whose answer is lost counts as another manager's.

        If anything goes wrong, the engine's list tells the outcome: listing does not wait for the lock of a container
        that hangs.
        """
        ready = options.name_of(self._pool, container_id, State.READY)
        mine = ""
        name = options.contested_name(self._pool, container_id)
        if self._hold.is_held:
            mine = options.claimed_name(self._pool, container_id, unix_time, self._claimant)
            name = options.stamped(mine, boot_clock.stamp())
        try:
            async with self._calling("claim a container") as docker:
                container: Any = docker.containers.container(ready)
                await container.rename(name)
        except EngineError as error:
            return self._was_claimed(await self._names(container_id), ready, mine, error)
        return True

    async def _names(self, container_id: str) -> Sequence[str]:
        entries = await self._entries(f"{options.LABEL_ID}={container_id}")
        return [name.removeprefix("/") for name in entries[container_id]["Names"]] if container_id in entries else ()

    def _was_claimed(self, names: Sequence[str], ready: str, mine: str, failure: EngineError) -> bool:
        if not names:
            raise NoSuchContainerError("the engine has no such container")
        if ready not in names:
            return bool(mine) and options.is_claimed_by(names, mine)
        if isinstance(failure, EngineDownError):  # it answers now
            raise ContainerHangsError(f"the engine did not claim the container in time: {failure}")
        raise failure

    async def _update(self, container_id: str, limits: Mapping[str, int]) -> None:
        """Change a running container's limits. aiodocker has no call for it."""
        path = f"containers/{await self._docker_id(container_id)}/update"
        await post(self._stream, path, limits, seconds=self._call_timeout)

    async def _rename(self, container_id: str, name: str) -> None:
        docker_id = await self._docker_id(container_id)
        try:
            async with self._calling("rename a container") as docker:
                container: Any = docker.containers.container(docker_id)
                await container.rename(name)
        except RefusedError as error:
            if "same name as its current name" not in str(error):
                raise
        except NoSuchContainerError:
            self._ids.pop(container_id, None)
            raise

    async def list(self) -> list[Observed]:
        """List this pool's containers in one call. Containers that have ended are inspected for their exit."""
        known = set(self._ids)
        entries = await self._entries()
        self._leftovers.sweep(entries.keys() | self._ids.keys())
        for gone in known - set(entries):
            self._forget(gone)
        for container_id, entry in entries.items():
            if directory := options.socket_directory_of(entry):
                self._directories[container_id] = directory
                if options.reaches_web(entry):
                    self._doors.open(container_id, directory)
                    self._has_doors = True
            if port := reach.host_port_of(entry["Labels"]):
                self._host_ports[container_id] = port
        self._ids.update({container_id: entry["Id"] for container_id, entry in entries.items()})
        inspects = asyncio.Semaphore(_INSPECTS_AT_ONCE)
        observed = await asyncio.gather(*(self._observed(one, entry, inspects) for one, entry in entries.items()))
        return [one for one in observed if one is not None]

    async def _observed(
        self, container_id: str, entry: Mapping[str, Any], inspects: asyncio.Semaphore
    ) -> Observed | None:
        """Interpret a list entry; None if the container has gone meanwhile."""
        ended = None
        if options.is_being_removed(entry):
            ended = options.REMOVED
        elif options.has_ended(entry):
            try:
                async with inspects:
                    ended = await self._exit(entry["Id"])
            except NoSuchContainerError:
                return None
        directory = self._directories.get(container_id) or str(self._sockets.path(container_id))
        by_port = self._where.address_of_entry(entry)
        return options.observed_of(
            self._pool, container_id, entry, socket_directory=directory, by_port=by_port, ended=ended
        )

    async def _exit(self, docker_id: str) -> Exit | None:
        """How a container ended; None if the engine does not answer soon: the next `list` asks again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_INSPECT_SECONDS), self._calling("inspect a container") as docker:
                return options.exit_of(await docker.containers.container(docker_id).show())
        return None

    async def remove(self, container_id: str) -> None:
        """Kill and remove a container, its volumes and socket directory. Succeeds if it is already gone."""
        async with self._calling("remove a container", self._start_timeout) as docker:
            with contextlib.suppress(NoSuchContainerError):
                await _delete(docker.containers.container(await self._docker_id(container_id)))
        mounted = self._forget(container_id)
        await asyncio.to_thread(self._sockets.remove, container_id, mounted)

    def _forget(self, container_id: str) -> str:
        """Close a gone container's way to the web, and forget it; returns its directory as far as it is known."""
        self._doors.close(container_id)
        for known in (self._ids, self._quotas, self._host_ports):
            known.pop(container_id, None)
        return self._directories.pop(container_id, "")

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        """Return the last lines of output, raw, at most 64 KiB; () if there are none."""
        docker_id = await self._docker_id(container_id)
        return await read_log(self._stream, docker_id, lines=lines, seconds=self._call_timeout)

    async def usage(self, container_id: str) -> Usage:
        """Measure what a running container uses."""
        return await read_usage(self._stream, await self._docker_id(container_id), seconds=self._call_timeout)

    async def cpu_seconds(self, container_ids: Sequence[str]) -> Mapping[str, float]:
        """CPU seconds so far, from control groups, or by one-shot statistics where those are not seen."""
        return await read_cpu_seconds(
            self._stream, {one: self._ids[one] for one in container_ids if one in self._ids}
        )

    async def image_size(self, image: ImageFacts) -> int:
        """Size of an image on disk in bytes."""
        return await read_image_size(self._stream, image.image_id, seconds=self._call_timeout)

    def events(self) -> AsyncIterator[str]:
        """Yield ids of containers that died or disappeared; "" after every (re)connect. Ends at `close`."""
        return watch(self._stream, self._pool, settle=self._settle, is_closed=lambda: self._connection.is_closed)

    async def _settle(self, docker_id: str) -> None:
        """Wait until the engine's list agrees with its event.

        dockerd 20.10 emits "die" before it updates its list, and holds the container's lock in between; inspecting
        waits for that lock. (Measured: without this the list still shows the container as running.)
        """
        with contextlib.suppress(EngineError):
            await self._exit(docker_id)

    # Finding and cleaning up

    def _labels(self) -> Sequence[str]:
        return [f"{options.LABEL_PROJECT}={options.PROJECT}", f"{options.LABEL_POOL}={self._pool}"]

    async def _entries(self, *labels: str) -> dict[str, Mapping[str, Any]]:
        """This pool's containers by id, as the engine lists them, without ids that cannot be ours."""
        found: dict[str, Mapping[str, Any]] = {}
        for entry in await self._listed([*self._labels(), *labels]):
            container_id = entry["Labels"].get(options.LABEL_ID, "")
            if not options.is_id(container_id):
                continue
            if container_id not in found or options.is_well_named(self._pool, container_id, entry["Names"]):
                found[container_id] = entry
        return found

    async def _listed(self, labels: Iterable[str]) -> Sequence[Mapping[str, Any]]:
        async with self._calling("list the containers") as docker:
            containers: Sequence[Any] = await docker.containers.list(
                all=True, filters=json.dumps({"label": list(labels)})
            )
            return [options.entry_of(container) for container in containers]

    async def _docker_id(self, container_id: str) -> str:
        """Docker's own id of a container; asks the engine if it is not cached."""
        if container_id not in self._ids and options.is_id(container_id):
            entries = await self._entries(f"{options.LABEL_ID}={container_id}")
            self._ids.update({one: entry["Id"] for one, entry in entries.items()})
        if container_id not in self._ids:
            raise NoSuchContainerError("the engine has no such container")
        return self._ids[container_id]

    async def _remove_docker_id(self, docker_id: str) -> None:
        async with self._calling("remove a container", self._start_timeout) as docker:
            await _delete(docker.containers.container(docker_id))

    async def _remove_leftovers(self) -> None:
        """Remove what a crash left."""
        await self._leftovers.remove_probes()
        await self._remove_directories(await asyncio.to_thread(self._leftovers.stale_directories))

    async def _remove_directories(self, found: set[str]) -> None:
        """Remove these socket directories, except those of containers that are there."""
        for container_id in (found - set(await self._entries())) if found else ():
            await asyncio.to_thread(self._sockets.remove, container_id)


async def _delete(container: DockerContainer) -> None:
    """Kill and remove; succeeds if it is gone. Waits for a removal in progress (the caller bounds the time)."""
    try:
        await container.delete(force=True, v=True)
    except aiodocker.DockerError as error:
        if error.status == 404:
            return
        if error.status != 409 or "already in progress" not in error.message:
            raise
        await _until_gone(container)


async def _until_gone(container: DockerContainer) -> None:
    while True:
        try:
            await container.show()
        except aiodocker.DockerError as error:
            if error.status == 404:
                return
            raise
        await asyncio.sleep(_GONE_POLL_SECONDS)
