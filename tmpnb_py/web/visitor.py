"""Who sends a request: everything that handlers decide by, read from it once.

What a request says in its headers and cookies is read on first use and kept, and the options are those that were in
force when it came. Which of its sessions run is looked up at each use, since a handler may wait in between. Nothing
here acts, raises or waits; `allocation` does.

All notebooks share one origin, so a script in somebody else's notebook could ask our pages for the sessions of
whoever opens it. Therefore pages speak of sessions only to a navigation of the whole window (`may_be_told`), and
handlers use one only for a request that carries the page's own key, which only such a navigation brings.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from tmpnb_py.claims.tickets import Ticket
from tmpnb_py.core.host_names import hosts_of, name_of, port_of
from tmpnb_py.core.models import State
from tmpnb_py.core.proofs import Purpose, is_same, proof
from tmpnb_py.core.quota_keys import plain_address, quota_key_of
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool
from tmpnb_py.proxy.cors import is_foreign
from tmpnb_py.proxy.header_rules import Network, is_trusted
from tmpnb_py.web import cookies
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.robots import names_a_robot

# aiohttp before 3.14 has no such key, and takes any other.
_VISITOR: Any = getattr(web, "RequestKey", web.AppKey)("visitor", object)


class Asked(Protocol):
    """What a visitor is read from: an aiohttp request, or in a test anything with headers and cookies."""

    @property
    def headers(self) -> CIMultiDict[str] | CIMultiDictProxy[str]:
        """The request's headers, as our own proxy passes them on."""

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies by their names."""


def visitor_of(request: web.Request) -> Visitor:
    """The visitor of a request, made once."""
    found = request.get(_VISITOR)
    if found is None:
        found = request[_VISITOR] = Visitor(request, request.app[CONTEXT])
    assert isinstance(found, Visitor)  # noqa: S101  (for the type checker: the key has two types)
    return found


class Visitor:
    """One request's visitor."""

    def __init__(self, request: Asked, context: Context) -> None:
        # Not the request, which knows its visitor: two that know each other are left to the garbage collector, and a
        # tenth of the first page's time went there.
        self._cookies = request.cookies
        self._headers = request.headers
        self._context = context
        self._options = context.options.current
        self._proven: list[Container] | None = None

    # --- whose page or program asks

    @functools.cached_property
    def is_foreign(self) -> bool:
        """Whether a page of another site makes this request (Fetch's `Origin`, `Sec-Fetch-Site`)."""
        origin = self._headers.get("Origin")
        if origin is not None:
            return not self._is_ours(origin)
        return self._headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")

    @functools.cached_property
    def is_on_our_page(self) -> bool:
        """Whether a browser says that a page of ours makes this request; what names no page is on none."""
        if "Origin" in self._headers:
            return not self.is_foreign
        return self._headers.get("Sec-Fetch-Site") == "same-origin"

    @functools.cached_property
    def is_allowed_origin(self) -> bool:
        """Whether the operator lets pages of this request's origin use the API; notebooks' own never are."""
        origin = self._headers.get("Origin", "")
        authority = origin.partition("://")[2].encode(errors="surrogateescape")
        return (
            bool(origin)
            and self._context.cors.allows(origin)
            and not self._context.hosts.value.session_of((authority,))
        )

    @functools.cached_property
    def is_refused_site(self) -> bool:
        """Whether a page asks that is neither ours nor one of a site that the operator allows."""
        return self.is_foreign and not self.is_allowed_origin

    @functools.cached_property
    def hides_its_page(self) -> bool:
        """Whether a browser names no page that asks, in any of the three ways that there are.

        Over plain HTTP it sends no `Sec-Fetch-Site` (Fetch Metadata: to trustworthy URLs only), and with another
        page's `no-cors` GET no `Origin` either; so `Referer` has to tell. An allowed site's page that can use the
        answer sends `Origin`. Programs do not call themselves Mozilla.
        """
        headers = self._headers
        is_browser = headers.get("User-Agent", "").startswith("Mozilla/")
        if "Origin" in headers or "Sec-Fetch-Site" in headers or not is_browser:
            return False
        return not self._is_ours(headers.get("Referer", ""))

    @functools.cached_property
    def is_tokenless(self) -> bool:
        """Whether a page with a client of the old tmpnb asks: it shows no tokens, and takes any JSON for one."""
        return self._headers.get("Origin", "") in self._context.cors.tokenless

    @functools.cached_property
    def is_robot(self) -> bool:
        """Whether the request says that a robot sends it."""
        return names_a_robot(self._headers.get("User-Agent", ""))

    def _is_ours(self, url: str) -> bool:
        """Whether a URL, or an origin, is of the host that this request asks."""
        origin, host = _origin_of(url).encode(errors="surrogateescape"), self._headers.get("Host", "")
        return bool(origin) and not is_foreign(origin, host.encode(errors="surrogateescape"), secure=self.is_secure)

    # --- under which host it asks

    @functools.cached_property
    def session_name(self) -> str:
        """The notebook under whose own host it asks; "" under the main host."""
        return self._context.hosts.value.session_of(self.hosts)

    @functools.cached_property
    def hosts(self) -> tuple[bytes, ...]:
        """Every host that the request says it was sent to (`core.host_names`), as our own proxy passes them on."""
        host, forwarded = (
            [value.encode(errors="surrogateescape") for value in self._headers.getall(name, ())]
            for name in ("Host", "X-Forwarded-Host")
        )
        return hosts_of(host, forwarded)

    @functools.cached_property
    def authority(self) -> str:
        """Host and port that the visitor asked for, as our own proxy or a trusted one before it says."""
        named = self._headers.get("X-Forwarded-Host", "").partition(",")[0].strip()
        return named or self._headers.get("Host", "")

    @property
    def navigates(self) -> bool:
        """Whether a browser asks for a page to show. Those that do not say so accept HTML."""
        mode = self._headers.get("Sec-Fetch-Mode")
        return mode == "navigate" if mode is not None else "text/html" in self._headers.get("Accept", "")

    def has_host(self, container: Container) -> bool:
        """Whether a notebook has a host of its own."""
        return self._context.hosts.value.sessions is not None and bool(container.session_name)

    def origin_of(self, container: Container) -> str:
        """Scheme and authority of a notebook's own host, for this visitor of the main one; "" where it has none."""
        sessions = self._context.hosts.value.sessions
        if sessions is None or not container.session_name:
            return ""
        return self.at(sessions.authority(container.session_name, self.authority))

    @functools.cached_property
    def main_origin(self) -> str:
        """Scheme and authority of the main host, for a visitor of a notebook's own; "" where it is not known."""
        return self.at(self.main_authority) if self.main_authority else ""

    def at(self, authority: str) -> str:
        """The origin of a host of ours, for this visitor."""
        return f"{'https' if self.is_secure else 'http'}://{authority}"

    @functools.cached_property
    def main_authority(self) -> str:
        """The authority of the main host, for a visitor of a notebook's own; "" where it is not known."""
        hosts = self._context.hosts.value
        home = cookies.home(self._jar)
        if not home or not hosts.is_main(home.encode(errors="surrogateescape")):
            home = next((one for one in hosts.allowed if "*" not in one), "")
            port = port_of(self.authority) if hosts.sessions is not None and not hosts.sessions.port else ""
            home += f":{port}" if home and port else ""
        return home

    def let_in(self, response: web.StreamResponse, container: Container, main: str) -> None:
        """Give the browser the cookie for the notebook's own host. `main` is the authority of the main one.

        It ends with the session, for however long that may be extended; until then pages that are open need it.
        """
        lasting = max(int(self._context.limits_of(container).maximum), cookies.MONTH)
        cookies.set_entry(response, self._jar, container, main, max_age=lasting)

    @functools.cached_property
    def _jar(self) -> cookies.Jar:
        hosts = self._context.hosts.value
        sessions, mains = hosts.sessions, (name_of(self.authority), *hosts.allowed)
        return cookies.Jar(
            self._cookies,
            self._headers.get("Cookie", ""),
            base=self._context.links.base,
            secure=self.is_secure,
            host_only=self.is_secure and sessions is not None,
            alone=sessions is None or not any(map(sessions.shared_with, mains)),
        )

    # --- what it shows

    @functools.cached_property
    def token(self) -> str:
        """The token of its `Authorization` header; "" for none."""
        return presented_token(self._headers)

    @functools.cached_property
    def shows_api_token(self) -> bool:
        """Whether an API token is set and the request has it."""
        expected = self._context.api_token
        return bool(expected) and is_same(self.token, expected)

    def shows_token_of(self, container: Container) -> bool:
        """Whether the request has this session's own token."""
        return self.is_token_of(container, self.token)

    def is_token_of(self, container: Container, shown: str) -> bool:
        """Whether this is the session's own token."""
        return bool(container.token) and is_same(shown, container.token)

    @functools.cached_property
    def address(self) -> str:
        """The client's address, as far as our proxy and those that the operator trusts can tell."""
        address = client_address(self._headers.getall("X-Forwarded-For", ()), self._options.trusted_proxies)
        return address.encode(errors="backslashreplace").decode()  # a trusted proxy may pass any bytes on

    @functools.cached_property
    def quota_key(self) -> str:
        """Whom a notebook counts for: "" where their number is not limited, or a program shows the API's token.

        The address itself is not kept, only what a secret of this process makes of it.
        """
        if not self._options.max_notebooks_per_address or self.shows_api_token:
            return ""
        return proof(self._context.secret, Purpose.ADDRESS, quota_key_of(self.address))

    @functools.cached_property
    def is_secure(self) -> bool:
        """Whether the visitor came over TLS; our proxy lets only a trusted one say so."""
        return is_secure(self._headers)

    # --- sessions that run

    @functools.cached_property
    def may_be_told(self) -> bool:
        """Whether this is a page for the whole window, which no script of whatever notebook can read.

        Browsers say so to what is potentially trustworthy only (W3C Fetch Metadata, "append the Fetch metadata
        headers"): over TLS, and to the same machine. Over plain HTTP to another one everybody is told, as the README
        says.
        """
        return self._headers.get("Sec-Fetch-Dest", "document") == "document"

    @functools.cached_property
    def _named_sessions(self) -> list[tuple[str, str]]:
        return cookies.named_sessions(self._jar) if self._options.remember_sessions else []

    @property
    def brings_sessions(self) -> bool:
        """Whether the request names any session, be it theirs or not, running or not."""
        return bool(self._named_sessions)

    @property
    def sessions(self) -> list[Container]:
        """The visitor's running sessions, the newest first."""
        if not self._named_sessions:
            return []
        site = self._context.site
        if self._proven is None or not site.listed:
            found = [(site.session(session_id), proof) for session_id, proof in self._named_sessions]
            self._proven = [one for one, proof in found if one is not None and cookies.is_proof_of(one, proof)]
        return [one for one in self._proven if one.state is State.CLAIMED]

    def usable_session(self, pool: Pool | None = None) -> Container | None:
        """The session of a pool (None: of any) in which another document can be opened: one of its image of today."""
        if not self._named_sessions:
            return None
        pools = tuple(self._context.site.pools.values()) if pool is None else (pool,)
        return next((one for one in self.sessions if any(is_of_today(one, pool) for pool in pools)), None)

    def offered_session(self, pool: Pool | None = None) -> Container | None:
        """`usable_session`, for a page that may speak of it."""
        return self.usable_session(pool) if self.may_be_told else None

    def page_key(self, pool: Pool | None = None) -> str:
        """What a page carries that may use the visitor's session; "" where it may not, or there is none."""
        container = self.offered_session(pool)
        return "" if container is None else cookies.page_key(container)

    def session_with_key(self, key: str, pool: Pool | None = None) -> Container | None:
        """`usable_session`, for a request that a page makes which carries that session's key."""
        container = self.usable_session(pool)
        return container if container is not None and cookies.is_page_key_of(container, key) else None

    @property
    def keeps_sessions(self) -> bool:
        """Whether the answer may hold the key to a session: for a page of ours, where sessions are remembered."""
        return self._options.remember_sessions and not self.is_foreign

    def remember(self, response: web.StreamResponse, container: Container) -> None:
        """Put a session first in the visitor's cookie, if the operator wants one."""
        context = self._context
        if self._options.remember_sessions:
            kept = [container, *(one for one in self.sessions if one is not container)]
            cookies.set_sessions(
                response,
                self._jar,
                kept,
                path=context.links.base,
                max_age=max(self._longest(one) for one in kept),
            )

    def _longest(self, container: Container) -> int:
        """Seconds for which a session may be remembered."""
        return int(self._context.limits_of(container).maximum) or cookies.DAY

    # --- places in line

    @functools.cached_property
    def ticket_ids(self) -> list[str]:
        """The tickets that this browser drew, the newest first; whether they are still kept, `Claims` knows."""
        return cookies.held_tickets(self._jar)

    def holds(self, ticket_id: str) -> bool:
        """Whether this browser drew the ticket of the waiting page that it asks for."""
        return cookies.holds_place(self._jar, ticket_id)

    def hold(self, response: web.StreamResponse, ticket: Ticket) -> None:
        """Let this browser come back to its place in line."""
        links = self._context.links
        cookies.set_tickets(
            response,
            self._jar,
            [ticket.id, *(one for one in self.ticket_ids if one != ticket.id)],
            path=links.base,
            waiting_path=links.waiting(ticket.id),
        )


def is_of_today(container: Container, pool: Pool) -> bool:
    """Whether a container is as the pool, whose it is, would start one now."""
    return container.config_digest == pool.current_digest and pool.get(container.id) is container


def presented_token(headers: Mapping[str, str]) -> str:
    """The token of an `Authorization: token …` (tmpnb's and Jupyter's form) or `Bearer …` header; "" for none."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("token", "bearer") else ""


def is_secure(headers: Mapping[str, str]) -> bool:
    """Whether a request came over TLS, by what our proxy or a trusted one before it says."""
    return headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower() == "https"


def client_address(forwarded: Iterable[str], trusted: Iterable[Network]) -> str:
    """The last address that no proxy of ours has: what stands before it, anybody can have written.

    `forwarded` are the values of `X-Forwarded-For` as our own proxy passes them on, its peer's address last.
    """
    networks = tuple(trusted)
    hops = [plain_address(hop.strip()) for value in forwarded for hop in value.split(",")]
    strangers = [hop for hop in hops if hop and not is_trusted(hop, networks)]
    return (strangers or hops or [""])[-1]


def _origin_of(url: str) -> str:
    """Scheme and authority of a URL; "" for what has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.scheme and parts.netloc else ""
