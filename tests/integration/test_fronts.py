"""Real notebooks behind a real Caddy and a real HAProxy, configured by the very files that the documentation offers.

nginx has a module of its own (`test_nginx`), as its example is the one that most people use.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.e2e.inprocess import running
from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment, Service
from tests.front_support import caddy, haproxy
from tests.integration.test_nginx import NAME, Front, _certificate, _names_survive, _works
from tests.ports import free_ports

DOCS = Path(__file__).parents[2] / "docs"

Start = Callable[[Front, int], contextlib.AbstractAsyncContextManager[None]]


def _changed(path: Path, changes: dict[str, str]) -> str:
    """A documented file with this test's ports and certificate, nothing else changed."""
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def _caddy(front: Front, upstream: int) -> contextlib.AbstractAsyncContextManager[None]:
    directory, https = front.directory, URL(front.url).port
    assert https is not None
    tls = f"tls {directory}/fullchain.pem {directory}/privkey.pem"
    site = f"https://{URL(front.url).host}:{https}"
    changes = {"notebooks.example.org {": f"{site} {{\n\t{tls}", "127.0.0.1:8000": f"127.0.0.1:{upstream}"}
    return caddy(directory, _changed(DOCS / "caddy" / "Caddyfile", changes), place=https)


def _haproxy(front: Front, upstream: int) -> contextlib.AbstractAsyncContextManager[None]:
    directory, https = front.directory, URL(front.url).port
    assert https is not None
    both = directory / "notebooks.example.org.pem"
    both.write_bytes((directory / "fullchain.pem").read_bytes() + (directory / "privkey.pem").read_bytes())
    changes = {
        "bind :80": f"bind 127.0.0.1:{URL(front.http_url).port}",
        "bind :443": f"bind 127.0.0.1:{https}",
        "/etc/haproxy/notebooks.example.org.pem": str(both),
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
    }
    return haproxy(directory, _changed(DOCS / "haproxy" / "haproxy.cfg", changes), place=https)


@contextlib.asynccontextmanager
async def _before(service: Service, directory: Path, start: Start) -> AsyncIterator[Front]:
    upstream = URL(service.url).port
    assert upstream is not None
    http, https = free_ports(2)
    _certificate(directory)
    front = Front(directory, http, https)
    async with start(front, upstream):
        yield front


@pytest.mark.engine
@pytest.mark.parametrize("start", [_caddy, _haproxy])
async def test_notebooks_behind_the_documented_example(
    pool: str, workshop_image: str, tmp_path: Path, start: Start
) -> None:
    with Deployment(pool).ended() as deployment:
        service = deployment.start(
            "--pool-size=1",
            "--trusted-proxies=127.0.0.1",
            f"--allowed-hosts={NAME}",
            "--audit-client-address",
            "--cpu-quota=0",
        )
        async with _before(service, tmp_path, start) as front, front.client("127.0.0.9") as visitor:
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
    async with visitor.get("/spawn") as response:
        assert response.status == 200
    for path in ("/metrics", "/%6detrics"):
        async with visitor.get(URL(path, encoded=True)) as response:
            assert response.status == 403
    async with visitor.post("/spawn", headers={"Origin": "https://evil.example"}) as response:
        assert response.status == 403
    # Our own page's form: the browser names the origin that it sees.
    async with visitor.post("/spawn", headers={"Origin": front.url.rstrip("/")}, allow_redirects=False) as response:
        assert response.status == 303
        assert response.headers["Location"].startswith("/user/")


_CHECKED = """\
global
    stats socket {directory}/stats level admin
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    timeout check 5s
frontend front
    bind 127.0.0.1:{port}
    http-request set-uri http://tmpnb.example%[path]
    default_backend tmpnb
backend tmpnb
    {check}
    server tmpnb 127.0.0.1:{upstream} check inter 100ms fall 1 rise 1
"""


@pytest.mark.parametrize(
    "check",
    [
        "option httpchk",
        "option httpchk OPTIONS *",
        "option httpchk\n    http-check send meth OPTIONS uri * ver HTTP/1.1 hdr Host tmpnb.example",
        "option httpchk GET /healthz",
    ],
)
async def test_haproxys_checks_find_the_service_well_and_its_whole_urls_are_understood(
    tmp_path: Path, check: str
) -> None:
    """Plain `option httpchk` took it for down; `set-uri` makes HAProxy send the absolute form."""
    (port,) = free_ports(1)
    async with running(pool_size=0) as rig:
        configuration = _CHECKED.format(directory=tmp_path, port=port, upstream=rig.service.port, check=check)
        # It renames its socket into place last, when the port is long open.
        async with haproxy(tmp_path, configuration, place=tmp_path / "stats"):
            assert await _checked(tmp_path / "stats") == "L7OK"
            async with aiohttp.request("GET", f"http://127.0.0.1:{port}/healthz") as response:
                assert response.status == 200


async def _checked(stats: Path) -> str:
    """What HAProxy found at its first check."""
    async with asyncio.timeout(20):
        while True:
            reader, writer = await asyncio.open_unix_connection(stats)
            writer.write(b"show stat tmpnb 4 -1\n")
            names, values = (await reader.read()).decode().removeprefix("# ").split("\n")[:2]
            writer.close()
            found = dict(zip(names.split(","), values.split(","), strict=False))["check_status"]
            if found and not found.startswith(("INI", "*")):
                return found
            await asyncio.sleep(0.05)
