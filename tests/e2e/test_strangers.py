"""A notebook's address in another browser, and links to what only somebody else's notebook has."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import re
from collections.abc import AsyncIterator
from typing import Any

import playwright.async_api as playwright
import pytest
from yarl import URL

from tests.e2e.inprocess import Rig, running
from tests.e2e.service import Service
from tests.integration.browser_support import browser, picture
from tmpnb_py.engines.fake import FAKE_IMAGE, FakeHost
from tmpnb_py.jupyter import questions

PLACE = "/usr/share/workshops/workshops.toml"
MANIFEST = b"""
[[workshop]]
slug = "knots"
title = "Knots & loops"
language = "R"
description = "How to tie them."
duration = 30
start = "knots/Tie one.ipynb"
"""
PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@contextlib.asynccontextmanager
async def service(**options: Any) -> AsyncIterator[Rig]:
    async with FakeHost() as host:
        host.images["fake"] = dataclasses.replace(FAKE_IMAGE, image="fake", workshops=PLACE)
        host.files["fake"] = {PLACE: MANIFEST}
        host.missing |= {"mine.ipynb", "knots/mine.ipynb"}
        async with running(host, **{"pool_size": 2, **options}) as rig:
            await rig.ready(options.get("pool_size", 2))
            await rig.until(lambda: bool(rig.pool.current_digest))
            yield rig


async def seen(rig: Rig, url: str, **headers: str) -> tuple[int, str]:
    """Status and words of a page, as somebody's browser gets it."""
    async with rig.client.get(url, headers={**PAGE, **headers}, allow_redirects=False) as response:
        text = await response.text() if response.status != 303 else response.headers["Location"]
        return response.status, html.unescape(text)


def login(session: dict[str, Any], document: str) -> str:
    """Where Jupyter sends a browser without the notebook's cookie."""
    return str(URL(session["url"] + "login").with_query(next=session["url"] + document))


@pytest.mark.parametrize(
    ("document", "words", "path"),
    [
        ("lab/tree/data/a%20b.csv", "<code>data/a b.csv</code> in a notebook of your own", "lab/tree/data/a%20b.csv"),
        ("lab/workspaces/auto-Q/tree/x.csv", "<code>x.csv</code> in a notebook", "lab/tree/x.csv"),
        (
            "lab/tree/knots/Tie%20one.ipynb",
            'the workshop <b dir="auto">Knots & loops</b>',
            "lab/tree/knots/Tie%20one.ipynb",
        ),
        ("lab/tree/mine.ipynb", "<code>mine.ipynb</code> is not in a fresh notebook", ""),
        ("lab/tree/knots/mine.ipynb?reset", "may be in theirs only", "lab/tree/knots/Tie%20one.ipynb"),
        ("lab", "a notebook of your own", "lab"),
        ("", "a notebook of your own", ""),
        ("lab/tree/%2e%2e/%2e%2e/x", "a notebook of your own", ""),
    ],
)
async def test_it_is_somebody_elses_and_ones_own_is_offered(document: str, words: str, path: str) -> None:
    async with service() as rig:
        session = await rig.spawn()
        before = rig.pool.get(session["id"]).evidence  # type: ignore[union-attr]
        status, page = await seen(rig, login(session, document))
        assert (status, "This is somebody else's notebook" in page, words in page) == (403, True, True), page
        assert f'name="path" value="{path}"' in page
        assert session["token"] not in page
        assert "administrator" not in page
        assert rig.pool.get(session["id"]).evidence == before  # type: ignore[union-attr]


async def test_a_place_on_another_host_is_nobodys_document() -> None:
    async with service() as rig:
        session = await rig.spawn()
        for place in ("https://evil.example/lab", "//evil.example/lab", "/user/other/lab/tree/x"):
            url = str(URL(session["url"] + "login").with_query(next=place))
            status, page = await seen(rig, url)
            assert (status, 'name="path" value=""' in page) == (403, True)


async def test_everybody_else_gets_what_the_notebooks_server_says() -> None:
    async with service() as rig:
        session = await rig.spawn()
        url = login(session, "lab")
        own = session["url"] + "login"
        asked: list[tuple[str, str, dict[str, str]]] = [
            ("GET", url, {"Accept": "*/*"}),
            ("GET", url, {"Accept": "application/json"}),
            ("GET", url, {"Accept": "text/html", "Sec-Fetch-Mode": "cors"}),
            ("POST", url, PAGE),
            ("GET", own, PAGE),
            ("GET", own + "?from=tmpnb&next=x", PAGE),
            ("GET", session["url"] + "lab?next=x", PAGE),
        ]
        for method, target, headers in asked:
            async with rig.client.request(method, target, headers=headers) as response:
                assert (response.status, (await response.json())["id"]) == (200, session["id"])
    async with service(use_tokens=False) as rig:  # the image's own login
        session = await rig.spawn()
        async with rig.client.get(login(session, "lab"), headers=PAGE) as response:
            assert (await response.json())["id"] == session["id"]


async def test_the_owner_is_let_in_again_by_our_cookie() -> None:
    async with service() as rig:
        form = {"path": "lab/tree/data.csv"}
        origin = f"http://127.0.0.1:{rig.service.port}"
        async with rig.client.post(
            "/spawn", data=form, headers={**PAGE, "Origin": origin}, allow_redirects=False
        ) as response:
            place = response.headers["Location"]
            cookie = response.cookies["tmpnb-sessions"]
        session_path, token = place.partition("lab/")[0], place.partition("token=")[2]
        session = {"url": session_path}
        jar = {"Cookie": f"tmpnb-sessions={cookie.value}"}
        assert await seen(rig, login(session, "lab/tree/data.csv"), **jar) == (303, place)
        # Where the token did not help, the server's own page is shown rather than the same asked once more.
        status, own = await seen(rig, login(session, f"lab?token={token}"), **jar)
        assert (status, own.startswith(f"{session_path}login?from=tmpnb&next=")) == (303, True)
        # No other page is told, nor is one in a frame.
        status, _ = await seen(rig, login(session, "lab"), **jar, **{"Sec-Fetch-Dest": "iframe"})
        assert status == 403


async def test_a_link_to_what_only_somebody_elses_notebook_has() -> None:
    async with service() as rig:
        _, page = await seen(rig, "/spawn/lab/tree/mine.ipynb")
        assert "A fresh notebook has no <code>mine.ipynb</code>." in page
        assert "data-start" not in page
        assert "Open a notebook without it" in page
        _, page = await seen(rig, "/spawn?urlpath=lab/tree/knots/mine.ipynb")
        assert 'What you can open is the workshop <b dir="auto">Knots & loops</b>.' in page
        for there in ("lab/tree/other.ipynb", "lab/tree/knots/Tie%20one.ipynb", "lab", "rstudio/mine.ipynb"):
            _, page = await seen(rig, f"/spawn/{there}")
            assert "data-start" in page or "can't be used" in page
    async with service(pool_size=1, max_containers=1) as rig:  # its owner deletes the file while it is looked for
        session: dict[str, Any] = {}

        async def lacks(*arguments: Any) -> bool:
            session.update(await rig.spawn())
            return await questions.lacks(*arguments)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("tmpnb_py.web.documents.lacks", lacks)
            _, page = await seen(rig, "/spawn/lab/tree/mine.ipynb")
        assert session
        assert "data-start" in page
    async with service(pool_size=0) as rig:  # nobody can know
        _, page = await seen(rig, "/spawn/lab/tree/mine.ipynb")
        assert "data-start" in page


async def test_an_ended_notebooks_address_says_what_was_in_it_only() -> None:
    async with service() as rig:
        session = await rig.spawn()
        own = {"Authorization": f"token {session['token']}"}
        async with rig.client.delete(f"/api/sessions/{session['id']}", headers=own):
            pass
        status, page = await seen(rig, session["url"] + "lab/tree/mine.ipynb")
        assert (status, "<code>mine.ipynb</code> was in this notebook only" in page) == (410, True)
        status, page = await seen(rig, session["url"] + "lab/workspaces/a/tree/x.csv")
        assert (status, "at the same document" in page, 'value="lab/tree/x.csv"' in page) == (410, True, True)


@pytest.mark.browser
@pytest.mark.engine
async def test_the_address_bar_in_another_browser(lab: Service) -> None:
    """With real JupyterLabs: what the owner copies, and what their colleague sees."""
    document = "introduction-to-python/Introduction to Python.ipynb"
    async with browser() as owner, browser() as colleague:
        mine = await owner.new_page()
        await mine.goto(f"{lab.url}spawn/lab/tree/{document}")
        await mine.wait_for_url("**/user/**")
        await playwright.expect(mine.locator(".jp-NotebookPanel")).to_be_visible(timeout=60_000)
        address = mine.url.partition("?")[0]

        theirs = await colleague.new_page()
        await theirs.goto(address)
        await playwright.expect(theirs.get_by_role("heading", level=1)).to_have_text(
            "This is somebody else's notebook"
        )
        await picture(theirs, "stranger")
        await theirs.get_by_role("button", name="Open the workshop").click()
        await theirs.wait_for_url("**/user/**/lab/tree/**", timeout=60_000)
        await playwright.expect(theirs.locator(".jp-NotebookPanel")).to_be_visible(timeout=60_000)
        there = re.search(r"/user/([a-z0-9]+)/", theirs.url)
        assert there is not None
        assert there[1] not in address

        # What only the owner has.
        await mine.evaluate(
            "url => fetch(url, {method: 'PUT', body: JSON.stringify({type: 'file', format: 'text', content: 'x'}), "
            "headers: {'X-XSRFToken': document.cookie.match(/_xsrf=([^;]+)/)[1]}})",
            address.partition("lab/")[0] + "api/contents/only-mine.txt",
        )
        await lab.ready(2)
        async with browser() as third:
            page = await third.new_page()
            await page.goto(address.partition("lab/")[0] + "lab/tree/only-mine.txt")
            await playwright.expect(page.locator("main")).to_contain_text("only-mine.txt is not in a fresh notebook")
            await picture(page, "stranger-missing")

        # The owner comes back without the notebook's own cookie, but with ours.
        kept = [cookie for cookie in await owner.cookies() if cookie["name"].startswith("tmpnb-")]
        await owner.clear_cookies()
        await owner.add_cookies(kept)  # type: ignore[arg-type]
        await mine.goto(address)
        await playwright.expect(mine.locator(".jp-NotebookPanel")).to_be_visible(timeout=60_000)
