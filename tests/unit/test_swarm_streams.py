"""Streams on one connection: bytes keep their order whatever happens, bounds hold, nonsense ends the connection."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import struct
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmpnb_py.core.errors import AwayError
from tmpnb_py.engines.swarm.link import frames
from tmpnb_py.engines.swarm.link import streams as module
from tmpnb_py.engines.swarm.link.frames import CREDIT, DATA, END, EOF, FRAME, OPEN, OPENED, WINDOW, FrameError
from tmpnb_py.engines.swarm.link.stream import Stream
from tmpnb_py.engines.swarm.link.streams import Streams


def frame(kind: int, number: int, content: bytes = b"") -> bytes:
    return struct.pack(">II", kind << 24 | len(content), number) + content


class Cable(asyncio.Transport):
    """Keeps what one side sends until the test lets it arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.is_cut = False

    def write(self, data: Any) -> None:
        self.sent += data

    def abort(self) -> None:
        self.is_cut = True

    def take(self, size: int) -> bytes:
        taken = bytes(self.sent[:size])
        del self.sent[:size]
        return taken


@dataclasses.dataclass(eq=False)
class End(asyncio.Protocol):
    """Whoever uses a stream at one end, and what they have seen."""

    received: bytearray = dataclasses.field(default_factory=bytearray)
    eof: bool = False
    lost: list[Exception | None] = dataclasses.field(default_factory=list)
    paused: bool = False
    written: bytearray = dataclasses.field(default_factory=bytearray)
    stream: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self.stream is None
        self.stream = transport

    def data_received(self, data: bytes) -> None:
        assert not self.eof
        assert not self.lost
        self.received += data

    def eof_received(self) -> bool:
        assert not self.eof
        self.eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.lost
        self.lost.append(exc)

    def pause_writing(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_writing(self) -> None:
        assert self.paused
        self.paused = False

    def write(self, size: int) -> None:
        data = bytes((len(self.written) + number) % 251 for number in range(size))
        self.written += data
        self.stream.write(data)


class Pair:
    """Both ends of a connection."""

    def __init__(self) -> None:
        self.accepted: list[Stream] = []
        self.lost = 0
        self.near, self.far = Streams(lost=self._count), Streams(self.accepted.append, lost=self._count)
        self.cables = (Cable(), Cable())
        self.near.connection_made(self.cables[0])
        self.far.connection_made(self.cables[1])

    def _count(self) -> None:
        self.lost += 1

    async def move(self, towards_far: bool, size: int) -> None:
        """So many bytes arrive."""
        await turn()
        data = self.cables[0 if towards_far else 1].take(size)
        if data:
            (self.far if towards_far else self.near).data_received(data)
        await turn()

    async def settle(self) -> None:
        """All that is on the way arrives."""
        await turn()
        while any(cable.sent for cable in self.cables):
            for towards_far in (True, False):
                await self.move(towards_far, 1 << 30)

    async def opened(self, wanted: bytes = b"x") -> tuple[End, End]:
        opening = asyncio.create_task(self.near.open(wanted, End))
        await self.settle()
        far = End()
        self.accepted.pop().accept(far)
        await self.settle()
        return await opening, far

    def lose(self) -> None:
        self.near.connection_lost(None)
        self.far.connection_lost(None)


async def turn() -> None:
    """Let the loop do what is due, and what follows from that."""
    for _ in range(4):
        await asyncio.sleep(0)


SIZES = st.one_of(st.integers(1, 300), st.sampled_from([FRAME - 1, FRAME, FRAME + 1, WINDOW, WINDOW + 1, 3 * WINDOW]))
STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2), st.booleans(), SIZES),
    st.tuples(st.just("move"), st.booleans(), st.one_of(st.integers(1, 40), SIZES)),
    st.tuples(st.sampled_from(["pause", "resume", "eof", "close", "abort"]), st.integers(0, 2), st.booleans()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_bytes_keep_their_order_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[Any, ...]]) -> None:
    pair = Pair()
    ends = [await pair.opened(b"%d" % number) for number in range(3)]
    ended: dict[tuple[int, bool], str] = {}
    for what, *more in steps:
        if what == "move":
            await pair.move(*more)
        else:
            _do(what, ends[more[0]][more[1]], more, ended)
    _look(ends)
    for both in ends:
        for end in both:
            end.stream.resume_reading()
    await pair.settle()
    _look(ends)
    _ended_as_they_should(ends, ended)
    assert not any(cable.is_cut for cable in pair.cables)
    pair.lose()
    await turn()
    assert all(len(end.lost) == 1 for both in ends for end in both)
    assert not len(pair.near)
    assert not len(pair.far)


def _do(what: str, end: End, more: list[Any], ended: dict[tuple[int, bool], str]) -> None:
    key = (more[0], more[1])
    if what == "write":
        if key not in ended and not end.lost:
            end.write(more[2])
    elif what in ("pause", "resume"):
        getattr(end.stream, f"{what}_reading")()
    elif what == "eof":
        ended.setdefault(key, what)
        end.stream.write_eof()
    else:
        if what == "abort" and ended.get(key) == "close":
            ended[key] = "cut short"  # unless all had been sent
        elif ended.get(key) not in ("abort", "cut short"):  # after which neither means anything
            ended[key] = what
        getattr(end.stream, what)()


def _ended_as_they_should(ends: list[tuple[End, End]], ended: dict[tuple[int, bool], str]) -> None:
    for number, both in enumerate(ends):
        if not any((number, side) in ended for side in (False, True)):
            assert both[0].received == both[1].written
            assert both[1].received == both[0].written
        for side in (False, True):
            how, other = ended.get((number, side)), both[not side]
            if how == "eof" and (number, not side) not in ended:
                assert other.eof
                assert other.received == both[side].written
            if how in ("abort", "cut short"):
                assert other.lost
            if how == "abort" and (number, not side) not in ended:
                assert isinstance(other.lost[0], ConnectionResetError)
            if how == "close" and (number, not side) not in ended:
                assert other.lost == [None]
                assert other.received == both[side].written


def _look(ends: list[tuple[End, End]]) -> None:
    for both in ends:
        for end, other in (both, both[::-1]):
            assert other.written.startswith(end.received)
            assert len(end.stream._unread) <= WINDOW


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                frame, st.integers(0, 9), st.integers(0, 4), st.one_of(st.binary(max_size=9), st.just(b"\0\1\0\0"))
            ),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_nonsense_is_refused_or_means_nothing(parts: list[bytes], far: bool) -> None:
    async def play() -> None:
        pair = Pair()
        near_end, far_end = await pair.opened()
        side, cable = (pair.far, pair.cables[1]) if far else (pair.near, pair.cables[0])
        for part in parts:
            if not cable.is_cut:
                side.data_received(part)
                await turn()
        assert len(near_end.received) + len(far_end.received) <= sum(map(len, parts))
        pair.lose()
        await turn()

    asyncio.run(play())


@pytest.mark.parametrize(
    "data",
    [
        frame(DATA, 2, b"x"), frame(DATA, 1, b""), frame(0, 1), frame(7, 1), frame(OPEN, 1), frame(OPEN, 0, b"x"),
        frame(CREDIT, 1, b""), frame(CREDIT, 1, b"\0\0\0\0"), frame(CREDIT, 1, b"\0\0\0\1"),
        frame(CREDIT, 1, b"\xff\xff\xff\xff"), frame(EOF, 1) + frame(DATA, 1, b"x"), frame(EOF, 1) * 2,
        frame(END, 1, b"x"), frame(OPENED, 1), frame(OPENED, 9), struct.pack(">II", DATA << 24 | (FRAME + 1), 1),
        b"".join(frame(DATA, 1, bytes(FRAME)) for _ in range(WINDOW // FRAME + 5)),
        frame(OPEN, 2, b"x") + frame(DATA, 2, b"x"), frame(OPEN, 2, b"x") + frame(EOF, 2),
        frame(OPEN, 2, bytes(1025)),
    ],
    ids=range(20),
)  # fmt: skip
async def test_what_cannot_be_ends_the_connection(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair()
    _, far = await pair.opened()
    far.stream.pause_reading()
    pair.far.data_received(data)
    assert pair.cables[1].is_cut
    pair.lose()
    await turn()
    assert len(far.lost) == 1
    assert pair.lost == 2


async def test_frames_that_cross_the_end_of_their_stream_mean_nothing() -> None:
    pair = Pair()
    near, far = await pair.opened()
    far.write(100)
    far.stream.write_eof()
    near.write(100)
    near.stream.abort()
    await pair.settle()
    assert isinstance(far.lost[0], ConnectionResetError)
    assert not any(cable.is_cut for cable in pair.cables)


async def test_what_is_not_read_holds_a_window_and_holds_up_nobody() -> None:
    pair = Pair()
    near, far = await pair.opened(b"stuck")
    far.stream.pause_reading()
    near.write(4 * WINDOW)
    assert near.paused
    await pair.settle()
    assert len(far.stream._unread) == WINDOW
    other_near, other_far = await pair.opened(b"other")
    for _ in range(20):
        other_near.write(WINDOW)
        await pair.settle()
    assert other_far.received == other_near.written
    far.stream.resume_reading()
    await pair.settle()
    assert far.received == near.written
    assert not near.paused


async def test_notebooks_take_turns_however_many_streams_one_has() -> None:
    pair = Pair()
    greedy = [await pair.opened(b"greedy") for _ in range(50)]
    modest = await pair.opened(b"modest")
    for near, _ in greedy:
        near.write(WINDOW)
    modest[0].write(10)
    await pair.move(True, 2 * (FRAME + 100))
    assert modest[1].received == modest[0].written


async def test_what_is_said_in_one_turn_leaves_as_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    ends = [await pair.opened(b"%d" % number) for number in range(30)]
    writes: list[int] = []
    monkeypatch.setattr(pair.cables[0], "write", lambda data: writes.append(len(data)))
    for near, _ in ends:
        near.write(100)
    await turn()
    assert writes == [30 * 108]


async def test_a_connection_that_takes_nothing_is_written_no_more() -> None:
    pair = Pair()
    near, _ = await pair.opened()
    pair.near.pause_writing()
    near.write(100)
    await turn()
    assert not pair.cables[0].sent
    pair.near.resume_writing()
    await turn()
    assert len(pair.cables[0].sent) == 108


async def test_whoever_says_much_and_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 10)
    pair = Pair()
    pair.far.pause_writing()
    for number in range(1, 20):
        pair.far.data_received(frame(OPEN, number, b"x"))
        for stream in pair.accepted:
            stream.refuse(errno.ECONNREFUSED)
        pair.accepted.clear()
    assert pair.cables[1].is_cut
    assert len(pair.far._plain) <= 2 * 12  # a head and what follows it


async def test_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STREAMS", 2)
    pair = Pair()
    for _ in range(2):
        await pair.opened()
    opening = asyncio.create_task(pair.near.open(b"x", End))
    await pair.settle()
    with pytest.raises(OSError, match="Too many open files"):
        await opening


@pytest.mark.parametrize(
    ("code", "error"),
    [(errno.EAGAIN, BlockingIOError), (errno.ECONNREFUSED, ConnectionRefusedError), (0, ConnectionRefusedError)],
)
async def test_a_refusal_is_raised_as_dialling_would(code: int, error: type[OSError]) -> None:
    pair = Pair()
    opening = asyncio.create_task(pair.near.open(b"x", End))
    await pair.settle()
    pair.accepted[0].refuse(code)
    await pair.settle()
    with pytest.raises(error):
        await opening
    assert not len(pair.near)
    assert not len(pair.far)


async def test_a_lost_connection_is_told_to_all_as_one_that_is_away() -> None:
    pair = Pair()
    near, far = await pair.opened()
    opening = asyncio.create_task(pair.near.open(b"x", End))
    await pair.settle()
    pair.lose()
    with pytest.raises(AwayError):
        await opening
    assert [type(one) for one in (*near.lost, *far.lost)] == [AwayError, AwayError]
    with pytest.raises(AwayError):
        await pair.near.open(b"x", End)
    near.stream.write(b"x")
    near.stream.close()
    near.stream.abort()
    await turn()
    assert pair.lost == 2


@pytest.mark.parametrize("answered", [False, True])
async def test_whoever_gives_up_opening_leaves_nothing_behind(answered: bool) -> None:
    pair = Pair()
    opening = asyncio.create_task(pair.near.open(b"x", End))
    await pair.settle()
    stream, end = pair.accepted[0], End()
    if answered:
        stream.accept(end)
        await turn()
        opening.cancel()
        await pair.move(False, 1 << 20)
    else:
        opening.cancel()
        await pair.settle()
        assert stream.is_closing()
        stream.accept(end)  # too late: means nothing
    await pair.settle()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [type(one) for one in end.lost] == ([ConnectionResetError] if answered else [])
    assert not len(pair.near)
    assert not len(pair.far)


@pytest.mark.parametrize("code", [b"\x80\0\0\0", b"\xff\xff\xff\xff", b"\0\0\x02\x0c"])
async def test_an_error_without_a_name_is_one(code: bytes) -> None:
    """Kernels have some of their own (524), and whoever misbehaves says what is no C int."""
    pair = Pair()
    near, _ = await pair.opened()
    pair.near.data_received(frame(END, 1, code))
    await turn()
    assert isinstance(near.lost[0], ConnectionResetError)
    assert not pair.cables[0].is_cut


async def test_an_error_is_told_behind_the_last_bytes() -> None:
    pair = Pair()
    near, far = await pair.opened()
    near.stream.pause_reading()
    far.write(1000)
    far.stream.fail(errno.ECONNRESET)
    await pair.settle()
    near.write(10)  # means nothing
    assert near.received == far.written
    assert isinstance(near.lost[0], ConnectionResetError)


@pytest.mark.parametrize("what", ["data_received", "eof_received", "resume_writing"])
async def test_a_mistake_of_ones_own_ends_one_stream(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    pair = Pair()
    near, far = await pair.opened()
    other_near, other_far = await pair.opened()

    def fails(*_: bytes) -> None:
        raise RuntimeError("a mistake")

    if what == "resume_writing":  # told in the middle of what is put together for all
        monkeypatch.setattr(near, what, fails)
        near.write(2 * WINDOW)
    else:
        monkeypatch.setattr(far, what, fails)
        near.write(10)
        near.stream.write_eof()
    other_near.write(10)
    await pair.settle()
    loser = far if what == "resume_writing" else near
    assert isinstance(loser.lost[0], ConnectionResetError)
    assert not loser.eof
    assert other_far.received == other_near.written
    other_near.write(10)
    await pair.settle()
    assert other_far.received == other_near.written
    assert not any(cable.is_cut for cable in pair.cables)


async def test_whoever_wants_nonsense_is_cut_off() -> None:
    def accept(_: Stream) -> None:
        raise FrameError("nonsense")

    cable = Cable()
    streams = Streams(accept, lost=lambda: None)
    streams.connection_made(cable)
    streams.data_received(frame(OPEN, 1, b"x"))
    assert cable.is_cut
    streams.connection_lost(None)


async def test_numbers_are_never_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LAST", 2)
    pair = Pair()
    await pair.opened()
    last = asyncio.create_task(pair.near.open(b"x", End))
    await turn()
    assert pair.cables[0].is_cut
    with pytest.raises(AwayError):  # in the turn in which the loss has not been told yet
        await pair.near.open(b"x", End)
    pair.lose()
    with pytest.raises(AwayError):
        await last
    assert not len(pair.near)


@pytest.mark.parametrize("paused", ["reading", "writing"])
async def test_many_small_writes_cost_what_they_hold(paused: str) -> None:
    """A notebook that says two bytes at a time, to somebody who reads nothing, costs no multiple of the window."""
    pair = Pair()
    near, far = await pair.opened()
    if paused == "reading":
        near.stream.pause_reading()
    else:
        pair.far.pause_writing()
    for number in range(20_000):
        far.write(2)
        if paused == "reading" and number % 100 == 0:
            await pair.settle()
    await pair.settle()
    assert sys.getsizeof(near.stream._unread) < 2 * WINDOW
    assert len(far.stream._unsent) <= 3
    near.stream.resume_reading()
    pair.far.resume_writing()
    await pair.settle()
    assert near.received == far.written


async def test_what_one_streams_end_leads_to_keeps_no_other_from_its_own() -> None:
    """Its last bytes make its user abort another one, while all are told of the connection's loss."""
    pair = Pair()
    near, far = await pair.opened()
    other_near, _ = await pair.opened()
    third, _ = await pair.opened()
    near.stream.pause_reading()
    far.write(10)
    await pair.settle()
    near.data_received = lambda data: other_near.stream.abort()  # type: ignore[method-assign]
    pair.lose()
    await turn()
    assert [len(end.lost) for end in (near, other_near, third)] == [1, 1, 1]
    assert pair.lost == 2


async def test_what_is_cut_off_has_no_end() -> None:
    """An answer without a length is whole if its end came: none is told where the connection is lost."""
    for cut in ("lose", "abort"):
        pair = Pair()
        near, far = await pair.opened()
        near.stream.pause_reading()
        far.write(1000)
        await pair.settle()
        if cut == "lose":
            pair.lose()
        else:
            far.stream.abort()
        await pair.settle()
        await turn()
        assert near.received == far.written
        assert not near.eof
        assert isinstance(near.lost[0], OSError)


async def test_an_end_that_came_is_told_although_the_connection_is_lost_behind_it() -> None:
    pair = Pair()
    near, far = await pair.opened()
    near.stream.pause_reading()
    far.write(1000)
    far.stream.write_eof()
    await pair.settle()
    pair.lose()
    await turn()
    assert near.eof
    assert near.received == far.written
    assert isinstance(near.lost[0], AwayError)


async def test_storms_of_streams_leave_nothing_behind() -> None:
    pair = Pair()
    for number in range(1, 2000):
        pair.far.data_received(frame(OPEN, number, b"x") + frame(END, number, b"\0\0\0\0"))
        stream = pair.accepted.pop()
        assert stream.is_closing()
        stream.accept(End())  # means nothing
        stream.refuse(errno.EAGAIN)
    await turn()
    assert not len(pair.far)
    assert not pair.cables[1].sent
    assert not pair.cables[1].is_cut


def as_transport(stream: Stream) -> tuple[Callable[..., Any], ...]:
    return (stream.can_write_eof, stream.get_write_buffer_limits, stream.get_protocol)


async def test_it_is_a_transport_like_others() -> None:
    pair = Pair()
    near, _ = await pair.opened()
    stream = near.stream
    can, limits, protocol = as_transport(stream)
    assert can()
    assert limits()[0] < limits()[1]
    assert protocol() is near
    other = End()
    stream.set_write_buffer_limits()
    stream.set_protocol(other)
    assert protocol() is other
    assert stream.get_extra_info("socket") is None
    stream.writelines([b"a", b"b"])
    assert stream.get_write_buffer_size() == 2
    assert not stream.is_closing()
