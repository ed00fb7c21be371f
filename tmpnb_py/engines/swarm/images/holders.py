"""Which nodes have an image: each is asked once by its relay, and again when its engine may be another one."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.swarm.link.wire import Question
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.engines.swarm.services import Node

log = structlog.get_logger(__name__)


class Holders:
    """What is known of all nodes' images."""

    def __init__(self, relays: Relays) -> None:
        self._relays = relays
        self._has: set[tuple[str, str]] = set()  # nodes with images that they have
        self._lacking: frozenset[str] = frozenset()  # names of nodes, as last asked

    async def of(self, image: ImageFacts, nodes: Mapping[str, Node]) -> set[str]:
        """Nodes that have the image, and a relay that answers. `nodes` are those that Swarm has listed last."""
        unknown = frozenset(node for node in self._relays.nodes if (node, image.image_id) not in self._has)
        if unknown:
            answers = await self._relays.ask_all(Question(do="has_image", image=image.image_id), unknown)
            for node, answer in answers.items():
                if not isinstance(answer, EngineError) and answer.get("there") is True:
                    self._has.add((node, image.image_id))
        self._tell_without(image, nodes)
        return {node for node in self._relays.nodes if (node, image.image_id) in self._has}

    def _tell_without(self, image: ImageFacts, nodes: Mapping[str, Node]) -> None:
        """Say once which nodes take no notebooks because they lack the image."""
        lacking = [one for one in self._relays.nodes if (one, image.image_id) not in self._has]
        names = frozenset(nodes[one].name if one in nodes else one for one in lacking)
        for name in sorted(names - self._lacking):
            hint = "it does not have the image: tmpnb-py image push-nodes brings it there"
            log.warning("node_unused", node=name, image=image.image, hint=hint)
        self._lacking = names

    def who_lacks_it(self) -> str:
        """Which nodes are unused for that reason, as words to append; "" for none."""
        names = ", ".join(sorted(self._lacking))
        return f" (without the image, and so unused: {names})" if names else ""

    def forget(self, node: str) -> None:
        """Ask a node again: its engine may be another one."""
        self._has = {known for known in self._has if known[0] != node}
