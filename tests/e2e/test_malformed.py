"""What strangers may send: whatever is wrong with a request, the answer says so, and nothing breaks here.

Every page and endpoint of both listeners gets every kind of malformed header, query, path and body.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from aiohttp import web

from tests.e2e.inprocess import running
from tests.e2e.test_notes import host
from tmpnb_py.core.models import State

TOKEN = "the-programs-own-token"

_FORM = b"application/x-www-form-urlencoded"
_PART = b'--a\r\nContent-Disposition: form-data; name="path"\r\n'


@dataclasses.dataclass(frozen=True)
class Sent:
    """What is wrong with a request. `Origin` and `Host` are our own where `headers` do not say otherwise."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    query: bytes = b""


def _form(kind: bytes, body: bytes) -> Sent:
    return Sent(((b"Content-Type", kind),), body)


HEADERS = [
    (b"Authorization", b"token \xff"),
    (b"Authorization", b"Bearer \xed\xa0\x80"),
    (b"Authorization", b"token"),
    (b"Origin", b"http://[zz"),
    (b"Origin", b"http://\xe2\x84\x80/"),
    (b"Origin", b"\xff"),
    (b"Origin", b"null"),
    (b"Host", b"[zz"),
    (b"Host", b"a:b"),
    (b"Host", b"\xff"),
    (b"Referer", b"http://[zz/user/x/"),
    (b"Referer", b"\xff"),
    (b"User-Agent", b"Mozilla/\xff"),
    (b"Cookie", b"tmpnb-sessions=\xff\xfe-zz; =; \xff"),
    (b"Cookie", b"tmpnb-sessions=a-" + b"0" * 32 + b'; x="\\777'),
    (b"Accept", b"\xff;q=x"),
    (b"Accept-Encoding", b"gzip;q=x, \xff;q=1.2.3, br;q="),
    (b"If-None-Match", b'W/"\xff, "'),
    (b"If-Modified-Since", b"Thu, 99 Foo 99999 99:99:99 GMT"),
    (b"Range", b"bytes=9-1"),
    (b"Last-Event-ID", b"\xff"),
    (b"Last-Event-ID", b"0" * 32),
    (b"X-Forwarded-For", b"[zz, 1.2.3.4.5, ::\xff%"),
    (b"X-Forwarded-Proto", b"\xff"),
    (b"X-Forwarded-Host", b"[zz"),
    (b"Forwarded", b'for="[zz'),
    (b"Sec-Fetch-Site", b"\xff"),
    (b"Sec-Fetch-Dest", b"\xff"),
    (b"Sec-Purpose", b"\xff"),
    (b"Content-Type", b"\xff"),
    (b"Content-Type", b";;=;"),
    (b"Content-Type", b"text/html; charset=bogus"),
    (b"Access-Control-Request-Method", b"\xff"),
]
BODIES = [
    _form(_FORM, b"path=%ff&once=%ff%00&fresh"),
    _form(_FORM, b"path=\xff"),
    _form(_FORM, b"once=%ed%a0%80&path=%ed%a0%80"),
    _form(_FORM, b"&" * 5000 + b"=%"),
    _form(_FORM + b"; charset=bogus", b"path=x"),
    _form(_FORM + b"; charset=utf-16", b"path=x"),
    _form(_FORM + b"; charset=utf-7", b"once=+2AA-&path=lab/+2AA-"),
    _form(_FORM + b"; charset=unicode_escape", b"once=\\ud800&path=\\ud800"),
    _form(_FORM + b"; charset=hex", b"path=00"),
    _form(_FORM + b"; charset=\x00", b"path=00"),
    _form(b"multipart/form-data", b"x"),
    _form(b"multipart/form-data; boundary=" + b"a" * 80, b"x"),
    _form(b"multipart/form-data; boundary=a", b"zzz"),
    _form(b"multipart/form-data; boundary=a", b"--a\r\n\r\nx\r\n--a--\r\n"),
    _form(b"multipart/form-data; boundary=a", _PART + b"\r\nx"),
    _form(
        b"multipart/form-data; boundary=a", _PART + b"Content-Type: text/plain; charset=bogus\r\n\r\nx\r\n--a--\r\n"
    ),
    _form(b"multipart/form-data; boundary=a", _PART + b"Content-Transfer-Encoding: x\r\n\r\nx\r\n--a--\r\n"),
    _form(b"multipart/form-data; boundary=a", _PART + b"Content-Encoding: gzip\r\n\r\nx\r\n--a--\r\n"),
    _form(b"multipart/mixed; boundary=a", b"x"),
    _form(b"application/json; charset=bogus", b"{}"),
    _form(b"application/json", b'{"once":"\\ud800","key":"\\ud800","path":"\\ud800"}'),
    _form(b"application/json", b'{"path":"\xff"}'),
    _form(b"application/json", b'{"path":"lab/tree/\\u0000"}'),
    _form(b"application/json", b'{"path":1e999,"fresh":[]}'),
    _form(b"application/json", b"[" * 20000),
    _form(b"application/json", b"NaN"),
    Sent(((b"Content-Encoding", b"gzip"),), b"junk"),
    Sent(((b"Content-Encoding", b"bogus"),), b"junk"),
    Sent(body=b"x" * 70_000),
]
QUERIES = [
    b"wait=nan",
    b"wait=-1",
    b"wait=1e999",
    b"wait=%ff",
    b"wait=\xc2\xb2",
    b"path=%ff",
    b"path=%00",
    b"path=%ed%a0%80",
    b"urlpath=%ff",
    b"urlpath=//[zz",
    b"urlpath=lab/tree/%ed%a0%80",
    b"workshop=%ff",
    b"labpath=%ff",
    b"filepath=%0d%0ax:y",
    b"repo=%ff&repo",
    b"token=%ff",
    b"%",
    b"%zz=%&&==",
    b"a[]=[&;",
]
PARTS = [
    b"%ff",
    b"%00",
    b"%ed%a0%80",
    b"%",
    b"%zz",
    b"..",
    b"%2e%2e%2f",
    b"%0d%0ax:y",
    b"//[zz",
    b"[zz]:x",
    b"a" * 3000,
]
MALFORMED = [*(Sent((header,)) for header in HEADERS), *BODIES, *(Sent(query=query) for query in QUERIES)]


def _targets(app: web.Application, known: str) -> Iterator[tuple[bytes, bytes]]:
    """Each method and path that there is, with something known or unheard-of in the place of its variables."""
    samples = {"slug": "knots", "path": "/lab/tree/x.ipynb", "tail": "", "provider": "gh"}
    for route in app.router.routes():
        assert route.resource is not None
        canonical = route.resource.canonical
        for prefix in ("/api/sessions/", "/user/"):
            canonical = canonical.replace(f"{prefix}{{id}}", f"{prefix}{known}")
        method = b"PATCH" if route.method == "*" else route.method.encode()
        yield method, re.sub(r"\{(\w+)\}", lambda found: samples.get(found[1], "0" * 32), canonical).encode()


async def _answer(port: int, method: bytes, path: bytes, sent: Sent) -> int:
    """The status of the answer, whose rest nobody waits for."""
    host = b"127.0.0.1:%d" % port
    target = path + (b"?" + sent.query if sent.query else b"")
    headers = {b"Host": host, b"Origin": b"http://" + host, b"Accept": b"text/html, text/event-stream"}
    headers |= {b"Authorization": b"token " + TOKEN.encode(), b"Connection": b"close"}
    headers |= {b"Content-Length": b"%d" % len(sent.body), **dict(sent.headers)}
    if {b"Referer", b"User-Agent", b"Sec-Fetch-Site"} & dict(sent.headers).keys():
        del headers[b"Origin"]
    head = b"".join(b"%b: %b\r\n" % header for header in headers.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, head, sent.body))
        async with asyncio.timeout(10):
            return int((await reader.readline()).split(b" ")[1])
    finally:
        writer.transport.abort()


async def _broken(port: int, app: web.Application | None, known: str) -> list[tuple[bytes, bytes, Sent, int]]:
    """The requests that are answered as if the mistake were ours."""
    assert app is not None
    broken = []
    for method, path in _targets(app, known):
        parent = path.rpartition(b"/")[0]
        requests = [(path, sent) for sent in MALFORMED] + [(parent + b"/" + part, Sent()) for part in PARTS]
        for target, sent in requests:
            status = await _answer(port, method, target, sent)
            if status >= 500:
                broken.append((method, target, sent, status))
    return broken


@pytest.mark.parametrize("tokens", [{}, {"api_auth_token": TOKEN, "admin_auth_token": TOKEN}], ids=["open", "tokens"])
@pytest.mark.parametrize("listener", ["visitors", "operators"])
async def test_nothing_that_is_sent_breaks_anything(
    listener: str, tokens: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {
        "allow_origin": "https://good.example",
        "binder_spec": "*",
        "max_containers": 1,
        "max_waiting": 0,  # or it would take a second each to be told of one's place
        "max_notebooks_per_address": 5,
        "audit_client_address": True,
        "trusted_proxies": "127.0.0.1",
    }
    async with host() as machine, running(machine, **options, **tokens) as rig:
        await rig.ready(1)
        service = rig.service
        with structlog.testing.capture_logs() as logs, caplog.at_level(logging.WARNING):
            odd = Sent(((b"X-Forwarded-For", b"\xff"),))
            assert await _answer(service.port, b"POST", b"/api/spawn", odd) == 200
            (session,) = service.site.default_pool.in_state(State.CLAIMED)
            assert session.client == "\\udcff"
            if listener == "visitors":
                broken = await _broken(service.port, service.web.applications[0], session.id)
            else:
                broken = await _broken(service.admin_port, service.web.applications[1], session.id)
        assert broken == []
        assert [entry for entry in logs if "exc_info" in entry or entry["log_level"] in ("error", "critical")] == []
        # Before the operators' listener is no proxy of ours, so aiohttp itself logs heads that are no HTTP at all.
        assert listener == "operators" or caplog.records == []
