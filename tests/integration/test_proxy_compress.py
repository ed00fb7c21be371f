"""Static files of a notebook are compressed on their way through the proxy; everything else passes as it is."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from tests.integration import proxy_support
from tests.integration.proxy_support import Rig, Wire, answering, request, response
from tests.waiting import until
from tmpnb_py.proxy import compress

rig = proxy_support.rig

SCRIPT = b"console.log('a line like any other');\n" * 400
GZIP = "Accept-Encoding: gzip, br\r\n"
HEADERS = 'Content-Type: text/javascript\r\nETag: "abc"\r\nAccept-Ranges: bytes\r\nVary: Cookie\r\n'


async def test_a_script_is_compressed_and_the_connection_serves_the_next(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(answering(*[response(SCRIPT, headers=HEADERS)] * 3, response(b"next")))
    client = await rig.client()
    for _ in range(3):
        await client.send(request(server, "static/lab/x.js?v=1", headers=GZIP))
        answer = await client.response()
        assert answer.get(b"Content-Encoding") == b"gzip"
        assert answer.get(b"Content-Length") is None
        assert answer.get(b"ETag") == b'W/"abc"'
        assert answer.get(b"Accept-Ranges") is None
        assert answer.all(b"Vary") == [b"Cookie", b"Accept-Encoding"]
        assert gzip.decompress(answer.body) == SCRIPT
        assert len(answer.body) < len(SCRIPT) / 10
    await client.send(request(server, "api/x"))
    assert (await client.response()).body == b"next"
    assert server.accepted == 1


@pytest.mark.parametrize(
    ("path", "headers", "answer"),
    [
        ("static/x.js", "", HEADERS),
        ("files/x.js", GZIP, HEADERS),
        ("static/x.html", GZIP, "Content-Type: text/html\r\n"),
        ("static/x.js", GZIP, HEADERS + "Cache-Control: no-transform\r\n"),
        ("static/x.js", GZIP, HEADERS + "Content-Encoding: br\r\n"),
    ],
)
async def test_everything_else_passes_as_it_is(rig: Rig, path: str, headers: str, answer: str) -> None:
    await rig.start()
    got = await rig.ask(await rig.server(answering(response(SCRIPT, headers=answer))), path, headers=headers)
    assert got.body == SCRIPT
    assert got.get(b"Content-Length") == str(len(SCRIPT)).encode()
    assert got.get(b"Content-Encoding") in (None, b"br")
    assert got.get(b"ETag") in (None, b'"abc"')


async def test_ranges_pass_as_they_are(rig: Rig) -> None:
    await rig.start()
    part = response(
        SCRIPT[:5000], status="206 Partial Content", headers=HEADERS + "Content-Range: bytes 0-4999/9\r\n"
    )
    got = await rig.ask(await rig.server(answering(part)), "static/x.js", headers=GZIP + "Range: bytes=0-4999\r\n")
    assert (got.status, got.body, got.get(b"Content-Encoding")) == (206, SCRIPT[:5000], None)


async def test_head_and_not_modified_say_what_the_answer_would(rig: Rig) -> None:
    await rig.start()
    head = f"HTTP/1.1 200 OK\r\n{HEADERS}Content-Length: 9999\r\n\r\n".encode()
    not_modified = f"HTTP/1.1 304 Not Modified\r\n{HEADERS}\r\n".encode()
    server = await rig.server(answering(head, not_modified))
    client = await rig.client()
    await client.send(request(server, "static/x.js", method="HEAD", headers=GZIP))
    answer = await client.response("HEAD")
    assert answer.get(b"Content-Encoding") == b"gzip"
    assert answer.get(b"Content-Length") is None
    assert answer.get(b"ETag") == b'W/"abc"'
    await client.send(request(server, "static/x.js", headers=GZIP + 'If-None-Match: W/"abc"\r\n'))
    answer = await client.response()
    assert answer.status == 304
    assert answer.get(b"Content-Encoding") is None
    assert answer.get(b"ETag") == b'W/"abc"'
    # Who got it as it is (a client that does not take gzip, a picture) is told of that.
    server.script = answering(not_modified, not_modified)
    for name in ("static/x.js", "static/x.png"):
        answer = await rig.ask(server, name, headers=GZIP + 'If-None-Match: "abc"\r\n')
        assert (answer.status, answer.get(b"ETag"), answer.all(b"Vary")) == (304, b'"abc"', [b"Cookie"])


async def test_who_gets_it_as_it_is_is_told_that_it_depends(rig: Rig) -> None:
    """RFC 9110 §12.5.5: else a cache gives it to everybody."""
    await rig.start()
    server = await rig.server(answering(response(SCRIPT, headers=HEADERS), response(SCRIPT, headers=HEADERS)))
    for headers in ("", GZIP + "Cache-Control: no-transform\r\n"):
        answer = await rig.ask(server, "static/x.js", headers=headers)
        assert (answer.body, answer.get(b"ETag")) == (SCRIPT, b'"abc"')
        assert answer.all(b"Vary") == [b"Cookie", b"Accept-Encoding"]


async def test_an_old_client_gets_the_length(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(answering(response(SCRIPT, headers=HEADERS)))
    client = await rig.client()
    await client.send(request(server, "static/x.js", headers=GZIP).replace(b"HTTP/1.1", b"HTTP/1.0"))
    answer = await client.response()
    assert answer.body == SCRIPT
    assert answer.get(b"Content-Encoding") is None


async def test_a_server_that_dies_in_the_middle_is_noticed(rig: Rig) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(response(SCRIPT, headers=HEADERS)[:-10])
        wire.close()

    client = await rig.client()
    await client.send(request(await rig.server(script), "static/x.js", headers=GZIP))
    assert (await client.head()).status == 200
    with pytest.raises(asyncio.IncompleteReadError):
        await client.chunked()
    await until(lambda: not rig.proxy.upstreams.compressing)


async def test_beyond_the_budget_answers_pass_as_they_are(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress, "BURST", 0.0)
    await rig.start()
    got = await rig.ask(await rig.server(answering(response(SCRIPT, headers=HEADERS))), "static/x.js", headers=GZIP)
    assert (got.body, got.get(b"Content-Encoding")) == (SCRIPT, None)
