"""The visitor's way in a real browser: a click, a JupyterLab, a cell that runs, and the end of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import playwright.async_api as playwright
import pytest

from tests.e2e.inprocess import running
from tests.e2e.service import Service
from tests.integration.browser_support import browser, picture

pytestmark = pytest.mark.browser


@contextlib.asynccontextmanager
async def one_page(width: int = 1280, height: int = 800, **options: Any) -> AsyncIterator[playwright.Page]:
    """A fresh browser's only page, on a laptop unless the size says otherwise."""
    async with browser(viewport={"width": width, "height": height}, **options) as context:
        yield await context.new_page()


@pytest.mark.engine
async def test_click_lab_cell_output_end(lab: Service) -> None:
    await lab.ready(2)
    async with one_page() as page:
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))

        def failed(request: playwright.Request) -> None:
            # The page's own doing, and Docker's, which adds and removes networks while other containers come and go.
            if request.failure not in ("net::ERR_ABORTED", "net::ERR_NETWORK_CHANGED"):
                problems.append(f"{request.url}: {request.failure}")

        page.on("requestfailed", failed)

        await page.goto(lab.url)
        await playwright.expect(page.locator(".state.good")).to_have_text("A notebook is ready for you at once.")
        await picture(page, "landing")
        await page.get_by_role("button", name="Blank notebook").click()

        # JupyterLab, with its file browser and a new notebook; a page that is loaded again is not asked for another.
        await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab"))
        session = page.url.split("/user/")[1].split("/")[0]
        await page.get_by_role("region", name="File Browser Section").wait_for()
        await playwright.expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
        assert "blank" not in page.url

        # A cell, its output.
        editor = page.locator(".jp-Notebook .jp-Cell .cm-content").first
        await editor.click()
        await page.keyboard.type("import os, sys\nprint('The answer is', 6 * 7, 'on Python', sys.version_info.major)")
        await page.keyboard.press("Shift+Enter")
        output = page.locator(".jp-OutputArea-output pre").first
        await playwright.expect(output).to_have_text(re.compile(r"The answer is 42 on Python 3"))
        await picture(page, "lab")
        assert "token=" not in page.url
        cookies = {cookie["name"]: cookie.get("path") for cookie in await page.context.cookies()}
        assert cookies
        assert set(cookies.values()) == {f"/user/{session}/", "/"}
        assert cookies["tmpnb-sessions"] == "/"
        assert problems == []

        # The end: the owner ends it, and the same address says so.
        async with lab.http(admin=True) as admin, admin.delete(f"/api/sessions/{session}") as response:
            assert response.status == 200
        await lab.event("removed", id=session)
        page.on("dialog", lambda dialog: dialog.accept())
        answer = await page.goto(f"{lab.url}user/{session}/lab")
        assert answer is not None
        assert answer.status == 410
        await playwright.expect(page.get_by_role("heading")).to_have_text("This notebook has ended")
        await playwright.expect(page.get_by_role("button")).to_be_focused()
        await picture(page, "ended")

        # And a fresh one is a key press away.
        await page.keyboard.press("Enter")
        await page.wait_for_url(lambda url: "/lab" in url and session not in url)
        await page.get_by_role("region", name="File Browser Section").wait_for()


@pytest.mark.engine
async def test_another_workshop_opens_in_the_same_jupyterlab(lab: Service) -> None:
    others = (await lab.ready(2))["claimed"]
    async with one_page() as page:
        await page.goto(f"{lab.url}spawn?workshop=first-steps-in-python")
        await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab"))
        session = page.url.split("/user/")[1].split("/")[0]
        await page.locator(".jp-Notebook").get_by_role("heading").first.wait_for()

        await page.goto(lab.url)
        await playwright.expect(page.get_by_role("link", name="Go on")).to_be_visible()
        card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="The shell for data work"))
        await card.get_by_role("button", name="Open live").click()
        await page.wait_for_url(re.compile(rf"/user/{session}/lab"))
        await page.get_by_role("tab", name="The shell for data work.ipynb").first.wait_for()
        assert (await lab.stats())["claimed"] == others + 1
        async with lab.http(admin=True) as admin, admin.delete(f"/api/sessions/{session}") as response:
            assert response.status == 200
        await lab.event("removed", id=session)
        await playwright.expect(page.get_by_role("heading", level=1)).to_have_text("This notebook has ended")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_our_pages_fit(scheme: str, width: int) -> None:
    """Every page in both colour schemes, on a phone and on a desk: nothing sticks out, and contrast is enough."""
    no_script = {"color_scheme": scheme, "java_script_enabled": False}
    async with running(pool_size=1, max_containers=1) as rig, one_page(width, 740, **no_script) as page:
        await rig.ready(1)
        url = f"http://127.0.0.1:{rig.service.port}"
        spawned = await rig.spawn()
        headers = {"Authorization": f"token {spawned['token']}"}
        long = "lab/tree/introduction-to-python/a-rather-long-name-that-does-not-fit-a-phone/First%20steps.ipynb"

        async def look(name: str) -> None:
            box = await page.locator("main").bounding_box()
            assert box is not None
            assert box["width"] <= width
            # Nothing wider than the window: a full-page screenshot is as wide as what can be scrolled to.
            shown = await picture(page, f"{name}-{scheme}-{width}", full_page=True)
            assert int.from_bytes(shown[16:20], "big") == width, f"{name} scrolls sideways"

        await page.goto(f"{url}/spawn/{long}")
        await look("launch")
        await page.get_by_role("button").click()
        await look("wait")
        await page.get_by_role("button").click()
        async with rig.client.delete(f"/api/sessions/{spawned['id']}", headers=headers):
            pass
        await page.goto(f"{url}/user/{spawned['id']}/{long}")
        await look("ended")
        await page.goto(f"{url}/nowhere")
        await look("problem")
        await rig.ready(1)
        await page.goto(url)
        await look("landing")
        await page.get_by_role("button", name="Blank notebook").click()
        await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab"))


async def test_no_page_of_ours_loads_anything() -> None:
    async with running(pool_size=1) as rig, one_page() as page:
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        url = f"http://127.0.0.1:{rig.service.port}/"
        await page.goto(url)
        assert [one for one in asked if not one.startswith("data:")] == [url]
        assert said == []


@pytest.mark.engine
async def test_a_cell_that_is_run_at_once_waits_for_its_kernel(lab: Service) -> None:
    await lab.ready(2)
    async with one_page() as page:
        ran = asyncio.Event()

        async def late(route: playwright.Route) -> None:
            if route.request.method == "POST":
                await ran.wait()
            await route.continue_()

        await page.route(re.compile("/user/[a-z0-9]{26}/api/sessions"), late)
        async with lab.http() as client:
            spawned = await lab.spawn(client, "lab/tree/introduction-to-python/First steps in Python.ipynb")
        await page.goto(lab.url.rstrip("/") + spawned["open_url"])
        cells = page.locator(".jp-Notebook .jp-CodeCell")
        prompt = cells.first.locator(".jp-InputPrompt")
        # JupyterLab shows a cell a moment before it listens to the keys that run it.
        async with asyncio.timeout(60):
            while await prompt.inner_text() != "[*]:":
                await cells.first.locator(".cm-content").click()
                await page.keyboard.press("Shift+Enter")
                await page.keyboard.press("Shift+Enter")
                with contextlib.suppress(AssertionError):
                    await playwright.expect(prompt).to_have_text("[*]:", timeout=3000)
        ran.set()
        await playwright.expect(cells.first.locator(".jp-OutputArea-output").first).to_have_text("14")
        await playwright.expect(prompt).to_have_text(re.compile(r"\[[1-9]\]:"))
        async with lab.http(admin=True) as admin, admin.delete(f"/api/sessions/{spawned['id']}") as response:
            assert response.status == 200


@pytest.mark.engine
async def test_text_opens_as_a_notebook_and_is_saved_as_text(lab: Service) -> None:
    """R Markdown by itself; a script where the link says so, and else in the editor."""
    await lab.ready(2)
    async with one_page() as page, lab.http() as client:
        spawned = await lab.spawn(client)
        headers = {"Authorization": f"token {spawned['token']}"}
        for name, content in (("x.Rmd", "# Text\n\n```{r}\n6 * 7\n```\n"), ("y.py", "# %%\nprint(6 * 7)\n")):
            body = {"type": "file", "format": "text", "content": content}
            async with client.put(f"{spawned['url']}api/contents/{name}", json=body, headers=headers) as response:
                assert response.status == 201

        async def opened(path: str) -> None:
            mark = "&" if "?" in path else "?"
            await page.goto(
                f"{lab.url.rstrip('/')}{spawned['url']}lab/tree/{path}{mark}token={spawned['token']}&reset"
            )

        await opened("y.py")
        await playwright.expect(page.locator(".jp-FileEditor")).to_be_visible()
        for path, kernel in (("x.Rmd", "R | Idle"), ("y.py?factory=Notebook", "Python 3 | Idle")):
            await opened(path)
            await playwright.expect(page.get_by_role("button", name=kernel)).to_be_visible()
            cells = page.locator(".jp-Notebook .jp-CodeCell")
            await cells.first.locator(".cm-content").click()
            await page.keyboard.press("Shift+Enter")
            await playwright.expect(cells.first.locator(".jp-OutputArea-output").first).to_have_text("42")
        await page.keyboard.press("Control+s")
        await playwright.expect(page.locator(".lm-TabBar-tab.jp-mod-dirty")).to_have_count(0)
        async with client.get(f"{spawned['url']}api/contents/y.py?type=file", headers=headers) as response:
            content = (await response.json())["content"]
        assert content == "# %%\nprint(6 * 7)\n\n# %%\n"  # with the cell that the last one's run began
        async with lab.http(admin=True) as admin, admin.delete(f"/api/sessions/{spawned['id']}") as response:
            assert response.status == 200


@pytest.mark.engine
async def test_on_a_phone_the_notebook_has_the_screen_and_is_as_dark_as_the_rest(lab: Service) -> None:
    await lab.ready(2)
    async with one_page(390, 844, color_scheme="dark") as page:
        async with lab.http() as client:
            spawned = await lab.spawn(client, "lab/tree/introduction-to-python/First steps in Python.ipynb")
        await page.goto(lab.url.rstrip("/") + spawned["open_url"])
        await playwright.expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
        await playwright.expect(page.get_by_role("region", name="File Browser Section")).to_be_hidden()
        notebook = page.locator(".jp-NotebookPanel")
        await notebook.locator(".jp-CodeCell").first.wait_for()
        await playwright.expect(page.locator(".jp-Spinner")).to_have_count(0)
        box = await notebook.bounding_box()
        assert box is not None
        assert box["width"] > 300
        await picture(page, "lab-phone-dark")
        async with lab.http(admin=True) as admin, admin.delete(f"/api/sessions/{spawned['id']}") as response:
            assert response.status == 200
