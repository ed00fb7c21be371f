"""What the API says and understands, as pydantic models. Times are UTC; durations are seconds."""

from __future__ import annotations

import datetime
from typing import Literal

import pydantic

from tmpnb_py.models import EndReason, State


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


class Problem(_Model):
    """Why something was not done. `cause` is a failure's public class."""

    status: str
    message: str
    cause: str | None = None
    reason: EndReason | None = None
    retry_after: int | None = None


class Session(_Model):
    """A session as its visitor may see it."""

    id: str
    state: State
    started: datetime.datetime | None = None
    last_activity: datetime.datetime | None = None
    expires_at: datetime.datetime | None = None
    reason: EndReason | None = None


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
