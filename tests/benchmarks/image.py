"""What the workshops' image costs: the start of a server and of each kernel, and a workshop from top to bottom.

    python -m tests.benchmarks.image [--image NAME] [--rounds 5] [--stock tmpnb-py-test/stock]

Hardened containers are started as the service starts them; the others by a plain `docker run`. Wall times are of a
machine on which nothing else runs, else only the CPU times and the memory mean something.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import rig
from tests.engine_support import docker
from tests.ports import until_it_answers
from tmpnb_py.core.models import Transport
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.images.kernels import try_kernel
from tmpnb_py.images.notebooks import find_notebooks, source_of
from tmpnb_py.images.started import Started, started_image
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.settings import Settings

MIB = 1024 * 1024
_POOL = "bench-image"


def row(what: str, values: Sequence[tuple[float, float, float]]) -> None:
    """Median wall seconds (and the least), CPU seconds, MiB."""
    wall, cpu, memory = zip(*values, strict=True)
    print(
        f"| {what} | {statistics.median(wall):.2f} ({min(wall):.2f}) | {statistics.median(cpu):.2f} "
        f"| {statistics.median(memory):.0f} |",
        flush=True,
    )


async def starts(engine: DockerEngine, settings: Settings, transport: Transport, rounds: int) -> None:
    values = []
    for _ in range(rounds):
        async with started_image(engine, settings, transport) as container:
            usage = container.usage
            values.append((container.seconds, usage.cpu_seconds, usage.memory / MIB))
    row(f"server, hardened, {transport.value}", values)


async def plain(image: str, what: str, rounds: int) -> None:
    """A server without any limit, by a published port."""
    values = []
    for _ in range(rounds):
        began = time.monotonic()
        name = docker("run", "--detach", "--publish", "127.0.0.1::8888", image)
        try:
            address = docker("port", name, "8888/tcp")
            await until_it_answers(f"http://{address}/api")
            seconds = time.monotonic() - began
            values.append((seconds, *_plain_usage(name)))
        finally:
            docker("rm", "--force", "--volumes", name)
    row(what, values)


def _plain_usage(name: str) -> tuple[float, float]:
    """CPU seconds and MiB, from inside: version 1 of control groups, as Docker mounts them."""
    cpu = docker("exec", name, "cat", "/sys/fs/cgroup/cpuacct/cpuacct.usage")
    memory = docker("exec", name, "cat", "/sys/fs/cgroup/memory/memory.stat")
    rss = next(line for line in memory.splitlines() if line.startswith("total_rss "))
    return int(cpu) / 1e9, int(rss.split()[1]) / MIB


async def kernels(engine: DockerEngine, settings: Settings, rounds: int) -> None:
    """Each kernel in a container of its own: start, first plot, and memory of the whole container then."""
    async with started_image(engine, settings, Transport.SOCKET) as container:
        titles = await container.client.kernels()
    for name, title in titles.items():
        begun, drawn = [], []
        for _ in range(rounds):
            async with started_image(engine, settings, Transport.SOCKET) as container:
                trial = await try_kernel(engine, container, name, title)
                begun.append((trial.start_seconds, trial.start_cpu_seconds, trial.start_memory / MIB))
                drawn.append((trial.cell_seconds, trial.cpu_seconds - trial.start_cpu_seconds, trial.memory / MIB))
        row(f"{title}: kernel", begun)
        row(f"{title}: first plot", drawn)


async def workshops(engine: DockerEngine, settings: Settings) -> None:
    """Each notebook in a container of its own: seconds and CPU seconds of all cells, the most memory between two."""
    async with started_image(engine, settings, Transport.SOCKET) as container:
        paths = await find_notebooks(container.client)
    for path in paths:
        async with started_image(engine, settings, Transport.SOCKET) as container:
            row(path, [await _workshop(engine, container, path)])


async def _workshop(engine: DockerEngine, container: Started, path: str) -> tuple[float, float, float]:
    before = (await engine.usage(container.id)).cpu_seconds
    began, most = time.monotonic(), 0
    notebook = await container.client.file(path)
    async with container.client.kernel(notebook["metadata"]["kernelspec"]["name"], path=path) as kernel:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code" and source_of(cell).strip():
                await kernel.run(source_of(cell), seconds=120)
                most = max(most, (await engine.usage(container.id)).memory)
    used = (await engine.usage(container.id)).cpu_seconds - before
    return time.monotonic() - began, used, most / MIB


async def main(image: str, stock: str, rounds: int) -> None:
    """Print the tables."""
    directory = Path(tempfile.mkdtemp(prefix="tmpnb-bench-"))
    engine = DockerEngine(pool=_POOL, runtime_dir=directory)
    settings = Settings(image=image, pool_name=_POOL, runtime_dir=directory)
    await engine.open()
    try:
        print("| what | seconds (least) | CPU seconds | MiB |\n|---|---|---|---|")
        for transport in (Transport.SOCKET, Transport.PORT):
            await starts(engine, settings, transport, rounds)
        await plain(image, "server, plain docker run", rounds)
        if stock:
            await plain(stock, "stock JupyterLab, plain docker run", rounds)
        await kernels(engine, settings, rounds)
        await workshops(engine, settings)
    finally:
        await engine.remove_pool()
        await engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default=DEFAULT_IMAGE)
    parser.add_argument("--stock", default="")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rig.need(images=[arguments.image, *filter(None, [arguments.stock])])
    asyncio.run(main(arguments.image, arguments.stock, arguments.rounds))
