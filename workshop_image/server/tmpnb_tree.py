"""Addresses of the classic interface where there is only JupyterLab: `<base>/tree/X` leads to `<base>/lab/tree/X`.

Links with `tree/`, `notebooks/` and `edit/` are in many pages, and the orchestrator takes them; the package
`notebook` answers them, and without it nobody does. Imported at each server's start: it only looks for that package.
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
    """Leads to the same document in JupyterLab."""

    @web.authenticated
    def get(self) -> None:
        """302, with the path and the query as they came: nothing is decoded, so nothing is encoded twice."""
        path, mark, query = self.request.uri.removeprefix(self.base_url).partition("?")
        document = path.partition("/")[2].strip("/")
        # It begins with the base URL, then with a name, so it leads to no other host whatever follows.
        place = f"{self.base_url}lab/tree/{document}" if document else f"{self.base_url}lab"
        self.redirect(f"{place}{mark}{query}")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_tree"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    if importlib.util.find_spec("notebook") is not None:
        return
    place = url_path_join(server_app.web_app.settings["base_url"], "(?:tree|notebooks|edit)(?:/.*)?")
    server_app.web_app.add_handlers(".*$", [(place, TreeHandler)])
