"""Who opens a notebook's address in a browser that it does not know: somebody else's, mostly, who was sent it.

Jupyter asks such a visitor for a token and advises administrators. The proxy brings them here instead. The owner,
who is known by our own cookie, is let in again; nothing else here depends on who asks, nor says more of a notebook
than its own server does.
"""

from __future__ import annotations

import urllib.parse

from aiohttp import web

from tmpnb_py.core.document_paths import wish_of_address
from tmpnb_py.core.links import opened
from tmpnb_py.pools.container import Container
from tmpnb_py.web import respond
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.visitor import visitor_of


def is_sent_to_login(request: web.Request) -> bool:
    """Whether this is what the proxy brings here; all else of a notebook that runs is for its own server."""
    return request.match_info["tail"] == "/login" and request.rel_url.raw_query_string.startswith("next=")


async def page(request: web.Request, container: Container) -> web.StreamResponse:
    """Say whose notebook that is, and offer one of their own at the same document."""
    context, visitor = request.app[CONTEXT], visitor_of(request)
    place = request.query.get("next", "")
    login = f"{container.path}login?{urllib.parse.urlencode({'from': 'tmpnb', 'next': place})}"
    wish = _wish(context, container, place)
    if visitor.may_be_told and container in visitor.sessions:
        if "token=" in place:  # it was shown, and did not help
            return respond.see_other(request, login)
        return respond.see_other(request, opened(container.path, context.documents.target(wish), container.token))
    subject = await context.documents.find(wish, visitor.offered_session)
    return respond.page(
        request,
        "stranger.html",
        status=403,
        subject=subject,
        login=login,
        has_pages=not context.api_token,
    )


def _wish(context: Context, container: Container, place: str) -> str:
    """What was to be opened; "" where that is nothing that can be opened elsewhere."""
    path = place.partition("?")[0]
    if not path.startswith(container.path):
        return ""
    wish = wish_of_address(path.removeprefix(container.path))
    try:
        context.documents.target(wish)
    except ValueError:
        return ""
    return wish
