"""The API's requests and responses as pydantic models. Times are UTC; durations are seconds."""

from __future__ import annotations

import datetime
from typing import Literal

import pydantic

from tmpnb_py.core.models import EndReason, NodeState, Protection, State


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)


class Health(_Model):
    """The answer of a health check that passes."""

    status: Literal["ok", "ready"]


class SpawnRequest(_Model):
    """The body of `POST /api/spawn`. Other fields are ignored."""

    path: str = ""


class Spawned(_Model):
    """A notebook that is the caller's own. `open_url` contains the token, `url` does not.

    `session_url` is the whole URL of the notebook's own host, for browsers; null where it has none.
    """

    id: str
    url: str
    session_url: str | None = None
    open_url: str
    token: str
    expires_at: datetime.datetime | None


class TicketRequest(_Model):
    """The body of `POST /api/tickets`: a document (`path`) or a `workshop` to open.

    `fresh` asks for a new notebook even if the visitor has a session. `once`, 128 random bits in hex, is an
    idempotency key: the same key gets the same ticket, as long as that has not ended. `key` is carried by our own
    pages that may use their visitor's session. `reload`: if the visitor has a session and the page does not carry its
    key, answer 409 (load the page again) rather than open another one. `end`, with `fresh` and `key`, ends the
    visitor's session.
    """

    path: str = ""
    workshop: str = ""
    fresh: bool = False
    end: bool = False
    once: str = ""
    key: str = ""
    reload: bool = False


class TicketState(_Model):
    """A place in line, or what became of it. `estimate` is in seconds; `message` is for the visitor.

    `waiting` goes on, the other statuses are final. `left`: the place was given up; `ended`: there was a notebook,
    and it has ended. `key` is what our own pages carry to use the session again.
    """

    id: str
    status: Literal["waiting", "ready", "left", "ended"]
    position: int | None = None
    estimate: int | None = None
    session: Spawned | None = None
    key: str | None = None
    message: str


class BuildEvent(_Model):
    """One event of `GET /build/…`, in BinderHub's terms. `ready` has a `url`, which ends in a slash, and a token."""

    phase: Literal["waiting", "launching", "ready", "failed"]
    message: str
    url: str | None = None
    token: str | None = None


class Problem(_Model):
    """Why a request failed. `cause` is a failure's public class."""

    status: str
    message: str
    cause: str | None = None
    reason: EndReason | None = None
    retry_after: int | None = None


class Session(_Model):
    """A session as its visitor sees it. Fields are null where no limit applies.

    `expires_at`: when it ends if nothing happens from now on. `ends_at`: when it ends at the latest. `idle_timeout`:
    seconds without activity after which it ends while a client is connected; a busy kernel is activity. `message`:
    how it ended, for people. `now`: the time of this answer, by the same clock.
    """

    id: str
    state: State
    now: datetime.datetime | None = None
    started: datetime.datetime | None = None
    last_activity: datetime.datetime | None = None
    expires_at: datetime.datetime | None = None
    ends_at: datetime.datetime | None = None
    idle_timeout: float | None = None
    reason: EndReason | None = None
    message: str | None = None


class Stats(_Model):
    """The first four are tmpnb's own. `available` are ready now; `capacity` is the maximum in all."""

    available: int
    capacity: int
    version: str
    container_image: str
    pool_size: int
    starting: int
    claimed: int
    removing: int
    waiting: int
    cause: str | None


class LastFailure(_Model):
    """The last failed start, for the operator only."""

    cause: str
    message: str
    at: datetime.datetime
    log_lines: tuple[str, ...]


class AdminSession(Session):
    """A session as the operator sees it."""

    visited: bool = False
    open_connections: int = 0


class AdminSessions(_Model):
    """The running sessions, the oldest first."""

    sessions: tuple[AdminSession, ...]


class PoolStatus(_Model):
    """The pool as the operator controls it. `size` are kept ready; while `closed`, no newcomers are let in."""

    size: int
    max_containers: int
    ready: int
    starting: int
    claimed: int
    removing: int
    waiting: int
    closed: bool


class PoolSize(_Model):
    """The body of `PATCH /api/pool`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int = pydantic.Field(ge=0, le=100_000)


class Drained(_Model):
    """How many ready containers are being replaced."""

    drained: int


class AdminNode(_Model):
    """A machine of the cluster. `ready`, `claimed`, `starting` and `removing` count this pool's notebooks there.

    `relay` says whether its relay answers, `image` whether it has the pool's image (null: it was not asked),
    `pulling` how far it is with pulling it from a registry, `image_error` why it cannot ("" where that is not so).
    `missing` is what its containers lack of what keeps them apart, as seen from inside one (null: nobody has looked).
    """

    id: str
    name: str
    state: NodeState
    relay: bool
    image: bool | None
    pulling: str
    image_error: str
    memory_bytes: int
    reserved_bytes: int
    cpus: int
    ready: int
    claimed: int
    starting: int
    removing: int
    missing: tuple[Protection, ...] | None = None


class AdminNodes(_Model):
    """The machines of the cluster by name; none where the engine has one machine."""

    nodes: tuple[AdminNode, ...]


class Start(_Model):
    """A container that became ready: when, and how many seconds that took."""

    at: datetime.datetime
    seconds: float


class Upgraded(_Model):
    """A new process serves in the place of the one that was asked: its process id."""

    pid: int


class AdminPredecessor(_Model):
    """The process of before the last upgrade, as long as it serves what was open then."""

    pid: int
    version: str
    since: datetime.datetime
    connections: int
    websockets: int


class AdminStatus(_Model):
    """The pool in full, for the operator. `waiting_seconds` has one entry for each visitor in line.

    `pid` is the process that serves.
    """

    name: str
    up_since: datetime.datetime
    pool: PoolStatus
    stats: Stats
    engine_up: bool
    failure: LastFailure | None
    failures: tuple[LastFailure, ...]
    starts: tuple[Start, ...]
    waiting_seconds: tuple[float, ...]
    sessions: tuple[AdminSession, ...]
    nodes: tuple[AdminNode, ...] = ()
    pid: int = 0
    predecessor: AdminPredecessor | None = None
