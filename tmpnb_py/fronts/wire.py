"""What orchestrator and front ends say to each other: lines of JSON over TLS (`swarm.link`: `lines`, `tls`).

Each side proves that it holds the stack's secret, for this protocol and no other (ALPN), in handshakes that cannot be
replayed; a relay's connection is none of a front end's, nor the other way round. Beyond that nobody is believed more
than needed: all that is read is bounded and checked, and what is not so ends the connection.

A front end opens connections of three kinds. On one it says hello and is told the routes, each change with a number
(`ledger`), and reports what its visitors do. On another it asks for the static files that notebooks share, to have
them itself. On the others it forwards visitors: after its hello bytes flow.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

import pydantic

from tmpnb_py.core import links
from tmpnb_py.core.models import Address, RelayedAddress, SocketAddress, TcpAddress
from tmpnb_py.shared_files.tree import MAX_SIZE

# The newest version that both sides have is spoken: while a stack is updated, they differ. What came with which:
# 2 the term, and files. 3 a session's trace.
PROTOCOLS = ("tmpnb-front/3", "tmpnb-front/2", "tmpnb-front/1")
PROTOCOL = PROTOCOLS[0]
WITH_TERMS = PROTOCOLS[:2]
WITH_TRACES = PROTOCOLS[:1]
HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 10.0  # whoever hears nothing for so long has lost the other side
MOST_STAMPS = 500  # in one report
MOST_ROUTES = 200_000
# The options that the orchestrator tells: what visitors may do must not depend on the front end that they come by.
SHARED = (
    "allowed_hosts",
    "session_host",
    "allow_origin",
    "tokenless_origin",
    "allow_methods",
    "allow_headers",
    "expose_headers",
    "allow_credentials",
    "max_age",
    "max_wait",
)

_STRICT = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
_ID = r"^[a-z0-9]{1,64}$"
Age = Annotated[float, pydantic.Field(ge=0, le=1e9)]  # seconds before the moment of sending: clocks differ
_Ages = Annotated[tuple[Age, ...], pydantic.Field(max_length=64)]
_Epoch = Annotated[str, pydantic.Field(pattern=r"^([0-9a-f]{32})?$")]
_Number = Annotated[int, pydantic.Field(ge=0, le=1 << 60)]


class _Message(pydantic.BaseModel):
    model_config = _STRICT


class Hello(_Message):
    """The first line of a front end's connection. `epoch` and `seq` say what it knows of the routes."""

    do: Literal["routes", "forward", "files"]
    front: Annotated[str, pydantic.Field(pattern=r"^([0-9a-f]{32})?$")] = ""
    name: Annotated[str, pydantic.Field(max_length=256)] = ""
    epoch: _Epoch = ""
    seq: _Number = 0


class Place(_Message):
    """Where a notebook is: on a node of a swarm, behind a socket, or at a port of the orchestrator's machine."""

    node: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]{0,64}$")] = ""
    directory: Annotated[str, pydantic.Field(max_length=4000, pattern=r"^(/[^\x00]*)?$")] = ""
    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    host: Annotated[str, pydantic.Field(max_length=64)] = ""
    port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 0

    @pydantic.field_validator("host")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value:
            ipaddress.ip_address(value)
        return value

    @classmethod
    def of(cls, address: Address) -> Place:
        """Where a front end finds what the orchestrator reaches at an address."""
        if isinstance(address, TcpAddress):
            return cls(host=address.host, port=address.port)
        if isinstance(address, RelayedAddress):
            return cls(node=address.node)
        return cls(directory=address.directory, name=address.name)

    @property
    def address(self) -> Address | None:
        """The same, for a front end on the orchestrator's machine. None for a notebook of a swarm."""
        if self.host and self.port:
            return TcpAddress(self.host, self.port)
        return SocketAddress(self.directory, self.name) if self.directory and self.name else None


class Route(_Message):
    """A session. Without a place it is known, but cannot be reached at present.

    `trace` is the span below which its beginning is traced, "" where it is not.
    """

    id: Annotated[str, pydantic.Field(pattern=_ID)]
    pool: Annotated[str, pydantic.Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$")]
    token: Annotated[str, pydantic.Field(pattern=r"^[!-~]{0,256}$")] = ""
    base_url: Annotated[str, pydantic.Field(max_length=200)] = links.ROOT
    session_name: Annotated[str, pydantic.Field(pattern=r"^([a-z][a-z0-9]{19})?$")] = ""
    origin: Annotated[str, pydantic.Field(pattern=r"^[!-~]{0,512}$")] = ""
    place: Place | None = None
    trace: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f-]{0,55}$")] = ""

    @pydantic.field_validator("base_url")
    @classmethod
    def _is_base(cls, value: str) -> str:
        if not links.is_base(value):
            raise ValueError("not a base of URLs")
        return value


class Told(_Message):
    """What the orchestrator tells.

    "wait": it does not know all notebooks yet. "snapshot": all routes follow, up to the next "alive". "alive": all
    changes up to `seq` have been told. "put" and "drop": one change. "options": those that are `SHARED`.

    `term` grows from each manager of the pool to the next, and while one is confirmed as such (0 where the engine
    lets only one process be): of two that both say they are, the one with the lower term is not any more.
    """

    event: Literal["wait", "snapshot", "alive", "put", "drop", "options"]
    epoch: _Epoch = ""
    seq: _Number = 0
    term: _Number = 0
    id: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]{0,64}$")] = ""
    route: Route | None = None
    options: dict[Literal[SHARED], Annotated[str, pydantic.Field(max_length=100_000)]] = {}  # type: ignore[valid-type]


class Stamp(_Message):
    """What the visitors of one session have done by way of one front end: how long ago, and what is open now."""

    id: Annotated[str, pydantic.Field(pattern=_ID)]
    presence: Age | None = None
    activity: Age | None = None
    left: Age | None = None
    open: Annotated[int, pydantic.Field(ge=0, le=1_000_000)] = 0
    kernel: _Ages = ()
    terminal: _Ages = ()


class Report(_Message):
    """What a front end reports, now and then; also to say that it is there."""

    stamps: Annotated[tuple[Stamp, ...], pydantic.Field(max_length=MOST_STAMPS)] = ()


# --- files: each question and each answer is a line; after a `Content` its bytes follow

MOST_TREES = 64
FILES_IN_PART = 200
_Digest = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{32}$")]
_Sum = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, pydantic.Field(ge=0, le=MAX_SIZE)]
Coding = Literal["br", "gzip", ""]


class Ask(_Message):
    """What a front end wants to know: which trees there are, the files of one, or a content in one form."""

    do: Literal["trees", "tree", "content"]
    tree: Annotated[str, pydantic.Field(pattern=r"^([0-9a-f]{32})?$")] = ""
    sha256: Annotated[str, pydantic.Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    coding: Coding = ""


class Offer(_Message):
    """A tree of files. `forms` changes when one of them can be had in a further form."""

    tree: _Digest
    forms: _Number = 0


class Offers(_Message):
    """All trees, the newest first."""

    trees: Annotated[tuple[Offer, ...], pydantic.Field(max_length=MOST_TREES)] = ()


class Listed(_Message):
    """A file of a tree, with the forms that it can be had in ("" is as it is)."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=400)]
    sha256: _Sum
    size: _Size = 0
    forms: Annotated[tuple[Coding, ...], pydantic.Field(max_length=3)] = ()


class Part(_Message):
    """Some of a tree's files; `more` follow."""

    files: Annotated[tuple[Listed, ...], pydantic.Field(max_length=FILES_IN_PART)] = ()
    more: bool = False


class Content(_Message):
    """How long a content is in the form asked for, or that it cannot be had at present."""

    size: _Size = 0
    is_there: bool = True
