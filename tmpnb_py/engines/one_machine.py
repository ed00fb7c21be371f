"""Base class for engines of one machine, which have no nodes."""

from __future__ import annotations

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import NodeStatus


class OneMachine:
    """Implements what `Engine` says of nodes, for engines that have none."""

    async def nodes(self) -> tuple[NodeStatus, ...]:
        """None."""
        return ()

    async def pause_node(self, node: str, *, paused: bool) -> NodeStatus:  # noqa: ARG002 - the protocol's
        """Raise `EngineError`."""
        raise EngineError(
            "this service runs on one machine, which has no nodes",
            remedy="tmpnb-py close turns newcomers away while sessions finish; nodes are those of --engine swarm",
        )
