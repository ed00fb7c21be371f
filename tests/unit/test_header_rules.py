"""The header rules, clause by clause and as properties; a browser and llhttp are the judges."""

from __future__ import annotations

import ipaddress
import string

import httptools
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tmpnb_py.proxy.header_rules import (
    HOP_BY_HOP,
    OWN_COOKIE_PREFIX,
    ClientFacts,
    Headers,
    combined,
    get_all,
    held_to_path,
    is_trusted,
    is_websocket_upgrade,
    named_by_connection,
    request_headers,
    response_headers,
    serialize,
    wants_websocket,
    without_own_cookies,
)

BASE = b"/user/abc/"
DIRECT = ClientFacts("203.0.113.7")
BEHIND_PROXY = ClientFacts("10.0.0.1", trusted=True)

CLAIMED_BY_CLIENT = [
    (b"X-Forwarded-For", b"1.1.1.1"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", b"evil.example"),
    (b"X-Forwarded-Port", b"8443"),
    (b"Forwarded", b"for=1.1.1.1;proto=https"),
    (b"X-Real-IP", b"1.1.1.1"),
    (b"X-Scheme", b"https"),
    (b"X-Scheme-Proto", b"https"),
]
OWN_DESCRIPTION = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"}

ORIGIN_WIDE = [
    (b"Service-Worker-Allowed", b"/"),
    (b"Clear-Site-Data", b'"*"'),
    (b"Alt-Svc", b'h3=":443"'),
    (b"Strict-Transport-Security", b"max-age=31536000"),
    (b"Public-Key-Pins", b"pin-sha256=x"),
    (b"NEL", b"{}"),
    (b"Report-To", b"{}"),
    (b"Set-Cookie2", b"a=b"),
    (b"Access-Control-Allow-Origin", b"https://evil.example"),
    (b"Access-Control-Allow-Credentials", b"true"),
    (b"Access-Control-Allow-Methods", b"*"),
    (b"Access-Control-Allow-Headers", b"*"),
    (b"Access-Control-Allow-Private-Network", b"true"),
    (b"Access-Control-Expose-Headers", b"*"),
    (b"Access-Control-Max-Age", b"86400"),
    (b"Timing-Allow-Origin", b"*"),
    (b"Cross-Origin-Opener-Policy", b"noopener-allow-popups"),
    (b"Cross-Origin-Opener-Policy-Report-Only", b"unsafe-none"),
    (b"Referrer-Policy", b"unsafe-url"),
    (b"Accept-CH", b"Sec-CH-UA-Model"),
    (b"Set-Login", b"logged-in"),
    (b"Secure-Session-Registration", b"(ES256)"),
    (b"X-Accel-Redirect", b"/protected/secret.txt"),
    (b"X-Accel-Limit-Rate", b"1"),
    (b"X-Sendfile", b"/etc/passwd"),
]


def passed(headers: Headers, client: ClientFacts = DIRECT, *, websocket: bool = False) -> Headers:
    """What a container gets, without the description of the client that is added at the end."""
    result = request_headers(headers, client, websocket=websocket)
    return [(name, value) for name, value in result if name.lower() not in OWN_DESCRIPTION]


def described(headers: Headers, client: ClientFacts) -> dict[bytes, bytes]:
    """The description of the client, which names nothing twice."""
    pairs = [
        (name.lower(), value)
        for name, value in request_headers(headers, client, websocket=False)
        if name.lower() in OWN_DESCRIPTION
    ]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def answered(headers: Headers, *, base_path: bytes | None, websocket: bool = False) -> Headers:
    """What a client gets, without the policy that is ours in every container's answer."""
    result = response_headers(headers, base_path=base_path, websocket=websocket)
    if base_path is None:
        return result
    assert [value for name, value in result if name.lower() == b"referrer-policy"] == [b"strict-origin"]
    return [one for one in result if one != (b"Referrer-Policy", b"strict-origin")]


# --- any headers at all


def any_case(name: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from([name, name.upper(), name.title()])


token_chars = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()
tokens = st.lists(st.sampled_from(list(token_chars)), min_size=1, max_size=8).map(bytes)
# RFC 9110 §5.5: visible characters, space and tab, and obs-text.
field_chars = [9, *range(0x20, 0x7F), *range(0x80, 0x100)]
values = st.lists(st.sampled_from(field_chars), max_size=20).map(bytes).map(lambda one: one.strip(b" \t"))
known_names = st.sampled_from(
    [
        *HOP_BY_HOP,
        *OWN_DESCRIPTION,
        *(name.lower() for name, _ in ORIGIN_WIDE),
        b"host",
        b"content-length",
        b"cookie",
        b"set-cookie",
        b"authorization",
        b"accept",
    ]
).flatmap(any_case)
names = known_names | tokens
connection_values = st.lists(names, min_size=1, max_size=3).map(b", ".join)
header = st.one_of(
    st.tuples(names, values),
    st.tuples(st.sampled_from([b"Connection", b"connection"]), connection_values),
    st.tuples(
        st.just(b"Cookie"), st.lists(st.sampled_from([b"a=1", b"tmpnb-x=2", b"b"]), max_size=3).map(b"; ".join)
    ),
)
header_lists = st.lists(header, max_size=10)
clients = st.sampled_from([DIRECT, BEHIND_PROXY, ClientFacts("::1", scheme="https")])


def is_subsequence(part: Headers, whole: Headers) -> bool:
    remaining = iter(whole)
    return all(one in remaining for one in part)


@given(header_lists, clients, st.booleans())
def test_only_whole_headers_go_and_the_rest_keeps_its_order(
    headers: Headers, client: ClientFacts, websocket: bool
) -> None:
    result = passed(headers, client, websocket=websocket)
    if websocket:
        assert result[-2:] == [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        result = result[:-2]
    rewritten = [
        (name, without_own_cookies(value) if OWN_COOKIE_PREFIX in value else value)
        if name.lower() == b"cookie"
        else (name, value)
        for name, value in headers
    ]
    kept = [new for old, new in zip(headers, rewritten, strict=True) if new[1] or not old[1]]
    rewritten = combined(kept, b"cookie")
    assert is_subsequence(result, rewritten)
    dropped = HOP_BY_HOP | named_by_connection(headers) | (OWN_DESCRIPTION if not client.trusted else set())
    kept = [one for one in rewritten if one[0].lower() not in dropped | OWN_DESCRIPTION]
    untrusted = {b"forwarded", b"x-real-ip", b"x-scheme", b"x-scheme-proto"} - (dropped if client.trusted else set())
    missing = [one for one in kept if one not in result]
    assert all(one[0].lower() in untrusted or (one[0].lower() == b"cookie" and not one[1]) for one in missing)


@given(header_lists, clients, st.booleans())
def test_nothing_that_is_meant_for_this_hop_is_passed_on(
    headers: Headers, client: ClientFacts, websocket: bool
) -> None:
    named = named_by_connection(headers) - OWN_DESCRIPTION - {b"connection", b"upgrade"}
    for result in (
        request_headers(headers, client, websocket=websocket),
        answered(headers, base_path=BASE, websocket=websocket),
        answered(headers, base_path=None),
    ):
        lower = [name.lower() for name, _ in result]
        assert not named & set(lower)
        described = [name for name in lower if name not in OWN_DESCRIPTION]
        own = [b"connection", b"upgrade"] if websocket and described[-1:] == [b"upgrade"] else []
        assert sorted(name for name in lower if name in HOP_BY_HOP) == own


@given(header_lists, clients)
def test_own_cookies_never_reach_a_container(headers: Headers, client: ClientFacts) -> None:
    for value in get_all(request_headers(headers, client, websocket=False), b"cookie"):
        assert not any(pair.strip().startswith(OWN_COOKIE_PREFIX) for pair in value.split(b";"))


@given(header_lists, clients, st.booleans())
def test_a_second_pass_takes_nothing_more_away(headers: Headers, client: ClientFacts, websocket: bool) -> None:
    once = answered(headers, base_path=BASE)
    assert answered(once, base_path=BASE) == once
    request = passed(headers, client)
    assert passed(request, client) == request


# --- hop-by-hop


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
@pytest.mark.parametrize("change", [bytes.lower, bytes.upper, bytes.title])
def test_hop_by_hop_headers_end_here(name: bytes, change: type[bytes]) -> None:
    headers = [(change(name), b"x"), (b"Accept", b"*/*")]
    assert passed(headers) == [(b"Accept", b"*/*")]
    assert answered(headers, base_path=BASE) == [(b"Accept", b"*/*")]
    assert answered(headers, base_path=None) == [(b"Accept", b"*/*")]


@pytest.mark.parametrize(
    "connection",
    [
        [b"X-Secret"],
        [b"x-secret"],
        [b"close, X-Secret"],
        [b"close,x-SECRET"],
        [b"close , X-Secret ,"],
        [b",,\tX-Secret\t,"],
        [b"close", b"X-Secret"],
        [b"keep-alive, close", b"", b"X-Secret"],
    ],
)
def test_what_connection_names_ends_here(connection: list[bytes]) -> None:
    headers = [(b"X-Secret", b"1"), *((b"Connection", value) for value in connection), (b"x-secret", b"2")]
    assert passed([*headers, (b"X-Secrets", b"3")]) == [(b"X-Secrets", b"3")]
    assert answered(headers, base_path=BASE) == []


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"Cookie", b"Authorization"])
def test_connection_cannot_take_away_what_frames_or_identifies_a_request(name: bytes) -> None:
    headers = [(name, b"5"), (b"Connection", b"close, " + name.upper())]
    assert passed(headers) == [(name, b"5")]


def test_connection_cannot_free_a_cookie_from_its_path() -> None:
    headers = [(b"Connection", b"set-cookie"), (b"Set-Cookie", b"a=b; Path=/")]
    assert answered(headers, base_path=BASE) == [(b"Set-Cookie", b"a=b; SameSite=Lax; Path=/user/abc/")]


def test_connection_cannot_hide_who_the_client_is() -> None:
    headers = [(b"Host", b"a"), (b"Connection", b"X-Forwarded-For, X-Forwarded-Proto"), *CLAIMED_BY_CLIENT]
    assert described(headers, DIRECT)[b"x-forwarded-for"] == b"203.0.113.7"
    assert described(headers, BEHIND_PROXY)[b"x-forwarded-for"] == b"10.0.0.1"
    assert described(headers, BEHIND_PROXY)[b"x-forwarded-proto"] == b"http"


def test_duplicates_and_order_are_kept() -> None:
    headers = [
        (b"Accept", b"a"),
        (b"X-B", b"1"),
        (b"accept", b"b"),
        (b"X-B", b"1"),
        (b"Cookie", b"c=d"),
        (b"X-A", b""),
    ]
    assert passed(headers) == headers
    assert answered(headers, base_path=BASE) == headers
    assert answered(headers, base_path=None) == headers


def test_the_framing_of_an_answer_is_left_to_the_caller() -> None:
    headers = [(b"Content-Length", b"5"), (b"Content-Type", b"text/html")]
    assert answered(headers, base_path=BASE) == headers[1:]
    assert answered(headers, base_path=None) == headers[1:]


def test_an_upgrade_is_written_anew() -> None:
    headers = [(b"Upgrade", b"WebSocket"), (b"Connection", b"keep-alive, Upgrade"), (b"Sec-WebSocket-Key", b"k")]
    upgrade = [(b"Sec-WebSocket-Key", b"k"), (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    assert passed(headers, websocket=True) == upgrade
    assert answered(headers, base_path=BASE, websocket=True) == upgrade


# --- who the client is


def test_what_a_direct_client_says_of_itself_is_replaced() -> None:
    headers = [(b"Host", b"notebooks.example"), *CLAIMED_BY_CLIENT]
    assert passed(headers) == [(b"Host", b"notebooks.example")]
    assert described(headers, DIRECT) == {
        b"x-forwarded-for": b"203.0.113.7",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"notebooks.example",
        b"x-forwarded-port": b"80",
    }


@pytest.mark.parametrize("client", [DIRECT, BEHIND_PROXY])
def test_nobody_names_the_place_of_another_s_request(client: ClientFacts) -> None:
    headers = [(b"Host", b"notebooks.example"), (b"x-tmpnb-place", b"0" * 32)]
    assert passed(headers, client) == headers[:1]


def test_what_a_trusted_proxy_says_is_kept_and_appended_to() -> None:
    headers = [(b"Host", b"inner:8000"), *CLAIMED_BY_CLIENT]
    assert passed(headers, BEHIND_PROXY) == [(b"Host", b"inner:8000"), *CLAIMED_BY_CLIENT[4:]]
    assert described(headers, BEHIND_PROXY) == {
        b"x-forwarded-for": b"1.1.1.1, 10.0.0.1",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-host": b"evil.example",
        b"x-forwarded-port": b"8443",
    }


TRACED = [
    (b"Traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"tracestate", b"a=b"),
    (b"baggage", b"c=d"),
]


@pytest.mark.parametrize(
    ("client", "own", "kept"),
    [
        (DIRECT, False, TRACED),  # a visitor's own, to their notebook: like any header
        (DIRECT, True, []),  # and to us: they choose no trace of ours
        (BEHIND_PROXY, True, TRACED),
        (BEHIND_PROXY, False, []),  # no notebook is told of the operator's traces
    ],
)
def test_whose_trace_is_passed_on_to_whom(client: ClientFacts, own: bool, kept: Headers) -> None:
    """W3C Trace Context, §4: a receiver may begin a new trace, and need not pass on what it was sent."""
    names = {name.lower() for name, _ in TRACED}
    found = request_headers([(b"Host", b"x"), *TRACED], client, websocket=False, own=own)
    assert [header for header in found if header[0].lower() in names] == kept


def test_several_hops_become_one_list_in_their_order() -> None:
    headers = [(b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2"), (b"Accept", b"*/*"), (b"x-forwarded-for", b"3.3.3.3")]
    assert described(headers, BEHIND_PROXY)[b"x-forwarded-for"] == b"1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1"


@pytest.mark.parametrize(
    ("host", "scheme", "port"),
    [
        (b"a.example", "http", b"80"),
        (b"a.example", "https", b"443"),
        (b"a.example:8000", "http", b"8000"),
        (b"a.example:8000", "https", b"8000"),
        (b"[::1]", "http", b"80"),
        (b"[::1]:8000", "http", b"8000"),
        (b"a.example:", "http", b"80"),
        (b"", "http", b"80"),
    ],
)
def test_the_port_is_that_of_the_url(host: bytes, scheme: str, port: bytes) -> None:
    found = described([(b"Host", host)], ClientFacts("192.0.2.1", scheme=scheme))
    assert found[b"x-forwarded-port"] == port
    assert found[b"x-forwarded-host"] == host
    assert found[b"x-forwarded-proto"] == scheme.encode()


@pytest.mark.parametrize(
    ("said", "port"),
    [
        ([(b"X-Forwarded-Proto", b"https")], b"443"),
        ([(b"X-Forwarded-Proto", b"HTTPS, http")], b"443"),
        ([(b"X-Forwarded-Proto", b"http")], b"80"),
        ([(b"X-Forwarded-Host", b"public.example:8443")], b"8443"),
        ([(b"X-Forwarded-Host", b"public.example"), (b"X-Forwarded-Proto", b"https")], b"443"),
        ([(b"X-Forwarded-Port", b"9"), (b"X-Forwarded-Proto", b"https")], b"9"),
    ],
)
def test_the_port_follows_what_a_trusted_proxy_says(said: Headers, port: bytes) -> None:
    assert described([(b"Host", b"inner"), *said], BEHIND_PROXY)[b"x-forwarded-port"] == port
    assert described([(b"Host", b"inner"), *said], DIRECT)[b"x-forwarded-port"] == b"80"


@given(header_lists)
def test_a_direct_client_cannot_choose_its_address(headers: Headers) -> None:
    assert get_all(request_headers(headers, DIRECT, websocket=False), b"x-forwarded-for") == [b"203.0.113.7"]


@given(header_lists, clients)
def test_the_last_hop_is_always_the_client_that_is_connected(headers: Headers, client: ClientFacts) -> None:
    (hops,) = get_all(request_headers(headers, client, websocket=False), b"x-forwarded-for")
    assert hops.rpartition(b", ")[2] == client.address.encode()


@pytest.mark.parametrize(
    ("address", "networks", "expected"),
    [
        ("127.0.0.1", ["127.0.0.0/8"], True),
        ("127.0.0.1", [], False),
        ("10.1.2.3", ["192.168.0.0/16", "10.0.0.0/8"], True),
        ("11.1.2.3", ["192.168.0.0/16", "10.0.0.0/8"], False),
        ("10.0.0.1", ["10.0.0.1/32"], True),
        ("10.0.0.2", ["10.0.0.1/32"], False),
        # A dual-stack listener shows an IPv4 client as an IPv4-mapped address (RFC 4291 §2.5.5.2).
        ("::ffff:127.0.0.1", ["127.0.0.0/8"], True),
        ("::ffff:7f00:1", ["127.0.0.0/8"], True),
        ("::ffff:203.0.113.7", ["127.0.0.0/8"], False),
        ("::ffff:203.0.113.7", ["::/0"], False),
        ("::127.0.0.1", ["127.0.0.0/8"], False),  # IPv4-compatible is another thing
        ("::1", ["::1/128"], True),
        ("::1", ["127.0.0.0/8", "0.0.0.0/0"], False),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("unknown", ["0.0.0.0/0", "::/0"], False),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("127.0.0.1:80", ["0.0.0.0/0"], False),
        ("127.1", ["127.0.0.0/8"], False),
    ],
)
def test_is_trusted(address: str, networks: list[str], expected: bool) -> None:
    assert is_trusted(address, [ipaddress.ip_network(one) for one in networks]) is expected


# --- cookies


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a=b", b"a=b"),
        (b"a=b; c=d", b"a=b; c=d"),
        (b"tmpnb-csrf=1", b""),
        (b"tmpnb-csrf=1; a=b", b"a=b"),
        (b"a=b; tmpnb-csrf=1", b"a=b"),
        (b"a=b;tmpnb-csrf=1;c=d", b"a=b; c=d"),
        (b"a=b;\ttmpnb-x=1 ; tmpnb-y=2;", b"a=b"),
        (b"tmpnb-", b""),
        (b"xtmpnb-a=1", b"xtmpnb-a=1"),
        (b"a=tmpnb-b", b"a=tmpnb-b"),
        (b"Tmpnb-a=1", b"Tmpnb-a=1"),  # a cookie's name is case-sensitive
        (b'a="x; tmpnb-y=2"', b'a="x'),  # no quoting in RFC 6265: a semicolon always ends a pair
    ],
)
def test_own_cookies_are_taken_out(value: bytes, expected: bytes) -> None:
    assert without_own_cookies(value) == expected
    assert passed([(b"cookie", value)]) == ([(b"cookie", expected)] if expected else [])


def test_a_cookie_header_without_ours_is_left_as_it_is() -> None:
    assert passed([(b"Cookie", b"a=b;c ;; d")]) == [(b"Cookie", b"a=b;c ;; d")]


def browser_reads(set_cookie: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The algorithm of RFC 6265 §5.2: the name-value pair, and of each attribute the last value."""
    pair, *attributes = set_cookie.split(b";")
    split = (attribute.partition(b"=") for attribute in attributes)
    return pair.strip(b" \t"), {name.strip(b" \t").lower(): value.strip(b" \t") for name, _, value in split}


@pytest.mark.parametrize(
    ("set_cookie", "expected"),
    [
        (b"a=b", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/user/abc/", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/user/abc/api", b"a=b; Path=/user/abc/api"),
        (b"a=b; Path=/user/abc", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/user/abcd/", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/user/other/", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/user/abc/../other", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/user/abc/..", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/USER/ABC/", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=//user/abc/", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=user/abc/", b"a=b; Path=/user/abc/"),
        (b"a=b; Path", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=", b"a=b; Path=/user/abc/"),
        (b'a=b; Path="/user/abc/"', b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/user/abc/x=y", b"a=b; Path=/user/abc/x=y"),
        (b"a=b; PATH = / ", b"a=b; Path=/user/abc/"),
        (b"a=b;path=/;Secure", b"a=b; Secure; Path=/user/abc/"),
        (b"a=b; Path=/user/abc/x; Path=/", b"a=b; Path=/user/abc/"),
        (b"a=b; Path=/; Path=/user/abc/x", b"a=b; Path=/user/abc/x"),
        (b"a=b; Path=/user/abc/x; pAtH=/user/abc/y", b"a=b; Path=/user/abc/y"),
        (b"a=b; Domain=example.org", b"a=b; Path=/user/abc/"),
        (b"a=b; DOMAIN = .example.org ; domain=x; Domain", b"a=b; Path=/user/abc/"),
        (b"a=b; Max-Age=3; HttpOnly; SameSite=Lax", b"a=b; Max-Age=3; HttpOnly; SameSite=Lax; Path=/user/abc/"),
        (
            b"a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
            b"a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/user/abc/",
        ),
        (b'a="b; Path=/"; Secure', b'a="b; Secure; Path=/user/abc/'),  # quotes protect nothing in a browser
        (b"Path=/; Path=/", b"Path=/; Path=/user/abc/"),  # the first pair is the cookie itself
        (b"", b"; Path=/user/abc/"),
        (b";;", b"; ; ; Path=/user/abc/"),
    ],
)
def test_a_cookie_is_held_to_its_path(set_cookie: bytes, expected: bytes) -> None:
    if b"SameSite" not in expected:
        expected = expected.replace(b"; Path=/user/abc/", b"; SameSite=Lax; Path=/user/abc/")
    assert held_to_path(set_cookie, BASE) == expected


def test_a_cookie_that_says_what_sites_may_send_it_keeps_that() -> None:
    assert held_to_path(b"a=b; samesite = Strict", BASE) == b"a=b; samesite = Strict; Path=/user/abc/"
    assert held_to_path(b"SameSite=None", BASE) == b"SameSite=None; SameSite=Lax; Path=/user/abc/"


attribute_names = st.sampled_from([b"Path", b"path", b" PATH\t", b"Domain", b"domain ", b"Secure", b"", b"\x0bPath"])
attribute_values = st.sampled_from(
    [b"", b"/", b" /user/abc/ ", b"/user/abc/x", b"/user/abc/../x", b'"/"', b"x", b"=", b"/user/abcd/"]
)
attributes = st.one_of(
    attribute_names,
    st.tuples(attribute_names, attribute_values).map(b"=".join),
    values,
)


@given(st.lists(attributes | values, min_size=1, max_size=6).map(b";".join))
@example(b"a=b; Path=/user/abc/x; \x0bPath=/")
def test_in_a_browser_no_cookie_leaves_its_path_or_host(set_cookie: bytes) -> None:
    pair, before = browser_reads(set_cookie)
    pair_after, after = browser_reads(held_to_path(set_cookie, BASE))
    assert pair_after.strip() == pair.strip()
    assert after[b"path"].startswith(BASE)
    assert b".." not in after[b"path"]
    assert b"domain" not in after
    untouched = {name: value for name, value in before.items() if name.strip() not in (b"path", b"domain", b"")}
    for name, value in untouched.items():
        assert after[name.strip()].strip() == value.strip() or name != name.strip()


def test_each_set_cookie_is_held() -> None:
    headers = [(b"Set-Cookie", b"a=1; Path=/"), (b"X", b"y"), (b"set-cookie", b"a=2; Domain=x")]
    assert answered(headers, base_path=BASE) == [
        (b"Set-Cookie", b"a=1; SameSite=Lax; Path=/user/abc/"),
        (b"X", b"y"),
        (b"set-cookie", b"a=2; SameSite=Lax; Path=/user/abc/"),
    ]
    assert answered(headers, base_path=None) == headers


# --- what a container may not do to the origin


@pytest.mark.parametrize(("name", "value"), ORIGIN_WIDE)
def test_a_container_does_not_speak_for_the_origin(name: bytes, value: bytes) -> None:
    for cased in (name, name.lower(), name.upper()):
        headers = [(cased, value), (b"Content-Type", b"text/html")]
        assert answered(headers, base_path=BASE) == headers[1:]
        assert answered(headers, base_path=BASE, websocket=True)[:1] == headers[1:]
        assert answered(headers, base_path=None) == headers


@given(header_lists)
def test_our_own_application_keeps_all_but_the_framing(headers: Headers) -> None:
    dropped = HOP_BY_HOP | named_by_connection(headers) | {b"content-length"}
    assert answered(headers, base_path=None) == [one for one in headers if one[0].lower() not in dropped]


# --- serialize, with llhttp as the reader


class Parsed:
    """Collects one request or answer."""

    def __init__(self) -> None:
        self.headers: Headers = []
        self.target = b""
        self.messages = 0
        self.body = b""

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_begin(self) -> None:
        self.messages += 1


def parsed(head: bytes) -> Parsed | None:
    """What llhttp reads, None where it refuses."""
    result = Parsed()
    try:
        httptools.HttpRequestParser(result).feed_data(head)
    except httptools.HttpParserUpgrade:
        return result
    except httptools.HttpParserError:
        return None
    return result


def test_serialize() -> None:
    head = serialize(b"GET / HTTP/1.1", [(b"Host", b"a"), (b"X", b""), (b"X", b"\xff")])
    assert head == b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\nX: \xff\r\n\r\n"
    assert serialize(b"HTTP/1.1 200 OK", []) == b"HTTP/1.1 200 OK\r\n\r\n"


hostile = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\x00", b"\x0b", b"\x85", b" ", b"\t", b":", b"a", b"X-A: b", b"\r\n ", b"\x7f"]
    )
    | st.binary(max_size=3),
    max_size=6,
).map(b"".join)


@given(st.lists(st.tuples(tokens | hostile, values | hostile), max_size=4), clients, st.booleans())
@example([(b"X", b"a\r\n b")], DIRECT, False)
@example([(b"X", b"a\nY: b")], DIRECT, False)
@example([(b"X", b"a\r\nY: b")], DIRECT, False)
def test_what_a_parser_accepted_is_read_the_same_by_the_next(
    headers: Headers, client: ClientFacts, websocket: bool
) -> None:
    """No value can end its line early, so no header and no second request can be smuggled."""
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"%b: %b\r\n" % one for one in headers) + b"\r\n"
    accepted = parsed(raw)
    assume(accepted is not None and accepted.messages == 1)
    assert accepted is not None
    for found in accepted.headers:
        assert not set(b"\r\n\x00") & set(b"%b%b" % found)
    sent = request_headers(accepted.headers, client, websocket=websocket)
    head = serialize(b"GET / HTTP/1.1", sent)
    assert head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") == len(sent) + 2
    again = parsed(head)
    assert again is not None
    assert again.messages == 1
    assert [(name, value.strip(b" \t")) for name, value in again.headers] == [
        (name, value.strip(b" \t")) for name, value in sent
    ]


@given(header_lists, clients)
def test_every_wellformed_header_survives_serialization(headers: Headers, client: ClientFacts) -> None:
    sent = [one for one in request_headers(headers, client, websocket=False) if one[0].lower() != b"content-length"]
    again = parsed(serialize(b"GET /x HTTP/1.1", sent))
    assert again is not None
    assert again.target == b"/x"
    assert again.headers == sent


# --- WebSocket handshakes


UPGRADE: Headers = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (UPGRADE, True),
        ([(b"upgrade", b"WebSocket"), (b"connection", b"UPGRADE")], True),
        ([(b"Upgrade", b" websocket\t"), (b"Connection", b"keep-alive , upgrade")], True),
        ([(b"Upgrade", b"websocket"), (b"Connection", b"keep-alive"), (b"Connection", b"Upgrade")], True),
        ([(b"Upgrade", b"websocket")], False),
        ([(b"Connection", b"Upgrade")], False),
        ([], False),
        ([(b"Upgrade", b"websocket"), (b"Connection", b"keep-alive")], False),
        ([(b"Upgrade", b"websocket"), (b"Connection", b"upgraded")], False),
        ([(b"Upgrade", b"h2c"), (b"Connection", b"Upgrade")], False),
        ([(b"Upgrade", b"h2c, websocket"), (b"Connection", b"Upgrade")], False),
        ([(b"Upgrade", b"websocket, h2c"), (b"Connection", b"Upgrade")], False),
        ([(b"Upgrade", b"websocket/13"), (b"Connection", b"Upgrade")], False),
        ([*UPGRADE, (b"Upgrade", b"websocket")], False),
        ([*UPGRADE, (b"Upgrade", b"h2c")], False),
        ([(b"Upgrade", b""), (b"Connection", b"Upgrade")], False),
    ],
)
def test_is_websocket_upgrade(headers: Headers, expected: bool) -> None:
    assert is_websocket_upgrade(headers) is expected
    assert wants_websocket(b"GET", "1.1", headers) is expected


@pytest.mark.parametrize("method", [b"GET", b"get", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"PUT"])
@pytest.mark.parametrize("version", ["1.0", "1.1", "2.0", "0.9"])
def test_only_a_get_of_http_1_1_becomes_a_websocket(method: bytes, version: str) -> None:
    assert wants_websocket(method, version, UPGRADE) is (method == b"GET" and version == "1.1")


def test_get_all_ignores_the_case_of_names() -> None:
    headers = [(b"A", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert get_all(headers, b"a") == [b"1", b"3"]
    assert get_all(headers, b"c") == []


@given(header_lists, clients)
def test_a_container_gets_one_line_of_cookies_and_all_that_are_not_ours(
    headers: Headers, client: ClientFacts
) -> None:
    got = get_all(request_headers(headers, client, websocket=False), b"cookie")
    assert len(got) <= 1
    sent = [pair.strip() for value in get_all(headers, b"cookie") for pair in value.split(b";")]
    kept = [pair for pair in sent if pair and not pair.startswith(OWN_COOKIE_PREFIX)]
    assert [pair.strip() for value in got for pair in value.split(b";") if pair.strip()] == kept


def test_lines_of_one_name_are_joined_where_the_first_was() -> None:
    headers = [(b"A", b"1"), (b"Cookie", b"x=1"), (b"a", b""), (b"B", b""), (b"cookie", b"y=2"), (b"a", b"3")]
    assert combined(headers) == [(b"A", b"1, 3"), (b"Cookie", b"x=1; y=2"), (b"B", b"")]
    only = combined(headers, b"cookie")
    assert only == [(b"A", b"1"), (b"Cookie", b"x=1; y=2"), (b"a", b""), (b"B", b""), (b"a", b"3")]


def test_our_own_application_gets_our_own_cookies() -> None:
    headers = [(b"Cookie", b"a=b; tmpnb-sessions=1")]
    for own, expected in ((True, b"a=b; tmpnb-sessions=1"), (False, b"a=b")):
        assert get_all(request_headers(headers, DIRECT, websocket=False, own=own), b"cookie") == [expected]


@pytest.mark.parametrize(
    ("referer", "seen"),
    [
        (b"https://live.example/user/abc/lab/tree/x.ipynb?token=t", b"https://live.example/"),
        (b"http://127.0.0.1:8000/user/abc/", b"http://127.0.0.1:8000/"),
        (b"https://live.example", b"https://live.example/"),
        (b"about:blank", b""),
        (b"/user/abc/", b""),
        (b"", b""),
    ],
)
def test_a_notebook_does_not_learn_which_page_sends_a_visitor(referer: bytes, seen: bytes) -> None:
    headers = [(b"Host", b"t"), (b"Referer", referer)]
    assert [value for name, value in passed(headers) if name == b"Referer"] == ([seen] if seen else [])
    assert (b"Referer", referer) in request_headers(headers, DIRECT, websocket=False, own=True)
