"""Images of the engine that a Swarm engine talks to, a manager's. Used by the Swarm engine only."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from tmpnb_py.core.errors import NoSuchContainerError
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker.streams import ImageStreams, read_paths
from tmpnb_py.engines.docker.usage import read_image_size
from tmpnb_py.engines.image_files import READ_LIMIT
from tmpnb_py.engines.swarm.api import EngineApi

_CALL_SECONDS = 10.0


class ManagerImages(ImageStreams):
    """The engine's part about images."""

    image_owner = "this manager's engine"

    def __init__(self, api: EngineApi, pool: str) -> None:
        super().__init__(api.stream)
        self._api = api
        self._pool = pool

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
