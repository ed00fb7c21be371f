"""What a ready notebook has cost, with warm kernels and without: CPU seconds, memory, and which process has it.

    python -m tests.benchmarks.ready_notebook [--image IMAGE …] [--rounds 5]

Each round starts each notebook once, hardened as the service does it, in another order; medians. Memory is the
control group's without its cache of files; each process's is proportional (PSS), so that shared pages count once.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import statistics
from collections.abc import Mapping, Sequence

from tests.benchmarks import rig
from tests.image.warm import Server, server
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE

WARM: Mapping[str, Mapping[str, Sequence[str]] | None] = {
    "none": None,
    "python3": {"python3": []},
    "ir": {"ir": []},
    "ir, tidyverse": {"ir": ["tidyverse"]},
}
_SETTLE_SECONDS = 2.0
_READ = """
cd /sys/fs/cgroup
cat cpuacct/cpuacct.usage memory/memory.usage_in_bytes
grep total_inactive_file memory/memory.stat
for place in /proc/[0-9]*; do
    size=$(awk '/^Pss:/ { print $2 }' $place/smaps_rollup 2>/dev/null)
    [ -z "$size" ] || echo "$size" $(cat $place/comm)
done; true
"""


async def measure(image: str, warm: Mapping[str, Sequence[str]] | None) -> tuple[float, float, dict[str, float]]:
    """CPU seconds until it was ready, MiB, and MiB of its processes."""
    async with server(image, warm) as found:
        await asyncio.sleep(_SETTLE_SECONDS)
        return _read(found)


def _read(found: Server) -> tuple[float, float, dict[str, float]]:
    cpu, usage, inactive, *processes = found.shell(_READ).splitlines()
    sizes: dict[str, float] = collections.defaultdict(float)
    for line in processes:
        size, name = line.split(" ", 1)
        if name not in ("sh", "awk", "cat"):  # ours
            sizes[name] += int(size) / 1024
    return int(cpu) / 1e9, (int(usage) - int(inactive.split()[1])) / 2**20, dict(sizes)


async def main(images: Sequence[str], kernels: Sequence[str], rounds: int) -> None:
    """Print the table."""
    kinds = list(itertools.product(images, kernels))
    found: dict[tuple[str, str], list[tuple[float, float, dict[str, float]]]] = collections.defaultdict(list)
    for number in range(rounds):
        for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
            found[kind].append(await measure(kind[0], WARM[kind[1]]))
    print("| image | warm kernels | CPU seconds (least) | MiB | of its processes |\n|---|---|---|---|---|")
    for (image, kernel), all_found in found.items():
        cpu, memory, sizes = zip(*all_found, strict=True)
        parts = ", ".join(f"{name} {size:.0f}" for name, size in sorted(sizes[-1].items(), key=lambda one: -one[1]))
        print(
            f"| {image} | {kernel} | {statistics.median(cpu):.2f} ({min(cpu):.2f}) | {statistics.median(memory):.1f} "
            f"| {parts} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", action="append")
    parser.add_argument("--warm", action="append", choices=WARM)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rig.need(images=arguments.image or [DEFAULT_IMAGE])
    asyncio.run(main(arguments.image or [DEFAULT_IMAGE], arguments.warm or list(WARM), arguments.rounds))
