"""One kernel that may have been started before anybody asked for it, and a client's connection to it.

`tmpnb_warm_kernels` keeps them. Everything here runs on the server's event loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import json
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from tmpnb_warm_languages import SESSION, Language, RefusedError
from tmpnb_warm_line import Line

if TYPE_CHECKING:
    from zmq.eventloop.zmqstream import ZMQStream

T = TypeVar("T")

_START = "/"  # where kernels wait: a directory in which they read nothing when they start
_START_SECONDS = 60.0
_LOAD_SECONDS = 120.0
# Only one that hangs needs as long, or all of them where a whole class comes at once: then a new one needs longer.
_PLACE_SECONDS = 10.0
_LOOK_SECONDS = 0.5


@dataclasses.dataclass
class _Held:
    """What is needed to hand a started kernel over. The environment is the one that it was started with."""

    line: Line
    language: Language
    environment: Mapping[str, str]
    startup_files: dict[str, int] = dataclasses.field(default_factory=dict)


class WarmKernel(ServerKernelManager):
    """One kernel. If it was not started early, it is Jupyter Server's own."""

    _held: _Held | None = None
    _subscriptions: tuple[ZMQStream, ...] = ()
    was_handed_over = False

    # --- until it is asked for

    async def start_early(self, kernel_id: str, language: Language) -> None:
        """Start the process, and return when it answers.

        Raises RefusedError if it does not, and what Jupyter raises for kernels that cannot be started.
        """
        environment = {name: value for name, value in os.environ.items() if name != SESSION}
        await super().start_kernel(kernel_id=kernel_id, cwd=_START, env=environment)
        self.stop_restarter()  # one that dies before it is asked for is not started again
        line = Line(self)
        self._held = _Held(line, language, environment)
        info = await self._in_time(line.first_contact(), _START_SECONDS, "started")
        # Jupyter Server asks each kernel once, before it accepts a WebSocket.
        self._kernel_info_future: concurrent.futures.Future[dict[str, Any]] = concurrent.futures.Future()
        self._kernel_info_future.set_result(info)

    async def load(self, packages: tuple[str, ...]) -> None:
        """Load packages, and do what the first cell would wait for. Raises RefusedError."""
        if self._held:
            work = self._held.language.load(self._held.line, packages)
            await self._in_time(work, _LOAD_SECONDS, "loaded its packages")

    async def _in_time(self, work: Coroutine[Any, Any, T], seconds: float, what: str) -> T:
        """Await what a kernel has to do. Raises RefusedError if it dies meanwhile, or takes longer."""
        working, dying = asyncio.ensure_future(work), asyncio.ensure_future(self._death())
        try:
            done, _ = await asyncio.wait((working, dying), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            dying.cancel()
        if working in done:
            return working.result()
        raise RefusedError(f"it died before it had {what}" if done else f"it had not {what} after {seconds:.0f} s")

    async def _death(self) -> None:
        while self.runs():  # noqa: ASYNC110 - a process tells nobody that it has died
            await asyncio.sleep(_LOOK_SECONDS)

    def runs(self) -> bool:
        """Whether its process is there, as far as the system knows."""
        process = getattr(self.provisioner, "process", None)
        return process is not None and process.poll() is None

    def note_startup_files(self) -> None:
        """Take note of the files that it has read: a kernel that starts after they were changed is another one."""
        if self._held:
            self._held.startup_files = self._held.language.startup_files(Path.home())

    def can_become(self, wanted: Mapping[str, Any]) -> bool:
        """Whether a kernel that is started with these arguments would be as this one, but for folder and session."""
        held = self._held
        if held is None or not set(wanted) <= {"cwd", "env", "kernel_id"}:
            return False
        if wanted.get("kernel_id") not in (None, self.kernel_id):
            return False
        environment = {**(wanted.get("env") or os.environ)}
        environment.pop(SESSION, None)
        return (
            # Most variables only count when a program starts.
            environment == held.environment
            and held.language.is_plain(_folder(wanted))
            and held.language.startup_files(Path.home()) == held.startup_files
            and self._is_still_described_so()
        )

    def _is_still_described_so(self) -> bool:
        """Whether a kernel of this name would be started by the same command."""
        was, now = self.kernel_spec, self.kernel_spec_manager.get_kernel_spec(self.kernel_name)
        return bool(was and was.to_dict() == now.to_dict() and was.resource_dir == now.resource_dir)

    # --- when it is asked for

    async def start_kernel(self, *arguments: Any, **wanted: Any) -> None:
        """Start the kernel; a started one becomes the wanted one."""
        held, self._held = self._held, None
        if held is None or not await self._become(held, wanted):
            await super().start_kernel(*arguments, **wanted)

    async def _become(self, held: _Held, wanted: dict[str, Any]) -> bool:
        """Set folder and session. If that does not succeed, nothing is left of the process."""
        session = (wanted.get("env") or os.environ).get(SESSION)
        place = held.language.place(held.line, _folder(wanted), session)
        try:
            await self._in_time(place, _PLACE_SECONDS, "changed its folder")
        except RefusedError as error:
            self.log.warning("a warm kernel (%s) is not handed over: %s", self.kernel_name, error)
            held.line.close()
            await super().shutdown_kernel(now=True, restart=True)
            return False
        # For restarts, as if the process had been started like this.
        self._launch_args = {name: value for name, value in wanted.items() if name != "kernel_id"}
        if session is not None:
            self._tell_connection_file(session)
        self._subscriptions = tuple(held.line.hand_over())
        self.was_handed_over = True
        self.start_restarter()
        return True

    def _tell_connection_file(self, session: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the kernel itself has read it
            path = Path(self.connection_file)
            told = json.loads(path.read_text())
            path.write_text(json.dumps({**told, "jupyter_session": session}, indent=2))

    def connect_iopub(self, identity: bytes | None = None) -> ZMQStream:
        """A subscription; one that is effective already if there is one left."""
        if not self._subscriptions:
            return super().connect_iopub(identity=identity)
        stream, *rest = self._subscriptions
        self._subscriptions = tuple(rest)
        stream.is_effective = True
        return stream

    # --- afterwards

    async def shutdown_kernel(self, *arguments: Any, **options: Any) -> None:
        """End the process. What was kept for those who would ask for it goes, too."""
        self._forget()
        await super().shutdown_kernel(*arguments, **options)

    async def restart_kernel(self, *arguments: Any, **options: Any) -> None:
        """Start anew, as any kernel. A subscription that nobody has had is of no use for another process."""
        self._forget()
        await super().restart_kernel(*arguments, **options)

    def _forget(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.line.close()
        for stream in self._subscriptions:
            stream.close()
        self._subscriptions = ()


class WarmConnection(ZMQChannelsWebsocketConnection):
    """A client's WebSocket. The first one has a subscription that is known to be effective."""

    def nudge(self) -> asyncio.Future[None]:
        """Jupyter Server's proof that nothing is lost of what the kernel publishes; see `tmpnb_warm_line`.

        Requests need no proof: they wait in their sockets until the kernel reads them.
        """
        stream = self.channels["iopub"]
        if not getattr(stream, "is_effective", False):
            return super().nudge()
        stream.is_effective = False  # when the client comes back, the kernel may be another process
        connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connected.set_result(None)
        return connected


def _folder(wanted: Mapping[str, Any]) -> str:
    return wanted.get("cwd") or os.getcwd()  # noqa: PTH109
