"""The cookies that visitors come back with, as text: which sessions are theirs, and which places in line.

`tmpnb-sessions` holds ids, each with a proof made from the session's token: knowing a notebook's URL is not enough to
forge one, and nothing has to be remembered here over a restart. The proxy never passes it on to a container.

`tmpnb-line` holds the ids of tickets, which are secrets by themselves. `tmpnb-place` holds one, for its waiting page
only: people copy and send that page's address, and its recipient must not be led to the sender's notebook.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from tmpnb_py.core.proofs import Purpose, is_proof, proof
from tmpnb_py.pools.container import Container

SESSIONS = "tmpnb-sessions"
DAY = 86400

_PLACE = "tmpnb-place"
_LINE = "tmpnb-line"
_MOST = 4
_TICKET = re.compile(r"[0-9a-f]{32}")
_ENTRY = re.compile(r"([a-z0-9]{1,64})-([0-9a-f]{32})")


def named_sessions(cookies: Mapping[str, str]) -> list[tuple[str, str]]:
    """The id and the proof of each session that the cookie names, the newest first; malformed entries are skipped."""
    entries = cookies.get(SESSIONS, "").split(".")[:_MOST]
    return [(match[1], match[2]) for entry in entries if (match := _ENTRY.fullmatch(entry)) is not None]


def entry(container: Container) -> str:
    """A session as the cookie names it: its id and the proof."""
    return f"{container.id}-{proof(container.token, Purpose.COOKIE, container.id)}"


def is_proof_of(container: Container, shown: str) -> bool:
    """Whether a proof from the cookie is this session's."""
    return is_proof(shown, container.token, Purpose.COOKIE, container.id)


def page_key(container: Container) -> str:
    """What our own pages carry that may use this session, if it is their visitor's."""
    return proof(container.token, Purpose.PAGE, container.id)


def is_page_key_of(container: Container, key: str) -> bool:
    """Whether a request carries this session's page key. It may be any text."""
    return is_proof(key, container.token, Purpose.PAGE, container.id)


def held_tickets(cookies: Mapping[str, str]) -> list[str]:
    """The ids of the tickets that this browser drew, the newest first."""
    return [one for one in cookies.get(_LINE, "").split(".")[:_MOST] if _TICKET.fullmatch(one)]


def holds_place(cookies: Mapping[str, str], ticket_id: str) -> bool:
    """Whether the browser that asks for a waiting page is the one that drew the ticket."""
    return cookies.get(_PLACE) == ticket_id


def set_sessions(
    response: web.StreamResponse, containers: Sequence[Container], *, path: str, max_age: int, secure: bool
) -> None:
    """Name these sessions, the newest first, in the browser's cookie; as many as it holds."""
    value = ".".join(map(entry, containers[:_MOST]))
    _set(response, SESSIONS, value, path=path, max_age=max_age, secure=secure)


def set_tickets(
    response: web.StreamResponse, ticket_ids: Sequence[str], *, path: str, waiting_path: str, secure: bool
) -> None:
    """Name these tickets, the newest first, and let the browser open the waiting page of the first."""
    _set(response, _PLACE, ticket_ids[0], path=waiting_path, max_age=DAY, secure=secure)
    _set(response, _LINE, ".".join(ticket_ids[:_MOST]), path=path, max_age=DAY, secure=secure)


def _set(response: web.StreamResponse, name: str, value: str, **more: Any) -> None:
    response.set_cookie(name, value, httponly=True, samesite="Lax", **more)
