"""Coming back: the cookie, the running notebook that is used again, and who is told of it; links of all kinds."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import html
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.e2e.inprocess import Rig, running
from tests.e2e.test_workshops import MANIFEST, host_with
from tmpnb_py.claims.tickets import Status
from tmpnb_py.core.errors import ManifestError
from tmpnb_py.core.models import Egress, EndReason, Observed, State
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.pools.container import Container

NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"}
ONCE = re.compile(r'name="once" value="([0-9a-f]{64})"')
KEY = re.compile(r'data-key="([0-9a-f]{32})"')


@dataclasses.dataclass
class Visitor:
    """A browser, as far as the service can tell."""

    rig: Rig
    client: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.client.get(path, headers={**NAVIGATION, **headers}) as response:
            return response.status, await response.text()

    async def post(self, path: str = "", **more: Any) -> aiohttp.ClientResponse:
        """Press a button; returns the answer, read."""
        headers = {**NAVIGATION, "Origin": str(self.rig.client._base_url).rstrip("/"), **more.pop("headers", {})}
        data = {"path": path, **more}
        async with self.client.post("/spawn", data=data, headers=headers, allow_redirects=False) as response:
            await response.read()
            return response

    async def opened(self, path: str = "", **more: Any) -> str:
        """Press a button; returns the id of the notebook that it leads to."""
        response = await self.post(path, **more)
        assert response.status == 303
        return response.headers["Location"].split("/")[2]

    @property
    def cookie(self) -> str:
        return next(one.value for one in self.client.cookie_jar if one.key == "tmpnb-sessions")


@contextlib.asynccontextmanager
async def visitor(rig: Rig) -> AsyncIterator[Visitor]:
    jar = aiohttp.CookieJar(unsafe=True)  # unsafe: also from an address without a name
    async with aiohttp.ClientSession(rig.client._base_url, cookie_jar=jar) as client:
        yield Visitor(rig, client)


def claimed(rig: Rig) -> list[Container]:
    return rig.pool.in_state(State.CLAIMED)


async def test_the_cookie_is_ours_alone() -> None:
    async with running() as rig, visitor(rig) as one:
        await rig.ready(1)
        response = await one.post()
        cookie = response.headers["Set-Cookie"].lower()
        container = claimed(rig)[0]
        assert cookie.startswith(f"tmpnb-sessions={container.id}-")
        for attribute in ("httponly", "samesite=lax", "path=/", "max-age=14400"):
            assert f"; {attribute}" in cookie
        assert "secure" not in cookie
        assert container.token not in cookie


async def test_the_operator_may_want_no_cookie() -> None:
    async with running(max_containers=5, remember_sessions=False) as rig, visitor(rig) as one:
        await rig.ready(1)
        response = await one.post()
        assert "Set-Cookie" not in response.headers
        assert "still running" not in (await one.get("/"))[1]


async def test_it_outlives_a_restart_of_the_service(tmp_path: Path) -> None:
    async with FakeHost() as host:
        kept: dict[str, Any] = {"runtime_dir": tmp_path, "max_containers": 5, "cleanup_on_exit": False}
        async with running(host, **kept) as rig, visitor(rig) as one:
            await rig.ready(1)
            first, cookie = await one.opened(), one.cookie
        async with running(host, **kept) as rig, visitor(rig) as one:
            await rig.until(lambda: rig.pool.listed and rig.pool.current_digest is not None)
            assert await one.opened("tree/x.ipynb", headers={"Cookie": f"tmpnb-sessions={cookie}"}) == first


async def test_until_the_engine_is_listed_who_comes_back_waits_for_their_notebook(tmp_path: Path) -> None:
    async with FakeHost() as host:
        kept: dict[str, Any] = {"runtime_dir": tmp_path, "max_containers": 5, "cleanup_on_exit": False}
        async with running(host, **kept) as rig, visitor(rig) as one:
            await rig.ready(1)
            first = await one.opened()
            key = KEY.search((await one.get("/spawn"))[1])
            brings = {"Cookie": f"tmpnb-sessions={one.cookie}"}
        assert key is not None
        host.down = True
        async with running(host, **kept) as rig, visitor(rig) as one:
            await rig.until(lambda: rig.pool.engine_down)
            assert not rig.pool.listed
            status, page = await one.get("/spawn/lab/tree/x.ipynb", **brings)
            assert (status, "your notebook is kept" in page, "data-start" in page) == (503, True, False)
            assert '<meta http-equiv="refresh" content="2">' in page
            status, page = await one.get("/workshops/knots/", **brings)
            assert (status, "your notebook is kept" in page) == (503, True)
            response = await one.post("lab/tree/a b.ipynb?x=1&y", headers=brings)
            waits = response.headers["Location"]
            assert (response.status, waits) == (303, "/spawn?urlpath=lab%2Ftree%2Fa%20b.ipynb%3Fx%3D1%26y")
            wish = {"path": "lab/tree/x.ipynb", "key": key[1]}
            async with one.client.post("/api/tickets", json=wish, headers=brings) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
                assert (await answer.json())["status"] == "starting"
            assert rig.claims.waiting == 0
            # Who has nothing to come back to, or wants another one, is in line already.
            for headers in ({}, {"Cookie": "tmpnb-sessions=junk"}):
                assert (await one.get("/spawn", **headers))[0] == 200
            assert "/spawn/wait/" in (await one.post(fresh="1", headers=brings)).headers["Location"]
            assert rig.claims.waiting == 1
            host.down = False
            await rig.until(lambda: rig.pool.listed)
            assert "Open it there" in (await one.get(waits, **brings))[1]
            async with one.client.post("/api/tickets", json=wish, headers=brings) as answer:
                assert (await answer.json())["session"]["id"] == first


async def test_pages_of_the_first_moment_wait_until_it_is_known_what_there_is(tmp_path: Path) -> None:
    async with host_with(MANIFEST) as host:
        kept: dict[str, Any] = {"runtime_dir": tmp_path, "max_containers": 5, "cleanup_on_exit": False}
        async with running(host, **kept) as rig, visitor(rig) as one:
            await rig.ready(1)
            await one.opened()
            brings = {"Cookie": f"tmpnb-sessions={one.cookie}"}
        go_on = asyncio.Event()
        listed = FakeEngine.list

        async def slow(engine: FakeEngine) -> list[Observed]:
            await go_on.wait()
            return await listed(engine)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(FakeEngine, "list", slow)
            async with running(host, **kept) as rig, visitor(rig) as one:
                asked = asyncio.gather(
                    *(one.get(path, **brings) for path in ("/", "/spawn", "/spawn?workshop=knots"))
                )
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await asyncio.shield(asked)
                go_on.set()
                (first, landing), (second, launch), (third, workshop) = await asked
                assert [first, second, third] == [200, 200, 200]
                assert "Your notebook is still running" in landing
                assert "Knots" in landing
                assert "Open it there" in launch
                assert "Open it there" in workshop


async def test_it_is_secure_where_a_trusted_proxy_says_tls() -> None:
    for trusted, secure in (("127.0.0.1", True), ("10.0.0.1", False)):
        async with running(trusted_proxies=trusted) as rig, visitor(rig) as one:
            await rig.ready(1)
            ours = str(rig.client._base_url).rstrip("/")
            fields = {"X-Forwarded-Proto": "https", "Sec-Fetch-Site": "same-origin"}
            if secure:
                fields["Origin"] = ours.replace("http:", "https:")
            response = await one.post(headers=fields)
            assert ("secure" in response.headers["Set-Cookie"].lower()) is secure
            alone = "noopener-allow-popups" if secure else None
            assert response.headers.get("Cross-Origin-Opener-Policy") == alone


async def test_another_workshop_opens_in_the_notebook_that_runs() -> None:
    async with running(max_containers=5) as rig, visitor(rig) as one:
        await rig.ready(1)
        first = await one.opened("lab/tree/a.ipynb")
        status, page = await one.get("/")
        assert (status, "Your notebook is still running" in page) == (200, True)
        assert f'href="/user/{first}/lab?token=' in page
        status, page = await one.get("/spawn/lab/tree/b.ipynb")
        assert "Open it there" in page
        assert "data-start" not in page
        response = await one.post("lab/tree/b.ipynb")
        assert response.headers["Location"].startswith(f"/user/{first}/lab/tree/b.ipynb?token=")
        await rig.ready(1)
        fresh = await one.opened("lab/tree/b.ipynb", fresh="1")
        assert fresh != first
        assert [entry.split("-")[0] for entry in one.cookie.split(".")] == [fresh, first]
        status, page = await one.get("/")
        assert page.count("Go on") == 2
        # What has ended is forgotten, and what runs is used.
        container = rig.pool.get(fresh)
        assert container is not None
        rig.pool.end(container, EndReason.IDLE, time.monotonic())
        assert await one.opened("lab/tree/c.ipynb") == first


async def test_while_the_service_is_closed_who_has_a_notebook_goes_on() -> None:
    async with host_with(MANIFEST) as host, running(host, max_containers=5) as rig, visitor(rig) as one:
        await rig.ready(1)
        first = await one.opened()
        rig.pool.close_to_newcomers()
        status, page = await one.get("/spawn?workshop=knots")
        assert (status, "Open it there" in page, "letting anyone new in" in page) == (200, True, True)
        assert "Start afresh" not in page
        status, page = await one.get("/")
        assert (status, "letting anyone new in" in page) == (200, True)
        for there in (f'href="/user/{first}/lab?token=', "Go on", "opens in it", "Open live"):
            assert there in page
        for away in ("Start afresh", "Blank notebook"):
            assert away not in page
        assert await one.opened("lab/tree/knots/First%20knot.ipynb") == first
        assert (await one.post(fresh="1")).status == 503
        # A notebook of another image goes on, and opens nothing else.
        container = claimed(rig)[0]
        today, container.config_digest = container.config_digest, "yesterday's"
        status, page = await one.get("/")
        assert ("Go on" in page, "opens in it" in page, "Open live" in page) == (True, False, False)
        container.config_digest = today
        # Newcomers are turned away, and so is whoever has none any more.
        async with visitor(rig) as other:
            assert (await other.get("/spawn?workshop=knots"))[0] == 503
        rig.pool.end(claimed(rig)[0], EndReason.IDLE, time.monotonic())
        assert (await one.get("/spawn?workshop=knots"))[0] == 503
        assert "Open live" not in (await one.get("/"))[1]


async def test_a_notebook_of_another_image_is_offered_and_not_used_for_something_else() -> None:
    async with running(max_containers=5) as rig, visitor(rig) as one:
        await rig.ready(1)
        first = await one.opened()
        rig.pool.session(first).config_digest = "yesterday's"  # type: ignore[union-attr]
        await rig.ready(1)
        _, page = await one.get("/")
        assert f'href="/user/{first}/lab?token=' in page
        assert await one.opened() != first


async def test_two_quick_posts_of_one_form_are_one_wish() -> None:
    async with running(pool_size=3, max_containers=5) as rig, visitor(rig) as one:
        await rig.ready(3)
        _, page = await one.get("/spawn")
        once = ONCE.findall(page)[0]
        opened = await asyncio.gather(*(one.opened(once=once) for _ in range(3)))
        assert len(set(opened)) == 1
        assert len(claimed(rig)) == 1


async def test_a_reload_in_the_middle_of_a_claim_burns_nothing() -> None:
    async with running(pool_size=2, max_containers=5) as rig, visitor(rig) as one:
        await rig.ready(2)
        _, page = await one.get("/spawn")
        once = ONCE.findall(page)[0]
        rig.engine.delays["claim"] = 0.3
        first = asyncio.create_task(one.post(once=once))
        await rig.until(lambda: len(claimed(rig)) == 1)
        held = claimed(rig)[0]
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert await one.opened(once=once) == held.id
        assert claimed(rig) == [held]


async def test_a_name_for_a_wish_that_was_not_made_here_is_nobodys() -> None:
    async with running(pool_size=2, max_containers=5) as rig, visitor(rig) as one, visitor(rig) as other:
        await rig.ready(2)
        assert await one.opened(once="0" * 64) != await other.opened(once="0" * 64)


@pytest.mark.parametrize("dest", ["empty", "iframe", "script"])
async def test_a_script_of_a_notebook_is_not_told_of_its_visitors_other_notebooks(dest: str) -> None:
    async with running(pool_size=2, max_containers=5) as rig, visitor(rig) as one:
        await rig.ready(2)
        first = await one.opened()
        for path in ("/", "/spawn", "/spawn/lab/tree/x.ipynb"):
            _, page = await one.get(path, **{"Sec-Fetch-Dest": dest})
            assert first not in page
            assert not KEY.search(page)
        assert await one.opened(headers={"Sec-Fetch-Dest": dest}) != first
        await rig.ready(2)
        async with one.client.post("/api/tickets", json={"key": "0" * 32}) as response:
            assert first not in await response.text()


async def test_a_browser_that_does_not_say_what_a_page_is_for_is_told_as_well() -> None:
    """As over plain HTTP to another machine; to tell nobody there would make every click another notebook."""
    async with running() as rig, visitor(rig) as one:
        await rig.ready(1)
        first = await one.opened()
        async with one.client.get("/", headers={"Accept": "text/html"}) as response:
            assert first in await response.text()


async def test_our_own_page_has_the_key() -> None:
    async with running(pool_size=1, max_containers=5) as rig, visitor(rig) as one:
        await rig.ready(1)
        first = await one.opened()
        _, page = await one.get("/spawn")
        key = KEY.search(page)
        assert key is not None
        async with one.client.post("/api/tickets", json={"key": key[1], "path": "lab/tree/x.ipynb"}) as response:
            answer = await response.json()
        assert (answer["status"], answer["session"]["id"]) == ("ready", first)
        assert "/lab/tree/x.ipynb?token=" in answer["session"]["open_url"]
        async with one.client.post("/api/tickets", json={"key": key[1], "fresh": True}) as response:
            assert first not in await response.text()


@pytest.mark.parametrize("forged", ["{id}-" + "0" * 32, "{id}", "{id}-{proof}x", "", "-", "x" * 5000])
async def test_a_forged_cookie_is_worth_nothing(forged: str) -> None:
    async with running(pool_size=1, max_containers=5) as rig, visitor(rig) as one:
        await rig.ready(1)
        first = await one.opened()
        value = forged.replace("{id}", first).replace("{proof}", one.cookie.split("-")[1])
        async with rig.client.get("/", headers={**NAVIGATION, "Cookie": f"tmpnb-sessions={value}"}) as response:
            assert response.status == 200
            assert first not in await response.text()


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("/spawn/lab/tree/a%20b.ipynb", "lab/tree/a%20b.ipynb"),
        ("/lab/tree/a%20b.ipynb", "lab/tree/a%20b.ipynb"),
        ("/tree/x.ipynb", "tree/x.ipynb"),
        ("/notebooks/x.ipynb", "notebooks/x.ipynb"),
        ("/files/x.csv", "files/x.csv"),
        ("/spawn?urlpath=lab%2Ftree%2Fx.ipynb", "lab/tree/x.ipynb"),
        ("/spawn?urlpath=/tree/x.ipynb", "tree/x.ipynb"),
        ("/spawn?workshop=knots", "lab/tree/knots/First%20knot.ipynb"),
        (
            "/git-pull?repo=https%3A%2F%2Fgithub.com%2Fo%2Fr&urlpath=lab%2Ftree%2Fr%2Fx.ipynb",
            "git-pull?repo=https://github.com/o/r&urlpath=lab/tree/r/x.ipynb",
        ),
        (
            "/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgithub.com%2Fo%2Fr",
            "git-pull?repo=https://github.com/o/r",
        ),
    ],
)
async def test_links_of_all_kinds_open_their_document(link: str, path: str) -> None:
    async with host_with(MANIFEST) as host, running(host, egress="internet") as rig, visitor(rig) as one:
        await rig.ready(1)
        async with one.client.get(URL(link, encoded=True), headers=NAVIGATION) as response:
            page = await response.text()
        assert response.status == 200
        found = re.search(r'data-path="([^"]*)"', page)
        assert found is not None
        wish = found[1].replace("&amp;", "&")
        assert wish == path
        answer = await one.post(wish)
        location = answer.headers["Location"]
        target, _, token = location.rpartition("token=")
        assert target.rstrip("?&").partition("/user/")[2].partition("/")[2] == path
        assert token == claimed(rig)[0].token


@pytest.mark.parametrize(
    "link",
    [
        "/git-pull?repo=https%3A%2F%2Fgit.example%2Fo%2F%3Cr%3E&urlpath=lab%2Ftree%2Fr%2Fx.ipynb",
        "/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgit.example%2Fo%2F%3Cr%3E",
        "/spawn?urlpath=git-pull%3Frepo%3Dhttps%253A%252F%252Fgit.example%252Fo%252F%253Cr%253E",
    ],
)
async def test_a_link_that_needs_the_network_takes_no_notebook_without_one(link: str) -> None:
    async with running() as rig, visitor(rig) as one:
        await rig.ready(1)
        async with one.client.get(URL(link, encoded=True), headers=NAVIGATION) as response:
            page = await response.text()
        assert response.status == 409
        assert "https://git.example/o/&lt;r&gt;" in page
        assert "Notebooks here have no network" in page
        assert "<script" not in page  # nothing that would take one by itself
        assert re.findall(r'name="path" value="([^"]*)"', page) == ["lab"]  # what can be had instead
        wish = "git-pull?repo=https://git.example/o/r"
        for path in ("/api/spawn", "/api/tickets", ""):
            refused = await (rig.client.post(path, json={"path": wish}) if path else one.post(wish))
            assert refused.status == 400
            assert "network, which notebooks here do not have" in html.unescape(await refused.text())
        assert claimed(rig) == []
        assert "/user/" in (await one.post("lab")).headers["Location"]


async def test_a_reload_gives_links_the_network() -> None:
    async with running() as rig:
        await rig.ready(1)
        rig.service.reload(rig.service.options.current.model_copy(update={"egress": Egress.INTERNET}))
        async with rig.client.get("/spawn/git-pull?repo=https://git.example/o/r", headers=NAVIGATION) as response:
            assert response.status == 200


async def test_a_workshop_that_nobody_knows() -> None:
    async with host_with(MANIFEST) as host, running(host) as rig, visitor(rig) as one:
        await rig.ready(1)
        status, page = await one.get("/spawn?workshop=nets")
        assert (status, "no workshop of this name" in page) == (404, True)


async def test_the_operators_own_workshops_and_their_reload(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_bytes(MANIFEST.replace(b"knots", b"hitches").replace(b"Knots & <Loops>", b"Hitches"))
    async with host_with(MANIFEST) as host, running(host, workshops_file=mine) as rig, visitor(rig) as one:
        await rig.ready(1)
        _, page = await one.get("/")
        assert "Hitches" in page
        assert "Knots" not in page
        mine.write_bytes(mine.read_bytes().replace(b"Hitches", b"Bends"))
        rig.service.reload(rig.service.options.current)
        assert "Bends" in (await one.get("/"))[1]
        mine.write_text("[[workshop]]\nslug = 7\n")
        rig.service.reload(rig.service.options.current)
        assert "Bends" in (await one.get("/"))[1]
    with pytest.raises(ManifestError, match=r"mine\.toml: workshop 1: .*slug cannot be 7"):
        async with running(workshops_file=mine):
            pass


async def test_the_operators_look(tmp_path: Path) -> None:
    picture = tmp_path / "logo.svg"
    picture.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    options: dict[str, Any] = {
        "site_title": "Knots & Co",
        "site_logo": picture,
        "accent_color": "#a40",
        "announcement": "Closed on Monday <b>",
        "site_footer": "See https://example.org",
        "privacy_notice": "First.\n\nSecond.",
    }
    async with running(**options) as rig, visitor(rig) as one:
        _, page = await one.get("/")
        for words in ("Knots &amp; Co", "Closed on Monday &lt;b&gt;", '<a href="https://example.org"', "#aa4400"):
            assert words in page
        source = re.search(r'src="(/logo\?[0-9a-f]+)"', page)
        assert source is not None
        async with one.client.get(source[1]) as response:
            assert (response.status, response.content_type) == (200, "image/svg+xml")
            assert "sandbox" in response.headers["Content-Security-Policy"]
        status, page = await one.get("/privacy")
        assert (status, page.count("<p>First.</p>")) == (200, 1)
        assert b"Knots &amp; Co" in rig.service.proxy.error_page(502, wants_html=True, languages="").body
    async with running() as rig, visitor(rig) as one:
        for path in ("/privacy", "/logo"):
            assert (await one.get(path))[0] == 404


async def test_giving_the_place_up_without_javascript() -> None:
    async with running(max_containers=1) as rig, visitor(rig) as one:
        await rig.ready(1)
        await rig.spawn()
        place = (await one.post()).headers["Location"]
        assert rig.claims.waiting == 1
        for headers, status in (({"Origin": "https://evil.example"}, 403), ({"Sec-Fetch-Site": "same-origin"}, 303)):
            async with one.client.post(place, headers=headers, allow_redirects=False) as response:
                assert response.status == status
        assert rig.claims.waiting == 0
        status, page = await one.get(place)
        assert (status, "was given up" in page) == (404, True)


async def led(one: Visitor, place: str, dest: str = "document") -> str:
    """Where a waiting page leads; "" while one waits there."""
    headers = {**NAVIGATION, "Sec-Fetch-Dest": dest}
    async with one.client.get(place, headers=headers, allow_redirects=False) as response:
        return response.headers.get("Location", "")


async def test_who_waits_in_two_tabs_gets_one_notebook() -> None:
    async with running(max_containers=1) as rig, visitor(rig) as one:
        await rig.ready(1)
        await rig.spawn()
        first, second = [(await one.post(f"lab/tree/{name}.ipynb")).headers["Location"] for name in "ab"]
        assert (await led(one, second), rig.claims.waiting) == ("", 2)
        ticket = rig.claims.find(first.partition("/wait/")[2].partition("?")[0])
        assert ticket is not None
        rig.pool.end(claimed(rig)[0], EndReason.IDLE, time.monotonic())
        await rig.until(lambda: ticket.status is Status.READY)  # a moment after the notebook is claimed
        assert (rig.claims.waiting, len(claimed(rig))) == (1, 1)
        # No script of another notebook learns of it.
        notebook = (await led(one, first)).split("/")[2]
        for dest in ("empty", "iframe"):
            assert await led(one, second, dest) == ""
        assert rig.claims.waiting == 1
        assert (await led(one, second)).startswith(f"/user/{notebook}/lab/tree/b.ipynb?token=")
        assert rig.claims.waiting == 0
        assert [container.id for container in claimed(rig)] == [notebook]
        assert "was given up" in (await one.get(second))[1]


async def test_who_waits_for_another_notebook_is_not_led_back_to_the_one_that_runs() -> None:
    async with running(max_containers=1) as rig, visitor(rig) as one:
        await rig.ready(1)
        await one.opened()
        place = (await one.post(fresh="1")).headers["Location"]
        assert (await led(one, place), rig.claims.waiting) == ("", 1)


async def test_who_waits_while_the_service_is_closed_keeps_the_place() -> None:
    async with running(max_containers=1) as rig, visitor(rig) as one:
        await rig.ready(1)
        await rig.spawn()
        _, page = await one.get("/")
        once = ONCE.findall(page)[0]
        place = (await one.post(once=once)).headers["Location"]
        for action, words in (
            ("close", "You keep your place as long as this page"),
            ("open", "All notebooks are in"),
        ):
            async with rig.admin.post(f"/api/{action}") as response:
                assert response.status == 200
            shown, page = await one.get(place)
            assert (shown, words in page) == (200, True)
        assert (await one.post(once=once)).headers["Location"] == place


async def test_who_finds_the_service_closed_is_let_in_by_the_page_that_looks_again() -> None:
    async with running() as rig, visitor(rig) as one:
        await rig.ready(1)
        rig.pool.close_to_newcomers()
        shown, page = await one.get("/spawn/lab")
        assert (shown, '<meta http-equiv="refresh" content="60">' in page) == (503, True)
        assert "looks again by itself" in page
        rig.pool.open_to_newcomers()
        shown, page = await one.get("/spawn/lab")
        assert (shown, "data-start" in page) == (200, True)
