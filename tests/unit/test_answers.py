"""The proxy's own answers: what is taken away from a browser that sends too much."""

from __future__ import annotations

import re

from tmpnb_py.proxy.answers import expired, is_overflow

NAME = b"abcdefghij0123456789.nb.example.net"
COOKIES = b"; ".join(b"a%d=%b" % (number, b"x" * 3000) for number in range(11))


def head(
    target: bytes = b"/user/abc/api/kernels?a=b;c", host: bytes = NAME + b":8000", cookies: bytes = COOKIES
) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: %b\r\nAccept: */*\r\nCookie: %b\r\n" % (target, host, cookies)


def test_what_neighbours_have_made_is_taken_away_wherever_it_may_belong() -> None:
    assert is_overflow(431, head())
    made = [value for name, value in expired(head()) if name == b"Set-Cookie"]
    assert len(made) == len(set(made)) == len(expired(head()))
    for domain in (b"nb.example.net", b"example.net"):
        for path in (b"/", b"/user", b"/user/", b"/user/abc/api/", b"/user/abc/api/kernels"):
            assert b"a10=; Max-Age=0; Path=%b; Domain=%b" % (path, domain) in made
    assert all(re.fullmatch(rb"a\d+=; Max-Age=0; Path=/[a-z/]*; Domain=[a-z0-9.]+", one) for one in made)
    assert expired(head().replace(b"*/*", b"text/html,*/*")) == []  # the page's script does it, and spares ours
    assert not any(one.endswith(b"=net") for one in made)  # browsers would refuse it


def test_no_part_of_a_request_becomes_another_part_of_the_answer() -> None:
    for cookies in (b'a b=1; "c=1; =x; \xe4=1; d\x00=1', b";;", b""):
        assert [value for _, value in expired(head(cookies=cookies)) if not value.startswith(b"c")] == []
    for host in (b"10.0.0.1\t x", b"a;b.example", b"[::1]:80", b"localhost", b""):
        assert expired(head(host=host)) == []
    assert not any(b";x" in value or value.count(b";") != 3 for _, value in expired(head(target=b"/a;x=/b")))


def test_the_answer_has_a_limit() -> None:
    many = b"; ".join(b"%b%d=x" % (b"n" * 200, number) for number in range(1000))
    long = b"/" + b"/".join([b"p" * 100] * 100)
    for one in (head(cookies=many), head(target=long), head(cookies=many, target=long)):
        assert sum(len(value) for _, value in expired(one)) <= 128 * 1024
