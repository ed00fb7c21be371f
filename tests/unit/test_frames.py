"""Reading the messages of a WebSocket in passing (RFC 6455 §5), in whatever pieces they come."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tmpnb_py.proxy.frames import CLOSE_FOR_RESTART, PEEK, FrameEdges, MessageReader

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
CONTROL = tuple(range(3, 16))  # control frames, and opcodes that nobody has defined
MASK = b"\x81\x89\x82\x88"


@dataclasses.dataclass(frozen=True)
class Frame:
    """`width` is the number of bytes of the extended length: a length may be spelled longer than needed."""

    opcode: int
    payload: bytes
    final: bool = True
    masked: bool = True
    flags: int = 0
    width: int = 0

    def __bytes__(self) -> bytes:
        size = len(self.payload)
        width = max(self.width, 0 if size < 126 else 2 if size < 1 << 16 else 8)
        short = size if width == 0 else 126 if width == 2 else 127
        head = bytes(((0x80 if self.final else 0) | self.flags | self.opcode, (0x80 if self.masked else 0) | short))
        head += size.to_bytes(width, "big") if width else b""
        if not self.masked:
            return head + self.payload
        return head + MASK + bytes(one ^ MASK[at % 4] for at, one in enumerate(self.payload))


sizes = st.sampled_from([0, 1, 5, 125, 126, 300, PEEK - 1, PEEK, PEEK + 1, 65535, 65536])
payloads = st.binary(max_size=20) | sizes.map(lambda size: (b"\x81\x02message" * (size // 5 + 1))[:size])


@st.composite
def messages(open_ticket: st.DrawFn) -> tuple[list[Frame], bytes]:
    """A message in fragments, with control frames between."""
    parts = open_ticket(st.lists(payloads, min_size=1, max_size=3))
    sequence: list[Frame] = []
    for at, part in enumerate(parts):
        opcode = CONTINUATION if at else open_ticket(st.sampled_from((TEXT, BINARY)))
        sequence.append(
            Frame(
                opcode,
                part,
                final=at == len(parts) - 1,
                masked=open_ticket(st.booleans()),
                flags=open_ticket(st.sampled_from((0, 64))),
                width=open_ticket(st.sampled_from((0, 2, 8))),
            )
        )
        if open_ticket(st.booleans()):
            sequence.append(Frame(open_ticket(st.sampled_from(CONTROL)), open_ticket(st.binary(max_size=125))))
    return sequence, b"".join(parts)


def cut(stream: bytes, points: list[int]) -> list[bytes]:
    """The stream in chunks, empty ones among them."""
    at = sorted(point % (len(stream) + 1) for point in points)
    return [stream[start:end] for start, end in itertools.pairwise([0, *at, len(stream)])]


def read(chunks: list[bytes]) -> list[tuple[bytes, bool]]:
    reader = MessageReader()
    return [one for chunk in chunks for one in reader.feed(chunk)]


cuts = st.lists(st.integers(0, 1 << 17) | st.integers(0, 20), max_size=12)


@given(st.lists(messages(), max_size=4), cuts)
@example([([Frame(TEXT, b"a", final=False), Frame(PING, b"b"), Frame(CONTINUATION, b"c")], b"ac")], [1, 2, 3, 4, 5])
def test_each_message_is_seen_once_with_its_beginning(
    sequence: list[tuple[list[Frame], bytes]], points: list[int]
) -> None:
    stream = b"".join(bytes(frame) for frames, _ in sequence for frame in frames)
    found = read(cut(stream, points))
    assert [start for start, _ in found] == [text[:PEEK] for _, text in sequence]
    for (start, whole), (_, text) in zip(found, sequence, strict=True):
        # Of one that is just as long as what is looked at, it need not be known yet that it ends there.
        assert whole == (start == text) or len(text) == PEEK


@given(st.lists(st.builds(Frame, st.sampled_from(CONTROL), st.binary(max_size=125)), max_size=6), cuts)
def test_control_frames_are_no_messages(sequence: list[Frame], points: list[int]) -> None:
    assert read(cut(b"".join(map(bytes, sequence)), points)) == []


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\xff" * 10, b"\x81\xff", b"\x00"]), max_size=20))
def test_rubbish_never_raises_and_the_fragmentation_does_not_matter(chunks: list[bytes]) -> None:
    stream = b"".join(chunks)
    assert read(chunks) == read([bytes([byte]) for byte in stream])


@pytest.mark.parametrize("length", [1 << 16, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize(("opcode", "expected"), [(TEXT, 1), (PING, 0)])
def test_lengths_of_64_bits(length: int, opcode: int, expected: int) -> None:
    """Little is kept of a payload, however long it claims to be."""
    reader = MessageReader()
    found = reader.feed(bytes([0x80 | opcode, 0xFF]) + length.to_bytes(8, "big") + b"mask")
    for _ in range(5):
        found += reader.feed(b"\x81\x81mask." * 1000)
    assert len(found) == expected
    assert not any(whole for _, whole in found)
    assert reader._message is None


def test_a_message_without_an_end_keeps_little() -> None:
    reader = MessageReader()
    found = reader.feed(bytes(Frame(TEXT, b"", final=False)))
    for _ in range(10_000):
        found += reader.feed(bytes(Frame(CONTINUATION, b"x", final=False)))
    assert found == [(b"x" * PEEK, False)]
    assert reader._message is None


def test_thousands_of_messages_in_one_read_are_not_all_looked_at() -> None:
    reader = MessageReader()
    assert len(reader.feed(bytes(Frame(TEXT, b"x")) * 5000)) == 64
    assert reader.feed(bytes(Frame(TEXT, b"y"))) == [(b"y", True)]


@pytest.mark.parametrize(
    "frame", [Frame(PING, b""), Frame(TEXT, b"", final=False), Frame(CONTINUATION, b"x", final=False)]
)
def test_thousands_of_frames_in_one_read_are_not_all_looked_at_though_they_are_no_messages(
    frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read holds up to 100,000 of them, which would keep everybody else waiting."""
    looked_at, look = [], MessageReader._frame

    def counted(reader: MessageReader, data: bytes, start: int) -> int:
        looked_at.append(start)
        return look(reader, data, start)

    monkeypatch.setattr(MessageReader, "_frame", counted)
    reader = MessageReader()
    assert reader.feed(bytes(frame) * 5000) == []
    assert len(looked_at) < 100
    assert reader.feed(bytes(Frame(TEXT, b"y"))) == [(b"y", True)]


def test_a_continuation_of_nothing_and_a_message_that_begins_within_another() -> None:
    assert read([bytes(Frame(CONTINUATION, b"x"))]) == []
    sequence = [Frame(TEXT, b"a", final=False), Frame(TEXT, b"b"), Frame(CONTINUATION, b"c")]
    assert read([bytes(frame) for frame in sequence]) == [(b"b", True)]


# --- where one frame ends and another may follow


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 125, 126, 300, 70_000]), st.booleans()), min_size=1, max_size=5),
    st.data(),
)
def test_the_edges_between_frames_are_known_in_any_pieces(sizes: list[tuple[int, bool]], data: st.DataObject) -> None:
    frames = [bytes(Frame(TEXT, b"x" * size, masked=masked)) for size, masked in sizes]
    stream = b"".join(frames)
    ends = set(itertools.accumulate(map(len, frames)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream)), max_size=8)) | {len(stream)})
    edges, position = FrameEdges(), 0
    assert edges.is_at_edge
    for cut in cuts:
        edges.feed(stream[position:cut])
        position = cut
        assert edges.is_at_edge is (cut in ends)


def test_a_closing_frame_names_its_reason() -> None:
    """RFC 6455 §5.5.1: the code in network order; 1012 is "Service Restart" in IANA's registry."""
    assert bytes(Frame(CLOSE, (1012).to_bytes(2, "big"), masked=False)) == CLOSE_FOR_RESTART
