"""The operator's live page: a shell without secrets, whose script asks the API with the token that it is given.

There is no cookie and no other ambient authority, so pages of other sites can neither read nor do anything here.
"""

from __future__ import annotations

from aiohttp import web

from tmpnb_py.web.assets import script
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.respond import HEADERS, csp_hash, render, template_text

_STYLE = template_text("style.css") + template_text("operator.css")
_SCRIPT = script("operator.js")


_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {csp_hash(_STYLE)}; script-src {csp_hash(_SCRIPT)}; connect-src 'self'; "
        "img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


async def page(request: web.Request) -> web.Response:
    """The shell, which the script fills."""
    context = request.app[CONTEXT]
    needs_token = bool(context.admin_token)
    name = "" if needs_token else context.site.pool_for().name
    text = render("operator.html", own_style=_STYLE, script=_SCRIPT, name=name, needs_token=needs_token)
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=_HEADERS)
