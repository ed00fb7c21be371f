"""The record of one container: its state, the way to it, what its visitor did, and what was found out about it.

`Records` changes the state, the other parts of the pool keep here what they know of the container, and the proxy
stamps what the visitor does. Outside of `pools/` nobody sets a field. Everything is synchronous.
"""

from __future__ import annotations

import asyncio
import dataclasses

from tmpnb_py.core import links
from tmpnb_py.core.models import EndReason, Exit, State
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.pools.activity import Familiar
from tmpnb_py.pools.busy import CpuUse
from tmpnb_py.pools.idle import Evidence, Nudges
from tmpnb_py.tracing.spans import NO_SPAN, Span
from tmpnb_py.tracing.visits import Visit


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """What is known of a session only here, for the process that follows this one. Moments as in `Container`."""

    visited: bool
    has_begun: bool
    client: str
    quota_key: str
    tokenless_origin: str
    last_activity: float
    last_presence: float
    left_at: float | None
    kernel_nudges: tuple[float, ...]
    terminal_nudges: tuple[float, ...]
    visit: Visit | None = None


@dataclasses.dataclass(slots=True, eq=False)
class Container:
    """One container. Moments (`…_at`, `last_…`) are monotonic seconds; `changed_at` is the last transition.

    `visited`: a request for it has been seen, or may have been before a restart. `client` is the visitor's address,
    where the operator wants it logged.
    """

    id: str
    config_digest: str
    token: str
    created_at: float
    state: State = State.STARTING
    changed_at: float = 0.0
    ready_at: float | None = None  # None also for one that was taken up: nobody saw when
    claimed_at: float | None = None
    endpoint: Endpoint | None = None
    reason: EndReason | None = None
    visited: bool = False
    last_activity: float = 0.0
    last_presence: float = 0.0
    open_connections: int = 0
    left_at: float | None = None
    failed_questions: int = 0
    answers: bool = False  # its server did while it was starting
    died: asyncio.Event | None = None  # set if the engine lists it as exited while it starts
    exit: Exit | None = None  # as the engine last listed it
    removal_due_at: float = 0.0  # of one that is REMOVING; infinite while its removal is under way or must wait
    failed_removals: int = 0
    kernel_nudges: Nudges = dataclasses.field(default_factory=Nudges)
    terminal_nudges: Nudges = dataclasses.field(default_factory=Nudges)
    familiar: Familiar = dataclasses.field(default_factory=Familiar)
    cpu: CpuUse = dataclasses.field(default_factory=CpuUse)  # of a session
    unreachable_since: float | None = None  # of a session that the engine lists but that cannot be dialled
    is_cut_off: bool = False  # its socket's directory was removed, so it can never be dialled again
    client: str = ""
    has_begun: bool = False  # a visitor was told its URL
    quota_key: str = ""  # whom it counts for, where notebooks per address are limited (`core.quota_keys`)
    tokenless_origin: str = ""  # pages of this origin need not show the token
    base_url: str = links.ROOT  # of the service when the container was started
    warm: frozenset[str] = frozenset()  # kernels that were ready in it before a visitor came
    session_name: str = ""  # what its own host is called by (`core.host_names`)
    start_span: Span = NO_SPAN  # of its start, where that is traced
    visit: Visit | None = None  # where the session's beginning is traced
    base_path: bytes = dataclasses.field(init=False)  # the container's own: `/user/<id>/` below that, raw

    def __post_init__(self) -> None:
        self.base_path = self.path.encode()

    @property
    def path(self) -> str:
        """The path below which its notebook server is reached: `/user/<id>/` below the service's base."""
        return links.session(self.base_url, self.id)

    def dial(self, endpoint: Endpoint) -> None:
        """Reach it by this endpoint from now on."""
        if self.endpoint is not None:
            self.endpoint.close()
        self.endpoint, self.unreachable_since, self.is_cut_off = endpoint, None, False

    def admit(self, origin: str) -> None:
        """Let pages of this origin in without the token; one of them has claimed the container."""
        self.tokenless_origin = origin

    def trace(self, visit: Visit | None) -> None:
        """Trace the beginning of its session, or not."""
        self.visit = visit

    def mark_unvisited(self) -> None:
        """Note that nobody can have visited it: it was taken up as claimed, but nobody was told its URL."""
        self.visited = False

    @property
    def memory(self) -> Memory:
        """What would be lost if another process took the session up."""
        return Memory(
            visited=self.visited,
            has_begun=self.has_begun,
            client=self.client,
            quota_key=self.quota_key,
            tokenless_origin=self.tokenless_origin,
            last_activity=self.last_activity,
            last_presence=self.last_presence,
            left_at=self.left_at,
            kernel_nudges=self.kernel_nudges.moments,
            terminal_nudges=self.terminal_nudges.moments,
            visit=self.visit,
        )

    def remember(self, memory: Memory, now: float) -> None:
        """Take on what the process before this one knew. Nothing can have happened later than `now`."""
        self.visited, self.has_begun, self.client = memory.visited, memory.has_begun, memory.client
        self.quota_key, self.tokenless_origin = memory.quota_key, memory.tokenless_origin
        self.last_activity = min(memory.last_activity, now)
        self.last_presence = min(memory.last_presence, now)
        self.left_at = None if memory.left_at is None else min(memory.left_at, now)
        self.visit = memory.visit
        for nudges, moments in (
            (self.kernel_nudges, memory.kernel_nudges),
            (self.terminal_nudges, memory.terminal_nudges),
        ):
            for moment in moments:
                nudges.add(min(moment, now))

    def stamp_presence(self, now: float) -> None:
        """A request of any kind came."""
        self.visited = True
        self.last_presence = now

    def stamp_activity(self, now: float) -> None:
        """The visitor did something."""
        self.last_activity = now

    def connection_opened(self, now: float) -> None:
        """The visitor opened a WebSocket."""
        self.open_connections += 1
        self.stamp_presence(now)

    def connection_closed(self, now: float) -> None:
        """A WebSocket of the visitor was closed."""
        self.open_connections -= 1
        self.left_at = now

    @property
    def evidence(self) -> Evidence:
        """What the proxy has seen of this session, for the idle rules; only meaningful once it is claimed."""
        claimed_at = self.claimed_at if self.claimed_at is not None else self.created_at
        return Evidence(
            claimed_at=claimed_at,
            visited=self.visited,
            last_activity=max(self.last_activity, claimed_at),
            last_presence=max(self.last_presence, claimed_at),
            open_connections=self.open_connections,
            left_at=self.left_at,
            kernel_nudges=self.kernel_nudges.moments,
            terminal_nudges=self.terminal_nudges.moments,
        )
