"""The pages for people: the first page, the launch page and its form, the waiting page, a notebook's address."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.pool_support import records_of
from tests.web_support import World, serving
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.web import cookies

HTML = {"Accept": "text/html"}
ROBOT = {"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("tmpnb_py.web.pages.launch._MOMENT", 0.0)  # who has to wait waits on the page
    async with serving(tmp_path, max_waiting=2) as world:
        yield world


async def post(world: World, fields: dict[str, str], **headers: str) -> tuple[aiohttp.ClientResponse, str]:
    """The launch page's form, sent from our own page."""
    return await world.ask("POST", "/spawn", data=fields, headers={"Origin": world.origin, **HTML, **headers})


def jar(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The cookies that an answer sets, as a browser sends them."""
    return {"Cookie": "; ".join(f"{name}={morsel.value}" for name, morsel in response.cookies.items())}


# --- the launch page


async def test_the_launch_page_takes_nothing(world: World) -> None:
    world.ready("a")
    response, page = await world.ask("GET", "/spawn/lab/tree/demo.ipynb", headers=HTML)
    assert (response.status, world.pool.count(State.READY)) == (200, 1)
    assert "demo.ipynb" in page
    assert "data-start" in page
    names = re.findall(r'data-once="([0-9a-f]{64})"', page)
    assert len(names) == 1
    assert "<script" not in (await world.ask("GET", "/spawn/lab/tree/demo.ipynb", headers=HTML | ROBOT))[1]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/spawn/a%5Cb", 400, "can&#39;t be used"),
        ("/spawn?urlpath=../x", 400, "can&#39;t be used"),
        ("/spawn?workshop=sails", 404, "no workshop of this name"),
        ("/spawn?workshop=knots", 200, "Knots &amp; loops"),
    ],
)
async def test_what_a_link_may_ask_for(world: World, path: str, status: int, said: str) -> None:
    response, page = await world.ask("GET", path, headers=HTML)
    assert (response.status, said in page) == (status, True)


async def test_a_closed_service_says_so_but_opens_what_runs(world: World) -> None:
    container = await world.claimed("a")
    world.pool.close_to_newcomers()
    response, page = await world.ask("GET", "/spawn", headers=HTML)
    assert (response.status, "letting anyone new in" in page) == (503, True)
    own = {**HTML, "Cookie": f"tmpnb-sessions={cookies.entry(container)}"}
    response, page = await world.ask("GET", "/spawn", headers=own)
    assert (response.status, f'data-key="{cookies.page_key(container)}"' in page) == (200, True)


# --- its form


async def test_the_form_leads_into_a_notebook(world: World) -> None:
    world.ready("a")
    response, _ = await post(world, {"path": "lab/tree/demo.ipynb"})
    assert (response.status, response.headers["Location"]) == (303, "/user/a/lab/tree/demo.ipynb?token=secret-a")
    again, _ = await post(world, {"path": "lab/tree/other.ipynb"}, **jar(response))
    assert again.headers["Location"] == "/user/a/lab/tree/other.ipynb?token=secret-a", "the session that runs is used"
    world.ready("b")
    fresh, _ = await post(world, {"fresh": "1"}, **jar(response))
    assert fresh.headers["Location"] == "/user/b/lab?token=secret-b"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Origin": "https://other.example"}, "This button works on this service"),
        ({"Origin": "null"}, "This button works on this service"),
        (ROBOT, "Robots may read"),
    ],
)
async def test_who_may_not_press_the_button(world: World, headers: dict[str, str], said: str) -> None:
    world.ready("a")
    response, page = await post(world, {}, **headers)
    assert (response.status, said in page, world.pool.count(State.READY)) == (403, True, 1)


async def test_a_browser_that_names_no_page_is_refused_and_a_form_that_is_none(world: World) -> None:
    assert (await world.ask("POST", "/spawn", headers=HTML))[0].status == 403
    assert (await world.ask("POST", "/spawn", headers={"Sec-Fetch-Site": "same-origin"}))[0].status == 303
    headers = {"Origin": world.origin, "Content-Type": "multipart/form-data; boundary=x"}
    assert (await world.ask("POST", "/spawn", headers=headers))[0].status == 400
    response, page = await post(world, {"path": "../x"})
    assert (response.status, "can&#39;t be used" in page) == (400, True)


async def test_a_line_that_is_full(world: World) -> None:
    for _ in range(2):
        assert (await post(world, {}))[0].status == 303
    response, page = await post(world, {"path": "lab/tree/x.ipynb"})
    assert (response.status, 'value="lab/tree/x.ipynb"' in page) == (429, True)
    assert int(response.headers["Retry-After"]) >= 1


# --- the waiting page


async def test_waiting_until_there_is_a_notebook_and_after_it_has_ended(world: World) -> None:
    response, _ = await post(world, {"path": "lab/tree/x.ipynb"})
    place, mine = response.headers["Location"], jar(response) | HTML
    assert re.fullmatch(r"/spawn/wait/[0-9a-f]{32}\?path=lab%2Ftree%2Fx.ipynb", place)
    response, page = await world.ask("GET", place, headers=mine)
    assert (response.status, "You are next in line." in page) == (200, True)
    stranger, _ = await world.ask("GET", place, headers=HTML)
    assert (stranger.status, stranger.headers["Location"]) == (303, "/spawn/lab/tree/x.ipynb"), "it was sent the link"
    _, first_page = await world.ask("GET", "/", headers=mine)
    assert place.partition("?")[0] in first_page, "the first page leads back"
    container = world.ready("a")
    await world.until_served()
    response, _ = await world.ask("GET", place, headers=mine)
    assert (response.status, response.headers["Location"]) == (303, "/user/a/lab/tree/x.ipynb?token=secret-a")
    world.pool.end(container, EndReason.IDLE, 0.0)
    response, page = await world.ask("GET", place, headers=mine)
    assert (response.status, "Nobody had used it for a while." in page) == (410, True)


async def test_giving_the_place_up(world: World) -> None:
    response, _ = await post(world, {})
    place, mine = response.headers["Location"], jar(response) | HTML
    refused, _ = await world.ask("POST", place, headers={"Origin": "https://other.example"})
    assert (refused.status, world.claims.waiting) == (403, 1)
    response, _ = await world.ask("POST", place, headers={"Origin": world.origin})
    assert (response.status, response.headers["Location"], world.claims.waiting) == (303, "/", 0)
    response, page = await world.ask("GET", place, headers=mine)
    assert (response.status, "was given up" in page) == (404, True)


# --- the first page


async def test_the_first_page_names_the_visitors_notebook_to_its_visitor_only(world: World) -> None:
    container = await world.claimed("a")
    own = {**HTML, "Cookie": f"tmpnb-sessions={cookies.entry(container)}"}
    _, page = await world.ask("GET", "/", headers=own)
    assert "/user/a/lab?token=secret-a" in page
    for headers in (HTML, own | {"Sec-Fetch-Dest": "iframe"}):
        response, page = await world.ask("GET", "/", headers=headers)
        assert (response.status, "Knots &amp; loops" in page) == (200, True)
        assert "/user/a/" not in page
        assert container.token not in page


@pytest.mark.parametrize(
    ("path", "status"), [("/info", 200), ("/privacy", 404), ("/logo", 404), ("/robots.txt", 200), ("/nothing", 404)]
)
async def test_other_pages(world: World, path: str, status: int) -> None:
    response, _ = await world.ask("GET", path, headers=HTML)
    assert response.status == status


async def test_with_an_api_token_there_are_no_pages(tmp_path: Path) -> None:
    async with serving(tmp_path, api_auth_token="secret") as world:
        world.ready("a")
        assert (await world.ask("GET", "/", headers=HTML))[0].status == 401
        assert (await world.ask("POST", "/api/spawn"))[0].status == 401
        response, _ = await world.ask("POST", "/api/spawn", headers={"Authorization": "token secret"} | ROBOT)
        assert response.status == 200
        assert (await world.ask("GET", "/", headers={"Authorization": "token secret"}))[0].status == 404


# --- a notebook's address that the proxy leads nowhere


async def test_an_ended_notebooks_address(world: World) -> None:
    container = await world.claimed("a")
    world.pool.end(container, EndReason.OUT_OF_MEMORY, 0.0)
    records_of(world.pool).forget(container, 0.0)
    response, page = await world.ask("GET", "/user/a/lab/tree/x.ipynb", headers=HTML)
    assert (response.status, "It needed more memory" in page, 'value="lab/tree/x.ipynb"' in page) == (410, True, True)
    response, text = await world.ask("GET", "/user/a/api/status")
    assert (response.status, '"status":"gone"' in text) == (410, True)


async def test_nobody_knows_a_notebook_before_the_first_listing(world: World) -> None:
    records_of(world.pool).listed = False
    response, _ = await world.ask("GET", "/user/a/lab", headers=HTML)
    assert (response.status, response.headers["Retry-After"]) == (503, "2")


async def test_somebody_elses_notebook(world: World) -> None:
    container = await world.claimed("a")
    place = "/user/a/login?next=%2Fuser%2Fa%2Flab%2Ftree%2Fx.ipynb"
    response, page = await world.ask("GET", place, headers=HTML)
    assert (response.status, 'value="lab/tree/x.ipynb"' in page, container.token in page) == (403, True, False)
    own = {**HTML, "Cookie": f"tmpnb-sessions={cookies.entry(container)}"}
    response, _ = await world.ask("GET", place, headers=own)
    assert (response.status, response.headers["Location"]) == (303, "/user/a/lab/tree/x.ipynb?token=secret-a")
    response, _ = await world.ask("GET", place, headers=own | {"Sec-Fetch-Dest": "iframe"})
    assert response.status == 403
