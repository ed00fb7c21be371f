"""The operator's live page: a shell without secrets, whose script asks the API with the token that it is given.

There is no cookie and no other ambient authority, so pages of other sites can neither read nor do anything here.
"""

from __future__ import annotations

from aiohttp import web

from tmpnb_py.web.assets import page_script
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.language import headers_of, words_of
from tmpnb_py.web.respond import HEADERS, csp_hash, render, template_text

_STYLE = template_text("style.css") + template_text("operator.css")
_SCRIPTS = "operator_words.js operator_agenda.js operator.js"

_POLICY = (
    f"default-src 'none'; style-src {csp_hash(_STYLE)}; script-src {{script}}; connect-src 'self'; "
    "img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HEADERS = {
    **HEADERS,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


async def page(request: web.Request) -> web.Response:
    """The shell, which the script fills."""
    context, texts = request.app[CONTEXT], words_of(request)
    needs_token = bool(context.admin_token)
    name = "" if needs_token else context.options.current.pool_name
    script = page_script(_SCRIPTS, texts)
    text = render("operator.html", texts=texts, own_style=_STYLE, script=script, name=name, needs_token=needs_token)
    policy = {"Content-Security-Policy": _POLICY.format(script=csp_hash(script))}
    headers = {**_HEADERS, **headers_of(request, texts), **policy}
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)
