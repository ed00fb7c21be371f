"""The visitor's pages in a real browser: they go on by themselves, are kept on reload, released on leaving, and axe
finds nothing serious in them.

Screenshots go to tests/artifacts/, for people to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Route, expect

from tests.e2e.inprocess import Rig, running
from tests.e2e.test_workshops import MANIFEST, host_with
from tests.integration.browser_support import MILLISECONDS, browser, picture
from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.engines.fake import FakeHost

pytestmark = pytest.mark.browser

NOTEBOOK = re.compile(r"/user/([a-z0-9]{26})/")
PLACE = re.compile(r"/spawn/wait/([0-9a-f]{32})")


@contextlib.asynccontextmanager
async def full(**options: Any) -> AsyncIterator[Rig]:
    """A service of one notebook, which somebody has, and of one more who waits."""
    async with host_with(MANIFEST) as host, running(host, max_containers=1, **options) as rig:
        await rig.ready(1)
        await rig.spawn()
        await rig.claims.open_ticket("lab")
        yield rig


@contextlib.asynccontextmanager
async def opened(rig: Rig, path: str, **options: Any) -> AsyncIterator[Page]:
    """A page in which no script may fail and nothing may be refused by the policy unnoticed."""
    async with browser(**options) as context:
        context.set_default_timeout(MILLISECONDS)
        page = await context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        await page.goto(f"http://127.0.0.1:{rig.service.port}{path}")
        yield page
        # The browser's own words about answers that are meant to be errors.
        assert [fault for fault in faults if "the server responded with a status of" not in fault] == []


def end_sessions(rig: Rig) -> None:
    for one in rig.pool.in_state(State.CLAIMED):
        rig.pool.end(one, EndReason.ENDED_BY_OPERATOR, time.monotonic())


def give_up_the_first(rig: Rig) -> None:
    rig.claims.leave(rig.claims.in_line()[0])


def ticket_of(rig: Rig, ticket_id: str) -> Ticket:
    ticket = rig.claims.find(ticket_id)
    assert ticket is not None
    return ticket


async def watched(rig: Rig, page: Page) -> Ticket:
    """The ticket of a waiting page, once the page follows it: from then on its place does not lapse."""
    place = PLACE.search(page.url)
    assert place is not None
    ticket = ticket_of(rig, place[1])
    await rig.until(lambda: ticket.watchers == 1)
    return ticket


async def test_a_link_opens_its_document_by_itself_and_only_once() -> None:
    async with host_with(MANIFEST) as host, running(host, max_containers=3) as rig:
        await rig.ready(1)
        async with opened(rig, "/") as page:
            await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn?workshop=knots")
            await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab/tree/knots/First%20knot\.ipynb"))
            first = NOTEBOOK.search(page.url)
            assert first is not None
            # Back is the page before the launch page, which would start another one.
            await page.go_back()
            await expect(page.get_by_role("heading", name="Your notebook is still running")).to_be_visible()
            await page.get_by_role("button", name="Open live").click()
            await page.wait_for_url(re.compile(first[1]))
            await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn/lab/tree/other.ipynb")
            await expect(page.get_by_text("Your notebook is still running.")).to_be_visible()
            await page.keyboard.press("Enter")  # the button has the focus
            await page.wait_for_url(re.compile(rf"{first[1]}/lab/tree/other\.ipynb"))
            assert rig.pool.count(State.CLAIMED) == 1
            await rig.ready(1)
            await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn/lab/tree/other.ipynb")
            await page.get_by_text("Start afresh", exact=True).click()
            await page.get_by_role("button", name="Keep it, and start another").click()
            await page.wait_for_url(lambda url: "/user/" in url and first[1] not in url)
            assert rig.pool.count(State.CLAIMED) == 2


async def test_who_waits_in_a_closed_service_sees_that_and_goes_on_when_it_is_open_again() -> None:
    async with full() as rig, opened(rig, "/spawn?workshop=knots") as page:
        await expect(page.locator("#position")).to_have_text("2")
        await watched(rig, page)
        rig.pool.close_to_newcomers()
        await expect(page.locator("#message")).to_contain_text("are not letting anyone new in right now")
        await expect(page.locator("#said")).to_contain_text("You keep your place")  # screen readers hear it, too
        await picture(page, "waiting-closed")
        give_up_the_first(rig)
        end_sessions(rig)
        await rig.ready(1)
        await page.reload()
        await expect(page.locator("#position")).to_have_text("1")
        rig.pool.open_to_newcomers()
        await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab/tree/knots/First%20knot\.ipynb"))


async def test_who_finds_the_service_closed_goes_on_once_it_is_open() -> None:
    async with host_with(MANIFEST) as host, running(host) as rig:
        await rig.ready(1)
        rig.pool.close_to_newcomers()
        async with browser() as context:
            page = await context.new_page()
            await page.clock.install()
            await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn?workshop=knots")
            await expect(page.get_by_role("heading", level=1)).to_have_text("No new notebooks at the moment")
            async with page.expect_response(re.compile(r"/spawn\?workshop=knots")) as asked:
                await page.clock.fast_forward(31_000)
            assert (await asked.value).status == 503
            rig.pool.open_to_newcomers()
            await page.clock.fast_forward(31_000)
            await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab/tree/knots/First%20knot\.ipynb"))


async def test_the_place_in_line_moves_and_survives_a_reload() -> None:
    async with full() as rig, opened(rig, "/spawn?workshop=knots") as page:
        await expect(page.locator("#position")).to_have_text("2")
        await expect(page.locator("#message")).to_contain_text("One visitor is before you.")
        await expect(page.get_by_role("heading", name="Knots")).to_be_visible()
        place = PLACE.search(page.url)
        assert place is not None
        await page.reload()
        await expect(page.locator("#position")).to_have_text("2")
        assert rig.claims.waiting == 2
        assert (await watched(rig, page)).id == place[1]
        rig.claims.sweep(time.monotonic() + 60)
        assert rig.claims.waiting == 2
        give_up_the_first(rig)
        await expect(page.locator("#position")).to_have_text("1")
        await expect(page.locator("#message")).to_contain_text("You are next in line.")
        end_sessions(rig)
        await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab/tree/knots/First%20knot\.ipynb"))
        # The way back is through the cookie, also for a place that was served in the background.
        await page.goto(f"http://127.0.0.1:{rig.service.port}/")
        await expect(page.get_by_role("link", name="Go on")).to_be_visible()


async def test_the_heading_that_a_link_names_arrives() -> None:
    """No server is told of a fragment; a redirect keeps it, and the page has to."""
    arrived = re.compile(r"/user/[a-z0-9]{26}/lab/tree/a\.ipynb\?token=[^#]+#part$")
    async with running() as rig:
        await rig.ready(1)
        async with opened(rig, "/lab/tree/a.ipynb#part") as page:
            await page.wait_for_url(arrived)
    async with full() as rig, opened(rig, "/spawn/lab/tree/a.ipynb#part") as page:
        await expect(page.locator("#position")).to_have_text("2")
        await page.reload()
        await expect(page.locator("#position")).to_have_text("2")
        assert page.url.endswith("#part")
        await watched(rig, page)
        give_up_the_first(rig)
        end_sessions(rig)
        await page.wait_for_url(arrived)


async def test_where_streams_do_not_get_through_it_asks() -> None:
    async with full() as rig, browser() as context:
        context.set_default_timeout(MILLISECONDS)
        page = await context.new_page()
        await page.route("**/events", lambda route: route.abort())
        await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn")
        await expect(page.locator("#position")).to_have_text("2")
        # A place that the service knows nothing of any more is noticed, and taken anew.
        lost = PLACE.search(page.url)
        assert lost is not None
        troubles = [(500, {}), (503, {"Retry-After": "2"})]

        async def drawn(route: Route) -> None:
            if troubles:
                status, headers = troubles.pop(0)
                await route.fulfill(status=status, headers=headers, json={"message": "It did not work."})
            else:
                await route.fallback()

        await page.reload()  # the waiting page itself, which has no button to press again
        await expect(page.locator("#position")).to_have_text("2")
        await page.route("**/api/tickets", drawn)
        rig.claims.leave(ticket_of(rig, lost[1]))
        # Troubles meanwhile are said, and it goes on.
        await expect(page.locator("#doing")).to_have_text("It did not work. Trying again…")
        await expect(page.locator("#doing")).to_have_text("The service is not ready yet. Trying again in a moment…")
        await page.wait_for_url(lambda url: PLACE.search(url) is not None and lost[1] not in url)
        await expect(page.locator("#position")).to_have_text("2")
        give_up_the_first(rig)
        end_sessions(rig)
        await page.wait_for_url(NOTEBOOK)


# A tab in the background, until it is shown; a reload leaves it as it is.
BACKGROUND = """
Object.defineProperty(document, "visibilityState", { get: () => sessionStorage.shown || "hidden" });
"""
SHOWN = """() => {
    sessionStorage.shown = "visible";
    document.dispatchEvent(new Event("visibilitychange"));
}"""


async def test_a_link_in_a_tab_in_the_background_opens_in_the_notebook_that_runs_by_then() -> None:
    async with host_with(MANIFEST) as host, running(host, max_containers=3) as rig, opened(rig, "/") as page:
        await rig.ready(1)
        base = f"http://127.0.0.1:{rig.service.port}"
        aside = await page.context.new_page()
        await aside.add_init_script(BACKGROUND)
        await aside.goto(f"{base}/spawn/lab/tree/b.ipynb?x=1")
        await page.goto(f"{base}/spawn/lab/tree/a.ipynb")
        await page.wait_for_url(NOTEBOOK)
        await rig.ready(1)
        assert await aside.evaluate("visit.dataset.key") == ""
        await aside.evaluate(SHOWN)
        await aside.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab/tree/b\.ipynb\?x=1"))
        assert [NOTEBOOK.search(one.url)[1] for one in (page, aside)] == [  # type: ignore[index]
            one.id for one in rig.pool.in_state(State.CLAIMED) * 2
        ]


async def test_a_page_is_loaded_again_for_a_notebook_of_another_tab_only_once() -> None:
    """Also from the waiting page, whose place was lost; nothing is gained by trying for ever."""
    asked: list[bool] = []

    async def stale(route: Route) -> None:
        asked.append(json.loads(route.request.post_data or "")["reload"])
        if asked[-1]:
            await route.fulfill(status=409, json={"status": "stale", "message": "Please load this page again."})
        else:
            await route.fallback()

    async with full() as rig, browser() as context:
        page = await context.new_page()
        await page.route("**/events", lambda route: route.abort())
        await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn/lab/tree/a%20b.ipynb")
        await expect(page.locator("#position")).to_have_text("2")
        await page.reload()
        await expect(page.locator("#position")).to_have_text("2")
        lost = PLACE.search(page.url)
        assert lost is not None
        await page.route("**/api/tickets", stale)
        rig.claims.leave(ticket_of(rig, lost[1]))
        await page.wait_for_url(lambda url: PLACE.search(url) is not None and lost[1] not in url)
        await expect(page.locator("#position")).to_have_text("2")
        await expect(page.get_by_text("It opens a b.ipynb.")).to_be_visible()
        assert asked == [True, False]


async def test_who_waits_for_another_notebook_and_loses_the_place_waits_for_another_one_again() -> None:
    async with host_with(MANIFEST) as host, running(host, max_containers=1) as rig:
        await rig.ready(1)
        async with browser() as context:
            page = await context.new_page()
            await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn")
            await page.wait_for_url(NOTEBOOK)
            await page.route("**/events", lambda route: route.abort())
            await page.goto(f"http://127.0.0.1:{rig.service.port}/")
            await page.get_by_text("Start afresh", exact=True).click()
            await page.get_by_role("button", name="Keep it, and start another").click()
            await expect(page.locator("#position")).to_have_text("1")
            lost = PLACE.search(page.url)
            assert lost is not None
            rig.claims.leave(ticket_of(rig, lost[1]))
            await page.wait_for_url(lambda url: PLACE.search(url) is not None and lost[1] not in url)
            await expect(page.locator("#position")).to_have_text("1")


async def test_who_waits_in_two_tabs_gets_one_notebook() -> None:
    async with full() as rig, opened(rig, "/spawn/lab/tree/a.ipynb") as page:
        await expect(page.locator("#position")).to_have_text("2")
        other = await page.context.new_page()
        await other.goto(f"http://127.0.0.1:{rig.service.port}/spawn/lab/tree/b.ipynb")
        await expect(other.locator("#position")).to_have_text("3")
        give_up_the_first(rig)
        end_sessions(rig)
        await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab/tree/a\.ipynb"))
        await other.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab/tree/b\.ipynb"))
        (container,) = rig.pool.in_state(State.CLAIMED)
        assert container.id in page.url
        assert container.id in other.url
        assert rig.claims.waiting == 0


async def test_a_notebook_that_says_there_is_one_makes_the_waiting_page_load_again_and_no_more() -> None:
    async with full() as rig, opened(rig, "/spawn/lab/tree/a.ipynb") as page:
        await expect(page.locator("#position")).to_have_text("2")
        place, ticket = page.url, await watched(rig, page)
        hostile = await page.context.new_page()
        await hostile.goto(f"http://127.0.0.1:{rig.service.port}/info")
        for forged in ("", "https://evil.example/", {"status": "ready", "session": {"open_url": "/user/evil/"}}):
            async with page.expect_event("load"):
                await hostile.evaluate("(said) => new BroadcastChannel('tmpnb-visit').postMessage(said)", forged)
            await expect(page.locator("#position")).to_have_text("2")
            assert page.url == place
        await rig.until(lambda: ticket.watchers == 1)
        rig.claims.sweep(time.monotonic() + 60)
        assert rig.claims.waiting == 2


# What is said last, for after the page has been left.
LISTEN = """() => {
    const [doing, said] = ["doing", "said"].map((id) => document.getElementById(id));
    const keep = () => { sessionStorage.told = doing.textContent + "|" + said.textContent; };
    new MutationObserver(keep).observe(said, { childList: true });
}"""


async def test_how_the_waiting_ended_is_said_as_it_is() -> None:
    said = "Your place in line was given up."
    async with full() as rig, opened(rig, "/spawn") as page:
        await expect(page.locator("#position")).to_have_text("2")
        ticket = await watched(rig, page)
        await page.evaluate(LISTEN)
        rig.claims.leave(ticket)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your place in line was given up")
        assert await page.evaluate("sessionStorage.told") == f"{said}|{said}"


async def test_while_the_service_is_away_the_waiting_page_says_so(tmp_path: Path) -> None:
    away = "The service cannot be reached. Your place in line is kept; trying again…"
    kept: dict[str, Any] = {"max_containers": 1, "runtime_dir": tmp_path, "cleanup_on_exit": False}
    tries, seen = [], asyncio.Event()

    async def refused(route: Route) -> None:
        """It is said while the stream is tried again, not only when that is given up after the second time."""
        tries.append(route)
        if len(tries) > 1:
            await seen.wait()
        await route.abort()

    async with FakeHost() as host, browser() as context:
        context.set_default_timeout(MILLISECONDS)
        page = await context.new_page()
        message, said = page.locator("#message"), page.get_by_role("status")
        async with running(host, **kept) as rig:
            port = rig.service.port
            await rig.ready(1)
            await rig.spawn()
            await page.goto(f"http://127.0.0.1:{port}/spawn")
            await expect(message).to_contain_text("You are next in line.")
            place = page.url
            await page.route("**/events", refused)
        for one in (message, said):
            await expect(one).to_have_text(away)
        await picture(page, "visit-wait-away")
        seen.set()
        await page.wait_for_event("requestfailed", lambda one: "/events" not in one.url)  # from then on it asks
        async with running(host, port=port, **kept):
            for one in (message, said):
                await expect(one).to_contain_text("You are next in line.")
            # So it is where a proxy answers in the service's place.
            await page.route(f"**/{place[-32:]}", lambda route: route.fulfill(status=502, body="Bad Gateway"))
            for one in (message, said):
                await expect(one).to_have_text(away)
            await page.unroute_all()
            for one in (message, said):
                await expect(one).to_contain_text("You are next in line.")
            assert page.url == place


async def test_a_file_that_the_browser_saves_ends_the_waiting() -> None:
    async def attached(route: Route) -> None:
        await route.fulfill(
            body="a,b", content_type="text/csv", headers={"Content-Disposition": "attachment; filename=x.csv"}
        )

    async with (
        host_with(MANIFEST) as host,
        running(host) as rig,
        opened(rig, "/", accept_downloads=True) as page,
    ):
        await rig.ready(1)
        await page.route("**/user/*/files/**", attached)
        async with page.expect_download() as first:
            await page.goto(f"http://127.0.0.1:{rig.service.port}/files/knots/x.csv")
        assert (await first.value).suggested_filename == "x.csv"
        await expect(page.get_by_text("Your browser has been given the file").first).to_be_visible()
        await expect(page.get_by_role("status")).to_contain_text("Your browser has been given the file")
        await expect(page.locator("#busy")).to_be_hidden()
        await expect(page).to_have_title("Your file")
        await picture(page, "visit-launch-file")
        async with page.expect_download() as second:
            await page.get_by_role("link", name="Open it again").click()
        assert (await second.value).url == (await first.value).url
        # The same where it is opened in the notebook that runs.
        await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn/files/knots/x.csv")
        async with page.expect_download():
            await page.get_by_role("button", name="Open it there").click()
        await expect(page.get_by_role("link", name="Open it again")).to_be_visible()
        await expect(page.locator("#choice")).to_be_hidden()


async def test_who_leaves_gives_the_place_up_within_seconds() -> None:
    async with full() as rig, opened(rig, "/spawn") as page:
        await expect(page.locator("#position")).to_have_text("2")
        ticket = await watched(rig, page)
        await page.goto("about:blank")
        await rig.until(lambda: not ticket.watchers and ticket.held_until < time.monotonic() + 20)
        rig.claims.sweep(time.monotonic() + 20)
        assert rig.claims.waiting == 1


async def test_giving_up_and_being_turned_away_are_said() -> None:
    async with full(max_waiting=2) as rig, opened(rig, "/spawn") as page:
        await expect(page.locator("#position")).to_have_text("2")
        async with browser() as other:
            turned_away = await other.new_page()
            await turned_away.goto(f"http://127.0.0.1:{rig.service.port}/spawn")
            await expect(turned_away.locator("#doing")).to_have_text("The line is full. Trying again in a moment…")
        await page.get_by_role("button", name="Give up my place").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Workshops, live in your browser")
        assert rig.claims.waiting == 1
        await page.go_back()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your place in line was given up")
        await expect(page.get_by_text("Your place goes to somebody else when you give it up, when")).to_be_visible()
        assert rig.claims.waiting == 1
        await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn")
        await expect(page.locator("#position")).to_have_text("2")
        rig.pool.close_to_newcomers()
        await expect(page.locator("#message")).to_contain_text("are not letting anyone new in right now")


async def test_without_javascript_it_is_said_that_a_notebook_needs_it() -> None:
    words = "A notebook needs JavaScript, which your browser does not run here."
    async with host_with(MANIFEST) as host, running(host) as rig:
        await rig.ready(1)
        base = f"http://127.0.0.1:{rig.service.port}"
        async with opened(rig, "/", java_script_enabled=False) as page:
            said = page.locator("noscript p")  # Playwright looks for no text in there by itself
            await expect(said).to_be_visible()
            await expect(said).to_have_text(f"{words} What has a “Read” button can be read without it.")
            await picture(page, "visit-landing-scriptless")
            await page.goto(f"{base}/spawn?workshop=knots")
            await expect(said).to_be_visible()
            await expect(said).to_have_text(f"{words} What can be read without it is on the first page.")
            await picture(page, "visit-launch-scriptless")
            await page.get_by_role("link", name="the first page").click()
            await expect(page.get_by_role("link", name="Read", exact=True)).to_be_visible()
            assert rig.pool.count(State.CLAIMED) == 0
        async with opened(rig, "/") as page:
            await expect(page.locator("noscript")).to_be_hidden()


async def test_a_link_is_copied() -> None:
    async with host_with(MANIFEST) as host, running(host) as rig:
        await rig.ready(1)
        async with opened(rig, "/", permissions=["clipboard-read", "clipboard-write"]) as page:
            await page.get_by_role("button", name="Copy link").focus()
            await page.keyboard.press("Space")
            await expect(page.get_by_role("status")).to_have_text("Link copied")
            copied = await page.evaluate("navigator.clipboard.readText()")
            assert copied == f"http://127.0.0.1:{rig.service.port}/spawn?workshop=knots"
        async with opened(rig, "/", java_script_enabled=False) as page:
            assert (
                await page.get_by_role("link", name="Link to share").get_attribute("href") == "/spawn?workshop=knots"
            )


LOOK: dict[str, Any] = {
    "site_title": "University of Example",
    "accent_color": "#8b1a2b",
    "announcement": "Maintenance on Friday, see https://status.example.org",
    "site_footer": "Run by the library.",
    "privacy_notice": "Nothing is kept.",
}


@pytest.mark.parametrize("look", [{}, LOOK], ids=["plain", "dressed"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(scheme: str, look: dict[str, Any]) -> None:
    width = 390 if look else 1280
    axe = Axe()
    async with (
        full(**look) as rig,
        opened(rig, "/", color_scheme=scheme, viewport={"width": width, "height": 844}) as page,
    ):
        base = f"http://127.0.0.1:{rig.service.port}"

        async def inspect(name: str) -> None:
            await picture(page, f"visit-{name}-{scheme}-{width}", full_page=True)
            results = await axe.run(page)
            found = results.response["violations"]
            serious = [one for one in found if one["impact"] in ("serious", "critical")]
            assert serious == [], (name, results.generate_report())
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name

        await inspect("landing-busy")
        await page.goto(f"{base}/spawn?workshop=knots")
        await expect(page.locator("#position")).to_have_text("2")
        await inspect("wait")
        end_sessions(rig)
        give_up_the_first(rig)
        await page.wait_for_url(NOTEBOOK)
        await page.goto(f"{base}/spawn?workshop=knots")
        await inspect("launch-running")
        await page.goto(base)
        await inspect("landing-running")
        rig.pool.close_to_newcomers()
        for name, path in (("landing-closed-running", "/"), ("launch-closed-running", "/spawn?workshop=knots")):
            await page.goto(base + path)
            await inspect(name)
        rig.pool.open_to_newcomers()
        ended = rig.pool.in_state(State.CLAIMED)[0].id
        end_sessions(rig)
        # A place that was drawn here, and lost.
        await page.context.add_cookies([{"name": "tmpnb-place", "value": "0" * 32, "url": f"{base}/spawn/wait/"}])
        for name, path in (
            ("ended", f"/user/{ended}/lab/tree/x.ipynb"),
            ("lost", f"/spawn/wait/{'0' * 32}"),
            ("problem", "/nowhere"),
            ("info", "/info"),
            ("privacy", "/privacy"),
        ):
            await page.goto(base + path)
            await inspect(name)
        rig.pool.close_to_newcomers()
        for name, path in (("landing-closed", "/"), ("closed", "/spawn")):
            await page.goto(base + path)
            await inspect(name)
