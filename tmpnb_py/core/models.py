"""The values that everything else passes around. Pure: no event loop, no clock, no library of an engine.

Times called `…_at` are seconds on the monotonic clock unless the name says `unix`.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tmpnb_py.core import links
from tmpnb_py.core.errors import FailureClass
from tmpnb_py.core.warm import WarmKernel


class State(enum.StrEnum):
    """A container's one lifecycle: STARTING -> READY -> CLAIMED -> REMOVING (a shortcut to REMOVING from each)."""

    STARTING = "starting"
    READY = "ready"
    CLAIMED = "claimed"
    REMOVING = "removing"


class Refusal(enum.StrEnum):
    """Why a visitor's connection is closed at once."""

    TOO_MANY = "too many"
    ONE_ADDRESS = "one address"
    SHUTTING_DOWN = "shutting down"


class EndReason(enum.StrEnum):
    """Why a container is removed. The first group is what a visitor may be told of a session."""

    IDLE = "idle"
    UNVISITED = "never opened"
    TOO_OLD = "time up"
    TOO_BUSY = "busy too long"
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"
    UNREACHABLE = "out of reach"
    ENGINE_RESTARTED = "server restarted"
    ENDED_BY_OWNER = "ended by its owner"
    ENDED_BY_OPERATOR = "ended by the operator"
    NODE_DRAINED = "node drained"
    NODE_LOST = "node lost"

    START_FAILED = "start failed"
    CLAIM_FAILED = "claim failed"
    HALF_STARTED = "half started"
    RENEWED = "renewed"
    OUTDATED = "older configuration"
    SURPLUS = "surplus"
    DRAINED = "drained"
    SHUTDOWN = "shutdown"


class Transport(enum.StrEnum):
    """How the proxy reaches a notebook server.

    A socket in a directory that both sides see; a port published on the host; the container's own address on a
    network that the operator named; a port of the host, whose network the container shares.
    """

    SOCKET = "socket"
    PORT = "port"
    ADDRESS = "address"
    HOST = "host"


CA_BUNDLE = "/run/tmpnb-ca.pem"  # where notebooks find the certificate authorities that the operator gives them


class Egress(enum.StrEnum):
    """What a notebook may reach."""

    NONE = "none"
    WEB = "web"
    INTERNET = "internet"


class Protection(enum.StrEnum):
    """What keeps visitors apart and the host safe, by the name under which an operator may go without it."""

    NETWORK = "network"
    PRIVILEGES = "privileges"
    SECCOMP = "seccomp"
    MEMORY = "memory"
    PROCESSES = "processes"
    DISK = "disk"
    VERIFICATION = "verification"


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """A protection that the engine does not give: what is so, and what to do about it.

    `protection` is None for what nobody's safety depends on, such as a share of the CPU.
    """

    protection: Protection | None
    text: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class SocketAddress:
    """A Unix socket called `name` in a directory that belongs to one container. Its content is hostile."""

    directory: str
    name: str = "server.sock"


@dataclasses.dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port that only the orchestrator's host reaches."""

    host: str
    port: int


@dataclasses.dataclass(frozen=True, slots=True)
class RelayedAddress:
    """A notebook on a node of a swarm, whose relay puts connections through.

    `dial` makes one with a protocol of a factory, as `asyncio`'s `create_connection` does, and raises `OSError`.
    """

    node: str
    id: str
    dial: Callable[[Callable[[], Any]], Awaitable[Any]] = dataclasses.field(compare=False, repr=False)


Address = SocketAddress | TcpAddress | RelayedAddress


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image is and what it says of itself in its labels.

    `home` is the directory that the image's entrypoint fills when it finds it empty ("" = it does not seed);
    `workshops` is the place of the workshops' manifest inside the image ("" = none); `static` are the directories of
    files that are the same for every visitor, each after the path that it has below a notebook's base path;
    `interfaces` are what links may open beside Jupyter's own, each by the first part of its path; `restores` says
    that notebooks take archives of a visitor's files (`POST tmpnb/restore` below their base path). `users` are the
    first and last of the users that it has names for and runs as; None = it does not say. `warm` are the kernels that
    its server can start before a visitor comes.
    """

    image: str
    image_id: str
    supports_socket: bool = False
    supports_read_only: bool = False
    home: str = ""
    workshops: str = ""
    static: tuple[tuple[str, str], ...] = ()
    interfaces: tuple[str, ...] = ()
    restores: bool = False
    users: tuple[int, int] | None = None
    warm: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the engine's host that every notebook sees."""

    source: str
    target: str
    read_only: bool = False

    def __str__(self) -> str:
        return f"{self.source}:{self.target}:{'ro' if self.read_only else 'rw'}"


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerConfig:
    """All that makes two containers of a pool exchangeable; its hash tells the old ones from the new.

    `cpu_quota` is in microseconds of CPU per 100 ms (50000 = half a CPU; 0 = no limit); sizes are in bytes;
    `home_size` bounds the home directory where the image seeds it, `tmp_size` and `shm_size` bound `/tmp` (where the
    root is read-only) and `/dev/shm`. `command` still has its placeholders.
    `network` is the operator's choice: a network's name, "host", or "" for what transport and egress need.
    `egress_allow` are networks that may be reached beside the public internet, where egress lets that be reached.
    With `Egress.WEB` that is for the web proxy to know: such containers have no network.
    `container_ip` is where ports are published, or what the server listens on in the host's network;
    `container_port` the port that it listens on, or the first that is tried in the host's network.
    `runtime` is the engine's runtime that they run with ("" for its default).
    `users`: so many users, counted up from the number in `user`, share the notebooks out among them.
    `static_url` is where all notebooks of the image find its static files ("" = each serves its own); `base_url` is
    the path of the service on its host. `warm` are the kernels that are started before a visitor comes.
    """

    image: ImageFacts
    command: str
    transport: Transport
    egress: Egress
    mem_limit: int
    cpu_quota: int
    pids_limit: int
    home_size: int
    tmp_size: int
    shm_size: int
    use_tokens: bool = True
    container_port: int = 8888
    container_ip: str = "127.0.0.1"
    user: str = "1000"
    network: str = ""
    cpu_shares: int = 0
    mounts: tuple[Mount, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    static_url: str = ""
    base_url: str = links.ROOT
    egress_allow: tuple[str, ...] = ()
    runtime: str = ""
    users: int = 1
    warm: tuple[WarmKernel, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether notebooks may reach whatever the engine's machine reaches, itself included."""
        return self.egress is Egress.INTERNET and {"0.0.0.0/0", "::/0"} <= set(self.egress_allow)

    @property
    def told_egress(self) -> str:
        """The network access that notebooks announce to their users; "" where the operator's own network decides."""
        return "" if self.network else self.egress.value

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with anything in the configuration, the image's id included."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container to be started. `token` is "" where the server demands none; `session_name`: see `host_names`."""

    id: str
    token: str
    config: ContainerConfig
    session_name: str = ""

    @property
    def user(self) -> str:
        """Who runs it: always the same for one id, and most likely nobody else's.

        Linux counts some things per user, in all containers together (inotify, message queues, pending signals, pages
        of pipes, descriptors under way): who takes them all takes them from notebooks of the same user only.
        """
        name, _, group = self.config.user.partition(":")
        if self.config.users == 1:
            return self.config.user
        draw = int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:8], "big")
        return f"{int(name) + draw % self.config.users}:{group or name}"

    @property
    def base_path(self) -> str:
        """The path below which the notebook server lives, with both slashes."""
        return links.session(self.config.base_url, self.id)


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended: its exit status, and whether the kernel killed it for its memory.

    `reason` is set where the engine knows more than that it ended.
    """

    status: int
    out_of_memory: bool = False
    reason: EndReason | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """The end of a container: why, when it was decided, and when the engine confirmed it (None: not yet)."""

    reason: EndReason
    at: float
    gone_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Observed:
    """One container of this pool as the engine lists it.

    `state` is what was made durable: STARTING, READY or CLAIMED; whatever can't be decided is CLAIMED. When it was
    claimed is told by the wall clock, and by `claimed_stamp` (`tmpnb_py.core.boot_clock`), "" where there is none.
    `exit` is None while the container runs. `address` is None where it cannot be reached (not running).
    `session_name` is "" for one that an earlier version started.
    """

    id: str
    state: State
    config_digest: str
    token: str
    created_unix: float
    claimed_unix: float | None
    exit: Exit | None
    address: Address | None
    claimed_stamp: str = ""
    base_url: str = links.ROOT
    session_name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Memory (bytes, without the page cache that could be given up), CPU seconds so far, bytes written to disk."""

    memory: int
    cpu_seconds: float
    disk: int


@dataclasses.dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine's machine has: memory in bytes, CPUs, and the engine's version.

    `ahead` are the seconds that its clock is ahead of ours. `data_root` is its directory there, "" if it tells none.
    `shortcomings` are what it says of its kernel and its options, in its own words; `confinement` what it has for
    containers (seccomp, AppArmor, SELinux). `forwards`: whether its kernel forwards IPv4.
    """

    name: str
    version: str
    memory: int
    cpus: int
    ahead: float = 0.0
    data_root: str = ""
    shortcomings: tuple[str, ...] = ()
    confinement: tuple[str, ...] = ()
    forwards: bool = True


class NodeState(enum.StrEnum):
    """What a node of a cluster does: take notebooks, take no new ones, end those it has, or not answer."""

    ACTIVE = "active"
    PAUSED = "paused"
    DRAINING = "draining"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class NodeStatus:
    """A machine of a cluster at one moment. `has_image`: whether it has the pool's image; None if it was not asked.

    `memory` is what it has and `reserved` what this pool's notebooks reserve of it, in bytes. `lacks` are protections
    that containers there lack, as seen from inside one; None if nobody has looked. `trouble` is why it has no relay,
    or what was seen in words; `remedy` what to do. `manager` is None for a worker, else whether others hear of it.
    `pulling` says how far the node is with an image of a registry, "" where it is not pulling, and `image_error` why
    it cannot pull it.
    """

    id: str
    name: str
    state: NodeState
    has_relay: bool
    has_image: bool | None
    memory: int
    reserved: int
    cpus: int
    notebooks: frozenset[str] = frozenset()
    lacks: tuple[Protection, ...] | None = None
    manager: bool | None = None
    trouble: str = ""
    remedy: str = ""
    pulling: str = ""
    image_error: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class NodeTransfer:
    """How far an image is on its way to a node: it has `layers` of so many; `sent` and `size` are bytes.

    `is_pulled`: the node gets it from a registry, and nobody sends it. `error` is what has ended it.
    """

    node: str
    layers: int
    of: int
    sent: int
    size: int
    done: bool = False
    error: str = ""
    is_pulled: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class NodePruned:
    """Images that were removed from a node, and those that were left there because a container uses them."""

    node: str
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    error: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """The last failed start: its public class, the operator's message and the container's last log lines."""

    kind: FailureClass
    message: str
    at: float
    log_lines: tuple[str, ...] = ()
