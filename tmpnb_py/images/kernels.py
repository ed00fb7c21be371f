"""Starts each kernel of a container and lets it draw a plot. For `image check`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from tmpnb_py.core import languages
from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines.base import Engine
from tmpnb_py.images.results import KernelTrial
from tmpnb_py.images.started import Started
from tmpnb_py.jupyter.client import NotebookError

_CELL_SECONDS = 120.0
_MOST_KERNELS = 20


async def try_kernels(engine: Engine, container: Started, say: Callable[[str], None]) -> AsyncIterator[KernelTrial]:
    """Try each kernel in turn. Calls `say` before each."""
    for name, title in list((await container.client.kernels()).items())[:_MOST_KERNELS]:
        say(f"a cell with a plot in {title}")
        yield await try_kernel(engine, container, name, title)


async def try_kernel(engine: Engine, container: Started, name: str, title: str) -> KernelTrial:
    """Start a kernel and let it draw. Failures are recorded in the result, not raised."""
    before = (await engine.usage(container.id)).cpu_seconds
    began = time.monotonic()
    try:
        language = languages.find(await container.client.language(name))
        first = language.first if language else "1"
        plot = language.plot if language else ""
        async with container.client.kernel(name) as kernel:
            if failed := (await kernel.run(first, seconds=_CELL_SECONDS)).error:
                return KernelTrial(name, title, problem=failed)
            start_seconds = time.monotonic() - began
            begun = await engine.usage(container.id)
            ready = time.monotonic()
            outcome = await kernel.run(plot or first, seconds=_CELL_SECONDS)
            cell_seconds = time.monotonic() - ready
            usage = await engine.usage(container.id)
    except (NotebookError, EngineError) as error:
        return KernelTrial(name, title, problem=str(error))
    problem = outcome.error or ("" if outcome.has_plot or not plot else "the cell showed no plot")
    return KernelTrial(
        name,
        title,
        start_seconds=start_seconds,
        start_cpu_seconds=begun.cpu_seconds - before,
        start_memory=begun.memory,
        cell_seconds=cell_seconds,
        cpu_seconds=usage.cpu_seconds - before,
        memory=usage.memory,
        drew=outcome.has_plot,
        problem=problem,
        runs=True,
    )
