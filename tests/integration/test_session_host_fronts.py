"""Notebooks under hosts of their own behind nginx and Caddy, configured by the very files of the documentation."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.e2e.inprocess import running
from tests.front_support import caddy
from tests.integration.front_rig import DOCS, NAME, EveryNameIsHere, changed, make_certificate
from tests.nginx_support import nginx
from tests.ports import free_ports

LIVE = "/etc/letsencrypt/live"
NAVIGATES = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@contextlib.asynccontextmanager
async def behind_nginx(directory: Path, upstream: int) -> AsyncIterator[int]:
    port, plain = free_ports(2)
    listen = {"listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;"}
    main = changed(
        DOCS / "nginx" / "tmpnb.conf",
        {
            **listen,
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{upstream};",
            "listen 80;": f"listen 127.0.0.1:{plain};",
            f"{LIVE}/notebooks.example.org": str(directory),
        },
    )
    hosts = changed(DOCS / "nginx" / "session-hosts.conf", {**listen, f"{LIVE}/nb.example.net": str(directory)})
    text = re.sub(r"^ +listen \[::\].*\n", "", main + hosts, flags=re.MULTILINE)  # the machine may have no IPv6
    text = text.replace("/var/log/nginx/", f"{directory}/")
    (directory / "both.conf").write_text(text)
    async with nginx(directory, f"    include {directory}/both.conf;", place=port):
        yield port


@contextlib.asynccontextmanager
async def behind_caddy(directory: Path, upstream: int) -> AsyncIterator[int]:
    (port,) = free_ports(1)
    here = {"127.0.0.1:8000": f"127.0.0.1:{upstream}"}
    tls = f"tls {directory}/fullchain.pem {directory}/privkey.pem"
    main = changed(DOCS / "caddy" / "Caddyfile", {**here, f"{NAME} {{": f"https://{NAME}:{port} {{\n\t{tls}"})
    hosts = changed(
        DOCS / "caddy" / "session-hosts.Caddyfile",
        {
            **here,
            "*.nb.example.net {": f"https://*.nb.example.net:{port} {{",
            f"{LIVE}/nb.example.net": str(directory),
        },
    )
    async with caddy(directory, main + hosts, place=port):
        yield port


Front = Callable[[Path, int], contextlib.AbstractAsyncContextManager[int]]


@pytest.mark.parametrize("put_in_front", [behind_nginx, behind_caddy])
async def test_a_notebook_opens_under_its_own_host(put_in_front: Front, tmp_path: Path) -> None:
    # One for both names, where the files of the documentation have two.
    await asyncio.to_thread(make_certificate, tmp_path, "DNS:*.nb.example.net")
    tls = ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))
    options: dict[str, Any] = {"trusted_proxies": ["127.0.0.1"], "allowed_hosts": NAME, "pool_size": 1}
    async with (
        running(session_host="{name}.nb.example.net", **options) as rig,
        put_in_front(tmp_path, rig.service.port) as port,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, resolver=EveryNameIsHere()), max_field_size=65536
        ) as visitor,
    ):
        await rig.ready(1)
        main = URL(f"https://{NAME}:{port}")
        form = {"Origin": str(main.origin()), **NAVIGATES}
        async with visitor.post(main / "spawn", headers=form, allow_redirects=False) as response:
            assert response.status == 303
            way = response.headers["Location"]
        assert re.match(rf"https://[a-z0-9]{{20}}\.nb\.example\.net:{port}/enter\?code=", way)
        async with visitor.get(way, headers=NAVIGATES) as response:
            assert response.status == 200
            notebook = response.url
        async with visitor.get(notebook, headers={"Origin": f"https://{'a' * 20}.nb.example.net:{port}"}) as response:
            assert response.status == 403
        async with visitor.get(notebook.with_path("/api/stats")) as response:
            assert response.status == 404
        # The wildcards are also for the host that all notebooks' pages get their static files from, and nothing else.
        files = notebook.with_host("tmpnb-static.nb.example.net").with_query(None)
        for path in ("/", f"/static/{'0' * 32}/lab.js", notebook.path):
            async with visitor.get(files.with_path(path), headers=NAVIGATES, allow_redirects=False) as response:
                assert (path, response.status, await response.read()) == (path, 404, b"")
        cookies = {f"a{number}": "x" * 4000 for number in range(10)}
        async with visitor.get(notebook, headers=NAVIGATES, cookies=cookies) as response:
            assert response.status == 431
            text = await response.text()
            assert "Clear-Site-Data" in response.headers or "max-age=0" in text
    log = tmp_path / "access.log"
    assert not log.exists() or ("/spawn" in log.read_text() and "/enter" not in log.read_text())
