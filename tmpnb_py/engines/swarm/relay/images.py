"""A node's images: which layers are there, one layer more, and what is no longer used.

Who has the relays' secret can add an image here, but not give any name a meaning that it did not have: the archive
that the engine loads is composed here and names none, and the one tag that is set holds the image's own digest.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from typing import Any

import aiohttp

from tmpnb_py.core.errors import EngineError, ImageMissingError, NoSuchContainerError
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.link.wire import BusyError
from tmpnb_py.engines.swarm.parcels import layers
from tmpnb_py.engines.swarm.parcels.manifests import ManifestImage
from tmpnb_py.engines.swarm.parcels.parcel import Parcel

REPOSITORY = "tmpnb-pushed"
_MOST_IMAGES = 500
_SECONDS = 3600.0
_SILENCE = 600.0  # the engine says nothing while it unpacks a layer
_ANSWER_LIMIT = 1024 * 1024
_CONTAINERD = "io.containerd.snapshotter.v1"
_STORES = {True: "containerd's image store", False: "Docker's own image store"}


class NodeImages:
    """The images of a node's engine."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api
        self._busy: set[str] = set()

    async def has(self, image: str) -> bool:
        """Whether the node has all of an image, and so can start it without asking a registry.

        (containerd's store also shows images that lack layers.)
        """
        try:
            return bool(_layers_of(await self._inspect(image)))
        except (ImageMissingError, RefusedError, NoSuchContainerError):
            return False

    @contextlib.asynccontextmanager
    async def turn(self, parcel: Parcel, count: int) -> AsyncIterator[None]:
        """One at a time brings an image. Raises `BusyError` for who has to look again, as another one brings it."""
        if parcel.id in self._busy:
            raise BusyError("somebody else brings this image just now")
        self._busy.add(parcel.id)
        try:
            parcel.check(count, 0)
            if await self.has(parcel.step_id(count)) or await self.has(parcel.id):
                raise BusyError("it has arrived meanwhile")
            yield
        finally:
            self._busy.discard(parcel.id)

    async def have(self, parcel: Parcel) -> int:
        """How many of an image's lowest layers the node has. Raises `EngineError` where it cannot have the image."""
        await self._see_that_ids_are_the_same(parcel)
        found = [one["Id"] for one in (await self._api.call("GET", "images/json"))[:_MOST_IMAGES]]
        most = 0
        for one in found:
            with contextlib.suppress(ImageMissingError):  # removed meanwhile
                most = max(most, layers.common(_layers_of(await self._inspect(one)), parcel.diff_ids))
        if not isinstance(parcel, ManifestImage):
            return most
        ours = [count for count in range(1, len(parcel.diff_ids)) if parcel.step_id(count) in found]
        count = max([0, *[one for one in ours if await self.has(parcel.step_id(one))]])
        return most if most > count and await self._has_blobs(parcel, most) else count

    async def _see_that_ids_are_the_same(self, parcel: Parcel) -> None:
        status = (await self._api.call("GET", "info")).get("DriverStatus") or ()
        here, there = any(_CONTAINERD in one for one in status), isinstance(parcel, ManifestImage)
        if here != there:
            raise EngineError(
                f"this node keeps images in {_STORES[here]}, and the manager in {_STORES[there]}, so the image would "
                "have another id here: use the same store on all nodes, or a registry"
            )

    async def _has_blobs(self, parcel: Parcel, count: int) -> bool:
        """Whether layers that another image has are the very blobs, and not only the same when they are unpacked."""
        with contextlib.suppress(EngineError):
            await self.add(parcel, count, 0)
            return True
        return False

    async def add(self, parcel: Parcel, count: int, size: int, content: AsyncIterator[bytes] | None = None) -> None:
        """Add the layer that brings an image to `count` layers; its bytes are `content`, `size` of them.

        None are needed where the node has them already.

        Raises `EngineError`: then the node has what it had.
        """
        parcel.check(count, size)
        said = await self._load(_bundled(parcel, count, size, content))
        step = parcel.step_id(count)
        if not await self.has(step):
            with contextlib.suppress(EngineError):
                await self._api.call("DELETE", f"images/{step}")
            raise EngineError(f"the node's engine does not take the layer: {said or 'it does not say why'}")
        if count == len(parcel.diff_ids):  # named, so that `docker image prune` leaves it
            await self.name(step, parcel.id)
        if count > 1:
            with contextlib.suppress(EngineError):  # it is there after a step of ours only
                await self._api.call("DELETE", f"images/{parcel.step_id(count - 1)}")

    async def name(self, image: str, digest: str) -> None:
        """Name an image by its own digest."""
        params = {"repo": REPOSITORY, "tag": _tag_of(digest)}
        await self._api.call("POST", f"images/{image}/tag", params=params)

    async def _load(self, archive: AsyncIterator[bytes]) -> str:
        """Have the engine load it. Returns what it complains about while it takes it all the same."""
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
        said = ""
        for line in answer.splitlines():
            told: Any = None
            with contextlib.suppress(ValueError):
                told = json.loads(line)
            if isinstance(told, dict) and "error" in told:
                raise EngineError(f"the node's engine does not take the layer: {str(told['error'])[:500]}")
            if isinstance(told, dict) and str(told.get("stream")).startswith("Error"):
                said = str(told["stream"]).strip()[:500]
        return said

    async def prune(self, keep: Collection[str]) -> dict[str, Any]:
        """Remove pushed and pulled images that have none of these digests, and what interrupted pushes have left.

        What a container uses stays, and is told.
        """
        tags = {_tag_of(one) for one in keep}
        containers = await self._api.call("GET", "containers/json", params={"all": "1"})
        used = {str(one.get(part)) for one in containers for part in ("ImageID", "Image")}
        removed: list[str] = []
        kept: list[str] = []
        for one in (await self._api.call("GET", "images/json"))[:_MOST_IMAGES]:
            ours = [name for name in one.get("RepoTags") or () if name.startswith(f"{REPOSITORY}:")]
            if self._busy or any(name.partition(":")[2] in tags for name in ours):
                continue
            if ours and (one["Id"] in used or used.intersection(one.get("RepoDigests") or ())):
                kept += ours
            elif ours or await self._is_partial(one):
                removed += await self._remove(one, ours)
        return {"removed": removed, "kept": kept}

    async def _remove(self, listed: Mapping[str, Any], ours: list[str]) -> list[str]:
        """Remove our name of an image, and what it was pulled by, if it has no other name. Returns what is gone."""
        others = set(listed.get("RepoTags") or ()) - set(ours)
        removed = []
        for name in ours or [str(listed["Id"])]:
            with contextlib.suppress(EngineError):
                await self._api.call("DELETE", f"images/{name}")
                removed.append(name)
        for name in listed.get("RepoDigests") or () if ours and not others else ():
            with contextlib.suppress(EngineError):  # it went with the last name
                await self._api.call("DELETE", f"images/{name}")
        return removed

    async def _is_partial(self, listed: Mapping[str, Any]) -> bool:
        """Whether an image is one that a push has not finished: it has no name, and runs nothing."""
        named = [one for one in listed.get("RepoTags") or () if one != "<none>:<none>"]
        if named or listed.get("Created") != 0:
            return False
        with contextlib.suppress(EngineError):
            found = await self._inspect(str(listed["Id"]))
            config = found.get("Config") or {}
            return found.get("Created") == layers.LONG_AGO and not any(
                config.get(one) for one in ("Cmd", "Entrypoint", "Env", "Labels", "WorkingDir", "User")
            )
        return False

    async def _inspect(self, image: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._api.call("GET", f"images/{image}/json")
        return found


def _tag_of(digest: str) -> str:
    return digest.partition(":")[2][:12]


def _layers_of(inspected: Mapping[str, Any]) -> list[str]:
    return (inspected.get("RootFS") or {}).get("Layers") or []


async def _bundled(
    parcel: Parcel, count: int, size: int, content: AsyncIterator[bytes] | None
) -> AsyncGenerator[bytes, None]:
    head, tail = parcel.bundle(count, size)
    yield head
    if content is not None:
        async for chunk in content:
            yield chunk
    yield tail
