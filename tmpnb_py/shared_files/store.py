"""Shared files on disk: each content once, gzipped if compressible, later with a better compression beside it.

In the private runtime directory. File names are checksums, never an image's names. Synchronous: called in threads. A
crash leaves at most a temporary file or a content that no tree refers to; `load` removes both.

    files/<sha256>.gz    gzip, of a compressible file
    files/<sha256>.br    brotli, made later; empty if not smaller
    files/<sha256>       any other file, unchanged
    trees/<digest>.json  the names, and the ids of images that have them
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import json
import os
import shutil
import threading
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tmpnb_py.shared_files.tree import SharedFile, Tree, is_compressible

KEPT_TREES = 4  # of one pool: the current one, and those of notebooks started before an upgrade
KEPT_IMAGES = 16  # rebuilt images with the same files
SUFFIXES = {"br": ".br", "gzip": ".gz", "": ""}
_QUICK = 6  # a megabyte takes 25 ms; one level more gains 0.2 %


class LostFileError(OSError):
    """A content is missing or damaged on disk."""


class Store:
    """The shared files of one pool's images."""

    def __init__(self, directory: Path) -> None:
        self.kept_trees = KEPT_TREES
        self._directory = directory
        self._files = directory / "files"
        self._trees = directory / "trees"
        self._writing = threading.Lock()
        self._is_removed = False

    def remove(self) -> None:
        """Remove everything for good, including what a thread, which cannot be cancelled, is still adding."""
        with self._writing:
            self._is_removed = True
        remove(self._directory)

    def _write(self, path: Path, content: bytes) -> None:
        with self._writing:
            if self._is_removed:
                raise LostFileError(errno.ENOENT, "the shared files were removed")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write(path, content)

    def load(self, *, tidy: bool = True) -> dict[str, Tree]:
        """Load the trees by the ids of their images, the most recently used image last.

        `tidy`: remove what is half written, unreadable or of no tree. Not while another process has the directory.
        """
        found: dict[str, Tree] = {}
        kept: list[Tree] = []
        for path in self._by_age():
            try:
                tree, images = _read(path)
            except (OSError, ValueError, KeyError, TypeError):
                if tidy:
                    path.unlink(missing_ok=True)
                continue
            kept.append(tree)
            found |= dict.fromkeys(images, tree)
        if tidy:
            self._forget_all_but(kept)
        return found

    def add(self, files: Mapping[str, bytes]) -> dict[str, SharedFile]:
        """Store the files' contents. The next `load` removes them unless `keep` stores a tree with them."""
        return {name: self._add(name, content) for name, content in files.items()}

    def _add(self, name: str, content: bytes) -> SharedFile:
        entry = SharedFile(hashlib.sha256(content).hexdigest(), len(content))
        # A power cut may leave an empty file; so an empty one is always written again.
        if not self.has(entry.sha256):
            packed = gzip.compress(content, _QUICK, mtime=0) if is_compressible(name) else content
            gained = len(packed) < len(content)
            self._write(self._path(entry.sha256, "gzip" if gained else ""), packed if gained else content)
        return entry

    def keep(self, tree: Tree, image_id: str) -> dict[str, Tree]:
        """Store a tree, and remove the oldest beyond the limit. Returns what `load` does."""
        path = self._trees / f"{tree.digest}.json"
        images: list[str] = []
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            images = [image for image in _read(path)[1] if image != image_id]
        images = [*images, image_id][-KEPT_IMAGES:]
        listed = {name: (entry.sha256, entry.size) for name, entry in tree.files.items()}
        self._write(path, json.dumps({"images": images, "files": listed}).encode())
        for old in self._by_age()[: -self.kept_trees]:
            old.unlink(missing_ok=True)
        return self.load()

    def _by_age(self) -> list[Path]:
        return sorted(self._trees.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)

    def _forget_all_but(self, trees: Iterable[Tree]) -> None:
        wanted = frozenset[str]().union(*(tree.contents for tree in trees))
        for path in self._files.glob("*"):
            if path.name.partition(".")[0] not in wanted or path.suffix == ".new":
                path.unlink(missing_ok=True)

    def codings(self, sha256: str) -> tuple[str, ...]:
        """The available compressed forms, best first."""
        return tuple(coding for coding in ("br", "gzip") if _size(self._path(sha256, coding)))

    def lacks_brotli(self, tree: Tree) -> list[str]:
        """A tree's contents that still lack the better compression."""
        contents = dict.fromkeys(entry.sha256 for entry in tree.files.values())
        have = {path.name for path in self._files.glob("*")}
        return [one for one in contents if f"{one}.gz" in have and f"{one}.br" not in have]

    def read(self, sha256: str, coding: str) -> bytes:
        """Read a content in one form ("" is uncompressed). Raises `LostFileError`, or `OSError` if unreadable now."""
        plain = self._path(sha256, "")
        try:
            if coding:
                return self._path(sha256, coding).read_bytes()
            content = (
                plain.read_bytes() if plain.exists() else gzip.decompress(self._path(sha256, "gzip").read_bytes())
            )
        except FileNotFoundError as error:
            raise LostFileError(errno.ENOENT, "the file is gone", error.filename) from error
        except (EOFError, zlib.error, gzip.BadGzipFile):
            content = b""
        if hashlib.sha256(content).hexdigest() != sha256:
            self._discard(sha256)
            raise LostFileError(errno.EIO, "the file on disk is damaged", str(plain))
        return content

    def size(self, entry: SharedFile, coding: str) -> int:
        """The size of a content in one form. Raises `LostFileError`, or `OSError` if unreadable now."""
        path = self._path(entry.sha256, coding)
        try:
            return path.stat().st_size if coding else entry.size
        except FileNotFoundError as error:
            raise LostFileError(errno.ENOENT, "the file is gone", str(path)) from error

    def has(self, sha256: str) -> bool:
        """Whether a content exists, so that `add` would skip it."""
        return any(_size(self._path(sha256, coding)) for coding in ("gzip", ""))

    def _discard(self, sha256: str) -> None:
        """Remove a damaged content, so that `add` writes it again."""
        for coding in SUFFIXES:
            self._path(sha256, coding).unlink(missing_ok=True)

    def _path(self, sha256: str, coding: str) -> Path:
        return self._files / f"{sha256}{SUFFIXES[coding]}"

    @property
    def files(self) -> Path:
        """The directory of the contents."""
        return self._files


def remove(directory: Path) -> None:
    """Remove all of a pool's shared files."""
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()


def write(path: Path, content: bytes) -> None:
    """Write a file atomically, even across a power failure."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def _read(path: Path) -> tuple[Tree, list[str]]:
    document = json.loads(path.read_bytes())
    tree = Tree({str(name): SharedFile(str(sha256), int(size)) for name, (sha256, size) in document["files"].items()})
    if f"{tree.digest}.json" != path.name:
        raise ValueError("not what was written")
    return tree, [str(image) for image in document["images"]]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
