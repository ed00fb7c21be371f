"""What the orchestrator itself costs while 50 containers are ready and nobody comes: memory and CPU."""

from __future__ import annotations

import asyncio
import time

from tests.benchmarks import rig
from tests.benchmarks.rig import Row

_FILL_SECONDS = 300.0
_SETTLE_SECONDS = 5.0


async def measure(size: int, idle_seconds: float) -> list[Row]:
    """Real notebook containers, not stand-ins."""
    image = await rig.image_id()
    async with rig.serving(f"--image={image}", f"--max-containers={size}", pool_size=size) as service:
        async with asyncio.timeout(_FILL_SECONDS):
            await service.until_ready(size)
        await asyncio.sleep(_SETTLE_SECONDS)
        used, began = rig.cpu_seconds(service.pid), time.monotonic()
        await asyncio.sleep(idle_seconds)
        percent = (rig.cpu_seconds(service.pid) - used) / (time.monotonic() - began) * 100
        rss, pss = rig.memory_mib(service.pid)
    note = f"{size} real JupyterLab containers ready"
    return [
        Row("orchestrator's memory: RSS / PSS", f"{rss:.1f} / {pss:.1f} MiB", note=note),
        Row("orchestrator's idle CPU", f"{percent:.2f} %", note=f"of one CPU, over {idle_seconds:.0f} s"),
    ]
