"""Redirects the classic interface's URLs to JupyterLab: `<base>/tree/X` leads to `<base>/lab/tree/X`.

Many pages have links with `tree/`, `notebooks/` and `edit/`, and the orchestrator accepts them. The package
`notebook` answers them; this extension does if it is missing. Imported at each server's start.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


class TreeHandler(JupyterHandler):
    """Redirects to the same document in JupyterLab."""

    @web.authenticated
    def get(self) -> None:
        """302 with the raw path and query: nothing is decoded, so nothing is encoded twice."""
        path, mark, query = self.request.uri.removeprefix(self.base_url).partition("?")
        document = path.partition("/")[2].strip("/")
        # It begins with the base URL and a name, so it cannot lead to another host.
        place = f"{self.base_url}lab/tree/{document}" if document else f"{self.base_url}lab"
        self.redirect(f"{place}{mark}{query}")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_tree"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    if importlib.util.find_spec("notebook") is not None:
        return
    place = url_path_join(server_app.web_app.settings["base_url"], "(?:tree|notebooks|edit)(?:/.*)?")
    server_app.web_app.add_handlers(".*$", [(place, TreeHandler)])
