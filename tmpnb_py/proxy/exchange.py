"""One request with its answer, between a client's connection and an upstream's.

Both connections' protocols share this object and nothing else. It is created when a request's head has been
accepted, and ends with the last byte of the answer or when either side is lost.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tmpnb_py.headers import Headers

if TYPE_CHECKING:
    from tmpnb_py.pool import Container
    from tmpnb_py.proxy.client import ClientConnection
    from tmpnb_py.proxy.upstream import Upstream, UpstreamConnection

_RETRIED = frozenset((b"GET", b"HEAD", b"OPTIONS"))


@dataclasses.dataclass(slots=True)
class Request:
    """A request as the client sent it. `complete` once the last byte of its body has been read."""

    method: bytes = b""
    target: bytes = b""
    version: str = "1.1"
    headers: Headers = dataclasses.field(default_factory=list)
    keep_alive: bool = True
    websocket: bool = False
    chunked: bool = False
    length: int = 0
    complete: bool = False

    @property
    def has_body(self) -> bool:
        """Whether the head announces a body."""
        return self.chunked or self.length > 0

    @property
    def wants_html(self) -> bool:
        """Whether a person's browser is asking for a page."""
        return any(name.lower() == b"accept" and b"text/html" in value for name, value in self.headers)


@dataclasses.dataclass(slots=True)
class Exchange:
    """A request on its way. `container` is None for the orchestrator's own pages."""

    client: ClientConnection
    request: Request
    upstream: Upstream
    head: bytes
    container: Container | None
    connection: UpstreamConnection | None = None
    response_started: bool = False

    @property
    def base_path(self) -> bytes | None:
        """The container's base path, to which its cookies are held."""
        return self.container.base_path if self.container is not None else None

    @property
    def can_retry(self) -> bool:
        """Whether it may be sent again on a fresh connection (RFC 9110 §9.2.2): nothing can have happened twice."""
        return not self.response_started and not self.request.has_body and self.request.method in _RETRIED
