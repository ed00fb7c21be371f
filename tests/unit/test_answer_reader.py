"""Answers as a server sends them, in any pieces, and what the client gets of them."""

from __future__ import annotations

import gzip
import itertools
import re
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.pools.container import Container
from tmpnb_py.proxy import compress
from tmpnb_py.proxy.answer_reader import AnswerReader, Framing
from tmpnb_py.proxy.exchange import ClientSide, Exchange, UpstreamPool, UpstreamSide
from tmpnb_py.proxy.framing import MalformedError, chunk
from tmpnb_py.proxy.header_rules import ClientFacts
from tmpnb_py.proxy.request import Request
from tmpnb_py.proxy.request_reader import RequestReader

HEAD = b"HTTP/1.1 200 OK\r\nDate: x\r\n"


class Client:
    """A client of which only its wish to close is asked."""

    def __init__(self, *, closes: bool = False) -> None:
        self.closes = closes

    def will_close(self, request: Request) -> bool:
        return self.closes


class Server(UpstreamPool):
    """A server that is never dialled."""

    def take_idle(self) -> UpstreamSide | None:
        return None

    async def connect(self, timeout_seconds: float) -> UpstreamSide:
        raise NotImplementedError


def exchange(request: bytes = b"GET /user/abc/x HTTP/1.1\r\nHost: t\r\n\r\n", *, closes: bool = False) -> Exchange:
    reader = RequestReader()
    reader.received = request
    read = reader.head(ClientFacts("192.0.2.1"), 8192)
    assert read is not None
    container = Container("abc", "digest", "token", created_at=0.0, changed_at=0.0)
    return Exchange(cast(ClientSide, Client(closes=closes)), read, Server(), b"", container)


def read(one: Exchange, *pieces: bytes, reader: AnswerReader | None = None) -> tuple[bytes, bool, bytes]:
    """What the client gets, whether the answer is complete, and what follows it."""
    answer = reader or AnswerReader(compress.Budget(0.0))
    out: list[bytes] = []
    done, rest = False, b""
    for piece in pieces:
        data = piece if answer.framing is not None else answer.read_heads(one, piece, out)
        if answer.framing is not None and not done:
            done, rest = answer.read_body(data, out)
        else:
            rest += data
    return b"".join(out), done, rest


@given(st.lists(st.integers(1, 120), max_size=6), st.booleans())
def test_any_pieces_make_the_same_answer(cuts: list[int], chunked: bool) -> None:
    body = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" if chunked else b"abcde"
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 5"
    whole = b"HTTP/1.1 102 Processing\r\n\r\n" + HEAD + framing + b"\r\n\r\n" + body
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[start:end] for start, end in itertools.pairwise(places)]
    got, done, rest = read(exchange(), *pieces)
    interim, head, passed_on = got.split(b"\r\n\r\n", 2)
    assert interim.startswith(b"HTTP/1.1 102 ")
    assert framing in head
    assert b"".join(re.findall(rb"[a-e]+", passed_on.replace(b"\r\n", b"\n"))) == b"abcde"
    assert (done, rest) == (True, b"")


def test_what_follows_an_answer_is_no_part_of_it() -> None:
    got, done, rest = read(exchange(), HEAD + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n")
    assert got.endswith(b"\r\n\r\nok")
    assert (done, rest) == (True, b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.mark.parametrize(
    ("request_line", "status", "framing"),
    [
        (b"HEAD /user/abc/x HTTP/1.1", b"200 OK", Framing.NONE),
        (b"GET /user/abc/x HTTP/1.1", b"304 Not Modified", Framing.NONE),
        (b"GET /user/abc/x HTTP/1.1", b"204 No Content", Framing.NONE),
        (b"GET /user/abc/x HTTP/1.1", b"200 OK", Framing.CLOSE),
    ],
)
def test_how_an_answer_without_a_length_ends(request_line: bytes, status: bytes, framing: Framing) -> None:
    reader = AnswerReader(compress.Budget(0.0))
    one = exchange(request_line + b"\r\nHost: t\r\n\r\n")
    _, done, _ = read(one, b"HTTP/1.1 " + status + b"\r\n\r\n", reader=reader)
    assert reader.framing is framing
    assert done is (framing is Framing.NONE)
    assert reader.closed() == (b"0\r\n\r\n" if framing is Framing.CLOSE else None)


def test_an_upgrade_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(MalformedError, match="nobody asked"):
        read(exchange(), b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")


def test_the_last_answer_says_so() -> None:
    got, _, _ = read(exchange(closes=True), HEAD + b"Content-Length: 0\r\n\r\n")
    assert b"Connection: close\r\n" in got


def test_a_script_is_compressed_within_the_budget_of_its_service() -> None:
    script = b"console.log(1);\n" * 200
    answer = HEAD + b"Content-Type: text/javascript\r\nContent-Length: %d\r\n\r\n" % len(script) + script
    one = exchange(b"GET /user/abc/static/x.js HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\n\r\n")
    got, done, _ = read(one, answer)
    head, body = got.split(b"\r\n\r\n", 1)
    assert b"Content-Encoding: gzip" in head
    size, _, packed = body.partition(b"\r\n")
    assert gzip.decompress(packed[: int(size, 16)]) == script
    assert done
    spent = compress.Budget(0.0)
    spent.spend(1e12, 0.0)
    got, _, _ = read(one, answer, reader=AnswerReader(spent))
    assert got.endswith(script)


def test_chunks() -> None:
    assert chunk(b"") == b""
    assert chunk(b"", last=True) == b"0\r\n\r\n"
    assert chunk(b"abc") == b"3\r\nabc\r\n"
    assert chunk(b"abc", last=True) == b"3\r\nabc\r\n0\r\n\r\n"
