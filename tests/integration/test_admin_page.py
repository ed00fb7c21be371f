"""The operator's live page, in a real browser and against forged requests."""

from __future__ import annotations

import contextlib
import datetime
import re
import socket
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.e2e.inprocess import Rig, running
from tests.integration import browser_support
from tests.integration.browser_support import PHONE, WIDE, browser, picture
from tests.pool_support import fail
from tmpnb_py.core.errors import FailureClass
from tmpnb_py.core.models import Failure, NodeState, State
from tmpnb_py.engines.fake import FakeHost

pytestmark = pytest.mark.browser

TOKEN = "operators0secret"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(pool_size=2, max_containers=8) as rig:
        await rig.ready(2)
        yield rig


@pytest.fixture
async def cluster() -> AsyncIterator[Rig]:
    async with FakeHost() as host:
        host.nodes = {"one": NodeState.ACTIVE, "two": NodeState.ACTIVE, "three": NodeState.DOWN}
        async with running(host, pool_size=2, max_containers=8) as rig:
            await rig.ready(2)
            yield rig


def opened(rig: Rig, **options: Any) -> contextlib.AbstractAsyncContextManager[Page]:
    """The page, in which nothing may go wrong unnoticed."""
    refused = ("status of 401", "status of 409")  # the browser's own words, not the page's
    return browser_support.opened(f"http://127.0.0.1:{rig.service.admin_port}/", *refused, **options)


def _fail(rig: Rig) -> None:
    lines = ("Traceback (most recent call last):", "<script>document.title = 'owned'</script>")
    fail(
        rig.pool,
        Failure(FailureClass.EXITS_AT_ONCE, "it exited <b>at once</b>", time.monotonic() - 3000, lines),
    )


async def test_it_shows_the_pool_and_follows_it(rig: Rig) -> None:
    _fail(rig)
    async with opened(rig) as page:
        await expect(page.locator("#ready")).to_have_text("2 of 2")
        await expect(page.locator("#engine")).to_have_text("answers")
        await expect(page.locator("#failures summary")).to_contain_text(
            re.compile(r"exits at once: it exited <b>at once</b> \d+ min ago")
        )
        await page.locator("#failures summary").click()
        await expect(page.locator("#failures pre")).to_contain_text("<script>document.title")
        assert await page.title() == "tmpnb-py: the operator's page"
        await expect(page.locator("#starts-text")).to_contain_text("The last 2 took")

        spawned = await rig.spawn()
        await expect(page.locator("#sessions tbody tr")).to_have_count(1)
        await expect(page.locator("#sessions code")).to_have_text(spawned["id"])
        await expect(page.locator("#claimed")).to_have_text("1 of 8 in all")
        # What the reader has opened stays open while the page follows.
        await expect(page.locator("#failures details")).to_have_attribute("open", "")


async def test_it_shows_what_is_on_and_what_comes_next() -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    table = {"from": "00:00", "to": "24:00", "time_zone": "UTC", "only": True}
    on = {**table, "dates": [today, today + datetime.timedelta(days=1)], "pool_size": 3}
    coming = {**table, "dates": [today + datetime.timedelta(days=9)], "pool_size": 4}
    async with running(timetable=[on, coming], max_containers=8) as rig, opened(rig) as page:
        await expect(page.locator("#timetable li").first).to_contain_text("On now: 3 ready, ")
        await expect(page.locator("#timetable li").last).to_contain_text("Next: ")
        await expect(page.locator("#shut")).to_have_text("")
        await expect(page.locator("#size")).to_have_value("1")
        rig.pool._sizing._clock = lambda: time.time() + 5 * 86400
        rig.pool.observe_soon()
        await expect(page.locator("#shut")).to_contain_text("The timetable lets nobody in until ")
        await expect(page.locator("#newcomers")).to_have_text("turned away but for classes")
        await expect(page.locator("#gate")).to_have_text("Close to newcomers")
        rig.pool._sizing._clock = lambda: time.time() + 50 * 86400
        rig.pool.observe_soon()
        await expect(page.locator("#shut")).to_contain_text("no further time is known")


async def test_it_steers_the_pool_with_the_keyboard_alone(rig: Rig) -> None:
    await rig.spawn()
    await rig.ready(2)
    async with opened(rig) as page:
        await expect(page.locator("#sessions tbody tr")).to_have_count(1)
        await page.focus("#size")
        await page.keyboard.press("Control+A")
        await page.keyboard.type("3")
        await page.keyboard.press("Enter")
        await expect(page.locator("#ready")).to_have_text("3 of 3")

        await page.focus("#gate")
        await page.keyboard.press("Enter")
        await expect(page.locator("#ask")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#ask")).to_be_hidden()
        await expect(page.locator("#gate")).to_be_focused()
        await expect(page.locator("#newcomers")).to_have_text("let in")
        await page.keyboard.press("Enter")
        await expect(page.locator("#ask")).to_be_visible()
        await page.keyboard.press("Tab")
        await expect(page.locator("#ask-yes")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#newcomers")).to_have_text("turned away but for classes")
        await page.keyboard.press("Enter")
        await expect(page.locator("#newcomers")).to_have_text("let in")

        await page.get_by_role("button", name="End session").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#ask")).to_be_visible()
        await page.keyboard.press("Tab")
        await expect(page.locator("#ask-yes")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#no-sessions")).to_be_visible()
    assert rig.pool.count(State.CLAIMED) == 0


async def test_what_the_service_refuses_is_said(rig: Rig) -> None:
    async with opened(rig) as page:
        await page.fill("#size", "9")
        async with page.expect_response(lambda response: response.status == 409):
            await page.click("text=Resize")
        await expect(page.locator("#problem")).to_have_text("9 is above max_containers, which is 8.")
        async with page.expect_response("**/api/status"):
            pass
        await expect(page.locator("#problem")).to_be_visible()


async def test_a_reader_of_the_screen_finds_names_and_roles(rig: Rig) -> None:
    await rig.spawn()
    async with opened(rig) as page:
        await expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
        await expect(page.get_by_role("row")).to_have_count(2)
        await expect(page.get_by_label("Notebooks kept ready")).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text("Live: asked every 2 seconds.")
        await expect(page.get_by_role("img", name="Start times")).to_be_visible()
        nameless = await page.evaluate(
            "[...document.querySelectorAll('button')].filter(one => !one.hidden && one.checkVisibility() &&"
            " !one.textContent.trim() && !one.ariaLabel).length"
        )
        assert nameless == 0
        assert await page.evaluate("document.documentElement.lang") == "en"


async def test_it_shows_processes_of_before_an_upgrade(rig: Rig) -> None:
    def former(pid: int, connections: int, minutes: int) -> SimpleNamespace:
        since = time.monotonic() - 60 * minutes
        return SimpleNamespace(pid=pid, version=f"1.0.{pid}", since=since, connections=connections, websockets=1)

    formers = [former(2, 3, 4), former(1, 1, 60)]
    rig.service._context.formers = lambda: formers
    async with opened(rig) as page:
        before = page.locator("#before")
        newer = "tmpnb-py 1.0.2, process 2, followed 4 min ago, still serves 3 connections (1 of them WebSockets)."
        older = "tmpnb-py 1.0.1, process 1, followed 1 h ago, still serves 1 connection (1 of them WebSockets)."
        await expect(before).to_have_text(f"Before it: {newer} Before it: {older}")
        await picture(page, "operator-before")
        await page.set_viewport_size({"width": 360, "height": 740})
        await picture(page, "operator-before-phone")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        formers.clear()
        await expect(before).to_be_hidden()


# --- the nodes of a cluster


async def test_it_shows_nodes_and_takes_one_out_of_use(cluster: Rig) -> None:
    spawned = await cluster.spawn()
    await cluster.ready(2)
    async with opened(cluster) as page:
        await expect(page.get_by_role("heading", name="Nodes")).to_be_visible()
        await expect(page.locator("#nodes-caption")).to_have_text("2 of 3 take notebooks")
        first = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="one"))
        cells = first.get_by_role("cell")
        await expect(cells.nth(0)).to_have_text("active")
        assert (await cells.all_inner_texts())[1:7] == ["connected", "there", "verified", "1", "2", "0"]
        await expect(page.locator("#nodes tbody tr[data-id=three]").get_by_role("button")).to_have_count(0)

        await page.get_by_role("button", name="Drain: node one").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#ask-text")).to_contain_text("Take one out of use?")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(cells.nth(0)).to_have_text("paused, waits for 1 session")
        await expect(cells.nth(5)).to_have_text("0")
        assert (await cluster.admin.delete(f"/api/sessions/{spawned['id']}")).status == 200
        await expect(cells.nth(0)).to_have_text("paused, empty")
        await page.get_by_role("button", name="Use again: node one").click()
        await expect(cells.nth(0)).to_have_text("active")


async def test_one_machine_has_no_nodes(rig: Rig) -> None:
    async with opened(rig) as page:
        await expect(page.locator("#ready")).to_have_text("2 of 2")
        await expect(page.locator("#nodes-part")).to_be_hidden()


# --- the token


async def test_the_token_is_asked_for_and_sent_as_a_header_only() -> None:
    async with running(pool_size=1, admin_auth_token=TOKEN) as rig, opened(rig) as page:
        await expect(page.locator("#token")).to_be_focused()
        assert "tmpnb" not in await page.locator("#name").inner_text()
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")
        await expect(page.locator("#problem")).to_have_text("This is not the right token.")
        await page.keyboard.type(TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.locator("#name")).to_have_text("tmpnb")
        assert TOKEN not in page.url
        assert await page.context.cookies() == []
        assert await page.evaluate("sessionStorage.length + localStorage.length") == 0
        await page.reload()
        await expect(page.locator("#token")).to_be_visible()

        await page.fill("#token", TOKEN)
        await page.check("#keep")
        await page.click("text=Show the pool")
        await expect(page.locator("#board")).to_be_visible()
        await page.reload()
        await expect(page.locator("#board")).to_be_visible()
        await page.click("text=Forget the token")
        await expect(page.locator("#token")).to_be_visible()
        assert await page.evaluate("sessionStorage.length") == 0


async def test_a_service_that_goes_away_is_said_and_its_return_noticed(rig: Rig) -> None:
    async with browser(viewport=WIDE) as context:
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{rig.service.admin_port}/")
        await expect(page.locator("#board")).to_be_visible()
        await context.set_offline(True)
        await expect(page.locator("#freshness")).to_have_text("Not live.")
        await context.set_offline(False)
        await expect(page.locator("#freshness")).to_contain_text("Live")
        await expect(page.locator("#problem")).to_be_hidden()


# --- how it looks


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_and_its_words_can_be_read(cluster: Rig, viewport: dict[str, int], scheme: str) -> None:
    _fail(cluster)
    await cluster.spawn()
    await cluster.pool.pause_node("one", time.monotonic())
    async with opened(cluster, viewport=viewport, color_scheme=scheme) as page:
        await expect(page.locator("#sessions tbody tr")).to_have_count(1)
        await expect(page.locator("#nodes tbody tr")).to_have_count(3)
        await picture(page, f"operator-{scheme}-{viewport['width']}", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        small = await page.evaluate(
            "[...document.querySelectorAll('button')].filter(one => one.checkVisibility()"
            " && one.getBoundingClientRect().height < 40).length"
        )
        assert small == 0
        ratios = await page.evaluate(CONTRAST)
        assert ratios
        assert min(ratios.values()) >= 4.5, ratios


# WCAG 2.2, 1.4.3: of every visible text against the nearest painted background.
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const lum = (rgb) => { const [r, g, b] = rgb.slice(0, 3).map((v) => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (one) => { for (; one; one = one.parentElement) {
    const color = parse(getComputedStyle(one).backgroundColor); if (color.length < 4 || color[3] > 0) return color; }
    return [255, 255, 255]; };
  const found = {};
  for (const one of document.querySelectorAll("body *")) {
    const text = [...one.childNodes].filter((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text.length || !one.checkVisibility() || ["SCRIPT", "STYLE"].includes(one.tagName)) continue;
    const [a, b] = [lum(parse(getComputedStyle(one).color)), lum(behind(one))];
    found[one.tagName + " " + text[0].textContent.trim().slice(0, 30)] =
      (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
}"""


# --- who may not


async def test_the_shell_is_strict_and_says_nothing(rig: Rig) -> None:
    async with rig.admin.get("/") as response:
        policy = response.headers["Content-Security-Policy"]
        assert response.status == 200
        text = await response.text()
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "Set-Cookie" not in response.headers
    assert "style=" not in text
    assert " onclick" not in text


HERE = "http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8000"}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Host": "localhost:{port}", "Origin": HERE}, 403),
        ({"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"}, 403),
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1.evil.example:{port}"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"X-Forwarded-For": "127.0.0.1"}, 403),  # a proxy on this machine speaks for somebody else
        ({"X-Forwarded-Host": "localhost"}, 403),
        ({"Forwarded": "for=127.0.0.1"}, 403),
        ({"X-Real-IP": "127.0.0.1"}, 403),
    ],
    ids=str,
)
async def test_only_the_page_itself_may_ask_without_a_token(rig: Rig, headers: dict[str, str], status: int) -> None:
    port = rig.service.admin_port
    sent = {name: value.replace("{port}", str(port)) for name, value in headers.items()}
    for method, path in (("GET", "/api/status"), ("POST", "/api/open"), ("GET", "/api/sessions")):
        async with rig.admin.request(method, path, headers=sent) as response:
            assert response.status == status


def _address_beyond_loopback() -> str:
    """An address of this machine that others would reach it by. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


async def test_without_a_token_nothing_but_loopback_is_answered() -> None:
    address = _address_beyond_loopback()
    async with running(admin_ip="0.0.0.0") as rig, aiohttp.ClientSession() as client:
        port = rig.service.admin_port
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"{address}:{port}"):
            for method, path in (("DELETE", "/api/pool"), ("GET", "/"), ("GET", "/metrics"), ("GET", "/api/status")):
                url, headers = f"http://{address}:{port}{path}", {"Host": host}
                async with client.request(method, url, headers=headers) as response:
                    assert response.status == 403, (host, path)
                    assert "ADMIN_AUTH_TOKEN" in await response.text()
        async with rig.admin.get("/api/status") as response:
            assert response.status == 200


async def test_with_a_token_others_are_answered() -> None:
    address = _address_beyond_loopback()
    async with running(admin_ip="0.0.0.0", admin_auth_token=TOKEN) as rig, aiohttp.ClientSession() as client:
        url = f"http://{address}:{rig.service.admin_port}"
        async with client.get(f"{url}/metrics") as response:
            assert response.status == 200
        async with client.get(f"{url}/api/status", headers={"Authorization": f"token {TOKEN}"}) as response:
            assert response.status == 200


async def test_a_token_is_needed_whoever_asks() -> None:
    async with running(admin_auth_token=TOKEN) as rig, aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{rig.service.admin_port}"
        for headers, status in (
            ({}, 401),
            ({"Origin": url, "Sec-Fetch-Site": "same-origin"}, 401),
            ({"Authorization": "token x"}, 401),
            ({"Authorization": f"token {TOKEN}"}, 200),
            ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ):
            async with client.get(f"{url}/api/status", headers=headers) as response:
                assert response.status == status
