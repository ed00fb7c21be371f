"""Makes the process that `tmpnb_start` has waiting the first Python kernel; starts all others as Jupyter does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

if TYPE_CHECKING:
    import socket

_ANSWER_SECONDS = 30.0  # it may still be importing, on a busy machine
_STARTED_WITH = {"env", "cwd", "extra_arguments", "kernel_id"}
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


class FirstKernel(LocalProvisioner):
    """Jupyter's own provisioner, but for how the first Python kernel comes to be."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Start a kernel."""
        start = sys.modules.get("tmpnb_start")
        if (
            start is None
            or start.waiting is None
            or cmd[3:4] != [start.LAUNCHER]
            or not kwargs.keys() <= _STARTED_WITH
        ):
            return await super().launch_kernel(cmd, **kwargs)
        (number, asked), start.waiting = start.waiting, None
        process = Child(number)
        with asked:
            problem = await _ask(asked, cmd, kwargs, start.LONGEST)
        if problem:
            self.log.warning("A Python kernel is started anew: %s", problem)
            process.kill()
            process.wait()
            return await super().launch_kernel(cmd, **kwargs)
        self.process = process
        self.pid = self.pgid = number
        self.cwd = kwargs.get("cwd", pathlib.Path.cwd())
        return self.connection_info


async def _ask(asked: socket.socket, cmd: list[str], kwargs: dict[str, Any], longest: int) -> str:
    """Tell the waiting process what it is to be. Why it cannot; "" once it is that."""
    request = {
        "argv": cmd,
        "env": kwargs.get("env") or dict(os.environ),
        "cwd": str(kwargs.get("cwd") or pathlib.Path.cwd()),
        "limits": {str(name): resource.getrlimit(name) for name in _LIMITS},
    }
    message = json.dumps(request).encode()
    if len(message) > longest:
        return "its environment is too large"
    loop = asyncio.get_running_loop()
    asked.setblocking(False)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await loop.sock_sendall(asked, message)
            answer = await loop.sock_recv(asked, longest)
    except (OSError, TimeoutError) as error:
        return f"the waiting one does not answer ({error!r})"
    return json.loads(answer).get("problem", "") if answer else "the waiting one has ended"


class Child:
    """A child process of this one, as `subprocess.Popen` presents those that it has started."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        self._look(os.WNOHANG)
        return self.returncode

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        self._look(0)
        return self.returncode or 0

    def _look(self, options: int) -> None:
        if self.returncode is None:
            try:
                number, status = os.waitpid(self.pid, options)
            except ChildProcessError:  # somebody else has asked
                number, status = self.pid, 0
            if number:
                self.returncode = os.waitstatus_to_exitcode(status)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)
