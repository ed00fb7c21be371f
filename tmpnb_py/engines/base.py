"""What the rest of the program asks of an engine: all of it, so that nobody asks which engine it is.

All methods may run concurrently. Every method returns or raises within a bounded time; what it raises is an
`EngineError` of `tmpnb_py.core.errors` (`EngineDownError` when nothing answers, `NoSuchContainerError` for an id that
the engine does not have). An engine sees only the containers of its own project and pool; it never lists or
touches another's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import IO, Protocol

from tmpnb_py.core.models import (
    Address,
    ContainerConfig,
    ContainerSpec,
    EngineInfo,
    Gap,
    ImageFacts,
    Observed,
    Transport,
    Usage,
)


class ImageStore(Protocol):
    """An engine's images. One that keeps none (`no_images`) refuses what would change or move them."""

    async def image(self, image: str) -> ImageFacts:
        """What the image is. Raises `ImageMissingError` with a remedy when the engine does not have it."""

    async def image_exists(self, image: str) -> bool:
        """Whether the engine has the image."""

    async def image_size(self, image: ImageFacts) -> int:
        """Bytes on disk, layers that other images share included. 0 where nobody knows."""

    async def read_image(self, image: ImageFacts, paths: Sequence[str], *, limit: int = ...) -> dict[str, bytes]:
        """The regular files at and below absolute `paths` in the image, by path, without running it.

        What is not there is left out, links too. Raises `TooLargeError` where there is more than `limit` bytes.
        """

    def pull_image(self, image: str) -> AsyncGenerator[str, None]:
        """Pull, yielding progress. Raises `ImageMissingError`."""

    async def import_image(self, stream: AsyncIterator[bytes], repository: str, tag: str) -> None:
        """Make an image from a tar archive of a root file system."""

    async def has_buildkit(self) -> bool:
        """Whether the engine builds with BuildKit, too."""

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
        """Build, yielding the builder's lines. Raises `ImageBuildError`."""

    def load_image(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
        """Load an archive that `save_image` wrote, yielding what the engine says."""

    def save_image(self, image: str) -> AsyncGenerator[bytes, None]:
        """The image with its layers as a tar archive, chunk by chunk."""

    async def tag_image(self, image: str, tag: str) -> None:
        """Give the image another name."""


class Engine(ImageStore, Protocol):
    """Starts, marks, lists and removes the containers of one pool.

    `stores_images`: it has images that are built, loaded and saved. `sees_isolation`: `prepare` looks from inside a
    container at what keeps it apart, so that no gap means that there is none. `shares_network`: notebooks have this
    machine's network, whatever their configuration says.
    """

    name: str
    shares_network: bool
    stores_images: bool
    sees_isolation: bool

    async def open(self) -> None:
        """Connect and see that the engine answers; may be called again after a failure."""

    async def close(self) -> None:
        """Give back every connection and temporary thing, and the hold. Containers stay."""

    async def hold(self, image: str, on_lost: Callable[[], None]) -> None:
        """Be the pool's only manager, wherever others may be, until `close` or this process's end, however it comes.

        To be repeated before each listing: nothing happens while it is held. `image` is one that the engine may use
        for it; `on_lost` is called where the hold is lost. Raises `PoolLockedError` where another manager has it.
        Where an engine cannot tell, it does not refuse.
        """

    async def info(self) -> EngineInfo:
        """Memory, CPUs and version of the engine's machine."""

    async def choose_transport(self, config: ContainerConfig) -> Transport:
        """SOCKET where the image supports it and a probe, made like a notebook, shows that one passes; else PORT.

        Raises `EngineError` where the probe could not tell: that says nothing about sockets.
        """

    async def prepare(self, config: ContainerConfig) -> tuple[Gap, ...]:
        """Make what such containers need before they start, and find out in one whether it keeps them apart.

        Called at each listing, and quick where nothing changed. Returns the protections that such a container lacks.
        `config.network` is the operator's own ("" = none was named): it has to exist.
        """

    async def start(self, spec: ContainerSpec) -> Address:
        """Create and start a container, durably marked STARTING. On any error nothing is left behind."""

    async def mark_ready(self, container_id: str) -> None:
        """Make READY durable, and take the container's write permission from its socket directory."""

    async def claim(self, container_id: str, unix_time: float) -> bool:
        """Make a READY container CLAIMED, with its time: of all who ask, True for one and False for the others.

        After True no crash can forget it; repeated by the same engine object with the same time it stays True. A
        refusal (`EngineError`) says that the container is READY still. Raises `NoSuchContainerError`,
        `EngineDownError`, and `ContainerHangsError` where nobody can tell whether the claim will be made.
        """

    async def list(self) -> list[Observed]:
        """Every container of this pool, running or not."""

    async def remove(self, container_id: str) -> None:
        """Kill and remove with volumes, socket directory included. Removing what is gone succeeds."""

    async def remove_pool(self) -> None:
        """Remove what the engine keeps for the pool beside its containers: networks, sockets, leftovers."""

    async def usage(self, container_id: str) -> Usage:
        """What a running container takes; for measuring, as it may be slow."""

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        """The last lines of output, raw (bounded in bytes). () where there are none."""

    def events(self) -> AsyncIterator[str]:
        """Ids of containers that died or went, for ever: it reconnects by itself.

        Yields "" once connected, and again after every reconnect: the listener must list, as events were missed.
        """
