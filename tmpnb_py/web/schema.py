"""What the API says and understands, as pydantic models. Times are UTC; durations are seconds."""

from __future__ import annotations

import datetime

import pydantic

from tmpnb_py.models import EndReason, State


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)


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


class AdminStatus(_Model):
    """What the admin listener tells of the pool."""

    stats: Stats
    failure: LastFailure | None
    sessions: tuple[AdminSession, ...]
