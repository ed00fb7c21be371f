"""Real servers behind the proxy, each doing what HTTP allows a server: nginx, Tornado and Python's own (HTTP/1.0)."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import tornado.httpserver
import tornado.iostream
import tornado.netutil
import tornado.web

from tests.integration import proxy_support
from tests.integration.proxy_support import Rig, Wire, soon
from tests.nginx_support import nginx
from tests.waiting import until
from tmpnb_py.core.models import SocketAddress, TcpAddress

rig = proxy_support.rig

ID = "a" * 26
FILE = b"0123456789" * 10_000
_NGINX = """\
    server {{
        listen unix:{directory}/up/server.sock;
        location /user/{id}/trailers {{ add_trailer X-Sum abc; return 200 "with trailers"; }}
        location /user/{id}/none {{ return 204; }}
        location /user/{id}/close {{ keepalive_timeout 0; return 200 "good-bye"; }}
        location /user/{id}/small {{ client_max_body_size 1k; return 200 "small enough"; }}
        location /user/{id}/file {{ alias {directory}/file; if_modified_since before; }}
        location /user/{id}/ {{ return 200 "ok"; }}
    }}
"""


@pytest.fixture
async def behind_nginx(rig: Rig, tmp_path: Path) -> AsyncIterator[Rig]:
    """The proxy before an nginx on a Unix socket."""
    (tmp_path / "up").mkdir()
    (tmp_path / "file").write_bytes(FILE)
    (directory := tmp_path / "nginx").mkdir()
    text = _NGINX.format(directory=tmp_path, id=ID)
    async with nginx(directory, text, place=tmp_path / "up" / "server.sock", main="master_process off;"):
        await rig.start()
        rig.claimed(ID, SocketAddress(str(tmp_path / "up")))
        yield rig


def ask(path: str, *, method: str = "GET", version: str = "1.1", headers: str = "") -> bytes:
    """A request's head."""
    return f"{method} /user/{ID}/{path} HTTP/{version}\r\nHost: t\r\n{headers}\r\n".encode()


async def test_everything_on_one_connection_to_nginx(behind_nginx: Rig) -> None:
    """Trailers, HEAD, 204, 304, ranges and `Connection: close` in turn: each is followed by a right answer."""
    client = await behind_nginx.client()
    for path, method, headers, status, body in (
        ("trailers", "GET", "TE: trailers\r\n", 200, b"with trailers"),
        ("file", "HEAD", "", 200, b""),
        ("none", "GET", "", 204, b""),
        ("file", "GET", "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT\r\n", 304, b""),
        ("close", "GET", "", 200, b"good-bye"),
        ("file", "GET", "", 200, FILE),
        ("none", "HEAD", "", 204, b""),
        ("file", "GET", "Range: bytes=5-9\r\n", 206, b"56789"),
        ("trailers", "HEAD", "", 200, b""),
        ("", "DELETE", "", 200, b"ok"),
    ):
        await client.send(ask(path, method=method, headers=headers))
        answer = await client.response(method)
        assert (answer.status, answer.body) == (status, body), path
        assert answer.get(b"Connection") is None
        assert answer.all(b"X-Sum") == []
    await client.silent()


async def test_pipelining_before_nginx(behind_nginx: Rig) -> None:
    client = await behind_nginx.client()
    paths = ["file", "none", "close", "trailers", ""] * 20
    await client.send(b"".join(ask(path) for path in paths))
    for path in paths:
        answer = await client.response()
        assert (answer.status, len(answer.body)) == {
            "file": (200, len(FILE)),
            "none": (204, 0),
            "close": (200, 8),
            "trailers": (200, 13),
            "": (200, 2),
        }[path]


@pytest.mark.parametrize("path", ["trailers", "file", "close"])
async def test_an_http_1_0_client_before_nginx(behind_nginx: Rig, path: str) -> None:
    client = await behind_nginx.client()
    await client.send(ask(path, version="1.0"))
    answer = await client.response()
    assert (answer.status, answer.get(b"Transfer-Encoding"), answer.get(b"Connection")) == (200, None, b"close")
    assert answer.body in (b"with trailers", FILE, b"good-bye")
    assert await client.rest() == b""


async def test_nginx_answers_early_to_a_large_upload(behind_nginx: Rig) -> None:
    for _ in range(5):
        client = await behind_nginx.client()
        size = 4 * 1024 * 1024
        await client.send(ask("small", method="PUT", headers=f"Content-Length: {size}\r\n"))
        writing = asyncio.ensure_future(client.send(bytes(size)))
        answer = await client.response()
        assert (answer.status, answer.get(b"Connection")) == (413, b"close")
        await asyncio.gather(writing, return_exceptions=True)
        client.close()
    answer = await _once(behind_nginx, ask("small", method="PUT", headers="Content-Length: 3\r\n") + b"abc")
    assert answer.body == b"small enough"


async def _once(rig: Rig, data: bytes) -> proxy_support.Message:
    client = await rig.client()
    await client.send(data)
    answer = await client.response()
    client.close()
    return answer


# --- Tornado, which Jupyter is made of


class Events:
    """What the Tornado server has noticed."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.received = 0


@contextlib.asynccontextmanager
async def tornado_server(rig: Rig) -> AsyncIterator[Events]:
    """The proxy before a Tornado server."""
    events = Events()

    class Echo(tornado.web.RequestHandler):
        def put(self) -> None:
            self.write(self.request.body)

        def get(self) -> None:
            self.write("hello")

        def head(self) -> None:
            self.write("hello")

    class Endless(tornado.web.RequestHandler):
        async def get(self) -> None:
            with contextlib.suppress(tornado.iostream.StreamClosedError):
                while not events.gone.is_set():
                    self.write(b"x" * 1000)
                    await self.flush()
                    await asyncio.sleep(0.001)

        def on_connection_close(self) -> None:
            events.gone.set()

    @tornado.web.stream_request_body
    class Early(tornado.web.RequestHandler):
        def prepare(self) -> None:
            raise tornado.web.HTTPError(403)

        def data_received(self, chunk: bytes) -> None:
            raise AssertionError("it wanted none")

    @tornado.web.stream_request_body
    class Upload(tornado.web.RequestHandler):
        def data_received(self, chunk: bytes) -> None:
            events.received += len(chunk)

        def on_connection_close(self) -> None:
            events.gone.set()

        def put(self) -> None:
            self.write(str(events.received))

    application = tornado.web.Application(
        [(r".*/echo", Echo), (r".*/endless", Endless), (r".*/early", Early), (r".*/upload", Upload)],
        log_function=lambda _handler: None,
    )
    server = tornado.httpserver.HTTPServer(application)
    (listener,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets([listener])
    await rig.start()
    rig.claimed(ID, TcpAddress("127.0.0.1", listener.getsockname()[1]))
    try:
        yield events
    finally:
        await rig.proxy.shut_down(0)
        server.stop()
        await server.close_all_connections()


async def test_tornado_says_continue_and_both_sides_obey(rig: Rig) -> None:
    async with tornado_server(rig):
        client = await rig.client()
        for _ in range(2):
            await client.send(ask("echo", method="PUT", headers="Expect: 100-continue\r\nContent-Length: 4\r\n"))
            assert (await client.response()).status == 100
            await client.send(b"body")
            answer = await client.response()
            assert (answer.status, answer.body) == (200, b"body")


async def test_tornados_head_and_304(rig: Rig) -> None:
    async with tornado_server(rig):
        client = await rig.client()
        await client.send(ask("echo"))
        tag = (await client.response()).get(b"Etag") or b""
        await client.send(ask("echo", headers=f"If-None-Match: {tag.decode()}\r\n"))
        assert (await client.response()).status == 304
        await client.send(ask("echo", method="HEAD"))
        answer = await client.response("HEAD")
        assert (answer.status, answer.get(b"Content-Length")) == (200, b"5")
        await client.send(ask("echo", method="PUT", headers="Transfer-Encoding: chunked\r\n"))
        await client.send(b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert (await client.response()).body == b"abc"


@pytest.mark.parametrize("expects", [True, False])
async def test_tornado_refuses_an_upload_before_it_comes(rig: Rig, expects: bool) -> None:
    async with tornado_server(rig):
        client = await rig.client()
        size = 8 * 1024 * 1024
        headers = f"Content-Length: {size}\r\n" + ("Expect: 100-continue\r\n" if expects else "")
        await client.send(ask("early", method="PUT", headers=headers))
        writing = asyncio.ensure_future(client.send(b"" if expects else bytes(size)))
        answer = await client.response()
        while answer.status == 100:
            answer = await client.response()
        assert (answer.status, answer.get(b"Connection")) == (403, b"close")
        await asyncio.gather(writing, return_exceptions=True)
        assert (await _once(rig, ask("echo"))).body == b"hello"


async def test_tornado_notices_that_the_client_left_its_download(rig: Rig) -> None:
    async with tornado_server(rig) as events:
        client = await rig.client()
        await client.send(ask("endless"))
        assert (await client.head()).status == 200
        client.reset()
        await soon(events.gone.wait())
        assert (await _once(rig, ask("echo"))).body == b"hello"


async def test_tornado_notices_that_the_client_left_its_upload(rig: Rig) -> None:
    async with tornado_server(rig) as events:
        client = await rig.client()
        await client.send(ask("upload", method="PUT", headers="Content-Length: 100000\r\n") + b"abc")
        await until(lambda: events.received == 3)
        client.reset()
        await soon(events.gone.wait())
        assert (await _once(rig, ask("echo"))).body == b"hello"


# --- Python's own, which speaks HTTP/1.0


class _Old(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        if self.path.endswith("/length"):
            self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"old")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library's)
        pass


@pytest.fixture
def old_server() -> Iterator[int]:
    """A server of HTTP/1.0 in a thread."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Old)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["length", "until-the-end"])
async def test_a_server_of_http_1_0(rig: Rig, old_server: int, path: str) -> None:
    """Its connection serves one answer; the client's goes on."""
    await rig.start()
    rig.claimed(ID, TcpAddress("127.0.0.1", old_server))
    client: Wire = await rig.client()
    for _ in range(3):
        await client.send(ask(path))
        answer = await client.response()
        assert (answer.status, answer.body, answer.get(b"Connection")) == (200, b"old", None)
    await client.send(ask(path, version="1.0"))
    assert (await client.response()).body == b"old"
    assert await client.rest() == b""
