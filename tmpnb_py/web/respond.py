"""Makes responses: JSON for programs, pages for people, and errors in the form that the client reads."""

from __future__ import annotations

import base64
import functools
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import pydantic
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from tmpnb_py.core.branding import Branding
from tmpnb_py.core.errors import AddressFullError, BookingError, ClosedError, EngineError, FullError
from tmpnb_py.core.links import Links
from tmpnb_py.proxy.answers import Page
from tmpnb_py.web import assets, idempotency
from tmpnb_py.web.api.schema import Problem
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.language import headers_of, words_asked, words_of
from tmpnb_py.web.messages import OVERFLOW, opens_again, problem_message, sentence, why_closed
from tmpnb_py.web.templates import templates
from tmpnb_py.web.visitor import is_secure, visitor_of
from tmpnb_py.words.tags import AUTO, tags, to_translate
from tmpnb_py.words.words import Words, chosen, words

_log = structlog.get_logger(__name__)

_ENGLISH = words()
_style = templates().get_template("style.css").render()

_PLAIN = Branding()
_AT_ROOT = Links()

HEADERS = {  # of pages, and of the API's answers
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

_OVERFLOW = 431
_CLOSED_RETRY = 60  # seconds after which a client asks again whether newcomers are let in
_LISTING_RETRY = 2  # seconds, and whether the engine has been listed


def wants_html(request: web.BaseRequest) -> bool:
    """Whether a browser asks for a page."""
    return "text/html" in request.headers.get("Accept", "")


@functools.cache
def template_text(name: str) -> str:
    """A template without parameters, such as a style sheet."""
    return templates().get_template(name).render()


def render(
    template: str,
    branding: Branding = _PLAIN,
    links: Links = _AT_ROOT,
    texts: Words = _ENGLISH,
    **values: object,
) -> str:
    """A page's HTML in a language, with the operator's branding."""
    return (
        templates(texts.tag)
        .get_template(template)
        .render(style=_style + branding.style, branding=branding, links=links, **values)
    )


def csp_hash(text: str) -> str:
    """The source expression that allows exactly this inline style or script (CSP 3, "hash-source")."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def form_targets(request: web.BaseRequest) -> str:
    """Where forms may lead (CSP 3, `form-action`): redirects count, and one leads to a notebook's own host."""
    sessions = request.app[CONTEXT].hosts.value.sessions if isinstance(request, web.Request) else None
    return "'self'" if sessions is None else f"'self' *.{sessions.domain}:{sessions.port or '*'}"


@functools.lru_cache(64)
def _policy(style: str, script: str, is_preview: bool, forms: str = "'self'") -> str:
    allowed = [*([csp_hash(script)] if script else []), *(["'self'"] if is_preview else [])]
    scripts = f"script-src {' '.join(allowed)}; connect-src 'self'; " if allowed else ""
    return (
        f"default-src 'none'; style-src {csp_hash(style)}; {scripts}img-src 'self' data:; form-action {forms}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def page(
    request: web.BaseRequest,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    script: str = "",
    **values: object,
) -> web.Response:
    """A page, with the headers that every page has. `script` names the scripts of `frontend/` that it has inline."""
    branding, texts = branding_of(request), words_of(request)
    code = assets.page_script(script, texts) if script else ""
    forms = form_targets(request)
    policy = {"Content-Security-Policy": _policy(_style + branding.style, code, branding.is_preview, forms)}
    return web.Response(
        text=render(
            template,
            branding,
            links_of(request),
            texts,
            script=code,
            mint=_mint(request),
            announcements=announcements_for(request),
            **values,
        ),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers={**page_headers(request), **headers_of(request, texts), **policy, **(headers or {})},
    )


def announcements_for(request: web.BaseRequest) -> tuple[str, ...]:
    """What the operator tells everybody now, for above a page."""
    if not isinstance(request, web.Request):
        return ()
    return tuple(one.text for one in request.app[CONTEXT].site.agenda.messages.all() if not one.pool)


def page_headers(request: web.BaseRequest) -> dict[str, str]:
    """The headers that every page has, without its content security policy."""
    return {**HEADERS, **_alone(request)}


def _mint(request: web.BaseRequest) -> Callable[[], str] | None:
    """Makes the names that a page's forms send along (see `idempotency`)."""
    return functools.partial(idempotency.issue, request.app[CONTEXT]) if isinstance(request, web.Request) else None


def branding_of(request: web.BaseRequest) -> Branding:
    """The operator's branding; the plain one for a request that aiohttp could not parse."""
    return request.app[CONTEXT].branding if isinstance(request, web.Request) else _PLAIN


def links_of(request: web.BaseRequest) -> Links:
    """The service's own URLs, as a page under the host of this request needs them."""
    if not isinstance(request, web.Request):
        return _AT_ROOT
    links, visitor = request.app[CONTEXT].links, visitor_of(request)
    return links.seen_from(visitor.main_origin) if visitor.session_name else links


def _alone(request: web.BaseRequest) -> dict[str, str]:
    """Cut the tie to the window that opened the page (HTML, "cross-origin opener policies"): it may be a notebook.

    Browsers support that over TLS only, and complain elsewhere. Where notebooks have origins of their own, the policy
    that all browsers know is enough; otherwise the page that opened this one is of the same origin.
    """
    if not is_secure(request.headers):
        return {}
    apart = isinstance(request, web.Request) and request.app[CONTEXT].hosts.value.sessions is not None
    return {"Cross-Origin-Opener-Policy": "same-origin" if apart else "noopener-allow-popups"}


def see_other(request: web.BaseRequest, url: str) -> web.Response:
    """303 See Other."""
    headers = {"Location": url, "Referrer-Policy": "same-origin", "Cache-Control": "no-store", **_alone(request)}
    return web.Response(status=303, headers=headers)


def json(model: pydantic.BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON response."""
    return web.Response(
        body=model.model_dump_json(exclude_none=isinstance(model, Problem)).encode(),
        status=status,
        content_type="application/json",
        headers={**HEADERS, **(headers or {})},
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
    html: bool | None = None,
    again: bool = False,
    values: Mapping[str, object] | None = None,
) -> web.Response:
    """An error, as a page or as JSON: what the client accepts, unless `html` says it.

    `message` is a text of the catalogues with its `values`: a page has it in its reader's language, JSON in English.

    With `again` the page reloads itself after `retry_after` seconds, also without JavaScript.
    """
    seconds = None if retry_after is None else max(1, math.ceil(retry_after))
    all_headers = {**(headers or {}), **({} if seconds is None else {"Retry-After": str(seconds)})}
    if wants_html(request) if html is None else html:
        texts = words_of(request)
        title, advice = problem_message(texts, status)
        return page(
            request,
            "problem.html",
            status=status,
            headers=all_headers,
            title=title,
            advice=advice,
            message=texts.gettext(message, **(values or {})) if message else "",
            refresh=seconds if again else None,
        )
    title, advice = problem_message(_ENGLISH, status)
    message = _ENGLISH.gettext(message, **(values or {})) if message else ""
    model = Problem(status=kind, message=message or f"{title}. {advice}", cause=cause, retry_after=seconds)
    return json(model, status=status, headers=all_headers)


def unknown_host(request: web.BaseRequest, name: str) -> web.Response:
    """421 (RFC 9110 §15.5.20): this service does not answer to this name. The reader may be its operator."""
    if wants_html(request):
        return page(request, "unknown_host.html", status=421, name=name)
    message = (
        f"This service does not answer to the name {name}. If it is yours, start tmpnb-py with --allowed-hosts "
        f"{name}, or set TMPNB_ALLOWED_HOSTS={name} (keep the names that are there already, separated by commas)."
    )
    return json(Problem(status="misdirected", message=message), status=421)


def starting_again(request: web.BaseRequest) -> web.Response:
    """503 for a returning visitor until the engine has been listed: only then are their sessions known."""
    message = to_translate("The service is starting again; your notebook is kept.")
    return problem(request, 503, "starting", message, retry_after=_LISTING_RETRY, again=True)


def closed(request: web.Request, name: str = "") -> web.Response:
    """503: the operator has closed a pool to newcomers, or the timetable has until a moment that it says."""
    site = request.app[CONTEXT].site
    pool = site.pools.get(name, site.default_pool).status
    seconds = _CLOSED_RETRY
    if pool.opens_at is not None and math.isfinite(pool.opens_at):
        seconds = max(1, math.ceil(pool.opens_at - time.time()))
    retry = {"Retry-After": str(seconds)}
    if wants_html(request):
        again = _CLOSED_RETRY if request.method == "GET" else None  # a reload would not post the form again
        script, why = "again.js" if again else "", why_closed(words_of(request), pool)
        return page(request, "closed.html", status=503, headers=retry, script=script, refresh=again, why=why)
    texts = words_asked(request)
    now = texts.gettext("No newcomers are let in at the moment; sessions go on.")
    message = f"{now} {opens_again(texts, pool)}".rstrip()
    return json(Problem(status="closed", message=message, retry_after=seconds), status=503, headers=retry)


class Look(Protocol):
    """How pages look: a `Context`, or what a front end knows of it."""

    @property
    def branding(self) -> Branding:
        """The operator's name, logo and colour."""

    @property
    def links(self) -> Links:
        """Where pages are."""

    @property
    def language(self) -> str:
        """The option of this name."""


def proxy_error_page(context: Look, status: int, *, wants_html: bool, languages: str) -> Page:
    """The body of an error that the proxy answers by itself. `languages` is the request's `Accept-Language`."""
    if not wants_html:
        title, advice = problem_message(_ENGLISH, status)
        body = Problem(status="error", message=f"{title}. {advice}").model_dump_json(exclude_none=True)
        return Page(b"application/json", body.encode())
    texts = chosen(context.language, languages)
    varies = context.language == AUTO and len(tags()) > 1
    headers = ((b"Content-Language", texts.tag.encode()), *([(b"Vary", b"Accept-Language")] if varies else []))
    if status == _OVERFLOW:
        return _overflow_page(context, texts, headers)
    title, advice = problem_message(texts, status)
    values = {"title": title, "advice": advice, "message": "", "refresh": None}
    html = render("problem.html", context.branding, context.links, texts, **values)
    return Page(b"text/html; charset=utf-8", html.encode(), headers)


def _overflow_page(context: Look, texts: Words, headers: tuple[tuple[bytes, bytes], ...]) -> Page:
    """The page for a browser with too many cookies. Its script takes away what other pages have made."""
    title, advice = (texts.gettext(one) for one in OVERFLOW)
    code = assets.page_script("overflow.js", texts)
    html = render("overflow.html", context.branding, context.links, texts, title=title, advice=advice, script=code)
    policy = (b"Content-Security-Policy", _policy(_style + context.branding.style, code, is_preview=False).encode())
    return Page(b"text/html; charset=utf-8", html.encode(), (*headers, policy))


def _refusal(request: web.Request, error: BookingError | ClosedError | EngineError | FullError) -> web.Response:
    """What cannot be done now, and why."""
    if isinstance(error, ClosedError):
        return closed(request, error.pool)
    if isinstance(error, FullError):
        cause = "address" if isinstance(error, AddressFullError) else "line"
        return problem(request, 429, "full", error.message, cause=cause, retry_after=error.retry_after)
    if isinstance(error, EngineError):
        cause = error.failure.value
        return problem(
            request, 503, "unavailable", to_translate("No notebook can be started now."), cause=cause, retry_after=10
        )
    return refused(request, error, words_of(request) if wants_html(request) else _ENGLISH)


def refused(request: web.Request, error: BookingError, texts: Words) -> web.Response:
    """409: a booking or a message cannot be taken."""
    remedy = texts.gettext(error.remedy) if error.remedy else ""
    message = f"{sentence(texts.gettext(error.text, **error.values))} {remedy}".rstrip()
    return problem(request, 409, "error", message)


@web.middleware
async def errors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a response of ours; log unexpected ones with their traceback."""
    try:
        return await handler(request)
    except (BookingError, ClosedError, EngineError, FullError) as error:
        return _refusal(request, error)
    except web.HTTPException as error:
        if error.status < 400:
            error.headers.setdefault("Referrer-Policy", "same-origin")
            error.headers.setdefault("Cache-Control", "no-store")
            raise
        kept = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
        message = error.text if error.text and not error.text.startswith(f"{error.status}:") else ""
        return problem(request, error.status, "error", message, headers=kept)
    except Exception:  # noqa: BLE001  (the boundary of a request: the visitor gets a page, the operator the traceback)
        _log.exception("request_failed", method=request.method, route=str(request.match_info.route.resource))
        return problem(request, 500, "error")
