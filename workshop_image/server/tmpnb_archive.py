"""Everything that a visitor has made, as one archive: `GET <base>/tmpnb/archive`.

A small extension of the notebook server. The archive is written while it is sent and is nowhere as a whole, as home
and /tmp of a notebook are bounded and count as memory. Imported at each server's start: what is heavy comes late.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

if TYPE_CHECKING:
    import zipfile

    from jupyter_server.serverapp import ServerApp

Send = Callable[[bytes], object]

_BLOCK = 256 * 1024  # bytes that go to the visitor at once; together with one such block read it is all that is held
_PATIENCE = 300.0  # seconds that a block may take on its way to the visitor
_CACHES = frozenset(("__pycache__",))


class GoneError(Exception):
    """Nobody reads the archive any more."""


class ArchiveHandler(JupyterHandler):
    """Sends the directory that the file browser shows."""

    _gone = False

    def on_connection_close(self) -> None:
        """The visitor has cancelled the download, or left."""
        self._gone = True
        super().on_connection_close()

    @web.authenticated
    async def get(self) -> None:
        """The archive, made in a thread, which waits whenever the visitor reads more slowly."""
        root = os.fspath(self.contents_manager.root_dir)
        name = root.rpartition("/")[2] or "files"
        self.set_header("Content-Type", "application/zip")
        self.set_header("Content-Disposition", f'attachment; filename="{name}-{time.strftime("%Y-%m-%d")}.zip"')
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        loop = asyncio.get_running_loop()

        def send(block: bytes) -> None:
            if self._gone:
                raise GoneError
            asyncio.run_coroutine_threadsafe(self._send(block), loop).result(_PATIENCE)

        try:
            await asyncio.to_thread(write_archive, root, name, send)
        except (GoneError, StreamClosedError, CancelledError, TimeoutError):
            self.log.info("a download was broken off")

    async def _send(self, block: bytes) -> None:
        self.write(block)
        await self.flush()


class Outlet:
    """A file to write to for `zipfile`, which cannot go back in it. `send` gets blocks of about `_BLOCK` bytes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """Keep or send on."""
        self._waiting += data
        if len(self._waiting) >= _BLOCK:
            self.flush_out()
        return len(data)

    def flush(self) -> None:
        """Nothing: what `zipfile` flushes is small."""

    def flush_out(self) -> None:
        """Send what waits."""
        if self._waiting:
            self._send(bytes(self._waiting))
            self._waiting.clear()


def write_archive(root: str, name: str, send: Send) -> None:
    """Send a ZIP archive of the directory `root`, with everything in it below `name`.

    Left out: directories whose names begin with a dot, caches, links (what they lead to inside is there anyway, and
    what is outside was never the visitor's), whatever is no ordinary file, and what cannot be read. `send` may raise.
    """
    import zipfile  # noqa: PLC0415  (not at each server's start)

    outlet = Outlet(send)
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED, compresslevel=1, allowZip64=True) as archive:
        for path, inner in _entries(root):
            if path.endswith("/"):
                archive.writestr(readable(f"{name}/{inner}/"), b"")
            else:
                _add(archive, path, zipfile.ZipInfo(readable(f"{name}/{inner}")))
    outlet.flush_out()


def _entries(root: str) -> Iterator[tuple[str, str]]:
    """Paths with their names in the archive; an empty directory's path has a slash at its end."""
    for directory, directories, files in os.walk(root):
        directories[:] = sorted(one for one in directories if not one.startswith(".") and one not in _CACHES)
        inner = directory[len(root) :].lstrip("/")
        for one in sorted(files):
            yield f"{directory}/{one}", f"{inner}/{one}".lstrip("/")
        if inner and not directories and not files:
            yield f"{directory}/", inner


def _add(archive: zipfile.ZipFile, path: str, info: zipfile.ZipInfo) -> None:
    try:
        # A pipe would block, a link could lead anywhere: each may take a file's place at any moment.
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    with os.fdopen(number, "rb") as file:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            return
        info.date_time = _moment(status.st_mtime)
        info.compress_type = archive.compression
        info.external_attr = (status.st_mode & 0xFFFF) << 16
        info.file_size = left = status.st_size
        with archive.open(info, "w") as entry:
            # Not longer than it was: a file that grows all the time would never end.
            while left > 0 and (block := file.read(min(_BLOCK, left))):
                entry.write(block)
                left -= len(block)


def readable(name: str) -> str:
    """A name that every system can write, and takes for no other directory's."""
    return os.fsencode(name).decode("utf-8", "replace").replace("\\", "_")


def _moment(unix: float) -> tuple[int, int, int, int, int, int]:
    """Local time, within what the format knows."""
    year, month, day, hour, minute, second = time.localtime(unix)[:6]
    return min(max((year, month, day, hour, minute, second), (1980, 1, 1, 0, 0, 0)), (2107, 12, 31, 23, 59, 58))


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_archive"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    settings = server_app.web_app.settings
    place = url_path_join(settings["base_url"], "tmpnb", "archive")
    server_app.web_app.add_handlers(".*$", [(place, ArchiveHandler)])
    settings.setdefault("page_config_data", {})["tmpnbArchive"] = place  # tells the user interface that it is there
