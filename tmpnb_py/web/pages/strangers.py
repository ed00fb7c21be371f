"""The page for visitors whom a notebook does not know: mostly people to whom somebody sent its URL.

Jupyter would ask them for a token, in words for administrators; the proxy sends them here instead. The owner, known
by our own cookie, is let in again. Apart from that the page is the same for everybody, and says no more about a
notebook than its own server does.
"""

from __future__ import annotations

import time
import urllib.parse

from aiohttp import web

from tmpnb_py.core.document_paths import wish_of_address
from tmpnb_py.core.links import opened
from tmpnb_py.pools.container import Container
from tmpnb_py.web import hosted, respond
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.language import preferred
from tmpnb_py.web.visitor import visitor_of

_TIMES = 4  # in half a minute


def is_sent_to_login(request: web.Request) -> bool:
    """Whether the proxy sent the request here; everything else goes to the notebook's own server."""
    return request.match_info["tail"] == "/login" and request.rel_url.raw_query_string.startswith("next=")


async def page(request: web.Request, container: Container) -> web.StreamResponse:
    """Say that this is somebody else's notebook, and offer the visitor one of their own at the same document."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    if visitor.has_host(container):
        return await _under_its_host(request, container)
    place = request.query.get("next", "")
    login = f"{container.path}login?{urllib.parse.urlencode({'from': 'tmpnb', 'next': place})}"
    wish = _wish(context, container, place)
    if visitor.may_be_told and container in visitor.sessions:
        if "token=" in place:  # the notebook has seen it already, and refused it
            return respond.see_other(request, login)
        return respond.see_other(request, opened(container.path, context.documents.target(wish), container.token))
    return await _said(request, wish, login=login)


async def _under_its_host(request: web.Request, container: Container) -> web.StreamResponse:
    """The same where the notebook has a host of its own: the main host knows its owner, and leads there."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    place = hosted.wanted(request)
    wish = context.documents.openable(wish_of_address(place.partition("?")[0]))
    leads = bool(visitor.session_name and visitor.main_origin)
    owners = f"{visitor.main_origin}{container.path}{place}" if leads else ""
    # A neighbour's page can push the cookie out of the browser. Whoever keeps none is not led round in circles.
    led = visitor.is_foreign or not visitor.may_be_told or context.codes.lately(container, time.monotonic()) >= _TIMES
    if owners and not led:
        return respond.see_other(request, owners)
    return await _said(request, wish, owners=owners)


async def _said(request: web.Request, wish: str, *, login: str = "", owners: str = "") -> web.StreamResponse:
    context = request.app[CONTEXT]
    subject = await context.documents.find(
        wish, visitor_of(request).offered_session(context.offers.choose(wish)[0].pool), preferred(request)
    )
    has_pages = not context.api_token
    return respond.page(
        request, "stranger.html", status=403, subject=subject, login=login, owners=owners, has_pages=has_pages
    )


def _wish(context: Context, container: Container, place: str) -> str:
    """The document that the visitor wanted, "" if it cannot be opened in another notebook."""
    path = place.partition("?")[0]
    if not path.startswith(container.path):
        return ""
    return context.documents.openable(wish_of_address(path.removeprefix(container.path)))
