"""Real notebooks behind a documented front proxy with TLS: what the tests of nginx, Caddy and HAProxy share."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment
from tests.ports import free_ports

DOCS = Path(__file__).parents[2] / "docs"
NAME = "notebooks.example.org"


def changed(path: Path, changes: dict[str, str]) -> str:
    """A documented file with this test's ports and certificate, nothing else changed."""
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


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
    """A front proxy with a certificate in `directory`, on two ports."""

    def __init__(self, directory: Path) -> None:
        self.http, self.https = free_ports(2)
        make_certificate(directory, "IP:127.0.0.1")
        self.directory = directory
        self.http_url = f"http://{NAME}:{self.http}/"
        self.url = f"https://{NAME}:{self.https}/"
        self.tls = ssl.create_default_context(cafile=str(directory / "fullchain.pem"))

    def client(self, source: str = "127.0.0.1") -> aiohttp.ClientSession:
        """A visitor at an address of this machine's loopback network, for whom every name is of this machine."""
        connector = aiohttp.TCPConnector(ssl=self.tls, local_addr=(source, 0), resolver=EveryNameIsHere())
        return aiohttp.ClientSession(self.url, connector=connector, cookie_jar=aiohttp.DummyCookieJar())


Start = Callable[[int], contextlib.AbstractAsyncContextManager[Front]]  # with the service's port
Check = Callable[[Front, aiohttp.ClientSession], Awaitable[None]]


async def check_notebooks(pool: str, put_in_front: Start, pages: Check) -> None:
    """Start a service, put a proxy in front of it, and use its pages and a notebook as a visitor."""
    with Deployment(pool).ended() as deployment:
        service = deployment.start(
            "--pool-size=1",
            "--trusted-proxies=127.0.0.1",
            f"--allowed-hosts={NAME}",
            "--audit-client-address",
            "--cpu-quota=0",
        )
        upstream = URL(service.url).port
        assert upstream is not None
        async with put_in_front(upstream) as front, front.client("127.0.0.9") as visitor:
            await service.ready(1)
            await pages(front, visitor)
            await _post_the_form(front, visitor)
            async with visitor.post("/api/spawn?wait=60") as response:
                assert response.status == 200
                notebook = Notebook.of(visitor, await response.json())
            started = await service.event("session_started", id=notebook.id)
            assert started["client"] == "127.0.0.9"
            await _works(front, notebook)
            await _names_survive(notebook)


async def _post_the_form(front: Front, visitor: aiohttp.ClientSession) -> None:
    async with visitor.get("/spawn") as response:
        assert response.status == 200
    async with visitor.post("/spawn", headers={"Origin": "https://evil.example"}) as response:
        assert response.status == 403
    # Our own page's form: the browser names the origin that it sees.
    async with visitor.post("/spawn", headers={"Origin": front.url.rstrip("/")}, allow_redirects=False) as response:
        assert response.status == 303
        assert response.headers["Location"].startswith("/user/")


def make_certificate(directory: Path, *others: str) -> None:
    """One for `NAME`, and for others ("DNS:*.example.net"), as `privkey.pem` and `fullchain.pem`."""
    names = ",".join((f"DNS:{NAME}", *others))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
         "-addext", f"subjectAltName={names}",
         "-keyout", str(directory / "privkey.pem"), "-out", str(directory / "fullchain.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


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
