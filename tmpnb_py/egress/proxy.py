"""The web proxy of a pool: gives each notebook a socket, and serves what connects to it.

The engine says which notebooks there are, when it starts, lists and removes them, and where each one's directory is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

import structlog
from prometheus_client.registry import Collector

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.egress.counters import WebCounters, WebMetrics, WebRoom
from tmpnb_py.egress.notebook import Notebook
from tmpnb_py.egress.policy import WebPolicy
from tmpnb_py.egress.resolving import Resolver
from tmpnb_py.engines.web_socket import inode_of, listen
from tmpnb_py.options.live import LiveOptions

_log = structlog.get_logger(__name__)


class WebProxy:
    """Serves the notebooks of one pool. Implements `engines.base.WebDoors`."""

    def __init__(self, options: LiveOptions, room: WebRoom, resolver: Resolver | None = None) -> None:
        self._policy = options.derive(WebPolicy.of)
        self._resolver = resolver or Resolver()
        self._room = room
        self._counters = WebCounters()
        self._notebooks: dict[str, Notebook] = {}
        self._closing = Tasks()

    @property
    def metrics(self) -> Collector:
        """What it counts."""
        return WebMetrics(self._counters)

    def open(self, container_id: str, directory: str) -> None:
        """Listen for a notebook. No-op if that is so; anew if its socket was replaced or removed."""
        known = self._notebooks.get(container_id)
        if known is not None and known.inode == inode_of(directory):
            return
        try:
            listener = listen(directory)
        except EngineError as error:
            _log.warning("web_unavailable", id=container_id, error=error.message)
            return
        self.close(container_id)
        made = Notebook(
            container_id,
            listener,
            policy=lambda: self._policy.value,
            resolver=self._resolver,
            counters=self._counters,
            room=self._room,
        )
        made.inode = inode_of(directory)
        self._notebooks[container_id] = made
        made.start()

    def close(self, container_id: str) -> None:
        """The notebook is gone: end its connections."""
        if (known := self._notebooks.pop(container_id, None)) is not None:
            self._closing.start("web-close", known.close())

    def shut_out(self, addresses: Collection[str]) -> None:
        """Count these addresses as this machine's own, too."""
        self._resolver.shut_out(map(ipaddress.ip_address, addresses))

    async def shut_down(self) -> None:
        """End everything."""
        for container_id in list(self._notebooks):
            self.close(container_id)
        await self._closing.finish()
        await self._resolver.close()
