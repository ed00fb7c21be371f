"""The API's requests and responses as pydantic models. Times are UTC; durations are seconds."""

from __future__ import annotations

import datetime
from typing import Literal

import pydantic

from tmpnb_py.core.models import EndReason, NodeState, Protection, State


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)


class _Strict(_Model):
    """What an operator sends: a slip is told, rather than ignored."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class Health(_Model):
    """The answer of a health check that passes."""

    status: Literal["ok", "ready"]


class SpawnRequest(_Model):
    """The body of `POST /api/spawn`. Other fields are ignored. `pool` names one of several pools."""

    path: str = ""
    pool: str = ""


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
    """The body of `POST /api/tickets`: a document (`path`) or a `workshop` to open, in a `pool` of several.

    `fresh` asks for a new notebook even if the visitor has a session. `once`, 128 random bits in hex, is an
    idempotency key: the same key gets the same ticket, as long as that has not ended. `key` is carried by our own
    pages that may use their visitor's session. `reload`: if the visitor has a session and the page does not carry its
    key, answer 409 (load the page again) rather than open another one. `end`, with `fresh` and `key`, ends the
    visitor's session. `class_key` is what a class's link ends in: the notebook is one of that class's.
    """

    path: str = ""
    workshop: str = ""
    pool: str = ""
    fresh: bool = False
    end: bool = False
    once: str = ""
    key: str = ""
    reload: bool = False
    class_key: str = ""


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


class Told(_Model):
    """A message to the people at notebooks: plain text. `source` says who wrote it."""

    id: str
    text: str
    source: Literal["operator", "teacher"]
    at: datetime.datetime


class SessionMessages(_Model):
    """What is shown at a notebook now, the newest last."""

    messages: tuple[Told, ...]


class ClassState(_Model):
    """A class as its teacher sees it: numbers, and nothing of who is who. `came` counts notebooks got by the link.

    `working` have theirs open, `waiting` are in line. `left` is what is left of the reserve. `shut_out`: the operator
    has closed the service to classes, too, so the link opens nothing now.
    """

    state: Literal["planned", "on", "over"]
    begins: datetime.datetime
    ends: datetime.datetime
    when: str
    people: int
    came: int
    working: int
    waiting: int
    left: int
    shut_out: bool = False
    messages: tuple[Told, ...]


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
    """A session as the operator sees it.

    `cpu_ratio` is its CPU time over `busy_window` as a share of what it may use; null where that is not known.
    `busy`: it is one of the busiest.
    """

    visited: bool = False
    open_connections: int = 0
    cpu_seconds: float | None = None
    cpu_ratio: float | None = None
    busy: bool = False
    pool: str = ""


class AdminSessions(_Model):
    """The running sessions, the oldest first."""

    sessions: tuple[AdminSession, ...]


class TimetableEntry(_Model):
    """A time of the timetable on one day: `on`, `preparing` (its notebooks are being started ahead) or `next`."""

    state: Literal["on", "preparing", "next"]
    begins: datetime.datetime
    ends: datetime.datetime
    pool_size: int
    text: str
    pool: str


class WarmKernels(_Model):
    """A kernel that is started before visitors come, with the packages that are loaded in it.

    `ready` ready notebooks have it ready. `problem` is why it last failed, null where it works.
    """

    kernel: str
    packages: tuple[str, ...]
    ready: int
    problem: str | None
    pool: str


class PoolStatus(_Model):
    """The pool, or several together, as the operator controls them. `size` are kept ready, `max_containers` is what
    there may be at present; while `closed`, no newcomers are let in, but for those of classes that are on. They are
    not either while `closed_to_classes`.

    `base` is the size that holds at any time, `because` why it is what it is where `pool_size` is auto. `timetable`
    has what is on and what comes next. While `shut_by_timetable`, nobody is let in until `opens_at` (null: unknown).
    `warm` are the kernels that are started before visitors come; `warm_because` says why these, or none.
    """

    size: int
    max_containers: int
    ready: int
    starting: int
    claimed: int
    removing: int
    waiting: int
    closed: bool
    closed_to_classes: bool = False
    base: int = 0
    because: str | None = None
    timetable: tuple[TimetableEntry, ...] = ()
    shut_by_timetable: bool = False
    opens_at: datetime.datetime | None = None
    warm: tuple[WarmKernels, ...] = ()
    warm_because: str | None = None


class PoolSize(_Strict):
    """The body of `PATCH /api/pool`."""

    size: int = pydantic.Field(ge=0, le=100_000)


class BookingRequest(_Strict):
    """The body of `POST /api/bookings`: notebooks for so many people at a time.

    `when` is a day with a time, such as `Tue 14:00-16:00`, in the time zone `time_zone` (IANA; "" is the machine's
    own). With `for_class` there is a link of its own. `pool` names a pool ("": that of the workshop, or the default).
    """

    when: str = pydantic.Field(max_length=100)
    people: int = pydantic.Field(ge=1, le=100_000)
    workshop: str = pydantic.Field(default="", max_length=64)
    pool: str = pydantic.Field(default="", max_length=64)
    title: str = pydantic.Field(default="", max_length=200)
    time_zone: str = pydantic.Field(default="", max_length=64)
    for_class: bool = False


class AdminBooking(_Model):
    """A booking. `when` is for people, `came` counts those who got a notebook, `left` is held for the others now.

    Of a class `class_url` is for everybody in it, and `teacher_url` for the teacher alone; `qr` is a picture of the
    first (an SVG as a `data:` URL), where one booking is asked for. `note`, where it has just been made: others may
    still be there when it begins.
    """

    id: str
    pool: str
    begins: datetime.datetime
    ends: datetime.datetime
    when: str
    people: int
    came: int
    left: int
    workshop: str
    title: str
    for_class: bool
    class_url: str | None = None
    teacher_url: str | None = None
    qr: str | None = None
    note: str = ""


class LinkRequest(_Strict):
    """The body of `POST /api/bookings/{id}/link`: which link of a class is replaced."""

    of: Literal["class", "teacher"]


class AdminBookings(_Model):
    """The bookings that are not over, the first to begin first."""

    bookings: tuple[AdminBooking, ...]


class AnnouncementRequest(_Strict):
    """The body of `POST /api/announcements`. `until` is a time, such as `18:00` ("": for a day)."""

    text: str = pydantic.Field(max_length=2000)
    pool: str = pydantic.Field(default="", max_length=64)
    until: str = pydantic.Field(default="", max_length=100)
    time_zone: str = pydantic.Field(default="", max_length=64)


class Announcement(_Model):
    """A message of the operator to all running notebooks, or to those of one pool ("": all)."""

    id: str
    text: str
    pool: str
    at: datetime.datetime
    until: datetime.datetime


class Announcements(_Model):
    """Those that are shown now, the newest last."""

    announcements: tuple[Announcement, ...]


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
    """A process of before an upgrade, as long as it serves what was open then."""

    pid: int
    version: str
    since: datetime.datetime
    connections: int
    websockets: int


class AdminPool(_Model):
    """One of the service's pools. `leaving`: the settings have it no more, and its last sessions run.

    Each notebook has `mem_limit` bytes and `cpus` (null: no limit), and ends when it was idle for `cull_timeout`
    seconds (0: never). `guaranteed_containers` are kept free for the pool.
    """

    name: str
    is_default: bool
    leaving: bool
    image: str
    pool: PoolStatus
    engine_up: bool
    failure: LastFailure | None
    sessions: int
    mem_limit: int = 0
    cpus: float | None = None
    cull_timeout: float = 0.0
    guaranteed_containers: int = 0
    egress: str = ""


class AdminStatus(_Model):
    """A pool in full, for the operator, or all of them together. `waiting_seconds` has one entry for each visitor in
    line. `pools` are all pools in the order of the settings; `warnings` are of workshops that several have.

    `pid` is the process that serves; `predecessors` are those of before, the newest first.
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
    predecessors: tuple[AdminPredecessor, ...] = ()
    pools: tuple[AdminPool, ...] = ()
    warnings: tuple[str, ...] = ()
