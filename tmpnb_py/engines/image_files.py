"""Read an image's files from a tar archive or a directory. Used by the engines, in threads.

Images are untrusted: reads are bounded, and only regular files count (a link might lead anywhere).
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from tmpnb_py.core.errors import EngineError, TooLargeError

READ_LIMIT = 64 * 1024 * 1024  # bytes in all; JupyterLab's static files are 20 MiB


def from_tar(archive: IO[bytes], path: str, *, limit: int = READ_LIMIT) -> dict[str, bytes]:
    """Read an archive that the engine made of `path`: each name in it begins with the last part of `path`."""
    parent, found = PurePosixPath(path).parent, dict[str, bytes]()
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for entry in tar:
                if not entry.isreg() or ".." in PurePosixPath(entry.name).parts:
                    continue
                limit = _less(limit, entry.size, path)
                content = tar.extractfile(entry)
                assert content is not None  # noqa: S101 - it is a regular file
                found[str(parent / entry.name)] = content.read()
    except tarfile.TarError as error:
        raise EngineError(f"cannot read the engine's archive of {path}: {error}") from error
    return found


def from_directory(paths: Iterable[str], *, limit: int = READ_LIMIT) -> dict[str, bytes]:
    """Read the files at and below `paths` on this machine. Skips missing paths."""
    found: dict[str, bytes] = {}
    for path in paths:
        for file in _files(Path(path)):
            limit = _less(limit, file.stat().st_size, path)
            found[str(file)] = file.read_bytes()
    return found


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink():
        return
    if path.is_file():
        yield path
    elif path.is_dir():
        for entry in sorted(path.iterdir()):
            yield from _files(entry)


def _less(limit: int, size: int, path: str) -> int:
    if size > limit:
        raise TooLargeError(f"{path} of the image has more bytes than the read limit allows")
    return limit - size
