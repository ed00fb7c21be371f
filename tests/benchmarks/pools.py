"""What several pools cost: refilling two at once against one of the same total, and memory per additional pool.

    python -m tests.benchmarks.pools [--rounds 7] [--size 12] [--json]

Both ways take turns, in every round in the other order; the ratio is the median of the rounds' own, so that a machine
that has something else to do is as slow for both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import re
import statistics
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import rig
from tests.benchmarks.rig import Row

_FILL_SECONDS = 300.0
_SETTLE_SECONDS = 20.0
_MORE = 10  # pools beside the first, where memory is measured


async def measure(rounds: int, size: int) -> list[Row]:
    """Both tables."""
    return [*await _refill(rounds, size), *await _memory()]


async def _refill(rounds: int, size: int) -> list[Row]:
    one: list[float] = []
    two: list[float] = []
    for number in range(rounds):
        for is_two in (False, True) if number % 2 else (True, False):
            sizes = [size // 2, size - size // 2] if is_two else [size]
            (two if is_two else one).append(await _filled(sizes))
    ratio = statistics.median(second / first for first, second in zip(one, two, strict=True))
    return [
        Row(f"refill one pool of {size}", f"{statistics.median(one):.2f} s", note=f"median of {rounds} rounds"),
        Row(f"refill two pools of {size // 2} and {size - size // 2}", f"{statistics.median(two):.2f} s"),
        Row(
            "  two take as long as one", f"{ratio:.3f} x", "<= 1.05 x", ratio <= 1.05, "median of the rounds' ratios"
        ),
    ]


async def _filled(sizes: Sequence[int]) -> float:
    """Seconds from the moment at which all ready ones are drained until as many are ready again."""
    total = sum(sizes)
    async with _serving(sizes) as service, asyncio.timeout(_FILL_SECONDS):
        await _ready(service, total)
        (listening,) = service.events("listening")
        admin = int(listening["admin"].rstrip("/").rpartition(":")[2])
        status, _ = await rig.request(admin, "DELETE", "/api/pool")
        assert status == 200
        await _ready(service, 2 * total)
        return _moment(service.events("ready")[2 * total - 1]) - _moment(service.events("drained")[0])


async def _ready(service: rig.Service, count: int) -> None:
    """Wait until so many have become ready since the start."""
    while len(service.events("ready")) < count:
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _serving(sizes: Sequence[int]) -> AsyncIterator[rig.Service]:
    """A service with a pool of each size."""
    with tempfile.TemporaryDirectory(prefix="tmpnb-bench-") as directory:
        file = Path(directory) / "pools.toml"
        file.write_text("\n".join(f"[pools.p{number}]\npool_size = {size}" for number, size in enumerate(sizes)))
        async with rig.serving(f"--config={file}", f"--image={rig.IMAGE}", pool_size=0) as service:
            yield service


def _moment(event: Mapping[str, Any]) -> float:
    return datetime.datetime.fromisoformat(event["timestamp"]).timestamp()


async def _memory() -> list[Row]:
    few, many = await _resident(1), await _resident(1 + _MORE)
    each = (many - few) / _MORE / 2**20
    return [
        Row("memory of a service with one pool", f"{few / 2**20:.1f} MiB", note="resident, no container"),
        Row("  each pool more", f"{each:.2f} MiB", "< 1 MiB", each < 1, f"from 1 to {1 + _MORE} pools of one image"),
    ]


async def _resident(pools: int) -> int:
    """Bytes that a service with so many empty pools has in memory, once it has done what it does at its start."""
    async with _serving([0] * pools) as service:
        async with asyncio.timeout(_FILL_SECONDS):
            while len(service.events("transport_chosen")) < pools:
                await asyncio.sleep(0.2)
        await asyncio.sleep(_SETTLE_SECONDS)
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{service.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rig.need("docker", images=[rig.IMAGE])
    rows = asyncio.run(measure(options.rounds, options.size))
    print(rig.as_json(rows) if options.json else rig.as_table(rows))


if __name__ == "__main__":
    main()
