"""Below a path of another site, behind real nginx and Caddy: from the first page to the notebook's end, in a browser.

The other site answers everything beside that path with `STRAY`: whatever leads there is an address without the base.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from playwright.async_api import Page, Response, expect

from tests.documents.blocks import ROOT, block
from tests.e2e.service import Deployment, Service
from tests.front_support import caddy
from tests.integration.browser_support import browser
from tests.nginx_support import nginx
from tests.ports import free_ports

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(600)]

CONF = ROOT / "docs" / "nginx" / "tmpnb.conf"
EXAMPLES = {
    "nginx": block("docs/operating.md", "location /jupyter/ {"),
    "caddyfile": block("docs/operating.md", "redir /jupyter /jupyter/"),
}
BASE = "/jupyter/"
STRAY = 418
BLOG = (
    "<!doctype html><html lang=en><title>Blog</title><pre data-executable data-language=python>print(6 * 7)</pre>"
    f"<script src={BASE}live.js></script></html>"
)
CELL = ".jp-Notebook .jp-Cell .cm-content"

Front = Callable[[Path, int, int], AbstractAsyncContextManager[None]]


def _documented(language: str, upstream: int) -> str:
    """The example that `docs/operating.md` has, with this test's port, nothing else changed."""
    example = EXAMPLES[language].text
    assert "127.0.0.1:8000" in example
    return example.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")


@contextlib.asynccontextmanager
async def behind_nginx(directory: Path, port: int, upstream: int) -> AsyncIterator[None]:
    """nginx as documented."""
    (mapping,) = re.findall(r"^map .*?^\}$", CONF.read_text(), re.MULTILINE | re.DOTALL)
    other = (
        f"location = /blog.html {{ default_type text/html; return 200 '{BLOG}'; }} location / {{ return {STRAY}; }}"
    )
    server = f"server {{ listen 127.0.0.1:{port}; {_documented('nginx', upstream)} {other} }}"
    async with nginx(directory, f"{mapping}\n{server}", place=port):
        yield


def _site(port: int, example: str) -> str:
    blog = f"handle /blog.html {{\nheader Content-Type text/html\nrespond `{BLOG}`\n}}"
    return f"http://localhost:{port} {{\n{example}\n{blog}\nhandle {{\nrespond {STRAY}\n}}\n}}\n"


@contextlib.asynccontextmanager
async def behind_caddy(directory: Path, port: int, upstream: int) -> AsyncIterator[None]:
    """Caddy as documented."""
    example = _documented("caddyfile", upstream)
    async with caddy(directory, _site(port, example), place=port):
        yield


@contextlib.asynccontextmanager
async def behind_caddy_without_the_path(directory: Path, port: int, upstream: int) -> AsyncIterator[None]:
    """The same, but that the path is taken away before a request is passed on."""
    example = _documented("caddyfile", upstream).replace("handle /", "handle_path /")
    async with caddy(directory, _site(port, example), place=port):
        yield


@pytest.mark.parametrize("front", [behind_nginx, behind_caddy, behind_caddy_without_the_path])
async def test_from_the_first_page_to_the_end(front: Front, pool: str, workshop_image: str, tmp_path: Path) -> None:
    with Deployment(pool).ended() as deployment:
        service = deployment.start(
            f"--image={workshop_image}", "--pool-size=1", f"--base-url={BASE}", "--trusted-proxies=127.0.0.1",
            "--allowed-hosts=notebooks.example.org", "--cpu-quota=0",
        )  # fmt: skip
        upstream = int(re.findall(r":(\d+)/", service.url)[0])
        (port,) = free_ports(1)
        async with front(tmp_path, port, upstream), browser() as context:
            page = await context.new_page()
            stray: list[str] = []

            def answered(response: Response) -> None:
                # A browser asks for this by itself while it shows what has no icon of its own.
                if response.status == STRAY and not response.url.endswith("/favicon.ico"):
                    stray.append(response.url)

            context.on("response", answered)
            await service.ready(1)
            home = f"http://localhost:{port}{BASE}"
            session = await _click_and_run(page, home)
            await _read_and_run(page, home)
            await _live(page, f"http://localhost:{port}/blog.html")
            await _end(page, service, home, session)
            assert stray == []


async def _click_and_run(page: Page, home: str) -> str:
    """A click, JupyterLab with the shared files, a cell; returns the notebook's id."""
    shared: list[str] = []
    page.on("request", lambda request: shared.append(request.url) if f"{BASE}static/" in request.url else None)
    await page.goto(home)
    await page.get_by_role("button", name="Blank notebook").click()
    await page.wait_for_url(re.compile(rf"{BASE}user/[a-z0-9]{{26}}/lab"))
    session = page.url.split("/user/")[1].split("/")[0]
    await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
    await page.locator(CELL).first.click()
    await page.keyboard.type("print('the answer is', 6 * 7)")
    await page.keyboard.press("Shift+Enter")
    await expect(page.locator(".jp-OutputArea-output pre").first).to_have_text(re.compile("the answer is 42"))
    assert len(shared) > 10
    cookies = {one.get("name"): one.get("path") for one in await page.context.cookies()}
    assert cookies.pop("tmpnb-sessions") == BASE
    assert set(cookies.values()) == {f"{BASE}user/{session}/"}
    return session


async def _read_and_run(page: Page, home: str) -> None:
    """The first page knows the notebook, and the notes run their code in it."""
    await page.goto(home)
    link = page.get_by_role("link", name="Go on")
    assert (await link.get_attribute("href") or "").startswith(f"{BASE}user/")
    await page.get_by_role("link", name="Read").first.click()
    await page.wait_for_url(re.compile(rf"{BASE}workshops/[a-z-]+/$"))
    await page.get_by_role("button", name=re.compile("^Run")).first.click()
    await expect(page.locator(".tn-status-words")).to_have_text(re.compile("is ready"))


async def _live(page: Page, blog: str) -> None:
    """A page of the other site brings its code to life with one script."""
    await page.goto(blog)
    await page.get_by_role("button", name=re.compile("^Run")).click()
    await expect(page.get_by_text("42", exact=True)).to_be_visible()


async def _end(page: Page, service: Service, home: str, session: str) -> None:
    async with service.http(admin=True) as admin, admin.delete(f"/api/sessions/{session}") as response:
        assert response.status == 200
    await service.event("removed", id=session)
    await service.ready(1)
    answer = await page.goto(f"{home}user/{session}/lab")
    assert answer is not None
    assert answer.status == 410
    await page.get_by_role("button", name="Open a fresh notebook").click()
    await page.wait_for_url(lambda url: f"{BASE}user/" in url and session not in url)
    await page.get_by_role("region", name="File Browser Section").wait_for()
