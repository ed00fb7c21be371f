"""What a link asks for: a document's path with its query, and among several pools the name of one (`?pool=r`).

A wish travels as it is from the link through pages and forms, and is split where a pool is chosen. Pure.
"""

from __future__ import annotations

import re
import urllib.parse

_KEY = "pool"
_PART = re.compile(rf"(?:^|&){_KEY}=([^&]*)")


def split(wish: str) -> tuple[str, str]:
    """The pool's name ("" for none), and the wish without it. Of several names the last one counts."""
    path, mark, query = wish.partition("?")
    if not mark or f"{_KEY}=" not in query:
        return "", wish
    names = _PART.findall(query)
    if not names:
        return "", wish
    rest = _PART.sub("", query).lstrip("&")
    return urllib.parse.unquote_plus(names[-1]), f"{path}?{rest}" if rest else path


def joined(wish: str, pool: str) -> str:
    """The wish with a pool's name."""
    if not pool:
        return wish
    return f"{wish}{'&' if '?' in wish else '?'}{_KEY}={urllib.parse.quote(pool, safe='')}"
