"""The swarm's nodes as its operator sees and steers them.

What is told comes from the managers (which nodes there are, and which notebooks are placed on them, also those that
are only about to start there) and from the relays (whether they answer, and whether they have the image).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.core.models import NodeState, NodeStatus
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.link.wire import Question
from tmpnb_py.engines.swarm.looks import Verdict
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.engines.swarm.services import Node, Placed

_SECONDS = 5.0
_RELAY_SECONDS = 2.0
_TRIES = 8


class Fleet:
    """The nodes. Its calls may run at once."""

    def __init__(self, api: EngineApi, relays: Relays, pool: str) -> None:
        self._api = api
        self._relays = relays
        self._pool = pool
        self._last: tuple[NodeStatus, ...] = ()

    async def nodes(self, image: str, verdict: Callable[[str], Verdict | None]) -> tuple[NodeStatus, ...]:
        """Every node; `image` is the id of today's, "" while it is not known; `verdict` is what was seen on each.

        While the managers do not answer: those that were last seen, with an unknown state.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                listed, placed = await asyncio.gather(self._api.call("GET", "nodes"), self.placed())
        except (EngineError, TimeoutError):
            return tuple(dataclasses.replace(one, state=NodeState.UNKNOWN) for one in self._last)
        relays = self._relays.nodes
        answers = await asyncio.gather(*(self._ask_for(image, one) for one in relays))
        images = dict(zip(relays, answers, strict=True))
        found = told_of(services.nodes_of(listed).values(), placed, images, verdict)
        away = self._relays.trouble
        self._last = tuple(one if one.has_relay else dataclasses.replace(one, trouble=away) for one in found)
        return self._last

    async def placed(self) -> list[Placed]:
        """The pool's notebooks where Swarm has put them. Raises `EngineError`."""
        params = naming.filters(naming.labels_of(self._pool))
        return services.placed_of(await self._api.call("GET", "tasks", params=params))

    async def _ask_for(self, image: str, node: str) -> Mapping[str, Any] | None:
        if not image:
            return None
        try:
            async with asyncio.timeout(_RELAY_SECONDS):
                return await self._relays.of(node).ask(Question(do="has_image", image=image))
        except (EngineError, TimeoutError):
            return None

    async def pause(self, node: str, *, paused: bool) -> str:
        """Set whether Swarm places tasks on a node, named by its name or id. Returns its id.

        A node that Swarm drains takes none either, and stays so. Raises `EngineError`.
        """
        availability = "pause" if paused else "active"
        for _ in range(_TRIES):
            found = found_in(await self._api.call("GET", "nodes"), node)
            now = str(found["Spec"].get("Availability"))
            if now == availability or (paused and now == "drain"):
                return str(found["ID"])
            params = {"version": str(found["Version"]["Index"])}
            body = {**found["Spec"], "Availability": availability}
            try:
                await self._api.call("POST", f"nodes/{found['ID']}/update", params=params, body=body)
            except RefusedError as error:
                if not services.is_conflict(error.message):
                    raise
        raise EngineError(f"others kept changing the node {node}", remedy="try again")


def told_of(
    nodes: Iterable[Node],
    placed: Sequence[Placed],
    images: Mapping[str, Mapping[str, Any] | None],
    verdict: Callable[[str], Verdict | None],
) -> tuple[NodeStatus, ...]:
    """The nodes by name. `images` is what each relay that answers says of today's image, None: nothing. Pure."""
    found = []
    for node in sorted(nodes, key=lambda one: (one.name, one.id)):
        image = images.get(node.id)
        told = image or {}
        here, seen = [one for one in placed if one.node == node.id], verdict(node.id)
        found.append(
            NodeStatus(
                node.id,
                node.name,
                node.state,
                has_relay=node.id in images,
                has_image=None if image is None else told.get("there") is True,
                memory=node.memory,
                reserved=sum(one.memory for one in here),
                cpus=node.cpus,
                notebooks=frozenset(one.id for one in here),
                lacks=None if seen is None or seen.error is not None else tuple(sorted(seen.lacks)),
                manager=node.manager,
                trouble="" if seen is None else seen.text,
                remedy="" if seen is None else seen.remedy,
                pulling=f"{told.get('layers')} of {told.get('of')} layers" if told.get("pulling") is True else "",
                image_error=str(told.get("error", ""))[:500],
            )
        )
    return tuple(found)


def see_that_it_manages(swarm: Mapping[str, Any]) -> None:
    """Raise `EngineError` for an engine (its `GET /info`) in no swarm, a worker, or one without a majority. Pure."""
    if swarm.get("ControlAvailable") is True:
        return
    state = str(swarm.get("LocalNodeState") or "inactive")
    if state in ("inactive", "pending"):
        raise EngineError("this Docker engine is in no swarm", remedy="docker swarm init: see docs/swarm.md")
    if state == "locked":
        raise EngineError("this Docker engine's swarm is locked", remedy="docker swarm unlock")
    addresses = [str(one.get("Addr", "")).rpartition(":")[0] for one in swarm.get("RemoteManagers") or ()]
    if swarm.get("NodeAddr") and swarm["NodeAddr"] in addresses:
        raise EngineDownError(
            "this swarm has no leader: fewer than half of its managers reach each other",
            remedy="docker node ls on each manager; TCP 2377 has to be open between them",
        )
    where = f" (those are at {', '.join(sorted(addresses))})" if addresses else ""
    raise EngineError(
        f"this Docker engine is a worker of its swarm, and only managers can start notebooks{where}",
        remedy="run the service on a manager, or docker node promote this node there",
    )


def found_in(listed: Sequence[Mapping[str, Any]], node: str) -> Mapping[str, Any]:
    """The one node with this id or name, of `GET /nodes`. Raises `EngineError`. Pure."""
    names = {str(one["ID"]): str((one.get("Description") or {}).get("Hostname", "")) for one in listed}
    found = [one for one in listed if node == one["ID"]] or [one for one in listed if node == names[str(one["ID"])]]
    if not found:
        raise EngineError(
            f"the swarm has no node {node}", remedy=f"its nodes are {', '.join(sorted(names.values()))}"
        )
    if len(found) > 1:
        ids = ", ".join(str(one["ID"]) for one in found)
        raise EngineError(f"{len(found)} nodes have the name {node}", remedy=f"say which by its id: {ids}")
    return found[0]
