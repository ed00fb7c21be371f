"""Recognises programs that identify themselves as robots: they may read pages, but not take notebooks.

A robot is what the list of the project crawler-user-agents names, or a client with a contact URL behind a `+`, as is
the convention. HTTP libraries (curl, requests) and automated browsers are not robots: people use the API with them.
"""

from __future__ import annotations

import functools
import re

from crawleruseragents import CRAWLER_USER_AGENTS_DATA

_NO_ROBOTS = frozenset(("http-library", "browser-automation"))
_CONTACT = r"\+https?://"
_PATTERNS_PER_REGEX = 25  # as in that project's own reader; twice as fast as one regular expression for all
_LONGEST = 512  # characters; browsers have about 150


def names_a_robot(user_agent: str) -> bool:
    """Whether a `User-Agent` identifies a robot."""
    return _matches(user_agent[:_LONGEST])


@functools.lru_cache(1024)
def _matches(user_agent: str) -> bool:
    return any(pattern.search(user_agent) for pattern in _patterns())


@functools.cache
def _patterns() -> list[re.Pattern[str]]:
    known = [one["pattern"] for one in CRAWLER_USER_AGENTS_DATA if _NO_ROBOTS.isdisjoint(one["tags"])]
    texts = [_CONTACT, *known]
    return [
        re.compile("|".join(texts[start : start + _PATTERNS_PER_REGEX]))
        for start in range(0, len(texts), _PATTERNS_PER_REGEX)
    ]
