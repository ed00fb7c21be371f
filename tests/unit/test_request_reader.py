"""Requests as a client sends them, in any pieces: heads, bodies, and what follows them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.proxy.framing import MalformedError
from tmpnb_py.proxy.header_rules import ClientFacts
from tmpnb_py.proxy.request_reader import RequestReader

CLIENT = ClientFacts("192.0.2.1")
MAX = 8192
GET = b"GET /user/abc/lab HTTP/1.1\r\nHost: t\r\n\r\n"
LENGTH = b"POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /y HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


def read_all(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The target and the body of each request that is complete."""
    reader, found, request, body = RequestReader(), [], None, b""
    for piece in pieces:
        reader.received += piece
        while reader.received:
            if request is None:
                request, body = reader.head(CLIENT, MAX), b""
                if request is None:
                    break
            if not request.complete:
                body += reader.body(request)
            if not request.complete:
                continue
            found.append((request.target, body))
            request = None
    assert reader.received == b""
    return found


@given(st.lists(st.integers(1, 200), max_size=6))
def test_pipelined_requests_are_read_in_any_pieces(cuts: list[int]) -> None:
    whole = GET + LENGTH + b"\r\n" + CHUNKED + GET
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[start:end] for start, end in itertools.pairwise(places)]
    assert read_all(pieces) == [(b"/user/abc/lab", b""), (b"/x", b"hello"), (b"/y", b"abc"), (b"/user/abc/lab", b"")]


@pytest.mark.parametrize("beginning", [b"\r\n\r\n", b"\r\r\n", b"\rGET", b"\r\n\r"])
def test_one_empty_line_is_skipped_and_no_more(beginning: bytes) -> None:
    reader = RequestReader()
    reader.received = beginning + GET
    with pytest.raises(MalformedError):
        reader.head(CLIENT, MAX)


def test_half_an_empty_line_is_waited_for() -> None:
    reader = RequestReader()
    reader.received = b"\r"
    assert reader.head(CLIENT, MAX) is None
    reader.received += b"\n" + GET
    assert reader.head(CLIENT, MAX) is not None


def test_old_clients_send_an_empty_line_behind_a_body() -> None:
    reader = RequestReader()
    reader.received = LENGTH + b"\r\n"
    request = reader.head(CLIENT, MAX)
    assert request is not None
    assert reader.body(request) == b"hello"
    assert request.complete
    assert reader.skip_line_after_body()
    assert not reader.skip_line_after_body()
    reader.received = b"\r\n"
    assert not reader.skip_line_after_body(), "one only"


def test_a_body_that_breaks_its_framing_is_refused() -> None:
    reader = RequestReader()
    reader.received = CHUNKED.replace(b"3\r\nabc", b"3\r\nabcd")
    request = reader.head(CLIENT, MAX)
    assert request is not None
    with pytest.raises(MalformedError):
        reader.body(request)


def test_a_head_has_its_limit() -> None:
    reader = RequestReader()
    reader.received = GET.replace(b"Host", b"X: " + MAX * b"x" + b"\r\nHost")
    with pytest.raises(MalformedError) as refused:
        reader.head(CLIENT, MAX)
    assert refused.value.status == 431


FILE = b"GET /jupyter/static/%b/lab/main.js HTTP/1.1\r\nHost: t\r\n" % (b"0" * 32)


@given(st.integers(900, 3 * MAX), st.integers(0, 3))
def test_cookies_make_no_head_of_a_shared_file_too_large(size: int, following: int) -> None:
    cookie = b"Cookie: a=" + b"x" * 5 * MAX + b"\r\n"
    whole = FILE + cookie + b"Accept: */*\r\ncookie:" + b"y" * 4 * MAX + b"\r\n\r\n"
    reader, found = RequestReader(), []
    received = whole + GET * following
    for start in range(0, len(received), size):
        reader.received += received[start : start + size]
        while reader.received and (request := reader.head(CLIENT, MAX)) is not None:
            found.append(request)
        assert len(reader.received) < MAX + size
    assert [one.target[:9] for one in found] == [b"/jupyter/", *[b"/user/abc"] * following]
    assert [one for one in found[0].headers if one[0].lower() != b"cookie"] == [(b"Host", b"t"), (b"Accept", b"*/*")]


@pytest.mark.parametrize(
    "beginning",
    [
        b"POST" + FILE[3:],  # what it asks for is no file
        FILE.replace(b"/static/", b"/user/static/").replace(b"0" * 32, b"0" * 31),
        FILE.replace(b"Host", b"X: " + MAX * b"x" + b"\r\nHost"),  # what is too large are not the cookies
    ],
)
def test_what_else_is_too_large_is_refused(beginning: bytes) -> None:
    reader = RequestReader()
    reader.received = beginning + b"Cookie: " + b"x" * MAX
    with pytest.raises(MalformedError):
        reader.head(CLIENT, MAX)


def test_dropped_cookies_have_a_limit_of_their_own() -> None:
    reader = RequestReader()
    reader.received = FILE + b"Cookie: "

    def read_without_end() -> None:
        for _ in range(400):
            reader.received += b"x" * MAX
            assert reader.head(CLIENT, MAX) is None

    with pytest.raises(MalformedError):
        read_without_end()
