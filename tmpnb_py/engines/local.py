"""The local engine: one sandboxed process per notebook on this machine, no Docker, no root.

Built by the composition root; called by the reconciler, the claims and the command line, from any number of
tasks at once, on one event loop. What is durable is in files (`local_record`); what is kept here are watches on
running processes and can be made anew. All work with files and processes is done in threads.

With a `Sandbox` notebooks see neither each other nor the machine (`local_sandbox`). Without one they are plain
processes of this user, which is for the person at the machine only; who may connect is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from tmpnb_py.engines import local_cgroup as cgroup
from tmpnb_py.engines import local_machine as machine
from tmpnb_py.engines import local_process as process
from tmpnb_py.engines import local_sandbox as sandboxing
from tmpnb_py.engines.docker_options import SOCKET_DIRECTORY, SOCKET_NAME, SOCKET_PATH, is_id, render_command
from tmpnb_py.engines.local_process import Held, Process
from tmpnb_py.engines.local_record import Record, Records, Status
from tmpnb_py.engines.local_sandbox import Layout, Places, Sandbox
from tmpnb_py.engines.sockets import SocketDirectories
from tmpnb_py.errors import (
    EngineDownError,
    EngineError,
    FailureClass,
    ImageMissingError,
    NoSuchContainerError,
    SettingsError,
    StartFailedError,
)
from tmpnb_py.models import (
    Address,
    ContainerSpec,
    Egress,
    EngineInfo,
    Exit,
    ImageFacts,
    Observed,
    SocketAddress,
    State,
    Transport,
)
from tmpnb_py.settings import DEFAULT_IMAGE

# Everything else comes by the environment: other users of the machine can read a command line.
COMMAND = "exec start-notebook.sh"

_IMAGES = (DEFAULT_IMAGE, "local")
_LEFTOVER_SECONDS = 300.0  # longer than any start takes
_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.005
_KILLED = 128 + 9
_LOG_LINES = 20
_LONGEST_SOCKET = 107  # unix(7), sun_path

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class LocalEngine:
    """Starts, marks, lists and removes the notebooks of one pool as processes of this machine.

    `workshop_directory` is where the image's start script, configuration and workshops are.
    `start_timeout` (seconds) bounds the making of a sandbox.
    """

    name = "local"

    def __init__(
        self,
        *,
        pool: str,
        runtime_dir: Path,
        workshop_directory: Path,
        sandbox: Sandbox | None,
        start_timeout: float = 30.0,
    ) -> None:
        if not pool or pool != Path(pool).name or pool.startswith("."):
            raise SettingsError(f"{pool!r} cannot be a pool's name: use letters, digits, - and _")
        self._pool = pool
        self._directory = Path(os.path.abspath(runtime_dir)) / "local" / pool  # noqa: PTH100 - links stay
        self._workshops = workshop_directory
        self._sandbox = sandbox
        self._start_timeout = start_timeout
        self._records = Records(self._directory / "containers")
        self._sockets = SocketDirectories(runtime_dir, pool)
        self._cgroups = cgroup.Cgroups({})
        self._layout = Layout((), (), ())
        self._quotas: dict[str, int] = {}  # of containers that are starting
        self._launching: dict[str, asyncio.Task[Record]] = {}
        self._watches: dict[str, int] = {}
        self._listeners: set[asyncio.Queue[str | None]] = set()
        self._opened = False

    # --- the machine

    async def open(self) -> None:
        """See that the files can be used, remove what a crash left, take up what runs. May be repeated."""
        await self._work(self._open)
        self._opened = True
        await self.list()
        self._tell("")

    def _open(self) -> None:
        self._cgroups = cgroup.find()
        self._layout = machine.layout()
        files = machine.support_files(sys.prefix, self._workshops / "start-notebook.sh")
        machine.install_support(self._support, files)
        for container_id in list(self._records.leftovers(_LEFTOVER_SECONDS)):
            self._clear(container_id, None)

    async def close(self) -> None:
        """Stop watching. Containers stay."""
        self._opened = False
        for container_id in list(self._watches):
            self._unwatch(container_id)
        self._tell(None)

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
        return await self._work(self._facts, image)

    def _facts(self, image: str) -> ImageFacts:
        versions = machine.python_versions()
        places = (self._workshops / "etc", self._workshops / "workshops")
        return ImageFacts(
            image,
            machine.image_id(versions, *places, sandbox=self._sandbox),
            supports_socket=True,
            workshops=str(self._workshops / "workshops" / "workshops.toml"),
        )

    async def choose_transport(self, image: ImageFacts) -> Transport:  # noqa: ARG002 - the protocol's signature
        """Always a socket: no notebook here has a port."""
        return Transport.SOCKET

    async def prepare(self, egress: Egress, transport: Transport) -> None:
        """Nothing to make; says what an operator should know. Raises `EngineError` for a transport by port."""
        _refuse_ports(transport)
        limits = "control groups" if self._cgroups.parents else "resource limits"
        if self._sandbox is None:
            log.warning("notebooks_unprotected", hint="they are plain processes of this user", limits=limits)
            return
        log.info("sandbox", bubblewrap=self._sandbox.version, root=self._sandbox.as_root, limits=limits)
        if egress is Egress.INTERNET:
            log.warning(
                "notebooks_reach_the_host",
                hint="with the network open, notebooks share this machine's: they reach its services on localhost "
                "too. For strangers use Docker, or leave the network closed",
            )

    async def remove_pool(self) -> None:
        """Remove what the pool has beside its containers, unless there are some."""
        await asyncio.to_thread(self._remove_pool)

    def _remove_pool(self) -> None:
        self._sockets.remove_pool()
        with contextlib.suppress(OSError):
            self._records.directory.rmdir()
            shutil.rmtree(self._directory)
            self._directory.parent.rmdir()

    # --- starting

    async def start(self, spec: ContainerSpec) -> Address:
        """Start a notebook, marked STARTING. On any error nothing is left behind."""
        _refuse_ports(spec.config.transport)
        if spec.id in self._launching:
            raise EngineError("the container exists already")
        launching = asyncio.get_running_loop().create_task(self._work(self._launch, spec))
        self._launching[spec.id] = launching
        try:
            # A thread can't be cancelled: whoever removes waits until it has ended.
            record = await asyncio.shield(launching)
        finally:
            if launching.done():
                self._launching.pop(spec.id, None)
            else:
                launching.add_done_callback(lambda _: self._launching.pop(spec.id, None))
        try:
            self._quotas[spec.id] = spec.config.cpu_quota
            self._watch(spec.id, record.process)
            return await self._address(record)
        except BaseException:
            with contextlib.suppress(EngineError):
                await self.remove(spec.id)
            raise

    def _launch(self, spec: ContainerSpec) -> Record:
        if self._records.path(spec.id).exists():
            raise EngineError("the container exists already")
        name = self._handle(spec.id)
        directory = "" if self._sandbox else str(Path(tempfile.gettempdir(), name))
        limits = cgroup.Limits(spec.config.mem_limit, spec.config.pids_limit)
        try:
            groups = self._cgroups.make(name, limits)
            argv, environ = self._started(spec, directory, groups, limits)
            return self._hold(spec, argv, environ, directory, groups)
        except BaseException:
            self._clear(spec.id, None)
            raise

    def _hold(
        self, spec: ContainerSpec, argv: list[str], environ: dict[str, str], directory: str, groups: tuple[str, ...]
    ) -> Record:
        """Start the supervisor, write it down, and let it go; in this order."""
        _, output, status = self._records.begin(spec.id)
        try:
            held = Held(argv, environ, log=output, status=status)
        finally:
            os.close(output)
            os.close(status)
        digest, sandboxed = spec.config.digest, self._sandbox is not None
        try:
            record = Record(spec.id, spec.token, digest, time.time(), held.process, sandboxed, directory, groups)
            self._records.commit(record)
            held.go()
        finally:
            held.cancel()
        return record

    def _started(
        self, spec: ContainerSpec, directory: str, groups: tuple[str, ...], limits: cgroup.Limits
    ) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment of a notebook."""
        if self._sandbox is None:
            places, supervisor = self._in_the_open(spec, Path(directory))
        else:
            places, supervisor = self._in_a_sandbox(spec, self._sandbox)
        argv = sandboxing.launch(
            supervisor,
            groups=groups,
            limits=limits,
            memory_per_process=not self._cgroups.limit_memory,
            largest_file=spec.config.home_size if self._sandbox else 0,  # the log is on the host's disk
        )
        return argv, sandboxing.environment(places, base_path=spec.base_path, token=spec.token)

    def _in_a_sandbox(self, spec: ContainerSpec, sandbox: Sandbox) -> tuple[Places, list[str]]:
        shown = [
            (str(self._support), sandboxing.SUPPORT),
            (str(self._workshops / "etc"), sandboxing.CONFIG),
            (str(self._workshops / "workshops"), sandboxing.WORKSHOPS),
        ]
        supervisor = sandboxing.sandboxed(
            sandbox,
            self._layout,
            shown,
            render_command(spec),
            home_size=spec.config.home_size,
            network=spec.config.egress is Egress.INTERNET,
            pids=0 if self._cgroups.limit_pids or not machine.counts_processes() else spec.config.pids_limit,
        )
        support, config, workshops = (destination for _, destination in shown)
        return Places(sys.prefix, sandboxing.HOME, SOCKET_PATH, support, config, workshops), supervisor

    def _in_the_open(self, spec: ContainerSpec, directory: Path) -> tuple[Places, list[str]]:
        socket = str(self._sockets.create(spec.id) / SOCKET_NAME)
        if len(os.fsencode(socket)) > _LONGEST_SOCKET:
            raise EngineError("the path of the socket is too long", remedy="give a shorter --runtime-dir")
        directory.mkdir(mode=0o700)
        home, runtime, temporary = directory / "home", directory / "run", directory / "tmp"
        for path in (home, runtime, temporary):
            path.mkdir()
        places = Places(
            prefix=sys.prefix,
            home=str(home),
            socket=socket,
            support=str(self._support),
            config=str(self._workshops / "etc"),
            workshops=str(self._workshops / "workshops"),
            runtime=str(runtime),
            temporary=str(temporary),
        )
        path = sandboxing.environment(places, base_path="", token="")["PATH"]
        (home / ".profile").write_text(f"PATH='{path}'\nexport PATH\n")  # a login shell sets it anew
        return places, sandboxing.unprotected(render_command(spec, socket=socket))

    async def _address(self, record: Record) -> SocketAddress:
        """Where its socket will be: in a sandbox, as soon as that has its first process."""
        deadline = time.monotonic() + self._start_timeout
        while (address := self._reachable(record, self._records.status(record.id))) is None:
            if not process.is_alive(record.process):
                lines = self._records.log_lines(record.id, _LOG_LINES)
                raise StartFailedError("the sandbox could not be made", FailureClass.EXITS_AT_ONCE, log_lines=lines)
            if time.monotonic() > deadline:
                raise EngineError("the sandbox was not made in time")
            await asyncio.sleep(_POLL_SECONDS)
        return address

    def _reachable(self, record: Record, status: Status) -> SocketAddress | None:
        if not record.sandboxed:
            return SocketAddress(str(self._sockets.path(record.id)), SOCKET_NAME)
        if status.init_pid is None:
            return None
        # Through its first process's root: only this user and root get there (proc(5), ptrace access).
        return SocketAddress(f"/proc/{status.init_pid}/root{SOCKET_DIRECTORY}", SOCKET_NAME)

    # --- marking and listing

    async def mark_ready(self, container_id: str) -> None:
        """Put the CPU limit into force, make READY durable; without a sandbox, seal the socket's directory."""
        quota = self._quotas.pop(container_id, 0)
        await self._work(self._mark_ready, container_id, quota)

    def _mark_ready(self, container_id: str, quota: int) -> None:
        record = self._found(container_id)
        if record is not None:
            cgroup.limit_cpu(record.cgroups, quota)
        self._sockets.seal(container_id)  # a sandbox's is in its own bounded memory, and has none here
        self._records.mark(container_id, State.READY)

    async def mark_claimed(self, container_id: str, unix_time: float) -> None:
        """Make CLAIMED and its time durable; repeating it succeeds."""
        await self._work(self._mark_claimed, container_id, unix_time)

    def _mark_claimed(self, container_id: str, unix_time: float) -> None:
        self._found(container_id)
        self._records.mark(container_id, State.CLAIMED, unix_time)

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
                self._watch(record.id, record.process)
        return [observed for observed, _ in found]

    def _observe(self) -> list[tuple[Observed, Record | None]]:
        found = []
        for container_id in self._records.ids():
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                record = self._records.read(container_id)
                found.append((self._observed(container_id, record), record))
                self._records.trim_log(container_id)
        return found

    def _observed(self, container_id: str, record: Record | None) -> Observed:
        if record is None:  # not to be understood, so it counts as a visitor's
            changed = self._records.path(container_id).stat().st_ctime
            return Observed(container_id, State.CLAIMED, "", "", changed, changed, None, None)
        status = self._records.status(container_id)
        state, claimed_unix = self._records.state(container_id, record.created_unix)
        ended = None if process.is_alive(record.process) else _exit(record, status)
        return Observed(
            id=container_id,
            state=state,
            config_digest=record.config_digest,
            token=record.token,
            created_unix=record.created_unix,
            claimed_unix=claimed_unix,
            exit=ended,
            address=self._reachable(record, status) if ended is None else None,
        )

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        """The last lines of output, raw, at most 64 KiB."""
        return await self._work(self._logs, container_id, lines)

    def _logs(self, container_id: str, lines: int) -> tuple[str, ...]:
        self._found(container_id)
        return self._records.log_lines(container_id, lines)

    # --- removing

    async def remove(self, container_id: str) -> None:
        """Kill every process of it and remove all it has. Removing what is gone succeeds."""
        if not is_id(container_id):
            return
        if launching := self._launching.get(container_id):
            await asyncio.wait((launching,))
        self._quotas.pop(container_id, None)
        if await self._work(self._remove, container_id):
            self._unwatch(container_id)
            self._tell(container_id)

    def _remove(self, container_id: str) -> bool:
        try:
            record = self._records.read(container_id)
        except FileNotFoundError:
            return False
        self._clear(container_id, record)
        return True

    def _clear(self, container_id: str, record: Record | None) -> None:
        """Remove what a container has, known by its record or else by its id. The record goes last."""
        name = self._handle(container_id)
        groups = record.cgroups if record else self._cgroups.named(name)
        root = record.process if record else None
        if not process.end(root, lambda: self._processes(container_id, record, groups), _KILL_SECONDS):
            raise EngineError("a notebook's processes could not be killed")
        if left := cgroup.remove(groups):
            raise EngineError(f"a control group could not be removed: {left[0]}")
        directory = Path(record.directory if record and record.directory else Path(tempfile.gettempdir(), name))
        if directory.name == name:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(directory)
        self._sockets.remove(container_id)
        self._records.remove(container_id)

    def _processes(self, container_id: str, record: Record | None, groups: tuple[str, ...]) -> Iterator[Process]:
        """What belongs to a container beside the supervisor and its descendants."""
        for pid in cgroup.members(groups):
            with contextlib.suppress(ProcessLookupError):
                yield process.identify(pid)
        if record is not None and record.sandboxed:
            yield from _first_process(self._records.status(container_id))
        else:  # kernels and terminals begin sessions of their own, and may outlive their parents
            yield from process.marked(f"TMPNB_BASE_PATH=/user/{container_id}/")

    def _handle(self, container_id: str) -> str:
        """A name that does not give the id away."""
        text = f"{self._pool}/{container_id}"
        return f"tmpnb-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def _support(self) -> Path:
        return self._directory / "support"

    # --- watching

    async def events(self) -> AsyncIterator[str]:
        """Ids of containers that died or went; "" after each `open`. Ends when the engine is closed."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            if self._opened:
                yield ""
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.discard(queue)

    def _tell(self, event: str | None) -> None:
        for queue in self._listeners:
            queue.put_nowait(event)

    def _watch(self, container_id: str, watched: Process) -> None:
        """Be woken by the kernel when it ends; it need not be our child."""
        if container_id in self._watches:
            return
        descriptor = process.open_process(watched)
        if descriptor is None:
            self._tell(container_id)
            return
        self._watches[container_id] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._died, container_id)

    def _died(self, container_id: str) -> None:
        self._unwatch(container_id)
        self._tell(container_id)

    def _unwatch(self, container_id: str) -> None:
        descriptor = self._watches.pop(container_id, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            process.reap(descriptor)
            os.close(descriptor)

    # --- errors

    async def _work(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do it in a thread; what it raises leaves as one of this program's errors."""
        return await asyncio.to_thread(self._translated, function, *args, **kwargs)

    def _translated(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            self._records.check()
        except OSError as error:
            raise EngineDownError(
                f"the local engine cannot use its files: {error}",
                remedy="give the option runtime-dir a directory that belongs to this user",
            ) from error
        try:
            return function(*args, **kwargs)
        except OSError as error:
            raise EngineError(f"the local engine failed: {error}") from error


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


def _first_process(status: Status) -> Iterator[Process]:
    """The sandbox's first process, whose end is that of all others in it."""
    if status.init_pid is None:
        return
    with contextlib.suppress(OSError):
        found = process.identify(status.init_pid)
        namespace = Path(f"/proc/{status.init_pid}/ns/pid").readlink()
        if str(namespace) == f"pid:[{status.pid_namespace}]":
            yield found


def _memory_and_cpus() -> tuple[int, int]:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024, len(os.sched_getaffinity(0))
    raise OSError("/proc/meminfo does not tell the memory")
