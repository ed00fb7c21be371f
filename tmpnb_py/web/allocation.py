"""Giving a visitor a notebook: the steps that pages, the API and BinderHub's protocol have in common.

Every way in takes them in the same order: refuse clients that may not ask, read what to open, reuse a session if
there is one, otherwise open a ticket; and announce the notebook before its URL is shown.
"""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core.document_paths import document
from tmpnb_py.core.errors import AddressFullError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.pools.container import Container
from tmpnb_py.web import idempotency
from tmpnb_py.web.context import Context
from tmpnb_py.web.visitor import Visitor

_LISTING_SECONDS = 2.0  # of patience with an engine that was not listed yet
_POLL_SECONDS = 0.05


# --- clients that may not ask


def refuse_foreign(visitor: Visitor) -> None:
    """Raise `HTTPForbidden` for another site's page, unless the operator allows that site."""
    if visitor.is_refused_site:
        raise web.HTTPForbidden(text="Requests from another site's pages are not accepted.")


def refuse_other_pages(visitor: Visitor) -> None:
    """Raise `HTTPForbidden` for a form that was not posted from one of our pages."""
    if not visitor.is_on_our_page:
        raise web.HTTPForbidden(text="This button works on this service's own pages only.")


def refuse_hidden_page(visitor: Visitor) -> None:
    """Raise `HTTPForbidden` for a browser that does not say whose page asks. For the GET that allocates."""
    if visitor.hides_its_page:
        raise web.HTTPForbidden(text="A browser must say whose page asks (Referer).")


def refuse_robots(visitor: Visitor) -> None:
    """Raise `HTTPForbidden` for a robot, unless it shows the operator's API token."""
    if visitor.is_robot and not visitor.shows_api_token:
        raise web.HTTPForbidden(text="Robots may read the pages here; notebooks are for people.")


# --- what to open


def target_of(context: Context, path: str, workshop: str = "") -> str:
    """The document to open, below a notebook's base path. Raises `HTTPBadRequest` if it cannot be opened."""
    if workshop:
        found = context.catalogue.manifest.find(workshop)
        if found is None:
            raise web.HTTPBadRequest(text="There is no workshop of this name.")
        path = document(found.start)
    try:
        return context.documents.target(path)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"The link's path can't be used: {error}.") from error


# --- sessions that run already


async def first_listing(context: Context) -> None:
    """Right after a start, wait up to two seconds for the first listing: of sessions, and of the workshops."""
    for _ in range(round(_LISTING_SECONDS / _POLL_SECONDS)):
        if context.site.listed or context.site.pool_for().engine_down:
            return
        await asyncio.sleep(_POLL_SECONDS)


async def is_undecided(context: Context, visitor: Visitor) -> bool:
    """Whether it is unknown which sessions the visitor has: they bring some, and no listing came in two seconds."""
    if context.site.listed or not visitor.brings_sessions:
        return False
    await first_listing(context)
    return not context.site.listed


# --- a new notebook


async def open_ticket(
    context: Context, visitor: Visitor, target: str, once: str = "", *, instead_of: Container | None = None
) -> Ticket:
    """Open a ticket for `target`. Raises as `Claims.open_ticket` does.

    `once` is an idempotency key (see `idempotency`). The session `instead_of` ends once there is a ticket, or before
    if the visitor's address may have no further notebook beside it.
    """
    claims, key = context.site.claims_for(target), idempotency.accepted(context, once)
    try:
        ticket = await claims.open_ticket(target, idempotency_key=key, quota_key=visitor.quota_key)
    except AddressFullError:
        if instead_of is None:
            raise
        _end(context, instead_of)
        return await claims.open_ticket(target, idempotency_key=key, quota_key=visitor.quota_key)
    if instead_of is not None:
        _end(context, instead_of)
    return ticket


def _end(context: Context, container: Container) -> None:
    if container.state is State.CLAIMED:
        context.site.end(container, EndReason.ENDED_BY_OWNER, time.monotonic())


def announce(context: Context, visitor: Visitor, ticket: Ticket) -> None:
    """Record that the visitor is about to see a READY ticket, and with it the URL: the session begins.

    Call it before a ticket is shown. No-op for a ticket that is not READY, and for one that was announced before.
    """
    if context.site.claims_with(ticket.id).announce(ticket) and ticket.container is not None:
        begin_session(context, visitor, ticket.container, ticket.target)


def begin_session(context: Context, visitor: Visitor, container: Container, target: str) -> None:
    """Record that a visitor is told the URL of their notebook. Called once per claim."""
    client = visitor.address if context.options.current.audit_client_address else ""
    context.site.session_started(container, workshop=context.catalogue.workshop_of(target), client=client)
