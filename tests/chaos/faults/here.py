"""What happens to the local engine's notebooks, which are processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from tests.chaos.faults import fault
from tmpnb_py.engines.local import process as local_process

if TYPE_CHECKING:
    from tests.chaos.stage import Stage


async def _victims(stage: Stage) -> list[local_process.Process]:
    """The processes of one notebook, or of all."""
    await stage.sleep(0.5, 2)
    ids = list(await asyncio.to_thread(stage.containers))
    if stage.random.random() < 0.7:
        ids = [stage.random.choice(ids)] if ids else []
    stage.visitors.doomed |= set(ids)
    return [one for each in ids for one in local_process.marked("TMPNB_BASE_PATH", f"/user/{each}/")]


def _send(processes: list[local_process.Process], number: int) -> None:
    for one in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, number)


@fault(rounds=20, engines=("local",))
async def processes_are_killed(stage: Stage) -> None:
    """Some of a notebook's, or all: as the kernel does it where the machine's memory is short."""
    processes = await _victims(stage)
    if stage.random.random() < 0.5:
        processes = processes[: stage.random.randint(1, max(1, len(processes)))]
        stage.note("some")
    _send(processes, stage.random.choice((signal.SIGKILL, signal.SIGTERM)))


@fault(rounds=10, engines=("local",))
async def processes_hang(stage: Stage) -> None:
    """They are stopped for seconds."""
    processes = await _victims(stage)
    _send(processes, signal.SIGSTOP)
    try:
        await stage.sleep(2, 10)
    finally:
        _send(processes, signal.SIGCONT)
