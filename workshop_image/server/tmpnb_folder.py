"""Where kernels begin that no document of the visitor's tells: `PUT <base>/tmpnb/folder?path=FOLDER`.

Pages of other sites (thebe and its kin) start kernels of a workshop with a path of their own making, or none. The
orchestrator, which knows the workshop, names its folder here, so that code there finds the files beside it. Where a
document is in a folder of the file browser's, that is where its kernel begins, as ever.
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

_usual: list[Callable[..., str]] = []  # how the server finds a kernel's directory by itself


class FolderHandler(APIHandler):
    """Takes the folder, relative to the directory that the file browser shows."""

    auth_resource = "kernels"

    @web.authenticated
    @authorized
    def put(self) -> None:
        """204; 404 where there is no such folder."""
        manager = self.kernel_manager
        root = manager.root_dir
        folder = to_os_path(self.get_query_argument("path"), root)
        if os.path.relpath(folder, root).startswith("..") or not Path(folder).is_dir():
            raise web.HTTPError(404, "there is no such folder")
        if not _usual:
            _usual.append(manager.cwd_for_path)
        os.chdir(folder)  # where terminals begin, and kernels that come without any path
        manager.cwd_for_path = finder(_usual[0], root, folder)
        self.set_status(204)
        self.finish()


def finder(usual: Callable[..., str], root: str, folder: str) -> Callable[..., str]:
    """`cwd_for_path` of a kernel manager which takes paths that lead nowhere below `root` as relative to `folder`."""

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
