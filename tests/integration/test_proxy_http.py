"""Requests and answers through the proxy: what is passed on, what is changed, and how bodies are framed."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web

from tests.integration import proxy_support
from tests.integration.proxy_support import SWITCHING, Rig, Wire, answering, echo, request, response, soon
from tests.waiting import until
from tmpnb_py.core.models import TcpAddress

rig = proxy_support.rig


async def hello(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.method} {request.raw_path} {len(await request.read())}")


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_request_reaches_its_container_and_the_answer_comes_back(rig: Rig, tcp: bool) -> None:
    await rig.start()
    server = await rig.server(echo, tcp=tcp)
    answer = await rig.ask(server, "api/a%2Fb//c;d=1?x=%20&y", headers="X-Twice: 1\r\nX-Twice: 2\r\n")
    assert answer.status == 200
    head, _, body = answer.body.partition(b"\n\n")
    assert head.split(b"\n")[0] == f"GET /user/{server.container.id}/api/a%2Fb//c;d=1?x=%20&y HTTP/1.1".encode()
    assert b"X-Twice: 1\nX-Twice: 2" in head
    assert b"Host: t" in head
    assert b"X-Forwarded-For: 127.0.0.1" in head
    assert b"X-Forwarded-Proto: http" in head
    assert b"X-Forwarded-Host: t" in head
    assert b"X-Forwarded-Port: 80" in head
    assert body == b""


async def test_everything_else_is_answered_by_our_own_application(rig: Rig) -> None:
    await rig.start()
    await rig.application(hello)
    client = await rig.client()
    for target in (b"/", b"/user/nobody/lab", b"/user/nobody", b"/api/spawn?x=1"):
        await client.send(b"POST %b HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc" % target)
        answer = await client.response()
        assert (answer.status, answer.body) == (200, b"POST " + target + b" 3")


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "BREW", "x!"]
)
async def test_any_method(rig: Rig, method: str) -> None:
    await rig.start()
    server = await rig.server(echo)
    answer = await rig.ask(server, method=method, body=b"body")
    assert answer.body.startswith(method.encode() + b" ")
    assert answer.body.endswith(b"\n\nbody")


@pytest.mark.parametrize("target", ["http://u:8000{}", "HTTPS://u:8000{}"])
async def test_an_absolute_target_is_the_path_in_it_and_names_the_host(rig: Rig, target: str) -> None:
    """RFC 9112 §3.2.2: "a server MUST accept the absolute-form", and the host in it counts."""
    await rig.start()
    server = await rig.server(echo)
    path = f"/user/{server.container.id}/api?x=http://v/"
    client = await rig.client()
    for _ in range(2):  # pipelined, on one connection
        await client.send(f"PUT {target.format(path)} HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nok".encode())
    for _ in range(2):
        lines = (await client.response()).body.split(b"\n")
        assert lines[0] == f"PUT {path} HTTP/1.1".encode()
        assert [line for line in lines if line.lower().startswith(b"host:")] == [b"Host: u:8000"]
        assert b"X-Forwarded-Host: u:8000" in lines
        assert lines[-1] == b"ok"
    assert server.accepted == 1


async def test_several_lines_of_cookies_become_one(rig: Rig) -> None:
    """RFC 9113 §8.2.3: HTTP/2 has them apart; Tornado and aiohttp read one line."""
    await rig.start()
    server = await rig.server(echo)
    cookies = "Cookie: a=1\r\nX: y\r\nCookie: tmpnb-x=2; b=3\r\ncookie: tmpnb-y=4\r\ncookie: c=5\r\n"
    lines = (await rig.ask(server, headers=cookies)).body.split(b"\n")
    assert [line for line in lines if line.lower().startswith(b"cookie:")] == [b"Cookie: a=1; b=3; c=5"]


async def test_our_own_application_gets_one_line_of_each_header(rig: Rig) -> None:
    await rig.start()

    async def shown(request: web.Request) -> web.Response:
        names = ("Cookie", "Accept", "X-Forwarded-For")
        return web.Response(text="|".join(" + ".join(request.headers.getall(name, [])) for name in names))

    await rig.application(shown)
    client = await rig.client()
    several = b"Cookie: a=1\r\nCookie: tmpnb-x=2\r\nAccept: x/y\r\nX-Forwarded-For: 1.1.1.1\r\nAccept: text/html\r\n"
    await client.send(b"GET / HTTP/1.1\r\nHost: t\r\n" + several + b"\r\n")
    assert (await client.response()).body == b"a=1; tmpnb-x=2|x/y, text/html|127.0.0.1"


async def test_hop_by_hop_headers_stay_on_their_hop(rig: Rig) -> None:
    await rig.start()
    sent = (
        "Connection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\nProxy-Authorization: x\r\n"
    )

    async def script(wire: Wire) -> None:
        message = await wire.request()
        for name in (b"X-Mine", b"Connection", b"Keep-Alive", b"TE", b"Proxy-Authorization"):
            assert message.get(name) is None
        await wire.send(response(headers="Connection: X-Yours\r\nX-Yours: 1\r\nTrailer: x\r\nX-Kept: 1\r\n"))

    answer = await rig.ask(await rig.server(script), headers=sent)
    assert [name for name, _ in answer.headers] == [b"X-Kept", b"Referrer-Policy", b"Content-Length", b"Date"]


async def test_duplicate_headers_are_kept_in_order(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(answering(response(headers="Set-Cookie: a=1\r\nVary: x\r\nSet-Cookie: b=2\r\n")))
    answer = await rig.ask(server)
    path = b"; SameSite=Lax; Path=/user/" + server.container.id.encode() + b"/"
    assert answer.all(b"Set-Cookie") == [b"a=1" + path, b"b=2" + path]


async def test_chunked_requests_are_reframed_without_extensions_and_trailers(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    client = await rig.client()
    head = request(server, method="PUT", headers="Transfer-Encoding: chunked\r\n")
    body = b"3;ext=1\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n"
    for sizes in ([], [1] * (len(head) + len(body)), [len(head)], [len(head) + 4]):
        await client.send_split(head + body, sizes)
        answer = await client.response()
        assert answer.body.endswith(b"\n\nabc0123456789")
        assert b"X-Trailer" not in answer.body
    assert server.accepted == 1


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_chunked_answers(rig: Rig, version: str) -> None:
    await rig.start()
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n1\r\nd\r\n0\r\nT: 1\r\n\r\n"

    async def script(wire: Wire) -> None:
        for sizes in ([], [1] * len(raw), [60, 5]):
            await wire.request()
            await wire.send_split(raw, sizes)

    server = await rig.server(script)
    for _ in range(3):
        client = await rig.client()
        await client.send(request(server).replace(b"HTTP/1.1", b"HTTP/" + version.encode()))
        answer = await client.response()
        assert answer.body == b"abcd"
        assert answer.get(b"Transfer-Encoding") == (b"chunked" if version == "1.1" else None)
        client.close()
    assert server.accepted == 1


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_an_answer_up_to_the_end_of_the_connection(rig: Rig, version: str) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.0 200 OK\r\n\r\nabc")
        await wire.send(b"def")
        wire.close()

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server).replace(b"HTTP/1.1", b"HTTP/" + version.encode()))
    answer = await client.response()
    assert answer.body == b"abcdef"


async def test_an_aborted_answer_up_to_the_end_is_no_complete_one(rig: Rig) -> None:
    """The session ends, or the server is killed: the client must see that something is missing."""
    await rig.start()
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await gone.wait()

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    await client.head()
    assert await client.exactly(8) == b"3\r\nabc\r\n"
    rig.end(server.container)
    assert await client.closed() == b""


@pytest.mark.parametrize("framing", ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", ""])
async def test_head(rig: Rig, framing: str) -> None:
    await rig.start()
    server = await rig.server(answering(response(b"", headers=framing, length=False)))
    client = await rig.client()
    for _ in range(2):
        await client.send(request(server, method="HEAD"))
        answer = await client.response("HEAD")
        assert (answer.status, answer.get(b"Content-Length")) == (200, b"5" if "5" in framing else None)
    await client.silent()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("framing", ["Content-Length: 5\r\n", ""])
async def test_answers_without_a_body(rig: Rig, status: str, framing: str) -> None:
    await rig.start()
    server = await rig.server(answering(response(b"", status=status, headers=framing, length=False)))
    client = await rig.client()
    for _ in range(2):
        await client.send(request(server))
        answer = await client.response()
        assert answer.status == int(status[:3])
        assert answer.get(b"Content-Length") == (b"5" if framing and "304" in status else None)
    await client.silent()
    assert server.accepted == (2 if framing and "204" in status else 1)  # what announces a body may send one


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 None"), ("GET", "304 None")])
async def test_chunks_announced_where_there_is_no_body_cost_the_connection(
    rig: Rig, method: str, status: str
) -> None:
    """Many a server sends them all the same, and a little later than the head."""
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(response(b"", status=status, headers="Transfer-Encoding: chunked\r\n", length=False))
        assert await wire.closed() == b""

    server = await rig.server(script)
    client = await rig.client()
    for count in (1, 2):
        await client.send(request(server, method=method))
        answer = await client.response(method)
        assert (answer.status, server.accepted) == (int(status[:3]), count)
        await until(lambda: server.open == 0)


async def test_expect_100_continue_is_the_containers_to_answer(rig: Rig) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        head = await wire.head()
        assert head.get(b"Expect") == b"100-continue"
        await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        assert await wire.exactly(4) == b"body"
        await wire.send(response())

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, method="POST", headers="Expect: 100-continue\r\n", body=b"body")[:-4])
    hints = await client.response()
    assert (hints.status, hints.get(b"Link")) == (103, b"x")
    assert (await client.response()).status == 100
    await client.send(b"body")
    assert (await client.response()).body == b"ok"
    assert rig.counters.responses[2] == 1
    assert rig.counters.responses[1] == 0


async def test_a_refused_expectation_ends_the_connection(rig: Rig) -> None:
    """The client may or may not send the body now: its next bytes could be read in two ways."""
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(response(b"no", status="417 Expectation Failed"))
        assert await wire.closed() == b""

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server, method="POST", headers="Expect: 100-continue\r\n", body=b"body")[:-4])
    answer = await client.response()
    assert (answer.status, answer.body, answer.get(b"Connection")) == (417, b"no", b"close")
    assert await client.rest() == b""


async def test_interim_answers_do_not_reach_http_1_0(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(answering(b"HTTP/1.1 100 Continue\r\n\r\n" + response()))
    client = await rig.client()
    await client.send(request(server).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (await client.response()).status == 200
    assert await client.rest() == b""


async def test_http_1_0_needs_no_host_and_closes_unless_asked(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    target = f"/user/{server.container.id}/".encode()
    client = await rig.client()
    await client.send(b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % target)
    answer = await client.response()
    assert answer.get(b"Connection") == b"keep-alive"
    assert b"\nHost: " in answer.body
    await client.send(b"GET %b HTTP/1.0\r\n\r\n" % target)
    answer = await client.response()
    assert answer.get(b"Connection") == b"close"
    assert await client.rest() == b""


async def test_connection_close_is_obeyed_and_what_follows_is_not_read(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    client = await rig.client()
    await client.send(request(server, headers="Connection: close\r\n") + request(server, "second"))
    answer = await client.response()
    assert answer.get(b"Connection") == b"close"
    assert await client.rest() == b""
    assert rig.counters.responses[2:] == [1, 0, 0, 0]


async def test_pipelined_requests_are_answered_in_order(rig: Rig) -> None:
    await rig.start()
    server, other = await rig.server(echo), await rig.server(echo)
    client = await rig.client()
    asked = [(one, f"n{number}") for number in range(100) for one in (server, other)]
    await client.send(b"\r\n".join(request(one, path, method="POST", body=b"b") for one, path in asked))
    for one, path in asked:
        answer = await client.response()
        assert answer.body.startswith(f"POST /user/{one.container.id}/{path} HTTP/1.1\n".encode())
    assert (server.accepted, other.accepted) == (1, 1)


async def test_a_flood_of_pipelined_requests_is_not_read_ahead(rig: Rig) -> None:
    await rig.start()
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await go.wait()
        await wire.send(response())
        await echo(wire)

    server = await rig.server(script)
    client = await rig.client()
    await client.send(request(server))
    flood = request(server) * 100_000
    writing = asyncio.ensure_future(client.send(flood))
    await until(lambda: server.accepted == 1)
    (connection,) = rig.proxy.clients
    await until(lambda: not connection.state.is_reading)
    assert connection.state.unread <= 256 * 1024
    client.reset()
    await asyncio.gather(writing, return_exceptions=True)
    go.set()
    await until(lambda: not rig.clients)


async def test_a_client_may_half_close_after_its_requests(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    client = await rig.client()
    await client.send(request(server, "1") + request(server, "2") + request(server, "3"))
    client.half_close()
    for _ in range(3):
        assert (await client.response()).status == 200
    assert await client.rest() == b""


async def test_connections_to_a_server_are_reused_but_never_for_another(rig: Rig) -> None:
    await rig.start()
    servers = [await rig.server(echo) for _ in range(3)]
    for _ in range(5):
        for server in servers:
            answer = await rig.ask(server)
            assert server.container.id.encode() in answer.body
    assert [server.accepted for server in servers] == [1, 1, 1]


async def test_unsolicited_bytes_cost_the_idle_connection(rig: Rig) -> None:
    await rig.start()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(response())
        await done.wait()
        await wire.send(response(b"evil"))
        assert await wire.closed() == b""

    done = asyncio.Event()
    server = await rig.server(script)
    await rig.ask(server)
    done.set()
    await until(lambda: server.open == 0)
    server.script = answering(response(b"good"))
    assert (await rig.ask(server)).body == b"good"
    assert server.accepted == 2


@pytest.mark.parametrize(("method", "retried"), [("GET", True), ("HEAD", True), ("POST", False), ("PUT", False)])
async def test_a_stale_connection_is_tried_once_more_where_that_is_safe(rig: Rig, method: str, retried: bool) -> None:
    await rig.start()

    async def stale(wire: Wire) -> None:
        await wire.request()
        await wire.send(response())
        await wire.head()  # and hang up

    server = await rig.server(stale)
    await rig.ask(server)
    server.script = answering(response(b"", headers="X: fresh\r\n"))
    answer = await rig.ask(server, method=method)
    assert answer.status == (200 if retried else 502)
    assert server.accepted == (2 if retried else 1)


async def test_a_fresh_connection_that_is_closed_is_not_tried_again(rig: Rig) -> None:
    await rig.start()

    async def rude(wire: Wire) -> None:
        await wire.head()

    server = await rig.server(rude)
    answer = await rig.ask(server)
    assert answer.status == 502
    assert server.accepted == 1


@pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c", "TLS/1.0"])
async def test_no_other_upgrade_is_passed_on(rig: Rig, upgrade: str) -> None:
    await rig.start()
    server = await rig.server(echo)
    client = await rig.client()
    headers = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: x\r\n"
    for body in (b"", b"abc"):
        await client.send(request(server, headers=headers, body=body) + request(server, "second"))
        first, second = await client.response(), await client.response()
        assert first.status == second.status == 200
        assert first.body.endswith(b"\n\n" + body)
        assert b"pgrade" not in first.body
        assert b"/second " in second.body


async def test_a_101_for_who_did_not_ask_is_a_bad_gateway(rig: Rig) -> None:
    await rig.start()
    assert (await rig.ask(await rig.server(answering(SWITCHING + b"rest")))).status == 502


async def test_activity_and_presence_are_stamped(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    before = time.monotonic()
    server.container.visited = False
    await rig.ask(server, "api/kernels")
    assert server.container.visited
    assert server.container.last_presence >= before
    assert server.container.last_activity < before
    await rig.ask(server, "api/contents/x", method="PUT", body=b"x")
    assert server.container.last_activity >= before


async def test_saving_is_activity_when_the_content_changed(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    chunked = b"PUT /user/%b/api/contents/x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def saves(body: bytes, *, in_chunks: bool = False) -> bool:
        server.container.last_activity = 0
        if in_chunks:
            client = await rig.client()
            head = chunked % server.container.id.encode()
            await client.send_split(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), [len(head) + 4])
            assert (await client.response()).status == 200
        else:
            await rig.ask(server, "api/contents/x", method="PUT", body=body)
        return server.container.last_activity > 0

    assert await saves(b"one" * 50_000)
    assert not await saves(b"one" * 50_000)
    assert not await saves(b"one" * 50_000, in_chunks=True)
    assert await saves(b"one" * 50_000 + b"1")
    assert await saves(b"one" * 50_000 + b"2", in_chunks=True)
    assert not await saves(b"one" * 50_000 + b"2")


@pytest.mark.parametrize(
    ("status", "active"),
    [
        ("200 OK", True),
        ("303 See Other", True),
        ("403 Forbidden", False),
        ("404 Not Found", False),
        ("502 Bad Gateway", False),
    ],
)
async def test_what_is_refused_is_no_activity(rig: Rig, status: str, active: bool) -> None:
    await rig.start()
    server = await rig.server(answering(response(status=status)))
    server.container.last_activity = 0
    await rig.ask(server, "api/kernels", method="POST")
    assert (server.container.last_activity > 0) is active


@pytest.mark.parametrize(
    ("headers", "times"),
    [
        ("Accept: text/html,*/*\r\n", [True, False]),
        ("Accept: */*\r\n", [False, False]),
        ("Accept: text/html\r\nSec-Fetch-Mode: cors\r\n", [False, False]),
        ("Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n", [True, False]),
        ("Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n", [True, True]),
    ],
)
async def test_opening_a_page_is_activity_and_its_reloading_itself_is_not(
    rig: Rig, headers: str, times: list[bool]
) -> None:
    await rig.start()
    server = await rig.server(echo)
    seen = []
    for number in range(2):
        server.container.last_activity = 0
        await rig.ask(server, f"proxy/8050/?{number}", headers=headers)
        seen.append(server.container.last_activity > 0)
    assert seen == times


async def test_polls_of_extensions_are_presence_only(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    polls = [
        ("GET", "metrics"),
        ("GET", "dask/clusters"),
        ("POST", "git/x/status"),
        ("GET", "files/plot.png"),
        ("GET", "proxy/8050/_reload-hash"),
        ("PUT", "lab/api/workspaces/default"),
    ]
    for method, path in polls:
        await rig.ask(server, path, method=method, body=b"" if method == "GET" else b'{"at": 1}')
    server.container.last_activity = server.container.last_presence = 0
    for method, path in polls:
        await rig.ask(server, path, method=method, body=b"" if method == "GET" else b'{"at": 2}')
        assert server.container.last_presence > 0
        assert server.container.last_activity == 0, path


async def test_doubled_slashes_after_the_base_path_are_collapsed(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    answer = await rig.ask(server, "//api/x")
    assert answer.body.startswith(f"GET /user/{server.container.id}/api/x HTTP/1.1".encode())


async def test_error_pages_for_people_and_programs(rig: Rig) -> None:
    await rig.start()
    container = rig.claimed("a" * 32, TcpAddress("127.0.0.1", 1))
    client = await rig.client()
    await client.send(f"GET /user/{container.id}/ HTTP/1.1\r\nHost: t\r\nAccept: text/html,*/*\r\n\r\n".encode())
    answer = await client.response()
    assert (answer.status, answer.get(b"Content-Type"), answer.body) == (502, b"text/html", b"<h1>502</h1>")
    assert answer.get(b"Retry-After") == b"5"
    assert await client.rest() == b""
    client = await rig.client()
    await client.send(f"HEAD /user/{container.id}/ HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    answer = await client.response("HEAD")
    assert (answer.status, answer.get(b"Content-Type")) == (502, b"application/json")
    assert await client.rest() == b""
    assert rig.counters.responses == [0, 0, 0, 0, 0, 2]


async def test_metrics_of_bytes(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(answering(response(b"x" * 1000)))
    client = await rig.client()
    sent = request(server, method="POST", body=b"y" * 500)
    await client.send(sent)
    head = await client.head()
    await client.exactly(1000)
    assert rig.counters.bytes_received == len(sent)
    size = len(head.start_line) + 2 + sum(len(name) + len(value) + 4 for name, value in head.headers) + 2 + 1000
    assert rig.counters.bytes_sent == size
    assert rig.counters.open_connections == 1


async def test_a_thousand_requests_one_after_the_other_and_two_hundred_at_once(rig: Rig) -> None:
    await rig.start()
    server = await rig.server(echo)
    client = await rig.client()
    for _ in range(1000):
        await client.send(request(server))
        assert (await client.response()).status == 200
    assert server.accepted == 1
    client.close()
    answers = await soon(asyncio.gather(*(rig.ask(server, method="POST", body=b"x") for _ in range(200))))
    assert {answer.status for answer in answers} == {200}
    await until(lambda: not rig.clients)
    await until(lambda: (state := rig.proxy.upstreams.state[server.container.id]).open == state.idle <= 64)
    assert rig.counters.responses == [0, 0, 1200, 0, 0, 0]
