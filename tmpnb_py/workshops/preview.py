"""Live preview of a folder of workshops while its author writes. For `image workshops --preview`.

It stands in for the image: the first page lists the folder's manifest, and the notes come from its files. A thread
polls the folder. Problems are shown on the pages, and the last valid manifest stays in use.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import structlog

from tmpnb_py.core.errors import ManifestError, TooLargeError
from tmpnb_py.workshops.folders import read_collection
from tmpnb_py.workshops.manifest import Manifest

MAX_FILES = 20_000
_LOOK_AGAIN = 0.5  # seconds, longer if polling takes long
_SHARE = 0.1  # of the time may be spent on polling

_log = structlog.get_logger(__name__)


class Preview:
    """The previewed folder. `version` changes with its files; `problems` are sentences for its author."""

    is_known = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.manifest = Manifest()
        self.problems: tuple[str, ...] = ()
        self.version = ""
        self._changed = asyncio.Condition()
        self.refresh()

    def refresh(self) -> bool:
        """Read the folder if it changed, and return whether it did. Keeps the last valid manifest."""
        version = _stamp(self.directory)
        if version == self.version:
            return False
        try:
            collection = read_collection(self.directory)
            self.manifest = collection.manifest
            self.problems = (*map(str, collection.problems), *_unreadable(self.directory, collection.files))
        except ManifestError as error:
            self.problems = (*error.message.splitlines(), "The workshops of the previous manifest are shown.")
        except OSError as error:  # a file was removed meanwhile
            self.problems = (f"{error.filename}: {error.strerror}",)
        self.version = version
        return True

    async def run(self, on_manifest: Callable[[Manifest], None]) -> None:
        """Poll for ever, and wake all waiters on a change."""
        while True:
            began = time.monotonic()
            if await asyncio.to_thread(self.refresh):
                on_manifest(self.manifest)
                for problem in self.problems:
                    _log.warning("preview_problem", problem=problem)
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(max(_LOOK_AGAIN, (time.monotonic() - began) / _SHARE))

    async def changed_from(self, version: str) -> None:
        """Wait until the version differs from `version`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.version != version)

    # --- instead of an image

    async def read(self, places: Sequence[str], *, limit: int) -> dict[str, bytes]:
        """Read files by their places in the folder. Skips links and missing ones. Raises `TooLargeError`."""
        return await asyncio.to_thread(self._read, places, limit)

    def _read(self, places: Sequence[str], limit: int) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for place in places:
            path = self.directory / place
            if path.resolve() != path or not path.is_file() or not path.is_relative_to(self.directory):
                continue
            with path.open("rb") as file:
                found[place] = file.read(limit + 1)
            limit -= len(found[place])
            if limit < 0:
                raise TooLargeError(f"{place} is too large to be shown")
        return found


def _unreadable(directory: Path, files: Sequence[PurePosixPath]) -> Iterator[str]:
    """Problems of unreadable files: notebooks in Docker containers run as another user than the folder's owner."""
    folders = {directory, *(directory / parent for file in files for parent in file.parents)}
    closed = [path for path in sorted(folders) if path.stat().st_mode & 0o005 != 0o005]
    closed += [path for path in (directory / file for file in files) if not path.stat().st_mode & 0o004]
    if closed:
        more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
        yield (
            f"{closed[0]}{more}: only you can read this, but notebooks in Docker containers need to: run "
            f"chmod -R a+rX {shlex.quote(str(directory))}"
        )


def _stamp(directory: Path) -> str:
    """A digest of the names, times and sizes of all files except hidden ones."""
    digest = hashlib.sha256()
    count = 0
    for root, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            if name.startswith(".") or (count := count + 1) > MAX_FILES:
                continue
            path = os.path.join(root, name)  # noqa: PTH118 - thousands, twice a second
            try:
                facts = os.stat(path)  # noqa: PTH116
            except OSError:
                continue
            digest.update(f"{path}\0{facts.st_mtime_ns}\0{facts.st_size}\0{facts.st_ino}\n".encode())
    return digest.hexdigest()
