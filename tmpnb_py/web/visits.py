"""Coming back: a cookie that names the visitor's running sessions, so that a second click leads where the first did.

It holds ids, each with a proof made from the session's token: knowing a notebook's URL is not enough to forge one,
and nothing has to be remembered here over a restart. The proxy never passes it on to a container.

All notebooks share this origin, so a script in somebody else's notebook could ask our pages for the sessions of
whoever opens it. Therefore they are spoken of only to a navigation of the whole window (`Sec-Fetch-Dest`, which no
script can set), and to requests that carry the page's own key, which only such a navigation brings.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re

from aiohttp import web

from tmpnb_py.claims.tickets import Status, Ticket
from tmpnb_py.pools.container import Container
from tmpnb_py.web import respond
from tmpnb_py.web.context import CONTEXT, Context

COOKIE = "tmpnb-sessions"

_PLACE = "tmpnb-place"
_LINE = "tmpnb-line"
_MOST = 4
_MOMENT = 2.0
_LOOK_AGAIN = 0.05
_DAY = 86400
_TICKET = re.compile(r"[0-9a-f]{32}")
_ENTRY = re.compile(r"([a-z0-9]{1,64})-([0-9a-f]{32})")


def sessions(request: web.Request) -> list[Container]:
    """The visitor's running sessions, the newest first."""
    context = request.app[CONTEXT]
    if not context.options.current.remember_sessions:
        return []
    found = []
    for session_id, proof in _entries(request):
        container = context.site.session(session_id)
        if container is not None and hmac.compare_digest(_proof(container, "cookie"), proof):
            found.append(container)
    return found


def _entries(request: web.Request) -> list[tuple[str, str]]:
    """What the cookie names, well formed, and with what proof."""
    entries = request.cookies.get(COOKIE, "").split(".")[:_MOST]
    return [(match[1], match[2]) for entry in entries if (match := _ENTRY.fullmatch(entry)) is not None]


def usable(request: web.Request) -> Container | None:
    """The session in which another document can be opened: one of today's image."""
    digest = request.app[CONTEXT].site.pool_for().current_digest
    return next((one for one in sessions(request) if one.config_digest == digest), None)


def offered(request: web.Request) -> Container | None:
    """`usable`, for a page that may speak of it."""
    return usable(request) if may_be_told(request) else None


async def first_listing(context: Context) -> None:
    """In the first moment after a start: wait a little until it is known what there is, notebooks and workshops."""
    for _ in range(round(_MOMENT / _LOOK_AGAIN)):
        if context.site.listed or context.site.pool_for().engine_down:
            return
        await asyncio.sleep(_LOOK_AGAIN)


async def is_undecided(request: web.Request) -> bool:
    """Whether nobody can know yet what the visitor has: they bring sessions, and the engine was not listed so far."""
    context = request.app[CONTEXT]
    if context.site.listed or not context.options.current.remember_sessions or not _entries(request):
        return False
    await first_listing(context)
    return not context.site.listed


def may_be_told(request: web.Request) -> bool:
    """Whether this is a page for the whole window, and no script of whatever notebook can read it.

    Browsers say so to what is potentially trustworthy only (W3C Fetch Metadata, "append the Fetch metadata headers"):
    over TLS, and to the same machine. Over plain HTTP to another one everybody is told, which the README says.
    """
    return request.headers.get("Sec-Fetch-Dest", "document") == "document"


def key(request: web.Request) -> str:
    """What a page carries that may use the visitor's session; "" where it may not, or there is none."""
    container = offered(request)
    return "" if container is None else key_of(container)


def key_of(container: Container) -> str:
    """The key to a session that is the visitor's."""
    return _proof(container, "page")


def usable_with(request: web.Request, key: str) -> Container | None:
    """`usable`, for a request that is made by a page with its key."""
    container = usable(request)
    if container is not None and hmac.compare_digest(_proof(container, "page").encode(), key.encode()):
        return container
    return None


def remember(request: web.Request, response: web.StreamResponse, container: Container) -> None:
    """Put a session first in the cookie, if the operator wants one."""
    if not request.app[CONTEXT].options.current.remember_sessions:
        return
    kept = [container, *(one for one in sessions(request) if one is not container)][:_MOST]
    response.set_cookie(
        COOKIE,
        ".".join(f"{one.id}-{_proof(one, 'cookie')}" for one in kept),
        max_age=_lifetime(request.app[CONTEXT]),
        path=request.app[CONTEXT].links.base,
        httponly=True,
        samesite="Lax",
        secure=respond.is_secure(request),
    )


def hold(request: web.Request, response: web.StreamResponse, ticket: Ticket) -> None:
    """Let this browser come back to its place in line: the address of the waiting page alone opens it to nobody.

    It stands where people copy addresses from; whoever is sent it must not be led to somebody else's notebook.
    """
    response.set_cookie(
        _PLACE,
        ticket.id,
        max_age=_DAY,
        path=request.app[CONTEXT].links.waiting(ticket.id),
        httponly=True,
        samesite="Lax",
        secure=respond.is_secure(request),
    )
    kept = [ticket.id, *(one for one in _tickets(request) if one != ticket.id)][:_MOST]
    response.set_cookie(
        _LINE,
        ".".join(kept),
        max_age=_DAY,
        path=request.app[CONTEXT].links.base,
        httponly=True,
        samesite="Lax",
        secure=respond.is_secure(request),
    )


def places(request: web.Request) -> list[Ticket]:
    """This browser's places in line, the newest first, for a page that may speak of them; they are kept by it.

    So are those of notebooks that came meanwhile and that nobody has seen yet.
    """
    if not may_be_told(request):
        return []
    site = request.app[CONTEXT].site
    found = [site.claims_with(ticket_id).find(ticket_id) for ticket_id in _tickets(request)]
    held = [ticket for ticket in found if ticket is not None and _is_open(ticket)]
    for ticket in held:
        site.claims_with(ticket.id).renew(ticket)
    return held


def _is_open(ticket: Ticket) -> bool:
    return ticket.is_waiting or ticket.status is Status.READY


def _tickets(request: web.Request) -> list[str]:
    return [one for one in request.cookies.get(_LINE, "").split(".")[:_MOST] if _TICKET.fullmatch(one)]


def holds(request: web.Request, ticket_id: str) -> bool:
    """Whether a ticket was drawn by this browser."""
    return request.cookies.get(_PLACE) == ticket_id


def _lifetime(context: Context) -> int:
    return int(context.limits.maximum) or _DAY


def _proof(container: Container, purpose: str) -> str:
    text = f"tmpnb {purpose} {container.id}".encode()
    return hmac.new(container.token.encode(), text, hashlib.sha256).hexdigest()[:32]
