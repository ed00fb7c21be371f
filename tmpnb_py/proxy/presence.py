"""Records on a session what its visitor does: presence for every request, activity for what a person does.

`pools.activity` knows the requests and messages of a person; this module tells it of those that come.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tmpnb_py.pools import activity
from tmpnb_py.pools.activity import Attempt, Channel, Rule
from tmpnb_py.proxy.frames import MessageReader
from tmpnb_py.proxy.header_rules import Headers

if TYPE_CHECKING:
    from tmpnb_py.pools.container import Container
    from tmpnb_py.proxy.request import Request
    from tmpnb_py.proxy.traces import FirstReply


def request_came(container: Container, request: Request, path: bytes, query: bytes) -> Attempt | None:
    """Record a request's presence. The attempt returned becomes activity if its answer shows a person's doing."""
    now = time.monotonic()
    container.stamp_presence(now)
    if request.websocket:
        return None
    fields = request.fields
    rule = activity.rule(request.method, path, query, navigates=fields.navigates, by_hand=fields.by_hand)
    if rule is not Rule.NEVER:
        return Attempt(rule, container.familiar, request.method, path)
    if activity.may_reach_kernels(path):
        container.kernel_nudges.add(now)
    return None


def readable(headers: Headers) -> Headers:
    """A handshake that offers no extension (RFC 6455 §9.1), so that the messages come as they are.

    Jupyter Server compresses none unless it is told to; where it is, only these channels go without.
    """
    return [(name, value) for name, value in headers if name.lower() != b"sec-websocket-extensions"]


class Watch:
    """Observes what a client sends on one WebSocket to its notebook."""

    __slots__ = ("_container", "_reader", "_reply", "channel")

    def __init__(self, container: Container, path: bytes) -> None:
        self.channel = activity.channel(path)
        self._container = container
        self._reader = MessageReader()
        self._reply: FirstReply | None = None

    def listen_for(self, reply: FirstReply) -> bool:
        """Tell `reply` what a person says to a kernel. False where this is no kernel's WebSocket."""
        if self.channel is not Channel.KERNEL:
            return False
        self._reply = reply
        return True

    def opened(self) -> None:
        """Called once the server has agreed; not activity, for pages reconnect by themselves."""
        now = time.monotonic()
        self._container.connection_opened(now)
        self._nudged(now)

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        for start, whole in self._reader.feed(data):
            now = time.monotonic()
            if activity.is_persons_message(self.channel, start, self._container.familiar, whole=whole):
                self._container.stamp_activity(now)
                if self._reply is not None:
                    self._reply.asked(start)
            else:
                self._nudged(now)

    def closed(self) -> None:
        """Called once."""
        now = time.monotonic()
        self._container.connection_closed(now)
        self._nudged(now)

    def _nudged(self, now: float) -> None:
        """Record that a page made the server do something: what the server sends next is no person's doing."""
        if self.channel is Channel.TERMINAL:
            self._container.terminal_nudges.add(now)
        else:
            self._container.kernel_nudges.add(now)
