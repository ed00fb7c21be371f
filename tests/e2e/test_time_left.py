"""JupyterLab's part of a session's end: the time left, what can be done before it is over, and the way out then.

In a real browser, with the extension that the workshop image has. Screenshots go to tests/artifacts/.
"""

from __future__ import annotations

import asyncio
import datetime
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from email.utils import format_datetime
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, Page, Route, expect

from tests.e2e.cutting import front
from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment, Service
from tests.engine_support import docker
from tests.integration.browser_support import MILLISECONDS, browser, picture
from tests.ports import until_it_answers

pytestmark = [pytest.mark.engine, pytest.mark.browser]

DOCUMENT = "introduction-to-python/First steps in Python.ipynb"
IN_TIME = 2 * MILLISECONDS  # for what comes at the end of a session that lasts a minute


@pytest.fixture
async def context() -> AsyncIterator[BrowserContext]:
    async with browser(viewport={"width": 1280, "height": 800}, accept_downloads=True) as context:
        context.set_default_timeout(MILLISECONDS)
        yield context


async def open_workshop(
    service: Service, context: BrowserContext, theme: str = "JupyterLab Light"
) -> tuple[Page, Notebook]:
    """A session of its own with a workshop's notebook open, its extension awake; with what a program does there."""
    async with service.http() as client:
        spawned = await service.spawn(client, f"lab/tree/{DOCUMENT}")
        notebook = Notebook.of(client, spawned)
        wish = {"raw": json.dumps({"theme": theme, "adaptive-theme": False})}
        await notebook.call("PUT", "lab/api/settings/@jupyterlab/apputils-extension:themes", wish, status=204)
    page = await context.new_page()
    async with page.expect_response(lambda answer: answer.url.endswith(f"/api/sessions/{notebook.id}")):
        await page.goto(service.url.rstrip("/") + spawned["open_url"])
    await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
    return page, notebook


async def run_a_cell(page: Page) -> None:
    """So that something is open that is nowhere else. Too early, JupyterLab would ask for a kernel."""
    await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
    await page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    await page.keyboard.press("Shift+Enter")
    await expect(page.locator(".jp-OutputArea-output").first).to_have_text("14")


async def choose_in_file_menu(page: Page, name: str) -> None:
    await page.get_by_role("menuitem", name="File", exact=True).click()
    await page.get_by_role("menuitem", name=name).click()


async def expect_ended(page: Page, words: str) -> None:
    """The page that says why, at the address of the document, with the way to a fresh one."""
    await expect(page.get_by_role("heading", level=1)).to_have_text("This notebook has ended", timeout=IN_TIME)
    await expect(page.get_by_text(words)).to_be_visible()
    assert page.url.endswith("/lab/tree/introduction-to-python/First%20steps%20in%20Python.ipynb")
    await expect(page.locator("input[name=path]")).to_have_value(re.compile("lab/tree/introduction-to-python/First"))


async def an_hour_later(page: Page, notebook: Notebook, *, but: float) -> asyncio.Event:
    """Let the page believe that it is an hour later, but for some seconds, until the event is set.

    It also reports by itself that somebody is there, and must not be believed.
    """
    kept = asyncio.Event()

    async def answer(route: Route) -> None:
        real = await route.fetch()
        later = datetime.timedelta(seconds=0 if kept.is_set() else 3600 - but)
        date = datetime.datetime.now(datetime.UTC) + later
        await route.fulfill(response=real, headers={**real.headers, "date": format_datetime(date, usegmt=True)})

    await page.route(re.compile(rf"/api/sessions/{notebook.id}(/keep)?$"), answer)
    await look_again(page)
    return kept


async def look_again(page: Page) -> None:
    """What a tab does that is shown again."""
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def check_accessibility(page: Page, selector: str) -> None:
    """Nothing serious in what is ours; the rest of the page is JupyterLab's."""
    found = await Axe().run(page, context=selector)
    serious = [one for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.timeout(400)
@pytest.mark.waits
async def test_a_session_that_reaches_its_longest_time(
    deployment: Deployment, workshop_image: str, context: BrowserContext, tmp_path: Path
) -> None:
    service = deployment.start(f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0", "--cull-max=2m")
    await service.ready(1)
    page, notebook = await open_workshop(service, context)
    time_left = page.get_by_role("button", name="left")
    await expect(time_left).to_be_hidden()

    # All that the visitor has changed or made, as one archive, what is unsaved included.
    await run_a_cell(page)
    async with page.expect_download() as downloading:
        await choose_in_file_menu(page, "Download Everything")
    download = await downloading.value
    assert re.fullmatch(r"work-[0-9-]{10}\.zip", download.suggested_filename)
    await download.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"work/{DOCUMENT}", "About this archive.txt", "tmpnb-archive.json"]
        assert json.loads(archive.read(f"work/{DOCUMENT}"))["cells"][1]["outputs"]

    # The end is near: it is shown, and told; nothing can keep this one.
    await expect(time_left).to_have_text("less than a minute left", timeout=IN_TIME)
    warning = page.get_by_role("alert").filter(has_text="the longest time")
    await warning.wait_for(timeout=IN_TIME)
    await expect(warning.get_by_role("button", name="Keep it")).to_be_hidden()
    await expect(warning.get_by_role("button", name="Download everything")).to_be_visible()
    await picture(page, "time-left")

    # The end: what is open is offered, and then the way leads on.
    ended = page.get_by_role("dialog").filter(has_text="This notebook has ended")
    await expect(ended).to_contain_text("It had reached the longest time", timeout=IN_TIME)
    await picture(page, "time-left-ended")
    async with page.expect_download() as downloading:
        await ended.get_by_role("button", name="Save to my computer").click()
    await (await downloading.value).save_as(tmp_path / "one.ipynb")
    assert json.loads((tmp_path / "one.ipynb").read_text())["cells"][1]["outputs"]

    # Whoever wants to look at it a while longer may.
    await expect(ended).to_contain_text("Your browser has been given")
    await page.keyboard.press("Escape")
    await expect(ended).to_be_hidden()
    await page.get_by_role("button", name="Ended").click()
    await ended.get_by_role("button", name="Go on").click()
    await expect_ended(page, "It had reached the longest time that a notebook may run here.")
    assert service.found("removing", id=notebook.id)[0]["reason"] == "time up"


async def test_keeping_one_that_nobody_used_and_ending_it(lab: Service, context: BrowserContext) -> None:
    page, notebook = await open_workshop(lab, context, theme="JupyterLab Dark")
    kept = await an_hour_later(page, notebook, but=290)
    warning = page.get_by_role("alert").filter(has_text="Nobody has used this notebook")
    time_left = page.get_by_role("button", name="left")
    await expect(warning).to_contain_text("in 5 min")
    await expect(time_left).to_have_text("5 min left")
    await picture(page, "time-left-idle-dark")
    await check_accessibility(page, ".Toastify__toast")
    await check_accessibility(page, "#tmpnb-session")

    # The same choices are behind the time in the top bar.
    await time_left.click()
    choices = page.get_by_role("dialog").filter(has_text="This notebook ends in")
    for name in ("Close", "End now", "Download everything", "Keep it"):
        await expect(choices.get_by_role("button", name=name)).to_be_visible()
    await picture(page, "time-left-choices-dark")
    await check_accessibility(page, ".jp-Dialog-content")
    await choices.get_by_role("button", name="Close").click()

    kept.set()
    async with page.expect_response(lambda answer: answer.url.endswith("/keep")) as keeping:
        await warning.get_by_role("button", name="Keep it").click()
    assert (await keeping.value).status == 200
    await expect(page.get_by_role("alert").filter(has_text="Kept: this notebook now ends in 60 min")).to_be_visible()
    await expect(warning).to_be_hidden()
    await expect(time_left).to_be_hidden()

    # To end it takes a second click; what is unsaved is no matter then.
    await run_a_cell(page)
    sure = page.get_by_role("dialog").filter(has_text="End this notebook now?")
    for button in ("Cancel", "End now"):
        await choose_in_file_menu(page, "End This Notebook Now")
        await expect(sure.get_by_role("button", name="Cancel")).to_be_focused()
        async with page.expect_download():
            await sure.get_by_role("button", name="Download everything").click()
        await expect(sure.get_by_role("button", name="Cancel")).to_be_focused()  # it is asked again
        await sure.get_by_role("button", name=button).click()
    await expect_ended(page, "You ended it.")


async def test_on_a_phone_the_time_is_to_be_seen(lab: Service, context: BrowserContext) -> None:
    page, notebook = await open_workshop(lab, context)
    await page.set_viewport_size({"width": 390, "height": 780})
    await an_hour_later(page, notebook, but=290)
    time_left = page.get_by_role("button", name="left")
    await expect(time_left).to_be_in_viewport(ratio=1)
    await picture(page, "time-left-phone")
    # The menus that give way are to be reached all the same.
    await page.get_by_role("menuitem", name="Help", exact=True).click()
    await expect(page.get_by_role("menuitem", name="About JupyterLab")).to_be_visible()


async def test_what_says_that_the_connection_is_lost_goes_when_it_is_back(
    lab: Service, context: BrowserContext
) -> None:
    page, notebook = await open_workshop(lab, context)
    own = re.compile(rf"/user/{notebook.id}/api")
    await page.route(own, lambda route: route.abort())
    lost = page.get_by_role("dialog").filter(has_text="Server Connection Error")
    await expect(lost).to_be_visible(timeout=IN_TIME)
    await page.unroute(own)
    await expect(lost).to_be_hidden()
    await run_a_cell(page)


async def test_a_server_that_dies(lab: Service, context: BrowserContext) -> None:
    """Nothing was done in this one, so nothing is asked: JupyterLab's own dialogs give way."""
    page, notebook = await open_workshop(lab, context)
    # As it is with an API token, once the session is forgotten: then the notebook's own address tells.
    await page.route("**/api/sessions/*", lambda route: route.fulfill(status=401, json={"status": "unauthorized"}))
    container = docker("ps", "-q", "--no-trunc", "--filter", f"label=org.tmpnb.id={notebook.id}")
    docker("kill", container)
    await expect_ended(page, "Its server stopped unexpectedly.")


async def test_the_archive_is_its_owners_and_made_for_whoever_reads_it(lab: Service) -> None:
    async with lab.http() as client:
        notebook = Notebook.of(client, await lab.spawn(client))
        place = notebook.url("tmpnb/archive")
        for headers in ({}, {"Authorization": "token wrong"}):
            async with client.get(place, headers=headers, allow_redirects=False) as response:
                assert response.status in (302, 403)
        # More than every buffer on the way holds, and nothing that compresses.
        made = await notebook.run("import os; open('large', 'wb').write(os.urandom(60_000_000))")
        assert made == "60000000"
        async with client.get(place, headers=notebook.headers) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "application/zip"
            assert response.content_length is None
            await response.content.readexactly(100_000)
            response.close()  # this reader has seen enough
        async with client.get(place, headers=notebook.headers) as response:
            with zipfile.ZipFile(io.BytesIO(await response.read())) as archive:
                assert archive.testzip() is None
                assert archive.getinfo("work/large").file_size == 60_000_000


async def test_an_orchestrator_that_restarts_leads_nobody_away(lab: Service, context: BrowserContext) -> None:
    page, notebook = await open_workshop(lab, context)
    own = re.compile(rf"/(api/sessions|user)/{notebook.id}")
    statuses: list[int] = []

    async def restarting(route: Route) -> None:
        # As this service answers while it does not know its notebooks yet.
        status = 404 if "/api/sessions/" in route.request.url else 503
        statuses.append(status)
        await route.fulfill(status=status, json={"status": "starting", "message": "Not ready yet."})

    await page.route(own, restarting)
    async with page.expect_response(lambda answer: "/api?" in answer.url):
        await look_again(page)
    await page.unroute(own, restarting)
    assert {404, 503} <= set(statuses)
    async with page.expect_response(lambda answer: answer.url.endswith(f"/api/sessions/{notebook.id}")):
        await look_again(page)
    await run_a_cell(page)
    await expect(page.get_by_role("button", name="Ended")).to_be_hidden()


async def test_without_an_orchestrator_it_is_silent(
    workshop_image: str, context: BrowserContext, tmp_path: Path
) -> None:
    """The image by plain Docker, even at an address that looks like one of ours."""
    tmp_path.chmod(0o777)
    # By a socket: the browser may have network devices of its own, and a container's that comes up while the page
    # loads Chromium would answer with ERR_NETWORK_CHANGED.
    container = docker(
        "run", "--detach", "--rm", "--network=none", f"--volume={tmp_path}:/run/front", workshop_image,
        "start-notebook.sh", "--ServerApp.sock=/run/front/server.sock", "--ServerApp.sock_mode=0666",
        "--ServerApp.base_url=/user/somebody/", "--ServerApp.allow_remote_access=True",
        "--IdentityProvider.token=secret",
    )  # fmt: skip
    try:
        async with front(tmp_path / "server.sock") as (_, origin):
            page = await context.new_page()
            address = f"{origin}/user/somebody/"
            await until_it_answers(f"{address}api")
            async with page.expect_response(lambda told: "no_track_activity" in told.url and "/api?" in told.url):
                await page.goto(f"{address}lab/tree/{DOCUMENT}?token=secret")
            await run_a_cell(page)
            await page.get_by_role("menuitem", name="File", exact=True).click()
            await expect(page.get_by_role("menuitem", name="Print")).to_be_visible()
            await expect(page.get_by_role("menuitem", name="End This Notebook Now")).to_be_hidden()
            await expect(page.locator("#tmpnb-session")).to_have_count(0)
    finally:
        docker("kill", container)


@pytest.mark.long
async def test_in_a_german_browser_the_extension_is_german(lab: Service) -> None:
    """JupyterLab itself is English, as the image has no language pack; ours says what is at stake in the reader's."""
    async with browser(viewport={"width": 1280, "height": 800}, locale="de-DE") as context:
        page, _ = await open_workshop(lab, context)
        await expect(page.locator(".tmpnb-Limits")).to_contain_text("Arbeitsspeicher")
        await choose_in_file_menu(page, "Dieses Notebook jetzt beenden")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Alles darin wird sofort gelöscht")
        await dialog.get_by_role("button", name="Jetzt beenden").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Dieses Notebook ist beendet")
        await expect(page.get_by_text("Sie haben es beendet.")).to_be_visible()
