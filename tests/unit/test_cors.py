"""Which pages of other sites may do what, and what is left of their requests."""

from __future__ import annotations

import pytest

from tmpnb_py.proxy.cors import Cors, Headers, admitted, is_foreign, shows_token, without_cookie, without_set_cookie

SITE = "https://workshops.example"
OTHER = "https://evil.example"
REQUEST: Headers = [
    (b"Host", b"t"),
    (b"Origin", SITE.encode()),
    (b"referer", b"https://workshops.example/page"),
    (b"Cookie", b"username-t=secret"),
    (b"cookie", b"_xsrf=guessed"),
    (b"X-XSRFToken", b"guessed"),
    (b"Authorization", b"token mine"),
    (b"Content-Type", b"application/json"),
]


def names(headers: Headers) -> list[bytes]:
    return [name for name, _ in headers]


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        (b"https://t.example", b"t.example", False),
        (b"http://t.example:8000", b"t.example:8000", False),
        (b"http://T.example", b"t.EXAMPLE", False),
        (b"http://t.example:8001", b"t.example:8000", True),
        (b"http://t.example.evil", b"t.example", True),
        (b"http://evil@t.example", b"t.example", True),
        (b"null", b"t.example", True),
        (b"", b"", False),
        (b"http://t", b"", True),
    ],
)
def test_a_page_is_foreign_unless_it_is_this_hosts(origin: bytes, host: bytes, expected: bool) -> None:
    assert is_foreign(origin, host) is expected


def test_a_page_without_tls_is_foreign_where_tls_is_known_of() -> None:
    assert is_foreign(b"http://t.example", b"t.example", secure=True)
    assert not is_foreign(b"https://t.example", b"t.example", secure=True)


def test_by_default_nobody_is_told_anything() -> None:
    assert Cors().answer_headers(SITE) == []
    assert not Cors().allows(SITE)


def test_a_named_site() -> None:
    cors = Cors(origins=frozenset((SITE,)), credentials=True, expose="X-A")
    assert cors.answer_headers(SITE) == [
        ("Vary", "Origin"),
        ("Access-Control-Allow-Origin", SITE),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "X-A"),
    ]
    assert cors.answer_headers(OTHER) == cors.answer_headers("") == [("Vary", "Origin")]
    assert not cors.allows("")


def test_every_site_and_never_with_credentials() -> None:
    cors = Cors(origins=frozenset(("*", SITE)), credentials=True)
    assert cors.answer_headers(SITE) == cors.answer_headers(OTHER) == [("Access-Control-Allow-Origin", "*")]


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ([(b"Authorization", b"token abc")], b"", True),
        ([(b"authorization", b"BEARER  abc ")], b"", True),
        ([], b"token=abc", True),
        ([], b"session_id=1&token=abc&x", True),
        ([], b"token=wrong&token=abc", True),  # which one counts is the container's affair; there is no cookie
        ([], b"token=%61bc", True),
        ([(b"Authorization", b"token abcd")], b"token=ab", False),
        ([(b"Authorization", b"Basic abc")], b"", False),
        ([(b"Authorization", b"abc")], b"", False),
        ([(b"Authorization", b"token \xff")], b"token=\xff&token=%ff", False),
        ([], b"mytoken=abc", False),
        ([], b"token=", False),
        ([(b"Cookie", b"token=abc")], b"", False),
    ],
)
def test_where_a_token_is_shown(headers: Headers, query: bytes, expected: bool) -> None:
    assert shows_token(headers, query, "abc") is expected


def test_who_shows_the_token_is_let_in_without_what_a_browser_adds() -> None:
    result = admitted(REQUEST)
    assert result[:3] == [(b"Host", b"t"), (b"Authorization", b"token mine"), (b"Content-Type", b"application/json")]
    # A server that demands no token compares these two, and nothing of the visitor's is among them.
    (cookie, value), (header, same) = result[3:]
    assert (cookie, header) == (b"Cookie", b"X-XSRFToken")
    assert value == b"_xsrf=" + same
    assert len(bytes.fromhex(same.decode())) == 16


def test_the_proxy_shows_the_token_in_the_place_of_whatever_was_shown() -> None:
    assert [value for name, value in admitted(REQUEST, "own") if name == b"Authorization"] == [b"token own"]
    assert names(admitted(REQUEST[:1], "own")) == [b"Host", b"Authorization", b"Cookie", b"X-XSRFToken"]


def test_without_the_token_only_the_cookies_go() -> None:
    assert without_cookie(REQUEST) == REQUEST[:3] + REQUEST[5:]
    assert without_set_cookie([(b"X", b"y"), (b"set-COOKIE", b"a=b")]) == [(b"X", b"y")]
