"""Bombs that need an accomplice outside: what a hostile visitor pours through the proxy, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

from tests.attacks.bombs.scene import Flood
from tests.e2e.jupyter import Notebook

FLOODS: dict[str, Flood] = {}

_SPARSE = "with open('sparse', 'w') as file: file.truncate(1 << 34)"
_PRINTS = "import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: print('flood ' * 20000)"


def flood(function: Flood) -> Flood:
    FLOODS[function.__name__] = function
    return function


@flood
async def output_of_a_cell(hostile: Notebook, seconds: float) -> None:
    """As much as Jupyter lets through, over several WebSockets."""
    kernel_id = await hostile.new_kernel()

    async def read() -> None:
        async with hostile.kernel(kernel_id) as kernel:
            async for _ in kernel.messages("none"):
                pass

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(read())
        async with hostile.kernel(kernel_id) as kernel:
            await kernel.send(_PRINTS.format(seconds=seconds))
            await asyncio.sleep(seconds)


@flood
async def downloads(hostile: Notebook, seconds: float) -> None:
    """Many at a time, of a file that has no content."""
    await hostile.run(_SPARSE)

    async def load() -> None:
        async with hostile.client.get(hostile.url("files/sparse"), headers=hostile.headers) as response:
            while await response.content.read(1 << 20):
                pass

    await _several(load, 16, seconds)


@flood
async def uploads(hostile: Notebook, seconds: float) -> None:
    """Bodies that the notebook's server refuses, or does not read."""

    async def send() -> None:
        while True:
            body = b"x" * (8 << 20)
            url = hostile.url("api/contents/flood.txt")
            async with hostile.client.put(url, data=body, headers=hostile.headers) as response:
                await response.read()

    await _several(send, 16, seconds)


@flood
async def requests(hostile: Notebook, seconds: float) -> None:
    """As many as go."""

    async def ask() -> None:
        while True:
            async with hostile.client.get(hostile.url("api"), headers=hostile.headers) as response:
                await response.read()

    await _several(ask, 32, seconds)


async def _several(action: Callable[[], Awaitable[object]], count: int, seconds: float) -> None:
    async def until_refused() -> None:
        while True:
            try:
                await action()
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(until_refused()) for _ in range(count)]
    try:
        await asyncio.sleep(seconds)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
