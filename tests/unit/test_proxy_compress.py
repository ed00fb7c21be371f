"""Which of a notebook's answers are compressed on their way, and what is said of them."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.proxy import compress
from tmpnb_py.proxy.compress import (
    BURST,
    MAX_SIZE,
    MIN_SIZE,
    SHARE,
    Budget,
    can_be,
    described,
    is_offered,
    is_wanted,
    was_given,
)
from tmpnb_py.proxy.header_rules import Headers

SCRIPT: Headers = [(b"Content-Type", b"application/javascript; charset=utf-8")]


@pytest.mark.parametrize(
    "more",
    [
        [],
        [(b"Cache-Control", b"max-age=60")],
        [(b"ETag", b'"x"'), (b"Vary", b"Cookie")],
    ],
)
def test_text_of_a_known_length_is_compressed(more: Headers) -> None:
    assert can_be([*SCRIPT, *more], 200, MIN_SIZE)


@pytest.mark.parametrize(
    ("headers", "status", "length"),
    [
        (SCRIPT, 206, 9999),
        (SCRIPT, 404, 9999),
        (SCRIPT, 200, None),
        (SCRIPT, 200, MIN_SIZE - 1),
        (SCRIPT, 200, MAX_SIZE + 1),
        ([], 200, 9999),
        (SCRIPT * 2, 200, 9999),
        ([(b"Content-Type", b"text/html")], 200, 9999),
        ([(b"Content-Type", b"image/png")], 200, 9999),
        ([*SCRIPT, (b"Content-Encoding", b"br")], 200, 9999),
        ([*SCRIPT, (b"content-encoding", b"identity")], 200, 9999),
        ([*SCRIPT, (b"Content-Digest", b"sha-256=:x:")], 200, 9999),
        ([*SCRIPT, (b"Cache-Control", b"public, No-Transform")], 200, 9999),
    ],
)
def test_what_is_left_as_it_is(headers: Headers, status: int, length: int | None) -> None:
    assert not can_be(headers, status, length)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (b"static/lab/x.js?v=1", True),
        (b"lab/api/settings?1", True),
        (b"nbextensions/x.js", True),
        (b"static/../api/contents", False),
        (b"static/.%2E/api/contents", False),
        (b"lab", False),
        (b"lab/tree/static/x.js", False),
        (b"files/x.json", False),
        (b"api/contents/static", False),
        (b"Static/x.js", False),
    ],
)
def test_only_files_of_the_image_and_settings(path: bytes, wanted: bool) -> None:
    assert is_offered(b"GET", path) is wanted
    assert not is_offered(b"POST", path)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (b"gzip", True),
        (b"deflate, GZIP ;q=1.0, br", True),
        (b"gzip;q=0.5", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"gzip;\tq=0", False),
        (b"br", False),
        (b"*", False),
        (b"", False),
    ],
)
def test_only_for_whoever_takes_it(accept: bytes, wanted: bool) -> None:
    headers = [(b"accept-encoding", accept)]
    assert is_wanted("1.1", headers) is wanted
    assert not is_wanted("1.0", headers)
    assert not is_wanted("1.1", [*headers, (b"cache-control", b"max-age=0, No-Transform")])


def test_it_is_another_representation() -> None:
    headers: Headers = [(b"Etag", b'"x"'), (b"Accept-Ranges", b"bytes"), (b"Vary", b"Cookie")]
    weak = [(b"Etag", b'W/"x"'), (b"Vary", b"Cookie"), (b"Vary", b"Accept-Encoding")]
    assert described(headers, 200) == [*weak, (b"Content-Encoding", b"gzip")]
    assert can_be(headers, 304, None)
    assert described(headers, 304) == weak
    assert not can_be(weak, 304, None)


@pytest.mark.parametrize(
    ("known", "given"),
    [(b'W/"x"', True), (b'"y", W/"x"', True), (b'"x"', False), (b'W/"y"', False), (b"*", False), (b"", False)],
)
def test_not_modified_is_about_what_the_client_has(known: bytes, given: bool) -> None:
    assert was_given([(b"If-None-Match", known)], [(b"Etag", b'"x"')]) is given


@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_any_content_in_any_split_comes_out_as_it_went_in(parts: list[bytes]) -> None:
    stream = Budget(0.0).begin()
    packed = b"".join(stream.feed(part, last=False) for part in parts) + stream.feed(b"", last=True)
    assert gzip.decompress(packed) == b"".join(parts)


def test_it_takes_a_share_of_the_time_and_no_more() -> None:
    now = 1000.0
    budget = Budget(now)
    assert budget.has_some(now)
    budget.spend(BURST, now)
    assert not budget.has_some(now)
    budget.spend(0.0, now + 1)
    assert budget.has_some(now + 1)
    budget.spend(SHARE + 0.01, now + 1)
    assert not budget.has_some(now + 1)
    assert budget.has_some(now + 1000)
    budget.spend(BURST, now + 1000)
    assert not budget.has_some(now + 1000)


def test_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress, "AT_ONCE", 2)
    budget = Budget(0.0)
    held = [budget.begin(), budget.begin()]
    assert (budget.answers, budget.has_some(1.0)) == (2, False)
    held.pop()
    assert budget.has_some(1.0)
    assert Budget(0.0).has_some(1.0), "another service's"
