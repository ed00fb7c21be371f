"""The pictures of `docs/pictures`, taken of the running product: `docs/screenshots` runs this.

It starts a service with the workshop image on Docker, visits it with Chromium in light and in dark as a visitor, a
teacher and the operator do, and writes WebP files. They are kept in the repository, as GitHub shows them and as
building the site needs neither engine nor browser: each has at most `MOST` bytes. Nothing in them is anybody's: names
are made up, links and ids end with the service.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal

from playwright.async_api import Page, ViewportSize, expect

from docs.site.staging import ROOT
from tests.e2e.service import ADMIN_TOKEN, Service, run_service
from tests.integration.browser_support import PHONE as PHONE_SIZE
from tests.integration.browser_support import browser

PICTURES = ROOT / "docs" / "pictures"
MOST = 60_000
PHONE: ViewportSize = {"width": PHONE_SIZE["width"], "height": PHONE_SIZE["height"]}
SCREEN: ViewportSize = {"width": 1280, "height": 800}
PUBLIC = "https://notebooks.example.org/"
OPTIONS = [
    "--pool-size=2",
    "--max-containers=8",
    "--cpu-quota=0",
    f"--public-url={PUBLIC}",
    "--site-title=Notebooks at Example University",
]
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
MILLISECONDS = 180_000
expect.set_options(timeout=MILLISECONDS)
_BEST, _WORST = 85, 40  # WebP's quality: the best one with which a picture fits


@dataclasses.dataclass(frozen=True)
class Shot:
    """A picture: how its page is reached, and on which screen."""

    name: str
    visit: Callable[[Page, Service], Awaitable[None]]
    screen: ViewportSize = dataclasses.field(default_factory=lambda: SCREEN)


async def first_page(page: Page, service: Service) -> None:
    """The first page, with notebooks ready."""
    await service.stats_when(lambda stats: stats["available"] > 0)
    await page.goto(service.url)
    await expect(page.locator(".state.good")).to_be_visible()


async def notes(page: Page, service: Service) -> None:
    """A workshop's notes, of which one block has drawn its figure."""
    await service.stats_when(lambda stats: stats["available"] > 0)
    await page.goto(f"{service.url}workshops/graphics-with-ggplot2/")
    await page.get_by_role("button", name=re.compile("^Run example 1$")).click()
    cell = page.locator("[data-state]").first
    await expect(cell).to_have_attribute("data-state", "done")
    for _ in range(4):
        buttons = page.get_by_role("button", name=re.compile(r"^Run example \d+$"))
        if await page.locator(".tn-outputs img").count():
            break
        ran = await page.locator('[data-state="done"]').count()
        await buttons.nth(ran).click()
        await expect(page.locator('[data-state="done"]')).to_have_count(ran + 1)
    figure = page.locator(".tn-outputs img").first
    await figure.scroll_into_view_if_needed()
    await figure.evaluate("one => window.scrollBy(0, one.getBoundingClientRect().bottom - innerHeight + 90)")


async def lab(page: Page, service: Service) -> None:
    """JupyterLab, as the button of a workshop opens it."""
    await service.stats_when(lambda stats: stats["available"] > 0)
    await page.goto(f"{service.url}spawn?workshop=introduction-to-python")
    await page.get_by_role("button").first.click()
    await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab"))
    await expect(page.get_by_role("button", name=re.compile(r"Python 3.*Idle"))).to_be_visible()
    await expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible()
    await page.get_by_role("tab", name="File Browser").first.click()
    await expect(page.get_by_role("region", name="File Browser Section")).to_be_visible()


async def teacher(page: Page, service: Service) -> None:
    """The teacher's page of a class that is on: two of its four have come, and a message has been sent."""
    body = {"when": "today 0:00-24:00", "people": 4, "title": "R for everybody", "for_class": True}
    booked = await service.admin("POST", "/api/bookings", body)
    here = {name: _here(booked[name], service) for name in ("class_url", "teacher_url")}
    for _ in range(2):
        async with browser() as student:
            theirs = await student.new_page()
            await theirs.goto(here["class_url"])
            await theirs.get_by_role("button").first.click()
            await theirs.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/"), wait_until="commit")
    await page.goto(here["teacher_url"])
    await expect(page.locator("#came")).to_have_text("2")
    await page.locator("#text").fill("Please open part two.")
    await page.get_by_role("button", name="Show it to everybody").click()
    await expect(page.locator("#messages li")).to_have_count(1)
    await service.stats_when(lambda stats: stats["starting"] == 0)


def _here(url: str, service: Service) -> str:
    """Where a link of the public address is served."""
    return service.url.removesuffix("/") + url.removeprefix(PUBLIC.removesuffix("/"))


async def operator(page: Page, service: Service) -> None:
    """The operator's page, with three visitors, one class and an announcement."""
    async with service.http() as client:
        for path in ("lab/tree/introduction-to-r", "lab/tree/introduction-to-python", "lab"):
            await service.spawn(client, path)
    await service.ready(2)
    await page.goto(service.admin_url)
    await page.locator("#token").fill(ADMIN_TOKEN)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name="Sessions").get_by_role("row")).to_have_count(4)


SHOTS = [
    Shot("first-page", first_page, {"width": 1100, "height": 780}),
    Shot("first-page-phone", first_page, PHONE),
    Shot("notes", notes, {"width": 1000, "height": 860}),
    Shot("lab", lab),
    Shot("operator", operator, {"width": 1100, "height": 860}),
    Shot("teacher", teacher, {"width": 1000, "height": 820}),
]


async def take(shot: Shot, service: Service, theme: Literal["light", "dark"], target: Path) -> int:
    """Take one picture; returns its size in bytes."""
    async with browser(viewport=shot.screen, color_scheme=theme, reduced_motion="reduce") as context:
        context.set_default_timeout(MILLISECONDS)
        page = await context.new_page()
        await shot.visit(page, service)
        image = await _webp(page)
    path = target / f"{shot.name}{'-dark' if theme == 'dark' else ''}.webp"
    path.write_bytes(image)
    return len(image)


async def _webp(page: Page) -> bytes:
    """What the page shows, in the best quality that fits."""
    session = await page.context.new_cdp_session(page)
    for quality in range(_BEST, _WORST, -5):
        taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": quality})
        image = base64.b64decode(taken["data"])
        if len(image) <= MOST:
            return image
    raise SystemExit(f"{page.url}: more than {MOST} bytes even in poor quality")


@contextlib.asynccontextmanager
async def _served() -> AsyncIterator[Service]:
    with run_service("workshops-pictures", *OPTIONS) as service:
        await asyncio.to_thread(service.wait_for, "static_files_shared", seconds=300)
        yield service


async def _end_all(service: Service) -> None:
    for booking in (await service.admin("GET", "/api/bookings"))["bookings"]:
        await service.admin("DELETE", f"/api/bookings/{booking['id']}")
    for session in (await service.admin("GET", "/api/sessions"))["sessions"]:
        await service.admin("DELETE", f"/api/sessions/{session['id']}")


async def main() -> int:
    """Take all pictures, or those that are named."""
    parser = argparse.ArgumentParser(prog="docs/screenshots", description="Take the pictures of docs/pictures.")
    parser.add_argument("names", nargs="*", help="the pictures to take: all by default")
    names = parser.parse_args().names
    PICTURES.mkdir(exist_ok=True)
    async with _served() as service:
        for shot in SHOTS:
            for theme in THEMES if not names or shot.name in names else ():
                size = await take(shot, service, theme, PICTURES)
                print(f"{shot.name} ({theme}): {size} bytes", flush=True)
                await _end_all(service)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
