"""A visitor's transport with its deadline: writing, back-pressure and the time that a client may take.

`ClientConnection` sets the deadline for what it waits for; the proxy's sweep calls `timed_out()` once it has passed.
While the client does not take what is written, the deadline is that of the write, and only progress moves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import math
import time
from typing import cast

from tmpnb_py.proxy.counters import Counters


class Phase(enum.Enum):
    """What a client's connection is doing."""

    HEAD = enum.auto()  # a request is awaited, or its head is arriving
    BODY = enum.auto()  # a request's body is arriving; its answer may be under way already
    ANSWER = enum.auto()  # the request is complete, its answer is awaited or under way
    TUNNEL = enum.auto()
    LINGER = enum.auto()  # the last answer has been written; whatever still comes is discarded


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionState:
    """What a client's connection is doing at a moment. Sizes in bytes.

    `unread` has come and not been used; `buffered` has been written and not been taken by the client.
    """

    phase: Phase
    has_exchange: bool
    unread: int
    buffered: int
    is_reading: bool
    writing_paused: bool
    upstream_paused: bool
    half_closed: bool


def write_eof(transport: asyncio.Transport) -> None:
    """Close the sending half. asyncio raises where the peer is gone already, and reports the loss soon after."""
    with contextlib.suppress(OSError):
        if transport.can_write_eof():
            transport.write_eof()


class TimedConnection(asyncio.Protocol):
    """The writing half of a client's connection."""

    __slots__ = (
        "_counters",
        "_reading_paused",
        "_transport",
        "_unsent",
        "_write_timeout",
        "_writing_paused",
        "_wrote",
        "deadline",
    )

    def __init__(self, counters: Counters, write_timeout: float) -> None:
        self.deadline = math.inf
        self._counters = counters
        self._write_timeout = write_timeout
        self._transport: asyncio.Transport | None = None
        self._writing_paused = False
        self._reading_paused = False
        self._unsent = 0  # what the client had not taken when the deadline of its slow reading was set
        self._wrote = False  # since then

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        self._transport = None
        self.deadline = math.inf

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        if self._transport is not None:
            self._wrote = True
            self._counters.bytes_sent += len(data)
            self._transport.write(data)

    def pause_writing(self) -> None:
        self._arm(self._write_timeout)
        self._count_unsent()
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._unsent = 0

    def abort(self) -> None:
        """Close at once; what is buffered is lost."""
        if self._transport is not None:
            self._transport.abort()

    def _arm(self, seconds: float) -> None:
        """Set the deadline, unless the client's slow reading sets it."""
        if self._writing_paused:
            return
        self.deadline = time.monotonic() + seconds
        self._wrote = False

    def _count_unsent(self) -> int:
        self._unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return self._unsent

    def _gets_more_time(self) -> bool:
        """Whether the client has taken some of what waited for it when the deadline was set."""
        before = self._unsent
        if before == 0 or self._count_unsent() >= before:
            return False
        self.deadline = time.monotonic() + self._write_timeout
        return True

    def _set_reading(self, *, paused: bool) -> None:
        if self._transport is None or paused == self._reading_paused or self._transport.is_closing():
            return
        self._reading_paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _finish_writing(self) -> None:
        """Close the sending half, and go on reading."""
        if self._transport is not None and not self._transport.is_closing():
            self._set_reading(paused=False)
            write_eof(self._transport)
