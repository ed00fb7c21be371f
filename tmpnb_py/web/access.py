"""Who may use the public listener: by which host name, with the operator's API token, and from other sites (CORS).

Sources: tmpnb's README (with API_AUTH_TOKEN only `/api/*` is there, and each request shows the token) and the Fetch
standard's CORS protocol. Notebooks below `/user/` have tokens of their own; of those this module only answers
preflights, and lets other sites read why one does not answer. Their static files below `/static/` are public.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.core.host_names import hosts_of, name_of
from tmpnb_py.proxy.cors import NOTEBOOK_METHODS
from tmpnb_py.web import respond
from tmpnb_py.web.api import openapi
from tmpnb_py.web.api.schema import Problem
from tmpnb_py.web.context import CONTEXT, presented_token, same_token

_log = structlog.get_logger(__name__)

_API = "/api/"
_NOTEBOOKS = "/user/"
_BUILD = "/build/"
_SHARED = (_API, _NOTEBOOKS, _BUILD)
_WITHOUT_TOKEN = (_NOTEBOOKS, "/static/")  # notebooks have tokens of their own
# Nothing secret, and scrapers and probes carry no token.
_OPEN = frozenset((openapi.PATH, "/metrics", "/healthz", "/readyz"))
# Probes and scrapers know a service by whatever name it has in their network. (The asterisk is `OPTIONS *`.)
_UNDER_ANY_NAME = frozenset(("/metrics", "/healthz", "/readyz", "*"))
_LOGGED_NAMES = 20  # strangers may make up any number of them
_DEFAULT_HEADERS = "Authorization, Content-Type, Last-Event-ID"


@web.middleware
async def known_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what was sent to a name that is none of ours (DNS rebinding): 421, which says how to allow the name."""
    if request.path in _UNDER_ANY_NAME:
        return await handler(request)
    for host in hosts_of(_raw(request, "Host"), _raw(request, "X-Forwarded-Host")):
        if not request.app[CONTEXT].hosts.value.knows(host):
            name = name_of(host.decode("latin-1"))
            _log_refused(request, name)
            return respond.unknown_host(request, name)
    return await handler(request)


def _raw(request: web.Request, name: str) -> list[bytes]:
    return [value.encode(errors="surrogateescape") for value in request.headers.getall(name, ())]


def _log_refused(request: web.Request, name: str) -> None:
    """Tell the operator once of each name, with the line that would allow it."""
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

    Whoever shows a session's own token may ask about that session and end it.
    """
    context = request.app[CONTEXT]
    if not context.api_token or request.path in _OPEN or request.path.startswith(_WITHOUT_TOKEN):
        return await handler(request)
    if shows_api_token(request) or _shows_session_token(request):
        return await handler(request)
    model = Problem(status="unauthorized", message="Send the API's token: Authorization: token ….")
    return respond.json(model, status=401, headers={"WWW-Authenticate": "token"})


def shows_api_token(request: web.Request) -> bool:
    """Whether an API token is set and this request has it."""
    expected = request.app[CONTEXT].api_token
    return bool(expected) and same_token(presented_token(request), expected)


def _shows_session_token(request: web.Request) -> bool:
    if not request.path.startswith("/api/sessions/"):
        return False
    container = request.app[CONTEXT].site.find(request.match_info.get("id", ""))
    return container is not None and bool(container.token) and same_token(presented_token(request), container.token)


def is_foreign(request: web.Request) -> bool:
    """Whether a page of another site makes this request (Fetch's `Origin`, `Sec-Fetch-Site`)."""
    origin = request.headers.get("Origin")
    if origin is not None:
        return not _is_ours(request, origin)
    return request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")


def refuse_foreign(request: web.Request) -> None:
    """Raise `HTTPForbidden` for another site's page, unless the operator allows that site."""
    if is_foreign(request) and not is_allowed_origin(request):
        raise web.HTTPForbidden(text="Requests from another site's pages are not accepted.")


def refuse_silent_browser(request: web.Request) -> None:
    """Raise `HTTPForbidden` for a GET that allocates, where a browser names neither our page nor an allowed one.

    Over plain HTTP it sends no `Sec-Fetch-Site` (Fetch Metadata: to trustworthy URLs only), and with another page's
    `no-cors` GET no `Origin` either; so `Referer` has to tell. Programs do not call themselves Mozilla.
    """
    headers, referer = request.headers, request.headers.get("Referer", "")
    if "Origin" in headers or "Sec-Fetch-Site" in headers or not headers.get("User-Agent", "").startswith("Mozilla/"):
        return
    if not _is_ours(request, referer) and not request.app[CONTEXT].cors.allows(_origin_of(referer)):
        raise web.HTTPForbidden(text="A browser must say whose page asks (Referer).")


def _is_ours(request: web.Request, url: str) -> bool:
    """Whether a URL, or an origin, is of the host that this request asks."""
    host = _origin_of(url).partition("://")[2]
    return bool(host) and host == request.headers.get("Host", "").lower()


def _origin_of(url: str) -> str:
    """Scheme and authority of a URL; "" for what has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.scheme and parts.netloc else ""


def is_allowed_origin(request: web.Request) -> bool:
    """Whether the operator lets pages of this request's origin use the API."""
    return request.app[CONTEXT].cors.allows(request.headers.get("Origin", ""))


@web.middleware
async def options(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer `OPTIONS` on our own pages (RFC 9110 §9.3.7): browsers and load balancers send it without any token."""
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
    """A listener of `on_response_prepare`: streams have their headers, too, and errors.

    What notebooks answer themselves passes the proxy, which does the same there.
    """
    cors, origin = request.app[CONTEXT].cors, request.headers.get("Origin", "")
    if not request.path.startswith(_SHARED):
        return
    for name, value in cors.answer_headers(origin):
        response.headers.add(name, value)
    if request.method == "OPTIONS" and cors.allows(origin):
        is_api = not request.path.startswith(_NOTEBOOKS)
        methods = response.headers.get("Allow", "GET") if is_api else NOTEBOOK_METHODS
        # Clients send all kinds of headers to notebooks (X-XSRFToken among them), and none of them gets anybody in.
        headers = _DEFAULT_HEADERS if is_api else request.headers.get("Access-Control-Request-Headers", "")
        response.headers.update(cors.preflight_headers(methods, headers or _DEFAULT_HEADERS))


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks on behalf of an allowed page what that page may do."""
    asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    return asks and is_allowed_origin(request)


def is_tokenless(request: web.Request) -> bool:
    """Whether a page with a client of the old tmpnb asks: it shows no tokens, and takes any JSON for a notebook's."""
    return request.headers.get("Origin", "") in request.app[CONTEXT].cors.tokenless
