"""Stock JupyterLab: a container with what `pip install jupyterlab` gives, behind configurable-http-proxy.

Its visitors are led to a container that runs already, so that claiming one costs them nothing. It has our workshops'
documents, and of ours nothing else.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests.benchmarks import chromium, peers

WORKSHOPS = Path(__file__).parents[2] / "workshop_image" / "workshops"
_COMMAND = "cp -r /workshops work && exec jupyter lab --ServerApp.root_dir=/home/jovyan/work"


class Stock:
    """The proxy, which leads to one container at a time."""

    def __init__(self, image: str, port: int, way: Path) -> None:
        self._image = image
        self._port = port
        self._way = way  # a link to the socket of the container

    @contextlib.asynccontextmanager
    async def container(self, document: str) -> AsyncIterator[str]:
        """The address of a document in a new one."""
        base = f"/user/{secrets.token_hex(6)}/"
        mount = f"--volume={WORKSHOPS}:/workshops:ro"
        async with chromium.lone_server(self._image, _COMMAND, mount, base=base) as (socket, token):
            self._way.unlink(missing_ok=True)
            self._way.symlink_to(socket)
            yield f"http://localhost:{self._port}{base}lab/tree/{document}?token={token}"


@contextlib.asynccontextmanager
async def serving(image: str, chp_dir: Path | None) -> AsyncIterator[Stock]:
    """Raises `MissingError` where npm cannot install the proxy."""
    async with contextlib.AsyncExitStack() as stack:
        way = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tmpnb-bench-")), "socket")
        proxy = await peers.chp(chp_dir, anywhere=True)(way, stack)
        yield Stock(image, proxy.port, way)
