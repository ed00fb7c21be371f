"""The local engine, sandboxed and not, beside Docker on the same machine: starts, memory, and a pool filled.

`python -m tests.benchmarks.local_engine` prints a table; `--json` prints the figures; `--notebooks 50` is the size of
the pool and `--engines local,unprotected,docker` what is compared. Run it as root (the kernel tells the memory of
other users' processes to nobody else) on a machine that does nothing else. Each engine is asked in the same way: as
many starts at once as there are CPUs, each polled over its socket until it answers, with the options' defaults.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import rig
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.core.models import ContainerConfig, ContainerSpec
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.local import process as local_process
from tmpnb_py.engines.local.engine import COMMAND, LocalEngine
from tmpnb_py.engines.local.machine import find_sandbox
from tmpnb_py.jupyter.questions import wait_until_ready
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import PoolConfiguration

ENGINES = ("local", "unprotected", "docker")
_GIB = 1 << 30
_SINGLE_STARTS = 5
_START_SECONDS = 120.0
_SETTLE_SECONDS = 2.0

Engine = DockerEngine | LocalEngine


@dataclasses.dataclass(frozen=True)
class Figures:
    """Of one engine. Seconds and bytes; `start_…` are medians of starts that had the machine for themselves."""

    engine: str
    start_wall: float
    start_cpu: float
    memory_each: float
    taken_each: float
    per_gib: float
    notebooks: int
    fill_wall: float
    fill_cpu_each: float


async def measure(name: str, notebooks: int) -> Figures:
    """Single starts first, then the pool."""
    async with _opened(name) as (engine, config):
        singles = [await _single(engine, config) for _ in range(_SINGLE_STARTS)]
        await asyncio.sleep(_SETTLE_SECONDS)
        available, busy, began = rig.available_memory(), rig.busy_seconds(), time.monotonic()
        specs = await _fill(engine, config, notebooks)
        fill_wall, fill_cpu = time.monotonic() - began, rig.busy_seconds() - busy
        await asyncio.sleep(_SETTLE_SECONDS)
        taken = (available - rig.available_memory()) / notebooks
        memory = [await _memory(engine, spec.id) for spec in specs]
    each = statistics.mean(memory)
    return Figures(
        engine=name,
        start_wall=statistics.median(wall for wall, _ in singles),
        start_cpu=statistics.median(cpu for _, cpu in singles),
        memory_each=each,
        taken_each=taken,
        per_gib=_GIB / each,
        notebooks=notebooks,
        fill_wall=fill_wall,
        fill_cpu_each=fill_cpu / notebooks,
    )


@contextlib.asynccontextmanager
async def _opened(name: str) -> AsyncIterator[tuple[Engine, ContainerConfig]]:
    """An engine with a pool of its own, which is removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="tmpnb-bench-"))
    engine = _engine(name, f"bench{secrets.token_hex(4)}", directory)
    settings = Settings(command=COMMAND) if isinstance(engine, LocalEngine) else Settings()
    try:
        await engine.open()
        yield engine, await PoolConfiguration(engine, LiveOptions(settings)).resolve()
    finally:
        for one in await engine.list():
            await engine.remove(one.id)
        await engine.remove_pool()
        await engine.close()
        shutil.rmtree(directory)


def _engine(name: str, pool: str, directory: Path) -> Engine:
    if name == "docker":
        return DockerEngine(pool=pool, runtime_dir=directory)
    workshops = workshop_directory()
    sandbox, reason = find_sandbox(workshops / "start-notebook.sh") if name == "local" else (None, "")
    if reason:
        raise SystemExit(reason)
    return LocalEngine(pool=pool, runtime_dir=directory, workshop_directory=workshops, sandbox=sandbox)


async def _ready(engine: Engine, config: ContainerConfig) -> ContainerSpec:
    spec = ContainerSpec(f"bench{secrets.token_hex(10)}", secrets.token_hex(24), config)
    address = await engine.start(spec)
    endpoint = await wait_until_ready(address, spec, timeout_seconds=_START_SECONDS, died=asyncio.Event())
    endpoint.close()
    await engine.mark_ready(spec.id)
    return spec


async def _single(engine: Engine, config: ContainerConfig) -> tuple[float, float]:
    """Seconds from the call to the first answer, and the CPU seconds of the notebook's processes by then."""
    began = time.monotonic()
    spec = await _ready(engine, config)
    wall = time.monotonic() - began
    cpu = (await engine.usage(spec.id)).cpu_seconds
    await engine.remove(spec.id)
    return wall, cpu


async def _fill(engine: Engine, config: ContainerConfig, notebooks: int) -> list[ContainerSpec]:
    limit = asyncio.Semaphore(os.cpu_count() or 1)

    async def one() -> ContainerSpec:
        async with limit:
            return await _ready(engine, config)

    async with asyncio.TaskGroup() as group:  # one that fails ends the others, in order
        tasks = [group.create_task(one()) for _ in range(notebooks)]
    return [task.result() for task in tasks]


async def _memory(engine: Engine, container_id: str) -> int:
    """PSS of a notebook's processes, the supervisor's among them (with Docker: not the engine's shim)."""
    if isinstance(engine, DockerEngine):
        listed = await rig.docker("ps", "--quiet", "--filter", f"label=org.tmpnb.id={container_id}")
        return await rig.container_pss(listed)
    record = engine._records.read(container_id)
    assert record is not None
    return sum(map(local_process.memory, [record.process, *local_process.descendants(record.process)]))


def _print(found: list[Figures]) -> None:
    table = Table("", *(figures.engine for figures in found))
    rows: dict[str, Any] = {
        "start to ready, wall": lambda one: f"{one.start_wall:.2f} s",
        "start to ready, CPU of the notebook": lambda one: f"{one.start_cpu:.2f} s",
        "memory of a ready notebook, PSS": lambda one: f"{one.memory_each / (1 << 20):.0f} MiB",
        "memory that the machine has less for it": lambda one: f"{one.taken_each / (1 << 20):.0f} MiB",
        "ready notebooks per GiB (PSS)": lambda one: f"{one.per_gib:.0f}",
        f"a pool of {found[0].notebooks} filled in": lambda one: f"{one.fill_wall:.1f} s",
        "CPU of the whole machine for each": lambda one: f"{one.fill_cpu_each:.2f} s",
    }
    for label, show in rows.items():
        table.add_row(label, *(show(figures) for figures in found))
    Console().print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notebooks", type=int, default=50)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = options.engines.split(",")
    if unknown := set(names) - set(ENGINES):
        parser.error(f"no such engine: {', '.join(unknown)}")
    rig.need("bwrap", engine="docker" in names)
    found = [asyncio.run(measure(name, options.notebooks)) for name in names]
    if options.json:
        json.dump([dataclasses.asdict(figures) for figures in found], sys.stdout, indent=2)
    else:
        _print(found)


if __name__ == "__main__":
    main()
