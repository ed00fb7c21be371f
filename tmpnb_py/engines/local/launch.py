"""Starts and clears local notebooks: processes, control groups, directories, record.

Used by the local engine only; synchronous, from any thread, for different containers at the same time. Raises
`EngineError`, and `OSError`, which the engine translates.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tmpnb_py.core import links, warm
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerSpec, Egress, SocketAddress
from tmpnb_py.engines.docker.options import (
    SOCKET_DIRECTORY,
    SOCKET_NAME,
    SOCKET_PATH,
    render_command,
    started,
    web_environment,
)
from tmpnb_py.engines.local import cgroup, machine, process
from tmpnb_py.engines.local import sandbox as sandboxing
from tmpnb_py.engines.local.process import Held, Process
from tmpnb_py.engines.local.record import NotebookRecord, RecordStore, SupervisorStatus
from tmpnb_py.engines.local.sandbox import Layout, Places, Sandbox
from tmpnb_py.engines.sockets import SocketDirectories
from tmpnb_py.engines.web_socket import WEB_SOCKET

_LEFTOVER_SECONDS = 300.0  # longer than any start takes
_KILL_SECONDS = 10.0
_LONGEST_SOCKET = 107  # unix(7), sun_path


class Launcher:
    """Launches and clears the notebooks of one pool. `directory` is the pool's, in the runtime directory."""

    def __init__(
        self,
        pool: str,
        directory: Path,
        workshops: Path,
        *,
        sandbox: Sandbox | None,
        sockets: SocketDirectories,
        copied: Path,
    ) -> None:
        """`copied` is a folder that is copied into each new home."""
        self._copied = copied
        self.records = RecordStore(directory / "containers")
        self.cgroups = cgroup.Cgroups({})
        self._pool = pool
        self._directory = directory
        self._workshops = workshops
        self._sandbox = sandbox
        self._sockets = sockets
        self._layout = Layout((), (), ())

    def open(self) -> None:
        """Inspect the machine, write the notebooks' support files, remove what a crash left."""
        process.keep_descriptors()
        self.cgroups = cgroup.find()
        self._layout = machine.layout()
        files = machine.support_files(sys.prefix, self._workshops / "start-notebook.sh")
        machine.install_support(self._support, files)
        for container_id in list(self.records.leftovers(_LEFTOVER_SECONDS)):
            self.clear(container_id, None)

    def remove_pool(self) -> None:
        """Remove everything else of the pool, unless it still has containers. Nothing must be starting.

        What a crash left half made goes with it, however recent it is.
        """
        with contextlib.suppress(OSError):
            for container_id in list(self.records.leftovers()):
                self.clear(container_id, None)
        self._sockets.remove_pool()
        with contextlib.suppress(OSError):
            self.records.directory.rmdir()
            shutil.rmtree(self._directory)
            self._directory.parent.rmdir()

    @property
    def _support(self) -> Path:
        return self._directory / "support"

    def reachable(self, record: NotebookRecord, status: SupervisorStatus) -> SocketAddress | None:
        """The current or future address of its socket; None while its sandbox has no process."""
        if not record.sandboxed:
            return SocketAddress(str(self._sockets.path(record.id)), SOCKET_NAME)
        if status.init_pid is None:
            return None
        # Through its first process's root, which only this user and root can enter (proc(5), ptrace access).
        return SocketAddress(f"/proc/{status.init_pid}/root{SOCKET_DIRECTORY}", SOCKET_NAME)

    # --- launching

    def launch(self, spec: ContainerSpec) -> NotebookRecord:
        """Start a notebook. Leaves nothing behind on any error."""
        if self.records.path(spec.id).exists():
            raise EngineError("the container exists already")
        name = handle(self._pool, spec.id)
        directory = "" if self._sandbox else str(Path(tempfile.gettempdir(), name))
        limits = cgroup.GroupLimits(spec.config.mem_limit, spec.config.pids_limit)
        try:
            place, status = self.records.begin(spec.id)  # first, so that whatever a crash leaves is found by it
            try:
                groups = self.cgroups.make(name, limits)
                argv, environ = self._started(spec, directory, groups, limits)
                return self._hold(spec, argv, environ, directory, groups, place=place, status=status)
            finally:
                _close(place, status)
        except BaseException:
            self.clear(spec.id, None)
            raise

    def _hold(
        self,
        spec: ContainerSpec,
        argv: list[str],
        environ: dict[str, str],
        directory: str,
        groups: tuple[str, ...],
        *,
        place: int,
        status: int,
    ) -> NotebookRecord:
        """Start the held supervisor, write its record, start its log keeper, release it; in this order."""
        output, log = os.pipe()
        try:
            held = Held(argv, environ, log=log, status=status)
        except BaseException:
            _close(output)
            raise
        finally:
            _close(log)
        digest, sandboxed = spec.config.digest, self._sandbox is not None
        try:
            record = NotebookRecord(
                spec.id,
                spec.token,
                digest,
                time.time(),
                held.process,
                sandboxed,
                directory,
                groups,
                spec.config.base_url,
            )
            self.records.commit(record, spec.session_name)
            process.start(sandboxing.log_keeper(groups), environ, output=output, place=place)
            held.go()
        except BaseException:  # without a record nobody else would wait for its end
            process.end(held.process, tuple, _KILL_SECONDS)
            raise
        finally:
            held.cancel()
            _close(output)
        return record

    def _started(
        self, spec: ContainerSpec, directory: str, groups: tuple[str, ...], limits: cgroup.GroupLimits
    ) -> tuple[list[str], dict[str, str]]:
        """The command line and environment of a notebook."""
        if self._sandbox is None:
            places, supervisor = self._in_the_open(spec, Path(directory))
        else:
            places, supervisor = self._in_a_sandbox(spec, self._sandbox)
        argv = sandboxing.launch(
            supervisor,
            groups=groups,
            limits=limits,
            memory_per_process=not self.cgroups.limit_memory,
        )
        environ = sandboxing.environment(
            places,
            base_path=spec.base_path,
            token=spec.token,
            static_url=spec.config.static_url,
            egress="" if self._sandbox is None else spec.config.told_egress,
            warm_kernels=warm.told(spec.config.warm),
        )
        return argv, environ | web_environment(spec.config)

    def _in_a_sandbox(self, spec: ContainerSpec, sandbox: Sandbox) -> tuple[Places, list[str]]:
        shown = [
            (str(self._support), sandboxing.SUPPORT),
            (str(self._workshops / "etc"), sandboxing.CONFIG),
            (str(self._copied), sandboxing.WORKSHOPS),
            (str(self._workshops / "server"), sandboxing.SERVER),
        ]
        supervisor = sandboxing.sandboxed(
            sandbox,
            self._layout,
            shown,
            started(render_command(spec), spec.config, f"{sandboxing.WEB_DIRECTORY}/{WEB_SOCKET}"),
            home_size=spec.config.home_size,
            tmp_size=spec.config.tmp_size,
            shm_size=spec.config.shm_size,
            network=spec.config.egress is Egress.INTERNET,
            web=str(self._sockets.create(spec.id)) if spec.config.egress is Egress.WEB else "",
            pids=0 if self.cgroups.limit_pids or not machine.counts_processes() else spec.config.pids_limit,
        )
        places = Places(
            prefix=sys.prefix,
            home=sandboxing.HOME,
            socket=SOCKET_PATH,
            support=sandboxing.SUPPORT,
            config=sandboxing.CONFIG,
            workshops=sandboxing.WORKSHOPS,
        )
        return places, supervisor

    def _in_the_open(self, spec: ContainerSpec, directory: Path) -> tuple[Places, list[str]]:
        socket = str(self._sockets.create(spec.id) / SOCKET_NAME)
        if len(os.fsencode(socket)) > _LONGEST_SOCKET:
            raise EngineError("the path of the socket is too long", remedy="set a shorter --runtime-dir")
        directory.mkdir(mode=0o700)
        home, runtime, temporary = directory / "home", directory / "run", directory / "tmp"
        for made in (home, runtime, temporary):
            made.mkdir()
        places = Places(
            prefix=sys.prefix,
            home=str(home),
            socket=socket,
            support=str(self._support),
            config=str(self._workshops / "etc"),
            workshops=str(self._copied),
            runtime=str(runtime),
            temporary=str(temporary),
        )
        path = sandboxing.environment(places, base_path="", token="")["PATH"]
        (home / ".profile").write_text(f"PATH='{path}'\nexport PATH\n")  # a login shell resets PATH
        return places, sandboxing.unprotected(render_command(spec, socket=socket))

    def web_directory(self, container_id: str) -> str:
        """The directory of a sandboxed notebook's socket to the web proxy; "" if it has none."""
        directory = self._sockets.path(container_id)
        return str(directory) if self._sandbox is not None and directory.is_dir() else ""

    # --- clearing

    def clear(self, container_id: str, record: NotebookRecord | None) -> None:
        """Remove everything that a container has, found by its record or else by its id. Removes the record last."""
        name = handle(self._pool, container_id)
        groups = record.cgroups if record else self.cgroups.named(name)
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
        self.records.remove(container_id)

    def _processes(
        self, container_id: str, record: NotebookRecord | None, groups: tuple[str, ...]
    ) -> Iterator[Process]:
        """The container's processes other than the supervisor and its descendants."""
        for pid in cgroup.members(groups):
            with contextlib.suppress(ProcessLookupError):
                yield process.identify(pid)
        if record is not None and record.sandboxed:
            yield from _first_process(self.records.status(container_id))
        # Kernels and terminals start sessions of their own, and may outlive their parents.
        yield from process.marked("TMPNB_BASE_PATH", links.session(links.ROOT, container_id))


def handle(pool: str, container_id: str) -> str:
    """A name for a container's control groups and directory that does not reveal its id."""
    return f"tmpnb-{hashlib.sha256(f'{pool}/{container_id}'.encode()).hexdigest()[:16]}"


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _first_process(status: SupervisorStatus) -> Iterator[Process]:
    """The sandbox's first process. When it ends, all others in the sandbox end."""
    if status.init_pid is None:
        return
    with contextlib.suppress(OSError):
        found = process.identify(status.init_pid)
        namespace = Path(f"/proc/{status.init_pid}/ns/pid").readlink()
        if str(namespace) == f"pid:[{status.pid_namespace}]":
            yield found
