"""Observes one direction of a WebSocket (RFC 6455 §5): where messages begin, and with which bytes.

It neither delays nor alters what passes. Of each message only the beginning is kept until it has been read; of
control frames nothing.
"""

from __future__ import annotations

PEEK = 4 * 1024  # bytes of a message that are looked at; all that a connection ever keeps

# RFC 6455 §11.8: continuation, text and binary; close, ping and pong are not data, the others undefined.
_CONTINUATION, _TEXT, _BINARY = 0, 1, 2

# Frames that are looked at in one read, whatever is in them. A client that sends thousands at once is no person, and
# must not cost more than its share.
_MOST = 64

_LONGEST_HEAD = 14

Beginning = tuple[bytes, bool]

# RFC 6455 §5.5.1 and IANA's registry: "Service Restart", after which a client may connect again at once.
CLOSE_FOR_RESTART = b"\x88\x02" + (1012).to_bytes(2, "big")


class FrameEdges:
    """Follows the frames of one direction, only to tell whether the last one is whole: then another may follow it."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    @property
    def is_at_edge(self) -> bool:
        """Whether all that has come are whole frames."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """What comes next."""
        if self._left >= (size := len(data)) and not self._head:
            self._left -= size
            return
        if self._head:
            data, self._head = self._head + data, b""
        position, end = self._left, len(data)
        self._left = 0
        while position < end:
            following = _frame_end(data, position)
            if following == 0:
                self._head = data[position:]
                return
            position = following
        self._left = position - end


def _frame_end(data: bytes, start: int) -> int:
    """Where the frame ends that begins here, maybe beyond what has come; 0 where its head does not tell yet."""
    if len(data) < start + 2:
        return 0
    second = data[start + 1]
    size, place = second & 0x7F, start + (6 if second & 0x80 else 2)
    if size >= 126:
        extended = 2 if size == 126 else 8
        if len(data) < start + 2 + extended:
            return 0
        size = int.from_bytes(data[start + 2 : start + 2 + extended], "big")
        place += extended
    return place + size


class MessageReader:
    """Follows a connection's messages, in any fragmentation."""

    __slots__ = ("_collects", "_final", "_head", "_left", "_mask", "_message", "_passed")

    def __init__(self) -> None:
        self._head = b""  # the beginning of a frame that does not tell its length yet
        self._left = 0  # how much of the present frame's payload is still to come
        self._passed = 0  # and how much of it has come
        self._mask = b""
        self._final = False
        self._collects = False  # whether the present frame's payload belongs to a message that is looked at
        self._message: bytearray | None = None

    def feed(self, chunk: bytes) -> list[Beginning]:
        """The beginnings of messages that are known now, unmasked, each with whether it is the whole message."""
        found: list[Beginning] = []
        data = self._head + chunk if self._head else chunk
        self._head = b""
        position, end, frames = 0, len(data), 0
        while position < end:
            if self._left:
                position += self._payload(data, position, found)
                continue
            frames += 1
            if frames > _MOST:
                position = self._pass_over(data, position)
            start = self._frame(data, position)
            if start == 0:
                self._head = data[position:]
                break
            position = start
            if not self._left:
                self._frame_ended(found)
        return found

    def _pass_over(self, data: bytes, position: int) -> int:
        """Skip the whole frames that are left in a read; returns where the last, or a piece of one, begins."""
        self._message = None
        last = len(data) - _LONGEST_HEAD
        while position < last:
            second = data[position + 1]
            size, following = second & 0x7F, position + (6 if second & 0x80 else 2)
            if size >= 126:
                extended = 2 if size == 126 else 8
                size = int.from_bytes(data[position + 2 : position + 2 + extended], "big")
                following += extended
            following += size
            if following >= len(data):
                break
            position = following
        return position

    def _frame(self, data: bytes, start: int) -> int:
        """Read a frame's head; returns where its payload begins, 0 where that is not known yet."""
        if len(data) < start + 2:
            return 0
        first, second = data[start], data[start + 1]
        size, place = second & 0x7F, start + 2
        if size >= 126:
            place += 2 if size == 126 else 8
            size = int.from_bytes(data[start + 2 : place], "big")
        payload = place + 4 if second & 0x80 else place
        if len(data) < payload:
            return 0
        self._mask = data[place:payload]
        self._left, self._passed = size, 0
        self._begin(first & 0x0F, final=bool(first & 0x80))
        return payload

    def _begin(self, opcode: int, *, final: bool) -> None:
        if opcode in (_TEXT, _BINARY):
            self._message = bytearray()
        self._collects = opcode <= _BINARY and self._message is not None
        self._final = final

    def _payload(self, data: bytes, position: int, found: list[Beginning]) -> int:
        """Skip the received part of the current frame's payload. Returns its length."""
        size = min(self._left, len(data) - position)
        message = self._message
        if self._collects and message is not None:
            part = data[position : position + min(size, PEEK - len(message))]
            message += _unmasked(part, self._mask, self._passed)
            if len(message) >= PEEK:
                self._known(found, whole=self._final and size == self._left == len(part))
        self._left -= size
        self._passed += size
        if not self._left:
            self._frame_ended(found)
        return size

    def _frame_ended(self, found: list[Beginning]) -> None:
        if self._collects and self._final:
            self._known(found, whole=True)

    def _known(self, found: list[Beginning], *, whole: bool) -> None:
        """A message has been seen as far as it is looked at."""
        message, self._message, self._collects = self._message, None, False
        if message is not None and len(found) < _MOST:
            found.append((bytes(message), whole))


def _unmasked(part: bytes, mask: bytes, offset: int) -> bytes:
    """RFC 6455 §5.3, from a place in the payload on."""
    if not mask or mask == b"\0\0\0\0":
        return part
    turned = mask[offset % 4 :] + mask[: offset % 4]
    size = len(part)
    key = (turned * (size // 4 + 1))[:size]
    return (int.from_bytes(part, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")
