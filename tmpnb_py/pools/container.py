"""The record of one container: where it is in its lifecycle, how it is reached, and what its visitor did.

`Records` changes the state, the reconciler's parts keep what they know of the container here, and the proxy stamps
what the visitor does. Everything is synchronous.
"""

from __future__ import annotations

import asyncio
import dataclasses

from tmpnb_py.core import links
from tmpnb_py.core.models import EndReason, Exit, State
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.pools.activity import Familiar
from tmpnb_py.pools.idle import Evidence, Nudges


@dataclasses.dataclass(slots=True, eq=False)
class Container:
    """One record. Only `Pool` changes `state`; the proxy stamps what the visitor does.

    `created_at`, `changed_at` and the stamps are monotonic seconds; `changed_at` is the last transition.
    """

    id: str
    config_digest: str
    token: str
    created_at: float
    state: State = State.STARTING
    changed_at: float = 0.0
    ready_at: float | None = None
    claimed_at: float | None = None
    endpoint: Endpoint | None = None
    reason: EndReason | None = None
    visited: bool = False
    last_activity: float = 0.0
    last_presence: float = 0.0
    open_connections: int = 0
    left_at: float | None = None
    failed_questions: int = 0
    died: asyncio.Event | None = None  # set when the engine lists it as exited while its start is under way
    exit: Exit | None = None  # how it exited, as far as the engine has told
    removal_due_at: float = 0.0  # of one that is to be removed; infinite while that is under way, or must wait
    failed_removals: int = 0
    kernel_nudges: Nudges = dataclasses.field(default_factory=Nudges)
    terminal_nudges: Nudges = dataclasses.field(default_factory=Nudges)
    familiar: Familiar = dataclasses.field(default_factory=Familiar)
    unreachable_since: float | None = None  # of a session that the engine lists and that could not be dialled
    is_cut_off: bool = False  # because somebody has removed its socket's directory: nobody can ever dial it
    client: str = ""
    has_begun: bool = False  # a visitor was told of it
    quota_key: str = ""  # whose notebook it counts as, where their number is limited: no address, but made of one
    tokenless_origin: str = ""  # of the page that claimed it and need not show its token
    base_url: str = links.ROOT  # of the service when the container was started
    base_path: bytes = dataclasses.field(init=False)  # the container's own: `/user/<id>/` below that, raw

    def __post_init__(self) -> None:
        self.base_path = self.path.encode()

    @property
    def path(self) -> str:
        """The path below which visitors find its server."""
        return links.session(self.base_url, self.id)

    def dial(self, endpoint: Endpoint) -> None:
        """Reach it here from now on."""
        if self.endpoint is not None:
            self.endpoint.close()
        self.endpoint, self.unreachable_since, self.is_cut_off = endpoint, None, False

    def admit(self, origin: str) -> None:
        """Let pages of this origin in without the token: one of them has claimed the container."""
        self.tokenless_origin = origin

    def mark_unvisited(self) -> None:
        """Nobody can have visited it yet, although it was taken up as claimed: its visitor was never told of it."""
        self.visited = False

    def stamp_presence(self, now: float) -> None:
        """A request came, of whatever kind."""
        self.visited = True
        self.last_presence = now

    def stamp_activity(self, now: float) -> None:
        """The visitor did something."""
        self.last_activity = now

    def connection_opened(self, now: float) -> None:
        """A WebSocket of the visitor's was opened."""
        self.open_connections += 1
        self.stamp_presence(now)

    def connection_closed(self, now: float) -> None:
        """A WebSocket of the visitor's is gone."""
        self.open_connections -= 1
        self.left_at = now

    @property
    def evidence(self) -> Evidence:
        """What the proxy has seen of this session; meaningful once it is claimed."""
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
