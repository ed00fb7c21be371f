"""Real notebooks behind a real Caddy and a real HAProxy, configured by the very files that the documentation offers.

nginx has a module of its own (`test_nginx`), as its example is the one that most people use.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.e2e.inprocess import running
from tests.front_support import caddy, haproxy
from tests.integration.front_rig import DOCS, Front, changed, check_notebooks
from tests.ports import free_ports


@contextlib.asynccontextmanager
async def behind_caddy(directory: Path, upstream: int) -> AsyncIterator[Front]:
    front = Front(directory)
    tls = f"tls {directory}/fullchain.pem {directory}/privkey.pem"
    site = f"https://{URL(front.url).host}:{front.https}"
    changes = {"notebooks.example.org {": f"{site} {{\n\t{tls}", "127.0.0.1:8000": f"127.0.0.1:{upstream}"}
    async with caddy(directory, changed(DOCS / "caddy" / "Caddyfile", changes), place=front.https):
        yield front


@contextlib.asynccontextmanager
async def behind_haproxy(directory: Path, upstream: int) -> AsyncIterator[Front]:
    front = Front(directory)
    both = directory / "notebooks.example.org.pem"
    both.write_bytes((directory / "fullchain.pem").read_bytes() + (directory / "privkey.pem").read_bytes())
    changes = {
        "bind :80": f"bind 127.0.0.1:{front.http}",
        "bind :443": f"bind 127.0.0.1:{front.https}",
        "/etc/haproxy/notebooks.example.org.pem": str(both),
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
    }
    async with haproxy(directory, changed(DOCS / "haproxy" / "haproxy.cfg", changes), place=front.https):
        yield front


@pytest.mark.engine
@pytest.mark.parametrize("put_in_front", [behind_caddy, behind_haproxy])
async def test_notebooks_behind_the_documented_example(
    pool: str,
    workshop_image: str,
    tmp_path: Path,
    put_in_front: Callable[[Path, int], contextlib.AbstractAsyncContextManager[Front]],
) -> None:
    await check_notebooks(pool, functools.partial(put_in_front, tmp_path), _pages)


async def _pages(_front: Front, visitor: aiohttp.ClientSession) -> None:
    for path in ("/metrics", "/%6detrics"):
        async with visitor.get(URL(path, encoded=True)) as response:
            assert response.status == 403


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
