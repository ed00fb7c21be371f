"""What the first page and those that lead to a notebook say of it: how long it lives, and what one has already."""

from __future__ import annotations

import datetime
import re
import time

import pytest
from playwright.async_api import expect

from tests.e2e.inprocess import running
from tests.e2e.test_notes import PAGE, host
from tests.e2e.test_visit_pages import end_sessions, full, give_up_the_first, opened
from tests.e2e.test_visits import claimed, visitor
from tests.e2e.test_workshops import MANIFEST, host_with
from tests.integration.browser_support import picture
from tmpnb_py.claims.tickets import Status
from tmpnb_py.cli.commands.output import ends_in
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.pools.idle import Limits
from tmpnb_py.web import messages
from tmpnb_py.words.words import words

NOTEBOOK = re.compile(r"/user/([a-z0-9]{26})/")


def limits(timeout: float = 0, disconnected: float = 0, maximum: float = 0) -> Limits:
    return Limits(timeout=timeout, disconnected=disconnected, busy=0, unvisited=0, maximum=maximum)


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (
            limits(3600, 0, 14400),
            "It ends one hour after you stop using it; at the latest four hours after its start.",
        ),
        (
            limits(3600, 900, 86400),
            (
                "It ends one hour after you stop using it, or 15 minutes after you close it; at the latest 24 hours "
                "after its start."
            ),
        ),
        (limits(3600, 3600), "It ends one hour after you stop using it."),
        (limits(0, 90, 0), "It ends 90 seconds after you close it."),
        (
            limits(5400, 0, 172800),
            "It ends 90 minutes after you stop using it; at the latest two days after its start.",
        ),
        (limits(0, 0, 60), "It ends one minute after its start."),
        (limits(), "It stays until you end it."),
    ],
)
def test_how_long_a_notebook_lives_is_said_in_words(limit: Limits, told: str) -> None:
    assert messages.lifetime(words(), limit) == told


async def test_pages_that_lead_to_a_notebook_say_how_long_it_lives() -> None:
    async with host() as machine, running(machine, cull_timeout="30m", cull_disconnected=0) as rig:
        await rig.ready(1)
        for path in ("/", "/spawn?workshop=knots", PAGE):
            async with rig.client.get(path) as response:
                said = await response.text()
            assert "It ends 30 minutes after you stop using it; at the latest four hours after its start." in said, (
                path
            )


async def test_who_has_a_notebook_is_not_told_that_one_is_ready() -> None:
    async with host_with(MANIFEST) as machine, running(machine, max_containers=3) as rig, visitor(rig) as one:
        await rig.ready(1)
        assert "A notebook is ready for you" in (await one.get("/"))[1]
        await one.opened()
        await rig.ready(1)
        page = (await one.get("/"))[1]
        assert "Your notebook is still running" in page
        assert 'class="state' not in page.replace('<noscript><p class="state', "")


async def key_of(page: str) -> str:
    found = re.search(r'name="end" value="([0-9a-f]{32})"', page)
    assert found is not None
    return found[1]


async def test_start_afresh_ends_the_first_one_or_keeps_it_as_one_says() -> None:
    async with host_with(MANIFEST) as machine, running(machine, max_containers=9) as rig, visitor(rig) as one:
        await rig.ready(1)
        first = await one.opened()
        await rig.ready(1)
        second = await one.opened(fresh="1")
        assert {container.id for container in claimed(rig)} == {first, second}
        await rig.ready(1)
        key = await key_of((await one.get("/"))[1])
        third = await one.opened(fresh="1", end=key)
        assert {container.id for container in claimed(rig)} == {first, third}
        ended = rig.pool.ended(second) or rig.pool.get(second)
        assert ended is not None
        assert ended.reason is EndReason.ENDED_BY_OWNER

        # Nobody else ends it: not with a former key, nor with none, nor without asking for another one.
        await rig.ready(1)
        for wrong in (key, "", "0" * 32):
            await one.opened(fresh="1", end=wrong)
            await rig.ready(1)
        fourth = await key_of((await one.get("/"))[1])
        await one.opened(end=fourth)
        assert third in {container.id for container in claimed(rig)}


async def test_with_one_notebook_for_each_address_another_comes_in_its_place() -> None:
    options = {"max_containers": 3, "max_notebooks_per_address": 1}
    async with host_with(MANIFEST) as machine, running(machine, **options) as rig, visitor(rig) as one:
        await rig.ready(1)
        first = await one.opened()
        assert (await one.post(fresh="1")).status == 429
        await rig.ready(1)
        second = await one.opened(fresh="1", end=await key_of((await one.get("/"))[1]))
        assert [container.id for container in claimed(rig)] == [second] != [first]


@pytest.mark.browser
async def test_the_question_is_asked_before_another_notebook_is_started() -> None:
    async with host_with(MANIFEST) as machine, running(machine, max_containers=3) as rig:
        await rig.ready(1)
        async with opened(rig, "/spawn/lab/tree/a.ipynb") as page:
            await page.wait_for_url(NOTEBOOK)
            first = NOTEBOOK.search(page.url)
            assert first is not None
            for path in ("/", "/spawn/lab/tree/b.ipynb"):
                await rig.ready(1)
                await page.goto(f"http://127.0.0.1:{rig.service.port}{path}")
                await page.get_by_text("Start afresh", exact=True).click()
                await expect(page.get_by_text("What should happen to the notebook that is running?")).to_be_visible()
                await picture(page, f"afresh-{'landing' if path == '/' else 'launch'}", full_page=True)
                await page.get_by_role("button", name="End it, and start afresh").click()
                await page.wait_for_url(lambda url: "/user/" in url and first[1] not in url)
                (session,) = rig.pool.in_state(State.CLAIMED)
                assert session.id in page.url


async def test_the_first_page_knows_a_place_in_line() -> None:
    async with full() as rig, visitor(rig) as one, visitor(rig) as other:
        response = await one.post("lab/tree/knots/First knot.ipynb")
        place = response.headers["Location"]
        assert "/spawn/wait/" in place
        ticket = rig.claims.find(place.split("/wait/")[1].partition("?")[0])
        assert ticket is not None
        rig.claims.release(ticket, 15)
        page = (await one.get("/"))[1]
        assert "You have a place in line" in page
        assert "One visitor is before you." in page
        assert "Knots &amp; &lt;Loops&gt;" in page
        assert f'href="/spawn/wait/{ticket.id}?path=' in page
        rig.claims.sweep(time.monotonic() + 60)  # looking has kept it
        assert rig.claims.waiting == 2
        # A notebook's script that reads the page is told nothing, and neither is anybody else.
        assert ticket.id not in (await one.get("/", **{"Sec-Fetch-Dest": "empty"}))[1]
        assert "place in line" not in (await other.get("/"))[1]
        # A notebook that came meanwhile is theirs, until they have been there.
        give_up_the_first(rig)
        end_sessions(rig)
        await rig.until(lambda: ticket.status is Status.READY)
        page = (await one.get("/"))[1]
        assert "Your notebook is ready." in page
        assert ticket.status is Status.READY  # which does not announce it
        assert (await one.get(place))[0] == 200  # by way of the notebook's address
        assert "You have a place" not in (await one.get("/"))[1]


@pytest.mark.browser
async def test_no_link_of_a_card_stands_alone() -> None:
    async with host() as machine, running(machine) as rig:
        await rig.ready(1)
        async with opened(rig, "/") as page:
            link, button = page.get_by_role("button", name="Copy link"), page.get_by_role("button", name="Open live")
            await expect(page.get_by_role("link", name="Read")).to_be_visible()
            for width in (390, 800, 1280):
                await page.set_viewport_size({"width": width, "height": 900})
                boxes = [await one.bounding_box() for one in (link, button)]
                middles = [box["y"] + box["height"] / 2 for box in boxes if box is not None]
                assert abs(middles[0] - middles[1]) < 10
                await picture(page, f"first-page-{width}", full_page=True)


def test_a_session_that_only_its_kernel_keeps_alive_is_called_busy() -> None:
    now = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
    hour = datetime.timedelta(hours=1)
    assert ends_in(now + hour, now + 3 * hour, now) == "1h"
    assert ends_in(now, now + 3 * hour, now) == "busy, 3h at most"
    assert ends_in(now, None, now) == "busy"
    assert ends_in(None, None, now) == "never"
