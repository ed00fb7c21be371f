"""Download a visitor's work as one archive, and restore it: `<base>/tmpnb/archive` and `<base>/tmpnb/restore`.

A small extension of the notebook server. `GET archive` sends the files that the visitor changed or created. Before,
a page may `POST archive` what only it knows (open documents, unsaved texts); the answer lists what the archive will
contain and what it will lack. `POST restore` takes an archive as its body; `GET restore` returns the largest size.
Every server imports this at its start, so heavy modules are imported only when needed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
import uuid
from concurrent.futures import CancelledError
from pathlib import Path
from typing import IO, TYPE_CHECKING

from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp
    from tmpnb_restore import RefusedError

_PATIENCE = 300.0  # seconds that sending a block may take
_PREPARED = "tmpnb_prepared"  # in the server's settings: a page's last wish, by a random id
_RESTORING = "tmpnb_restoring"  # and whether a restore is in progress
_UNLIMITED = 1 << 50
_LONGEST_NAME = 200


class GoneError(Exception):
    """The reader of the archive has gone."""


def _root(handler: JupyterHandler) -> str:
    return os.fspath(handler.contents_manager.root_dir)


class ArchiveHandler(JupyterHandler):
    """Sends the changed and new files of the file browser's directory."""

    _gone = False

    def on_connection_close(self) -> None:
        """Stop: the visitor has cancelled the download, or left."""
        self._gone = True
        super().on_connection_close()

    @web.authenticated
    async def post(self) -> None:
        """Store the page's wish for the following download, and return what that will contain."""
        from tmpnb_changes import originals  # noqa: PLC0415  (not at each server's start)
        from tmpnb_packing import Wish, surveyed  # noqa: PLC0415

        wish, name = Wish.of(self.get_json_body()), uuid.uuid4().hex
        self.settings[_PREPARED] = {name: wish}  # only the last one, as texts take memory
        found = await asyncio.to_thread(surveyed, _root(self), originals(), wish)
        self.finish({"url": f"{self.request.path}?prepared={name}", **found})

    @web.authenticated
    async def get(self) -> None:
        """Send the archive. A thread creates it, and waits for a slow reader."""
        from tmpnb_changes import originals  # noqa: PLC0415
        from tmpnb_packing import Wish, write_archive  # noqa: PLC0415

        root = _root(self)
        name = root.rpartition("/")[2] or "files"
        origin = Wish(origin=f"{self.request.protocol}://{self.request.host}")
        wish = self.settings.get(_PREPARED, {}).get(self.get_query_argument("prepared", ""), origin)
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
            await asyncio.to_thread(write_archive, root, name, send, original=originals(), wish=wish)
        except (GoneError, StreamClosedError, CancelledError, TimeoutError):
            self.log.info("a download was broken off")

    async def _send(self, block: bytes) -> None:
        self.write(block)
        await self.flush()


@web.stream_request_body
class RestoreHandler(APIHandler):
    """Accepts an archive, and restores its files to their places."""

    _staging: Path | None = None
    _upload: IO[bytes] | None = None
    _refused: web.HTTPError | None = None
    _busy = False
    _full = False
    _works = False

    async def prepare(self) -> None:
        """Check before the body arrives: only the owner may restore, one archive at a time, if there is room.

        A refusal is sent after the body: Tornado closes the connection of a request that is answered halfway, and
        the answer might never arrive.
        """
        try:
            await super().prepare()
        except web.HTTPError as error:
            if self.request.method != "POST":
                raise
            self._refused = error
            return
        if self.request.method != "POST":
            return
        if self.current_user is None:  # Jupyter checks only before `post`, after the body
            self._refused = web.HTTPError(403)
            return
        self._busy = bool(self.settings.get(_RESTORING))
        if self._busy:
            return
        self.request.connection.set_max_body_size(_UNLIMITED)  # the disk is the limit
        self._full = not self._has_room(int(self.request.headers.get("Content-Length", "0")))
        if not self._full:
            from tmpnb_changes import RESTORING  # noqa: PLC0415

            self.settings[_RESTORING] = True
            try:
                self._staging = Path(tempfile.mkdtemp(prefix=RESTORING, dir=_root(self)))
                self._upload = (self._staging / "upload").open("wb", buffering=0)
            except OSError:
                self._full = True

    def _has_room(self, size: int) -> bool:
        from tmpnb_room import room  # noqa: PLC0415

        return size <= room(_root(self))

    def data_received(self, chunk: bytes) -> None:
        """Store a part of the archive. Without room, discard the rest, so that the answer arrives."""
        if self._upload is None or self._full:
            return
        try:
            self._full = not self._has_room(len(chunk)) or self._upload.write(chunk) != len(chunk)
        except OSError:
            self._full = True

    @web.authenticated
    async def get(self) -> None:
        """Return the largest size of an archive: a page asks before an upload that takes minutes."""
        from tmpnb_room import room  # noqa: PLC0415

        self.finish(json.dumps({"room": max(0, room(_root(self)))}))

    async def post(self) -> None:
        """Restore the archive, which has arrived."""
        from tmpnb_changes import originals  # noqa: PLC0415
        from tmpnb_restore import RefusedError, restore  # noqa: PLC0415
        from tmpnb_words import to_translate  # noqa: PLC0415

        if self._refused is not None:
            raise self._refused
        if self._busy:
            text = to_translate("Another archive is being restored here. Please wait until that is done.")
            self._refuse(RefusedError(409, text))
            return
        if self._full or self._staging is None or self._upload is None:
            text = to_translate("There is not enough room in this notebook for this archive. Nothing was restored.")
            self._refuse(RefusedError(507, text))
            return
        self._upload.close()
        name = self.get_query_argument("name", "archive.zip")[:_LONGEST_NAME]
        self._works = True
        try:
            place = self._staging / "upload", _root(self), name, self._staging, originals()
            outcome = await asyncio.to_thread(restore, *place)
        except RefusedError as refused:
            self._refuse(refused)
            return
        finally:
            self._works = False
        # The next page opens the documents and shows the result (labextension/static/keeping.js).
        told = json.dumps({"id": uuid.uuid4().hex, "name": name, **outcome.told()})
        self.settings.setdefault("page_config_data", {})["tmpnbRestored"] = told
        self.finish(told)

    def _refuse(self, refused: RefusedError) -> None:
        self.set_status(refused.status)
        self.finish(json.dumps({"message": refused.message, "text": refused.text, "values": refused.values}))

    def on_finish(self) -> None:
        """Clean up after any outcome."""
        super().on_finish()
        self._clear()

    def on_connection_close(self) -> None:
        """The upload was interrupted, or the reader has gone. A restore in progress still completes."""
        super().on_connection_close()
        if not self._works:
            self._clear()

    def _clear(self) -> None:
        if self._upload is not None:
            self._upload.close()
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None
            self.settings[_RESTORING] = False


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_archive"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    settings = server_app.web_app.settings
    places = {name: url_path_join(settings["base_url"], "tmpnb", name) for name in ("archive", "restore")}
    server_app.web_app.add_handlers(".*$", [(places["archive"], ArchiveHandler), (places["restore"], RestoreHandler)])
    # Tell the user interface that these endpoints exist.
    shown = settings.setdefault("page_config_data", {})
    shown["tmpnbArchive"], shown["tmpnbRestore"] = places["archive"], places["restore"]
