"""Heads are read once and remembered: what is remembered is what reading anew gives, for everybody."""

from __future__ import annotations

import pytest

from tmpnb_py.proxy.framing import MalformedError
from tmpnb_py.proxy.head_cache import AnswerHead, RequestFields, answer_head, request_fields
from tmpnb_py.proxy.header_rules import ClientFacts, get_all
from tmpnb_py.proxy.strictness import BadRequestError, is_usual, made_usual

BLOCK = b"Host: example.org\r\nAccept: */*\r\nCookie: a=1; tmpnb-x=2\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\n\r\n"
SOMEBODY = ClientFacts("192.0.2.1")
BASE, OTHER = b"/user/abc/", b"/user/xyz/"


def test_the_same_block_is_read_once() -> None:
    assert request_fields(BLOCK, "1.1", b"GET", SOMEBODY) is request_fields(
        bytes(bytearray(BLOCK)), "1.1", b"GET", SOMEBODY
    )
    assert answer_head(ANSWER) is answer_head(bytes(bytearray(ANSWER)))


def test_a_long_head_is_read_anew_each_time() -> None:
    block = b"Host: t\r\nX: " + b"y" * 5000 + b"\r\n\r\n"
    assert request_fields(block, "1.1", b"GET", SOMEBODY) is not request_fields(block, "1.1", b"GET", SOMEBODY)
    answer = b"HTTP/1.1 200 OK\r\nX: " + b"y" * 5000 + b"\r\n\r\n"
    assert answer_head(answer) is not answer_head(answer)


def test_what_a_block_means_depends_on_version_and_method() -> None:
    upgrade = (
        b"Host: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert request_fields(upgrade, "1.1", b"GET", SOMEBODY).websocket
    assert not request_fields(upgrade, "1.1", b"POST", SOMEBODY).websocket
    assert not request_fields(upgrade, "1.0", b"GET", SOMEBODY).websocket
    assert request_fields(BLOCK, "1.1", b"GET", SOMEBODY).keep_alive
    assert not request_fields(BLOCK, "1.0", b"GET", SOMEBODY).keep_alive


def test_clients_share_what_was_read_but_not_their_addresses() -> None:
    for address in ("203.0.113.7", "2001:db8::1", "203.0.113.7"):
        for trusted in (False, True):
            client = ClientFacts(address, trusted=trusted)
            expected = RequestFields(BLOCK, "1.1", b"GET", "http", trusted).forwarded(client)
            assert request_fields(BLOCK, "1.1", b"GET", client).forwarded(client) == expected
            assert expected.endswith(b"\r\nX-Forwarded-For: " + address.encode() + b"\r\n\r\n")
            assert b"tmpnb-x" not in expected


def test_a_trusted_proxys_hops_come_first() -> None:
    block = b"Host: t\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"
    for client, hops in (
        (ClientFacts("10.0.0.1", trusted=True), b"198.51.100.1, 10.0.0.1"),
        (ClientFacts("10.0.0.1"), b"10.0.0.1"),
    ):
        forwarded = request_fields(block, "1.1", b"GET", client).forwarded(client)
        assert b"X-Forwarded-For: " + hops + b"\r\n" in forwarded


def test_cookies_are_held_to_each_containers_path() -> None:
    raw = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nX: y\r\n\r\n"
    for base_path in (BASE, OTHER, None, BASE):
        assert answer_head(raw).passed_on(base_path) == AnswerHead(raw).passed_on(base_path)
    assert b"Path=/user/abc/\r\n" in answer_head(raw).passed_on(BASE)
    assert b"Path=/user/xyz/\r\n" in answer_head(raw).passed_on(OTHER)


def test_a_container_and_our_own_application_are_not_confused() -> None:
    raw = b"HTTP/1.1 200 OK\r\nClear-Site-Data: *\r\n\r\n"
    for _ in range(2):
        assert b"Clear-Site-Data" in answer_head(raw).passed_on(None)
        assert b"Clear-Site-Data" not in answer_head(raw).passed_on(BASE)


def test_what_is_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(MalformedError):
            request_fields(b"Host: a\r\nHost: b\r\n\r\n", "1.1", b"GET", SOMEBODY)
        with pytest.raises(MalformedError):
            answer_head(b"HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "target", "version", "status"),
    [
        (b"CONNECT", b"/", "1.1", 501),
        (b"CONNECT", b"t:80", "1.1", 501),
        (b"TRACE", b"/", "1.1", 501),
        (b"Trace", b"/", "1.1", 501),
        (b"head", b"/", "1.1", 501),
        (b"GET", b"*", "1.1", 400),
        (b"GET", b"ftp://t/", "1.1", 400),
        (b"GET", b"http:///", "1.1", 400),
        (b"GET", b"http://u@t/", "1.1", 400),
        (b"GET", b"/#x", "1.1", 400),
        (b"GET", b"/", "2.0", 505),
        (b"GET", b"/", "0.9", 505),
    ],
)
def test_first_lines_that_are_refused(method: bytes, target: bytes, version: str, status: int) -> None:
    assert not is_usual(method, target, version)
    with pytest.raises(BadRequestError) as refused:
        made_usual(method, target, version, b"Host: t\r\n\r\n")
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("method", "target", "version", "made"),
    [
        (b"BREW", b"/x", "1.1", (b"/x", "1.1", b"t")),
        (b"GET", b"/x", "1.7", (b"/x", "1.1", b"t")),
        (b"GET", b"http://u/x?q", "1.1", (b"/x?q", "1.1", b"u")),
        (b"GET", b"HTTPS://u:443/", "1.1", (b"/", "1.1", b"u:443")),
        (b"GET", b"http://[::1]:80//x", "1.0", (b"//x", "1.0", b"[::1]:80")),
        (b"GET", b"http://u", "1.1", (b"/", "1.1", b"u")),
        (b"GET", b"http://u?q=/@#".removesuffix(b"#"), "1.1", (b"/?q=/@", "1.1", b"u")),
        (b"OPTIONS", b"http://u", "1.1", (b"*", "1.1", b"u")),
        (b"OPTIONS", b"http://u?q", "1.1", (b"/?q", "1.1", b"u")),
        (b"OPTIONS", b"*", "1.1", (b"*", "1.1", b"t")),
    ],
)
def test_rarer_first_lines_are_read_as_the_rfcs_say(
    method: bytes, target: bytes, version: str, made: tuple[bytes, str, bytes]
) -> None:
    """RFC 9110 §2.5 and §9.1, RFC 9112 §3.2."""
    assert not is_usual(method, target, version)
    path, version, block = made_usual(method, target, version, b"X: 1\r\nhost: t\r\nX: 2\r\n\r\n")
    fields = RequestFields(block, version, method, "http", trusted=False)
    assert (path, version, get_all(fields.headers, b"host")) == (made[0], made[1], [made[2]])
    assert get_all(fields.headers, b"x") == [b"1", b"2"]


def test_an_empty_port_is_none() -> None:
    """RFC 9110 §4.2.3; not every server knows it."""
    for host, origin in ((b"t", b"http://t"), (b"[::1]", b"http://[::1]")):
        block = b"Host: " + host + b":\r\nOrigin: " + origin + b"\r\n\r\n"
        fields = RequestFields(block, "1.1", b"GET", "http", trusted=False)
        assert get_all(fields.headers, b"host") == [host]
        assert fields.foreign_origin == ""
        assert b"Host: " + host + b"\r\n" in fields.forwarded(SOMEBODY)
