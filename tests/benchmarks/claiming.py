"""How long `POST /api/spawn` takes on a hit while the pool is being refilled."""

from __future__ import annotations

import asyncio
import random
import statistics
import time

from tests.benchmarks import rig
from tests.benchmarks.rig import Row, Service, spread

CLAIMS = 50
RESTED_CLAIMS = 15
_FILL_SECONDS = 180.0
_RUN_SECONDS = 180.0


async def measure(pool_size: int) -> list[Row]:
    """Claims at moments that have nothing to do with the starts, each on a new connection, at the refill's pace."""
    image = await rig.image_id()
    room = f"--max-containers={pool_size + CLAIMS + RESTED_CLAIMS}"
    async with rig.serving(f"--image={image}", room, pool_size=pool_size) as service:
        async with asyncio.timeout(_FILL_SECONDS):
            await service.until_ready(pool_size)
        async with asyncio.timeout(_RUN_SECONDS):
            times, refilling = await _claims(service)
            inside = await _mean_inside(service)
        async with asyncio.timeout(_RUN_SECONDS):
            rested = [await _rested_claim(service, pool_size) for _ in range(RESTED_CLAIMS)]
    median, worst = statistics.median(times), max(times)
    note = f"{len(times)} hits, {refilling} of them while containers were starting"
    return [
        Row("spawn on a hit: median / p95 / max", spread(times, "ms", 1), "", None, note),
        Row("  median", f"{median:.1f} ms", "< 10 ms", median < 10),
        Row("  slowest", f"{worst:.1f} ms", "<= 50 ms", worst <= 50),
        Row("  on a full pool, nothing starting", spread(rested, "ms", 1), note=f"{RESTED_CLAIMS} claims"),
        Row(
            "  mean, and of it the claim itself", f"{statistics.mean(times):.1f} / {inside:.1f} ms", note="rest: HTTP"
        ),
    ]


async def _claims(service: Service) -> tuple[list[float], int]:
    times: list[float] = []
    refilling = 0
    chance = random.Random(1)
    while len(times) < CLAIMS:
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        stats = await service.stats()
        # Slow down only where the next claim could find nothing ready: this measures hits.
        if stats["available"] < 2:
            continue
        times.append(await _claim(service))
        refilling += stats["starting"] > 0
    return times, refilling


async def _rested_claim(service: Service, pool_size: int) -> float:
    while True:
        stats = await service.stats()
        if stats["available"] >= pool_size and not stats["starting"]:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.3)
    return await _claim(service)


async def _claim(service: Service) -> float:
    """Milliseconds of one claim on a new connection, at the client."""
    began = time.perf_counter()
    status, body = await service.api("POST", "/api/spawn")
    seconds = time.perf_counter() - began
    if status != 200:
        raise RuntimeError(f"POST /api/spawn answered {status}: {body[:300]!r}")
    return seconds * 1000


async def _mean_inside(service: Service) -> float:
    """Milliseconds from a visitor's wish to the durable claim, as the service's own histogram has it."""
    _, body = await service.api("GET", "/metrics")
    values = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
    name = "tmpnb_claim_duration_seconds"
    return float(values[f"{name}_sum"]) / float(values[f"{name}_count"]) * 1000
