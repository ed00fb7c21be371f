"""Sets the working directory of kernels without a document: `PUT <base>/tmpnb/folder?path=FOLDER`.

Other sites' pages (thebe and similar) start kernels with an invented path, or none. The orchestrator, which knows the
workshop, sets its folder here, so that the code finds the workshop's files. Kernels of real documents start in the
document's folder, as always.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import to_os_path, url_path_join
from tornado import web

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

_usual: list[Callable[..., str]] = []  # the server's own function for a kernel's directory


class FolderHandler(APIHandler):
    """Accepts the folder, relative to the file browser's directory."""

    auth_resource = "kernels"

    @web.authenticated
    @authorized
    def put(self) -> None:
        """Set the folder: 204, or 404 if there is none."""
        manager = self.kernel_manager
        root = manager.root_dir
        folder = to_os_path(self.get_query_argument("path"), root)
        if os.path.relpath(folder, root).startswith("..") or not Path(folder).is_dir():
            raise web.HTTPError(404, "there is no such folder")
        if not _usual:
            _usual.append(manager.cwd_for_path)
        os.chdir(folder)  # for terminals, and for kernels without any path
        manager.cwd_for_path = finder(_usual[0], root, folder)
        self.set_status(204)
        self.finish()


def finder(usual: Callable[..., str], root: str, folder: str) -> Callable[..., str]:
    """A kernel manager's `cwd_for_path` that resolves paths missing below `root` relative to `folder`."""

    def cwd_for_path(path: str, **kwargs: object) -> str:
        found = usual(path, **kwargs)
        if found != root or (path.strip("/") and Path(to_os_path(path, root)).exists()):
            return found
        inner = Path(to_os_path(path, folder))
        while not inner.is_dir() and inner != Path(folder):
            inner = inner.parent
        return str(inner)

    return cwd_for_path


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_folder"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    place = url_path_join(server_app.web_app.settings["base_url"], "tmpnb", "folder")
    server_app.web_app.add_handlers(".*$", [(place, FolderHandler)])
