"""Starts a container as the service would, where no reconciler watches it. For `image check`, `doctor` and tests."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator

from tmpnb_py.core.errors import EngineError, StartFailedError
from tmpnb_py.core.log_cleaning import clean_lines
from tmpnb_py.core.models import Address, ContainerConfig, ContainerSpec, Transport, Usage
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.core.warm import WarmState
from tmpnb_py.engines.base import Engine
from tmpnb_py.jupyter.client import NotebookClient, notebook_client
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.questions import NoAnswerError, wait_until_ready, warm_states
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import PoolConfiguration

_LOG_LINES = 10
_POLL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A running container. `seconds` is the time to its first answer, `usage` what it used by then.

    Where kernels are started ahead, that is once they were ready; `warm` says how far each is.
    """

    id: str
    client: NotebookClient
    seconds: float
    usage: Usage
    warm: tuple[WarmState, ...] = ()


@contextlib.asynccontextmanager
async def started(engine: Engine, config: ContainerConfig, *, timeout_seconds: float) -> AsyncIterator[Started]:
    """Start a container as the service does, wait until it answers, and remove it on exit.

    Raises `StartFailedError` with its last log lines, and the engine's errors.
    """
    token = secrets.token_hex(24) if config.use_tokens else ""
    spec = ContainerSpec(f"trial{secrets.token_hex(10)}", token, config)
    endpoint: Endpoint | None = None
    began = time.monotonic()
    try:
        address = await engine.start(spec)
        endpoint = await _until_ready(engine, spec, address, timeout_seconds)
        warm = await _warm(endpoint, spec, began + timeout_seconds)
        seconds = time.monotonic() - began
        await engine.mark_ready(spec.id)
        usage = await engine.usage(spec.id)
        async with notebook_client(endpoint, spec) as client:
            yield Started(spec.id, client, seconds, usage, warm)
    finally:
        if endpoint is not None:
            endpoint.close()
        await engine.remove(spec.id)


@contextlib.asynccontextmanager
async def started_image(engine: Engine, settings: Settings, transport: Transport) -> AsyncIterator[Started]:
    """Start a container of the settings' image, reached by `transport`, as `started` does."""
    options = LiveOptions(settings.model_copy(update={"transport": transport.value}))
    config = await PoolConfiguration(engine, options).resolve()
    async with started(engine, config, timeout_seconds=settings.start_timeout) as container:
        yield container


async def _warm(endpoint: Endpoint, spec: ContainerSpec, deadline: float) -> tuple[WarmState, ...]:
    """How far kernels are that are started ahead, once all are settled or at the deadline."""
    names = [one.name for one in spec.config.warm]
    states = tuple(map(WarmState, names))
    while not all(one.is_settled for one in states) and time.monotonic() < deadline:
        with contextlib.suppress(NoAnswerError):
            states = await warm_states(endpoint, spec.base_path, spec.token, names)
        await asyncio.sleep(_POLL_SECONDS)
    return states


async def _until_ready(engine: Engine, spec: ContainerSpec, address: Address, seconds: float) -> Endpoint:
    """Wait for the first answer, or for the container's end. Raises `StartFailedError` with its last log lines."""
    died = asyncio.Event()
    statuses: list[int] = []

    async def watch() -> None:
        with contextlib.suppress(EngineError):
            async for _ in engine.events():
                statuses.extend(one.exit.status for one in await engine.list() if one.id == spec.id and one.exit)
                if statuses:
                    died.set()

    tasks = Tasks()
    tasks.start("watch-container", watch())
    try:
        return await wait_until_ready(address, spec, timeout_seconds=seconds, died=died)
    except StartFailedError as error:
        with contextlib.suppress(EngineError):
            error.log_lines = clean_lines(await engine.logs(spec.id, lines=_LOG_LINES), [spec.token])
        if statuses:
            error.message = f"{error.message}, with status {statuses[0]}"
        raise
    finally:
        await tasks.close()
