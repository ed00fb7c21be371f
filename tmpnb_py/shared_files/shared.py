"""Static files that all notebooks of an image share: extracted once, kept compressed, looked up by their URL.

Used by the pool's configuration (which URL a new notebook gets) and by the web handler (which files exist). An image
is read before its first notebook starts, and gzipped at the same time (a second or two, once per image). A separate
process makes the better compression later, and nobody waits for it. Everything runs on one event loop; files are
read and written in threads. The files on disk serve after a restart without reading the image again.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import time
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from tmpnb_py.core import subprograms
from tmpnb_py.core.backoff import Attempts
from tmpnb_py.core.errors import EngineError, TooLargeError
from tmpnb_py.core.links import Links
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.base import Engine
from tmpnb_py.shared_files import ahead
from tmpnb_py.shared_files.ahead import Ahead
from tmpnb_py.shared_files.store import KEPT_TREES, LostFileError, Store
from tmpnb_py.shared_files.tree import MAX_FILES, MAX_SIZE, SharedFile, Tree, named

_TAKEN_AGAIN_SECONDS = 30.0  # extracting an image takes 3 s, and 16 s on a busy machine
_LOOK_SECONDS = 0.1
_MEMORY = 16 * 1024 * 1024  # bytes of files in memory; a first visit needs 1.3 MB, compressed

_RETRY_SECONDS = 600.0  # after the process could not be started

_log = structlog.get_logger(__name__)

_Key = tuple[str, str]  # a content's SHA-256 and coding


@dataclasses.dataclass(frozen=True, slots=True)
class SharingState:
    """What is shared at a moment: ids of images whose files are known, lost on disk in part, or could not be read."""

    known: frozenset[str]
    lost: frozenset[str]
    failed: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A shared file: its name, its entry, and its available compressed forms, best first."""

    name: str
    entry: SharedFile
    codings: tuple[str, ...]


class Content:
    """The bytes of a file in one form: in memory once, however many slow clients read them."""

    __slots__ = ("__weakref__", "body")

    def __init__(self, body: bytes) -> None:
        self.body = body


class SharedFiles:
    """The shared files of one service, whose pools may have images in common."""

    def __init__(
        self,
        directory: Path,
        *,
        on_lost: Callable[[], None] = lambda: None,
        links: Links | None = None,
    ) -> None:
        """`on_lost` is called if the disk has lost a file: a call of `url` then makes `run` extract it again."""
        self._on_lost = on_lost
        self._links = links or Links()
        self._store = Store(directory)
        self._by_image: dict[str, Tree] = {}
        self._by_digest: dict[str, Tree] = {}
        self._codings: dict[str, tuple[str, ...]] = {}
        self._ahead: dict[str, Ahead] = {}  # by a tree's digest
        self._memory = _Memory(_MEMORY)
        self._held: weakref.WeakValueDictionary[_Key, Content] = weakref.WeakValueDictionary()
        self._reading: weakref.WeakValueDictionary[_Key, asyncio.Lock] = weakref.WeakValueDictionary()
        self._lost: set[str] = set()  # ids of images some of whose files are missing on disk
        self._attempts = Attempts()
        self._today: dict[str, tuple[ImageFacts, Engine]] = {}  # by the image's id
        self._learning: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._work = asyncio.Event()
        self._missing = asyncio.Event()
        self._gave_up = False

    async def load(self, *, tidy: bool) -> None:
        """Load what an earlier process left on disk. `tidy` where that has ended (`Store.load`)."""
        try:
            self._take(await asyncio.to_thread(self._store.load, tidy=tidy))
        except OSError as error:
            _log.warning("static_files_unusable", error=str(error))

    @property
    def state(self) -> SharingState:
        """A snapshot."""
        return SharingState(frozenset(self._by_image), frozenset(self._lost), self._attempts.failing)

    def keep_for(self, pools: int) -> None:
        """Keep the files of as many pools as there are."""
        self._store.kept_trees = KEPT_TREES * max(1, pools)

    def _take(self, by_image: dict[str, Tree]) -> None:
        self._by_image = by_image
        self._by_digest = {tree.digest: tree for tree in by_image.values()}
        self._ahead = {digest: one for digest, one in self._ahead.items() if digest in self._by_digest}
        self._work.set()

    async def url(self, image: ImageFacts, engine: Engine) -> str:
        """The URL at which notebooks of this image, which `engine` reads, find its static files; "" if each serves
        its own.

        A broken image must not stop notebooks: failures are only logged.
        """
        if not image.static:
            return ""
        self._today[image.image_id] = image, engine
        tree = self._by_image.get(image.image_id)
        if tree is None and not self._attempts.has_failed(image.image_id):
            lock = self._learning.setdefault(image.image_id, asyncio.Lock())
            async with lock:  # another pool may be reading it just now
                tree = self._by_image.get(image.image_id)
                if tree is None and not self._attempts.has_failed(image.image_id):
                    tree = await self._learn(image, engine)
        elif self._is_wanted(image):
            self._missing.set()  # done in the background; the URL stays the same
        return self._links.static(tree.digest) if tree is not None and tree.files else ""

    def _is_wanted(self, image: ImageFacts) -> bool:
        """Whether to retry extracting an image's files. `url` makes the first attempt."""
        missing = image.image_id in self._lost or self._attempts.has_failed(image.image_id)
        return missing and self._attempts.is_due(image.image_id)

    async def _learn(self, image: ImageFacts, engine: Engine) -> Tree | None:
        began = time.monotonic()
        try:
            tree = await self._read(image, engine)
            by_image = await asyncio.to_thread(self._store.keep, tree, image.image_id)
        except (EngineError, OSError) as error:
            again = self._attempts.failed(image.image_id, for_good=isinstance(error, TooLargeError))
            hint = "each notebook serves its own"
            _log.warning("static_files_unread", image=image.image, error=str(error), retry_in=again, hint=hint)
            return None
        self._attempts.succeeded(image.image_id)
        self._take(by_image)
        self._lost.discard(image.image_id)
        _log.info(
            "static_files_shared",
            image=image.image,
            url=self._links.static(tree.digest),
            files=len(tree.files),
            size_mib=round(sum(entry.size for entry in tree.files.values()) / 2**20, 1),
            duration=round(time.monotonic() - began, 2),
        )
        return tree

    async def _read(self, image: ImageFacts, engine: Engine) -> Tree:
        """Extract an image's files, one directory at a time to bound memory."""
        files: dict[str, SharedFile] = {}
        left = MAX_SIZE
        for prefix, directory in image.static:
            found = await engine.read_image(image, [directory], limit=left)
            left -= sum(map(len, found.values()))
            shared = named(prefix, directory, found)
            del found
            if len(files) + len(shared) > MAX_FILES:
                raise TooLargeError(f"the image has more than {MAX_FILES} static files")
            files |= await asyncio.to_thread(self._store.add, shared)
        return Tree(files)

    # --- serving visitors

    def find(self, digest: str, name: str) -> Found | None:
        """Look a file up by its URL."""
        tree = self._by_digest.get(digest)
        entry = tree.files.get(name) if tree is not None else None
        if entry is None:
            return None
        return Found(name, entry, self._codings_of(entry))

    def _codings_of(self, entry: SharedFile) -> tuple[str, ...]:
        codings = self._codings.get(entry.sha256)
        if codings is None:
            codings = self._codings[entry.sha256] = self._store.codings(entry.sha256)
        return codings

    async def content(self, found: Found, coding: str) -> Content:
        """Read a file in one form ("" is uncompressed). Raises `OSError`, `LostFileError` if it is lost for good."""
        key = (found.entry.sha256, coding)
        lock = self._reading.get(key)
        if lock is None:
            lock = self._reading[key] = asyncio.Lock()
        async with lock:
            content = self._held.get(key)
            if content is None:
                content = self._held[key] = Content(await self._from_disk(*key))
        self._memory.keep(key, content)
        return content

    async def size(self, found: Found, coding: str) -> int:
        """The size of a file in one form. Raises `OSError`, or `LostFileError` if it is lost for good."""
        async with self._noticing(found.entry.sha256):
            return await asyncio.to_thread(self._store.size, found.entry, coding)

    async def ahead(self, image_id: str) -> Ahead:
        """What a browser may fetch of an image before it has a notebook; nothing where that cannot be read."""
        tree = self._by_image.get(image_id)
        entry = None if tree is None else tree.files.get(ahead.NAME)
        if tree is None or entry is None or entry.size > ahead.MAX_SIZE:
            return Ahead()
        if tree.digest not in self._ahead:
            try:
                content = await self._from_disk(entry.sha256, "")
            except OSError:
                return Ahead()
            self._ahead[tree.digest] = ahead.read(content, tree, f"{self._links.static(tree.digest)}/")
        return self._ahead[tree.digest]

    # --- serving those that keep copies

    @property
    def trees(self) -> tuple[Tree, ...]:
        """All trees, the newest first."""
        return tuple(reversed(self._by_digest.values()))

    def forms(self, entry: SharedFile) -> tuple[str, ...]:
        """The forms that a content is kept in: compressed ones, or as it is ("")."""
        return self._codings_of(entry) or ("",)

    async def copied(self, sha256: str, form: str) -> bytes:
        """Read a content, without keeping it. Raises `OSError`, `LostFileError` if it is lost for good."""
        return await self._from_disk(sha256, form)

    # --- files that are lost

    async def taken_again(self, found: Found) -> bool:
        """Wait until a lost file is there again, perhaps in other forms. False if it takes too long.

        An error would break the page that is being opened: browsers do not ask twice.
        """
        until = time.monotonic() + _TAKEN_AGAIN_SECONDS
        while not (there := await asyncio.to_thread(self._store.has, found.entry.sha256)):
            if time.monotonic() >= until:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return there

    async def _from_disk(self, sha256: str, coding: str) -> bytes:
        async with self._noticing(sha256):
            return await asyncio.to_thread(self._store.read, sha256, coding)

    @contextlib.asynccontextmanager
    async def _noticing(self, sha256: str) -> AsyncIterator[None]:
        """Schedule the extraction of a file that turns out to be lost."""
        try:
            yield
        except LostFileError:  # perhaps by a program that cleans /tmp
            self._codings.pop(sha256, None)
            if not await asyncio.to_thread(self._store.has, sha256):
                self._lose(sha256)
            raise

    def _lose(self, sha256: str) -> None:
        lost = {image for image, tree in self._by_image.items() if sha256 in tree.contents}
        if not lost <= self._lost:
            self._lost |= lost
            self._on_lost()

    async def remove(self) -> None:
        """Remove all files from the disk for good."""
        await asyncio.to_thread(self._store.remove)

    # --- background work

    async def run(self) -> None:
        """Extract missing files and compress new ones whenever there are any, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_missing(), name="static-files-missing")
            group.create_task(self._compress_new(), name="static-files-compression")

    async def _take_missing(self) -> None:
        while True:
            await self._missing.wait()
            self._missing.clear()
            for image, engine in tuple(self._today.values()):
                if self._is_wanted(image):
                    await self._learn(image, engine)

    async def _compress_new(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._compress_all()
            except OSError as error:  # out of processes or memory; the quick compression serves meanwhile
                _log.warning("static_files_not_compressed", error=str(error), retry_in=_RETRY_SECONDS)
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._work.set)

    async def _compress_all(self) -> None:
        for tree in tuple(reversed(self._by_digest.values())):
            wanted = await asyncio.to_thread(self._store.lacks_brotli, tree)
            if wanted and not self._gave_up:
                await self._compress(wanted)

    async def _compress(self, wanted: list[str]) -> None:
        """Compress in a process. If it ends early it is not restarted: its cause would end the next one, too."""
        began, done = time.monotonic(), 0
        pipe = asyncio.subprocess.PIPE
        command = subprograms.command("tmpnb_py.shared_files.compress", str(self._store.files))
        # A session of its own, so that Ctrl-C reaches only the service.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env=subprograms.environment(), start_new_session=True
        )
        assert process.stdin is not None  # noqa: S101 - a pipe
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        try:
            for sha256 in wanted:
                process.stdin.write(f"{sha256}\n".encode())
                if (await process.stdout.readline()).strip().decode() != sha256:
                    break
                done += 1
                self._codings.pop(sha256, None)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        duration = round(time.monotonic() - began, 1)
        if done == len(wanted):
            _log.info("static_files_compressed", files=done, duration=duration)
            return
        self._gave_up = True
        words = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
        _log.warning("static_files_not_compressed", files=len(wanted) - done, error=words[-1] if words else "")


class _Memory:
    """Caches the most recently requested contents, bounded in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._contents: collections.OrderedDict[_Key, Content] = collections.OrderedDict()

    def keep(self, key: _Key, content: Content) -> None:
        if key in self._contents:
            self._contents.move_to_end(key)
            return
        if len(content.body) > self._limit // 2:
            return
        self._contents[key] = content
        self._used += len(content.body)
        while self._used > self._limit:
            self._used -= len(self._contents.popitem(last=False)[1].body)
