"""Robots that name themselves read pages and take no notebook; people and the programs that they write are none."""

from __future__ import annotations

import aiohttp
import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from tests.e2e.inprocess import Rig, running
from tmpnb_py.core.models import State
from tmpnb_py.web.robots import names_a_robot

ROBOTS = [
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
    "Mozilla/5.0 (Linux; Android 6.0.1) Chrome/129.0 Mobile (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "facebookexternalhit/1.1",
    "Bytespider",
    "SomethingNobodyKnowsYet/0.1 (+https://example.org/about)",
]
NO_ROBOTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; CUBOT X18) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/85.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 14_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 [Pinterest/iOS]",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/129.0.0.0 Safari/537.36",
    "python-requests/2.32.3",
    "curl/8.9.1",
    "Amazon CloudFront",  # in place of the browser's own, where nobody tells it otherwise
    "",
]
STREAM = {"Accept": "text/event-stream"}


@pytest.mark.parametrize("agent", ROBOTS)
async def test_a_robot_gets_pages_and_no_notebook(agent: str) -> None:
    async with running() as rig:
        await rig.ready(1)
        rig.client.headers["User-Agent"] = agent
        origin = {"Origin": str(rig.client._base_url).rstrip("/")}
        async with rig.client.get("/spawn/lab/tree/a.ipynb") as answer:
            page = await answer.text()
            assert answer.status == 200
            assert "a.ipynb" in page  # what a preview is made of
            assert "<script" not in page
        assert await _status(rig, "GET", "/build/gh/org/repo/HEAD", STREAM) == 406
        assert await _status(rig, "POST", "/spawn", origin) == 403
        assert await _status(rig, "POST", "/api/tickets", origin) == 403
        assert await _status(rig, "POST", "/api/spawn") == 403
        assert await _status(rig, "GET", "/robots.txt") == 200
        assert rig.pool.count(State.CLAIMED) == 0
        assert rig.claims.waiting == 0


@pytest.mark.parametrize("agent", NO_ROBOTS)
async def test_people_and_their_programs_get_one(agent: str) -> None:
    async with running(pool_size=2, binder_spec="*") as rig:
        await rig.ready(2)
        rig.client.headers["User-Agent"] = agent
        async with rig.client.get("/spawn") as answer:
            assert "<script" in await answer.text()
        origin = {"Origin": str(rig.client._base_url).rstrip("/")}
        assert await _status(rig, "GET", "/build/gh/org/repo/HEAD", {**STREAM, **origin}) == 200
        assert await _status(rig, "POST", "/api/spawn") == 200


async def test_whoever_shows_the_operators_token_may_be_a_robot() -> None:
    async with running(api_auth_token="secret") as rig:
        await rig.ready(1)
        headers = {"User-Agent": ROBOTS[0], "Authorization": "token secret"}
        assert await _status(rig, "POST", "/api/spawn", headers) == 200


async def _status(rig: Rig, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    async with rig.client.request(method, path, headers=headers, allow_redirects=False) as answer:
        await answer.read()
        return answer.status


async def test_robots_are_told_where_they_have_nothing_to_do() -> None:
    async with running() as rig, rig.client.get("/robots.txt") as answer:
        lines = (await answer.text()).splitlines()
    assert lines[0] == "User-agent: *"
    assert {"Disallow: /spawn", "Disallow: /build/", "Disallow: /user/", "Disallow: /api/"} <= set(lines)


def test_every_robot_of_the_list_is_one_by_the_name_that_it_gives_itself() -> None:
    """Also holds the list to its form: names, examples and tags, by which libraries are told apart."""
    tags = {tag for one in CRAWLER_USER_AGENTS_DATA for tag in one["tags"]}
    assert {"http-library", "browser-automation", "ai-crawler", "search-engine", "social-preview"} <= tags
    named = [one for one in CRAWLER_USER_AGENTS_DATA if "ai-crawler" in one["tags"]]
    examples = [text for one in named for text in one["instances"]]
    assert len(examples) > 50
    missed = [text for text in examples if len(text) <= 512 and not names_a_robot(text)]
    assert missed == []


def test_libraries_are_no_robots() -> None:
    assert not any(names_a_robot(text) for text in (aiohttp.http.SERVER_SOFTWARE, "python-httpx/0.27", "Wget/1.21"))
