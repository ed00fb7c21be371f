"""The trace of a container's start, from its record to its readiness. A listener of the records.

It began before any visitor came, so it is a trace of its own; the claim that gets the container links to it.
"""

from __future__ import annotations

from tmpnb_py.core.models import State
from tmpnb_py.pools.container import Container
from tmpnb_py.tracing.spans import Tracing


class StartTraces:
    """Begins and ends the spans of the starts of one pool."""

    def __init__(self, pool: str, tracing: Tracing) -> None:
        self._pool = pool
        self._tracing = tracing

    def __call__(self, container: Container) -> None:
        """Take note of a transition."""
        if container.state is State.STARTING:
            attributes = {"tmpnb.session.id": container.id, "tmpnb.pool": self._pool}
            container.start_span = self._tracing.begin("start notebook", attributes=attributes)
        elif container.state is State.READY:
            container.start_span.end()
        elif container.state is State.REMOVING and container.ready_at is None and container.claimed_at is None:
            if container.reason is not None:
                container.start_span.fail(container.reason.value)
            container.start_span.end()
