"""Images in a swarm: those of the manager's engine, and how they get to the nodes.

An image that somebody has built or loaded on the manager is sent over the relays (`push`). One whose name begins with
a registry's host is pinned (`pins`), and each node pulls it, the manager's among them (`pulls`); it is known by
`host/repository@digest`, which every engine understands, whichever store it has.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tmpnb_py.core.errors import EngineError, ImageMissingError, NoSuchContainerError
from tmpnb_py.core.models import ImageFacts, NodePruned, NodeTransfer
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker import registries
from tmpnb_py.engines.docker.streams import ImageStreams, read_paths
from tmpnb_py.engines.docker.usage import read_image_size
from tmpnb_py.engines.image_files import READ_LIMIT
from tmpnb_py.engines.swarm import naming
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.images.pins import Pins
from tmpnb_py.engines.swarm.images.pulls import Pulls, bring
from tmpnb_py.engines.swarm.images.push import Push, spooled
from tmpnb_py.engines.swarm.link.wire import MOST_KEPT, Question
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.engines.swarm.services import Node

_CALL_SECONDS = 10.0


class SwarmImages(ImageStreams):
    """The engine's part about images."""

    image_owner = "this manager's engine"

    def __init__(self, api: EngineApi, pool: str, relays: Relays, runtime_dir: Path) -> None:
        super().__init__(api.stream)
        self._api = api
        self._pool = pool
        self._relays = relays
        self._runtime_dir = runtime_dir
        self._pins = Pins(api, pool)
        self._pulls = Pulls(relays, self._list_again)

    @abc.abstractmethod
    def _list_again(self) -> None:
        """Have the pool listed again: a node has an image that it lacked, say."""

    @abc.abstractmethod
    async def _list_nodes(self) -> Sequence[Node]:
        """The swarm's nodes. Raises `EngineError`."""

    # --- the manager's

    async def image(self, image: str) -> ImageFacts:
        """Describe an image. Raises `ImageMissingError`, also while the manager is still pulling it."""
        if not registries.host_of(image):
            return await super().image(image)
        reference = await self._pins.of(image)
        try:
            facts = await super().image(reference)
        except ImageMissingError as error:
            self._pulls.want(reference)
            raise ImageMissingError(
                f"this manager has not pulled {image} yet{self._pulls.why()}",
                remedy="tmpnb-py status shows how far the nodes are; docker service ps tells whether relays run",
            ) from error
        if not self._wants_init(facts):
            self._own_init.add(reference)
        return dataclasses.replace(facts, image=image, image_id=reference)

    async def _inspect_image(self, image: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._api.call("GET", f"images/{image}/json")
        return found

    async def image_size(self, image: ImageFacts) -> int:
        """Bytes of an image on disk."""
        return await read_image_size(self._api.stream, image.image_id, seconds=_CALL_SECONDS)

    async def read_image(
        self, image: ImageFacts, paths: Sequence[str], *, limit: int = READ_LIMIT
    ) -> dict[str, bytes]:
        """Files of an image, read from a container that is created, never started, and removed."""
        name = f"tmpnb.{self._pool}.read{secrets.token_hex(8)}"
        body = docker.reading_body(self._pool, image)
        await self._api.call("POST", "containers/create", params={"name": name}, body=body)
        try:
            return await read_paths(self._api.stream, name, paths, limit=limit)
        finally:
            with contextlib.suppress(NoSuchContainerError):
                await self._api.call("DELETE", f"containers/{name}", params={"force": "1", "v": "1"})

    # --- the nodes'

    async def push_image(self, image: str, report: Callable[[NodeTransfer], None]) -> tuple[NodeTransfer, ...]:
        """To each node that is not down: over the relays, layer by layer, or out of the registry that it names."""
        nodes = [one for one in await self._list_nodes() if not one.down]
        if registries.host_of(image):
            return await self._have_pulled(image, nodes, report)
        facts = await self.image(image)
        async with spooled(self.save_image(facts.image_id), self._runtime_dir, facts.image_id) as archive:
            push = Push(self._relays, archive, report)
            return tuple(await asyncio.gather(*(push.to(one.id, one.name) for one in nodes)))

    async def _have_pulled(
        self, image: str, nodes: Sequence[Node], report: Callable[[NodeTransfer], None]
    ) -> tuple[NodeTransfer, ...]:
        """Ask the registry which image it is now. It is the pool's once a node that takes notebooks has it."""
        reference = await self._pins.ask(image)
        ended = await asyncio.gather(*(bring(self._relays, (one.id, one.name), reference, report) for one in nodes))
        if any(told.done for node, told in zip(nodes, ended, strict=True) if node.usable):
            await self._pins.move(image, reference)
        return tuple(ended)

    async def prune_images(self, image: str) -> tuple[NodePruned, ...]:
        """Remove pushed and pulled images that neither `image` is nor a service of this program uses."""
        keep = {await self._digest_of(image)} | await self._pins.of_others()
        params = naming.filters({docker.LABEL_PROJECT: docker.PROJECT})
        for one in await self._api.call("GET", "services", params=params):
            used = str(((one["Spec"].get("TaskTemplate") or {}).get("ContainerSpec") or {}).get("Image", ""))
            keep.add(registries.digest_of(used) or used)
        digests = tuple(sorted(one for one in keep if one.startswith("sha256:")))
        if len(digests) > MOST_KEPT:
            raise EngineError(f"more than {MOST_KEPT} images are in use")
        nodes = [one for one in await self._list_nodes() if not one.down]
        return tuple(await asyncio.gather(*(self._pruned(one, digests) for one in nodes)))

    async def _digest_of(self, image: str) -> str:
        if registries.host_of(image):
            return registries.digest_of(await self._pins.of(image))
        return (await self.image(image)).image_id

    async def _pruned(self, node: Node, keep: tuple[str, ...]) -> NodePruned:
        try:
            found = await self._relays.of(node.id).ask(Question(do="prune", keep=keep))
        except EngineError as error:
            return NodePruned(node.name, error=error.message)
        removed, kept = (tuple(map(str, found.get(one) or ())) for one in ("removed", "kept"))
        return NodePruned(node.name, removed, kept)
