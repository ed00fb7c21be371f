"""Our own pages: nothing leads away from this site, nothing is allocated by looking, no script is needed."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import aiohttp
import pytest
from yarl import URL

from tests.e2e.inprocess import Rig, running
from tmpnb_py.core.models import State

HTML = {"Accept": "text/html,application/xhtml+xml"}

HOSTILE = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/%2fevil.example",
    "%2f%2fevil.example",
    "%2F%2Fevil.example/",
    "/%5cevil.example",
    "%5c%5cevil.example",
    "http://evil.example",
    "HTTP://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "http%3a%2f%2fevil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "lab/../../evil",
    "lab/..",
    "../../evil",
    "lab/%2e%2e/%2e%2e/evil",
    "lab/%2e%2e%2f%2e%2e%2fevil",
    "lab//evil.example",
    "lab\\..\\evil",
    "lab/tree/%00x",
    "lab/tree/\tx",
    "lab/%0d%0aSet-Cookie:x=1",
    "lab\r\nLocation: http://evil.example",
    "@evil.example",
    "user/somebody",
    "api/kernels",
    "?next=//evil.example",
    "lab?next=http://evil.example",
    "lab#//evil.example",
    "lab;//evil.example",
    "laboratory",
    "lab/" + "x" * 3000,
]


def location_of(response: aiohttp.ClientResponse) -> str | None:
    """Where a browser would go; its own reading of slashes and backslashes included (WHATWG URL)."""
    location = response.headers.get("Location")
    if location is None:
        return None
    assert not re.search(r"[\x00-\x20\x7f\\]", location)
    joined = urlsplit(urljoin(str(response.url), location.replace("\\", "/")))
    assert joined.netloc == response.url.authority
    assert location.startswith("/")
    assert not location.startswith("//")
    return location


def origin(rig: Rig) -> dict[str, str]:
    return {"Origin": f"http://127.0.0.1:{rig.service.port}", **HTML}


@pytest.mark.parametrize("wish", HOSTILE)
async def test_no_wish_leads_away(wish: str) -> None:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        base = f"http://127.0.0.1:{rig.service.port}"
        raw = wish.replace("\r", "%0D").replace("\n", "%0A").replace("\t", "%09").replace("#", "%23")
        # As a path below the pages that take one …
        for prefix in ("/spawn", "/spawn/", "/lab", "/lab/", "/tree/", "/notebooks/", "/files/", "/"):
            async with rig.client.get(
                URL(base + prefix + raw, encoded=True), headers=HTML, allow_redirects=False
            ) as response:
                location = location_of(response)
                assert response.status in (200, 302, 400, 404, 410), prefix
                assert location is None or location.startswith("/spawn/")
                forms = Forms.of(await response.text())
                assert set(forms.actions) <= {"/spawn", "/spawn/wait/"}
        # … and as a form's field, a query and JSON: wherever it leads, it is the visitor's own notebook.
        async with rig.client.post(
            "/spawn", data={"path": wish}, headers=origin(rig), allow_redirects=False
        ) as response:
            location = location_of(response)
            assert (response.status, location is not None) in ((303, True), (400, False))
            assert location is None or re.match(r"/user/[a-z0-9]{26}/(lab|tree|notebooks|files)\b", location)
        for query in ("path", "next", "redirect", "url"):
            async with rig.client.get(
                "/spawn", params={query: wish}, headers=HTML, allow_redirects=False
            ) as response:
                assert location_of(response) is None
        await rig.ready(1)
        async with rig.client.post("/api/spawn?wait=5", json={"path": wish}) as response:
            assert response.status in (200, 400)
            answer = await response.json()
            if response.status == 200:
                assert re.match(rf"/user/{answer['id']}/(lab|tree|notebooks|files)\b", answer["open_url"])
                assert "/../" not in answer["open_url"]


async def test_what_is_wrong_with_a_links_path_is_said() -> None:
    async with running() as rig:
        for path, words in (
            ("lab/tree/" + "x" * 3000, "the path is longer than 2000 characters."),
            ("lab/tree/a%5Cb", "the path has characters that no document&#39;s path has."),
            ("lab//%2E%2e/x", "the path must not have &#34;.&#34; or &#34;..&#34; as parts."),
            ("//evil.example/lab", "the path must begin with lab, tree, notebooks, files, edit,"),
        ):
            async with rig.client.get(URL(f"/spawn/{path}", encoded=True), headers=HTML) as response:
                page = await response.text()
            assert (response.status, f"<p>The link&#39;s path can&#39;t be used: {words}" in page) == (400, True)


class Forms(HTMLParser):
    """What a page can do: its forms, and whatever would need or load something."""

    def __init__(self) -> None:
        super().__init__()
        self.actions: list[str] = []
        self.fields: dict[str, str] = {}
        self.links: list[str] = []
        self.scripts: list[str] = []

    @classmethod
    def of(cls, page: str) -> Forms:
        forms = cls()
        forms.feed(page)
        return forms

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert values["method"] == "post"
            self.actions.append(values["action"])
        elif tag == "input":
            self.fields[values["name"]] = values["value"]
        elif tag in ("a", "link"):
            self.links.append(values["href"])
        elif tag in ("script", "iframe", "object", "embed"):
            self.scripts.append(tag)
        self.scripts += [name for name in values if name.startswith("on")]


async def test_every_page_is_harmless_and_works_without_javascript() -> None:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        for path, status in (
            ("/", 200),
            ("/spawn", 200),
            ("/spawn/lab/tree/a%20%22%3Cscript%3E.ipynb", 200),
            ("/spawn/evil", 400),
            ("/nowhere/%3Cscript%3E", 404),
            ("/user/unknown/lab", 410),
            ("/user/unknown/lab/tree/%22%3E%3Cscript%3E", 410),
        ):
            async with rig.client.get(path, headers=HTML) as response:
                page = await response.text()
                headers = response.headers
            assert response.status == status, path
            assert response.content_type == "text/html"
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; ")
            for rule in ("form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"):
                assert rule in policy
            assert "unsafe" not in policy
            assert headers["Referrer-Policy"] == "same-origin"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"
            assert "Set-Cookie" not in headers
            forms = Forms.of(page)
            # A script is at most an offer; its hash is in the policy, and nothing is inline in an element.
            assert forms.scripts in ([], ["script"]), path
            assert (forms.scripts == ["script"]) == ("script-src 'sha256-" in policy)
            assert set(forms.actions) <= {"/spawn", "/spawn/wait/"}
            assert all(link.startswith(("/", "data:", "#main")) and not link.startswith("//") for link in forms.links)


async def test_errors_that_the_proxy_answers_have_the_same_headers() -> None:
    async with (
        running(max_head_size=8192) as rig,
        rig.client.get("/", headers={**HTML, "X": "x" * 9000}) as response,
    ):
        assert response.status == 431
        assert response.headers["Cache-Control"] == "no-store"


async def test_looking_allocates_nothing() -> None:
    async with running(pool_size=2) as rig:
        await rig.ready(2)
        for path in ("/", "/spawn", "/spawn/lab", "/api/spawn", "/lab", "/tree/x.ipynb", "/files/x", "/notebooks/x"):
            for method in ("GET", "HEAD"):
                async with rig.client.request(method, path, headers=HTML) as response:
                    assert response.status in (200, 405), (method, path)
        assert rig.pool.count(State.READY) == 2


async def test_nothing_is_promised_of_an_engine_that_is_down() -> None:
    async with running() as rig:
        await rig.ready(1)
        rig.engine.down = True
        rig.pool.observe_soon()
        await rig.until(lambda: rig.pool.engine_down)
        assert rig.pool.count(State.READY) == 1
        async with rig.client.get("/", headers={"Accept": "text/html"}) as response:
            page = await response.text()
        assert "at once" not in page
        assert "No notebook can be started at the moment." in page
        rig.engine.down = False


async def test_the_whole_way_without_javascript() -> None:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        async with rig.client.get("/lab/tree/my%20notebook.ipynb?a=b", headers=HTML) as response:
            assert response.url.raw_path == "/spawn/lab/tree/my%20notebook.ipynb"
            forms = Forms.of(await response.text())
        assert forms.actions == ["/spawn", "/spawn/wait/"]  # the second one is for JavaScript only
        async with rig.client.post(
            "/spawn", data=forms.fields, headers=origin(rig), allow_redirects=False
        ) as response:
            assert response.status == 303
            location = response.headers["Location"]
            assert response.headers["Referrer-Policy"] == "same-origin"
            assert response.headers["Cache-Control"] == "no-store"
        assert re.fullmatch(r"/user/([a-z0-9]{26})/lab/tree/my%20notebook\.ipynb\?a=b&token=[0-9a-f]{48}", location)
        async with rig.client.get(URL(location, encoded=True), headers=HTML) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ],
)
async def test_another_sites_page_cannot_press_the_button(headers: dict[str, str]) -> None:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        async with rig.client.post("/spawn", data={"path": ""}, headers={**HTML, **headers}) as response:
            assert response.status == 403
        if headers:
            async with rig.client.post("/api/spawn", headers=headers) as response:
                assert response.status == 403
        assert rig.pool.count(State.CLAIMED) == 0


@pytest.mark.parametrize("headers", [{"Origin": "same"}, {"Sec-Fetch-Site": "same-origin"}])
async def test_our_own_page_can(headers: dict[str, str]) -> None:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        chosen = {**HTML, **(origin(rig) if "Origin" in headers else headers)}
        async with rig.client.post("/spawn", data={"path": ""}, headers=chosen, allow_redirects=False) as response:
            assert response.status == 303
            assert location_of(response)
