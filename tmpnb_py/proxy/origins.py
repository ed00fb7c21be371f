"""What a request may do by the web origin that it comes from, where each notebook has a host of its own. Pure.

Under its own host a notebook is reached by the pages of that host alone. A browser that was let in (`web.hosted`) has
a cookie which proves it; the proxy checks that, and shows the notebook's server the token itself. So what another
page does to that server's own cookies (a neighbour may make cookies for the whole domain) changes nothing, and the
token is in no address.

`SameSite` does not tell neighbours apart: all hosts below one domain are one site. So the page that asks has to be of
the very origin: by `Origin`, which browsers send with whatever writes, and by `Sec-Fetch-Site`, which they send over
TLS and to this machine (W3C Fetch Metadata, §2.3). What neither tells is a GET over plain HTTP: nobody can read its
answer, and who does not know the notebook's address cannot send it.

On the main host nothing of a notebook is a page. A navigation is sent on to the notebook's host; all else is for
programs, which show the token: no cookie goes either way, and what the answer is, a browser must not run it there.
"""

from __future__ import annotations

from typing import Protocol

from tmpnb_py.core.proofs import Purpose, is_same, proof
from tmpnb_py.proxy.header_rules import HOST_ONLY, OWN_COOKIE_PREFIX, Headers

_ENTRY = OWN_COOKIE_PREFIX + b"session"
_BY_ITSELF = (b"", b"none", b"same-origin")

# For whatever a program gets of a notebook by the main host.
INERT: Headers = [(b"Content-Security-Policy", b"sandbox"), (b"X-Content-Type-Options", b"nosniff")]
# For whatever a notebook answers under its own host. Neighbours neither frame nor embed it.
_APART: Headers = [
    (b"Content-Security-Policy", b"frame-ancestors 'self'"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
]
# None that has opened it keeps a hold of its window, and it is in a process of its own, though hosts below one domain
# otherwise share one (HTML, "origin-keyed agent clusters"). Browsers do both over TLS only, and complain elsewhere.
_APART_SECURE: Headers = [
    *_APART,
    (b"Cross-Origin-Opener-Policy", b"same-origin-allow-popups"),
    (b"Origin-Agent-Cluster", b"?1"),
]


class Page(Protocol):
    """What a request's headers say of the page that makes it."""

    foreign_origin: str
    site: bytes
    dest: bytes
    navigates: bool
    secure: bool

    @property
    def entered(self) -> list[bytes]: ...


class Session(Protocol):
    """A notebook."""

    id: str
    token: str
    session_name: str


def entry_cookie(*, secure: bool) -> bytes:
    """The name of the cookie that lets a browser in under a notebook's host."""
    return HOST_ONLY + _ENTRY if secure else _ENTRY


def secret_of(session: Session) -> str:
    """What proofs for its host are made with. A server that demands no token is reached by whoever knows its id."""
    return session.token or session.id


def entry(session: Session) -> str:
    """The cookie's value."""
    return proof(secret_of(session), Purpose.HOST, f"{session.session_name} {session.id}")


def has_entered(page: Page, session: Session) -> bool:
    """Whether the browser was let in. Two such cookies are none: one of them was made by somebody else."""
    entered = page.entered
    return len(entered) == 1 and is_same(entered[0].decode("latin-1"), entry(session))


def is_own(page: Page) -> bool:
    """Whether a page of the same origin makes a request, or a person: by hand, or by a link that they follow."""
    if page.foreign_origin:
        return False
    return page.site in _BY_ITSELF or (page.navigates and page.dest == b"document")


def apart(page: Page) -> Headers:
    """The headers of an answer under a notebook's own host."""
    return _APART_SECURE if page.secure else _APART
