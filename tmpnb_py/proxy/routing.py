"""Where a request goes: to the notebook server whose session its target names, or to our own application."""

from __future__ import annotations

from typing import Protocol

from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.links import Route, Targets
from tmpnb_py.options.live import Derived, LiveOptions
from tmpnb_py.pools.activity import Channel
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy import origins, traces
from tmpnb_py.proxy.cors import Cors, admitted, shows_token, without_cookie
from tmpnb_py.proxy.exchange import ClientSide, Exchange
from tmpnb_py.proxy.header_rules import ClientFacts, get_all
from tmpnb_py.proxy.presence import Watch, readable, request_came
from tmpnb_py.proxy.request import Request
from tmpnb_py.proxy.strictness import METHODS, BadRequestError
from tmpnb_py.proxy.upstreams import Upstreams


class Sessions(Protocol):
    """Who knows the running sessions: a `Site`."""

    def session(self, container_id: str, /) -> Container | None:
        """The claimed container that requests for this id go to, if it can be dialled."""


class Router:
    """Makes an exchange of each request. Called once per request, from the event loop."""

    def __init__(self, sessions: Sessions, upstreams: Upstreams, options: LiveOptions, hosts: Derived[Hosts]) -> None:
        """`hosts` are the names that are answered to."""
        self._session = sessions.session
        self._upstreams = upstreams
        self._cors = options.derive(Cors.of)
        self._hosts = hosts
        self._targets = Targets(options.current.base_url)

    def know(self, container: Container) -> None:
        """Route requests below the base URL of this container's start, too: its visitor's open pages use that."""
        self._targets.know(container.base_url)

    def exchange(self, client: ClientSide, request: Request, facts: ClientFacts) -> Exchange:
        """Route a request. Our own application answers what belongs to no running session.

        It also gets requests to host names that are not ours, and refuses them. Raises `BadRequestError` (501) for a
        method that only a notebook's server may know (RFC 9110 §9.1).
        """
        container, target = None, request.target
        route = self._targets.match(request.target) if self._hosts.value.answer_to(request.fields.hosts) else None
        if route is not None:
            target = route.target
            container = self._session(route.session_id) if route.path is not None else None
            if container is not None and not self._may_reach(request, container, route):
                container, request.answer_headers = None, []  # our own application has them itself
        attempt = watch = trace = None
        is_first = container is not None and not container.visited
        if container is None and request.method not in METHODS:
            raise BadRequestError(501, "a method that is not known here")
        if container is not None and route is not None and route.path is not None:
            if not target.startswith(container.base_path):
                target = route.moved_to(container.base_path)
            attempt = request_came(container, request, route.path, route.query)
            watch = _watch(container, request, route.path) if request.websocket else None
            if container.visit is not None:
                trace = traces.begin(container, request, facts, route.path)
        else:
            target = self._targets.own(target, route)
        upstreams = self._upstreams
        upstream = upstreams.application if container is None else upstreams.of(container)
        head = request.head(target, facts, own=container is None)
        return Exchange(client, request, upstream, head, container, attempt, watch, trace, is_first)

    def _may_reach(self, request: Request, container: Container, route: Route) -> bool:
        """Whether a request goes to the notebook, made fit for it. Our own application answers what does not."""
        hosts, cors = self._hosts.value, self._cors.value
        if cors.origins and not self._lets_in(request, container, route.query):
            return False
        if hosts.sessions is not None:
            if name := hosts.session_of(request.fields.hosts):
                if name != container.session_name or not _has_entered(request, container, route):
                    return False
                request.files_host = hosts.files_host(request.fields.hosts) if request.fields.navigates else b""
                return True
            if container.session_name:
                return _is_for_programs(request, container, route)
        return not _is_strangers(request, container, route)

    def _lets_in(self, request: Request, container: Container, query: bytes) -> bool:
        """Whether a request goes to the notebook, made fit for it where an allowed page of another site sends it.

        Our own application answers preflights, and old clients that ask for what they did not claim.
        """
        origin, cors = request.foreign_origin, self._cors.value
        headers = cors.answer_headers(origin)
        request.answer_headers = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        if not origin or not cors.allows(origin):
            return True
        if request.method == b"OPTIONS" and get_all(request.headers, b"access-control-request-method"):
            return False
        request.admitted = True
        if not container.token or shows_token(request.headers, query, container.token):
            request.headers = admitted(request.headers)
        elif origin not in cors.tokenless:
            request.headers = without_cookie(request.headers)
        elif container.tokenless_origin == origin:
            request.headers = admitted(request.headers, container.token)
        else:
            return False
        return True


def _has_entered(request: Request, container: Container, route: Route) -> bool:
    """Whether a request under the notebook's own host may reach it (see `origins`)."""
    fields = request.fields
    request.answer_headers = [*request.answer_headers, *origins.apart(fields)]
    if request.admitted:
        return not container.token or shows_token(request.headers, route.query, container.token)
    if not origins.is_own(fields):
        return False
    if origins.has_entered(fields, container):
        request.token = b"" if fields.authorizes else container.token.encode()
        return True
    # A program. A browser is given the cookie first, and an address without the token.
    return not fields.navigates and shows_token(fields.headers, route.query, container.token)


def _is_for_programs(request: Request, container: Container, route: Route) -> bool:
    """Whether a request on the main host may reach the notebook, without cookies and not as a page."""
    if request.fields.navigates:
        return False
    request.answer_headers = [*request.answer_headers, *origins.INERT]
    if not request.admitted:
        request.admitted = True
        shows = shows_token(request.headers, route.query, container.token) or not container.token
        fit = admitted if shows and not request.foreign_origin else without_cookie
        request.headers = fit(request.headers)
    return True


def _is_strangers(request: Request, container: Container, route: Route) -> bool:
    """Whether Jupyter has sent a browser without the notebook's cookie to its login page (Tornado's `?next=`).

    Our own application says there whose notebook that is. Everybody else gets the server's own page.
    """
    is_sent = route.path == b"login" and route.query.startswith(b"next=")
    return is_sent and bool(container.token) and request.fields.navigates


def _watch(container: Container, request: Request, path: bytes) -> Watch:
    """The observer of a WebSocket. What it reads must not be compressed."""
    watch = Watch(container, path)
    if watch.channel is not Channel.OTHER:
        request.headers = readable(request.headers)
    return watch
