"""A prepared list of the formats that notebooks can be exported to: `GET <base>/api/nbconvert`.

JupyterLab requests the list when a notebook opens, for its menu. Jupyter Server lists all exporters that it can
import, which takes a quarter of a second of CPU (half of that for each further request) and 4 to 8 MiB just while the
visitor waits for the kernel; and most of them then fail without pandoc, TeX or a browser. This list contains the
exporters that really export a small notebook. It never changes in an image, so it is built with the image
(`tmpnb_exporters.py FILE`). If it was not, as with the local engine, the server builds it at the first request, in a
process of the lowest priority.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
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
_LOWEST = 19  # nice(2)
# The smallest possible picture.
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class ExportersHandler(NbconvertRootHandler):
    """Answers like Jupyter Server's own handler, but only with exporters that work."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Return the list; Jupyter Server's own if ours cannot be built."""
        listed = await _listing()
        if listed:
            self.finish(listed)
        else:
            await super().get()


@functools.cache
def _listing() -> asyncio.Future[bytes]:
    """Build the list once for all requests."""
    return asyncio.ensure_future(_listed())


async def _listed() -> bytes:
    with contextlib.suppress(OSError):
        return LIST.read_bytes()
    quiet, output = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    with contextlib.suppress(OSError):  # such as when no more processes may be started
        command = (sys.executable, __file__)
        process = await asyncio.create_subprocess_exec(*command, stdin=quiet, stdout=output, stderr=quiet)
        return (await process.communicate())[0]
    return b""


def exporters() -> dict[str, dict[str, str]]:
    """The answer to `GET /api/nbconvert`: the exporters that can export a notebook with all kinds of content."""
    from nbconvert.exporters import base  # noqa: PLC0415  (for the image's build, not for each server's start)

    found = {}
    for name in sorted(base.get_export_names()):
        exporter = base.get_exporter(name)
        if _saves(exporter):
            found[name] = {"output_mimetype": exporter.output_mimetype}
    return found


def _saves(exporter: Any) -> bool:
    from nbformat import v4  # noqa: PLC0415

    text = "# Title\n\n| a | b |\n|---|---|\n| 1 | $x^2$ |\n"
    outputs = [v4.new_output("display_data", {"image/png": _PICTURE}), v4.new_output("stream", text="1\n")]
    cells = [v4.new_markdown_cell(text), v4.new_code_cell("print(1)", execution_count=1, outputs=outputs)]
    language = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    notebook = v4.new_notebook(cells=cells, metadata={"language_info": language})
    try:
        exporter().from_notebook_node(notebook, {"metadata": {"name": "Notebook"}})
    except Exception:  # noqa: BLE001  (each fails in its own way: that it fails is the answer)
        return False
    return True


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_exporters"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    place = url_path_join(server_app.web_app.settings["base_url"], "api", "nbconvert")
    server_app.web_app.add_handlers(".*$", [(place, ExportersHandler)])


def main() -> None:
    """Write the list to the named file, or to standard output."""
    import json  # noqa: PLC0415

    os.nice(_LOWEST)
    sys.path.insert(0, str(Path(__file__).parent))  # the directory of our own exporter's entry point
    listed = json.dumps(exporters())
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(listed)
    else:
        print(listed)


if __name__ == "__main__":
    main()
