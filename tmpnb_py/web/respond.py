"""Making answers: JSON for programs, pages for people, one look for all of them, errors included."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping

import jinja2
import pydantic
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.errors import ClosedError, EngineError, FullError
from tmpnb_py.proxy.server import Page
from tmpnb_py.web.schema import Problem

_log = structlog.get_logger(__name__)

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("tmpnb_py"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)
_style = _templates.get_template("style.css").render()
_style_hash = base64.b64encode(hashlib.sha256(_style.encode()).digest()).decode()

PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_style_hash}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_API_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_CLOSED_RETRY = 60  # seconds after which to look again whether newcomers are let in

_WORDS = {
    400: ("This request can't be understood", "Please go back and try again."),
    403: ("This was refused", "Please begin on this service's own page."),
    404: ("There is no such page", "The link may be old or mistyped."),
    405: ("That can't be done here", "The page exists, but not for this kind of request."),
    408: ("The request took too long", "Please try again."),
    413: ("Too large", "The request is larger than what is accepted here."),
    429: (
        "All notebooks are in use",
        "A place becomes free when somebody leaves. Please try again in a moment.",
    ),
    431: ("The request is too large", "Please delete this site's cookies and try again."),
    500: ("Something went wrong here", "It has been noted. Please try again."),
    502: ("The notebook does not answer", "It may just have ended. Please try again, or start a fresh one."),
    503: ("Not ready yet", "The service is starting or waits for its engine. Please try again in a moment."),
    504: ("The notebook took too long", "It may be busy. Please try again."),
    505: ("This version of HTTP is not spoken here", "Please use HTTP/1.1."),
}


def wants_html(request: web.BaseRequest) -> bool:
    """Whether a person's browser is asking for a page."""
    return "text/html" in request.headers.get("Accept", "")


def template_text(name: str) -> str:
    """A template that takes no values, such as a style sheet or a script."""
    return _templates.get_template(name).render()


def render(template: str, **values: object) -> str:
    """A page's HTML."""
    return _templates.get_template(template).render(style=_style, **values)


def page(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> web.Response:
    """A page of ours, with the headers that every page of ours has."""
    return web.Response(
        text=render(template, **values),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers={**PAGE_HEADERS, **(headers or {})},
    )


def json(model: pydantic.BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An API answer."""
    return web.Response(
        body=model.model_dump_json(exclude_none=isinstance(model, Problem)).encode(),
        status=status,
        content_type="application/json",
        headers={**_API_HEADERS, **(headers or {})},
    )


def problem(
    request: web.BaseRequest,
    status: int,
    kind: str,
    message: str = "",
    *,
    cause: str | None = None,
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An error, as a page or as JSON, whatever the caller reads."""
    title, advice = _WORDS.get(status, ("That did not work", "Please try again."))
    seconds = None if retry_after is None else max(1, math.ceil(retry_after))
    all_headers = {**(headers or {}), **({} if seconds is None else {"Retry-After": str(seconds)})}
    if wants_html(request):
        return page("problem.html", status=status, headers=all_headers, title=title, advice=advice, message=message)
    model = Problem(status=kind, message=message or f"{title}. {advice}", cause=cause, retry_after=seconds)
    return json(model, status=status, headers=all_headers)


def closed(request: web.BaseRequest) -> web.Response:
    """No newcomers: the operator has closed the service."""
    retry = {"Retry-After": str(_CLOSED_RETRY)}
    if wants_html(request):
        return page("closed.html", status=503, headers=retry)
    message = "No newcomers are let in at the moment; sessions go on."
    return json(Problem(status="closed", message=message, retry_after=_CLOSED_RETRY), status=503, headers=retry)


def proxy_error_page(status: int, *, wants_html: bool) -> Page:
    """The body of an error that the proxy answers by itself."""
    title, advice = _WORDS.get(status, ("That did not work", "Please try again."))
    if wants_html:
        return Page(
            b"text/html; charset=utf-8",
            render("problem.html", title=title, advice=advice, message="").encode(),
        )
    body = Problem(status="error", message=f"{title}. {advice}").model_dump_json(exclude_none=True)
    return Page(b"application/json", body.encode())


@web.middleware
async def errors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into an answer of ours; what nobody expected is logged with its trace."""
    try:
        return await handler(request)
    except ClosedError:
        return closed(request)
    except FullError as full:
        return problem(request, 429, "full", full.message, retry_after=full.retry_after)
    except EngineError as error:
        cause = error.failure.value
        return problem(request, 503, "unavailable", "No notebook can be started now.", cause=cause, retry_after=10)
    except web.HTTPException as error:
        if error.status < 400:
            error.headers.setdefault("Referrer-Policy", "same-origin")
            error.headers.setdefault("Cache-Control", "no-store")
            raise
        kept = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        message = error.text if error.text and not error.text.startswith(f"{error.status}:") else ""
        return problem(request, error.status, "error", message, headers=kept)
    except Exception:  # noqa: BLE001  (the boundary of a request: the visitor gets a page, the operator the trace)
        _log.exception("request_failed", method=request.method, route=str(request.match_info.route.resource))
        return problem(request, 500, "error")
