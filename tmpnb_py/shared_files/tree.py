"""Decides which files of an image are shared, under which names, and in which form a browser gets them. Pure.

An image's content is hostile. Its file names are only dictionary keys and never become paths; only known types are
shared, and never HTML pages, which could act on the origin that all notebooks share.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

MAX_FILES = 10_000
MAX_SIZE = 64 * 1024 * 1024  # bytes of all files of an image; JupyterLab and the classic interface have 36 MiB
_MAX_NAME = 400

# Text is compressed, and fonts and icons in uncompressed formats.
_PLAIN = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
_COMPRESSIBLE = {
    ".css": "text/css; charset=utf-8",
    ".eot": "application/vnd.ms-fontobject",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".otf": "font/otf",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
}
_TYPES = {**_PLAIN, **_COMPRESSIBLE}


@dataclasses.dataclass(frozen=True, slots=True)
class SharedFile:
    """A file: the SHA-256 of its content, and its size in bytes."""

    sha256: str
    size: int


@dataclasses.dataclass(frozen=True)
class Tree:
    """All shared files of an image, by their paths below a notebook's base path.

    They never change, so what is made from them is made once: whoever keeps copies asks for it every few seconds.
    """

    files: Mapping[str, SharedFile]

    @functools.cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that change with any name or content. An image rebuilt with the same files keeps its
        URL, so browsers keep their caches."""
        lines = "".join(f"{entry.sha256} {name}\n" for name, entry in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()[:32]

    @functools.cached_property
    def contents(self) -> frozenset[str]:
        """The checksums of all contents."""
        return frozenset(entry.sha256 for entry in self.files.values())


def named(prefix: str, directory: str, found: Mapping[str, bytes]) -> dict[str, bytes]:
    """Select the shared files by their public names: the image's `directory` is published as `prefix`."""
    names = {path: _public_name(prefix, directory, path) for path in found}
    return {name: found[path] for path, name in names.items() if name is not None}


def _public_name(prefix: str, directory: str, path: str) -> str | None:
    try:
        name = f"{prefix}/{PurePosixPath(path).relative_to(directory)}"
    except ValueError:
        return None
    if content_type(name) is None or len(name) > _MAX_NAME or not name.isprintable() or "\\" in name:
        return None
    return name


def content_type(name: str) -> str | None:
    """A file's MIME type by its name; None for a type that is not shared."""
    return _TYPES.get(PurePosixPath(name).suffix.lower())


def is_compressible(name: str) -> bool:
    """Whether compression makes such a file smaller."""
    return PurePosixPath(name).suffix.lower() in _COMPRESSIBLE


def etag(entry: SharedFile, coding: str) -> str:
    """A strong validator of one representation (RFC 9110 §8.8.3.3: each coding needs its own)."""
    return f'"{entry.sha256[:24]}-{coding}"' if coding else f'"{entry.sha256[:24]}"'
