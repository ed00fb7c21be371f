"""Who may use the public listener's API: the operator's API token, and pages of other sites (CORS).

Sources: tmpnb's README (with API_AUTH_TOKEN only `/api/*` is there, and each request shows the token) and the Fetch
standard's CORS protocol. Notebooks below `/user/` are no business of this module: they have tokens of their own.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.web import openapi, respond
from tmpnb_py.web.context import CONTEXT, presented_token, same_token
from tmpnb_py.web.schema import Problem

_API = "/api/"
# Nothing secret, and scrapers and probes carry no token.
_OPEN = frozenset((openapi.PATH, "/metrics", "/healthz", "/readyz"))
_DEFAULT_HEADERS = "Authorization, Content-Type"


@web.middleware
async def api_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Demand the API token, where one is set, of every request that is not for a notebook.

    Whoever shows a session's own token may ask about that session and end it.
    """
    context = request.app[CONTEXT]
    if not context.api_token or request.path in _OPEN or request.path.startswith("/user/"):
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
    container = request.app[CONTEXT].pool.get(request.match_info.get("id", ""))
    return container is not None and bool(container.token) and same_token(presented_token(request), container.token)


def is_allowed_origin(request: web.Request) -> bool:
    """Whether the operator lets pages of this request's origin use the API."""
    return request.app[CONTEXT].cors.allows(request.headers.get("Origin", ""))


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer `OPTIONS` on the API, which browsers send without any token."""
    error = request.match_info.http_exception
    if request.method == "OPTIONS" and request.path.startswith(_API) and isinstance(error, web.HTTPMethodNotAllowed):
        return web.Response(status=204, headers={"Allow": ", ".join(sorted(error.allowed_methods | {"OPTIONS"}))})
    return await handler(request)


async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """A listener of `on_response_prepare`: streams have their headers, too, and errors."""
    cors = request.app[CONTEXT].cors
    if not cors.origins or not request.path.startswith(_API):
        return
    origin, headers = request.headers.get("Origin", ""), response.headers
    everybody = "*" in cors.origins
    if not everybody:
        headers.add("Vary", "Origin")
        if origin not in cors.origins:
            return
    headers["Access-Control-Allow-Origin"] = "*" if everybody else origin
    if cors.credentials and not everybody:
        headers["Access-Control-Allow-Credentials"] = "true"
    if cors.expose:
        headers["Access-Control-Expose-Headers"] = cors.expose
    if request.method == "OPTIONS":
        headers["Access-Control-Allow-Methods"] = cors.methods or headers.get("Allow", "GET")
        headers["Access-Control-Allow-Headers"] = cors.headers or _DEFAULT_HEADERS
        if cors.max_age is not None:
            headers["Access-Control-Max-Age"] = str(cors.max_age)
