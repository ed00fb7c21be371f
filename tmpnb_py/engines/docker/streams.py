"""Docker's long answers: events, logs, and progress of builds, pulls and imports. Used by the Docker engine.

They are read directly from the HTTP response: aiodocker keeps the connection of a stream that is left early,
shares one event stream among all its listeners, and goes silent after the stream broke once (see
ENGINE_NOTES).
"""

from __future__ import annotations

import abc
import asyncio
import collections
import json
import os
import re
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import IO, Any, Protocol

import aiohttp

from tmpnb_py.core.errors import (
    EngineDownError,
    EngineError,
    ImageBuildError,
    ImageMissingError,
    NoSuchContainerError,
    TooLargeError,
)
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines import image_files
from tmpnb_py.engines.docker import buildkit as docker_buildkit
from tmpnb_py.engines.docker import registries
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.docker.options import (
    LABEL_ID,
    LABEL_POOL,
    LABEL_PROJECT,
    PROJECT,
    demultiplex,
    facts_of,
    has_own_init,
    is_id,
)

_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,511}")
LOG_BYTES = 64 * 1024
_LOG_READ_LIMIT = 4 * 1024 * 1024  # more than the 1 MiB that the engine keeps, including frames
_RECONNECT_FIRST, _RECONNECT_LAST = 0.2, 5.0
_EVENTS_SILENCE = 300.0  # after this long a silent connection is considered dead
_IMAGE_SECONDS = 3600.0
_READ_SECONDS = 60.0
_CHUNK = 256 * 1024
_LAST_LINES = 20


class OpenStream(Protocol):
    """Sends a request and yields the response.

    Raises `EngineError` for refusals and for broken connections.
    """

    def __call__(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        data: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]: ...


async def post(
    open_stream: OpenStream,
    path: str,
    body: Mapping[str, Any],
    *,
    seconds: float,
    params: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make a short call that aiodocker lacks, or whose answer it truncates."""
    data = json.dumps(body).encode()

    async def parts() -> AsyncIterator[bytes]:
        yield data

    headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with open_stream(
        "POST", path, params=params or {}, timeout=timeout, data=parts(), headers=headers
    ) as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def watch(
    open_stream: OpenStream,
    pool: str,
    *,
    settle: Callable[[str], Awaitable[None]],
    is_closed: Callable[[], bool],
) -> AsyncGenerator[str, None]:
    """Yield ids of the pool's containers that died or disappeared, and "" after each connect.

    Ends when the engine is closed.
    """
    delay = _RECONNECT_FIRST
    while not is_closed():
        try:
            async with aclosing(_events(open_stream, pool, settle)) as events:
                async for container_id in events:
                    delay = _RECONNECT_FIRST
                    yield container_id
        except EngineError:
            pass  # the reconciler's own calls meet the same engine and report it
        if is_closed():
            return
        await asyncio.sleep(delay)
        delay = min(delay * 2, _RECONNECT_LAST)


async def _events(
    open_stream: OpenStream, pool: str, settle: Callable[[str], Awaitable[None]]
) -> AsyncGenerator[str, None]:
    filters = {
        "type": ["container"],
        "event": ["die", "destroy", "oom"],
        "label": [f"{LABEL_PROJECT}={PROJECT}", f"{LABEL_POOL}={pool}"],
    }
    # dockerd sends its headers before it subscribes; `since` replays events in between (a repeat does no
    # harm).
    params = {"filters": json.dumps(filters), "since": str(int(time.time()) - 1)}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=_EVENTS_SILENCE)
    async with open_stream("GET", "events", params=params, timeout=timeout) as response:
        yield ""
        async for event in json_lines(response):
            actor = event.get("Actor") or {}
            container_id = str((actor.get("Attributes") or {}).get(LABEL_ID, ""))
            if is_id(container_id):
                await settle(str(actor.get("ID")))
                yield container_id


async def json_lines(response: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the objects of a JSON-lines stream. Raises `EngineError` for an overlong line or invalid JSON."""
    try:
        async for line in response.content:
            if line.strip():
                value = json.loads(line)
                yield value if isinstance(value, dict) else {}
    except ValueError as error:
        raise EngineError(f"the Docker engine sent an answer that is not Docker's API: {error}") from error


async def read_log(open_stream: OpenStream, docker_id: str, *, lines: int, seconds: float) -> tuple[str, ...]:
    """Read the last lines of a container's standard output and error, at most `LOG_BYTES`."""
    params = {"stdout": "1", "stderr": "1", "tail": str(max(0, lines))}
    timeout = aiohttp.ClientTimeout(total=seconds)
    data = bytearray()
    async with open_stream("GET", f"containers/{docker_id}/logs", params=params, timeout=timeout) as response:
        async for chunk in response.content.iter_any():
            data += chunk
            if len(data) > _LOG_READ_LIMIT:
                break
    text = demultiplex(bytes(data))[-LOG_BYTES:].decode("utf-8", "replace")
    return tuple(text.removesuffix("\n").split("\n")[-lines:]) if text and lines > 0 else ()


async def read_paths(
    open_stream: OpenStream, docker_id: str, paths: Sequence[str], *, limit: int
) -> dict[str, bytes]:
    """Read the regular files at and below `paths` of a container's file system. Skips missing paths."""
    found: dict[str, bytes] = {}
    for path in paths:
        with tempfile.SpooledTemporaryFile(max_size=_CHUNK) as archive:
            try:
                await _download(open_stream, docker_id, path, archive, limit=limit)
            except RefusedError as error:
                if error.status == 404:  # there is no such path
                    continue
                raise
            archive.seek(0)
            more = await asyncio.to_thread(image_files.from_tar, archive, path, limit=limit)
        limit -= sum(map(len, more.values()))
        found |= more
    return found


async def _download(open_stream: OpenStream, docker_id: str, path: str, file: IO[bytes], *, limit: int) -> None:
    timeout = aiohttp.ClientTimeout(total=_READ_SECONDS)
    left = 2 * limit + _CHUNK  # an archive also has headers, and links that `limit` does not count
    async with open_stream(
        "GET", f"containers/{docker_id}/archive", params={"path": path}, timeout=timeout
    ) as response:
        async for chunk in response.content.iter_chunked(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise TooLargeError(f"{path} of the image has more bytes than the read limit allows")
            await asyncio.to_thread(file.write, chunk)


class ImageStreams(abc.ABC):
    """Describes an engine's images, and moves them into and out of it, which takes minutes and at most an hour."""

    image_owner = "the engine"  # in messages

    def __init__(self, open_stream: OpenStream) -> None:
        self._open = open_stream
        self._own_init: set[str] = set()

    @abc.abstractmethod
    async def _inspect_image(self, image: str) -> Mapping[str, Any]:
        """The engine's description of an image. Raises `EngineError`."""

    async def image(self, image: str) -> ImageFacts:
        """Describe an image by its labels. Raises `ImageMissingError` with a remedy."""
        if not _IMAGE.fullmatch(image):
            raise ImageMissingError(f"{image!r} is not an image's name", remedy="write it as name:tag")
        try:
            inspected = await self._inspect_image(image)
        except (ImageMissingError, NoSuchContainerError) as error:
            raise ImageMissingError(
                f"{self.image_owner} has no image {image}",
                remedy=f"build it, pull it (docker pull {image}), or name another one with the option image",
            ) from error
        facts = facts_of(image, inspected)
        if has_own_init(inspected):
            self._own_init.add(facts.image_id)
        return facts

    def _wants_init(self, image: ImageFacts) -> bool:
        """Whether containers of an image that was described need Docker's init."""
        return image.image_id not in self._own_init

    async def image_exists(self, image: str) -> bool:
        """Whether the engine has the image."""
        try:
            await self.image(image)
        except ImageMissingError:
            return False
        return True

    async def import_image(self, stream: AsyncIterator[bytes], repository: str, tag: str) -> None:
        """Create an image of one layer from a tar archive of a root file system."""
        params = {"fromSrc": "-", "repo": repository, "tag": tag}
        async for _ in self._progress("images/create", params, stream):
            pass

    async def pull_image(self, image: str) -> AsyncGenerator[str, None]:
        """Pull, yielding progress lines. Raises `ImageMissingError` if the registry does not have it.

        Most images need nothing of what `docker login` has kept: that it cannot be used is told if one is not pulled.
        """
        params = {"fromImage": image} if _has_tag(image) else {"fromImage": image, "tag": "latest"}
        private: Mapping[str, str] = {}
        unused = ""
        try:
            private = registries.authorization(image, os.environ)
        except EngineError as error:
            unused = f" ({error})"
        try:
            async for line in self._progress("images/create", params, None, private):
                yield line
        except EngineDownError:
            raise
        except EngineError as error:
            raise ImageMissingError(
                f"cannot pull {image}: {error}{unused}",
                remedy="check the name; for a private image run `docker login` first",
            ) from error

    async def has_buildkit(self) -> bool:
        """Whether the engine can build with BuildKit."""
        timeout = aiohttp.ClientTimeout(total=_READ_SECONDS)
        async with self._open("GET", "_ping", params={}, timeout=timeout) as response:
            return docker_buildkit.is_offered(response.headers)

    async def build_image(
        self,
        context: IO[bytes],
        *,
        tag: str,
        build_args: Mapping[str, str],
        target: str | None,
        network: str | None,
        labels: Mapping[str, str],
        buildkit: bool = False,
    ) -> AsyncGenerator[str, None]:
        """Build from a tar archive, yielding the builder's lines. Raises `ImageBuildError` with the last of them."""
        params = {"t": tag, "rm": "1", "forcerm": "1", "version": "2" if buildkit else "1"}
        params |= {"buildargs": json.dumps(dict(build_args)), "labels": json.dumps(dict(labels))}
        params |= {key: value for key, value in (("target", target), ("networkmode", network)) if value}
        last: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        try:
            async for line in self._progress("build", params, _chunks(context)):
                last.append(line)
                yield line
        except EngineDownError:
            raise
        except EngineError as error:
            raise ImageBuildError("\n".join([*last, f"the image {tag} was not built: {error}"])) from error

    async def load_image(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
        """Load a `docker save` archive, yielding the engine's messages, such as "Loaded image: name:tag"."""
        async for line in self._progress("images/load", {"quiet": "1"}, stream):
            yield line

    async def save_image(self, image: str) -> AsyncGenerator[bytes, None]:
        """Stream the image with its name as an archive for `docker load`."""
        timeout = aiohttp.ClientTimeout(total=_IMAGE_SECONDS, sock_connect=10.0)
        async with self._open("GET", f"images/{image}/get", params={}, timeout=timeout) as response:
            async for chunk in response.content.iter_chunked(_CHUNK):
                yield chunk

    async def tag_image(self, image: str, tag: str) -> None:
        """Give an image another name."""
        repository, _, version = tag.rpartition(":") if _has_tag(tag) else (tag, "", "latest")
        params = {"repo": repository, "tag": version}
        timeout = aiohttp.ClientTimeout(total=_READ_SECONDS)
        async with self._open("POST", f"images/{image}/tag", params=params, timeout=timeout):
            pass

    async def _progress(
        self,
        path: str,
        params: Mapping[str, str],
        data: AsyncIterator[bytes] | None,
        more: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[str, None]:
        """Yield the lines of a progress stream. Its errors come inside it, after a status of 200."""
        timeout = aiohttp.ClientTimeout(total=_IMAGE_SECONDS, sock_connect=10.0)
        headers = {"Content-Type": "application/x-tar"} if data else dict(more or {})
        traces = docker_buildkit.Progress()
        async with (
            self._open("POST", path, params=params, timeout=timeout, data=data, headers=headers) as response,
            aclosing(json_lines(response)) as objects,
        ):
            async for item in objects:
                if "error" in item or "errorDetail" in item:
                    detail = item.get("errorDetail") or {}
                    raise EngineError(str(detail.get("message") or item.get("error")))
                if item.get("id") == docker_buildkit.TRACE:
                    for line in traces.lines(item.get("aux")):
                        yield line
                    continue
                for line in _text(item).splitlines():
                    yield line


def _text(item: Mapping[str, Any]) -> str:
    """The readable text of a progress object ("" for a mere progress bar)."""
    if "stream" in item:
        return str(item["stream"]).rstrip()
    if "status" not in item or item.get("progressDetail"):
        return ""
    return f"{item['id']}: {item['status']}" if item.get("id") else str(item["status"])


def _has_tag(image: str) -> bool:
    last = image.rsplit("/", 1)[-1]
    return ":" in last or "@" in last


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    """Yield the file's content, read in a thread: a build context may be on a slow disk."""
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk
