"""Who follows a pool's events: relays tell of notebooks, a manager of nodes.

An event is a notebook's id; "" says that anything may have changed. The manager's own events have no tasks of other
nodes, so they only tell when a node has come, gone or changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

import aiohttp

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.swarm.api import EngineApi

_CONNECT_SECONDS = 10.0
_RECONNECT_FIRST, _RECONNECT_LAST = 0.2, 5.0


class Followers:
    """Any number of them."""

    def __init__(self, api: EngineApi, pool: str) -> None:
        self._api = api
        self._pool = pool
        self._queues: set[asyncio.Queue[str]] = set()

    def tell(self, event: str) -> None:
        """Tell all of them."""
        for queue in self._queues:
            queue.put_nowait(event)

    async def events(self) -> AsyncGenerator[str, None]:
        """What is told from now on, and "" after every (re)connect to the manager."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        tasks = Tasks()
        tasks.start(f"events of {self._pool}", self._follow(queue))
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)
            await tasks.close()

    async def _follow(self, queue: asyncio.Queue[str]) -> None:
        """Put a "" whenever the manager's events flow (again): until then changes may have been missed."""
        pause = _RECONNECT_FIRST
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        params = {"filters": json.dumps({"type": ["node"], "scope": ["swarm"]})}
        while True:
            with contextlib.suppress(EngineError):
                async with self._api.stream("GET", "events", params=params, timeout=timeout) as response:
                    queue.put_nowait("")
                    pause = _RECONNECT_FIRST
                    async for _ in response.content:
                        queue.put_nowait("")  # a node has come, gone or changed
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RECONNECT_LAST)
