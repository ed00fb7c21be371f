"""A class on a real engine: nobody in it waits, whoever else comes; it goes on after kill -9 and after a reboot."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import time
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.e2e.service import SECONDS, Deployment, Service
from tests.integration.browser_support import browser, picture

pytestmark = pytest.mark.engine

CLASS = {"when": "today 00:00-24:00", "time_zone": "UTC", "title": "Knots", "for_class": True}


async def click(client: aiohttp.ClientSession, class_key: str = "") -> tuple[str, float]:
    """What becomes of somebody who opens a link: the ticket's status, and after how many seconds."""
    began = time.monotonic()
    async with client.post("/api/tickets", json={"class_key": class_key}) as response:
        answer = await response.json()
        assert response.status == 201, answer
        return str(answer["status"]), time.monotonic() - began


async def ready_for(service: Service, people: int) -> None:
    """Wait until the reserve is there."""
    async with asyncio.timeout(SECONDS):
        while (await service.admin("GET", "/api/pool"))["ready"] < people:
            await asyncio.sleep(0.2)


async def test_nobody_in_a_class_waits(deployment: Deployment, small: list[str]) -> None:
    """Twelve come in a moment, six drop-in visitors at the same time; in the middle of it the service is killed."""
    options = (*small, "--pool-size=2", "--max-containers=20")
    service = deployment.start(*options, cleanup=False)
    await service.ready(2)
    made = await service.admin("POST", "/api/bookings", {**CLASS, "people": 12})
    key = made["class_url"].rpartition("/")[2]
    await ready_for(service, 14)
    async with service.http() as client:
        everybody = [click(client, key) for _ in range(6)] + [click(client) for _ in range(6)]
        answers = await asyncio.gather(*everybody)
    of_class, drop_ins = [one for one, _ in answers[:6]], [one for one, _ in answers[6:]]
    assert of_class == ["ready"] * 6
    assert drop_ins.count("ready") <= 2, "they had the pool's two, and wait for the next"
    service.signal(signal.SIGKILL)
    service.wait()
    service = deployment.start(*options)
    await service.event("listening")
    (found,) = (await service.admin("GET", "/api/bookings"))["bookings"]
    assert (found["came"], found["left"], found["class_url"].rpartition("/")[2]) == (6, 6, key)
    await ready_for(service, 6)
    async with service.http() as client:
        answers = await asyncio.gather(*(click(client, key) for _ in range(6)), *(click(client) for _ in range(3)))
    assert [one for one, _ in answers[:6]] == ["ready"] * 6
    slowest = max(seconds for _, seconds in answers[:6])
    assert slowest < 5, f"somebody of the class waited {slowest:.1f} s"


async def test_a_booking_outlives_a_reboot(deployment: Deployment, small: list[str]) -> None:
    """The runtime directory is empty after one; the state directory is not."""
    service = deployment.start(*small, "--pool-size=1")
    await service.ready(1)
    made = await service.admin("POST", "/api/bookings", {**CLASS, "people": 2})
    await service.admin("POST", "/api/announcements", {"text": "Maintenance at 18:00"})
    service.stop()
    shutil.rmtree(deployment.directory / "run")
    service = deployment.start(*small, "--pool-size=1")
    await service.event("listening")
    (found,) = (await service.admin("GET", "/api/bookings"))["bookings"]
    assert found["id"] == made["id"]
    assert found["class_url"].rpartition("/")[2] == made["class_url"].rpartition("/")[2]
    (told,) = (await service.admin("GET", "/api/announcements"))["announcements"]
    assert told["text"] == "Maintenance at 18:00"
    await ready_for(service, 3)
    done = await service.command("bookings")
    assert made["id"] in done
    assert f"cancelled {made['id']}" in await service.command("cancel", made["id"])
    await service.ready(1)


@pytest.mark.browser
@pytest.mark.parametrize("has_hosts", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_a_teacher_and_two_students(deployment: Deployment, workshop_image: str, has_hosts: bool) -> None:
    """What the teacher tells is in both JupyterLabs within two seconds, for screen readers too, and nowhere else."""
    hosts = ("--session-host={name}.nb.localhost", "--allowed-hosts=localhost") if has_hosts else ()
    service = deployment.start(f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0", *hosts)
    await service.ready(1)
    wish = {**CLASS, "people": 2, "workshop": "introduction-to-python"}
    made = await service.admin("POST", "/api/bookings", wish)
    await ready_for(service, 3)
    urls = {name: made[name].replace("https://", "http://") for name in ("class_url", "teacher_url")}
    if has_hosts:
        port = service.url.rstrip("/").rpartition(":")[2]
        urls = {name: url.replace("localhost/", f"localhost:{port}/") for name, url in urls.items()}
    async with browser() as first, browser() as second, browser() as third, browser() as desk:
        students = [await opened(context, urls["class_url"]) for context in (first, second)]
        drop_in = await opened(third, service.url.replace("127.0.0.1", "localhost") + "spawn")
        teacher = await desk.new_page()
        await teacher.goto(urls["teacher_url"])
        await expect(teacher.locator("#came")).to_have_text("2")
        await expect(teacher.locator("#working")).to_have_text("2")
        await teacher.locator("#text").fill("Please open <b>two</b>")
        await teacher.get_by_role("button", name="Show it to everybody").click()
        began = time.monotonic()
        for student in students:
            told = student.locator(".tmpnb-Messages [role=alert]")
            await expect(told).to_contain_text("From your teacherPlease open <b>two</b>")
        took = time.monotonic() - began
        assert took < 10, f"it took {took:.1f} s"  # far less on a machine that does nothing else
        await picture(students[0], f"class-lab-{'hosts' if has_hosts else 'shared'}")
        await service.command("announce", "Maintenance at 18:00", "--until=23:59")
        for page in (*students, drop_in):
            await expect(page.get_by_role("alert").filter(has_text="Maintenance at 18:00")).to_be_visible()
        assert await drop_in.get_by_text("Please open").count() == 0
        await students[0].get_by_role("button", name="Close").first.click()
        await expect(students[0].get_by_role("alert").filter(has_text="Please open")).to_have_count(0)


async def opened(context: Any, url: str) -> Page:
    """A JupyterLab that a link leads to."""
    page: Page = await context.new_page()
    await page.goto(url)
    await page.wait_for_url(re.compile("/user/[^/]+/lab"), wait_until="commit")
    await expect(page.locator("#jp-main-dock-panel, #main").first).to_be_visible()
    await page.wait_for_selector(".tmpnb-Messages", state="attached")
    return page
