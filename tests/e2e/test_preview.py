"""A preview: the pages show the folder as it is, say what is wrong in it, and load again when a file is saved."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import playwright.async_api as playwright
import pytest

from tests.e2e.inprocess import running
from tests.e2e.test_notes import PNG, notebook
from tests.integration.browser_support import browser, picture
from tmpnb_py.core.errors import ImageMissingError
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.registry import Chosen
from tmpnb_py.options.settings import Settings
from tmpnb_py.service.serve import serve
from tmpnb_py.workshops.preview import Preview

MANIFEST = """\
[[workshop]]
slug = "mine"
title = "Mine"
language = "R"
description = "About it."
duration = 20
start = "mine/a.ipynb"
"""
PAGE = "/workshops/mine/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    (root / "mine").mkdir(parents=True)
    (root / "workshops.toml").write_text(MANIFEST)
    (root / "mine" / "k.png").write_bytes(PNG)
    (root / "mine" / "link.png").symlink_to("/etc/hostname")
    write(root, "# First")
    return root


def write(root: Path, text: str) -> None:
    source = f"{text}\n\n![k](k.png) ![gone](gone.png) ![l](link.png)"
    (root / "mine" / "a.ipynb").write_bytes(notebook({"cell_type": "markdown", "source": source}))


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


async def test_the_pages_follow_the_folder(folder: Path) -> None:
    async with running(preview=Preview(folder)) as rig:

        async def text(path: str, status: int = 200) -> str:
            async with rig.client.get(path, headers={"Accept": "text/html"}) as response:
                assert response.status == status
                return await response.text()

        async with rig.client.get("/preview/changes") as stream:
            told = events(stream)
            first = await anext(told)
            assert "link.png: is a link" in first["problems"][0]
            landing = await text("/")
            assert landing.count("<h3 ") == 1
            assert f'href="{PAGE}"' in landing
            assert '<script src="/preview.js" defer>' in landing
            page = await text(PAGE)
            assert '<h1 id="tn-title">First</h1>' in page
            assert "the picture mine/gone.png does not exist" in page
            assert "the picture mine/link.png does not exist" in page
            async with rig.client.get(f"{PAGE}files/mine/k.png") as response:
                assert await response.read() == PNG

            write(folder, "# Second")
            assert (await anext(told))["version"] != first["version"]
            assert '<h1 id="tn-title">Second</h1>' in await text(PAGE)

            # What is broken is said; what was right before stays; and the next save mends it.
            (folder / "workshops.toml").write_text(MANIFEST.replace("20", '"20 min"'))
            assert "duration cannot be" in (await anext(told))["problems"][0]
            assert "Second" in await text(PAGE)
            (folder / "mine" / "a.ipynb").write_text("{")
            assert await anext(told)
            assert "the notebook is not JSON" in await text(PAGE, 404)
            (folder / "workshops.toml").write_text(MANIFEST.replace('"Mine"', '"Ours"'))
            write(folder, "# Third")
            while "Third" not in await text(PAGE, 200 if "Ours" in await text("/") else 404):
                await anext(told)


def test_what_only_its_author_may_read_is_told(folder: Path) -> None:
    (folder / "mine" / "link.png").unlink()
    preview = Preview(folder)
    assert not preview.problems
    (folder / "mine" / "k.png").chmod(0o600)
    (folder / "mine").chmod(0o700)
    (folder / "workshops.toml").write_text(MANIFEST + "\n")
    assert preview.refresh()
    (problem,) = tuple(preview.problems)
    assert problem.startswith(f"{folder / 'mine'} and 1 more: only you can read this")


async def test_a_service_has_nothing_of_it() -> None:
    async with running() as rig:
        for path in ("/preview.js", "/preview/changes"):
            async with rig.client.get(path) as response:
                assert response.status == 404
        async with rig.client.get("/") as response:
            assert "preview.js" not in await response.text()


@pytest.mark.browser
async def test_an_open_page_loads_again_and_says_what_is_wrong(folder: Path) -> None:
    async with running(preview=Preview(folder)) as rig, browser() as context:
        page = await context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        banner = page.get_by_role("status", name="Preview")
        for place in ("", PAGE.removeprefix("/")):
            await page.goto(f"http://127.0.0.1:{rig.service.port}/{place}")
            await playwright.expect(banner).to_contain_text("is a link")
        (folder / "mine" / "link.png").unlink()
        await playwright.expect(banner).to_have_text("Preview: this page follows your folder as you save.")
        write(folder, "# Second")
        await playwright.expect(page.locator("h1")).to_have_text("Second")
        (folder / "workshops.toml").write_text("[[workshop]")
        await playwright.expect(banner).to_contain_text("is not TOML")
        await page.set_viewport_size({"width": 390, "height": 800})
        await picture(page, "preview")
        (folder / "workshops.toml").write_text(MANIFEST)
        await playwright.expect(banner).not_to_contain_text("is not TOML")
        assert problems == []


async def test_without_an_engine_the_notes_are_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port_factory: Any
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")

    def adapt(settings: Settings) -> Settings:
        raise ImageMissingError("there is no JupyterLab here", remedy="install it")

    async def choose(settings: Settings, *_: object, **__: object) -> Chosen:
        return Chosen("docker", lambda pool: DockerEngine(pool=pool, runtime_dir=settings.runtime_path), adapt)

    monkeypatch.setattr("tmpnb_py.service.serve.choose", choose)
    port = unused_tcp_port_factory()
    settings = Settings(ip="127.0.0.1", port=port, admin_port=0, runtime_dir=tmp_path / "run", shutdown_timeout=0.1)
    with pytest.raises(ImageMissingError):
        await serve(settings)
    service = asyncio.create_task(serve(settings, preview=Preview(folder)))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        for _ in range(200):
            try:
                async with client.get(PAGE) as response:
                    assert response.status == 200
                    assert "First" in await response.text()
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
        else:
            pytest.fail("it does not listen")
    os.kill(os.getpid(), 15)
    await service
