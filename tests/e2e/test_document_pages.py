"""What the documents have other sites put into their pages, on such a site: in a real browser, with real kernels."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.documents.blocks import block
from tests.e2e.npm import package
from tests.e2e.service import Service, run_service
from tests.e2e.sites import Site, site
from tests.integration.browser_support import browser

pytestmark = [pytest.mark.browser, pytest.mark.engine]

CDN = "https://unpkg.com/thebe@0.9.3/"
SECONDS = 60_000.0  # milliseconds: a kernel of R on a busy machine
POLICY = block("docs/embedding.md", "script-src https://notebooks.example.org;").text


@pytest.fixture(scope="module")
def theirs() -> Iterator[Site]:
    with site("localhost") as found:
        yield found


@pytest.fixture(scope="module")
def service(workshop_image: str, theirs: Site) -> Iterator[Service]:
    options = [f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0"]
    options += [f"--allow-origin={theirs.origin}", f"--frame-ancestors={theirs.origin}"]
    with run_service(f"pages{secrets.token_hex(4)}", *options) as running:
        running.wait_for("static_files_shared")
        yield running


@pytest.fixture
async def page(service: Service) -> AsyncIterator[Page]:
    await service.ready(1)
    async with browser() as context:
        context.set_default_timeout(SECONDS)
        page, faults = await context.new_page(), list[str]()
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
        assert faults == []


def written(service: Service, text: str) -> str:
    """A text of the documents, with this service in the place of the one that it names."""
    text = re.sub(r"wss://notebooks\.example(\.org)?\b", service.url.rstrip("/").replace("http:", "ws:"), text)
    return re.sub(r"https://notebooks\.example(\.org)?\b", service.url.rstrip("/"), text)


async def show(page: Page, theirs: Site, html: str) -> None:
    """A page of that site."""
    theirs.content["/page.html"] = html
    await page.goto(f"{theirs.origin}/page.html")


async def run(page: Page, number: int) -> Locator:
    """Press a block's button, and return what it shows."""
    cell = page.locator(".tn-cell").nth(number - 1)
    await page.get_by_role("button", name=f"Run example {number}").click()
    await expect(cell).to_have_attribute("data-state", "done", timeout=SECONDS)
    return cell.locator(".tn-outputs")


async def test_the_two_lines_of_a_teacher(service: Service, theirs: Site, page: Page) -> None:
    html = block("docs/teachers.md", "<script src=").text
    await show(page, theirs, written(service, html))
    await expect(await run(page, 1)).to_contain_text("Median")


@pytest.mark.parametrize("policy", ["", f"default-src 'none'; {POLICY}"], ids=["no policy", "policy"])
async def test_a_page_with_live_code(service: Service, theirs: Site, page: Page, policy: str) -> None:
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None)
    html = block("docs/embedding.md", "<!doctype html>").text
    charset = '<meta charset="utf-8">'
    rule = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
    await show(page, theirs, written(service, html.replace(charset, charset + rule)))
    await expect(await run(page, 1)).to_have_text(re.compile(r"(\[1\] )?\d+\.\d+"))  # R's printing, or its display
    await expect(await run(page, 2)).to_have_text("[1, 2, 3]")
    assert refused == []


async def test_notes_in_a_frame(service: Service, theirs: Site, page: Page) -> None:
    html = block("docs/embedding.md", "<iframe src=").text
    await show(page, theirs, f"<!doctype html><title>A course</title>{written(service, html)}")
    await page.wait_for_function("document.querySelector('iframe').offsetHeight > 3000")  # by the second line
    await expect(page.frame_locator("iframe").locator(".tn-cell").first).to_be_visible()


async def test_thebe(service: Service, theirs: Site, page: Page) -> None:
    files = package("thebe@0.9.3")

    async def answer(route: Route) -> None:
        await route.fulfill(path=files / route.request.url.removeprefix(CDN))

    await page.route(f"{CDN}**", answer)
    html = block("docs/clients.md", "<script type=").text
    await show(page, theirs, f"<!doctype html><title>A book</title>{written(service, html)}")
    await page.get_by_role("button", name="Activate").click()
    await page.wait_for_function("window.thebe.session")  # it has a kernel now: before, a click does nothing
    await page.get_by_role("button", name="run", exact=True).click()
    await expect(page.locator(".thebe-output").first).to_contain_text("Median")
