"""What a node pulls from registries: images by their digests, each once, in the background.

A digest means one image for ever, and the node's engine checks it. What has been pulled gets the name that pushed
images have, so that `docker image prune` leaves it.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import aclosing

import aiohttp
import structlog

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.docker.registries import digest_of
from tmpnb_py.engines.docker.streams import json_lines
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.relay.images import NodeImages

log = structlog.get_logger(__name__)

_SECONDS = 3600.0
_SILENCE = 600.0
_AGAIN_SECONDS = 20.0
_MOST = 16
_HAVE = ("Pull complete", "Already exists")


@dataclasses.dataclass(slots=True)
class _Pull:
    layers: dict[str, bool] = dataclasses.field(default_factory=dict)  # whether each is there
    error: str = ""
    ended_at: float | None = None  # monotonic seconds


class NodePulls:
    """The pulls of one node."""

    def __init__(self, api: EngineApi, images: NodeImages) -> None:
        self._api = api
        self._images = images
        self._pulls: dict[str, _Pull] = {}
        self._tasks = Tasks()

    async def close(self) -> None:
        """Stop pulling; the engine keeps the layers that it has."""
        await self._tasks.close()

    def told(self, image: str) -> dict[str, object]:
        """How far it is: `layers` of so many, whether it is going on, and why it does not."""
        pull = self._pulls.get(image, _Pull(ended_at=0.0))
        return {
            "pulling": pull.ended_at is None,
            "layers": sum(pull.layers.values()),
            "of": len(pull.layers),
            "error": pull.error,
        }

    async def want(self, image: str, auth: str) -> None:
        """Begin to pull, unless it is there or on its way, or has failed a moment ago."""
        pull = self._pulls.get(image)
        if pull is not None and (pull.ended_at is None or time.monotonic() - pull.ended_at < _AGAIN_SECONDS):
            return
        if await self._images.has(image):
            return
        self._pulls[image] = pull = _Pull()
        while len(self._pulls) > _MOST:
            del self._pulls[next(iter(self._pulls))]
        self._tasks.start("pull", self._run(image, auth, pull))

    async def _run(self, image: str, auth: str, pull: _Pull) -> None:
        try:
            await self._pull(image, auth, pull)
            await self._images.name(image, digest_of(image))
            log.info("image_pulled", image=image)
            del self._pulls[image]
        except EngineError as error:
            pull.error = error.message[:500]
            log.warning("image_not_pulled", image=image, error=pull.error)
        finally:
            pull.ended_at = time.monotonic()

    async def _pull(self, image: str, auth: str, pull: _Pull) -> None:
        timeout = aiohttp.ClientTimeout(total=_SECONDS, sock_read=_SILENCE)
        headers = {"X-Registry-Auth": auth} if auth else {}
        repository, _, digest = image.partition("@")
        params = {"fromImage": repository, "tag": digest}
        async with (
            self._api.stream("POST", "images/create", params=params, timeout=timeout, headers=headers) as response,
            aclosing(json_lines(response)) as lines,
        ):
            async for line in lines:
                if "error" in line:
                    raise EngineError(str(line["error"]))
                if line.get("id") and str(line.get("status")).startswith(("Pulling fs layer", *_HAVE)):
                    pull.layers[str(line["id"])[:64]] = line["status"] in _HAVE
        if not await self._images.has(image):
            raise EngineError("the node's engine has pulled it and does not have it")
