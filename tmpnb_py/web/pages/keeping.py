"""Restoring saved work: whether the first page offers it.

The page's script (`keeping.js`) gets a notebook and sends it the archive through the proxy, with the notebook's own
token: this service neither stores nor reads archives. The visitor keeps them as files. The browser's storage would be
no place for them as long as notebooks share an origin with this page, because their scripts could read it.
"""

from __future__ import annotations

from aiohttp import web

from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.visitor import visitor_of


def offered(request: web.Request) -> str | None:
    """The key to the visitor's running notebook, "" if there is none; None if nothing can be restored.

    That is so if the image's notebooks take no archives, and for visitors without a notebook while the service is
    closed.
    """
    context = request.app[CONTEXT]
    offer = context.offers.default
    image, key = offer.catalogue.image, visitor_of(request).page_key(offer.pool)
    can_restore = image is not None and image.restores and (offer.pool.is_open or key)
    return key if can_restore else None
