"""Notifies listeners at once when a notebook's process ends. Used by the local engine.

Everything runs on the event loop's thread. A pidfd becomes readable when its process ends, even if it is not our
child, so notebooks adopted after a restart are watched like those started here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from tmpnb_py.engines.local import process as local_process
from tmpnb_py.engines.local.process import Process


class Watches:
    """The running notebooks of one pool."""

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}
        self._listeners: set[asyncio.Queue[str | None]] = set()
        self._opened = False

    def open(self) -> None:
        """Send every listener "": events may have been missed."""
        self._opened = True
        self.tell("")

    def close(self) -> None:
        """Stop watching; `events` ends."""
        self._opened = False
        for container_id in list(self._descriptors):
            self.remove(container_id)
        self.tell(None)

    def tell(self, event: str | None) -> None:
        """Send every listener an event."""
        for queue in self._listeners:
            queue.put_nowait(event)

    def add(self, container_id: str, process: Process) -> None:
        """Watch a process. Reports at once if it has already ended."""
        if container_id in self._descriptors:
            return
        descriptor = local_process.open_process(process)
        if descriptor is None:
            self.tell(container_id)
            return
        self._descriptors[container_id] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._died, container_id)

    def remove(self, container_id: str) -> None:
        """Stop watching a container."""
        descriptor = self._descriptors.pop(container_id, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            local_process.reap(descriptor)
            os.close(descriptor)

    def _died(self, container_id: str) -> None:
        self.remove(container_id)
        self.tell(container_id)

    async def events(self) -> AsyncIterator[str]:
        """Yield events, "" first if this is already open."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            if self._opened:
                yield ""
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.discard(queue)
