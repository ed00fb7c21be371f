"""Starting one notebook as the service would, and measuring it. Used by `doctor`.

The container belongs to a pool of its own, so that a service which runs meanwhile neither sees nor touches it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time

from tmpnb_py.cli.commands.plan import Figures
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Transport, Usage
from tmpnb_py.engines.base import Engine
from tmpnb_py.images.check import until_ready
from tmpnb_py.jupyter.client import NotebookError, notebook_client
from tmpnb_py.jupyter.endpoint import Endpoint

_KERNEL_SECONDS = 60.0
_SETTLE_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """A notebook that was started and answered. `kernel` is False where none of its kernels could be started."""

    transport: Transport
    figures: Figures
    kernel: bool


async def try_one(engine: Engine, config: ContainerConfig, *, timeout_seconds: float) -> Trial:
    """Start a notebook, ask it below its base path, start a kernel in it, and remove it again.

    Raises `EngineError`; `StartFailedError` with the container's last log lines where it never answered.
    """
    spec = ContainerSpec(f"doctor{secrets.token_hex(10)}", secrets.token_hex(24) if config.use_tokens else "", config)
    endpoint: Endpoint | None = None
    began = time.monotonic()
    try:
        endpoint = await until_ready(engine, spec, await engine.start(spec), timeout_seconds)
        seconds = time.monotonic() - began
        await engine.mark_ready(spec.id)
        ready = await engine.usage(spec.id)
        kernel = await _start_kernel(endpoint, spec)
        await asyncio.sleep(_SETTLE_SECONDS if kernel else 0.0)
        working = await engine.usage(spec.id)
        figures = _figures(seconds, ready, working, await engine.image_size(config.image))
        return Trial(config.transport, figures, kernel)
    finally:
        if endpoint is not None:
            endpoint.close()
        await engine.remove(spec.id)


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


async def _start_kernel(endpoint: Endpoint, spec: ContainerSpec) -> bool:
    """Start the image's default kernel and wait until it is idle."""
    try:
        async with asyncio.timeout(_KERNEL_SECONDS), notebook_client(endpoint, spec) as client:
            started = await client.call("POST", "api/kernels", {})
            async with client.attached(str(started["id"])) as kernel:
                return await kernel.until_idle(seconds=_KERNEL_SECONDS)
    except (NotebookError, OSError, LookupError, TypeError):  # TimeoutError is an OSError
        return False
