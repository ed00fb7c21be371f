"""A thin wrapper that counts, times and traces an engine's calls. Made by the composition root."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import IO, Protocol

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import (
    Address,
    ContainerConfig,
    ContainerSpec,
    EngineInfo,
    Gap,
    ImageFacts,
    NodePruned,
    NodeStatus,
    NodeTransfer,
    Observed,
    Transport,
    Usage,
)
from tmpnb_py.engines.base import Engine, WebDoors
from tmpnb_py.engines.image_files import READ_LIMIT
from tmpnb_py.tracing.spans import NO_SPAN, Kind, current


class CallRecorder(Protocol):
    """Records one call: its name, its duration in seconds, and the failure's class ("" for success)."""

    def __call__(self, call: str, seconds: float, error: str) -> None: ...


class MeteredEngine:
    """Forwards every call to `engine` and reports it to `record`."""

    def __init__(self, engine: Engine, record: CallRecorder) -> None:
        self.name = engine.name
        self.shares_network = engine.shares_network
        self.stores_images = engine.stores_images
        self.sees_isolation = engine.sees_isolation
        self._engine = engine
        self._record = record

    @property
    def term(self) -> int:
        """See `Engine`."""
        return self._engine.term

    @contextlib.contextmanager
    def _timed(self, call: str) -> Iterator[None]:
        began, error, span = time.monotonic(), "", current()
        if span is not NO_SPAN:  # a call for a notebook whose start, or claim, is traced
            span = span.child(f"engine {call}", Kind.CLIENT, {"tmpnb.engine": self.name})
        try:
            yield
        except EngineError as failed:
            error = failed.failure.value
            span.fail(error)
            raise
        finally:
            span.end()
            self._record(call, time.monotonic() - began, error)

    def serve_web(self, doors: WebDoors) -> None:
        """See `Engine`."""
        self._engine.serve_web(doors)

    async def open(self) -> None:
        """See `Engine` for this and all following methods."""
        with self._timed("open"):
            await self._engine.open()

    async def hold(self, image: str, on_lost: Callable[[], None]) -> None:
        with self._timed("hold"):
            await self._engine.hold(image, on_lost)

    async def release(self) -> None:
        with self._timed("release"):
            await self._engine.release()

    async def close(self) -> None:
        with self._timed("close"):
            await self._engine.close()

    async def info(self) -> EngineInfo:
        with self._timed("info"):
            return await self._engine.info()

    async def image(self, image: str) -> ImageFacts:
        with self._timed("image"):
            return await self._engine.image(image)

    async def read_image(
        self, image: ImageFacts, paths: Sequence[str], *, limit: int = READ_LIMIT
    ) -> dict[str, bytes]:
        with self._timed("read_image"):
            return await self._engine.read_image(image, paths, limit=limit)

    async def choose_transport(self, config: ContainerConfig) -> Transport:
        with self._timed("choose_transport"):
            return await self._engine.choose_transport(config)

    async def prepare(self, config: ContainerConfig) -> tuple[Gap, ...]:
        with self._timed("prepare"):
            return await self._engine.prepare(config)

    async def start(self, spec: ContainerSpec) -> Address:
        with self._timed("start"):
            return await self._engine.start(spec)

    async def mark_ready(self, container_id: str) -> None:
        with self._timed("mark_ready"):
            await self._engine.mark_ready(container_id)

    async def claim(self, container_id: str, unix_time: float) -> bool:
        with self._timed("claim"):
            return await self._engine.claim(container_id, unix_time)

    async def list(self) -> list[Observed]:
        with self._timed("list"):
            return await self._engine.list()

    async def remove(self, container_id: str) -> None:
        with self._timed("remove"):
            await self._engine.remove(container_id)

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        with self._timed("logs"):
            return await self._engine.logs(container_id, lines=lines)

    async def cpu_seconds(self, container_ids: Sequence[str]) -> Mapping[str, float]:
        with self._timed("cpu_seconds"):
            return await self._engine.cpu_seconds(container_ids)

    def events(self) -> AsyncIterator[str]:
        return self._engine.events()

    # Calls that only commands make are not counted.

    async def remove_pool(self) -> None:
        await self._engine.remove_pool()

    async def nodes(self) -> tuple[NodeStatus, ...]:
        return await self._engine.nodes()

    async def pause_node(self, node: str, *, paused: bool) -> NodeStatus:
        return await self._engine.pause_node(node, paused=paused)

    async def push_image(self, image: str, report: Callable[[NodeTransfer], None]) -> tuple[NodeTransfer, ...]:
        return await self._engine.push_image(image, report)

    async def prune_images(self, image: str) -> tuple[NodePruned, ...]:
        return await self._engine.prune_images(image)

    async def usage(self, container_id: str) -> Usage:
        return await self._engine.usage(container_id)

    async def image_exists(self, image: str) -> bool:
        return await self._engine.image_exists(image)

    async def image_size(self, image: ImageFacts) -> int:
        return await self._engine.image_size(image)

    def pull_image(self, image: str) -> AsyncGenerator[str, None]:
        return self._engine.pull_image(image)

    async def import_image(self, stream: AsyncIterator[bytes], repository: str, tag: str) -> None:
        await self._engine.import_image(stream, repository, tag)

    async def has_buildkit(self) -> bool:
        return await self._engine.has_buildkit()

    def build_image(
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
        return self._engine.build_image(
            context,
            tag=tag,
            build_args=build_args,
            target=target,
            network=network,
            labels=labels,
            buildkit=buildkit,
        )

    def load_image(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
        return self._engine.load_image(stream)

    def save_image(self, image: str) -> AsyncGenerator[bytes, None]:
        return self._engine.save_image(image)

    async def tag_image(self, image: str, tag: str) -> None:
        await self._engine.tag_image(image, tag)
