"""Put what an archive holds back to where it was: all of it, or nothing.

The archive is whatever somebody has chosen: one of ours (`tmpnb_packing`), one of ours from before there was a
manifest, or any other ZIP file, which is unpacked into a folder of its name. It is examined before anything is
written, unpacked beside the files, and then moved into place. Nothing of the visitor's is ever overwritten: a file
that differs gets another name. Used by `tmpnb_archive` in a thread, once at a time.
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

MOST_FILES = 20_000
_LARGEST_DIRECTORY = 4 * 1024 * 1024  # bytes of an archive's own table, which is read at once
_LARGEST_MANIFEST = 1024 * 1024
_LONGEST_NAME, _LONGEST_FOLDER, _DEEPEST = 250, 200, 40  # bytes, and names in a path
_BLOCK = 256 * 1024
_PER_FILE = 4096  # bytes that a file takes beside its own
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may take more memory than there is
_MOST_OPENED = 20
_MOST_OPENED_UNASKED = 3  # where an archive does not say what was open
_NOTEBOOKS = (".ipynb", ".Rmd", ".qmd")
_MOST_NAMED = 100
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG)
_RUBBISH = frozenset(("__MACOSX", ".DS_Store", "Thumbs.db"))  # what other systems put into archives


class RefusedError(Exception):
    """Nothing was restored. `status` is HTTP's, `message` is for the visitor."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclasses.dataclass
class Outcome:
    """What became of an archive, in paths below the root. Of long lists the beginning is told."""

    restored: list[str] = dataclasses.field(default_factory=list)
    replaced: list[str] = dataclasses.field(default_factory=list)
    kept_both: dict[str, str] = dataclasses.field(default_factory=dict)
    same: int = 0
    skipped: list[dict[str, str]] = dataclasses.field(default_factory=list)
    folder: str = ""
    open: list[str] = dataclasses.field(default_factory=list)

    def told(self) -> dict[str, object]:
        """As the page gets it."""
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
    """Restore the archive in `upload`, which came as `name`, into `root`; `staging` is an empty place in there.

    Raises `RefusedError`, and then everything is as it was.
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


# --- Examining


class _Bounded:
    """An archive's file: `zipfile` reads the table of all entries at once, however large somebody has made it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.close, self.seekable = file.seek, file.tell, file.close, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _LARGEST_DIRECTORY:
            raise RefusedError(
                413, f"This archive holds more than {MOST_FILES} files, which is more than can be restored."
            )
        return self._file.read(size if size >= 0 else _LARGEST_DIRECTORY)


@contextlib.contextmanager
def _opened(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(_Bounded(file))  # type: ignore[arg-type]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, OverflowError) as error:
        raise RefusedError(400, "This file is no ZIP archive, or not all of it has arrived.") from error
    with archive:
        if len(archive.infolist()) > MOST_FILES:
            raise RefusedError(
                413, f"This archive holds more than {MOST_FILES} files, which is more than can be restored."
            )
        if any(info.flag_bits & 1 for info in archive.infolist()):
            raise RefusedError(400, "This archive is encrypted. Please unpack it, and make one without a password.")
        yield archive


def _manifest(archive: zipfile.ZipFile) -> dict[str, Any] | None:
    """What the archive says of itself; None where it is none of ours, or one from before they did."""
    try:
        info = archive.getinfo(MANIFEST)
        if info.file_size > _LARGEST_MANIFEST or info.compress_type not in _METHODS:
            return None
        with archive.open(info) as entry:  # `archive.read` would unpack all of it, whatever size it says that it has
            told = json.loads(entry.read(_LARGEST_MANIFEST))
    except (KeyError, ValueError, RecursionError, zipfile.BadZipFile, zlib.error, EOFError, OSError):
        return None
    return (
        told if isinstance(told, dict) and told.get("format") == FORMAT and is_inner(told.get("directory")) else None
    )


def _entries(
    archive: zipfile.ZipFile, manifest: dict[str, Any] | None, root: str, name: str
) -> tuple[list[tuple[zipfile.ZipInfo, str]], Outcome]:
    """What is to be restored, with its path below the root."""
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
    """An entry's name with slashes. Raises `RefusedError` for one that leads out of where it is unpacked."""
    name = info.filename
    if not info.flag_bits & 0x800:  # not said to be UTF-8, which it is all the same in what a Mac makes
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    name = name.replace("\\", "/")
    parts = name.removesuffix("/").split("/")
    is_outside = name.startswith("/") or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":")
    if is_outside:
        raise RefusedError(
            400, f"This archive holds a name that leads out of its folder ({name[:100]}): none of it was taken."
        )
    if (
        not is_inner("/".join(parts))
        or len(parts) > _DEEPEST
        or max(len(os.fsencode(part)) for part in parts) > _LONGEST_NAME
    ):
        raise RefusedError(
            400, f"This archive holds a name that no file can have here ({name[:100]}): none of it was taken."
        )
    return "/".join(parts)


def _unwanted(info: zipfile.ZipInfo, inner: str) -> str | None:
    """Why an entry is not taken: "" for what nobody misses, None for what is taken."""
    parts = set(inner.split("/"))
    kind = stat.S_IFMT(info.external_attr >> 16)
    if parts & (_RUBBISH | CACHES | HIDDEN_CACHES):
        return ""
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is a link or no ordinary file"
    if any(part.startswith(".") for part in inner.split("/")[:-1]):
        return "it is in a hidden folder"
    return None if info.compress_type in _METHODS else "it is compressed in a way that is not known here"


def _check_room(entries: list[tuple[zipfile.ZipInfo, str]], root: str) -> None:
    folders = _folders(inner for _, inner in entries)
    needed = sum(info.file_size for info, _ in entries) + _PER_FILE * (len(entries) + folders)
    there = room(root)
    if needed > there:
        raise _full(
            f"These files need {_megabytes(needed)}, and there is room for {_megabytes(there)} in this notebook."
        )


def _folders(paths: Iterable[str]) -> int:
    """How many folders they are in: each takes memory, and a few bytes of an archive can name dozens of them."""
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
        if len(found) > MOST_FILES:
            raise RefusedError(
                413, f"This archive holds more than {MOST_FILES} folders, which is more than can be restored."
            )
    return len(found)


def _full(message: str) -> RefusedError:
    return RefusedError(
        507, f"{message} Nothing was restored. Delete what you do not need here, or restore a part of the archive."
    )


def _megabytes(size: int) -> str:
    return f"{max(size, 0) / 1e6:.1f} MB"


# --- Unpacking


@contextlib.contextmanager
def _refusing_full() -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise RefusedError(400, "This archive holds the same name twice: none of it was taken.") from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _full("There is no more room in this notebook.") from error
        message = f"This archive is damaged, or cannot be unpacked here ({error.strerror}): none of it was taken."
        raise RefusedError(400, message) from error


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    """One entry. Its bytes end where the archive says that they do, which was looked at before."""
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file, archive.open(info) as entry:
            shutil.copyfileobj(entry, file, _BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise RefusedError(400, f"This archive is damaged ({path.name[:100]}): none of it was taken.") from error
    path.chmod(0o644 | (info.external_attr >> 16) & 0o111)


# --- Moving into place


class _Placing:
    """Moves what was unpacked to where it belongs, and back again if that does not work for all of it."""

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
            self._outcome.skipped.append({"path": inner, "why": "something else has its folder's name here"})
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
    """The documents to open, the one to be in front last."""
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
