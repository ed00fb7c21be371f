"""One request with its answer, between a client's connection and an upstream's.

Both connections share this object and nothing else, and each knows the other by what is asked of it here. It
begins when a request's head has been accepted, and ends with the last byte of the answer or when a side is lost.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Protocol

from tmpnb_py.proxy.framing import chunk
from tmpnb_py.proxy.request import Request

if TYPE_CHECKING:
    from tmpnb_py.core.turns import Turn
    from tmpnb_py.pools.activity import Attempt
    from tmpnb_py.pools.container import Container
    from tmpnb_py.proxy.presence import Watch
    from tmpnb_py.proxy.traces import RequestTrace
    from tmpnb_py.proxy.tunnel import Tunnel

_RETRIED = frozenset((b"GET", b"HEAD", b"OPTIONS"))
_MOST_KEPT = 64 * 1024


class ClientSide(Protocol):
    """What an upstream's connection asks of the client's."""

    def write(self, data: bytes) -> None: ...

    def response_started(self, exchange: Exchange, status: int, *, whole: bool) -> None: ...

    def will_close(self, request: Request) -> bool: ...

    def response_done(self, exchange: Exchange) -> None: ...

    def retry(self, exchange: Exchange) -> None: ...

    def upstream_failed(self, exchange: Exchange, status: int) -> None: ...

    def upstream_paused(self, *, paused: bool) -> None: ...

    def upgrade(self, exchange: Exchange, upstream: UpstreamSide, first: bytes) -> None: ...


class UpstreamSide(Protocol):
    """What a client's connection asks of an upstream's."""

    transport: asyncio.Transport | None

    @property
    def is_closing(self) -> bool: ...

    def begin(self, exchange: Exchange) -> None: ...

    def send_body(self, data: bytes, *, last: bool) -> None: ...

    def set_reading(self, *, wanted: bool) -> None: ...

    def enter(self, tunnel: Tunnel) -> None: ...

    def write(self, data: bytes) -> None: ...

    def tunnel_ended(self) -> None: ...

    def abort(self) -> None: ...


class UpstreamPool(Protocol):
    """What a client's connection asks for a connection to the notebook server."""

    def take_idle(self) -> UpstreamSide | None: ...

    async def connect(self, timeout_seconds: float) -> UpstreamSide: ...


@dataclasses.dataclass(slots=True)
class Exchange:
    """A request on its way. `container` is None for the orchestrator's own pages.

    `attempt` is set where a person may have caused it, `watch` where it asks for a WebSocket, `trace` where it is
    traced. `is_first`: it is the first one of its notebook; `turn` is then its turn until the answer begins.
    """

    client: ClientSide
    request: Request
    upstream: UpstreamPool
    head: bytes
    container: Container | None
    attempt: Attempt | None = None
    watch: Watch | None = None
    trace: RequestTrace | None = None
    is_first: bool = False
    turn: Turn | None = None
    connection: UpstreamSide | None = None
    response_started: bool = False
    sent: bytes | None = b""  # of the body to our own application; None where it is too long to be kept

    def end_turn(self) -> None:
        """Let the next notebook's first request begin, where this is one."""
        if self.turn is not None:
            self.turn.end()

    def answered(self, status: int, now: float) -> None:
        """The final answer has come: a person's request that was not refused is activity."""
        attempt, self.attempt = self.attempt, None
        if attempt is not None and self.container is not None and status < 400 and attempt.is_persons():
            self.container.stamp_activity(now)

    def keep(self, part: bytes) -> None:
        """Keep a part of the body as long as it is short: it may have to be sent again, to another process."""
        if self.sent is not None:
            self.sent = self.sent + part if len(self.sent) + len(part) <= _MOST_KEPT else None

    @property
    def may_come_again(self) -> bool:
        """Whether our own application has the whole request, has not answered it yet, and may be asked again."""
        request = self.request
        if self.container is not None or self.response_started or not request.complete or self.sent is None:
            return False
        return request.method in _RETRIED or request.method == b"POST"

    @property
    def as_it_came(self) -> bytes | None:
        """The whole request once more, where it `may_come_again`.

        It is for a process that answers in our place, when this one's application has ended what it began.
        """
        request = self.request
        if self.sent is None or not self.may_come_again:
            return None
        body = chunk(self.sent, last=True) if request.chunked else self.sent
        return request.as_it_came + body

    @property
    def base_path(self) -> bytes | None:
        """The container's base path, to which its cookies are held."""
        return self.container.base_path if self.container is not None else None

    @property
    def can_retry(self) -> bool:
        """Whether it may be sent again on a fresh connection (RFC 9110 §9.2.2): then nothing can happen twice."""
        return not self.response_started and not self.request.has_body and self.request.method in _RETRIED
