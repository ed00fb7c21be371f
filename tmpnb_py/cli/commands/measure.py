"""Starts one notebook as the service would, and measures it. Used by `doctor`.

The container belongs to a pool of its own, so a running service neither sees nor touches it.
"""

from __future__ import annotations

import asyncio
import dataclasses

from tmpnb_py.cli.commands.plan import Figures
from tmpnb_py.core.models import ContainerConfig, Transport, Usage
from tmpnb_py.engines.base import Engine
from tmpnb_py.images.started import started
from tmpnb_py.jupyter.client import NotebookClient, NotebookError

_KERNEL_SECONDS = 60.0
_SETTLE_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """A notebook that started and answered. `kernel`: whether its default kernel started, too."""

    transport: Transport
    figures: Figures
    kernel: bool


async def measure(engine: Engine, config: ContainerConfig, *, timeout_seconds: float) -> Measurement:
    """Start a notebook, start a kernel in it, and remove it again.

    Raises `EngineError`; `StartFailedError` with the container's last log lines if it never answers.
    """
    async with started(engine, config, timeout_seconds=timeout_seconds) as container:
        kernel = await _start_kernel(container.client)
        await asyncio.sleep(_SETTLE_SECONDS if kernel else 0.0)
        working = await engine.usage(container.id)
        image_size = await engine.image_size(config.image)
        return Measurement(
            config.transport, _figures(container.seconds, container.usage, working, image_size), kernel
        )


def _figures(seconds: float, ready: Usage, working: Usage, image: int) -> Figures:
    return Figures(
        start_seconds=seconds,
        start_cpu=ready.cpu_seconds,
        memory_ready=ready.memory,
        memory_working=max(working.memory, ready.memory),
        kernel_cpu=max(0.0, working.cpu_seconds - ready.cpu_seconds),
        image=image,
        disk=working.disk,
    )


async def _start_kernel(client: NotebookClient) -> bool:
    """Start the image's default kernel and wait until it is idle."""
    try:
        async with asyncio.timeout(_KERNEL_SECONDS):
            kernel_id = str((await client.call("POST", "api/kernels", {}))["id"])
            async with client.attached(kernel_id) as kernel:
                return await kernel.until_idle(seconds=_KERNEL_SECONDS)
    except (NotebookError, OSError, LookupError, TypeError):  # TimeoutError is an OSError
        return False
