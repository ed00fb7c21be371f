"""Going on later: what a download holds, and how it comes back in JupyterLab and from the first page.

In a real browser, with real notebooks. Screenshots go to tests/artifacts/.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.e2e.inprocess import running
from tests.e2e.jupyter import Notebook
from tests.e2e.service import Service
from tests.e2e.test_workshops import MANIFEST, host_with
from tests.integration.browser_support import MILLISECONDS, browser, picture

pytestmark = [pytest.mark.engine, pytest.mark.browser]

FIRST = "introduction-to-python/First steps in Python.ipynb"
OTHER = "introduction-to-octave/Introduction to Octave.ipynb"
BIG = 280_000_000  # more than a home has room for


@contextlib.asynccontextmanager
async def visitor(**options: Any) -> AsyncIterator[Page]:
    """A browser of somebody's own."""
    async with browser(accept_downloads=True, **options) as context:
        context.set_default_timeout(MILLISECONDS)
        yield await context.new_page()


async def in_lab(page: Page) -> None:
    await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()


async def run_a_cell(page: Page) -> None:
    """The first one of `FIRST`."""
    await in_lab(page)
    await page.locator(".jp-Notebook:visible .jp-CodeCell .cm-content").first.click()
    await page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-Notebook:visible .jp-OutputArea-output").filter(has_text=re.compile(r"^\s*14\s*$"))
    await expect(output).to_be_visible()


async def choose_in_file_menu(page: Page, name: str) -> None:
    await page.get_by_role("menuitem", name="File", exact=True).click()
    await page.get_by_role("menuitem", name=name).click()


async def download(page: Page, place: Path) -> zipfile.ZipFile:
    async with page.expect_download() as downloading:
        await choose_in_file_menu(page, "Download Everything")
    await (await downloading.value).save_as(place)
    return zipfile.ZipFile(place)


async def restore_in_lab(page: Page, archive: Path) -> None:
    async with page.expect_file_chooser() as choosing:
        await choose_in_file_menu(page, "Restore from a Download")
    await (await choosing.value).set_files(archive)


async def axe(page: Page, selector: str) -> None:
    found = await Axe().run(page, context=selector)
    assert [one for one in found.response["violations"] if one["impact"] in ("serious", "critical")] == []


async def of_page(client: aiohttp.ClientSession, page: Page) -> Notebook:
    """The notebook that a page is in, for a program."""
    found = re.search(r"/user/([a-z0-9]+)/", page.url)
    assert found is not None
    token = await page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).token")
    return Notebook(client, found[1], token)


@pytest.mark.timeout(300)
async def test_from_one_notebook_to_the_next_and_the_one_after(lab: Service, tmp_path: Path) -> None:
    """One's files where they were, the documents open: from the first page, then in JupyterLab, where others are."""
    archive = tmp_path / "work.zip"
    async with lab.http() as client, visitor(viewport={"width": 1280, "height": 800}) as page:
        await page.goto(f"{lab.url}spawn/lab/tree/{FIRST}")
        await in_lab(page)
        notebook = await of_page(client, page)
        await notebook.run(
            "import os; os.mkdir('mine'); open('mine/data.csv', 'w').write('1,2'); os.symlink('/etc', 'out')"
        )
        await choose_in_file_menu(page, "Open from Path")
        await page.get_by_role("dialog").get_by_role("textbox").fill(OTHER)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("tab", name="Introduction to Octave")).to_be_visible()
        await page.get_by_role("tab", name="First steps").click()
        await run_a_cell(page)
        with await download(page, archive) as held:
            assert held.namelist() == [
                "work/mine/data.csv", f"work/{FIRST}", "About this archive.txt", "tmpnb-archive.json"
            ]  # fmt: skip
            told = json.loads(held.read("tmpnb-archive.json"))
        assert (told["open"], told["active"]) == ([FIRST, OTHER], FIRST)
        assert told["origin"] == lab.url
        # What it does not hold is said.
        lacking = page.get_by_role("dialog").filter(has_text="Your download does not hold everything")
        await expect(lacking).to_contain_text("out: it is a link that leads out of your files")
        await picture(page, "download-lacks")
        await axe(page, ".jp-Dialog-content")
        await lacking.get_by_role("button", name="OK").click()

    async with lab.http() as client, visitor(viewport={"width": 1280, "height": 800}) as page:
        await page.goto(lab.url)
        await page.get_by_label("ZIP archive").set_input_files(archive)
        await picture(page, "first-page-with-archive", full_page=True)
        await axe(page, "#keeping")
        await (
            page.get_by_role("region", name="Go on with a saved archive").get_by_role("button", name="Go on").click()
        )
        await page.wait_for_url(re.compile("/user/"))
        await expect(page.get_by_role("tab", name="Introduction to Octave")).to_be_visible()
        await expect(page.locator(".jp-Notebook:visible .jp-OutputArea-output").first).to_have_text("14")
        await expect(page.get_by_role("alert").filter(has_text="Restored 2 files from work.zip.")).to_be_visible()
        assert "First%20steps" in page.url
        notebook = await of_page(client, page)
        assert (await notebook.call("GET", "api/contents/mine/data.csv"))["content"] == "1,2"
        # Once in a tab: a reload opens nothing that was closed meanwhile, and says nothing.
        await page.reload()
        await in_lab(page)
        await expect(page.get_by_role("alert")).to_have_count(0)

        # Here something else was done since: both are kept.
        await notebook.run("open('mine/data.csv', 'w').write('3,4')")
        await restore_in_lab(page, archive)
        beside = page.get_by_role("dialog").filter(has_text="Restored beside your own")
        await expect(beside).to_contain_text("mine/data (restored).csv, beside your mine/data.csv")
        await picture(page, "restored-beside")
        await axe(page, ".jp-Dialog-content")
        await page.keyboard.press("Enter")
        contents = [
            (await notebook.call("GET", f"api/contents/mine/{name}"))["content"]
            for name in ("data.csv", "data (restored).csv")
        ]
        assert contents == ["3,4", "1,2"]

        # What is none is refused with words, and the notebook is as it was.
        (tmp_path / "none.zip").write_bytes(archive.read_bytes()[:-40])
        await restore_in_lab(page, tmp_path / "none.zip")
        refused = page.get_by_role("dialog").filter(has_text="Nothing was restored")
        await expect(refused).to_contain_text("not all of it has arrived")


async def test_what_cannot_be_saved_is_in_the_download(lab: Service, tmp_path: Path) -> None:
    """With a full disk the page alone has what was done last."""
    archive = tmp_path / "work.zip"
    async with lab.http() as client, visitor(viewport={"width": 1280, "height": 800}) as page:
        await page.goto(f"{lab.url}spawn/lab/tree/{FIRST}")
        await in_lab(page)
        notebook = await of_page(client, page)
        full = (
            "f = open('/home/jovyan/.cache/full', 'wb', 0)\n"
            "try:\n  while f.write(bytes(1 << 16)): pass\nexcept OSError: print('full')"
        )
        assert await notebook.run(full) == "full\n"
        await run_a_cell(page)
        with await download(page, archive) as held:
            assert json.loads(held.read(f"work/{FIRST}"))["cells"][1]["outputs"]
            assert json.loads(held.read("tmpnb-archive.json"))["unsaved"] == [FIRST]


async def test_what_is_open_shows_what_came(lab: Service, tmp_path: Path) -> None:
    """A document that nobody touched is replaced; saving what the page showed before would undo that."""
    archive = tmp_path / "work.zip"
    book = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [{"cell_type": "markdown", "id": "a", "source": "Mine", "metadata": {}}],
    }
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(f"work/{FIRST}", json.dumps(book))
    async with visitor(viewport={"width": 1280, "height": 800}) as page:
        await page.goto(f"{lab.url}spawn/lab/tree/{FIRST}")
        await in_lab(page)
        await restore_in_lab(page, archive)
        await expect(page.locator(".jp-Notebook .jp-RenderedMarkdown").get_by_text("Mine")).to_be_visible()


async def test_the_way_back_is_the_owners_and_bounded(lab: Service) -> None:
    async with lab.http() as client:
        notebook = Notebook.of(client, await lab.spawn(client))
        place = notebook.url("tmpnb/restore?name=x.zip")
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", "a")
        good = out.getvalue()
        for headers in ({}, {"Authorization": "token wrong"}):
            async with client.post(place, data=good, headers=headers) as answer:
                assert answer.status == 403
        assert 100_000_000 < (await notebook.call("GET", "tmpnb/restore"))["room"] < BIG
        for _ in range(2):  # nothing is left that would keep the next one out
            async with client.post(place, data=good, headers=notebook.headers) as answer:
                assert answer.status == 200
        # More than there is room for, said before all of it has come; and a bomb.
        headers = {**notebook.headers, "Content-Length": str(BIG)}
        async with client.post(place, data=zeros(BIG), headers=headers) as answer:
            assert (answer.status, "not enough room" in (await answer.json())["message"]) == (507, True)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb", bytes(BIG))
        async with client.post(place, data=out.getvalue(), headers=notebook.headers) as answer:
            assert (answer.status, "there is room for" in (await answer.json())["message"]) == (507, True)
        # One that breaks off.
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            headers = {**notebook.headers, "Content-Length": "1000000"}
            await client.post(place, data=broken_off(), headers=headers, timeout=aiohttp.ClientTimeout(total=2))
        async with asyncio.timeout(30):
            while True:
                async with client.post(place, data=good, headers=notebook.headers) as answer:
                    if answer.status == 200:
                        break
                    assert answer.status == 409
                await asyncio.sleep(0.1)
        left = await notebook.run("import os; print(set(os.listdir()) ^ set(os.listdir('/usr/share/workshops')))")
        assert left in ("{'x', 'workshops.toml'}\n", "{'workshops.toml', 'x'}\n")


async def zeros(size: int) -> AsyncIterator[bytes]:
    for _ in range(size >> 20):
        yield bytes(1 << 20)
    yield bytes(size % (1 << 20))


async def broken_off() -> AsyncIterator[bytes]:
    yield bytes(1000)
    await asyncio.sleep(10)


async def test_an_image_that_takes_no_archives_is_asked_for_none() -> None:
    async with host_with(MANIFEST) as host, running(host) as rig:
        await rig.ready(1)
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{rig.service.port}/") as answer:
            assert "saved archive" not in await answer.text()
