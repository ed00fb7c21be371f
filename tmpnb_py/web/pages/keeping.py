"""Going on with work that was kept: what the first page offers to those who come back with it.

The page's script (`keeping.js`) gets a notebook and sends the archive straight to it, through the proxy and with the
notebook's own token: this service neither stores nor reads one. Where archives are kept is the script's business:
today only where the visitor has saved them. A browser's own storage is no place for them as long as notebooks are in
the same origin as this page, for their scripts could read it.
"""

from __future__ import annotations

from aiohttp import web

from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.visitor import visitor_of


def offered(request: web.Request) -> str | None:
    """The key to the visitor's running notebook, "" where there is none; None where nothing can be restored.

    That is where the image's notebooks take no archives, and where nobody is let in who has none.
    """
    context = request.app[CONTEXT]
    image, key = context.catalogue.image, visitor_of(request).page_key
    can_restore = image is not None and image.restores and (context.site.pool_for().is_open or key)
    return key if can_restore else None
