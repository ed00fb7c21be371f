"""Telling a person from a keep-alive in the bytes of a WebSocket (RFC 6455 §5.2)."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tmpnb_py.proxy.tunnel import FrameWatcher

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
DATA = (CONTINUATION, TEXT, BINARY)
OTHER = tuple(set(range(16)) - set(DATA))  # control frames, and opcodes that nobody has defined


@dataclasses.dataclass(frozen=True)
class Frame:
    """`width` is the number of bytes of the extended length: a length may be spelled longer than needed."""

    opcode: int
    payload: bytes
    masked: bool = True
    flags: int = 0x80
    width: int = 0

    def __bytes__(self) -> bytes:
        size = len(self.payload)
        width = max(self.width, 0 if size < 126 else 2 if size < 1 << 16 else 8)
        short = size if width == 0 else 126 if width == 2 else 127
        head = bytes((self.flags | self.opcode, (0x80 if self.masked else 0) | short))
        extended = size.to_bytes(width, "big") if width else b""
        return head + extended + (b"\x81\x89\x82\x88" if self.masked else b"") + self.payload


def frames(opcodes: tuple[int, ...]) -> st.SearchStrategy[Frame]:
    payloads = st.one_of(
        st.binary(max_size=20),
        st.sampled_from([125, 126, 127, 300, 65535, 65536]).map(lambda size: b"\x81" * size),
    )
    return st.builds(
        Frame,
        opcode=st.sampled_from(opcodes),
        payload=payloads,
        masked=st.booleans(),
        flags=st.sampled_from(range(0, 256, 16)),
        width=st.sampled_from((0, 2, 8)),
    )


def cut(stream: bytes, points: list[int]) -> list[bytes]:
    """The stream in chunks, empty ones among them."""
    at = sorted(point % (len(stream) + 1) for point in points)
    return [stream[start:end] for start, end in itertools.pairwise([0, *at, len(stream)])]


cuts = st.lists(st.integers(0, 1 << 17) | st.integers(0, 20), max_size=12)


@given(st.lists(frames(tuple(range(16))), max_size=6), cuts)
@example([Frame(PING, b""), Frame(TEXT, b"")], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
def test_true_for_a_chunk_exactly_when_a_byte_of_it_belongs_to_a_data_frame(
    sequence: list[Frame], points: list[int]
) -> None:
    stream = b"".join(bytes(frame) for frame in sequence)
    owner = b"".join(bytes([frame.opcode in DATA]) * len(bytes(frame)) for frame in sequence)
    watcher = FrameWatcher()
    fed = [watcher.feed(chunk) for chunk in cut(stream, points)]
    assert fed == [any(part) for part in cut(owner, points)]


@given(st.lists(frames(OTHER), max_size=6), cuts)
def test_control_frames_alone_are_never_activity(sequence: list[Frame], points: list[int]) -> None:
    watcher = FrameWatcher()
    assert not any(watcher.feed(chunk) for chunk in cut(b"".join(map(bytes, sequence)), points))


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\xff" * 10, b"\x81\xff", b"\x00"]), max_size=20))
def test_rubbish_never_raises_and_the_fragmentation_does_not_matter(chunks: list[bytes]) -> None:
    watcher, bytewise = FrameWatcher(), FrameWatcher()
    for chunk in chunks:
        each = [bytewise.feed(bytes([byte])) for byte in chunk]
        assert watcher.feed(chunk) == any(each)


@pytest.mark.parametrize("opcode", range(16))
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_each_opcode(opcode: int, masked: bool, size: int) -> None:
    frame = bytes(Frame(opcode, bytes(size), masked=masked))
    watcher = FrameWatcher()
    assert watcher.feed(frame) == (opcode in DATA)
    assert not watcher.feed(bytes(Frame(PING, b"x"))), "the length was right"
    assert watcher.feed(bytes(Frame(TEXT, b"x")))


def test_no_bytes_are_no_activity() -> None:
    watcher = FrameWatcher()
    assert not watcher.feed(b"")
    assert watcher.feed(b"\x81")
    assert not watcher.feed(b"")
    assert watcher.feed(b"\x85")
    assert not watcher.feed(b"")


def test_the_payload_of_a_ping_may_look_like_a_data_frame() -> None:
    watcher = FrameWatcher()
    ping = bytes(Frame(PING, b"\x81\x01a" * 10))
    assert not any(watcher.feed(bytes([byte])) for byte in ping)


def test_a_message_in_fragments_with_pings_between() -> None:
    watcher = FrameWatcher()
    message = [Frame(TEXT, b"a", flags=0), Frame(PING, b""), Frame(CONTINUATION, b"b"), Frame(PONG, b"")]
    assert [watcher.feed(bytes(frame)) for frame in message] == [True, False, True, False]


@pytest.mark.parametrize("length", [1 << 16, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize(("opcode", "expected"), [(TEXT, True), (PING, False)])
def test_lengths_of_64_bits(length: int, opcode: int, expected: bool) -> None:
    """Nothing is kept of a payload, however long it claims to be."""
    watcher = FrameWatcher()
    assert watcher.feed(bytes([0x80 | opcode, 0xFF]) + length.to_bytes(8, "big") + b"mask") == expected
    for _ in range(9):
        assert watcher.feed(b"\x81\x81mask." * 1000) == expected


def test_a_payload_of_64_kib_ends_where_it_ends() -> None:
    watcher = FrameWatcher()
    assert not watcher.feed(bytes([0x89, 0x7F]) + (1 << 16).to_bytes(8, "big"))
    for _ in range(1 << 6):
        assert not watcher.feed(b"\x81" * (1 << 10))
    assert watcher.feed(b"\x81")
