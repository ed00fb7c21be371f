"""Programs that name themselves as robots: pages are for them, too, so that links are found; notebooks are not.

Who is one says the list that the project crawler-user-agents keeps, or the address for complaints that robots put
behind a `+` by convention. Libraries (curl, requests) and driven browsers are none: with them people write programs
for the API, and try what they have made.
"""

from __future__ import annotations

import functools
import re

from crawleruseragents import CRAWLER_USER_AGENTS_DATA

_NO_ROBOTS = frozenset(("http-library", "browser-automation"))
_CONTACT = r"\+https?://"
_AT_ONCE = 25  # as that project's own reader has it: twice as fast as all patterns in one
_LONGEST = 512  # characters; browsers have about 150


def names_a_robot(user_agent: str) -> bool:
    """Whether a `User-Agent` is a robot's, by its own word."""
    return _matches(user_agent[:_LONGEST])


@functools.lru_cache(1024)
def _matches(user_agent: str) -> bool:
    return any(pattern.search(user_agent) for pattern in _patterns())


@functools.cache
def _patterns() -> list[re.Pattern[str]]:
    known = [one["pattern"] for one in CRAWLER_USER_AGENTS_DATA if _NO_ROBOTS.isdisjoint(one["tags"])]
    texts = [_CONTACT, *known]
    return [re.compile("|".join(texts[start : start + _AT_ONCE])) for start in range(0, len(texts), _AT_ONCE)]
