"""Messages for hypothesis: nearly right ones, since what is rubbish from the first line on is refused there."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.integration.proxy_support import HANDSHAKE, KEY, SWITCHING

REQUEST_FIELDS = [
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: keep-alive, upgrade",
    b"Connection: content-length, transfer-encoding, host",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"TE: trailers",
    b"Trailer: T",
    b"X: y",
    b"X:",
    b"X: \t\xe4 b\t ",
    b"x_y: 1",
    b"!#$%&'*+-.^_`|~: 1",
    b"Cookie: a=b; tmpnb-x=y; c=d",
    b"cookie: e=f",
    b"Cookie: tmpnb-y=z",
    b"X-Forwarded-For: 10.0.0.1",
]
BAD_REQUEST_FIELDS = [
    b"Content-Length: 3",
    b"Content-Length: 0",
    b"Content-Length: 03",
    b"Content-Length: +3",
    b"Content-Length: 3, 3",
    b"Content-Length: 0x3",
    b"Content-Length: \xd9\xa3",
    b"Content-Length:",
    b"Content-Length : 3",
    b"Content_Length: 3",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding:\r\n chunked",
    b" folded: 1",
    b"Host: other",
    b"no colon",
    b"X: a\rb",
    b"X: a\nb",
    b"X: a\0b",
    b": empty",
]
RESPONSE_FIELDS = [
    b"Connection: close",
    b"Connection: keep-alive",
    b"X: y",
    b"X:",
    b"Set-Cookie: a=b; Domain=x; Path=/",
    b"Trailer: T",
    b"Keep-Alive: timeout=5",
    b"Content-Type: text/css",
    b"Content-Encoding: gzip",
    b'ETag: "x"',
]
BAD_RESPONSE_FIELDS = [
    b"Content-Length: 4",
    b"Content-Length: 04",
    b"Content-Length: -4",
    b"Content-Length: 4, 4",
    b"Content-Length:",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip, chunked",
    b" folded: 1",
    b"X: a\nb",
    b"X: a\0b",
    b"no colon",
    b"Upgrade: websocket",
]
BODIES = [b"", b"abc", b"GET {} HTTP/1.1\r\nHost: t\r\n\r\n", b"0\r\n\r\n", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
JUNK = [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\xff", b"0", b"\r\n\r\n", b"_", b";", b","]


def _fields(good: list[bytes], bad: list[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Usually only good ones."""
    rarely = st.integers(0, 5).flatmap(
        lambda n: st.lists(st.sampled_from(bad), min_size=1 if n == 0 else 0, max_size=n == 0)
    )
    several = st.lists(st.sampled_from(good), max_size=3).map(_expecting_once)
    return st.tuples(several, rarely).map(lambda pair: [*pair[0], *pair[1]])


def _expecting_once(fields: list[bytes]) -> list[bytes]:
    """nginx refuses to be asked twice, which is no difference in reading."""
    expect = b"Expect: 100-continue"
    return [field for number, field in enumerate(fields) if field != expect or expect not in fields[:number]]


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    """A chunked body with extensions and trailers."""
    parts = draw(st.lists(st.sampled_from([one for one in BODIES if one]), max_size=3))
    extension = draw(st.sampled_from([b"", b"", b";a=b", b';a="b;c"', b" ; a"]))
    zeros = draw(st.sampled_from([b"", b"", b"00"]))
    trailers = draw(st.sampled_from([b"", b"", b"T: a\r\n", b"Content-Length: 5\r\n", b"Host: x\r\nT:\r\n"]))
    chunks = b"".join(b"%b%X%b\r\n%b\r\n" % (zeros, len(part), extension, part) for part in parts)
    return chunks + b"0" + extension + b"\r\n" + trailers + b"\r\n"


def _framed(draw: st.DrawFn, fields: list[bytes], bodies: list[bytes]) -> tuple[list[bytes], bytes]:
    kind = draw(st.sampled_from(["none", "none", "length", "length", "chunked", "chunked", "wrong"]))
    if kind == "length":
        body = draw(st.sampled_from(bodies))
        return [*fields, b"Content-Length: %d" % len(body)], body
    if kind == "chunked":
        return [*fields, draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:chunkeD"]))], draw(
            chunked()
        )
    if kind == "wrong":
        return [*fields, b"Content-Length: 2"], draw(st.sampled_from(BODIES))
    return fields, b""


@st.composite
def request(draw: st.DrawFn) -> bytes:
    """A request for the container, sometimes subtly wrong."""
    method = draw(
        st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"M-SEARCH", b"get_x", b"head"])
    )
    suffix = draw(st.sampled_from([b"", b"", b"/a", b"?q=1", b"//b", b"/../c", b"/%2e%2e/d", b"%00", b";e", b"\\f"]))
    version = draw(st.sampled_from([b"1.1"] * 6 + [b"1.0", b"1.2"]))
    fields, body = _framed(draw, draw(_fields(REQUEST_FIELDS, BAD_REQUEST_FIELDS)), BODIES)
    if draw(st.integers(0, 12)) == 0:
        fields = [*HANDSHAKE.encode().splitlines(), *fields]
    elif draw(st.integers(0, 12)) == 0:
        fields = [*KEY.encode().splitlines(), *fields]
    host = draw(st.sampled_from([b"t", b"t", b"t", b"t:", b"t:80", b"[::1]:"]))
    before = draw(
        st.sampled_from([b""] * 5 + [b"http://t", b"HTTP://u:8000", b"https://[::1]:", b"http://u@t", b"x://t"])
    )
    target = b"*" if method == b"OPTIONS" and draw(st.booleans()) else b"%b{}%b" % (before, suffix)
    lines = [b"%b %b HTTP/%b" % (method, target, version), b"Host: " + host, *fields, b"", b""]
    return b"\r\n".join(lines) + body


@st.composite
def response(draw: st.DrawFn) -> bytes:
    """A container's answer, sometimes subtly wrong."""
    status = draw(st.sampled_from([b"200 OK"] * 4 + [b"204 None", b"304 Same", b"205 Reset", b"404", b"500 "]))
    version = draw(st.sampled_from([b"1.1"] * 5 + [b"1.0"]))
    fields, body = _framed(draw, draw(_fields(RESPONSE_FIELDS, BAD_RESPONSE_FIELDS)), [*BODIES, b"a{}\n" * 500])
    interim = draw(
        st.sampled_from([b""] * 5 + [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"])
    )
    return interim + b"\r\n".join([b"HTTP/%b %b" % (version, status), *fields, b"", b""]) + body


@st.composite
def damaged(draw: st.DrawFn, one: st.SearchStrategy[bytes], *, most: int) -> bytes:
    """Some messages in a row; now and then something is inserted, taken out or doubled in them."""
    data = b"".join(draw(st.lists(one, min_size=1, max_size=most)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["insert", "delete", "double", "replace"]))
        junk = draw(st.sampled_from(JUNK) | st.binary(min_size=1, max_size=2))
        size = draw(st.integers(1, 4))
        if kind == "insert":
            data = data[:at] + junk + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + size :]
        elif kind == "double":
            data = data[:at] + data[at : at + size] + data[at:]
        else:
            data = data[:at] + junk + data[at + len(junk) :]
    return data


requests = damaged(request(), most=4)
responses = damaged(st.one_of(response(), response(), response(), st.just(SWITCHING)), most=2)
cuts = st.lists(st.integers(1, 60), max_size=12)
