"""Programs that name themselves as robots: pages are for them, too, so that links are found; notebooks are not.

Who is one says the list that the project crawler-user-agents keeps, or the address for complaints that robots put
behind a `+` by convention. Libraries (curl, requests) and driven browsers are none: with them people write programs
for the API, and try what they have made.
"""

from __future__ import annotations

import functools
import re

from aiohttp import web
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from tmpnb_py.web.access import shows_api_token

_NO_ROBOTS = frozenset(("http-library", "browser-automation"))
_CONTACT = r"\+https?://"
_AT_ONCE = 25  # as that project's own reader has it: twice as fast as all patterns in one
_LONGEST = 512  # characters; browsers have about 150


def is_robot(request: web.Request) -> bool:
    """Whether a request says that a robot sends it."""
    return _names_a_robot(request.headers.get("User-Agent", "")[:_LONGEST])


def refuse_robots(request: web.Request) -> None:
    """Raise `HTTPForbidden` where a robot would take a notebook, unless it shows the operator's API token."""
    if is_robot(request) and not shows_api_token(request):
        raise web.HTTPForbidden(text="Robots may read the pages here; notebooks are for people.")


@functools.lru_cache(1024)
def _names_a_robot(user_agent: str) -> bool:
    return any(pattern.search(user_agent) for pattern in _patterns())


@functools.cache
def _patterns() -> list[re.Pattern[str]]:
    known = [one["pattern"] for one in CRAWLER_USER_AGENTS_DATA if _NO_ROBOTS.isdisjoint(one["tags"])]
    texts = [_CONTACT, *known]
    return [re.compile("|".join(texts[start : start + _AT_ONCE])) for start in range(0, len(texts), _AT_ONCE)]
