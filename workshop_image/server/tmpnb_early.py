"""Starts a notebook's kernel when its page is asked for, not when JupyterLab's scripts have opened the notebook.

JupyterLab asks for a session one to four seconds after its page, when it has loaded, and attaches to one that runs
for the notebook's path. So the kernel starts while the browser loads scripts. It is the session that JupyterLab
would begin: of the same path, name and type, with the kernel that the notebook names. None is begun where
JupyterLab would not, or would ask: for a document that opens as something else, without a kernel's name, with one
that is not installed.

Only the page's own visitor gets this far: handlers authenticate before they make a page. Other sites' pages may
make a browser load an address in the visitor's name, as a picture, a script or in advance: that is no page that
opens (`Sec-Fetch-Mode`, `Sec-Purpose`). Whoever opens the page makes JupyterLab begin this session anyway, so
nobody can start more here than there: one for each notebook that there is.
"""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from jupyter_server.utils import ensure_async

if TYPE_CHECKING:
    from jupyter_server.base.handlers import JupyterHandler
    from jupyter_server.serverapp import ServerApp

_NOTEBOOKS = (".ipynb", ".rmd", ".qmd")  # what opens as a notebook without being asked to
_FACTORY = "Notebook"


def document(handler: JupyterHandler) -> str:
    """The path of the notebook that a page opens, by its request; "" where it is none."""
    headers = handler.request.headers
    if headers.get("Sec-Fetch-Mode", "navigate") != "navigate" or "Sec-Purpose" in headers:
        return ""
    if tree := handler.path_kwargs.get("tree"):  # JupyterLab's, with or without a workspace
        path = tree.removeprefix("/tree").strip("/")
    elif type(handler).__name__ == "NotebookHandler" and handler.path_args:  # of the package `notebook`
        path = handler.path_args[0].strip("/")
    else:
        return ""
    factory = handler.get_query_argument("factory", "")
    usual = PurePosixPath(path).suffix.lower() in _NOTEBOOKS
    return path if factory == _FACTORY or (usual and not factory) else ""


class EarlySessions:
    """Begins sessions. Runs in the server's event loop; at most one at a time for a path."""

    def __init__(self, server: ServerApp) -> None:
        self._server = server
        self._sessions = server.session_manager
        self._usual_exists = self._sessions.session_exists
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._sessions.session_exists = self._exists

    def begin(self, path: str) -> None:
        """Begin a notebook's session, unless it has one; once the page that is being made has been sent."""
        if path not in self._under_way:
            task = self._under_way[path] = asyncio.get_running_loop().create_task(self._begin(path))
            task.add_done_callback(lambda _: self._under_way.pop(path, None))

    async def _exists(self, path: str) -> bool:
        """Whether a session is there. One that is under way is waited for, or there would be two of a path."""
        if task := self._under_way.get(path):
            await asyncio.wait([task])
        return bool(await ensure_async(self._usual_exists(path=path)))

    async def _begin(self, path: str) -> None:
        try:
            kernel = await self._kernel(path)
            if kernel and not await ensure_async(self._usual_exists(path=path)):
                await self._sessions.create_session(
                    path=path, name=PurePosixPath(path).name, type="notebook", kernel_name=kernel
                )
        except Exception:  # whatever it is, JupyterLab meets it as well, and tells the visitor
            self._server.log.debug("No kernel was started early for %s", path, exc_info=True)

    async def _kernel(self, path: str) -> str:
        """The kernel that the notebook names, if it is installed. Raises as the contents manager does."""
        model = await ensure_async(self._server.contents_manager.get(path, type="notebook", content=True))
        name: Any = model["content"]["metadata"].get("kernelspec", {}).get("name")
        return name if name in self._server.kernel_spec_manager.find_kernel_specs() else ""


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_early"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    settings = server_app.web_app.settings
    before, early = settings.get("page_config_hook"), EarlySessions(server_app)

    def hook(handler: JupyterHandler, page_config: dict[str, Any]) -> dict[str, Any]:
        if path := document(handler):
            early.begin(path)
        return before(handler, page_config) if before else page_config

    settings["page_config_hook"] = hook
