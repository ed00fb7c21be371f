"""The cookies that visitors come back with, as text: which sessions are theirs, and which places in line.

`tmpnb-sessions` holds ids, each with a proof made from the session's token: knowing a notebook's URL is not enough to
forge one, and nothing has to be remembered here over a restart. The proxy never passes it on to a container.

`tmpnb-line` holds the ids of tickets, which are secrets by themselves. `tmpnb-place` holds one, for its waiting page
only: people copy and send that page's address, and its recipient must not be led to the sender's notebook.

Where notebooks have hosts of their own, one below the same domain can make cookies for the main host, too (RFC 6265
§8.6). Over TLS all names begin with `__Host-` there, which browsers take from the host itself only; and a cookie that
comes twice counts as none. (That prefix allows no path. So the names say which service on that host they are of, and
the line tells whose waiting page it is.)

The names thus depend on an option that can be reloaded, and notebooks go on meanwhile. Once they have hosts of their
own, cookies without `__Host-` are read as well where no notebook can make them. Not the other way round: a page on
the same host can make a cookie of any name that we have not set there, and lead its visitor to another's notebook.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiohttp import web

from tmpnb_py.core.links import ROOT
from tmpnb_py.core.proofs import Purpose, is_proof, proof
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy import origins
from tmpnb_py.proxy.header_rules import HOST_ONLY, cookie_values

SESSIONS = "tmpnb-sessions"
ENTRY = origins.entry_cookie(secure=False).decode()
DAY = 86400
MONTH = 30 * DAY  # Jupyter's own cookies last as long

_PLACE = "tmpnb-place"
_LINE = "tmpnb-line"
_HOME = "tmpnb-home"
_OF_NOTEBOOKS = (ENTRY, _HOME)  # on hosts of their own, which they share with nobody
_MOST = 4
_TICKET = re.compile(r"[0-9a-f]{32}")
_ENTRY = re.compile(r"([a-z0-9]{1,64})-([0-9a-f]{32})")


class Jar:
    """A browser's cookies of ours: what a request brings, and how an answer sets them."""

    def __init__(
        self, cookies: Mapping[str, str], line: str, *, base: str = ROOT, secure: bool, host_only: bool, alone: bool
    ) -> None:
        """`line` is the request's `Cookie` header, as it came, `base` the path of the first page.

        `host_only`: the names say so. `alone`: no notebook's host is below the same domain.
        """
        self._cookies = cookies
        self._line = line.encode(errors="surrogateescape")
        self._base = base
        self._secure = secure
        self._host_only = host_only
        self._alone = alone

    def get(self, name: str) -> str:
        """A cookie's value; "" for none, and for one that comes twice: anybody may have made one of them."""
        return self._value(self._named(name, host_only=self._host_only))

    def values(self, name: str) -> list[str]:
        """The same under each name that it may have been given, before a reload, too; the present one first."""
        readable = [True, False] if self._host_only and self._alone else [self._host_only]
        return [value for host_only in readable if (value := self._value(self._named(name, host_only=host_only)))]

    def _value(self, name: str) -> str:
        value = self._cookies.get(name, "")
        return value if value and len(cookie_values([self._line], name.encode())) < 2 else ""

    def set(self, response: web.StreamResponse, name: str, value: str, *, path: str, max_age: int) -> None:
        """Have the browser keep a cookie for `max_age` seconds."""
        path = "/" if self._host_only else path
        response.set_cookie(
            self._named(name, host_only=self._host_only),
            value,
            path=path,
            max_age=max_age,
            secure=self._secure,
            httponly=True,
            samesite="Lax",
        )

    def _named(self, name: str, *, host_only: bool) -> str:
        if not host_only:
            return name
        service = "" if name in _OF_NOTEBOOKS else self._base[:-1].replace("/", "~")
        return f"{HOST_ONLY.decode()}{name}{service}"

    @property
    def has_paths(self) -> bool:
        """Whether a cookie can be for one page only."""
        return not self._host_only


def named_sessions(jar: Jar) -> list[tuple[str, str]]:
    """The id and the proof of each session that the cookie names, the newest first; malformed entries are skipped."""
    entries = [entry for value in jar.values(SESSIONS) for entry in value.split(".")[:_MOST]]
    named = [(match[1], match[2]) for entry in entries if (match := _ENTRY.fullmatch(entry)) is not None]
    return list(dict.fromkeys(named))


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


def held_tickets(jar: Jar) -> list[str]:
    """The ids of the tickets that this browser drew, the newest first."""
    named = [one for value in jar.values(_LINE) for one in value.split(".")[:_MOST] if _TICKET.fullmatch(one)]
    return list(dict.fromkeys(named))


def holds_place(jar: Jar, ticket_id: str) -> bool:
    """Whether the browser that asks for a waiting page is the one that drew the ticket."""
    return jar.get(_PLACE) == ticket_id if jar.has_paths else ticket_id in held_tickets(jar)


def set_sessions(
    response: web.StreamResponse, jar: Jar, containers: Sequence[Container], *, path: str, max_age: int
) -> None:
    """Name these sessions, the newest first, in the browser's cookie; as many as it holds."""
    jar.set(response, SESSIONS, ".".join(map(entry, containers[:_MOST])), path=path, max_age=max_age)


def set_tickets(
    response: web.StreamResponse, jar: Jar, ticket_ids: Sequence[str], *, path: str, waiting_path: str
) -> None:
    """Name these tickets, the newest first, and let the browser open the waiting page of the first."""
    if jar.has_paths:
        jar.set(response, _PLACE, ticket_ids[0], path=waiting_path, max_age=DAY)
    jar.set(response, _LINE, ".".join(ticket_ids[:_MOST]), path=path, max_age=DAY)


def set_entry(response: web.StreamResponse, jar: Jar, container: Container, home: str, *, max_age: int) -> None:
    """Let the browser in under the notebook's own host, and remember the authority of the main one."""
    jar.set(response, ENTRY, origins.entry(container), path="/", max_age=max_age)
    jar.set(response, _HOME, home, path="/", max_age=max_age)


def home(jar: Jar) -> str:
    """The authority of the main host, under a notebook's own; "" where it is not known."""
    return jar.get(_HOME)
