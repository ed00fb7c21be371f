"""Who may use the public listener: by which host name, with the operator's API token, and from other sites (CORS).

Sources: tmpnb's README (with API_AUTH_TOKEN only `/api/*` is there, and each request shows the token) and the Fetch
standard's CORS protocol. Notebooks below `/user/` have tokens of their own; for those this module only answers
preflights, and lets other sites read why one does not answer. Their static files below `/static/` are public.
"""

from __future__ import annotations

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.core.host_names import name_of
from tmpnb_py.core.links import API, BUILD, ENTER, SESSIONS, STATIC
from tmpnb_py.proxy.cors import NOTEBOOK_METHODS
from tmpnb_py.web import respond
from tmpnb_py.web.api.endpoints import DESCRIPTION_PATH
from tmpnb_py.web.api.schema import Problem
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.visitor import visitor_of

_log = structlog.get_logger(__name__)

_SHARED = (API, SESSIONS, BUILD)
_WITHOUT_TOKEN = (SESSIONS, STATIC, ENTER)  # notebooks have tokens of their own, and ways to their hosts codes
# Nothing secret, and scrapers and probes carry no token.
_OPEN = frozenset((DESCRIPTION_PATH, "/metrics", "/healthz", "/readyz"))
# Probes and scrapers know a service by whatever name it has in their network. (The asterisk is `OPTIONS *`.)
_UNDER_ANY_NAME = frozenset(("/metrics", "/healthz", "/readyz", "*"))
_LOGGED_NAMES = 20  # clients may invent any number of them
_DEFAULT_HEADERS = "Authorization, Content-Type, Last-Event-ID"


@web.middleware
async def known_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """421 for a request to a host name that is not ours (DNS rebinding). The answer says how to allow the name."""
    if request.path in _UNDER_ANY_NAME:
        return await handler(request)
    hosts, named = request.app[CONTEXT].hosts.value, visitor_of(request).hosts
    for host in named:
        if not hosts.knows(host):
            name = name_of(host.decode("latin-1"))
            _log_refused(request, name)
            return respond.unknown_host(request, name)
    if not hosts.answer_to(named):
        return respond.problem(request, 400, "error", "The request names the hosts of two notebooks.")
    return await handler(request)


def _log_refused(request: web.Request, name: str) -> None:
    """Log each refused name once, with the option that would allow it."""
    context = request.app[CONTEXT]
    if name in context.refused_names or len(context.refused_names) >= _LOGGED_NAMES:
        return
    context.refused_names.add(name)
    allowed = ",".join((*context.hosts.value.allowed, name))
    hint = f"if this name is yours, allow it: --allowed-hosts {allowed}, or TMPNB_ALLOWED_HOSTS={allowed}"
    _log.warning("host_refused", host=name, hint=hint)


@web.middleware
async def api_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Demand the API token, where one is set, of every request that is not for a notebook.

    A session's own token is enough to ask about that session and to end it.
    """
    context = request.app[CONTEXT]
    if not context.api_token or request.path in _OPEN or request.path.startswith(_WITHOUT_TOKEN):
        return await handler(request)
    if visitor_of(request).shows_api_token or _shows_session_token(request):
        return await handler(request)
    model = Problem(status="unauthorized", message="Send the API's token: Authorization: token ….")
    return respond.json(model, status=401, headers={"WWW-Authenticate": "token"})


def _shows_session_token(request: web.Request) -> bool:
    if not request.path.startswith("/api/sessions/"):
        return False
    container = request.app[CONTEXT].site.find(request.match_info.get("id", ""))
    return container is not None and visitor_of(request).shows_token_of(container)


@web.middleware
async def options(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer `OPTIONS` for our own paths (RFC 9110 §9.3.7); browsers and load balancers send it without a token."""
    if request.method == "OPTIONS":
        error = request.match_info.http_exception
        if request.path == "*":
            return _allowed(set(NOTEBOOK_METHODS.split(", ")))
        if isinstance(error, web.HTTPMethodNotAllowed):
            return _allowed(error.allowed_methods)
    return await handler(request)


def _allowed(methods: set[str]) -> web.Response:
    return web.Response(status=204, headers={"Allow": ", ".join(sorted(methods | {"OPTIONS"}))})


async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add CORS headers; a listener of `on_response_prepare`, so that streams and errors get them as well.

    The proxy does the same for what notebooks answer themselves.
    """
    cors, origin = request.app[CONTEXT].cors, request.headers.get("Origin", "")
    if not request.path.startswith(_SHARED):
        return
    for name, value in cors.answer_headers(origin):
        response.headers.add(name, value)
    if request.method == "OPTIONS" and cors.allows(origin):
        is_api = not request.path.startswith(SESSIONS)
        methods = response.headers.get("Allow", "GET") if is_api else NOTEBOOK_METHODS
        # Clients send all kinds of headers to notebooks (X-XSRFToken for one), and none of them grants access.
        headers = _DEFAULT_HEADERS if is_api else request.headers.get("Access-Control-Request-Headers", "")
        response.headers.update(cors.preflight_headers(methods, headers or _DEFAULT_HEADERS))


def is_preflight(request: web.Request) -> bool:
    """Whether this is a CORS preflight from a page of an allowed origin."""
    asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    return asks and visitor_of(request).is_allowed_origin
