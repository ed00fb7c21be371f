"""What the rest of the program asks of an engine. Called by the reconciler, the claims and the command line.

All methods may run concurrently. Every method returns or raises within a bounded time; what it raises is an
`EngineError` of `tmpnb_py.errors` (`EngineDownError` when nothing answers, `NoSuchContainerError` for an id that
the engine does not have). An engine sees only the containers of its own project and pool; it never lists or
touches another's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from tmpnb_py.models import (
    Address,
    ContainerConfig,
    ContainerSpec,
    EngineInfo,
    Gap,
    ImageFacts,
    Observed,
    Transport,
)


class Engine(Protocol):
    """Starts, marks, lists and removes the containers of one pool."""

    name: str

    async def open(self) -> None:
        """Connect and see that the engine answers; may be called again after a failure."""

    async def close(self) -> None:
        """Give back every connection and temporary thing. Containers stay."""

    async def info(self) -> EngineInfo:
        """Memory, CPUs and version of the engine's machine."""

    async def image(self, image: str) -> ImageFacts:
        """What the image is. Raises `ImageMissingError` with a remedy when the engine does not have it."""

    async def read_image(self, image: ImageFacts, paths: Sequence[str], *, limit: int = ...) -> dict[str, bytes]:
        """The regular files at and below absolute `paths` in the image, by path, without running it.

        What is not there is left out, links too. Raises `TooLargeError` where there is more than `limit` bytes.
        """

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

    async def mark_claimed(self, container_id: str, unix_time: float) -> None:
        """Make CLAIMED durable, with its time; after this returns, no crash can forget it."""

    async def list(self) -> list[Observed]:
        """Every container of this pool, running or not."""

    async def remove(self, container_id: str) -> None:
        """Kill and remove with volumes, socket directory included. Removing what is gone succeeds."""

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        """The last lines of output, raw (bounded in bytes). () where there are none."""

    def events(self) -> AsyncIterator[str]:
        """Ids of containers that died or went, for ever: it reconnects by itself.

        Yields "" once connected, and again after every reconnect: the listener must list, as events were missed.
        """
