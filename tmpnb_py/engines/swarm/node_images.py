"""A node's images, for its relay: which layers are there, and one layer more.

Who has the relays' secret can add an image here, but not give any name a meaning that it did not have: the archive
that the engine loads is composed here and names none, and the one tag that is set holds the image's own digest.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import aiohttp

from tmpnb_py.core.errors import EngineError, ImageMissingError
from tmpnb_py.engines.swarm import layers
from tmpnb_py.engines.swarm.api import EngineApi

REPOSITORY = "tmpnb-pushed"
_MOST_IMAGES = 500
_SECONDS = 3600.0
_SILENCE = 600.0  # the engine says nothing while it unpacks a layer
_ANSWER_LIMIT = 1024 * 1024


class NodeImages:
    """The images of a node's engine."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api

    async def common(self, diff_ids: Sequence[str]) -> int:
        """How many of an image's lowest layers some image of the node has."""
        most = 0
        for one in (await self._api.call("GET", "images/json"))[:_MOST_IMAGES]:
            with contextlib.suppress(ImageMissingError):  # removed meanwhile
                found = await self._api.call("GET", f"images/{one['Id']}/json")
                most = max(most, layers.common((found.get("RootFS") or {}).get("Layers") or (), diff_ids))
        return most

    async def add(self, image: str, config: bytes, count: int, size: int, content: AsyncIterator[bytes]) -> None:
        """Add the layer that brings an image to `count` layers; its bytes are `content`, `size` of them.

        Raises `EngineError`: then the node has what it had.
        """
        if layers.id_of(config) != image:
            raise EngineError("the image's configuration is another one's")
        whole = len(layers.diff_ids_of(config))
        if not 0 < count <= whole:
            raise EngineError(f"the image does not have {count} layers")
        step = layers.step_config(config, count)
        await self._load(_bundled(step, size, content))
        step_id = layers.id_of(step)
        await self._api.call("GET", f"images/{step_id}/json")
        if count == whole:  # named, so that `docker image prune` leaves it
            name = {"repo": REPOSITORY, "tag": image.partition(":")[2][:12]}
            await self._api.call("POST", f"images/{step_id}/tag", params=name)
        if count > 1:
            before = layers.id_of(layers.partial_config(config, count - 1))
            with contextlib.suppress(EngineError):  # it is there after a step of ours only
                await self._api.call("DELETE", f"images/{before}")

    async def _load(self, archive: AsyncIterator[bytes]) -> None:
        timeout = aiohttp.ClientTimeout(total=_SECONDS, sock_read=_SILENCE)
        answer = bytearray()
        async with self._api.stream(
            "POST", "images/load", params={"quiet": "1"}, timeout=timeout, data=archive,
            headers={"Content-Type": "application/x-tar"},
        ) as response:  # fmt: skip
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > _ANSWER_LIMIT:
                    raise EngineError("the engine's answer has no end")
        for line in answer.splitlines():
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and "error" in told:
                    raise EngineError(f"the node's engine does not take the layer: {str(told['error'])[:500]}")


async def _bundled(config: bytes, size: int, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    head, tail = layers.bundle(config, size)
    yield head
    async for chunk in content:
        yield chunk
    yield tail
