# ruff: noqa: ARG002 - the signatures are the protocol's
"""Base class for engines of one machine, which have no nodes; nor a web proxy, unless an engine says so."""

from __future__ import annotations

from collections.abc import Callable

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import NodePruned, NodeStatus, NodeTransfer
from tmpnb_py.engines.base import WebDoors

_ONLY_A_SWARM = "nodes are those of --engine swarm"


class OneMachine:
    """Implements what `Engine` says of nodes, for engines that have none."""

    def serve_web(self, doors: WebDoors) -> None:
        """No-op."""

    async def nodes(self) -> tuple[NodeStatus, ...]:
        """None."""
        return ()

    async def pause_node(self, node: str, *, paused: bool) -> NodeStatus:
        """Raise `EngineError`."""
        raise EngineError(
            "this service runs on one machine, which has no nodes",
            remedy="tmpnb-py close turns newcomers away while sessions finish; nodes are those of --engine swarm",
        )

    async def push_image(self, image: str, report: Callable[[NodeTransfer], None]) -> tuple[NodeTransfer, ...]:
        """Raise `EngineError`."""
        raise EngineError("there are no other nodes to bring an image to", remedy=_ONLY_A_SWARM)

    async def prune_images(self, image: str) -> tuple[NodePruned, ...]:
        """Raise `EngineError`."""
        raise EngineError("there are no other nodes to remove images from", remedy=_ONLY_A_SWARM)
