"""What the API says and understands, as pydantic models. Times are UTC; durations are seconds."""

from __future__ import annotations

import datetime
from typing import Literal

import pydantic

from tmpnb_py.core.models import EndReason, State


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)


class Health(_Model):
    """That all is well."""

    status: Literal["ok", "ready"]


class SpawnRequest(_Model):
    """What `POST /api/spawn` may be told; anything else in the body is left alone."""

    path: str = ""


class Spawned(_Model):
    """A notebook of the caller's own. `open_url` carries the token, `url` does not."""

    id: str
    url: str
    open_url: str
    token: str
    expires_at: datetime.datetime | None


class TicketRequest(_Model):
    """What `POST /api/tickets` may be told: a document or a workshop; `fresh`: not the session that one has.

    `once`, 128 random bits in hex, names the wish: one that is sent twice is one, as long as its ticket is good for
    something. `key` is what our own pages carry that may speak of the session that their visitor has. `reload`:
    where there is such a session and the page has not its key, the page is rather told (409) to be loaded again than
    given another session. `end`, with `fresh` and `key`: the session that the visitor has is ended for it.
    """

    path: str = ""
    workshop: str = ""
    fresh: bool = False
    end: bool = False
    once: str = ""
    key: str = ""
    reload: bool = False


class TicketState(_Model):
    """A place in line, or what came of it. `estimate` is in seconds; `message` is in words for the visitor.

    `waiting` goes on; the others are for good. `closed`: the operator lets nobody in; `left`: it was given up;
    `ended`: there was a notebook, and is no more. `key` is what our own pages bring along to use the session again.
    """

    id: str
    status: Literal["waiting", "ready", "left", "ended"]
    position: int | None = None
    estimate: int | None = None
    session: Spawned | None = None
    key: str | None = None
    message: str


class BuildEvent(_Model):
    """One event of `GET /build/…`, in BinderHub's words. With `ready` come `url`, a slash at its end, and `token`."""

    phase: Literal["waiting", "launching", "ready", "failed"]
    message: str
    url: str | None = None
    token: str | None = None


class Problem(_Model):
    """Why something was not done. `cause` is a failure's public class."""

    status: str
    message: str
    cause: str | None = None
    reason: EndReason | None = None
    retry_after: int | None = None


class Session(_Model):
    """A session as its visitor may see it. Null where no limit applies.

    `expires_at`: when it ends if nothing happens any more. `ends_at`: when it ends whatever happens.
    `idle_timeout`: after so many seconds without activity, while a client is connected; a busy kernel is activity.
    `message`: how it ended, for people. `now`: when this was said, by the same clock.
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
    """The first four are tmpnb's own; `available` are ready now, `capacity` is the most there may be."""

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
    """The pool as the operator steers it. `size` are kept ready; while `closed`, no newcomers are let in."""

    size: int
    max_containers: int
    ready: int
    starting: int
    claimed: int
    removing: int
    waiting: int
    closed: bool


class PoolSize(_Model):
    """What `PATCH /api/pool` is told."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int = pydantic.Field(ge=0, le=100_000)


class Drained(_Model):
    """How many ready containers were given up; new ones take their place."""

    drained: int


class Start(_Model):
    """A container that became ready: when, and after how many seconds."""

    at: datetime.datetime
    seconds: float


class AdminStatus(_Model):
    """What the admin listener tells of the pool. `waiting_seconds` has one entry for each visitor in line."""

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
