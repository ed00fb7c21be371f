"""Has the nodes pull today's image from its registry, each before it is given a notebook.

The relays pull in the background and are asked how far they are, so a node that joins, or lost its image, gets it,
too; one that cannot pull is said once, and tries again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import structlog

from tmpnb_py.core.errors import EngineError, ImageMissingError
from tmpnb_py.core.models import NodeTransfer
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.docker import registries
from tmpnb_py.engines.swarm.link.lines import RelayAwayError
from tmpnb_py.engines.swarm.link.wire import Question
from tmpnb_py.engines.swarm.relays import Relays

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0


class Pulls:
    """What the nodes have of one image. `arrived` is called when a node has it."""

    def __init__(self, relays: Relays, arrived: Callable[[], None]) -> None:
        self._relays = relays
        self._arrived = arrived
        self._image = ""
        self._there: set[str] = set()
        self._errors: dict[str, str] = {}  # by node
        self._tasks = Tasks()

    async def close(self) -> None:
        """Ask no more. What nodes pull, they go on with."""
        self._image = ""
        await self._tasks.close()

    def want(self, image: str) -> None:
        """Have every node pull this image, and no other one any more."""
        if image != self._image:
            self._image, self._there, self._errors = image, set(), {}
        if not len(self._tasks):
            self._tasks.start("pulls", self._run())

    def forget(self, node: str) -> None:
        """Ask a node again: its engine may be another one."""
        self._there.discard(node)

    def nowhere(self) -> ImageMissingError:
        """That no node has it yet."""
        return ImageMissingError(
            f"no node has pulled {self._image} yet{self.why()}", remedy="tmpnb-py status shows how far each node is"
        )

    def why(self) -> str:
        """Why it is not there, as far as nodes have said so."""
        return "".join(f": {one}" for one in sorted(set(self._errors.values())))

    async def _run(self) -> None:
        while True:
            image = self._image
            nodes = sorted(self._relays.nodes - self._there)
            await asyncio.gather(*(self._look(node, image) for node in nodes))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, node: str, image: str) -> None:
        try:
            found = await ask(self._relays, node, image)
        except EngineError:
            return
        if image != self._image:
            return
        if found.get("there") is True:
            self._there.add(node)
            self._errors.pop(node, None)
            self._arrived()
        elif (error := str(found.get("error", ""))[:500]) and error != self._errors.get(node):
            self._errors[node] = error
            log.warning("image_not_pulled", node=self._relays.of(node).name, image=image, error=error)


async def ask(relays: Relays, node: str, image: str) -> dict[str, Any]:
    """Have a node pull an image that it lacks. Returns at once, with how far it is. Raises `EngineError`."""
    auth = registries.authorization(image, os.environ).get("X-Registry-Auth", "")
    return await relays.of(node).ask(Question(do="pull", image=image, auth=auth))


async def bring(
    relays: Relays, node: tuple[str, str], image: str, report: Callable[[NodeTransfer], None]
) -> NodeTransfer:
    """Have a node, by id and name, pull an image, and report on the way. What goes wrong is told, not raised."""
    node_id, name = node
    told = NodeTransfer(name, 0, 0, sent=0, size=0)
    first = True
    while True:
        try:
            found = await ask(relays, node_id, image)
            now = _transfer(name, found, first=first)
        except EngineError as error:
            now = NodeTransfer(name, told.layers, told.of, sent=0, size=0, error=error.message)
        if now != told:
            report(now)
        if now.done or now.error:
            return now
        told, first = now, False
        await asyncio.sleep(_LOOK_SECONDS)


def _transfer(name: str, found: dict[str, Any], *, first: bool) -> NodeTransfer:
    layers, of = found.get("layers"), found.get("of")
    if not isinstance(layers, int) or not isinstance(of, int):
        raise RelayAwayError("the relay's answer is none")
    there, pulling = found.get("there") is True, found.get("pulling") is True
    error = "" if there or pulling or first else str(found.get("error", ""))[:500] or "it was not pulled"
    return NodeTransfer(name, layers, of, sent=0, size=0, done=there, error=error, is_pulled=not (there and first))
