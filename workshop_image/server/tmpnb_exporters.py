"""What notebooks can be saved as, without looking for it: `GET <base>/api/nbconvert`.

JupyterLab asks for the list when a notebook opens. Jupyter Server imports every exporter for it: a quarter of a
second of CPU (half of it at each further request) and 4 to 8 MiB, in the very moment in which a visitor waits for the
kernel. In an image the list is always the same: it is made with the image (`tmpnb_exporters.py FILE`) and read here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.services.nbconvert.handlers import NbconvertRootHandler
from jupyter_server.utils import url_path_join
from tornado import web

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

LIST = Path(__file__).parent / "exporters.json"


class ExportersHandler(NbconvertRootHandler):
    """Answers as Jupyter Server's own handler would."""

    def initialize(self, listed: bytes, **kwargs: Any) -> None:
        """`listed` is the answer's body."""
        super().initialize(**kwargs)
        self._listed = listed

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The list as it was when the image was made."""
        self.finish(self._listed)


def exporters() -> str:
    """The body of Jupyter Server's answer to `GET /api/nbconvert`."""
    import json  # noqa: PLC0415  (what follows is for the image's build, not for each server's start)

    from nbconvert.exporters import base  # noqa: PLC0415

    found = {name: base.get_exporter(name) for name in sorted(base.get_export_names())}
    return json.dumps({name: {"output_mimetype": one.output_mimetype} for name, one in found.items()})


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_exporters"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    try:
        listed = LIST.read_bytes()
    except FileNotFoundError:
        return  # an image made otherwise: Jupyter Server answers
    place = url_path_join(server_app.web_app.settings["base_url"], "api", "nbconvert")
    server_app.web_app.add_handlers(".*$", [(place, ExportersHandler, {"listed": listed})])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(exporters())
