"""What a page of ours has the browser fetch while its visitor gets a notebook: files that the notebook's page needs.

All notebooks of an image share them, so the browser has them when it comes to the notebook's page. `visit.js` fetches
them. They are few enough for that page only; who comes back has them already, which the script notices.
"""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from tmpnb_py.core import document_paths
from tmpnb_py.shared_files.ahead import Ahead
from tmpnb_py.web.context import CONTEXT

_LAB = ("lab", "doc")  # JupyterLab's interfaces; others have scripts of their own
_NOTEBOOK = ".ipynb"


class Files(Protocol):
    """Who knows the files."""

    async def ahead(self, image_id: str, /) -> Ahead: ...


FILES = web.AppKey("ahead", Files)


async def addresses(request: web.Request, wish: str) -> tuple[str, ...]:
    """The files' directory, and their addresses in it. Empty where nothing is to be fetched.

    Nothing is for visitors who save data (`Save-Data`): they may leave before they get a notebook. And nothing where
    notebooks have hosts of their own: browsers keep what one site's pages load apart from another's (Fetch, "network
    partition keys"), so it would be fetched twice.
    """
    context = request.app[CONTEXT]
    saves_data = request.headers.get("Save-Data", "").strip().lower() == "on"
    if saves_data or context.hosts.value.sessions is not None:
        return ()
    target = context.documents.target(context.documents.openable(wish))
    path = document_paths.plain_path(target.partition("?")[0])
    image = context.offers.choose(wish)[0].catalogue.image
    if image is None or path.partition("/")[0] not in _LAB:
        return ()
    found = await request.app[FILES].ahead(image.image_id)
    files = found.page + (found.notebook if path.endswith(_NOTEBOOK) else ())
    return (found.url, *files) if files else ()
