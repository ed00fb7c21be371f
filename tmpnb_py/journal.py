"""One log event and one count per transition of a container; nothing else writes them. A listener of the pool."""

from __future__ import annotations

import time

import structlog

from tmpnb_py.metrics import Metrics
from tmpnb_py.models import EndReason, State
from tmpnb_py.pool import Container, Pool

_log = structlog.get_logger(__name__)


class Journal:
    """Logs `starting`, `ready`, `claimed`, `removing` and `removed`, with durations in seconds."""

    def __init__(self, pool: Pool, metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics

    def __call__(self, container: Container) -> None:
        """A transition has happened."""
        now = time.monotonic()
        if container.state is State.REMOVING:
            self._removing(container, now)
        elif container.state is State.READY:
            self._write("ready", container, now - container.created_at)
            if container.ready_at is not None:
                self._metrics.started(container.ready_at - container.created_at)
        elif container.state is State.CLAIMED:
            self._write("claimed", container, now - (container.ready_at or container.created_at))
        else:
            self._write("starting", container, 0.0)

    def _removing(self, container: Container, now: float) -> None:
        reason = container.reason or EndReason.CRASHED
        if self._pool.get(container.id) is None:
            self._write("removed", container, now - container.changed_at, reason=reason.value)
            return
        self._metrics.ended(reason)
        began = container.claimed_at if container.claimed_at is not None else container.created_at
        self._write("removing", container, now - began, reason=reason.value)

    def _write(self, event: str, container: Container, duration: float, **more: str) -> None:
        _log.info(event, id=container.id, pool=self._pool.name, duration=round(max(0.0, duration), 3), **more)
