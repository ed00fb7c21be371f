"""What an old process and the one that follows it say to each other: JSON, each message of a kind that is known here.

The two are of different versions, so what a message has beyond the fields of today is ignored, and so are kinds that
nobody knows here; but a field that is there has to be what it is said to be. `PROTOCOL` counts changes that a side of
another version could not live with: then the upgrade fails before anything has happened, and a restart is the way.

Moments are monotonic seconds: both processes are on one machine, whose kernel has one such clock (clock_gettime(2)).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, TypeVar

import pydantic

from tmpnb_py.core.models import EndReason
from tmpnb_py.fronts.wire import Stamp
from tmpnb_py.service.upgrade.channel import MOST_BYTES, ChannelError

PROTOCOL = 1
# What a new process can do beyond the first version of this protocol, as it says itself (`Prepared`).
LOCKS = "locks"  # take over the pools' locks by their descriptors
FORMERS = "formers"  # follow processes that were followed before
FEATURES = (LOCKS, FORMERS)
LONGEST_CLIENT = 64  # characters of an address
MOST_AT_ONCE = 100  # sessions, ends or stamps in one message

_Id = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]{1,64}$")]
_Moment = Annotated[float, pydantic.Field(ge=-1e12, le=1e12)]
_Moments = Annotated[tuple[_Moment, ...], pydantic.Field(max_length=64)]
_Count = Annotated[int, pydantic.Field(ge=0, le=1 << 62)]
_Pool = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9_-]{0,32}$")]


class Message(pydantic.BaseModel):
    """One message. Bytes that are no text follow the JSON, after a line feed (`Connection`)."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)
    kind: ClassVar[str] = ""

    def written(self, more: bytes = b"") -> bytes:
        """As it is sent."""
        return json.dumps({"kind": self.kind, **self.model_dump(mode="json")}).encode() + b"\n" + more


# --- from the old process to the new one


class Place(pydantic.BaseModel):
    """What a listening socket is for, and the options that it was bound for; see `listeners.Bound`."""

    name: Annotated[str, pydantic.Field(max_length=32)]
    host: Annotated[str, pydantic.Field(max_length=255)] = ""
    port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 0


class Start(Message):
    """The first message: the listening sockets come with it, in this order."""

    kind = "start"
    protocol: int
    version: Annotated[str, pydantic.Field(max_length=100)]
    listeners: Annotated[tuple[Place, ...], pydantic.Field(max_length=32)]


class Kept(pydantic.BaseModel):
    """A session as the old process knew it: what no engine can tell."""

    id: _Id
    visited: bool
    has_begun: bool
    client: Annotated[str, pydantic.Field(max_length=LONGEST_CLIENT)] = ""
    quota_key: Annotated[str, pydantic.Field(max_length=256)] = ""
    origin: Annotated[str, pydantic.Field(max_length=512)] = ""
    activity: _Moment
    presence: _Moment
    left: _Moment | None = None
    kernel: _Moments = ()
    terminal: _Moments = ()
    open: _Count = 0
    trace: Annotated[str, pydantic.Field(max_length=64)] = ""


class Sessions(Message):
    """Some of the sessions."""

    kind = "sessions"
    sessions: Annotated[tuple[Kept, ...], pydantic.Field(max_length=MOST_AT_ONCE)]


class Gone(pydantic.BaseModel):
    """A container that has ended: why, and when that was decided. `pool`: the default one, if there is no such."""

    id: _Id
    reason: EndReason
    at: _Moment
    pool: _Pool = ""


class Ends(Message):
    """Containers that have ended. Those that the engine still has are to be removed."""

    kind = "ends"
    ends: Annotated[tuple[Gone, ...], pydantic.Field(max_length=MOST_AT_ONCE)]


class Keys(Message):
    """Which ticket was opened with which idempotency key."""

    kind = "keys"
    keys: Annotated[
        dict[Annotated[str, pydantic.Field(max_length=64)], Annotated[str, pydantic.Field(pattern="^[0-9a-f]{32}$")]],
        pydantic.Field(max_length=MOST_AT_ONCE),
    ]


class Waiting(pydantic.BaseModel):
    """A program that waits in a pool's line with an open request: its place, since when, and how many are before."""

    id: Annotated[str, pydantic.Field(pattern="^[0-9a-f]{32}$")]
    since: _Moment
    ahead: _Count
    quota_key: Annotated[str, pydantic.Field(max_length=256)] = ""
    pool: _Pool = ""


class Waits(Message):
    """Some of those, in the order of the line. Their connections come later, each with its `place`."""

    kind = "waits"
    waits: Annotated[tuple[Waiting, ...], pydantic.Field(max_length=MOST_AT_ONCE)]


class Behind(Message):
    """A process of before the old one, which still serves what was open then. Its channel comes with this."""

    kind = "behind"
    pid: _Count
    version: Annotated[str, pydantic.Field(max_length=100)]
    since: _Moment
    connections: _Count = 0
    websockets: _Count = 0


class Opened(Message):
    """Connections that such a process has open, by session."""

    kind = "opened"
    pid: _Count
    opened: Annotated[dict[_Id, _Count], pydantic.Field(max_length=MOST_AT_ONCE)]


class Lock(Message):
    """The descriptors of a pool's lock come with it, which whoever has them open holds. `pool`: the engine's name."""

    kind = "lock"
    pool: Annotated[str, pydantic.Field(max_length=256)]


class Yours(Message):
    """The pools are free, and nobody serves them: take them. `secret`: that of proofs that do not outlive a service.

    `size` is what the operator has set the number of ready containers to, `pool_size` the option that it stands for;
    `sizes` has both for each pool by its name, and where it is empty those two are of the only pool.
    """

    kind = "yours"
    secret: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
    size: _Count | None = None
    pool_size: _Count = 0
    sizes: Annotated[dict[_Pool, tuple[_Count, _Count]], pydantic.Field(max_length=MOST_AT_ONCE)] = {}


class Connection(Message):
    """An idle connection of a visitor comes with it; what has been read of its next request follows the message.

    `place` is that request's, where the old process has begun to answer it.
    """

    kind = "connection"
    place: Annotated[str, pydantic.Field(pattern="^([0-9a-f]{32})?$")] = ""


class Report(Message):
    """What visitors do by way of the old process, and what it has counted since its last report."""

    kind = "report"
    stamps: Annotated[tuple[Stamp, ...], pydantic.Field(max_length=MOST_AT_ONCE)] = ()
    connections: _Count = 0
    websockets: _Count = 0
    received: _Count = 0
    sent: _Count = 0
    responses: Annotated[tuple[_Count, ...], pydantic.Field(max_length=6)] = ()


# --- from the new process to the old one


class Prepared(Message):
    """All that can be done without the pool has been done."""

    kind = "prepared"
    version: Annotated[str, pydantic.Field(max_length=100)]
    features: Annotated[tuple[str, ...], pydantic.Field(max_length=64)] = ()


class Serving(Message):
    """The new process has the pool and listens: it is the service from here on."""

    kind = "serving"


class Ended(Message):
    """A session has ended: its connections are to be closed."""

    kind = "ended"
    id: _Id


class Cut(Message):
    """Close all connections, and end."""

    kind = "cut"


_KINDS: dict[str, type[Message]] = {
    one.kind: one
    for one in (
        Start,
        Sessions,
        Ends,
        Keys,
        Waits,
        Behind,
        Opened,
        Lock,
        Yours,
        Connection,
        Report,
        Prepared,
        Serving,
        Ended,
        Cut,
    )
}
M = TypeVar("M", bound=Message)


class NonsenseError(ChannelError):
    """The other side is there, and says what no tmpnb-py says here."""


def read(data: bytes) -> tuple[Message | None, bytes]:
    """A message and what follows it; None for a kind that is not known here. Raises `NonsenseError`."""
    text, _, more = data.partition(b"\n")
    try:
        found: Any = json.loads(text)
        model = _KINDS.get(found.pop("kind"))
        return (None if model is None else model.model_validate_json(json.dumps(found))), more
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise NonsenseError("a message that makes no sense") from error


def fits(message: bytes) -> bool:
    """Whether it can be sent at all."""
    return len(message) <= MOST_BYTES
