"""The engine protocol. It is complete, so that no caller needs to know which engine it has.

All methods may run concurrently. Every method returns or raises within a bounded time, and raises only an
`EngineError` of `tmpnb_py.core.errors` (`EngineDownError` when nothing answers, `NoSuchContainerError` for an id
that the engine does not have). An engine sees only the containers of its own project and pool; it never lists or
touches others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import IO, Protocol

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

MOST_MEASURED = 100  # containers whose CPU time is asked for at once


class WebDoors(Protocol):
    """The web proxy's sockets, one for each notebook whose egress is `Egress.WEB`. Raises nothing, but logs."""

    def open(self, container_id: str, directory: str) -> None:
        """Listen in a notebook's directory on this machine (`web_socket`). Idempotent; repairs what is not so."""

    def close(self, container_id: str) -> None:
        """The notebook is gone. No-op for one that is unknown."""

    def shut_out(self, addresses: Collection[str]) -> None:
        """Let no notebook reach these addresses, which are the engine's machine's, in place of those told before."""


class ImageStore(Protocol):
    """An engine's images. An engine without images (`no_images`) refuses to change or move them."""

    async def image(self, image: str) -> ImageFacts:
        """Describe an image. Raises `ImageMissingError` with a remedy when the engine does not have it."""

    async def image_exists(self, image: str) -> bool:
        """Whether the engine has the image."""

    async def image_size(self, image: ImageFacts) -> int:
        """Bytes on disk, including layers shared with other images; 0 if unknown."""

    async def read_image(self, image: ImageFacts, paths: Sequence[str], *, limit: int = ...) -> dict[str, bytes]:
        """Read the regular files at and below absolute `paths` of an image, without running it. Returns them by path.

        Skips links and missing paths. Raises `TooLargeError` for more than `limit` bytes.
        """

    def pull_image(self, image: str) -> AsyncGenerator[str, None]:
        """Pull, yielding progress. Raises `ImageMissingError`."""

    async def import_image(self, stream: AsyncIterator[bytes], repository: str, tag: str) -> None:
        """Create an image from a tar archive of a root file system."""

    async def has_buildkit(self) -> bool:
        """Whether the engine can build with BuildKit."""

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
        """Load an archive that `save_image` wrote, yielding the engine's messages."""

    def save_image(self, image: str) -> AsyncGenerator[bytes, None]:
        """Stream the image with its layers as a tar archive."""

    async def tag_image(self, image: str, tag: str) -> None:
        """Give the image another name."""


class Engine(ImageStore, Protocol):
    """Starts, marks, lists and removes the containers of one pool.

    `stores_images`: the engine builds, loads and saves images. `sees_isolation`: `prepare` checks the isolation from
    inside a container, so "no gaps" was observed and not assumed. `shares_network`: notebooks use this machine's
    network, whatever their configuration says.
    """

    name: str
    shares_network: bool
    stores_images: bool
    sees_isolation: bool

    @property
    def term(self) -> int:
        """A number that grows from each manager of the pool to the next; 0 where no two can believe to be it."""

    def serve_web(self, doors: WebDoors) -> None:
        """Have `doors` opened for each notebook whose egress is the web. Called once, before `open`."""

    async def open(self) -> None:
        """Connect and check that the engine answers. May be called again after a failure."""

    async def close(self) -> None:
        """Release all connections, temporary resources and the hold. Containers stay."""

    async def hold(self, image: str, on_lost: Callable[[], None]) -> None:
        """Become the pool's only manager, on any machine, until `close` or until this process ends in any way.

        Call it before each listing; no-op while held. The engine may use `image` to implement the hold, and calls
        `on_lost` if the hold is lost. Raises `PoolLockedError` if another manager has it. An engine that cannot
        tell does not refuse.
        """

    async def release(self) -> None:
        """Let the process that follows this one have the pool at once, or any. A later `hold` competes for it again.

        Connections stay.
        """

    async def info(self) -> EngineInfo:
        """Return memory, CPUs and version of the engine's machine."""

    async def choose_transport(self, config: ContainerConfig) -> Transport:
        """SOCKET if the image supports it and a probe made like a notebook can be reached that way; else PORT.

        Raises `EngineError` if the probe was inconclusive: that says nothing about sockets.
        """

    async def prepare(self, config: ContainerConfig) -> tuple[Gap, ...]:
        """Create what such containers need before they start, and check their isolation from inside one.

        Called at each listing; fast if nothing changed. Returns the protections that such a container lacks.
        `config.network` names a network of the operator's ("" for none), which must exist.
        """

    async def start(self, spec: ContainerSpec) -> Address:
        """Create and start a container, durably marked STARTING. Leaves nothing behind on any error."""

    async def mark_ready(self, container_id: str) -> None:
        """Make READY durable, and revoke the container's write permission on its socket directory."""

    async def claim(self, container_id: str, unix_time: float) -> bool:
        """Mark a READY container CLAIMED at this time. Returns True to exactly one caller and False to all others.

        True is durable: it survives any crash. Idempotent for the same engine object and time. A refusal
        (`EngineError`) means that the container is still READY. Raises `NoSuchContainerError`, `EngineDownError`,
        and `ContainerHangsError` if the outcome is unknown.
        """

    async def list(self) -> list[Observed]:
        """List every container of this pool, running or not."""

    async def remove(self, container_id: str) -> None:
        """Kill and remove a container, its volumes and its socket directory. Succeeds if it is already gone."""

    async def remove_pool(self) -> None:
        """Remove everything else that the engine keeps for the pool: networks, sockets, leftovers."""

    async def nodes(self) -> tuple[NodeStatus, ...]:
        """The machines of a cluster by name, as far as they are known now; () for an engine of one machine."""

    async def pause_node(self, node: str, *, paused: bool) -> NodeStatus:
        """Have a node, by its name or id, take no new containers, or take them again. Those that run go on.

        Containers that Swarm had placed there before are among its `notebooks`. Idempotent. Raises `EngineError` with
        a remedy for a node that there is not.
        """

    async def push_image(self, image: str, report: Callable[[NodeTransfer], None]) -> tuple[NodeTransfer, ...]:
        """Bring an image to every node that lacks it, and report on the way. Returns how it ended for each.

        What a node has received stays: another call goes on there. An image whose name begins with a registry's host
        is pulled by each node, and what the registry has under the name now is the pool's from then on. Raises
        `EngineError` where nothing can be sent.
        """

    async def prune_images(self, image: str) -> tuple[NodePruned, ...]:
        """Remove from every node what `push_image` brought there and nobody uses any more, but `image`."""

    async def usage(self, container_id: str) -> Usage:
        """Measure what a running container uses. May be slow."""

    async def cpu_seconds(self, container_ids: Sequence[str]) -> Mapping[str, float]:
        """CPU seconds so far of running containers, at most `MOST_MEASURED` of them; without those that hide it.

        A figure includes processes that have ended, as far as the engine counts them. Costs the engine little.
        """

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        """Return the last lines of output, raw and bounded in bytes; () if there are none."""

    def events(self) -> AsyncIterator[str]:
        """Yield ids of containers that died or disappeared, for ever: it reconnects by itself.

        Yields "" once connected and after every reconnect: events may have been missed, so the listener must list.
        """
