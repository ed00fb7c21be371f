"""What a class takes: so many notebooks ready, then all of them open the same workshop within a minute.

    python -m tests.benchmarks.class_of 10 30 100 [--image NAME]

Everybody starts an R kernel, loads the tidyverse and draws (the first cells of "Graphics with ggplot2", the heaviest
of the workshops), at moments spread over a minute. Memory is what the machine has less, the engine's part included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from tests.benchmarks import rig
from tests.engine_support import docker
from tmpnb_py.core import logs
from tmpnb_py.core.models import Transport
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.images.started import Started, started_image
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.settings import Settings

_MINUTE = 60.0
_CELLS = (
    "suppressPackageStartupMessages(library(tidyverse))",
    "ggplot(mtcars, aes(wt, mpg, colour = factor(cyl))) + geom_point() + facet_wrap(~gear)",
)


def disk() -> int:
    """Bytes in use where the engine keeps its data."""
    return shutil.disk_usage(docker("info", "--format", "{{.DockerRootDir}}")).used


async def measure(engine: DockerEngine, settings: Settings, people: int) -> None:
    """Print one row."""
    memory, cpu, room, began = rig.available_memory(), rig.busy_seconds(), disk(), time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        turns = asyncio.Semaphore(os.cpu_count() or 1)

        async def start() -> Started:
            async with turns:
                return await stack.enter_async_context(started_image(engine, settings, Transport.SOCKET))

        containers = await asyncio.gather(*(start() for _ in range(people)))
        filled, filled_cpu = time.monotonic() - began, rig.busy_seconds() - cpu
        await asyncio.sleep(2)
        ready = (memory - rig.available_memory()) / people
        waits = await asyncio.gather(*(_work(one, random.random() * _MINUTE) for one in containers))
        working = (memory - rig.available_memory()) / people
        spent = rig.busy_seconds() - cpu - filled_cpu
        grown = disk() - room
        mib = 1024 * 1024
        print(
            f"| {people} | {filled:.0f} s, {filled_cpu / people:.2f} CPU-s each | {ready / mib:.0f} MiB "
            f"| {statistics.median(waits):.1f} s, worst {max(waits):.1f} s | {spent / people:.2f} CPU-s "
            f"| {working / mib:.0f} MiB | {grown / people / 1024:.0f} KiB |",
            flush=True,
        )


async def _work(container: Started, wait: float) -> float:
    """Seconds from the click to the plot. The kernel goes on, as somebody's does who reads what it drew."""
    await asyncio.sleep(wait)
    began = time.monotonic()
    started = await container.client.call("POST", "api/kernels", {"name": "ir"})
    async with container.client.attached(str(started["id"])) as kernel:
        for code in _CELLS:
            outcome = await kernel.run(code, seconds=600)
            assert not outcome.error, outcome.error
    assert outcome.has_plot
    return time.monotonic() - began


async def main(image: str, sizes: list[int]) -> None:
    """Print the table."""
    logs.configure("auto", "error")
    directory = Path(tempfile.mkdtemp(prefix="tmpnb-bench-"))
    engine = DockerEngine(pool="bench-class", runtime_dir=directory, call_timeout=60, start_timeout=120)
    settings = Settings(image=image, pool_name="bench-class", runtime_dir=directory)
    await engine.open()
    try:
        print(
            "| people | all ready after | each, ready | click to first plot | its CPU | each, working | disk, each |"
        )
        print("|---|---|---|---|---|---|---|")
        for people in sizes:
            await measure(engine, settings, people)
    finally:
        await engine.remove_pool()
        await engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", type=int, nargs="+")
    parser.add_argument("--image", default=DEFAULT_IMAGE)
    arguments = parser.parse_args()
    rig.need(images=[arguments.image])
    asyncio.run(main(arguments.image, arguments.people))
