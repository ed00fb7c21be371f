"""From the request for a kernel to the output of the first cell, with warm kernels and without.

    python -m tests.benchmarks.warm_kernels [--image IMAGE] [--rounds 10] [--cpus 2]

Each round has a container of its own, so that everything is the first of its kind. Warm and cold ones take turns. By
default the service warms what our first workshop uses, Python with nothing loaded: of that row a visitor has the warm
figures, of all others the cold ones.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from tests.benchmarks import rig
from tests.image.warm import Server, server
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE

CELLS = {
    "python3": ((), "print(6*7)", "42"),
    "ir": ((), "cat(6*7)", "42"),
    "octave": ((), "disp(6*7)", "42"),
    "bash": ((), "echo $((6*7))", "42"),
    "gnuplot": ((), "print 6*7", "42"),
    "ir, tidyverse": (("tidyverse",), "suppressMessages(library(tidyverse)); cat(nrow(mpg))", "234"),
    "python3, pandas": (
        ("numpy", "pandas", "matplotlib.pyplot"),
        "import pandas; print(pandas.Series([42]).max())",
        "42",
    ),
}


async def first_output(found: Server, kernel: str, code: str, expected: str) -> tuple[float, float]:
    """Seconds until the session is there, and until the first cell is done."""
    began = time.perf_counter()
    session = await found.new_session(kernel)
    there = time.perf_counter() - began
    printed = await found.notebook.run(code, session["kernel"]["id"])
    total = time.perf_counter() - began
    assert printed.strip() in (expected, ""), printed
    return there, total


async def measure(image: str, title: str, rounds: int, cpus: str) -> None:
    """Print the medians of one row."""
    packages, code, expected = CELLS[title]
    kernel = title.partition(",")[0]
    warm, cold, started, memory, plain = [], [], [], [], []
    for _ in range(rounds):
        async with server(image, {kernel: packages}, cpus=cpus) as found:
            started.append(sum(one["seconds"] for one in await found.states()))
            assert [one["state"] for one in await found.states()] == ["ready"], await found.states()
            memory.append(_used(found))
            warm.append(await first_output(found, kernel, code, expected))
            assert await found.state(kernel) == "taken"
        async with server(image, None, cpus=cpus) as found:
            plain.append(_used(found))
            cold.append(await first_output(found, kernel, code, expected))
    figures = [statistics.median(one) for one in (*zip(*warm, strict=True), *zip(*cold, strict=True))]
    fastest = [min(output for _, output in one) for one in (warm, cold)]
    figures += [*fastest, *(statistics.median(one) for one in (started, memory, plain))]
    print(title.ljust(18) + "".join(f"{one:9.3f}" for one in figures), flush=True)


def _used(found: Server) -> float:
    """MiB of the container, without the cache of files."""
    place = "/sys/fs/cgroup/memory"
    usage, stat = found.shell(
        f"cat {place}/memory.usage_in_bytes; grep total_inactive_file {place}/memory.stat"
    ).split("\n")
    return (int(usage) - int(stat.split()[1])) / 2**20


async def main() -> None:
    """All rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default=DEFAULT_IMAGE)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cpus", default="2")
    parser.add_argument("--only", choices=CELLS, nargs="*", default=list(CELLS))
    told = parser.parse_args()
    rig.need(images=[told.image])
    columns = "warm: s.", "output", "cold: s.", "output", "fastest:", "cold", "start", "MiB", "without"
    print("".ljust(18) + "".join(one.rjust(9) for one in columns))
    for title in told.only:
        await measure(told.image, title, told.rounds, told.cpus)


if __name__ == "__main__":
    asyncio.run(main())
