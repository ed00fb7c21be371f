"""Writes a visitor's changed and new files as one ZIP archive while sending it.

The whole archive is never stored, as a notebook's home and /tmp are bounded and count as memory. Besides the files it
contains a manifest with its origin, the open documents and the omitted files, which a restore reads, and a text with
the same for people. Used by `tmpnb_archive` in a thread; imported at the first download.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import stat
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tmpnb_changes import LeftOut, changed, is_alike, readable
from tmpnb_words import to_translate

Send = Callable[[bytes], object]

FORMAT = "tmpnb-archive"
MANIFEST = "tmpnb-archive.json"
ABOUT = "About this archive.txt"

_VERSION = 1  # of the manifest; later additions must not harm older readers
_BLOCK = 256 * 1024  # bytes sent at once; memory use is this plus one block that was read
_MOST_OPEN = 50
_PROGRAMS = ("jupyterlab", "jupyter_server")


@dataclasses.dataclass(frozen=True)
class Wish:
    """What only the open page knows: the documents and texts to include.

    `open` are its documents, `active` the one in front; `unsaved` are texts that could not be saved, by path.
    """

    origin: str = ""
    open: tuple[str, ...] = ()
    active: str = ""
    unsaved: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, told: Any) -> Wish:
        """Parse a page's JSON, ignoring invalid values."""
        told = told if isinstance(told, dict) else {}
        opened, unsaved = told.get("open"), told.get("unsaved")
        return cls(
            origin=str(told.get("origin", ""))[:1000],
            open=tuple(filter(is_inner, opened))[:_MOST_OPEN] if isinstance(opened, list) else (),
            active=str(told.get("active", "")),
            unsaved={
                path: text for path, text in unsaved.items() if is_inner(path) and isinstance(text, str)
            } if isinstance(unsaved, dict) else {},
        )  # fmt: skip


def is_inner(path: object) -> bool:
    """Whether a relative path stays below its base directory."""
    return isinstance(path, str) and bool(path) and "\0" not in path and not {"", ".", ".."} & set(path.split("/"))


def surveyed(root: str, original: str, wish: Wish) -> dict[str, object]:
    """Describe a future archive: the number of files, their size in bytes, and the omitted ones."""
    left_out, unsaved = LeftOut(), _unsaved(wish, original)
    files, size = set(unsaved), sum(len(text.encode()) for text in unsaved.values())
    for path, inner in changed(root, original, left_out):
        if inner in wish.unsaved or inner.endswith("/"):
            continue
        files.add(inner)
        try:
            size += os.lstat(path).st_size
        except OSError:
            continue
    return {"files": len(files), "bytes": size, "left_out": left_out.named, "left_out_count": left_out.count}


def _unsaved(wish: Wish, original: str) -> dict[str, str]:
    """The texts that differ from the image's, as JupyterLab calls a notebook unsaved once it was opened."""
    return {inner: text for inner, text in wish.unsaved.items() if not is_alike(text, f"{original}/{inner}")}


class Outlet:
    """An unseekable output file for `zipfile`. Calls `send` with blocks of about `_BLOCK` bytes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """Buffer or send."""
        self._waiting += data
        if len(self._waiting) >= _BLOCK:
            self.flush_out()
        return len(data)

    def flush(self) -> None:
        """No-op: `zipfile` flushes small pieces."""

    def flush_out(self) -> None:
        """Send the buffer."""
        if self._waiting:
            self._send(bytes(self._waiting))
            self._waiting.clear()


def write_archive(root: str, name: str, send: Send, *, original: str = "", wish: Wish | None = None) -> None:
    """Send a ZIP archive of the files in `root` that differ from those in `original`, stored below `name`.

    Omits unreadable and special files, and lists them in the manifest. `send` may raise.
    """
    wish, outlet, left_out = wish or Wish(), Outlet(send), LeftOut()
    unsaved = _unsaved(wish, original)
    count = len(unsaved)
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED, compresslevel=1, allowZip64=True) as archive:  # type: ignore[call-overload]
        for path, inner in changed(root, original, left_out):
            if inner in wish.unsaved:
                continue
            if inner.endswith("/"):
                archive.writestr(readable(f"{name}/{inner}"), b"")
            else:
                count += _add(archive, path, readable(f"{name}/{inner}"), inner, left_out)
        for inner, text in unsaved.items():
            archive.writestr(_entry(readable(f"{name}/{inner}"), time.time(), archive), text)
        manifest = _manifest(name, wish, unsaved, left_out, count)
        archive.writestr(_entry(ABOUT, time.time(), archive), _about(manifest))
        archive.writestr(_entry(MANIFEST, time.time(), archive), json.dumps(manifest, indent=1, ensure_ascii=False))
    outlet.flush_out()


def _add(archive: zipfile.ZipFile, path: str, name: str, inner: str, left_out: LeftOut) -> bool:
    try:
        # A pipe would block, a link could lead anywhere: either may replace the file at any moment.
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        left_out.add(inner, to_translate("it cannot be read"))
        return False
    with os.fdopen(number, "rb") as file:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            left_out.add(inner, to_translate("it is not a regular file"))
            return False
        info = _entry(name, status.st_mtime, archive)
        info.external_attr = (status.st_mode & 0xFFFF) << 16
        info.file_size = left = status.st_size
        with archive.open(info, "w") as entry:
            # Not beyond its first size: a growing file would never end.
            while left > 0 and (block := _read(file, min(_BLOCK, left))):
                entry.write(block)
                left -= len(block)
    if left:
        left_out.add(inner, "only its beginning is here: it changed or could not be read to its end")
    return True


def _read(file: Any, size: int) -> bytes:
    try:
        return bytes(file.read(size))
    except OSError:
        return b""


def _entry(name: str, unix: float, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _moment(unix))
    info.compress_type = archive.compression
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def _moment(unix: float) -> tuple[int, int, int, int, int, int]:
    """Local time, within the format's range."""
    year, month, day, hour, minute, second = time.localtime(unix)[:6]
    return min(max((year, month, day, hour, minute, second), (1980, 1, 1, 0, 0, 0)), (2107, 12, 31, 23, 59, 58))


def _manifest(name: str, wish: Wish, unsaved: Iterable[str], left_out: LeftOut, files: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": _VERSION,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "origin": wish.origin,
        "versions": {program: _version(program) for program in _PROGRAMS},
        "directory": name,
        "files": files,
        "open": list(wish.open),
        "active": wish.active,
        "unsaved": sorted(unsaved),
        "left_out": left_out.named,
        "left_out_count": left_out.count,
    }


def _version(program: str) -> str:
    try:
        return importlib.metadata.version(program)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _about(manifest: Mapping[str, Any]) -> str:
    """The manifest as text for people."""
    where = f" at {manifest['origin']}" if manifest["origin"] else ""
    lines = [
        f"These are the files that were changed or made in a temporary notebook{where}, on {manifest['made'][:10]}.",
        "What its workshops brought along, and nobody changed, is not among them.",
        "",
        'To go on: "Go on with a saved archive" on the first page there, or "Restore from a Download…" in the menu',
        "File of JupyterLab, puts them where they were.",
        "",
    ]
    if manifest["left_out"]:
        lines += ["Not in this archive:", *(f"  {one['path']}: {one['why']}" for one in manifest["left_out"])]
        more = manifest["left_out_count"] - len(manifest["left_out"])
        lines += [f"  and {more} more"] if more else []
    lines += [
        "Never in it: what is outside of that folder, such as installed packages, and the state of kernels.",
        "",
    ]
    return "\r\n".join(lines)
