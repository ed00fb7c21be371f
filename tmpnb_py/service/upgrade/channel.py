"""A pair of sockets between a process and the one that it has started to follow it: messages with descriptors.

Nobody else can be at the other end: the pair is made before the new process is, has no name at which anybody could
call, and one end is inherited by that process alone. Each side still asks the kernel who the other is (SO_PEERCRED,
unix(7)), as a descriptor's number comes from the environment: another user's socket is refused. Messages keep their
borders (SOCK_SEQPACKET), are bounded in size, and the number of those that nobody has read is bounded by the kernel.
"""

from __future__ import annotations

import array
import asyncio
import collections
import contextlib
import errno
import os
import socket
import struct

MOST_BYTES = 128 * 1024  # of one message: a request's head and a small body fit, or some hundred records
MOST_DESCRIPTORS = 64
_BUFFER = 4 * MOST_BYTES
# unix(7): what is lacking for a moment; too many descriptors may be on their way between processes.
_PASSING = frozenset((errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS))
_RETRY_SECONDS = 0.05


class ChannelError(Exception):
    """The other side has ended, or says what no tmpnb-py says."""


Received = tuple[bytes, list[int]]


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends. Neither is inherited unless that is asked for."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return ends


def inherited(descriptor: int) -> socket.socket:
    """The end that this process was started with. Raises `ChannelError` for anything that cannot be one."""
    try:
        os.set_inheritable(descriptor, False)
        end = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ChannelError(str(error)) from error
    if problem := _why_not(end):
        end.close()
        raise ChannelError(problem)
    return end


def _why_not(end: socket.socket) -> str:
    """Why a socket cannot be an end of ours; "" where it can."""
    if end.family != socket.AF_UNIX or end.type != socket.SOCK_SEQPACKET:
        return "not such a socket"
    try:
        _, uid, _ = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError as error:
        return str(error)
    return "" if uid == os.geteuid() else "another user's process is at its other end"


class Channel:
    """One end. Sending never waits: what does not fit is sent later, in order. One reader at a time."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._unsent: collections.deque[Received] = collections.deque()
        self._is_closed = False

    @property
    def backlog(self) -> int:
        """How many messages wait to be sent."""
        return len(self._unsent)

    def send(self, message: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message with `descriptors`, which this closes. Nobody gets it once the other side has gone."""
        self._unsent.append((message, list(descriptors)))
        if len(self._unsent) == 1:
            self._send()

    def _send(self) -> None:
        while self._unsent:
            message, descriptors = self._unsent[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                if not self._is_closed:
                    self._end.sendmsg([message], rights)
            except BlockingIOError:
                self._loop.add_writer(self._end.fileno(), self._send)
                return
            except OSError as error:
                if error.errno in _PASSING:
                    self._loop.call_later(_RETRY_SECONDS, self._send)
                    return
                # Else the other side has gone, as whoever reads learns.
            self._unsent.popleft()
            close_all(descriptors)
        if not self._is_closed:
            self._loop.remove_writer(self._end.fileno())

    async def receive(self) -> Received:
        """The next message with its descriptors, which the caller closes. Raises `ChannelError` at its end."""
        while True:
            try:
                return self._received()
            except BlockingIOError:
                await self._readable()
            except OSError as error:
                raise ChannelError(str(error)) from error

    async def receive_message(self) -> bytes:
        """The next message, of a kind without descriptors: any that come are closed. Raises `ChannelError`."""
        message, descriptors = await self.receive()
        close_all(descriptors)
        return message

    def _received(self) -> Received:
        space = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
        message, rights, flags, _ = self._end.recvmsg(MOST_BYTES + 1, space, socket.MSG_CMSG_CLOEXEC)
        descriptors = array.array("i")
        for level, kind, data in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        if not message or len(message) > MOST_BYTES or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            close_all(descriptors)
            raise ChannelError("the other side has ended" if not message else "a message that is too long")
        return message, list(descriptors)

    async def _readable(self) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(self._end.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            if not self._is_closed:
                self._loop.remove_reader(self._end.fileno())

    def copy(self) -> int:
        """A copy of this end's descriptor, for another process. Raises `OSError`."""
        return os.dup(self._end.fileno())

    def close(self) -> None:
        """Hang up. Idempotent."""
        if self._is_closed:
            return
        for remove in (self._loop.remove_reader, self._loop.remove_writer):
            remove(self._end.fileno())
        self._is_closed = True
        self._end.close()
        self._send()  # which only closes what was to be sent


def close_all(descriptors: array.array[int] | list[int]) -> None:
    """Close what came with a message."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
