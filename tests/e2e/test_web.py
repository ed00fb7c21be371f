"""`--egress web` as notebooks see it: real containers, real clients, and a web of the test's own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web as aiohttp_web

from tests.contract.rigs import spec_of
from tests.e2e.local import LocalDeployment
from tests.e2e.service import Deployment
from tests.e2e.test_upgrade import finally_ended, gone, upgraded
from tests.engine_support import docker
from tests.web_world import PUBLIC, NameServer, Web, certificate, server, web
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import CA_BUNDLE, ContainerConfig, ContainerSpec, Egress, Mount, State, Transport
from tmpnb_py.engines import web_socket
from tmpnb_py.engines.docker import options as docker_options
from tmpnb_py.engines.docker.engine import DockerEngine

pytestmark = pytest.mark.engine

NAME = "pypi.example"


@dataclasses.dataclass
class Place:
    """An engine whose notebooks have the proxy of `web`."""

    web: Web
    engine: DockerEngine

    @property
    def names(self) -> NameServer:
        """The name server that the proxy asks."""
        return self.web.names

    @contextlib.asynccontextmanager
    async def notebook(self, config: ContainerConfig) -> AsyncIterator[str]:
        """Start one, and have it sealed and limited as for a visitor; its name for `docker exec`."""
        spec = ContainerSpec(os.urandom(16).hex(), "", config)
        await self.engine.start(spec)
        try:
            await run(docker_options.name_of(self.engine._pool, spec.id, State.STARTING), _UNTIL_IT_LISTENS)
            await self.engine.mark_ready(spec.id)
            yield docker_options.name_of(self.engine._pool, spec.id, State.READY)
        finally:
            await self.engine.remove(spec.id)


_UNTIL_IT_LISTENS = "for i in $(seq 100); do grep -q ':0C38 ' /proc/net/tcp && exit 0; sleep 0.1; done; exit 1"


async def run(name: str, script: str, *arguments: str) -> str:
    """What a shell script prints in a notebook."""
    return await asyncio.to_thread(docker, "exec", name, "sh", "-c", script, "sh", *arguments)


@pytest.fixture
async def place(pool: str, tmp_path: Path) -> AsyncIterator[Place]:
    engine = DockerEngine(pool=pool, runtime_dir=tmp_path / "run")
    async with web(tmp_path / "web") as made:
        made.names.answers[NAME] = [[PUBLIC]]
        engine.serve_web(made.proxy)
        await engine.open()
        try:
            yield Place(made, engine)
        finally:
            await engine.remove_networks()
            await engine.close()


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A web server."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    writer.close()


async def config_of(place: Place, image: str, **changes: object) -> ContainerConfig:
    """A notebook with the web."""
    return spec_of(await place.engine.image(image), "exec sleep 600", egress=Egress.WEB, **changes).config


# Each of these is asked for through the proxy, and then directly.
TRY = """
import json, os, socket, sys, urllib.request
def attempt(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read(100).decode()
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return str(error)
def direct(host, port):
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, int(port)))
os.environ["no_proxy"] = ""
urls, (host, port) = sys.argv[3:], sys.argv[1:3]
try:
    socket.getaddrinfo(sys.argv[3].split("/")[2].split(":")[0], 80)
    resolved = True
except OSError:
    resolved = False
print(json.dumps({"seen": [attempt(url) for url in urls], "direct": direct(host, port), "resolved": resolved}))
"""


@pytest.mark.parametrize("transport", [Transport.SOCKET, Transport.PORT])
async def test_the_web_and_nothing_else(place: Place, server_image: str, transport: Transport) -> None:
    config = await config_of(place, server_image, transport=transport)
    if transport is Transport.SOCKET:
        assert await place.engine.prepare(config) == ()
    else:  # what the firewall closes is `test_egress`'s matter, and takes long to try
        await place.engine._isolation.make_network(config)

    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    async with server(hello, "0.0.0.0") as port, place.notebook(config) as name:
        place.web.reload(egress_ports=(port,))
        place.names.answers["private.example"] = [["127.0.0.1"]]
        hosts = [NAME, "127.0.0.1", "169.254.169.254", gateway, "[::ffff:127.0.0.1]", "private.example", "2130706433"]
        urls = [f"http://{host}:{port}/" for host in hosts]
        told = json.loads(await run(name, 'exec python3 -c "$@"', TRY, gateway, str(port), *urls))
        environment = await run(name, "env")
    assert told["seen"][0] == "hello"
    assert set(told["seen"][1:]) <= {400, 403}
    assert told["direct"] != 0
    assert not told["resolved"]
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        assert f"{variable}=http://127.0.0.1:3128" in environment
    assert "TMPNB_EGRESS=web" in environment


async def test_a_new_service_listens_for_the_notebooks_that_there_are(
    place: Place, server_image: str, tmp_path: Path
) -> None:
    config = await config_of(place, server_image)
    ask = f"python3 -c 'import urllib.request as u; print(u.urlopen(\"http://{NAME}:1/\").status)' 2>&1 | tail -n 1"
    async with place.notebook(config) as name:
        assert "403" in await run(name, ask)
        await place.web.proxy.shut_down()
        said = await run(name, ask)
        assert re.search("refused|closed|reset", said), said
        async with web(tmp_path / "other") as other:
            place.engine.serve_web(other.proxy)
            await place.engine.list()
            assert "403" in await run(name, ask)


async def test_where_the_socket_does_not_reach_the_service_nothing_starts(
    place: Place, server_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = web_socket.listen

    def unreachable(directory: str) -> object:
        sock = made(directory)
        (Path(directory) / web_socket.WEB_SOCKET).unlink()
        return sock

    monkeypatch.setattr(web_socket, "listen", unreachable)
    config = await config_of(place, server_image)
    with pytest.raises(EngineError, match="do not reach the web proxy of this service"):
        await place.engine.prepare(config)


# --- the clients that people use


def _package(directory: Path) -> None:
    """A package for pip, in an index of its own."""
    wheel = "tmpnb_try-1.0-py3-none-any.whl"
    (directory / "simple" / "tmpnb-try").mkdir(parents=True)
    with zipfile.ZipFile(directory / wheel, "w") as archive:
        archive.writestr("tmpnb_try.py", "print('installed')\n")
        archive.writestr("tmpnb_try-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tmpnb-try\nVersion: 1.0\n")
        archive.writestr(
            "tmpnb_try-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tmpnb_try-1.0.dist-info/RECORD", "")
    (directory / "simple" / "tmpnb-try" / "index.html").write_text(f'<a href="../../{wheel}">{wheel}</a>')


def _repository(directory: Path) -> None:
    """A repository that any web server can serve."""
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example"]
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["commit", "-q", "--allow-empty", "-m", "one"],
        ["update-server-info"],
    ):
        subprocess.run([*git, *arguments], cwd=directory, check=True)


@contextlib.asynccontextmanager
async def _site(directory: Path, context: ssl.SSLContext) -> AsyncIterator[int]:
    """The directory by HTTPS."""
    application = aiohttp_web.Application()

    async def file(request: aiohttp_web.Request) -> aiohttp_web.StreamResponse:
        path = directory / request.match_info["path"]
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            raise aiohttp_web.HTTPNotFound
        return aiohttp_web.FileResponse(path, headers={"Content-Type": _kind(path)})

    application.router.add_get("/{path:.*}", file)
    runner = aiohttp_web.AppRunner(application)
    await runner.setup()
    site = aiohttp_web.TCPSite(runner, PUBLIC, 0, ssl_context=context)
    await site.start()
    assert site._server is not None
    try:
        yield site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    finally:
        await runner.cleanup()


def _kind(path: Path) -> str:
    return {".html": "text/html", ".csv": "text/csv"}.get(path.suffix, "application/octet-stream")


async def test_pip_r_git_and_curl(place: Place, workshop_image: str, tmp_path: Path) -> None:
    """By HTTPS of a company's own authority, with a list of hosts in force."""
    files = tmp_path / "site"
    _package(files)
    (files / "data.csv").write_text("a,b\n1,2\n3,4\n")
    (files / "repo").mkdir()
    _repository(files / "repo")
    tls, authority = certificate(tmp_path, NAME)
    async with _site(files, tls) as port:
        place.web.reload(egress_hosts=(f"{NAME}:{port}",))
        url = f"https://{NAME}:{port}"
        authority.chmod(0o644)
        bundle = Mount(str(authority), CA_BUNDLE, read_only=True)
        config = await config_of(place, workshop_image, mounts=(bundle,), pids_limit=256, mem_limit=1 << 29)
        async with place.notebook(config) as name:
            installed = await run(
                name,
                f"pip install -q -t /tmp/x --index-url {url}/simple tmpnb-try 2>&1 && python3 /tmp/x/tmpnb_try.py",
            )
            curl = await run(name, f"curl -sS {url}/data.csv; curl -sS https://other.example/ 2>&1 || true")
            csv = await run(
                name,
                f"""Rscript -e 'print(sum(read.csv("{url}/data.csv")))
                download.file("{url}/data.csv", "/tmp/d", quiet = TRUE); cat(file.size("/tmp/d"))' 2>&1""",
            )
            git = await run(name, f"git clone -q {url}/repo/.git /tmp/repo 2>&1 && git -C /tmp/repo log --format=%s")
    assert installed.splitlines()[-1] == "installed"
    assert curl.splitlines()[:3] == ["a,b", "1,2", "3,4"]
    assert "403" in curl
    assert csv == "[1] 10\n12"
    assert git == "one"


# --- a notebook that takes what it can


@pytest.mark.long
async def test_a_flood_and_a_neighbour(place: Place, server_image: str) -> None:
    """1000 connections of one notebook, over and over: its neighbour's download takes hardly longer."""
    size = 24 << 20

    async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if b"GET /much" in await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
                for _ in range(size >> 16):
                    writer.write(b"x" * (1 << 16))
                    await writer.drain()
            await reader.read()
        writer.close()

    download = (
        f"import urllib.request as u, time; b = time.monotonic(); "
        f"assert len(u.urlopen('http://{NAME}:%d/much').read()) == {size}; print(time.monotonic() - b)"
    )
    flood = """
import socket, time
end = time.monotonic() + 12
while time.monotonic() < end:
    many = []
    try:
        for _ in range(1000):
            many.append(socket.create_connection(("127.0.0.1", 3128), timeout=0.05))
            many[-1].send(b"CONNECT %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    except OSError:
        pass
    for one in many:
        one.close()
"""
    config = await config_of(place, server_image)
    async with server(pours) as port:
        place.web.reload(egress_ports=(port,), egress_rate=0)
        async with place.notebook(config) as hostile, place.notebook(config) as neighbour:
            script = 'exec python3 -c "$1"'
            alone = min([float(await run(neighbour, script, download % port)) for _ in range(3)])
            flooding = asyncio.ensure_future(run(hostile, script, flood % f"{NAME}:{port}"))
            await asyncio.sleep(1)
            beside = [float(await run(neighbour, script, download % port)) for _ in range(5)]
            began = time.monotonic()
            await flooding
    print(f"alone {alone:.2f} s, beside a flood {sorted(beside)}", file=sys.stderr)
    assert time.monotonic() - began < 30
    assert sorted(beside)[2] < 4 * alone + 1


# --- the service itself


SLOWLY = """
import sys, urllib.request
answer = urllib.request.urlopen(sys.argv[1], timeout=60)
print("begun", flush=True)
print(len(answer.read()), flush=True)
"""


@pytest.mark.long
async def test_a_download_goes_on_over_an_upgrade_and_another_begins_after_kill_9(
    deployment: Deployment, small: list[str]
) -> None:
    half, rest = 100_000, asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * half) + b"x" * half)
        await rest.wait()
        writer.write(b"x" * half)
        writer.close()

    async with server(slow) as port:
        options = (*small, "--pool-size=1", "--egress=web", f"--egress-allow={PUBLIC}", f"--egress-ports={port}")
        service = deployment.start(*options)
        async with finally_ended(service):
            await service.ready(1)
            async with service.http() as client:
                session = await service.spawn(client)
            name = deployment.docker_id(session["id"])
            command = ["docker", "exec", name, "python3", "-c", SLOWLY, f"http://{PUBLIC}:{port}/"]
            download = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            assert download.stdout is not None
            assert await download.stdout.readline() == b"begun\n"
            new = await upgraded(service)
            rest.set()
            assert await download.stdout.read() == b"200000\n"
            await download.wait()
            await gone(service.pid)
            assert (await asyncio.to_thread(docker, *command[1:])).splitlines() == ["begun", "200000"]
            os.kill(new, signal.SIGKILL)
            await gone(new)
        again = deployment.start(*options)
        await again.ready(1)
        assert (await asyncio.to_thread(docker, *command[1:])).splitlines() == ["begun", "200000"]
        again.stop()


LOOKING = """
import http.server, json, os, socket, socketserver, sys, urllib.request
def attempt(url):
    try:
        return urllib.request.urlopen(url, timeout=10).read(100).decode()
    except OSError as error:
        return getattr(error, "code", str(error))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = {}
        if self.path.endswith("/look"):
            os.environ["no_proxy"] = os.environ["NO_PROXY"] = ""
            told["seen"] = [attempt(url) for url in sys.argv[2:]]
            with socket.socket() as probe:
                told["direct"] = probe.connect_ex(("127.0.0.2", int(sys.argv[2].split(":")[2].strip("/"))))
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return ""
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass
Server(sys.argv[1], Handler).serve_forever()
"""


@pytest.mark.parametrize("kind", ["sandboxed", pytest.param("ordinary", marks=pytest.mark.long)])
async def test_the_local_engine(pool: str, kind: str) -> None:
    async with server(hello, "0.0.0.0") as port:
        urls = " ".join(f"http://{host}:{port}/" for host in (PUBLIC, "127.0.0.1", "169.254.169.254"))
        code = base64.b64encode(LOOKING.encode()).decode()
        command = f"exec python3 -c \"import base64; exec(base64.b64decode('{code}'))\" {{socket}} {urls}"
        options = ("--egress=web", f"--egress-allow={PUBLIC}", f"--egress-ports={port}", f"--command={command}")
        with LocalDeployment(pool, kind).ended() as deployment:
            service = deployment.start(*options, cleanup=False)
            await service.ready(1)
            async with service.http() as client:
                session = await service.spawn(client)
            for _ in range(2):
                async with service.http() as client, client.get(f"{session['url']}look") as answer:
                    told = await answer.json(content_type=None)
                assert told["seen"] == ["hello", 403, 403]
                assert told["direct"] != 0
                service.kill()
                service = deployment.start(*options)
                await service.ready(1)
