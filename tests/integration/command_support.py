"""Runs the real `tmpnb-py` against a service in this process, in a pipe or on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pty
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.inprocess import Rig

PROGRAM = str(Path(sys.executable).parent / "tmpnb-py")
SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without options of ours, and without wishes about colours."""
    unwanted = ("TMPNB_", "ADMIN_AUTH_TOKEN", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "TERM": "xterm-256color", **(extra or {})}


async def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Done:
    """In pipes."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(env),
    )
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def run_on_terminal(
    *arguments: str, env: Mapping[str, str] | None = None, stop_after: str = "", answer: str = ""
) -> Done:
    """On a pseudo terminal; with `stop_after`, Ctrl-C is pressed when that has been shown."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(env), start_new_session=True
    )
    os.close(theirs)
    shown, loop, done = bytearray(), asyncio.get_running_loop(), asyncio.Event()
    pressed: list[bool] = []

    def readable() -> None:
        try:
            data = os.read(ours, 65536)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the other side any more
            data = b""
        shown.extend(data)
        if not data:
            loop.remove_reader(ours)
            done.set()
        elif stop_after and not pressed and stop_after in shown.decode(errors="replace"):
            pressed.append(True)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)

    loop.add_reader(ours, readable)
    try:
        if answer:
            os.write(ours, answer.encode())
        async with asyncio.timeout(SECONDS):
            await done.wait()
            code = await process.wait()
    finally:
        loop.remove_reader(ours)
        os.close(ours)
    return Done(code, shown.decode(errors="replace"), "")


def at(rig: Rig) -> tuple[str, ...]:
    """The options that lead to a service on a port of the kernel's choice."""
    return ("--admin-port", str(rig.service.admin_port))
