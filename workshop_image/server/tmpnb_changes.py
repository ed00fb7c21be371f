"""Finds the files that a visitor changed or created, compared with the image's originals.

Downloads contain them; a restore may replace all others, as they contain nobody's work. Used in threads of the
notebook server by `tmpnb_packing` and `tmpnb_restore`; imported at the first download, not at each server's start.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tmpnb_words import to_translate

PREVIEW = "/usr/share/preview"  # an author's folder, shown by links (start-notebook.sh)

_BLOCK = 256 * 1024
_LARGEST_NOTEBOOK = 16 * 1024 * 1024  # bytes of a notebook that is compared by content
_MOST_NAMED = 200  # omitted files that are listed by name
CACHES = frozenset(("__pycache__",))
HIDDEN_CACHES = frozenset((".cache", ".ipynb_checkpoints", ".jupyter", ".local", ".virtual_documents"))
_NO_NOTEBOOK = (ValueError, TypeError, AttributeError, KeyError, RecursionError)
RESTORING = ".tmpnb-restore-"  # prefix of directories in which an upload is unpacked


class LeftOut:
    """The files that an archive omits, with reasons. Bounded, as a home may have very many."""

    def __init__(self) -> None:
        self.count = 0
        self.named: list[dict[str, str]] = []

    def add(self, inner: str, why: str) -> None:
        """Note a file or a directory."""
        self.count += 1
        if len(self.named) < _MOST_NAMED:
            self.named.append({"path": readable(inner), "why": why})


def readable(name: str) -> str:
    """Replace characters that some systems do not allow in names, or take for separators."""
    return os.fsencode(name).decode("utf-8", "replace").replace("\\", "_")


def originals() -> str:
    """The directory that new homes are copied from."""
    return os.environ.get("TMPNB_WORKSHOPS", "/usr/share/workshops")


def changed(root: str, original: str, left_out: LeftOut) -> Iterator[tuple[str, str]]:
    """Yield paths of changed and new files, with their names below `root`; names of empty directories end in a slash.

    Silently skips caches, and links whose targets are inside, as those are included anyway.
    """
    real_root = os.path.realpath(root)

    def unread(error: OSError) -> None:
        if error.filename != root:
            left_out.add(_inner(root, str(error.filename)), to_translate("it cannot be read"))

    for directory, directories, files in os.walk(root, onerror=unread):
        inner = _inner(root, directory)
        directories[:] = list(_entered(directory, directories, inner, left_out, real_root))
        for one in sorted(files):
            path, name = f"{directory}/{one}", f"{inner}/{one}".lstrip("/")
            if _is_taken(path, name, left_out, real_root) and not alike(path, f"{original}/{name}"):
                yield path, name
        if inner and not directories and not files and not os.path.isdir(f"{original}/{inner}"):  # noqa: PTH112
            yield f"{directory}/", f"{inner}/"


def _inner(root: str, path: str) -> str:
    return path[len(root) :].lstrip("/")


def _entered(directory: str, names: list[str], inner: str, left_out: LeftOut, real_root: str) -> Iterator[str]:
    """The directories to enter. `os.walk` does not follow links, but lists links to directories here."""
    for one in sorted(names):
        name = f"{inner}/{one}".lstrip("/")
        if one in CACHES or one in HIDDEN_CACHES or one.startswith(RESTORING):
            continue
        if one.startswith("."):
            left_out.add(f"{name}/", to_translate("it is a hidden folder"))
        elif os.path.islink(f"{directory}/{one}"):  # noqa: PTH114  (names that are no UTF-8 stay as they are)
            _note_link(f"{directory}/{one}", name, left_out, real_root)
        else:
            yield one


def _is_taken(path: str, name: str, left_out: LeftOut, real_root: str) -> bool:
    """Whether a file can be in an archive."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        left_out.add(name, to_translate("it cannot be read"))
        return False
    if stat.S_ISLNK(mode):
        _note_link(path, name, left_out, real_root)
    elif not stat.S_ISREG(mode):
        left_out.add(name, to_translate("it is not a regular file, but a socket, a pipe or a device"))
    return stat.S_ISREG(mode)


def _note_link(path: str, name: str, left_out: LeftOut, real_root: str) -> None:
    target = os.path.realpath(path)
    if not _is_below(target, real_root) and not _is_below(target, PREVIEW):
        left_out.add(name, to_translate("it is a link that leads out of your files"))


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


# --- Comparing


def alike(path: str, other: str) -> bool:
    """Whether two files have the same content; False if one is missing, special or unreadable.

    A notebook that was only opened and saved counts as the same, despite another kernel version and new ids.
    """
    try:
        one, two = os.lstat(path), os.lstat(other)
        if not (stat.S_ISREG(one.st_mode) and stat.S_ISREG(two.st_mode)):
            return False
        if one.st_size == two.st_size and _same_bytes(path, other):
            return True
        is_notebook = path.endswith(".ipynb") and max(one.st_size, two.st_size) <= _LARGEST_NOTEBOOK
        return is_notebook and _essence(Path(path).read_bytes()) == _essence(Path(other).read_bytes())
    except (OSError, *_NO_NOTEBOOK):
        return False


def is_alike(text: str, other: str) -> bool:
    """`alike` for texts."""
    try:
        if len(text) > _LARGEST_NOTEBOOK or os.path.getsize(other) > _LARGEST_NOTEBOOK:  # noqa: PTH202
            return False
        there = Path(other).read_bytes()
        return text.encode() == there or (other.endswith(".ipynb") and _essence(text) == _essence(there))
    except (OSError, *_NO_NOTEBOOK):
        return False


def _same_bytes(path: str, other: str) -> bool:
    with Path(path).open("rb") as one, Path(other).open("rb") as two:
        while (block := one.read(_BLOCK)) == two.read(_BLOCK):
            if not block:
                return True
    return False


def _essence(text: bytes | str) -> Any:
    """The content that people write in a notebook. Raises one of `_NO_NOTEBOOK` for other files."""
    book = json.loads(text)
    kept = {name: value for name, value in book["metadata"].items() if name not in ("kernelspec", "language_info")}
    kernel = book["metadata"].get("kernelspec", {}).get("name")
    return kernel, kept, [_cell(cell) for cell in book["cells"]]


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    left = {name: _joined(value) for name, value in cell.items() if name != "id"}
    left["metadata"] = {name: value for name, value in cell.get("metadata", {}).items() if name != "trusted"}
    return left


def _joined(value: Any) -> Any:
    """Join texts, which notebooks may store as lists of lines."""
    if isinstance(value, list):
        return (
            "".join(value)
            if value and all(isinstance(one, str) for one in value)
            else [_joined(one) for one in value]
        )
    if isinstance(value, dict):
        return {name: _joined(one) for name, one in value.items()}
    return value
