"""The local engine: one sandboxed process per notebook on this machine, no Docker, no root.

Built by the composition root; called by the reconciler, the claims and the command line, from any number of
tasks at once, on one event loop. All durable state is in files (`record`); this object only keeps watches on
running processes, which can be rebuilt. All work with files and processes is done in threads.

With a `Sandbox` notebooks see neither each other nor the machine (`sandbox`). Without one they are plain
processes of this user, which is only for the person at the machine; `fitting` decides who may connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from tmpnb_py.core.errors import (
    LACK_REMEDY,
    EngineDownError,
    EngineError,
    FailureClass,
    ImageMissingError,
    LackError,
    NoSuchContainerError,
    SettingsError,
    StartFailedError,
    is_our_lack,
)
from tmpnb_py.core.languages import PYTHON
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
    Transport,
    Usage,
)
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines import cpu_time
from tmpnb_py.engines.base import WebDoors
from tmpnb_py.engines.docker.options import is_id
from tmpnb_py.engines.image_files import READ_LIMIT, from_directory
from tmpnb_py.engines.local import cgroup, machine
from tmpnb_py.engines.local import process as local_process
from tmpnb_py.engines.local.launch import Launcher
from tmpnb_py.engines.local.record import NotebookRecord, SupervisorStatus
from tmpnb_py.engines.local.sandbox import Sandbox
from tmpnb_py.engines.local.watch import Watches
from tmpnb_py.engines.no_images import NoImageStore
from tmpnb_py.engines.one_machine import OneMachine
from tmpnb_py.engines.sockets import SocketDirectories
from tmpnb_py.engines.web_socket import NoDoors
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE

# Everything else is passed in the environment: other users of the machine can read a command line.
COMMAND = "exec start-notebook.sh"

_IMAGES = (DEFAULT_IMAGE, "local")
_POLL_SECONDS = 0.005
_KILLED = 128 + 9
_LOG_LINES = 20

log = structlog.get_logger(__name__)

R = TypeVar("R")


class LocalEngine(NoImageStore, OneMachine):
    """Starts, marks, lists and removes the notebooks of one pool as processes of this machine.

    `workshop_directory` holds the image's start script, configuration and workshops; `workshops` is another folder,
    copied into each notebook's home.
    `start_timeout` (seconds) bounds the creation of a sandbox.
    """

    name = "local"
    stores_images = False
    term = 0
    sees_isolation = False

    def __init__(
        self,
        *,
        pool: str,
        runtime_dir: Path,
        workshop_directory: Path,
        sandbox: Sandbox | None,
        workshops: Path | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        if not pool or pool != Path(pool).name or pool.startswith("."):
            raise SettingsError(f"{pool!r} cannot be a pool's name: use letters, digits, - and _")
        self._workshops = workshop_directory
        self._manifest = str(workshop_directory / "workshops" / "workshops.toml")
        self._sandbox = sandbox
        self.shares_network = sandbox is None
        self._start_timeout = start_timeout
        directory = Path(os.path.abspath(runtime_dir)) / "local" / pool  # noqa: PTH100 - links stay
        self._sockets = SocketDirectories(runtime_dir, pool)
        self._launcher = Launcher(
            pool,
            directory,
            workshop_directory,
            sandbox=sandbox,
            sockets=self._sockets,
            copied=workshops or workshop_directory / "workshops",
        )
        self._records = self._launcher.records
        self._watches = Watches()
        self._copies: dict[str, dict[str, bytes]] = {}  # of the records, in case somebody removes them
        self._is_open = False
        self._claimant = secrets.token_hex(8)
        self._quotas: dict[str, int] = {}  # CPU quotas of containers that are starting
        self._prepared = ""  # the digest that `prepare` has already reported on
        # A thread can't be cancelled: later calls for the same container wait for the one in progress.
        self._tasks = Tasks()
        self._launching: dict[str, asyncio.Task[NotebookRecord]] = {}
        self._removing: dict[str, asyncio.Task[None]] = {}
        self._doors: WebDoors = NoDoors()

    def serve_web(self, doors: WebDoors) -> None:
        """See `Engine`. The machine's addresses are this process's own."""
        self._doors = doors
        doors.shut_out(())

    # --- the machine

    async def open(self) -> None:
        """Check the files, remove what a crash left, adopt running notebooks. May be called again."""
        await asyncio.to_thread(self._make)
        await self._work(self._launcher.open)
        self._is_open = True
        await self.list()
        self._watches.open()

    def _make(self) -> None:
        try:
            self._records.make()
        except OSError as error:
            raise _unusable(error) from error

    async def hold(self, image: str, on_lost: Callable[[], None]) -> None:
        """No-op: managers can only share a runtime directory, which the pool's lock (`runtime`) guards."""

    async def release(self) -> None:
        """No-op, as there is nothing to hold. What has ended is still reaped: it is this process's child."""

    async def close(self) -> None:
        """Stop watching. Containers stay."""
        await self._tasks.finish()
        self._watches.close()

    async def info(self) -> EngineInfo:
        """Return this machine's memory and CPUs, and the sandbox's version."""
        memory, cpus = await self._work(_memory_and_cpus)
        version = f"bubblewrap {self._sandbox.version}" if self._sandbox else "no sandbox"
        return EngineInfo(self.name, version, memory, cpus)

    async def image(self, image: str) -> ImageFacts:
        """Describe this Python environment as the default image. Raises `ImageMissingError` with a remedy."""
        if image not in _IMAGES:
            raise ImageMissingError(
                f"the local engine has no image {image}: it runs the JupyterLab that is installed beside tmpnb-py",
                remedy="omit the option image, or use containers with --engine docker",
            )
        return await self._work(lambda: self._facts(image))

    def _facts(self, image: str) -> ImageFacts:
        versions = machine.python_versions()
        shared = [Path(path) for _, path in machine.static_directories()]
        places = (*(self._workshops / name for name in ("etc", "server", "workshops")), *shared)
        return ImageFacts(
            image,
            machine.image_id(versions, *places, sandbox=self._sandbox),
            supports_socket=True,
            workshops=self._manifest,
            static=machine.static_directories(),
            restores=True,
            warm=(PYTHON.kernel,),
        )

    async def read_image(
        self, image: ImageFacts, paths: Sequence[str], *, limit: int = READ_LIMIT
    ) -> dict[str, bytes]:
        """Read the files at and below `paths` on this machine, from which notebooks are started."""
        del image  # there is only one
        return await self._work(lambda: self._files(paths, limit))

    def _files(self, paths: Sequence[str], limit: int) -> dict[str, bytes]:
        files = from_directory(paths, limit=limit)
        if self._manifest in files:
            files[self._manifest] = machine.runnable_workshops(self._workshops).encode()
        return files

    async def image_size(self, image: ImageFacts) -> int:  # noqa: ARG002 - as the Docker engine's
        """0: the image takes no disk space beyond this installation."""
        return 0

    async def choose_transport(self, config: ContainerConfig) -> Transport:  # noqa: ARG002 - the protocol's signature
        """Always SOCKET: local notebooks have no ports."""
        return Transport.SOCKET

    async def prepare(self, config: ContainerConfig) -> tuple[Gap, ...]:
        """Nothing to create: only log what an operator should know. Raises `EngineError` for transport by port."""
        _refuse_ports(config.transport)
        if self._prepared == config.digest:
            return ()
        self._prepared = config.digest
        limits = "control groups" if self._launcher.cgroups.parents else "resource limits"
        if self._sandbox is None:
            log.warning("notebooks_unprotected", hint="notebooks are plain processes of this user", limits=limits)
            return ()
        log.info("sandbox", bubblewrap=self._sandbox.version, root=self._sandbox.as_root, limits=limits)
        if config.egress is Egress.INTERNET:
            log.warning(
                "notebooks_reach_the_host",
                hint="with the network open, notebooks use this machine's own: they reach its services on localhost "
                "too. For untrusted visitors use Docker, or leave the network closed",
            )
        return ()

    async def remove_pool(self) -> None:
        """Remove everything else of the pool, unless it still has containers."""
        await asyncio.to_thread(self._launcher.remove_pool)

    # --- starting and removing

    async def start(self, spec: ContainerSpec) -> Address:
        """Start a notebook, marked STARTING. Leaves nothing behind on any error."""
        _refuse_ports(spec.config.transport)
        if spec.id in self._launching:
            raise EngineError("the container exists already")
        try:
            work = self._work(lambda: self._launcher.launch(spec))
            record = await asyncio.shield(self._kept(self._launching, spec.id, work))
        except asyncio.CancelledError:
            await self._undo(spec.id)
            raise
        try:
            self._quotas[spec.id] = spec.config.cpu_quota
            self._watches.add(spec.id, record.process)
            self._open_door(spec.id)
            return await self._address(record)
        except BaseException:
            await self._undo(spec.id)
            raise

    def _open_door(self, container_id: str) -> None:
        if directory := self._launcher.web_directory(container_id):
            self._doors.open(container_id, directory)

    async def _undo(self, container_id: str) -> None:
        with contextlib.suppress(EngineError):
            await self.remove(container_id)

    async def _address(self, record: NotebookRecord) -> SocketAddress:
        """Return where its socket will be. In a sandbox that is known once its first process runs."""
        deadline = time.monotonic() + self._start_timeout
        while True:
            is_alive = local_process.is_alive(
                record.process
            )  # before reading the status, as it may begin and end in between
            if (address := self._launcher.reachable(record, self._records.status(record.id))) is not None:
                return address
            if not is_alive:
                lines = await self.logs(record.id, lines=_LOG_LINES)
                raise StartFailedError(
                    "the sandbox could not be created", FailureClass.EXITS_AT_ONCE, log_lines=lines
                )
            if time.monotonic() > deadline:
                raise EngineError("the sandbox was not created in time")
            await asyncio.sleep(_POLL_SECONDS)

    def _kept(self, tasks: dict[str, asyncio.Task[R]], name: str, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Start a task and keep it in `tasks` by the container's id until it ends.

        Its error reaches only those who still wait for it; the next `list` shows the outcome anyway.
        """
        task = tasks[name] = self._tasks.start(name, work, ended=lambda *_: tasks.pop(name))
        return task

    async def remove(self, container_id: str) -> None:
        """Kill all of its processes and remove everything it has. Succeeds if it is already gone."""
        if is_id(container_id):
            under_way = self._removing.get(container_id)
            await asyncio.shield(under_way or self._kept(self._removing, container_id, self._remove(container_id)))

    async def _remove(self, container_id: str) -> None:
        if launching := self._launching.get(container_id):
            await asyncio.wait((launching,))
        self._quotas.pop(container_id, None)
        self._doors.close(container_id)
        if await self._work(lambda: self._clear(container_id)):
            self._watches.remove(container_id)
            self._watches.tell(container_id)

    def _clear(self, container_id: str) -> bool:
        self._copies.pop(container_id, None)
        try:
            record = self._records.read(container_id)
        except FileNotFoundError:  # gone; or somebody has removed the record of one that was starting
            self._launcher.clear(container_id, None)
            return False
        self._launcher.clear(container_id, record)
        return True

    # --- marking and listing

    async def mark_ready(self, container_id: str) -> None:
        """Set the CPU limit and make READY durable; without a sandbox, seal the socket directory."""
        quota = self._quotas.pop(container_id, 0)
        await self._work(lambda: self._mark_ready(container_id, quota))

    def _mark_ready(self, container_id: str, quota: int) -> None:
        record = self._found(container_id)
        if record is not None:
            cgroup.limit_cpu(record.cgroups, quota)
        self._sockets.seal(container_id)  # no-op with a sandbox: its socket is in its own bounded memory
        self._records.mark(container_id, State.READY)
        self._copies[container_id] = self._records.copy(container_id)

    async def claim(self, container_id: str, unix_time: float) -> bool:
        """Make CLAIMED and its time durable. True for exactly one caller."""
        return await self._work(lambda: self._claim(container_id, unix_time))

    def _claim(self, container_id: str, unix_time: float) -> bool:
        self._found(container_id)
        is_ours = self._records.claim(container_id, unix_time, self._claimant)
        self._copies[container_id] = self._records.copy(container_id)
        return is_ours

    def _found(self, container_id: str) -> NotebookRecord | None:
        try:
            return self._records.read(container_id)
        except (FileNotFoundError, ValueError):
            raise NoSuchContainerError("the engine has no such container") from None

    async def list(self) -> list[Observed]:
        """List every container of this pool, running or not."""
        found = await self._work(self._observe)
        for observed, record in found:
            if record is not None and observed.exit is None:
                self._watches.add(record.id, record.process)
                self._open_door(record.id)
        return [observed for observed, _ in found]

    def _observe(self) -> Sequence[tuple[Observed, NotebookRecord | None]]:
        found = []
        self._write_again()
        for container_id in self._records.ids():
            self._copies[container_id] = self._records.copy(container_id)
            with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
                record = self._records.read(container_id)
                found.append((self._observed(container_id, record), record))
        return found

    def _write_again(self) -> None:
        """Restore the records of running notebooks that somebody removed; else sessions would be lost."""
        for container_id in self._copies.keys() - set(self._records.ids()):
            copy = self._copies.pop(container_id)
            record = self._records.of_copy(container_id, copy)
            if record is not None and local_process.is_alive(record.process):
                self._records.write_again(container_id, copy)
                log.warning(
                    "record_written_again", id=container_id, hint="another program cleans up the runtime directory"
                )

    def _observed(self, container_id: str, record: NotebookRecord | None) -> Observed:
        if record is None:  # unreadable, so it counts as claimed
            changed = self._records.path(container_id).stat().st_ctime
            return Observed(container_id, State.CLAIMED, "", "", changed, changed, None, None)
        state, claimed_unix, claimed_stamp = self._records.state(container_id, record.created_unix)
        is_alive = local_process.is_alive(record.process)
        status = self._records.status(
            container_id
        )  # read after the check: a process that has ended has written its status
        return Observed(
            id=container_id,
            state=state,
            config_digest=record.config_digest,
            token=record.token,
            created_unix=record.created_unix,
            claimed_unix=claimed_unix,
            exit=None if is_alive else _exit(record, status),
            address=self._launcher.reachable(record, status) if is_alive else None,
            claimed_stamp=claimed_stamp,
            base_url=record.base_url,
            session_name=self._records.session_name(container_id),
        )

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        """Return the last lines of output, raw, at most 64 KiB."""
        return await self._work(lambda: self._logs(container_id, lines))

    def _logs(self, container_id: str, lines: int) -> tuple[str, ...]:
        record = self._found(container_id)
        if record is not None and not local_process.is_alive(record.process):
            self._records.await_log(container_id)
        return self._records.log_lines(container_id, lines)

    async def usage(self, container_id: str) -> Usage:
        """Measure memory (each process's proportional share) and CPU seconds of the container's processes."""
        return await self._work(lambda: self._usage(container_id))

    def _usage(self, container_id: str) -> Usage:
        record = self._found(container_id)
        if record is None:
            return Usage(0, 0.0, 0)
        (processes,) = local_process.families([record.process])
        memory = sum(map(local_process.memory, processes))
        return Usage(memory, sum(map(local_process.cpu_seconds, processes)), disk=0)

    async def cpu_seconds(self, container_ids: Sequence[str]) -> Mapping[str, float]:
        """CPU seconds so far: of the control group, or without one of the processes that live and their children."""
        return await self._work(lambda: self._cpu_seconds(container_ids))

    def _cpu_seconds(self, container_ids: Sequence[str]) -> Mapping[str, float]:
        found: dict[str, float] = {}
        uncounted: dict[str, local_process.Process] = {}  # by a control group
        for container_id in container_ids:
            with contextlib.suppress(NoSuchContainerError):
                record = self._found(container_id)
                seconds = 0.0 if record is None else cpu_time.of_groups(map(Path, record.cgroups))
                if seconds is not None:
                    found[container_id] = seconds
                elif record is not None:
                    uncounted[container_id] = record.process
        if uncounted:
            families = local_process.families(tuple(uncounted.values()))
            for container_id, processes in zip(uncounted, families, strict=True):
                found[container_id] = sum(map(local_process.cpu_seconds, processes))
        return found

    def events(self) -> AsyncIterator[str]:
        """Yield ids of containers that died or disappeared; "" after each `open`. Ends at `close`."""
        return self._watches.events()

    # --- errors

    async def _work(self, function: Callable[[], R]) -> R:
        """Run a function in a thread. Translates its exceptions into this program's errors."""
        return await asyncio.to_thread(self._translated, function)

    def _translated(self, function: Callable[[], R]) -> R:
        try:
            self._check()
        except OSError as error:
            raise _lack(error) or _unusable(error) from error
        try:
            return function()
        except OSError as error:
            raise _lack(error) or EngineError(f"the local engine failed: {error}") from error

    def _check(self) -> None:
        try:
            self._records.check()
        except FileNotFoundError:
            if not self._is_open:
                raise
            self._records.make()
            self._launcher.open()


def _lack(error: OSError) -> LackError | None:
    if not is_our_lack(error, unsent=True):
        return None
    return LackError(f"no file descriptor is left for the local engine: {error}", remedy=LACK_REMEDY)


def _unusable(error: OSError) -> EngineDownError:
    return EngineDownError(
        f"the local engine cannot use its files: {error}",
        remedy="set the option runtime-dir to a directory that belongs to this user and that nothing cleans up",
    )


def _refuse_ports(transport: Transport) -> None:
    if transport is not Transport.SOCKET:
        raise EngineError(
            "notebooks of the local engine have no ports",
            remedy="omit the option transport, and use {socket} instead of {port} in the command",
        )


def _exit(record: NotebookRecord, status: SupervisorStatus) -> Exit:
    """How a notebook ended. Without a status from its supervisor, it was killed."""
    code = _KILLED if status.exit_status is None else status.exit_status
    return Exit(code, out_of_memory=code == _KILLED and cgroup.out_of_memory(record.cgroups))


def _memory_and_cpus() -> tuple[int, int]:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024, len(os.sched_getaffinity(0))
    raise OSError("/proc/meminfo does not contain the memory's size")
