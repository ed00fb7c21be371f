"""BinderHub's launch API: the one GET that gives a notebook, and to whom it does not."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from tests.e2e.inprocess import Rig, running
from tmpnb_py.core.models import State
from tmpnb_py.engines.fake import FAKE_IMAGE, FakeHost

SITE = "https://book.example"
OTHER = "https://evil.example"
EVENTS = {"Accept": "text/event-stream"}
FROM_SITE = {**EVENTS, "Origin": SITE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
PATH = "/build/gh/org/knots/HEAD"
PLACE = "/usr/share/workshops/workshops.toml"
MANIFEST = b"""
[[workshop]]
slug = "knots"
title = "Knots"
language = "R"
description = "How to tie them."
duration = 30
start = "knots/Tie one.ipynb"
"""


@dataclasses.dataclass(frozen=True)
class Event:
    """One event as a browser's EventSource has it."""

    id: str
    data: dict[str, Any]


class Stream:
    """What a client reads."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments: list[str] = []

    async def next(self) -> Event | None:
        """The next event; None at the end."""
        fields: dict[str, str] = {}
        while line := (await self.response.content.readline()).decode():
            if line.startswith(":"):
                self.comments.append(line.strip())
            elif line == "\n" and "data" in fields:
                return Event(fields.get("id", ""), json.loads(fields["data"]))
            elif line != "\n":
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
        return None

    async def all(self) -> list[Event]:
        """Every event up to the end."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@contextlib.asynccontextmanager
async def service(**options: Any) -> AsyncIterator[Rig]:
    async with FakeHost() as host:
        host.images["fake"] = dataclasses.replace(FAKE_IMAGE, image="fake", workshops=PLACE)
        host.files["fake"] = {PLACE: MANIFEST}
        async with running(host, **{"allow_origin": SITE, **options}) as rig:
            await rig.until(lambda: bool(rig.pool.current_digest))
            yield rig


@contextlib.asynccontextmanager
async def build(rig: Rig, path: str = PATH, headers: Mapping[str, str] = FROM_SITE) -> AsyncIterator[Stream]:
    async with rig.client.get(path, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream"), await response.text()
        yield Stream(response)


async def events(rig: Rig, path: str = PATH, headers: Mapping[str, str] = FROM_SITE) -> list[Event]:
    async with build(rig, path, headers) as stream:
        return await stream.all()


def claimed(rig: Rig) -> int:
    return rig.pool.count(State.CLAIMED)


async def test_a_notebook_at_once() -> None:
    async with service() as rig:
        await rig.ready(1)
        async with build(rig) as stream:
            assert stream.response.headers["Access-Control-Allow-Origin"] == SITE
            assert stream.response.headers["Cache-Control"] == "no-store"
            launching, ready = await stream.all()
        assert launching.data == {"phase": "launching", "message": "Launching your notebook…"}
        assert re.fullmatch(r"[0-9a-f]{32}", launching.id)
        assert ready.id == f"{launching.id}-ready"
        url = ready.data["url"]
        assert re.fullmatch(rf"http://127\.0\.0\.1:{rig.service.port}/user/[a-z0-9]{{26}}/", url)
        container = rig.pool.get(url.split("/")[4])
        assert container is not None
        assert ready.data == {
            "phase": "ready",
            "message": f"server running at {url}\n",
            "url": url,
            "token": container.token,
        }
        # What a client does next, from its own site.
        shown = {"Origin": SITE, "Authorization": f"token {container.token}"}
        async with rig.client.get(f"{url}api/kernels", headers=shown) as response:
            assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, SITE)
        assert b'workshop="knots"} 1.0' in rig.service.metrics.render()


async def test_behind_a_proxy_that_speaks_tls() -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "notebooks.example"}
    front = {"trusted_proxies": "127.0.0.1", "allowed_hosts": "notebooks.example"}
    for options, expected in ((front, "https://notebooks.example/user/"), ({}, "http://")):
        async with service(**options) as rig:
            await rig.ready(1)
            last = (await events(rig, headers={**FROM_SITE, **forwarded}))[-1]
            assert last.data["url"].startswith(expected)


@pytest.mark.parametrize("id_of", [0, 1])
async def test_who_comes_back_has_the_same_notebook(id_of: int) -> None:
    async with service(pool_size=2) as rig:
        await rig.ready(2)
        first = await events(rig)
        again = await events(rig, headers={**FROM_SITE, "Last-Event-ID": first[id_of].id})
        assert again == first
        assert claimed(rig) == 1

        # Whose notebook has ended, or is of another life of this service, is told to stop asking.
        session = first[1].data["url"].split("/")[4]
        own = {"Authorization": f"token {first[1].data['token']}"}
        async with rig.client.delete(f"/api/sessions/{session}", headers=own) as response:
            assert response.status == 200
        for known in (first[1].id, "0" * 32 + "-ready", "failed"):
            async with rig.client.get(PATH, headers={**FROM_SITE, "Last-Event-ID": known}) as response:
                assert (response.status, await response.read()) == (204, b"")
        assert claimed(rig) == 0


async def test_who_waits_is_told_and_keeps_the_place() -> None:
    async with service(pool_size=1, max_containers=1) as rig:
        await rig.ready(1)
        session = await rig.spawn()
        async with build(rig) as stream:
            waiting = await stream.next()
            assert waiting is not None
            assert (waiting.data["phase"], waiting.data["message"][:21]) == ("waiting", "You are next in line.")
        assert rig.claims.waiting == 1
        async with build(rig, headers={**FROM_SITE, "Last-Event-ID": waiting.id}) as stream:
            again = await stream.next()
            assert again is not None
            assert again.id == waiting.id
            assert rig.claims.waiting == 1
            own = {"Authorization": f"token {session['token']}"}
            async with rig.client.delete(f"/api/sessions/{session['id']}", headers=own) as response:
                assert response.status == 200
            rest = await stream.all()
        assert [event.data["phase"] for event in rest if event.data["phase"] != "waiting"] == ["launching", "ready"]
        assert {event.id[:32] for event in rest} == {waiting.id}
        assert claimed(rig) == 1


async def test_a_place_that_was_given_up_is_drawn_anew() -> None:
    forgotten = {**FROM_SITE, "Last-Event-ID": "0" * 32}
    async with service(pool_size=0, max_containers=1) as rig, build(rig, headers=forgotten) as stream:
        event = await stream.next()
        assert event is not None
        assert event.id != "0" * 32


async def test_a_program_without_an_origin_is_served_and_so_is_our_own_page() -> None:
    async with service(allow_origin="", pool_size=2) as rig:
        await rig.ready(2)
        assert (await events(rig, headers=EVENTS))[-1].data["phase"] == "ready"
        own = {**EVENTS, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
        assert (await events(rig, headers=own))[-1].data["phase"] == "ready"


REFUSED = [
    ("GET", {}, 406),
    ("GET", {"Accept": "*/*"}, 406),
    ("GET", {"Accept": "text/html,*/*;q=0.8"}, 406),
    ("GET", {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}, 406),
    ("GET", {"Accept": "text/html", "User-Agent": "Mozilla/5.0"}, 406),
    ("GET", {**EVENTS, "Sec-Fetch-Mode": "navigate"}, 406),
    ("GET", {**EVENTS, "Sec-Purpose": "prefetch;prerender"}, 406),
    ("GET", {**EVENTS, "Purpose": "prefetch"}, 406),
    ("HEAD", EVENTS, 405),
    ("POST", EVENTS, 405),
    ("GET", {**EVENTS, "Origin": OTHER}, 403),
    ("GET", {**EVENTS, "Origin": "null"}, 403),
    ("GET", {**EVENTS, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
    ("GET", {**EVENTS, "Sec-Fetch-Site": "same-site"}, 403),
]


@pytest.mark.parametrize(("method", "headers", "status"), REFUSED)
async def test_nobody_else_is_given_anything(method: str, headers: dict[str, str], status: int) -> None:
    async with service() as rig:
        await rig.ready(1)
        async with rig.client.request(method, PATH, headers=headers) as response:
            assert response.status == status
            assert "Access-Control-Allow-Origin" not in response.headers
        assert claimed(rig) == 0
        assert rig.claims.waiting == 0


FIREFOX = {**EVENTS, "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Referer": f"{OTHER}/page"}, 403),
        ({"Referer": "http://[zz"}, 403),
        ({"Referer": "{own}.evil.example/"}, 403),
        ({"Referer": "{own}/user/abc/lab"}, 200),
        ({"Referer": f"{SITE}/page?x"}, 403),  # an allowed page that reads the answer sends Origin
        ({"Origin": SITE}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_over_plain_http_a_browser_must_name_the_page_that_asks(headers: dict[str, str], status: int) -> None:
    """There it says nothing else of another site's `fetch(…, {mode: "no-cors"})`."""
    async with service() as rig:
        await rig.ready(1)
        own = f"http://127.0.0.1:{rig.service.port}"
        sent = {name: value.replace("{own}", own) for name, value in headers.items()}
        async with rig.client.get(PATH, headers={**FIREFOX, **sent}) as response:
            assert response.status == status
            await response.read()
        assert claimed(rig) == (status == 200)


async def test_a_person_is_shown_the_way() -> None:
    async with (
        service(pool_size=0) as rig,
        rig.client.get(PATH, headers={"Accept": "text/html"}, allow_redirects=False) as response,
    ):
        page = await response.text()
        assert "This address is for programs" in page
        assert "People open /v2/gh/org/knots/HEAD." in page


async def test_a_preflight_of_clients_that_are_no_event_sources() -> None:
    async with service(pool_size=0) as rig:
        asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "last-event-id"}
        async with rig.client.options(PATH, headers={**asks, "Origin": SITE}) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == SITE
            assert "Last-Event-ID" in response.headers["Access-Control-Allow-Headers"]
        async with rig.client.options(PATH, headers={**asks, "Origin": OTHER}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/build/gh/org/other/HEAD", "gh/org/other/HEAD is not offered here"),
        ("/build/gh/org/gone", "gh/org/gone is not offered here"),
        ("/build/gh/org/%00/HEAD", "What is asked for"),
        ("/build/gh/org/%3Cscript%3E/HEAD", "is not offered here"),
    ],
)
async def test_what_is_not_offered(path: str, words: str) -> None:
    async with service(binder_spec="gh/org/gone=removed") as rig:
        await rig.ready(1)
        (failed,) = await events(rig, path)
        assert failed.id == "failed"
        assert failed.data["phase"] == "failed"
        assert words in failed.data["message"] or failed.data["message"].startswith(words)
        assert claimed(rig) == 0


async def test_the_operators_own_rules() -> None:
    async with service(binder_spec="gh/org/course=knots,gl/group/sub/repo", pool_size=2) as rig:
        await rig.ready(2)
        assert (await events(rig, "/build/gh/Org/Course/2024"))[-1].data["phase"] == "ready"
        assert (await events(rig, "/build/gl/group%2Fsub%2Frepo/HEAD"))[-1].data["phase"] == "ready"
        assert b'workshop="knots"} 1.0' in rig.service.metrics.render()


async def test_closed_full_and_down_are_told_as_events() -> None:
    async with service(pool_size=1, max_containers=1, max_waiting=0) as rig:
        await rig.ready(1)
        await rig.spawn()
        (full,) = await events(rig)
        assert re.fullmatch(r"The line is full\. Please try again in \d+ seconds\.", full.data["message"])
        async with rig.admin.post("/api/close") as response:
            assert response.status == 200
        (closed,) = await events(rig)
        assert (closed.data["phase"], closed.id) == ("failed", "failed")
        assert "letting anyone new in" in closed.data["message"]


async def test_links_of_binderhubs_for_people() -> None:
    """Their paths are relative to the repository: here to the folder of the workshop that it stands for."""
    async with service(pool_size=0, binder_spec="gh/org/all") as rig:
        for path, expected in (
            ("/v2/gh/org/knots/HEAD", "/spawn/lab/tree/knots/Tie%20one.ipynb"),
            ("/v2/gh/org/knots/HEAD?urlpath=lab/tree/a%20b.ipynb", "/spawn/lab/tree/knots/a%20b.ipynb"),
            ("/v2/gh/org/knots/HEAD?urlpath=%2Flab%2Ftree%2F%2Fa%20b.ipynb", "/spawn/lab/tree/knots/a%20b.ipynb"),
            ("/v2/gh/org/knots/HEAD?urlpath=lab/tree/knots/a.ipynb", "/spawn/lab/tree/knots/a.ipynb"),
            ("/v2/gh/org/knots/HEAD?urlpath=lab", "/spawn/lab/tree/knots"),
            ("/v2/gh/org/knots/HEAD?labpath=x%2Fy.ipynb", "/spawn/lab/tree/knots/x/y.ipynb"),
            ("/v2/gh/org/knots/HEAD?filepath=x.ipynb", "/spawn/tree/knots/x.ipynb"),
            ("/v2/gh/org/knots/HEAD?urlpath=rstudio/", "/spawn/rstudio/"),
            ("/v2/gh/org/knots/HEAD?urlpath=//evil.example/", "/spawn/evil.example/"),
            ("/v2/gh/org/all/HEAD?labpath=x.ipynb", "/spawn/lab/tree/x.ipynb"),
            ("/v2/gh/org/all/HEAD", "/spawn"),
        ):
            async with rig.client.get(path, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (302, expected)
        async with rig.client.get("/v2/gh/org/other/HEAD", headers={"Accept": "text/html"}) as response:
            assert response.status == 404
            assert "gh/org/other/HEAD is not offered here" in await response.text()


@pytest.mark.parametrize(
    ("path", "key"), [("/versions", "binderhub"), ("/hub/api/", "version"), ("/hub/api", "version")]
)
async def test_whoever_makes_a_link_may_ask_what_this_is(path: str, key: str) -> None:
    async with service(pool_size=0) as rig:
        for headers in ({}, {"Origin": OTHER, "Sec-Fetch-Site": "cross-site"}):
            async with rig.client.get(path, headers=headers) as response:
                assert (response.status, response.content_type) == (200, "application/json")
                assert response.headers["Access-Control-Allow-Origin"] == "*"
                assert (await response.json())[key].startswith("tmpnb-py ")
