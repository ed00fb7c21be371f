"""All connections of one proxy to servers: those of each container, and those to our own application."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.compress import Budget
from tmpnb_py.proxy.upstream import Dial, Upstream, UpstreamConnection, UpstreamState


class Upstreams:
    """The servers that requests go to. What compressing their answers may take, they share."""

    def __init__(self, application: Dial) -> None:
        self._budget = Budget(time.monotonic())
        self._dial_application = application
        self.application = Upstream(application, self._budget)
        self._by_container: dict[str, Upstream] = {}
        self._further: list[Upstream] = []

    def __iter__(self) -> Iterator[Upstream]:
        yield from tuple(self._by_container.values())
        yield from self._further
        yield self.application

    def add(self, dial: Dial) -> Upstream:
        """One more server, for whatever its caller sends to it."""
        upstream = Upstream(dial, self._budget)
        self._further.append(upstream)
        return upstream

    def of(self, container: Container) -> Upstream:
        """The connections to a container's server."""
        upstream = self._by_container.get(container.id)
        if upstream is None:
            upstream = self._by_container[container.id] = Upstream(partial(_dial, container), self._budget)
        return upstream

    def drop(self, container_id: str) -> None:
        """Close every connection to a container whose session has ended, and with them its tunnels."""
        upstream = self._by_container.pop(container_id, None)
        if upstream is not None:
            upstream.close()

    def drop_application(self) -> None:
        """Close every connection to our own application; the next ones are made anew."""
        old, self.application = self.application, Upstream(self._dial_application, self._budget)
        old.close()

    def sweep(self, now: float) -> None:
        """Close what has been idle, or closing, for too long."""
        for upstream in self:
            upstream.sweep(now)

    def close(self) -> None:
        """Close every connection."""
        for upstream in self:
            upstream.close()

    @property
    def state(self) -> dict[str, UpstreamState]:
        """The connections to each notebook server now, by its container's id, and to our own application, by ""."""
        return {"": self.application.state, **{key: one.state for key, one in self._by_container.items()}}

    @property
    def compressing(self) -> int:
        """How many answers are being compressed now."""
        return self._budget.answers


async def _dial(container: Container, factory: Callable[[], UpstreamConnection]) -> UpstreamConnection:
    """Connect to where a container is now: one that was restarted may be somewhere else."""
    endpoint = container.endpoint
    assert endpoint is not None  # noqa: S101  (the routing gives only what can be dialled)
    return await endpoint.connect(factory)
