"""Writes one log event and counts one metric per transition of a container. A listener of the records.

`session_started` and `session_ended` are the audit trail, by which an operator can tell who was where, and when.
"""

from __future__ import annotations

import datetime
import time

import structlog

from tmpnb_py.core.models import EndReason, State
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.records import Records

_log = structlog.get_logger(__name__)


class Journal:
    """Logs `starting`, `ready`, `claimed`, `removing` and `removed`, with durations in seconds."""

    def __init__(self, records: Records, metrics: PoolMetrics) -> None:
        self._records = records
        self._metrics = metrics

    def __call__(self, container: Container) -> None:
        """Log and count a transition."""
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
        if self._records.get(container.id) is None:
            self._write("removed", container, now - container.changed_at, reason=reason.value)
            return
        self._metrics.ended(reason)
        began = container.claimed_at if container.claimed_at is not None else container.created_at
        self._write("removing", container, now - began, reason=reason.value)
        if container.has_begun:
            self._session_ended(container, reason, now)

    def session_started(self, container: Container, *, workshop: str, client: str) -> None:
        """Log and count that a visitor is told the URL. `client` is their address, "" where it is not logged."""
        container.has_begun, container.client = True, client
        self._metrics.session_started(workshop)
        _log.info(
            "session_started", id=container.id, pool=self._records.name, workshop=workshop, **_client(container)
        )

    def _session_ended(self, container: Container, reason: EndReason, now: float) -> None:
        claimed_at = container.claimed_at if container.claimed_at is not None else now
        duration = max(0.0, now - claimed_at)
        self._metrics.session_ended(duration)
        ended = datetime.datetime.now(datetime.UTC)
        _log.info(
            "session_ended",
            id=container.id,
            pool=self._records.name,
            reason=reason.value,
            started=(ended - datetime.timedelta(seconds=duration)).isoformat(timespec="seconds"),
            ended=ended.isoformat(timespec="seconds"),
            duration=round(duration, 1),
            visited=container.visited,
            **_client(container),
        )

    def _write(self, event: str, container: Container, duration: float, **more: str) -> None:
        _log.info(event, id=container.id, pool=self._records.name, duration=round(max(0.0, duration), 3), **more)


def _client(container: Container) -> dict[str, str]:
    """The client's address, where the operator wants it logged; otherwise it is not even remembered."""
    return {"client": container.client} if container.client else {}
