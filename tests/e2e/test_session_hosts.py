"""Each notebook under a host of its own (`--session-host`): how browsers and programs get there, and who does not."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from multidict import CIMultiDictProxy

from tests.e2e.inprocess import Rig, running
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.engines.fake import FakeHost
from tmpnb_py.pools.container import Container

MAIN, DOMAIN = "main.example.org:8000", "nb.example.net"
NAVIGATES = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
SCRIPT = {"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
TLS = {"X-Forwarded-Proto": "https"}


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def location(self) -> str:
        return str(self.headers["Location"])


@dataclasses.dataclass
class Browser:
    """A browser as far as hosts and cookies matter here. It follows nothing by itself."""

    rig: Rig
    secure: bool = False
    jar: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    async def ask(self, url: str, method: str = "GET", **headers: str) -> Answer:
        parts = urlsplit(url)
        cookies = self.jar.setdefault(parts.netloc, {})
        sent = {"Host": parts.netloc, **(TLS if self.secure else {}), **headers}
        if cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        place = parts.path + (f"?{parts.query}" if parts.query else "")
        async with self.rig.client.request(method, place, headers=sent, allow_redirects=False) as response:
            for line in response.headers.getall("Set-Cookie", ()):
                cookies |= {name: one.value for name, one in SimpleCookie(line).items()}
            return Answer(response.status, response.headers, await response.text())

    def main(self, path: str) -> str:
        return f"{'https' if self.secure else 'http'}://{MAIN}{path}"

    async def notebook(self, path: str = "lab") -> tuple[str, Container]:
        """Click, and follow to the notebook. Returns where the browser is then."""
        answer = await self.ask(self.main("/spawn"), "POST", Origin=self.main(""), **NAVIGATES)
        assert answer.status == 303, answer
        answer = await self.ask(answer.location, **NAVIGATES)
        assert answer.status == 303, answer
        assert "://" not in answer.location
        assert answer.location.endswith(path)
        (container,) = [one for one in self.rig.pool.in_state(State.CLAIMED) if one.path in answer.location]
        return self.own(container, answer.location), container

    def own(self, container: Container, path: str) -> str:
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{container.session_name}.{DOMAIN}:8000{path}"


@contextlib.asynccontextmanager
async def service(**options: Any) -> AsyncIterator[Rig]:
    chosen = {"session_host": f"{{name}}.{DOMAIN}", "allowed_hosts": "main.example.org", "pool_size": 2, **options}
    async with running(trusted_proxies=["127.0.0.1"], **chosen) as rig:
        await rig.ready(2)
        yield rig


@pytest.mark.parametrize("secure", [False, True], ids=["http", "tls"])
async def test_a_visitor_is_led_to_a_host_that_tells_nothing(secure: bool) -> None:
    async with service() as rig:
        visitor = Browser(rig, secure)
        url, container = await visitor.notebook()
        host = urlsplit(url).netloc
        assert re.fullmatch(rf"[a-z][a-z0-9]{{19}}\.{DOMAIN}:8000", host)
        name = host.partition(".")[0]
        assert name == container.session_name
        assert container.id not in name
        assert container.token[:8] not in name
        assert name[:8] not in container.id
        assert set(visitor.jar[host]) == (
            {"__Host-tmpnb-session", "__Host-tmpnb-home"} if secure else {"tmpnb-session", "tmpnb-home"}
        )
        assert container.token not in url
        answer = await visitor.ask(url, **NAVIGATES)
        assert answer.status == 200
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
        assert ("Cross-Origin-Opener-Policy" in answer.headers) is secure
        assert answer.headers.getall("Origin-Agent-Cluster", []) == (["?1"] if secure else [])
        await visitor.ask(
            visitor.own(container, container.path + "api/kernels"), "POST", **SCRIPT, Origin=f"http://{host}"
        )


async def test_a_name_alone_opens_nothing_nor_does_an_id_with_it() -> None:
    async with service() as rig:
        url, container = await Browser(rig).notebook()
        stranger = Browser(rig)
        for path in (
            "/",
            "/lab",
            "/enter",
            "/enter?code=",
            f"/enter?code={'0' * 32}",
            "/user/",
            "/api/stats",
            "/tree",
        ):
            answer = await stranger.ask(stranger.own(container, path), **NAVIGATES)
            assert answer.status in (303, 403, 404, 410), (path, answer)
            assert container.id not in answer.text
            assert answer.status != 303 or answer.location == f"http://{MAIN}/"
        answer = await stranger.ask(url, **NAVIGATES)
        assert (answer.status, answer.location) == (303, f"http://{MAIN}{container.path}lab")
        assert (await stranger.ask(answer.location, **NAVIGATES)).status == 403
        for headers in (SCRIPT, {}, {"Sec-Fetch-Mode": "websocket"}):
            assert (await stranger.ask(url, **headers)).status == 403


async def test_the_way_there_is_good_once_and_for_one_host() -> None:
    async with service() as rig:
        visitor, thief = Browser(rig), Browser(rig)
        answers = [
            await visitor.ask(visitor.main("/spawn"), "POST", Origin=visitor.main(""), **NAVIGATES) for _ in "ab"
        ]
        assert answers[0].headers["Referrer-Policy"] == "no-referrer"
        assert answers[0].headers["Cache-Control"] == "no-store"
        url = answers[0].location
        assert (await thief.ask(url, Accept="*/*", **{"Sec-Fetch-Dest": "iframe"})).status == 404
        entered = await visitor.ask(url, **NAVIGATES)
        assert (entered.status, entered.headers["Referrer-Policy"]) == (303, "no-referrer")
        assert (
            "Max-Age=2592000" in entered.headers["Set-Cookie"]
        )  # a session may last longer than the options say now
        assert (await thief.ask(url, **NAVIGATES)).status == 403
        other = await Browser(rig).ask(visitor.main("/api/spawn"), "POST")
        foreign = urlsplit(str((await _spawned(other))["session_url"])).netloc
        code = urlsplit(answers[1].location).query
        assert (await thief.ask(f"http://{foreign}/enter?{code}", **NAVIGATES)).status == 403
        assert (await thief.ask(answers[1].location, **NAVIGATES)).status == 403  # it was shown at another host


async def _spawned(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer
    return dict(json.loads(answer.text))


async def test_no_log_has_the_way_there() -> None:
    async with service() as rig:
        with structlog.testing.capture_logs() as events:
            visitor = Browser(rig)
            answer = await visitor.ask(visitor.main("/spawn"), "POST", Origin=visitor.main(""), **NAVIGATES)
            await visitor.ask(answer.location, **NAVIGATES)
        code = answer.location.partition("code=")[2]
        assert code
        assert code not in str(events)


async def test_under_the_main_host_only_navigations_are_sent_on() -> None:
    async with service() as rig:
        visitor = Browser(rig)
        _, container = await visitor.notebook()
        place = visitor.main(container.path + "lab/tree/a%20b.ipynb?x=1")
        answer = await visitor.ask(place, **NAVIGATES)
        assert answer.status == 303
        assert answer.location.startswith(visitor.own(container, "/enter?code="))
        assert (
            await visitor.ask(answer.location, **NAVIGATES)
        ).location == container.path + "lab/tree/a%20b.ipynb?x=1"
        stranger = Browser(rig)
        assert (await stranger.ask(place, **NAVIGATES)).status == 403
        assert (await stranger.ask(place, Accept="text/html,*/*")).status == 403  # an old browser
        shown = await stranger.ask(f"{place}&token={container.token}", **NAVIGATES)
        assert (
            await stranger.ask(shown.location, **NAVIGATES)
        ).location == container.path + "lab/tree/a%20b.ipynb?x=1"


@pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}, SCRIPT, {"Accept": "application/json"}])
async def test_programs_go_on_there_as_before(headers: dict[str, str]) -> None:
    async with service() as rig:
        program = Browser(rig)
        session = await _spawned(await program.ask(program.main("/api/spawn"), "POST", **headers))
        assert session["url"].startswith("/user/")
        assert session["session_url"].startswith("http://")
        assert session["session_url"].endswith(session["url"])
        token = {"Authorization": f"token {session['token']}"}
        for method in ("GET", "PUT", "POST", "DELETE"):
            answer = await program.ask(program.main(session["url"] + "api/x"), method, **headers, **token)
            assert answer.status == 200
            assert answer.headers["Content-Security-Policy"] == "sandbox"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Set-Cookie" not in answer.headers


async def test_a_notebooks_page_claims_nothing() -> None:
    for options in ({}, {"allow_origin": "*"}):
        async with service(**options) as rig:
            url, container = await Browser(rig).notebook()
            page = Browser(rig)
            origin = {"Origin": url.removesuffix(urlsplit(url).path), "Sec-Fetch-Site": "cross-site"}
            for path in ("/api/spawn", "/api/tickets", "/spawn"):
                assert (await page.ask(page.main(path), "POST", **origin, **SCRIPT)).status == 403, path
                own = await page.ask(page.own(container, path), "POST", **origin | {"Sec-Fetch-Site": "same-origin"})
                assert own.status == 404, path
            build = await page.ask(
                page.main("/build/gh/a/b/c"), Accept="text/event-stream", **{"Sec-Fetch-Site": "same-site"}
            )
            assert build.status == 403
            assert rig.pool.count(State.CLAIMED) == 1


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
async def test_a_neighbour_is_foreign(site: str) -> None:
    async with service() as rig:
        visitor = Browser(rig)
        url, container = await visitor.notebook()
        neighbour = f"http://{'a' * 20}.{DOMAIN}:8000"
        api = visitor.own(container, container.path + "api")
        for headers in (
            {"Origin": neighbour, "Sec-Fetch-Site": site, **SCRIPT},
            {"Origin": neighbour},
            {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
            {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        ):
            assert (await visitor.ask(api, **headers)).status == 403, headers
        assert (await visitor.ask(api, "POST", Origin=neighbour, **NAVIGATES)).status == 403  # a form
        assert (await visitor.ask(url, **NAVIGATES, **{"Sec-Fetch-Site": site})).status == 200  # a link


async def test_a_cookie_that_comes_twice_counts_as_none() -> None:
    async with service() as rig:
        visitor = Browser(rig)
        url, container = await visitor.notebook()
        jar = visitor.jar[urlsplit(url).netloc]
        (proof,) = [value for name, value in jar.items() if name == "tmpnb-session"]
        jar.clear()
        jar["x"] = f"1; tmpnb-session={proof}; tmpnb-session=tossed"
        assert (await visitor.ask(url, **NAVIGATES)).location == visitor.main(container.path + "lab")
        jar["x"] = "1"
        jar["tmpnb-session"] = proof
        assert (await visitor.ask(url, **NAVIGATES)).status == 200
        main = visitor.jar[MAIN]
        named = main.pop("tmpnb-sessions")
        main["x"] = f"1; tmpnb-sessions={named}; tmpnb-sessions={named}"
        assert (await visitor.ask(visitor.main(container.path), **NAVIGATES)).status == 403
        main["x"] = f"1; tmpnb-sessions={named}"
        assert (await visitor.ask(visitor.main(container.path), **NAVIGATES)).status == 303


async def test_over_tls_only_cookies_of_the_host_itself_count() -> None:
    async with service(allowed_hosts="main.example.org,www.example.net") as rig:  # the second is below one domain
        visitor = Browser(rig, secure=True)
        url, container = await visitor.notebook()
        assert {name for name in visitor.jar[MAIN] if not name.startswith("__Host-")} == set()
        own, main = visitor.jar[urlsplit(url).netloc], visitor.jar[MAIN]
        for jar in (own, main):
            plain = {name.removeprefix("__Host-"): value for name, value in jar.items()}
            jar.clear()
            jar.update(plain)
        assert (await visitor.ask(url, **SCRIPT)).status == 403
        assert (await visitor.ask(visitor.main(container.path), **NAVIGATES)).status == 403


@pytest.mark.parametrize("secure", [False, True], ids=["http", "tls"])
async def test_switched_on_and_off_a_notebook_stays_its_visitors(secure: bool) -> None:
    """Their open page asks where the notebook was; loaded again, it leads to where that is now."""
    async with service(session_host="") as rig:
        visitor = Browser(rig, secure)
        answer = await visitor.ask(visitor.main("/spawn"), "POST", Origin=visitor.main(""), **NAVIGATES)
        (container,) = rig.pool.in_state(State.CLAIMED)
        assert answer.location.startswith(container.path)
        page = visitor.main(container.path + "lab")
        path_mode = rig.service.options.current
        rig.service.reload(path_mode.model_copy(update={"session_host": f"{{name}}.{DOMAIN}"}))
        answer = await visitor.ask(page, **NAVIGATES)
        assert (answer.status, urlsplit(answer.location).netloc) == (303, f"{container.session_name}.{DOMAIN}:8000")
        answer = await visitor.ask(answer.location, **NAVIGATES)
        own = visitor.own(container, answer.location)
        assert (await visitor.ask(own, **NAVIGATES)).status == 200
        # Now the cookie that names it is written under another name.
        answer = await visitor.ask(visitor.main("/spawn"), "POST", Origin=visitor.main(""), **NAVIGATES)
        assert urlsplit(answer.location).netloc == urlsplit(own).netloc
        rig.service.reload(path_mode)
        assert (await visitor.ask(own, **NAVIGATES)).status == 421
        answer = await visitor.ask(visitor.main("/spawn"), "POST", Origin=visitor.main(""), **NAVIGATES)
        assert answer.location.startswith(container.path)
        assert len(rig.pool.in_state(State.CLAIMED)) == 1


async def test_a_browser_that_keeps_no_cookie_is_not_led_round_in_circles() -> None:
    async with service() as rig:
        visitor = Browser(rig)
        url, _ = await visitor.notebook()
        for _ in range(10):
            visitor.jar[urlsplit(url).netloc].clear()
            answer = await visitor.ask(url, **NAVIGATES)
            if answer.status != 303:
                break
            answer = await visitor.ask(answer.location, **NAVIGATES)
            await visitor.ask(answer.location, **NAVIGATES)
        assert answer.status == 403
        assert f'href="http://{MAIN.partition(":")[0]}' in answer.text


async def test_what_a_notebooks_host_has() -> None:
    async with service() as rig:
        visitor = Browser(rig)
        _url, container = await visitor.notebook()
        _, other = await Browser(rig).notebook()
        own = f"/api/sessions/{container.id}"
        assert (await visitor.ask(visitor.own(container, own), **SCRIPT)).status == 200
        assert (await visitor.ask(visitor.own(container, f"/api/sessions/{other.id}"), **SCRIPT)).status == 404
        assert (await visitor.ask(visitor.own(container, f"{other.path}lab"), **NAVIGATES)).status == 410
        for path in (
            "/api/stats",
            "/spawn",
            "/workshops/",
            "/live.js",
            "/metrics",
            "/lab",
            "/build/gh/a/b/c",
            "/v2/gh/a/b",
        ):
            assert (await visitor.ask(visitor.own(container, path), **NAVIGATES)).status == 404 or path == "/metrics"
        first = await visitor.ask(visitor.own(container, "/"), **NAVIGATES)
        assert (first.status, first.location) == (303, f"http://{MAIN}/")
        for static in ("/static/", f"/static/{'0' * 32}/static/lab/x.js"):
            assert (await visitor.ask(visitor.own(container, static))).status == 404


async def test_pages_of_a_notebook_that_has_ended_lead_to_the_main_host() -> None:
    async with service() as rig:
        visitor = Browser(rig)
        url, container = await visitor.notebook()
        rig.service.site.end(container, EndReason.IDLE, 0.0)
        answer = await visitor.ask(url, **NAVIGATES)
        assert answer.status == 410
        assert f'href="http://{MAIN}/spawn"' in answer.text or f'href="http://{MAIN}/spawn?urlpath=' in answer.text
        assert "<form" not in answer.text
        assert (await visitor.ask(url, **SCRIPT)).status == 410


async def test_the_address_of_another_program_lets_its_browser_in() -> None:
    """`session_url` with the token, as Jupyter's own addresses have it."""
    async with service() as rig:
        session = await _spawned(await Browser(rig).ask(f"http://{MAIN}/api/spawn", "POST"))
        browser = Browser(rig)
        answer = await browser.ask(f"{session['session_url']}lab?token={session['token']}", **NAVIGATES)
        assert (answer.status, answer.location) == (303, session["url"] + "lab")
        assert (await browser.ask(session["session_url"] + "lab", **NAVIGATES)).status == 200
        wrong = Browser(rig)
        answer = await wrong.ask(f"{session['session_url']}lab?token=x", **NAVIGATES)
        assert (answer.status, answer.location) == (303, f"http://{MAIN}{session['url']}lab")


async def test_with_an_api_token_browsers_get_there_as_well() -> None:
    async with service(api_auth_token="operators") as rig:
        program, browser = Browser(rig), Browser(rig)
        spawned = await program.ask(program.main("/api/spawn"), "POST", Authorization="token operators")
        session = await _spawned(spawned)
        answer = await browser.ask(browser.main(session["open_url"]), **NAVIGATES)
        answer = await browser.ask(answer.location, **NAVIGATES)
        assert (answer.status, answer.location) == (303, session["url"] + "lab")
        assert (await browser.ask(session["session_url"] + "lab", **NAVIGATES)).status == 200


async def test_an_allowed_sites_page_uses_a_notebook_by_either_host() -> None:
    site = {"Origin": "https://site.example", "Sec-Fetch-Site": "cross-site", **SCRIPT}
    async with service(allow_origin="https://site.example") as rig:
        page = Browser(rig)
        session = await _spawned(await page.ask(page.main("/api/spawn"), "POST", **site))
        for url in (page.main(session["url"]), session["session_url"]):
            token = {"Authorization": f"token {session['token']}"}
            answer = await page.ask(url + "api/echo", **site, **token)
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://site.example")
            asked = {"Access-Control-Request-Method": "PUT"}
            assert (await page.ask(url + "api/echo", "OPTIONS", **site, **asked)).status == 204
        assert (await page.ask(session["session_url"] + "api/echo", **site)).status == 403
        other = {**site, "Origin": "https://other.example"}
        assert (await page.ask(session["session_url"] + "api/echo", **other, **token)).status == 403


async def test_names_survive_a_restart_and_sessions_of_older_versions_stay_where_they_are() -> None:
    async with FakeHost() as host:
        options: dict[str, Any] = {"session_host": f"{{name}}.{DOMAIN}", "allowed_hosts": "main.example.org"}
        async with running(host, cleanup_on_exit=False, **options) as rig:
            await rig.ready(1)
            visitor = Browser(rig)
            url, container = await visitor.notebook()
            code = (await visitor.ask(visitor.main(container.path + "lab"), **NAVIGATES)).location
        async with running(host, **options) as rig:
            await rig.until(lambda: rig.pool.listed)
            # A code may have been used before: it opens nothing now, but its visitor gets another.
            stranger = Browser(rig)
            led = await stranger.ask(code, **NAVIGATES)
            assert (led.status, stranger.jar[urlsplit(code).netloc]) == (303, {})
            assert led.location == visitor.main(container.path + "lab")
            assert (await stranger.ask(led.location, **NAVIGATES)).status == 403
            visitor.rig = rig
            assert (await visitor.ask(led.location, **NAVIGATES)).location.startswith(code.partition("=")[0])
            assert (await visitor.ask(url, **NAVIGATES)).status == 200
            found = rig.pool.get(container.id)
            assert found is not None
            assert found.session_name == container.session_name
            found.session_name = ""  # as an older version has started it
            assert (await visitor.ask(visitor.main(container.path + "lab"), **NAVIGATES)).status == 200
            assert (await visitor.ask(url, **NAVIGATES)).status == 410


async def test_two_hosts_at_once_are_no_way_to_the_main_one() -> None:
    async with service() as rig:
        visitor = Browser(rig)
        url, container = await visitor.notebook()
        mixed = await visitor.ask(url.replace("/lab", "/../../api/stats"), **{"X-Forwarded-Host": MAIN})
        assert mixed.status == 404
        both = await visitor.ask(url, **{"X-Forwarded-Host": f"{'b' * 20}.{DOMAIN}"}, **NAVIGATES)
        assert both.status == 400
        for host in (DOMAIN, f"x.{DOMAIN}", f"a.{container.session_name}.{DOMAIN}"):
            assert (await visitor.ask(f"http://{host}/", **NAVIGATES)).status == 421


async def test_too_many_cookies_end_in_a_page_that_takes_them_away() -> None:
    async with service() as rig:
        browser = Browser(rig)
        browser.jar[MAIN] = {f"a{number}": "x" * 4000 for number in range(20)}
        answer = await browser.ask(browser.main("/"), **NAVIGATES)
        assert (answer.status, answer.headers["Content-Type"]) == (431, "text/html; charset=utf-8")
        assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
        assert "max-age=0" in answer.text
        browser.jar[MAIN] = {}
        answer = await browser.ask(browser.main("/"), **{"X-Large": "x" * 40_000})
        assert (answer.status, answer.headers["Content-Type"]) == (431, "application/json")
