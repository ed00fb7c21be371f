"""Real notebooks behind a real nginx with TLS, configured by the very file that the documentation offers."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment, Service
from tests.nginx_support import nginx
from tests.ports import free_ports

pytestmark = pytest.mark.engine

CONF = Path(__file__).parents[2] / "docs" / "nginx" / "tmpnb.conf"
NAME = "notebooks.example.org"


def _certificate(directory: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
         "-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1",
         "-keyout", str(directory / "privkey.pem"), "-out", str(directory / "fullchain.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


def _configure(directory: Path, upstream: int, http: int, https: int) -> None:
    """Write nginx's file: the documented one with this test's ports and certificate, nothing else changed."""
    text = CONF.read_text()
    changes = {
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{upstream};",
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{https} ssl http2;",
        "/etc/letsencrypt/live/notebooks.example.org": str(directory),
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    text = re.sub(r"^ +listen \[::\].*\n", "", text, flags=re.MULTILINE)  # the machine may have no IPv6
    (directory / "tmpnb.conf").write_text(text)


class EveryNameIsHere(AbstractResolver):
    """A resolver that knows one address."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The loopback address, whatever is asked for."""
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is held."""


class Front:
    """A running nginx."""

    def __init__(self, directory: Path, http: int, https: int) -> None:
        self.directory = directory
        self.http_url = f"http://{NAME}:{http}/"
        self.url = f"https://{NAME}:{https}/"
        self.tls = ssl.create_default_context(cafile=str(directory / "fullchain.pem"))

    def client(self, source: str = "127.0.0.1") -> aiohttp.ClientSession:
        """A visitor at an address of this machine's loopback network, for whom every name is of this machine."""
        connector = aiohttp.TCPConnector(ssl=self.tls, local_addr=(source, 0), resolver=EveryNameIsHere())
        return aiohttp.ClientSession(self.url, connector=connector, cookie_jar=aiohttp.DummyCookieJar())


@contextlib.asynccontextmanager
async def before(service: Service, directory: Path) -> AsyncIterator[Front]:
    """nginx in front of a service."""
    upstream = int(service.url.rstrip("/").rpartition(":")[2])  # first, as it may take a port yet
    http, https = free_ports(2)
    _certificate(directory)
    _configure(directory, upstream, http, https)
    async with nginx(directory, f"    include {directory}/tmpnb.conf;", place=https):
        yield Front(directory, http, https)


async def test_notebooks_behind_nginx(pool: str, workshop_image: str, tmp_path: Path) -> None:
    with Deployment(pool).ended() as deployment:
        service = deployment.start(
            "--pool-size=1",
            "--trusted-proxies=127.0.0.1",
            f"--allowed-hosts={NAME}",
            "--audit-client-address",
            "--cpu-quota=0",
        )
        async with before(service, tmp_path) as front, front.client("127.0.0.9") as visitor:
            await service.ready(1)
            await _pages(front, visitor)
            async with visitor.post("/api/spawn?wait=60") as response:
                assert response.status == 200
                notebook = Notebook.of(visitor, await response.json())
            started = await service.event("session_started", id=notebook.id)
            assert started["client"] == "127.0.0.9"
            await _works(front, notebook)
            await _names_survive(notebook)


async def _pages(front: Front, visitor: aiohttp.ClientSession) -> None:
    async with visitor.get(front.http_url, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, f"https://{NAME}/")
    async with visitor.get("/spawn") as response:
        assert response.status == 200
    async with visitor.get("/metrics") as response:
        assert response.status == 403
    async with visitor.post("/spawn", headers={"Origin": "https://evil.example"}) as response:
        assert response.status == 403
    async with visitor.get("/", headers={"Host": "evil.example"}) as response:  # nginx passes it on
        assert response.status == 421
    # Our own page's form: the browser names the origin that it sees.
    async with visitor.post("/spawn", headers={"Origin": front.url.rstrip("/")}, allow_redirects=False) as response:
        assert response.status == 303
        assert response.headers["Location"].startswith("/user/")


async def _works(front: Front, notebook: Notebook) -> None:
    """A kernel over a WebSocket with the browser's Origin, output that comes at once, and a large upload."""
    kernel_id = await notebook.new_kernel()
    path = notebook.url(f"api/kernels/{kernel_id}/channels")
    headers = {**notebook.headers, "Origin": front.url.rstrip("/")}
    async with notebook.client.ws_connect(path, headers=headers):
        pass
    async with notebook.client.get(path, headers={**headers, "Origin": "https://evil.example"}) as response:
        assert response.status in (403, 400)
    async with notebook.kernel(kernel_id) as kernel:
        assert await kernel.run("print(6 * 7)") == "42\n"
    body = {"type": "file", "format": "text", "content": "x" * 8_000_000}
    await notebook.call("PUT", "api/contents/large.txt", body, status=201)
    async with notebook.client.get(notebook.url("files/large.txt"), headers=notebook.headers) as response:
        assert len(await response.read()) == 8_000_000


async def _names_survive(notebook: Notebook) -> None:
    name = "a%2Fb é %25.txt"
    body = {"type": "file", "format": "text", "content": "here"}
    encoded = "a%252Fb%20%C3%A9%20%2525.txt"
    async with notebook.client.put(
        URL(f"/user/{notebook.id}/api/contents/{encoded}", encoded=True),
        data=json.dumps(body),
        headers=notebook.headers,
    ) as response:
        assert response.status == 201
        assert (await response.json())["name"] == name
