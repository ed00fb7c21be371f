"""Starting one notebook as the service would, and measuring it. Used by `doctor`.

The container belongs to a pool of its own, so that a service which runs meanwhile neither sees nor touches it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import time
from typing import Any

import aiohttp

from tmpnb_py.cli.commands.plan import Figures
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, SocketAddress, Transport, Usage
from tmpnb_py.engines.base import Engine
from tmpnb_py.images.check import until_ready
from tmpnb_py.jupyter.endpoint import Endpoint

_KERNEL_SECONDS = 60.0
_SETTLE_SECONDS = 1.0
_LARGEST = 1024 * 1024


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
    path = endpoint.unix_path
    connector = aiohttp.TCPConnector() if path is None else aiohttp.UnixConnector(path)
    address = endpoint.address
    host = "localhost" if isinstance(address, SocketAddress) else f"{address.host}:{address.port}"
    headers = {"Authorization": f"token {spec.token}"} if spec.token else {}
    async with aiohttp.ClientSession(
        f"http://{host}/",
        connector=connector,
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=_KERNEL_SECONDS),
    ) as session:
        try:
            async with asyncio.timeout(_KERNEL_SECONDS):
                return await _until_idle(session, f"{spec.base_path}api/kernels")
        except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError):
            return False


async def _until_idle(session: aiohttp.ClientSession, path: str) -> bool:
    """Whether the kernel says that it is idle. It is only asked to once somebody is connected to it."""
    async with session.post(path, data=b"{}", headers={"Content-Type": "application/json"}) as response:
        if response.status != 201:
            return False
        kernel_id = str(json.loads(await response.content.read(_LARGEST))["id"])
    async with session.ws_connect(f"{path}/{kernel_id}/channels", max_msg_size=_LARGEST) as channels:
        async for message in channels:
            if message.type is aiohttp.WSMsgType.TEXT and _is_idle(json.loads(message.data)):
                return True
    return False


def _is_idle(message: Any) -> bool:
    return bool(message["header"]["msg_type"] == "status" and message["content"]["execution_state"] == "idle")
