"""The local engine: one sandboxed process per notebook on this machine, no Docker, no root.

Built by the composition root; called by the reconciler, the claims and the command line, from any number of
tasks at once, on one event loop. What is durable is in files (`record`); what is kept here are watches on
running processes and can be made anew. All work with files and processes is done in threads.

With a `Sandbox` notebooks see neither each other nor the machine (`sandbox`). Without one they are plain
processes of this user, which is for the person at the machine only; who may connect is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
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
from tmpnb_py.engines.docker.options import is_id
from tmpnb_py.engines.image_files import READ_LIMIT, from_directory
from tmpnb_py.engines.local import cgroup, machine
from tmpnb_py.engines.local import process as local_process
from tmpnb_py.engines.local.launch import Launcher
from tmpnb_py.engines.local.record import Record, Status
from tmpnb_py.engines.local.sandbox import Sandbox
from tmpnb_py.engines.local.watch import Watches
from tmpnb_py.engines.no_images import NoImageStore
from tmpnb_py.engines.sockets import SocketDirectories
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE

# Everything else comes by the environment: other users of the machine can read a command line.
COMMAND = "exec start-notebook.sh"

_IMAGES = (DEFAULT_IMAGE, "local")
_POLL_SECONDS = 0.005
_KILLED = 128 + 9
_LOG_LINES = 20

log = structlog.get_logger(__name__)

R = TypeVar("R")


class LocalEngine(NoImageStore):
    """Starts, marks, lists and removes the notebooks of one pool as processes of this machine.

    `workshop_directory` is where the image's start script, configuration and workshops are; `workshops` is another
    folder that notebooks get a copy of.
    `start_timeout` (seconds) bounds the making of a sandbox.
    """

    name = "local"
    stores_images = False
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
        self._copies: dict[str, dict[str, bytes]] = {}  # of the records, should somebody remove them
        self._is_open = False
        self._claimant = secrets.token_hex(8)
        self._quotas: dict[str, int] = {}  # of containers that are starting
        self._prepared = ""  # the digest of what was said already
        # A thread can't be cancelled: whoever comes later waits for the one that is under way.
        self._tasks = Tasks()
        self._launching: dict[str, asyncio.Task[Record]] = {}
        self._removing: dict[str, asyncio.Task[None]] = {}

    # --- the machine

    async def open(self) -> None:
        """See that the files can be used, remove what a crash left, take up what runs. May be repeated."""
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
        """Nothing beyond the pool's lock (`runtime`): all that managers could share lies in the runtime directory."""

    async def close(self) -> None:
        """Stop watching. Containers stay."""
        await self._tasks.finish()
        self._watches.close()

    async def info(self) -> EngineInfo:
        """Memory and CPUs of this machine; the sandbox's version."""
        memory, cpus = await self._work(_memory_and_cpus)
        version = f"bubblewrap {self._sandbox.version}" if self._sandbox else "no sandbox"
        return EngineInfo(self.name, version, memory, cpus)

    async def image(self, image: str) -> ImageFacts:
        """This Python environment, under the default image's name. Raises `ImageMissingError` with a remedy."""
        if image not in _IMAGES:
            raise ImageMissingError(
                f"the local engine has no image {image}: it runs the JupyterLab that is installed beside tmpnb-py",
                remedy="leave out the option image, or start containers with --engine docker",
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
        )

    async def read_image(
        self, image: ImageFacts, paths: Sequence[str], *, limit: int = READ_LIMIT
    ) -> dict[str, bytes]:
        """The files at and below `paths` on this machine, which is what notebooks are started from."""
        del image  # there is one
        return await self._work(lambda: self._files(paths, limit))

    def _files(self, paths: Sequence[str], limit: int) -> dict[str, bytes]:
        files = from_directory(paths, limit=limit)
        if self._manifest in files:
            files[self._manifest] = machine.runnable_workshops(self._workshops).encode()
        return files

    async def image_size(self, image: ImageFacts) -> int:  # noqa: ARG002 - as the Docker engine's
        """Bytes that the image takes on disk beside this installation: none."""
        return 0

    async def choose_transport(self, config: ContainerConfig) -> Transport:  # noqa: ARG002 - the protocol's signature
        """Always a socket: no notebook here has a port."""
        return Transport.SOCKET

    async def prepare(self, config: ContainerConfig) -> tuple[Gap, ...]:
        """Nothing to make; says what an operator should know. Raises `EngineError` for a transport by port."""
        _refuse_ports(config.transport)
        if self._prepared == config.digest:
            return ()
        self._prepared = config.digest
        limits = "control groups" if self._launcher.cgroups.parents else "resource limits"
        if self._sandbox is None:
            log.warning("notebooks_unprotected", hint="they are plain processes of this user", limits=limits)
            return ()
        log.info("sandbox", bubblewrap=self._sandbox.version, root=self._sandbox.as_root, limits=limits)
        if config.egress is Egress.INTERNET:
            log.warning(
                "notebooks_reach_the_host",
                hint="with the network open, notebooks share this machine's: they reach its services on localhost "
                "too. For strangers use Docker, or leave the network closed",
            )
        return ()

    async def remove_pool(self) -> None:
        """Remove what the pool has beside its containers, unless there are some."""
        await asyncio.to_thread(self._launcher.remove_pool)

    # --- starting and removing

    async def start(self, spec: ContainerSpec) -> Address:
        """Start a notebook, marked STARTING. On any error nothing is left behind."""
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
            return await self._address(record)
        except BaseException:
            await self._undo(spec.id)
            raise

    async def _undo(self, container_id: str) -> None:
        with contextlib.suppress(EngineError):
            await self.remove(container_id)

    async def _address(self, record: Record) -> SocketAddress:
        """Where its socket will be: in a sandbox, as soon as that has its first process."""
        deadline = time.monotonic() + self._start_timeout
        while True:
            is_alive = local_process.is_alive(record.process)  # before the look, as it may begin and end in between
            if (address := self._launcher.reachable(record, self._records.status(record.id))) is not None:
                return address
            if not is_alive:
                lines = await self.logs(record.id, lines=_LOG_LINES)
                raise StartFailedError("the sandbox could not be made", FailureClass.EXITS_AT_ONCE, log_lines=lines)
            if time.monotonic() > deadline:
                raise EngineError("the sandbox was not made in time")
            await asyncio.sleep(_POLL_SECONDS)

    def _kept(self, tasks: dict[str, asyncio.Task[R]], name: str, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Start a task that is in `tasks` under the container's id until it has ended.

        Its error is for those who wait for it; where they have left, the caller's next look at the container tells.
        """
        task = tasks[name] = self._tasks.start(name, work, ended=lambda *_: tasks.pop(name))
        return task

    async def remove(self, container_id: str) -> None:
        """Kill every process of it and remove all it has. Removing what is gone succeeds."""
        if is_id(container_id):
            under_way = self._removing.get(container_id)
            await asyncio.shield(under_way or self._kept(self._removing, container_id, self._remove(container_id)))

    async def _remove(self, container_id: str) -> None:
        if launching := self._launching.get(container_id):
            await asyncio.wait((launching,))
        self._quotas.pop(container_id, None)
        if await self._work(lambda: self._clear(container_id)):
            self._watches.remove(container_id)
            self._watches.tell(container_id)

    def _clear(self, container_id: str) -> bool:
        self._copies.pop(container_id, None)
        try:
            record = self._records.read(container_id)
        except FileNotFoundError:
            return False
        self._launcher.clear(container_id, record)
        return True

    # --- marking and listing

    async def mark_ready(self, container_id: str) -> None:
        """Put the CPU limit into force, make READY durable; without a sandbox, seal the socket's directory."""
        quota = self._quotas.pop(container_id, 0)
        await self._work(lambda: self._mark_ready(container_id, quota))

    def _mark_ready(self, container_id: str, quota: int) -> None:
        record = self._found(container_id)
        if record is not None:
            cgroup.limit_cpu(record.cgroups, quota)
        self._sockets.seal(container_id)  # a sandbox's is in its own bounded memory, and has none here
        self._records.mark(container_id, State.READY)
        self._copies[container_id] = self._records.copy(container_id)

    async def claim(self, container_id: str, unix_time: float) -> bool:
        """Make CLAIMED and its time durable; True for one of all who ask."""
        return await self._work(lambda: self._claim(container_id, unix_time))

    def _claim(self, container_id: str, unix_time: float) -> bool:
        self._found(container_id)
        is_ours = self._records.claim(container_id, unix_time, self._claimant)
        self._copies[container_id] = self._records.copy(container_id)
        return is_ours

    def _found(self, container_id: str) -> Record | None:
        try:
            return self._records.read(container_id)
        except (FileNotFoundError, ValueError):
            raise NoSuchContainerError("the engine has no such container") from None

    async def list(self) -> list[Observed]:
        """Every container of this pool, running or not."""
        found = await self._work(self._observe)
        for observed, record in found:
            if record is not None and observed.exit is None:
                self._watches.add(record.id, record.process)
        return [observed for observed, _ in found]

    def _observe(self) -> Sequence[tuple[Observed, Record | None]]:
        found = []
        self._write_again()
        for container_id in self._records.ids():
            self._copies[container_id] = self._records.copy(container_id)
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                record = self._records.read(container_id)
                found.append((self._observed(container_id, record), record))
        return found

    def _write_again(self) -> None:
        """Make records that somebody has removed under running notebooks as they were; else sessions were lost."""
        for container_id in self._copies.keys() - set(self._records.ids()):
            copy = self._copies.pop(container_id)
            record = self._records.of_copy(container_id, copy)
            if record is not None and local_process.is_alive(record.process):
                self._records.write_again(container_id, copy)
                log.warning("record_written_again", id=container_id, hint="something tidies up the runtime directory")

    def _observed(self, container_id: str, record: Record | None) -> Observed:
        if record is None:  # not to be understood, so it counts as a visitor's
            changed = self._records.path(container_id).stat().st_ctime
            return Observed(container_id, State.CLAIMED, "", "", changed, changed, None, None)
        state, claimed_unix, claimed_stamp = self._records.state(container_id, record.created_unix)
        is_alive = local_process.is_alive(record.process)
        status = self._records.status(container_id)  # after the look: what has ended has written how
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
        )

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        """The last lines of output, raw, at most 64 KiB."""
        return await self._work(lambda: self._logs(container_id, lines))

    def _logs(self, container_id: str, lines: int) -> tuple[str, ...]:
        record = self._found(container_id)
        if record is not None and not local_process.is_alive(record.process):
            self._records.await_log(container_id)
        return self._records.log_lines(container_id, lines)

    async def usage(self, container_id: str) -> Usage:
        """Memory (each process's proportional share) and CPU seconds of what runs in the container now."""
        return await self._work(lambda: self._usage(container_id))

    def _usage(self, container_id: str) -> Usage:
        record = self._found(container_id)
        if record is None:
            return Usage(0, 0.0, 0)
        processes = [record.process, *local_process.descendants(record.process)]
        memory = sum(map(local_process.memory, processes))
        return Usage(memory, sum(map(local_process.cpu_seconds, processes)), disk=0)

    def events(self) -> AsyncIterator[str]:
        """Ids of containers that died or went; "" after each `open`. Ends when the engine is closed."""
        return self._watches.events()

    # --- errors

    async def _work(self, function: Callable[[], R]) -> R:
        """Do it in a thread; what it raises leaves as one of this program's errors."""
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
        remedy="give the option runtime-dir a directory that belongs to this user, and let nothing clean it up",
    )


def _refuse_ports(transport: Transport) -> None:
    if transport is not Transport.SOCKET:
        raise EngineError(
            "notebooks of the local engine have no ports",
            remedy="leave out the option transport, and use {socket} instead of {port} in the command",
        )


def _exit(record: Record, status: Status) -> Exit:
    """How it ended. Where nobody was left to say so, it was killed."""
    code = _KILLED if status.exit_status is None else status.exit_status
    return Exit(code, out_of_memory=code == _KILLED and cgroup.out_of_memory(record.cgroups))


def _memory_and_cpus() -> tuple[int, int]:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024, len(os.sched_getaffinity(0))
    raise OSError("/proc/meminfo does not tell the memory")
