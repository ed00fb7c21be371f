"""Restores the files of an archive to their places: all of them, or none.

The archive may be one of ours (`tmpnb_packing`), an old one of ours without a manifest, or any other ZIP file, which
is unpacked into a folder of its name. It is checked before anything is written, unpacked beside the files, and then
moved into place. It never overwrites the visitor's work: a file that differs gets another name. Used by
`tmpnb_archive` in a thread, one restore at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from tmpnb_changes import CACHES, HIDDEN_CACHES, alike
from tmpnb_packing import FORMAT, MANIFEST, is_inner
from tmpnb_room import room
from tmpnb_words import to_translate

MOST_FILES = 20_000
_LARGEST_DIRECTORY = 4 * 1024 * 1024  # bytes of an archive's central directory, which is read as a whole
_LARGEST_MANIFEST = 1024 * 1024
_LONGEST_NAME, _LONGEST_FOLDER, _DEEPEST = 250, 200, 40  # bytes of a name and of a folder's, and a path's depth
_BLOCK = 256 * 1024
_PER_FILE = 4096  # overhead of a file in bytes
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may need too much memory
_MOST_OPENED = 20
_MOST_OPENED_UNASKED = 3  # if an archive does not record the open documents
_NOTEBOOKS = (".ipynb", ".Rmd", ".qmd")
_MOST_NAMED = 100
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG)
_MANY_FILES = to_translate("This archive holds more than {most} files, which is more than can be restored.")
_RUBBISH = frozenset(("__MACOSX", ".DS_Store", "Thumbs.db"))  # metadata files of other systems


class RefusedError(Exception):
    """Nothing was restored. `status` is the HTTP status.

    `text` is for the visitor, with places for `values`, of which numbers are sizes in bytes.
    """

    def __init__(self, status: int, text: str, **values: str | int) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.values = values

    @property
    def message(self) -> str:
        """The text with its values, in English."""
        shown = {name: value if isinstance(value, str) else _megabytes(value) for name, value in self.values.items()}
        return self.text.format(**shown)


@dataclasses.dataclass
class Outcome:
    """The result of a restore, as paths below the root. Long lists are truncated."""

    restored: list[str] = dataclasses.field(default_factory=list)
    replaced: list[str] = dataclasses.field(default_factory=list)
    kept_both: dict[str, str] = dataclasses.field(default_factory=dict)
    same: int = 0
    skipped: list[dict[str, str]] = dataclasses.field(default_factory=list)
    folder: str = ""
    open: list[str] = dataclasses.field(default_factory=list)

    def told(self) -> dict[str, object]:
        """The result as JSON for the page."""
        return {
            "restored": len(self.restored),
            "replaced": self.replaced,
            "kept_both": dict(list(self.kept_both.items())[:_MOST_NAMED]),
            "kept_both_count": len(self.kept_both),
            "same": self.same,
            "skipped": self.skipped[:_MOST_NAMED],
            "skipped_count": len(self.skipped),
            "folder": self.folder,
            "open": self.open,
        }


def restore(upload: Path, root: str, name: str, staging: Path, original: str) -> Outcome:
    """Restore the archive in `upload`, which was named `name`, into `root`; `staging` is an empty directory in it.

    Raises `RefusedError`, and then nothing has changed.
    """
    with upload.open("rb") as file, _opened(file) as archive:
        manifest = _manifest(archive)
        entries, outcome = _entries(archive, manifest, root, name)
        _check_room(entries, root)
        with _refusing_full():
            for info, inner in entries:
                _unpack(archive, info, staging / "new" / inner)
    _Placing(root, staging, original, outcome).place([inner for info, inner in entries if not info.is_dir()])
    for info, inner in entries:
        if info.is_dir():
            with contextlib.suppress(OSError):
                Path(root, inner).mkdir(parents=True, exist_ok=True)
    outcome.open = _to_open(manifest, root, outcome)
    return outcome


# --- Checking


class _Bounded:
    """Bounds reads of an archive's file, as `zipfile` reads the whole central directory at once, of any size."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.close, self.seekable = file.seek, file.tell, file.close, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _LARGEST_DIRECTORY:
            raise RefusedError(413, _MANY_FILES, most=str(MOST_FILES))
        return self._file.read(size if size >= 0 else _LARGEST_DIRECTORY)


@contextlib.contextmanager
def _opened(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(_Bounded(file))  # type: ignore[arg-type]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, OverflowError) as error:
        raise RefusedError(400, to_translate("This file is no ZIP archive, or not all of it has arrived.")) from error
    with archive:
        if len(archive.infolist()) > MOST_FILES:
            raise RefusedError(413, _MANY_FILES, most=str(MOST_FILES))
        if any(info.flag_bits & 1 for info in archive.infolist()):
            raise RefusedError(
                400, to_translate("This archive is encrypted. Please unpack it, and make one without a password.")
            )
        yield archive


def _manifest(archive: zipfile.ZipFile) -> dict[str, Any] | None:
    """The archive's manifest; None if it is not ours, or older than manifests."""
    try:
        info = archive.getinfo(MANIFEST)
        if info.file_size > _LARGEST_MANIFEST or info.compress_type not in _METHODS:
            return None
        with archive.open(info) as entry:  # `archive.read` would unpack it all, whatever size it declares
            told = json.loads(entry.read(_LARGEST_MANIFEST))
    except (KeyError, ValueError, RecursionError, zipfile.BadZipFile, zlib.error, EOFError, OSError):
        return None
    return (
        told if isinstance(told, dict) and told.get("format") == FORMAT and is_inner(told.get("directory")) else None
    )


def _entries(
    archive: zipfile.ZipFile, manifest: dict[str, Any] | None, root: str, name: str
) -> tuple[list[tuple[zipfile.ZipInfo, str]], Outcome]:
    """The entries to restore, with their paths below the root."""
    outcome, found = Outcome(), list[tuple[zipfile.ZipInfo, str]]()
    named = [(info, _name(info)) for info in archive.infolist()]
    tops = {inner.partition("/")[0] for _, inner in named}
    directory = manifest["directory"] if manifest else Path(root).name if tops == {Path(root).name} else ""
    if not directory:
        stem = Path(name.replace("\\", "/").replace("\0", "_")).name.removesuffix(".zip").strip(". ")
        stem = stem.encode("utf-8", "replace")[:_LONGEST_FOLDER].decode(errors="ignore") or "archive"
        outcome.folder = stem if tops != {stem} else ""
    for info, full in named:
        inner = full
        if directory:
            if not full.startswith(f"{directory}/"):
                continue
            inner = full.removeprefix(f"{directory}/")
        reason = _unwanted(info, inner)
        if reason:
            outcome.skipped.append({"path": inner, "why": reason})
        elif reason is None and inner:
            found.append((info, f"{outcome.folder}/{inner}" if outcome.folder else inner))
    return found, outcome


def _name(info: zipfile.ZipInfo) -> str:
    """An entry's name with slashes. Raises `RefusedError` for one that leaves the target directory."""
    name = info.filename
    if not info.flag_bits & 0x800:  # not marked as UTF-8, although Macs write UTF-8
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    name = name.replace("\\", "/")
    parts = name.removesuffix("/").split("/")
    is_outside = name.startswith("/") or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":")
    if is_outside:
        raise RefusedError(
            400,
            to_translate("This archive holds a name that leads out of its folder ({name}): none of it was taken."),
            name=name[:100],
        )
    if (
        not is_inner("/".join(parts))
        or len(parts) > _DEEPEST
        or max(len(os.fsencode(part)) for part in parts) > _LONGEST_NAME
    ):
        raise RefusedError(
            400,
            to_translate("This archive holds a name that no file can have here ({name}): none of it was taken."),
            name=name[:100],
        )
    return "/".join(parts)


def _unwanted(info: zipfile.ZipInfo, inner: str) -> str | None:
    """Why an entry is skipped: "" if silently, None if it is not skipped."""
    parts = set(inner.split("/"))
    kind = stat.S_IFMT(info.external_attr >> 16)
    if parts & (_RUBBISH | CACHES | HIDDEN_CACHES):
        return ""
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return to_translate("it is a link or not a regular file")
    if any(part.startswith(".") for part in inner.split("/")[:-1]):
        return to_translate("it is in a hidden folder")
    if info.compress_type in _METHODS:
        return None
    return to_translate("it is compressed in a way that is not known here")


def _check_room(entries: list[tuple[zipfile.ZipInfo, str]], root: str) -> None:
    folders = _folders(inner for _, inner in entries)
    needed = sum(info.file_size for info, _ in entries) + _PER_FILE * (len(entries) + folders)
    there = room(root)
    if needed > there:
        text = to_translate(
            "These files need {needed}, and there is room for {room} in this notebook. Nothing was restored. "
            "Delete what you do not need here, or restore a part of the archive."
        )
        raise RefusedError(507, text, needed=needed, room=max(there, 0))


def _folders(paths: Iterable[str]) -> int:
    """Count the folders: each takes memory, and a few bytes of an archive can name dozens."""
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
        if len(found) > MOST_FILES:
            text = to_translate("This archive holds more than {most} folders, which is more than can be restored.")
            raise RefusedError(413, text, most=str(MOST_FILES))
    return len(found)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


# --- Unpacking


@contextlib.contextmanager
def _refusing_full() -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        text = to_translate("This archive holds the same name twice: none of it was taken.")
        raise RefusedError(400, text) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            text = to_translate(
                "There is no more room in this notebook. Nothing was restored. "
                "Delete what you do not need here, or restore a part of the archive."
            )
            raise RefusedError(507, text) from error
        text = to_translate("This archive is damaged, or cannot be unpacked here ({cause}): none of it was taken.")
        raise RefusedError(400, text, cause=str(error.strerror)) from error


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    """Unpack one entry, at most to its declared size, which was checked before."""
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file, archive.open(info) as entry:
            shutil.copyfileobj(entry, file, _BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        text = to_translate("This archive is damaged ({name}): none of it was taken.")
        raise RefusedError(400, text, name=path.name[:100]) from error
    path.chmod(0o644 | (info.external_attr >> 16) & 0o111)


# --- Moving into place


class _Placing:
    """Moves the unpacked files into place, and all of them back if any fails."""

    def __init__(self, root: str, staging: Path, original: str, outcome: Outcome) -> None:
        self._root = Path(root)
        self._real_root = os.path.realpath(root)
        self._new = staging / "new"
        self._old = staging / "old"
        self._original = original
        self._outcome = outcome
        self._undo: list[tuple[Path, Path | None]] = []

    def place(self, paths: list[str]) -> None:
        self._old.mkdir()
        with _refusing_full():
            try:
                for inner in paths:
                    self._place(inner)
            except OSError:
                self._take_back()
                raise

    def _place(self, inner: str) -> None:
        staged, target = self._new / inner, self._root / inner
        parent = os.path.realpath(target.parent)
        try:
            if not f"{parent}/".startswith(f"{self._real_root}/"):
                raise NotADirectoryError
            self._make(target.parent)
            if not target.parent.is_dir():
                raise NotADirectoryError
        except (FileExistsError, NotADirectoryError):
            why = to_translate("something else has its folder's name here")
            self._outcome.skipped.append({"path": inner, "why": why})
            return
        if not os.path.lexists(target):
            self._move(staged, target, None)
            self._outcome.restored.append(inner)
        elif alike(str(staged), str(target)) or alike(str(staged), f"{self._original}/{inner}"):
            self._outcome.same += 1
        elif alike(str(target), f"{self._original}/{inner}"):
            self._move(staged, target, self._old / str(len(self._undo)))
            self._outcome.restored.append(inner)
            self._outcome.replaced.append(inner)
        else:
            beside = self._free(target)
            self._move(staged, beside, None)
            self._outcome.restored.append(beside.relative_to(self._root).as_posix())
            self._outcome.kept_both[inner] = self._outcome.restored[-1]

    def _make(self, directory: Path) -> None:
        missing = [one for one in (directory, *directory.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir()
            self._undo.append((one, None))

    def _move(self, staged: Path, target: Path, backup: Path | None) -> None:
        if backup is not None:
            target.rename(backup)
            self._undo.append((target, backup))
        staged.rename(target)
        if backup is None:
            self._undo.append((target, None))

    def _free(self, target: Path) -> Path:
        names = (
            f"{target.stem} (restored{'' if number == 1 else f' {number}'}){target.suffix}"
            for number in range(1, MOST_FILES)
        )
        return next(path for path in map(target.with_name, names) if not os.path.lexists(path))

    def _take_back(self) -> None:
        for target, backup in reversed(self._undo):
            with contextlib.suppress(OSError):
                if backup is not None:
                    backup.replace(target)
                elif target.is_dir() and not target.is_symlink():
                    target.rmdir()
                else:
                    target.unlink()


# --- Afterwards


def _to_open(manifest: dict[str, Any] | None, root: str, outcome: Outcome) -> list[str]:
    """The documents to open, the active one last."""
    said = manifest.get("open") if manifest else None
    if isinstance(said, list):
        wished = [one for one in said[:_MOST_OPENED] if is_inner(one)]
        active = manifest.get("active") if manifest else None
        wished.sort(key=lambda one: one == active)
        wished = [outcome.kept_both.get(one, one) for one in wished]
    else:
        wished = []
    if not wished:
        wished = [one for one in outcome.restored if one.endswith(_NOTEBOOKS)][:_MOST_OPENED_UNASKED]
    real_root = os.path.realpath(root)
    return [
        one
        for one in wished
        if os.path.realpath(Path(root, one)).startswith(f"{real_root}/") and Path(root, one).is_file()
    ]
