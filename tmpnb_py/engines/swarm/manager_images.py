"""Images of the engine that a Swarm engine talks to, a manager's. Used by the Swarm engine only."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence

from tmpnb_py.core.errors import ImageMissingError, NoSuchContainerError
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker.streams import ImageStreams, read_paths
from tmpnb_py.engines.docker.usage import read_image_size
from tmpnb_py.engines.image_files import READ_LIMIT
from tmpnb_py.engines.swarm.api import EngineApi

_CALL_SECONDS = 10.0


class ManagerImages(ImageStreams):
    """The engine's part about images."""

    def __init__(self, api: EngineApi, pool: str) -> None:
        super().__init__(api.stream)
        self._api = api
        self._pool = pool
        self._own_init: set[str] = set()

    def _wants_init(self, image: ImageFacts) -> bool:
        """Whether notebooks of an image that was looked at need Docker's init."""
        return image.image_id not in self._own_init

    async def image(self, image: str) -> ImageFacts:
        """What an image says of itself. Raises `ImageMissingError` with a remedy."""
        try:
            inspected = await self._api.call("GET", f"images/{image}/json")
        except (ImageMissingError, NoSuchContainerError) as error:
            raise ImageMissingError(
                f"this manager's engine has no image {image}",
                remedy=f"build it, pull it (docker pull {image}), or name another one with the option image",
            ) from error
        facts = docker.facts_of(image, inspected)
        if docker.has_own_init(inspected):
            self._own_init.add(facts.image_id)
        return facts

    async def image_exists(self, image: str) -> bool:
        """Whether this manager's engine has the image."""
        try:
            await self.image(image)
        except ImageMissingError:
            return False
        return True

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
