"""Caches the workshops' notes as pages, rendered from the current image on first request, once per image.

Used by the pages, for many readers at once. A process renders them (`tmpnb_py.workshops.notes.__main__`), one
notebook at a time. Failures are retried after a while, not at each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import posixpath
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from tmpnb_py.core import subprograms
from tmpnb_py.core.errors import EngineError, NotesError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.base import Engine
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Workshop
from tmpnb_py.workshops.notes.links import file_name, media_type
from tmpnb_py.workshops.notes.model import Notes, load
from tmpnb_py.workshops.notes.notebook import MAX_PICTURE, MAX_SIZE, Picture, is_picture, is_readable

RETRY_AFTER = 30.0  # seconds for which a failure is cached
MAX_BOOKS = 100
_PROCESS_SECONDS = 60.0
_PICTURES_LIMIT = 32 * 1024 * 1024  # bytes per workshop

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Book:
    """A workshop's notes. `pictures` are all pictures of the page, by their relative URLs."""

    workshop: Workshop
    notes: Notes
    pictures: Mapping[str, Picture]


class Source(Protocol):
    """Where the workshops' files come from."""

    @property
    def version(self) -> str:
        """A version that changes with the files; "" if none are readable, or not known yet."""

    @property
    def is_known(self) -> bool:
        """Whether the files are known yet."""

    async def read(self, places: Sequence[str], *, limit: int) -> Mapping[str, bytes]:
        """Read files by their places among the workshops. Skips missing ones. Raises `EngineError`."""


class ImageFiles:
    """The files of the current image, whose label says where its workshops are.

    Without that label an operator may still list workshops: they can be opened, but not read, as only the image's
    server knows where they are.
    """

    def __init__(self, engine: Engine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._catalogue = catalogue

    @property
    def version(self) -> str:
        """The image's id."""
        image = self._catalogue.image
        return image.image_id if image is not None and image.workshops else ""

    @property
    def is_known(self) -> bool:
        """Whether the image is known."""
        return self._catalogue.image is not None

    async def read(self, places: Sequence[str], *, limit: int) -> Mapping[str, bytes]:
        """Read files beside the manifest. Raises `EngineError`."""
        image = self._catalogue.image
        if image is None:
            return {}
        root = posixpath.dirname(image.workshops)
        found = await self._engine.read_image(image, [f"{root}/{place}" for place in places], limit=limit)
        return {path.removeprefix(f"{root}/"): data for path, data in found.items()}


class NotesCache:
    """The notes of the current workshops."""

    def __init__(self, files: Source, catalogue: Catalogue) -> None:
        self._files = files
        self._catalogue = catalogue
        self._one_at_a_time = asyncio.Semaphore(1)
        self._tasks = Tasks()
        self._books: dict[tuple[str, Workshop], asyncio.Task[Book]] = {}
        self._failed_at: dict[tuple[str, Workshop], float] = {}

    def can_show(self, workshop: Workshop) -> bool:
        """Whether a workshop has notes: it is a notebook, and its file is readable."""
        return bool(self._files.version) and is_readable(workshop.start)

    @property
    def is_known(self) -> bool:
        """Whether the files are known yet."""
        return self._files.is_known

    async def book(self, slug: str) -> Book | None:
        """Return a workshop's notes; None if there are none. Raises `NotesError` and `EngineError`."""
        workshop = self._catalogue.manifest.find(slug)
        if workshop is None or not self.can_show(workshop):
            return None
        # A reader who leaves must not cancel the page for others who wait for it.
        return await asyncio.shield(self._task(self._files.version, workshop))

    def _task(self, version: str, workshop: Workshop) -> asyncio.Task[Book]:
        key = (version, workshop)
        task = self._books.get(key)
        if task is not None and not self._is_due_again(key, task):
            return task
        self._forget_old(version)
        task = self._tasks.start(
            f"notes-{workshop.slug}", self._read(workshop), ended=lambda _, error: self._note_failure(key, error)
        )
        self._books[key] = task
        return task

    def _is_due_again(self, key: tuple[str, Workshop], task: asyncio.Task[Book]) -> bool:
        if not task.done() or key not in self._failed_at:
            return False
        return time.monotonic() - self._failed_at[key] >= RETRY_AFTER

    def _note_failure(self, key: tuple[str, Workshop], error: BaseException | None) -> None:
        if error is None:
            self._failed_at.pop(key, None)
            return
        self._failed_at[key] = time.monotonic()
        _log.warning("notes_unreadable", workshop=key[1].slug, error=str(error))

    def _forget_old(self, version: str) -> None:
        """Forget pages of former versions, and the oldest beyond the limit."""
        old = [key for key, task in self._books.items() if key[0] != version and task.done()]
        old += [key for key, task in self._books.items() if task.done()][: max(0, len(self._books) - MAX_BOOKS)]
        for key in old:
            self._books.pop(key, None)
            self._failed_at.pop(key, None)

    async def close(self) -> None:
        """Cancel all rendering."""
        await self._tasks.close()
        self._books.clear()

    # --- rendering

    async def _read(self, workshop: Workshop) -> Book:
        async with self._one_at_a_time:
            began = time.monotonic()
            found = await self._files.read([workshop.start], limit=MAX_SIZE)
            if workshop.start not in found:
                raise NotesError(f"there is no {workshop.start}")
            pages = {one.start: one.slug for one in self._catalogue.manifest.workshops if self.can_show(one)}
            asked = {"start": workshop.start, "language": workshop.language, "lang": workshop.lang}
            notes = await make_notes(found[workshop.start], pages=pages, **asked)
            pictures = {**notes.pictures, **await self._pictures(notes)}
        seconds = round(time.monotonic() - began, 3)
        _log.info("notes_read", workshop=workshop.slug, bytes=len(notes.body), duration=seconds)
        return Book(workshop, notes, pictures)

    async def _pictures(self, notes: Notes) -> dict[str, Picture]:
        """Read the pictures beside the notebook. Skips missing and invalid ones: the page is still worth reading."""
        if not notes.files:
            return {}
        try:
            found = await self._files.read(notes.files, limit=_PICTURES_LIMIT)
        except EngineError as error:
            _log.warning("pictures_unread", error=error.message)
            return {}
        pictures = {}
        for place in notes.files:
            kind, data = media_type(place), found.get(place, b"")
            if kind is not None and len(data) <= MAX_PICTURE and is_picture(kind, data):
                pictures[file_name(place)] = Picture(kind, data)
        return pictures


async def make_notes(data: bytes, *, start: str, pages: Mapping[str, str], language: str, lang: str = "") -> Notes:
    """Render a file in a separate process. Takes the arguments of `notes.page.make`. Raises `NotesError`."""
    arguments = json.dumps({"start": start, "pages": pages, "language": language, "lang": lang}).encode()
    try:
        process = await asyncio.create_subprocess_exec(
            *subprograms.command("tmpnb_py.workshops.notes"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=subprograms.environment(),
        )
    except OSError as error:  # out of processes, for example
        raise NotesError(f"cannot render the notebook now: {error.strerror}") from error
    try:
        async with asyncio.timeout(_PROCESS_SECONDS):
            answer, _ = await process.communicate(arguments + b"\n" + data)
    except TimeoutError as error:
        raise NotesError("rendering the notebook took too long") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        words = answer.decode(errors="replace")[:500] if process.returncode == 1 else ""
        raise NotesError(words or "the notebook could not be rendered")
    return load(answer)
