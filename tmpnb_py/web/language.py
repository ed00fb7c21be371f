"""In which language somebody is answered: the operator's choice, or what the browser prefers (RFC 9110 §12.5.4).

Pages of other sites name theirs in the API's addresses (`?lang=de`): a stream of events has no headers of a script's.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from tmpnb_py.web.context import CONTEXT
from tmpnb_py.words.tags import AUTO, tags
from tmpnb_py.words.words import Words, chosen, words

_LONGEST = 1000  # characters of `Accept-Language` that are read


def words_of(request: web.BaseRequest) -> Words:
    """The texts for whoever sends a request."""
    return chosen(_option(request), accepted(request))


def preferred(request: web.BaseRequest) -> str:
    """The languages in which somebody reads what others wrote in several, as `Accept-Language` has them."""
    option = _option(request)
    return accepted(request) if option == AUTO else option


def words_asked(request: web.Request) -> Words:
    """The same for an endpoint of the API: its address may name the language. Programs name none, and get English."""
    named = request.query.get("lang", "")[:_LONGEST]
    if named:
        return chosen(AUTO, named)
    return words_of(request) if "Accept-Language" in request.headers else words()


def accepted(request: web.BaseRequest) -> str:
    """`Accept-Language`, which may have come in several lines (RFC 9110 §5.3)."""
    return ", ".join(request.headers.getall("Accept-Language", ()))[:_LONGEST]


def headers_of(request: web.BaseRequest, words: Words) -> dict[str, str]:
    """What a page says of its language: also to caches, where another browser would get another page."""
    varies = {"Vary": "Accept-Language"} if _option(request) == AUTO and len(tags()) > 1 else {}
    return {"Content-Language": words.tag, **varies}


def _option(request: web.BaseRequest) -> str:
    return request.app[CONTEXT].options.current.language if isinstance(request, web.Request) else AUTO


def merged(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Both, with the names of both in `Vary`."""
    vary = ", ".join(filter(None, (headers.get("Vary", ""), more.get("Vary", ""))))
    return {**headers, **more, **({"Vary": vary} if vary else {})}
