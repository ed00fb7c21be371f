"""Files of the state directory: what must outlive restart and reboot, each one JSON document that is replaced whole.

A write is atomic and on the disk when it returns: a new file, `fsync`, a rename, `fsync` of the directory. After a
crash, a power failure or a full disk there is the old document or the new one, never a part. A document that cannot
be read, or that another version wrote, is put aside under a name of its own and never overwritten. Only its owner may
read a file (0600): secrets are in it. Links are not followed. Synchronous; one call at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import pydantic
import structlog

from tmpnb_py.core import files

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9.-]")
_MOST_BYTES = 16 * 1024 * 1024

_log = structlog.get_logger(__name__)

M = TypeVar("M", bound=pydantic.BaseModel)


class ForeignWriterError(OSError):
    """Another process has replaced the file since this one read or wrote it."""


class StateFile(Generic[M]):
    """The file at `path`, which holds a `model` whose field `version` is `version`.

    `prepare` makes the directory, or refuses it; it is called before the first write only, so that a service that
    keeps nothing needs no directory.
    """

    def __init__(self, path: Path, model: type[M], *, version: int, prepare: Callable[[], None]) -> None:
        self.path = path
        self._model = model
        self._version = version
        self._prepare = prepare
        self._inode: int | None = None

    def read(self) -> M | None:
        """The document, or None: there is none yet, or it was put aside (the log says so)."""
        self._inode = None
        try:
            found = self._opened()
        except OSError as error:
            hint = "what was kept there is not known now; nothing is written over it"
            _log.error("state_not_read", file=str(self.path), error=error.strerror, hint=hint)
            return None
        if found is None:
            return None
        with found as file:
            self._inode = os.fstat(file.fileno()).st_ino
            data = file.read(_MOST_BYTES)
        return self._parsed(data)

    def peek(self) -> M | None:
        """The document, or None where there is none, for a process whose file it is not: nothing is changed.

        Raises `OSError`, and `ValueError` for what is no such document.
        """
        opened = self._opened()
        if opened is None:
            return None
        with opened as file:
            data = file.read(_MOST_BYTES)
        found = self._model.model_validate_json(data)
        if getattr(found, "version", self._version) != self._version:
            raise ValueError("it is of another version")
        return found

    def _opened(self) -> BinaryIO | None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        return open(descriptor, "rb")  # noqa: PTH123  (a descriptor; the caller closes it)

    def _parsed(self, data: bytes) -> M | None:
        try:
            document = json.loads(data)
            version = document["version"]
        except (ValueError, LookupError, TypeError, RecursionError):
            self._put_aside("damaged", "state_damaged")
            return None
        if version != self._version:
            self._put_aside(_NOT_PLAIN.sub("-", f"version-{version}"[:40]), "state_of_another_version")
            return None
        try:
            return self._model.model_validate(document)
        except pydantic.ValidationError:
            self._put_aside("damaged", "state_damaged")
            return None

    def _put_aside(self, why: str, event: str) -> None:
        kept = self.path.with_name(f"{self.path.name}.{why}-{time.time_ns()}")
        hint = "the service goes on without what it says; put it right, name it as before, and restart"
        try:
            self.path.rename(kept)
        except OSError as error:
            _log.error(event, file=str(self.path), error=error.strerror, hint=hint)
            return
        self._inode = None
        _log.error(event, file=str(self.path), kept=str(kept), hint=hint)

    def write(self, document: M) -> None:
        """Replace the document. It is on the disk when this returns. Raises `OSError`, `SettingsError`."""
        self._prepare()
        if self._found_inode() != self._inode:
            raise ForeignWriterError(None, "another process writes this file: is another service using state_dir?")
        self._inode = files.replace(self.path, document.model_dump_json().encode())
        files.sync_directory(self.path.parent)

    def remove(self) -> None:
        """Remove the document, as nobody needs it any more."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _found_inode(self) -> int | None:
        try:
            return self.path.lstat().st_ino
        except FileNotFoundError:
            return None
