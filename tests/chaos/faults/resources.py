"""What the service lacks: disk, descriptors, processes, memory, the right time, its directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.faults import fault
from tests.engine_support import skip_or_fail

if TYPE_CHECKING:
    from tests.chaos.stage import Stage


@fault(rounds=10, cheap=True, engines=("docker", "local"))
async def runtime_disk_is_full(stage: Stage) -> None:
    """That of the runtime directory: sockets, the line, static files. Now and then the service starts on it."""
    filler = stage.runtime_dir / "static" / "filler"
    filler.parent.mkdir(exist_ok=True)
    with filler.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        with contextlib.suppress(OSError):
            while True:
                file.write(b"\0")
    await stage.sleep(1, 4)
    if stage.random.random() < 0.5:
        stage.note("with a start on it")
        await stage.start_anew()
        await stage.sleep(0, 2)
    filler.unlink()


@contextlib.contextmanager
def _limit(stage: Stage, kind: int, value: int) -> Iterator[None]:
    """A limit of the living process, which is as it was at the end."""
    before = resource.prlimit(stage.service.pid, kind)
    resource.prlimit(stage.service.pid, kind, (value, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(stage.service.pid, kind, before)


@fault(rounds=20, cheap=True, engines=("docker", "local"))
async def descriptors_are_gone(stage: Stage) -> None:
    """No file and no connection can be opened, or only a few."""
    numbers = [int(one.name) for one in Path(f"/proc/{stage.service.pid}/fd").iterdir()]
    spare = stage.random.choice((0, 0, 1, 3, 8))
    stage.note(f"{spare} to spare")
    with _limit(stage, resource.RLIMIT_NOFILE, max(numbers) + 1 + spare):
        await stage.sleep(2, 6)
    await stage.revive()


@fault(rounds=20, engines=("docker", "local"))
async def memory_is_gone(stage: Stage) -> None:
    """No more address space: allocations fail."""
    stage.visitors.patient_with |= {500}
    pages = int(Path(f"/proc/{stage.service.pid}/statm").read_text().split()[0])
    spare = stage.random.choice((0, 0, 1, 8)) * 2**20
    stage.note(f"{spare} bytes to spare")
    with _limit(stage, resource.RLIMIT_AS, pages * os.sysconf("SC_PAGESIZE") + spare):
        await stage.sleep(2, 6)
    await stage.revive()


@fault(rounds=20, engines=("docker", "local"))
async def nothing_can_be_forked(stage: Stage) -> None:
    """Neither a process nor a thread can be started: its control group is full.

    A service of a Docker engine that has been running has all threads that it wants, so it starts with few; that of
    the local engine needs a process for each notebook.
    """
    stage.visitors.patient_with |= {500}
    with _process_group(stage) as group:
        if stage.has_engine or stage.random.random() < 0.4:
            most = stage.random.choice((2, 3))  # the first is its own, the second that of the test build
            stage.note(f"with a start with {most} threads")
            stage.kill()
            (group / "pids.max").write_text(str(most))
            stage.start(wrapper=("sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"))
        else:
            (group / "cgroup.procs").write_text(str(stage.service.pid))
            (group / "pids.max").write_text("0")
        await stage.sleep(3, 8)
        async with asyncio.timeout(30):
            while not _refusals(group):
                await asyncio.sleep(0.1)
        stage.note(f"{_refusals(group)} refused")
    await stage.answers(restart=True)


def _refusals(group: Path) -> int:
    """How often somebody wanted a thread or a process and got none."""
    return int((group / "pids.events").read_text().split()[1])


@contextlib.contextmanager
def _process_group(stage: Stage) -> Iterator[Path]:
    """A control group for processes; what is in it at the end goes back to where this process is."""
    root = Path("/sys/fs/cgroup/pids")
    root = root if root.is_dir() else Path("/sys/fs/cgroup")
    group = root / f"tmpnb-{stage.deployment.pool}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("max")
    except OSError as error:
        skip_or_fail(f"no control group can be made here: {error}")
    try:
        yield group
    finally:
        (group / "pids.max").write_text("max")
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # it has ended
                (_group_of_this_process(root) / "cgroup.procs").write_text(pid)
        group.rmdir()


def _group_of_this_process(root: Path) -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("pids", "") and (root / path.lstrip("/")).is_dir():
            return root / path.lstrip("/")
    return root


@fault(rounds=20, cheap=True, engines=("docker", "local"))
async def the_clock_steps(stage: Stage) -> None:
    """By hours, to and fro; now and then the service is killed and started in the wrong time."""
    steps = [stage.random.choice((-1, 1)) * stage.random.uniform(3600, 40000) for _ in range(2)]
    for step in steps:
        stage.order(f"clock {step:.0f}")
        await stage.sleep(0.5, 2)
    if stage.random.random() < 0.5:
        stage.note(f"killed and started with the clock {steps[-1]:+.0f} s off")
        await stage.start_anew(env={"CHAOS_CLOCK": f"{steps[-1]:.0f}"})
        await stage.sleep(1, 3)
    stage.order("clock 0")


@fault(rounds=20, engines=("docker", "local"))
async def the_runtime_directory_is_deleted(stage: Stage) -> None:
    """All that is in it. What is reached by a socket in it cannot be reached by a service that starts later."""
    await stage.sleep(0, 1.5)
    stage.fragile |= (await asyncio.to_thread(stage.containers)).keys()
    for one in stage.runtime_dir.iterdir():
        if one.is_dir():
            shutil.rmtree(one, ignore_errors=True)
        else:
            one.unlink(missing_ok=True)
