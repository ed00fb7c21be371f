"""Limits are named: what is used stands in JupyterLab's status bar, and what a limit ended says so.

In the workshop image, with limits that are reached within seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Service, run_service
from tests.integration.browser_support import MILLISECONDS, browser, picture

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def small_lab(workshop_image: str) -> Iterator[Service]:
    """A service whose notebooks have little of everything."""
    options = ("--pool-size=1", "--cpu-quota=0", "--mem-limit=256m", "--home-size=24m", "--pids-limit=64")
    with run_service(f"lab{secrets.token_hex(4)}", f"--image={workshop_image}", *options) as service:
        yield service


@pytest.fixture
async def notebook(small_lab: Service) -> AsyncIterator[Notebook]:
    """A session of the test's own, ended afterwards."""
    async with small_lab.http() as client:
        notebook = Notebook.of(client, await small_lab.spawn(client))
        yield notebook
        async with client.delete(f"/api/sessions/{notebook.id}", headers=notebook.headers):
            pass


async def refusal(notebook: Notebook, method: str, path: str, body: Any) -> str:
    """What an API call is answered that a limit stops."""
    async with notebook.client.request(method, notebook.url(path), json=body, headers=notebook.headers) as response:
        assert response.status == 507, await response.text()
        return str((await response.json())["message"])


async def test_a_full_disk_says_so_and_keeps_no_half_made_file(notebook: Notebook) -> None:
    found = await notebook.call("GET", "tmpnb/limits")
    assert found["memory"]["limit"] == 256 << 20
    assert found["disk"]["limit"] == 24 << 20
    assert found["processes"]["limit"] == 64
    assert all(0 < one["used"] < one["limit"] for one in found.values())
    assert found["memory"]["kills"] == 0
    fill = (
        "import os\nwith open(os.path.expanduser('~/full'), 'wb', 0) as file:\n"
        "    try:\n        while file.write(bytes(1 << 12)): pass\n    except OSError: pass"
    )
    await notebook.run(fill)
    before = await notebook.call("GET", "api/contents/")
    text = {"type": "file", "format": "text", "content": "x" * 10_000}
    message = await refusal(notebook, "PUT", "api/contents/new.txt", text)
    assert message.startswith("The disk of this notebook is full (24 MB).")
    assert (await refusal(notebook, "POST", "api/contents/", {"type": "notebook"})).startswith("The disk of this")
    after = await notebook.call("GET", "api/contents/")
    assert [one["name"] for one in after["content"]] == [one["name"] for one in before["content"]]


async def test_as_many_processes_as_there_may_be(notebook: Notebook) -> None:
    fill = (
        "import threading, time\nstop = threading.Event()\n"
        "try:\n    while True: threading.Thread(target=stop.wait, daemon=True).start()\n"
        "except RuntimeError: pass"
    )
    await notebook.run(fill)
    message = await refusal(notebook, "POST", "api/kernels", {"name": "python3"})
    assert message.startswith("This notebook has as many processes as it may have (64).")


@pytest.mark.browser
async def test_a_kernel_that_needs_too_much_memory(small_lab: Service, notebook: Notebook) -> None:
    async with browser(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(MILLISECONDS)
        page = await context.new_page()
        path = "lab/tree/introduction-to-python/First%20steps%20in%20Python.ipynb"
        await page.goto(f"{small_lab.url.rstrip('/')}{notebook.url(path)}?token={notebook.token}")
        await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
        await expect(page.locator(".tmpnb-Limits")).to_contain_text("of 256 MB · Disk")
        await page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
        await page.keyboard.press("Control+a")
        await page.keyboard.type("x = bytearray(b'1') * (1 << 30)")
        await page.keyboard.press("Shift+Enter")
        said = "needed more memory than this notebook has (256 MB)"
        await expect(page.locator(".jp-Dialog-body")).to_contain_text(said)
        await picture(page, "lab-memory")
        await page.keyboard.press("Enter")
        await expect(page.locator(".Toastify")).to_contain_text(f"First steps in Python.ipynb was ended: it {said}")
