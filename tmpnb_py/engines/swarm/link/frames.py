"""What is said on a connection of many streams: frames.

A frame is a byte that says what it is, three bytes with the length of what follows, four with the stream's number.
Numbers are given by who opens, rise, and are never used twice: frames that cross the end of their stream on the way
are told from nonsense by that.
"""

from __future__ import annotations

import struct

# Both sides count by these: whoever changes one changes the protocol's name (`wire`), too.
WINDOW = 128 * 1024  # bytes of a stream that may be on the way or not passed on
FRAME = 32 * 1024  # bytes that follow a head, at most
LAST = (1 << 32) - 1  # the highest number of a stream
HEAD_SIZE = 8

# Who opens says what is wanted; the other side says that it is there, or ends it. Then either side sends data, says
# how much it has passed on, that no data follows, or that the stream has ended: with an `errno`, or 0.
OPEN, OPENED, DATA, CREDIT, EOF, END = range(1, 7)

_HEAD = struct.Struct(">II")
_NUMBER = struct.Struct(">I")

read_head = _HEAD.unpack_from


class FrameError(Exception):
    """The other side said what cannot be."""


def head(kind: int, stream: int, size: int = 0) -> bytes:
    """What goes before `size` bytes."""
    return _HEAD.pack(kind << 24 | size, stream)


def number(value: int) -> bytes:
    """A number as it follows some heads."""
    return _NUMBER.pack(value)


def number_of(content: bytes) -> int:
    """The same, read. Raises `FrameError`."""
    if len(content) != _NUMBER.size:
        raise FrameError("not a number")
    return int(_NUMBER.unpack(content)[0])
