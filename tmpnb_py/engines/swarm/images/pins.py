"""Which image a name in a registry means, for a pool: asked once, and kept in the swarm.

A tag may mean another image tomorrow. So its digest is asked when the pool needs the image for the first time, and
kept in a config object of the swarm, which every manager has: an orchestrator that starts again, on whichever
manager, starts the same image, with the registry away, too. `push-nodes` asks again, and moves the pin once nodes
have the image.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from tmpnb_py.core.errors import EngineError, ImageMissingError
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker import registries
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.docker.registries import digest_of, pinned
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.configs import Configs
from tmpnb_py.engines.swarm.naming import filters

_SECONDS = 8.0
_AGAIN_SECONDS = 15.0
_LABEL_DIGEST = "org.tmpnb.digest"
_LABEL_NAME = "org.tmpnb.name"
_LABEL_PINS = "org.tmpnb.pins"  # whose


class Pins:
    """A pool's images by the names that a registry has for them."""

    def __init__(self, api: EngineApi, pool: str) -> None:
        self._api = api
        self._configs = Configs(api)
        self._pool = pool
        self._refused: dict[str, tuple[float, ImageMissingError]] = {}

    async def of(self, image: str) -> str:
        """The image by its digest. Raises `EngineError`."""
        if digest := digest_of(image):
            return pinned(image, digest)
        found = await self._configs.read(self._name(image))
        if found is None:
            self._see_that_it_answered(image)
            await self._create(image, await self.ask(image))
            found = await self._configs.read(self._name(image))  # another one may have been quicker
        try:
            return pinned(image, self.digest_in(found or {}))
        except ValueError as error:
            raise EngineError(f"the swarm's config {self._name(image)} is damaged", remedy="remove it") from error

    def _see_that_it_answered(self, image: str) -> None:
        """A pool must not wait for a registry at each look. Raises the `ImageMissingError` of a moment ago."""
        at, error = self._refused.get(image, (0.0, None))
        if error is not None and time.monotonic() - at < _AGAIN_SECONDS:
            raise error

    async def ask(self, image: str) -> str:
        """What the registry has under this name now, by its digest. Raises `EngineError`."""
        if digest := digest_of(image):
            return pinned(image, digest)
        try:
            found = await self._ask(image)
            return pinned(image, str((found.get("Descriptor") or {}).get("digest")))
        except (EngineError, ValueError) as error:  # also where the engine waits for a registry for too long
            refused = ImageMissingError(
                f"{registries.host_of(image)} does not tell which image {image} is: {error}",
                remedy="check its name, that this manager reaches the registry, and docker login",
            )
            self._refused[image] = (time.monotonic(), refused)
            raise refused from error

    async def _ask(self, image: str) -> dict[str, Any]:
        """The manager's engine asks the registry, as its own settings (insecure registries, say) are about that."""
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with self._api.stream(
            "GET",
            f"distribution/{image}/json",
            params={},
            timeout=timeout,
            headers=registries.authorization(image, os.environ),
        ) as response:
            found = await response.json(content_type=None)
        return found if isinstance(found, dict) else {}

    async def move(self, image: str, reference: str) -> None:
        """Have the name mean this image from now on: ready notebooks of another one are replaced."""
        found = await self._configs.read(self._name(image))
        if found is None:
            await self._create(image, reference)
            return
        await self._configs.change(found, self._labels(image, reference))

    async def of_others(self) -> set[str]:
        """The digests that other pools have pinned."""
        listed = await self._api.call("GET", "configs", params=filters({docker.LABEL_PROJECT: docker.PROJECT}))
        return {self.digest_in(one) for one in listed if one["Spec"]["Labels"].get(_LABEL_PINS) != self._pool}

    @staticmethod
    def digest_in(config: Mapping[str, Any]) -> str:
        """The digest that a config object of the swarm pins, "" for one of another kind."""
        return str(((config.get("Spec") or {}).get("Labels") or {}).get(_LABEL_DIGEST, ""))

    async def forget(self) -> None:
        """Remove all of the pool's pins."""
        for one in await self._api.call("GET", "configs", params=filters({_LABEL_PINS: self._pool})):
            with contextlib.suppress(EngineError):
                await self._configs.remove(one["ID"])

    async def _create(self, image: str, reference: str) -> None:
        with contextlib.suppress(RefusedError):  # it exists: another one was quicker
            await self._configs.make(self._name(image), self._labels(image, reference))

    def _labels(self, image: str, reference: str) -> dict[str, str]:
        labels = {docker.LABEL_PROJECT: docker.PROJECT, _LABEL_PINS: self._pool}
        return {**labels, _LABEL_DIGEST: digest_of(reference), _LABEL_NAME: image}

    def _name(self, image: str) -> str:
        return f"tmpnb-image-{hashlib.sha256(f'{self._pool}/{image}'.encode()).hexdigest()[:32]}"
