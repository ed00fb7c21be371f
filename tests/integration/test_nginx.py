"""Real notebooks behind a real nginx with TLS, configured by the very file that the documentation offers."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.integration.front_rig import DOCS, NAME, Front, changed, check_notebooks
from tests.nginx_support import nginx

pytestmark = pytest.mark.engine


@contextlib.asynccontextmanager
async def in_front(directory: Path, upstream: int) -> AsyncIterator[Front]:
    """nginx in front of a service."""
    front = Front(directory)
    changes = {
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{upstream};",
        "listen 80;": f"listen 127.0.0.1:{front.http};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{front.https} ssl http2;",
        "/etc/letsencrypt/live/notebooks.example.org": str(directory),
        "/var/log/nginx/": f"{directory}/",
    }
    text = changed(DOCS / "nginx" / "tmpnb.conf", changes)
    text = re.sub(r"^ +listen \[::\].*\n", "", text, flags=re.MULTILINE)  # the machine may have no IPv6
    (directory / "tmpnb.conf").write_text(text)
    async with nginx(directory, f"    include {directory}/tmpnb.conf;", place=front.https):
        yield front


async def test_notebooks_behind_nginx(pool: str, workshop_image: str, tmp_path: Path) -> None:
    await check_notebooks(pool, functools.partial(in_front, tmp_path), _pages)
    logged = (tmp_path / "access.log").read_text()
    assert '"GET /spawn"' in logged
    assert "token" not in logged


async def _pages(front: Front, visitor: aiohttp.ClientSession) -> None:
    async with visitor.get(front.http_url, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, f"https://{NAME}/")
    async with visitor.get("/metrics") as response:
        assert response.status == 403
    async with visitor.get("/spawn?token=secret") as response:
        assert response.status == 200
    async with visitor.get("/", headers={"Host": "evil.example"}) as response:  # nginx passes it on
        assert response.status == 421
