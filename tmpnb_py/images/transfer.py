"""Load an image from a file or URL, and save one with its checksums. For `image load` and `image save`.

Nothing reaches the engine before its checksum is verified. Servers are untrusted: a download is bounded by its
expected size and by the disk, and not parsed before the check. An interrupted download resumes where it stopped
(`Range`, RFC 9110 section 14) as long as the server says that the file is unchanged.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import hashlib
import hmac
import json
import os
import re
import shutil
import tarfile
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import IO

import aiohttp

from tmpnb_py import __version__
from tmpnb_py.core.errors import EngineError, ImageTransferError
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.base import ImageStore

DEFAULT_LIMIT = 16 * 1024**3  # bytes; an image of ours is a tenth of that

_CHUNK = 1024 * 1024
_ATTEMPTS = 5
_FIRST_PAUSE = 1.0
_SILENCE_SECONDS = 60.0
_REPORT_SECONDS = 0.2
_SUM = {"sha256": re.compile(r"[0-9a-f]{64}"), "md5": re.compile(r"[0-9a-f]{32}")}
_LOADED = re.compile(r"Loaded image(?: ID)?: (\S+)")
_ADDRESS = "check the address in a browser"
_ARCHIVE = "use an archive that `tmpnb-py image save` or `docker save` wrote"
_SPARE_DISK = 256 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` bytes of the current phase (`total` 0 if unknown)."""

    doing: str
    done: int
    total: int = 0


Report = Callable[[Progress], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Sums:
    """A file's expected checksums in lower-case hexadecimal; "" for none."""

    sha256: str = ""
    md5: str = ""

    def __post_init__(self) -> None:
        """Raises `ImageTransferError` for a malformed checksum."""
        for name, pattern in _SUM.items():
            value = getattr(self, name)
            if value and not pattern.fullmatch(value):
                digits = 64 if name == "sha256" else 32
                raise ImageTransferError(
                    f"{value[:80]!r} is not a {name} sum", remedy=f"it has {digits} hexadecimal digits"
                )

    def check(self, path: Path, found: Sums) -> None:
        """Raise `ImageTransferError` if an expected checksum differs."""
        for name in _SUM:
            wanted, has = getattr(self, name), getattr(found, name)
            if wanted and not hmac.compare_digest(wanted, has):
                raise ImageTransferError(
                    f"{path.name} has the {name} sum {has}, not {wanted}: nothing was loaded",
                    remedy="the file is damaged or another one: get it again, and the sum from its publisher",
                )


async def load(
    engine: ImageStore,
    source: str,
    sums: Sums,
    *,
    tag: str | None,
    directory: Path,
    report: Report = lambda _: None,
    limit: int = DEFAULT_LIMIT,
) -> ImageFacts:
    """Load an image from a file or an http(s) address into the engine, and tag it.

    Downloads go to `directory`, stay there while incomplete, and are removed once loaded. Raises
    `ImageTransferError` (nothing was loaded) and the engine's errors.
    """
    downloaded = source.startswith(("http://", "https://"))
    path = await download(source, sums, directory, report=report, limit=limit) if downloaded else Path(source)
    try:
        sums.check(path, await sums_of(path, report))
    except ImageTransferError:
        if downloaded:
            path.unlink(missing_ok=True)
        raise
    await asyncio.to_thread(_check_archive, path)
    names = await _load(engine, path, report)
    facts = await engine.image(names[0])
    if tag is not None:
        await engine.tag_image(facts.image_id, tag)
        facts = await engine.image(tag)
    if downloaded:
        path.unlink(missing_ok=True)
    return facts


async def _load(engine: ImageStore, path: Path, report: Report) -> list[str]:
    lines: list[str] = []
    try:
        async with aclosing(engine.load_image(_reading(path, "loading", report))) as loading:
            lines = [line async for line in loading]
    except OSError as error:
        raise ImageTransferError(f"cannot read {path}: {error.strerror}") from error
    if names := [match[1] for line in lines if (match := _LOADED.search(line))]:
        return names
    raise EngineError("the engine did not report which image it loaded", remedy="see the engine's log")


async def sums_of(path: Path, report: Report = lambda _: None) -> Sums:
    """Compute both checksums of a file, reading it once."""
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    try:
        async for chunk in _reading(path, "checking", report):
            for digest in digests.values():
                await asyncio.to_thread(digest.update, chunk)
    except OSError as error:
        raise ImageTransferError(f"cannot read {path}: {error.strerror}") from error
    return Sums(**{name: digest.hexdigest() for name, digest in digests.items()})


async def _reading(path: Path, doing: str, report: Report) -> AsyncIterator[bytes]:
    total, done = (await asyncio.to_thread(path.stat)).st_size, 0
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            done += len(chunk)
            report(Progress(doing, done, total))
            yield chunk


def _check_archive(path: Path) -> None:
    """Check for a `docker save` archive, because the engine's own errors are hard to understand."""
    try:
        with tarfile.open(path, mode="r:*") as tar:
            names = {name for name, _ in zip((entry.name for entry in tar), range(2000), strict=False)}
    except (tarfile.TarError, OSError, EOFError, gzip.BadGzipFile) as error:
        raise ImageTransferError(
            f"{path.name} is not a tar archive: {error}", remedy="`docker save` writes one"
        ) from error
    if not names & {"manifest.json", "index.json", "repositories"}:
        raise ImageTransferError(
            f"{path.name} is a tar archive, but contains no image",
            remedy="`tmpnb-py image save` and `docker save` write one",
        )


# ---- downloading -------------------------------------------------------------------------------------------


async def download(
    url: str, sums: Sums, directory: Path, *, report: Report = lambda _: None, limit: int = DEFAULT_LIMIT
) -> Path:
    """Download `url` into `directory`, or resume the download. Raises `ImageTransferError`.

    Resumes an earlier partial download only if the server's `ETag` or `Last-Modified` proves that the file is
    unchanged.
    """
    part = _Part(url, sums, directory)
    pause = _FIRST_PAUSE
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=_SILENCE_SECONDS)
    async with aiohttp.ClientSession(
        timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as http:
        for attempt in range(_ATTEMPTS):
            before = part.size
            try:
                await _fetch(http, part, report, limit)
                return part.path
            except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, TimeoutError) as error:
                if attempt == _ATTEMPTS - 1:
                    raise _broken(part, error) from error
            pause = _FIRST_PAUSE if part.size > before else pause * 2
            report(Progress(f"connection lost, trying again in {pause:g} s", part.size))
            await asyncio.sleep(pause)
    raise AssertionError("unreachable")


def _broken(part: _Part, error: Exception) -> ImageTransferError:
    return ImageTransferError(
        f"the download was interrupted: {error or type(error).__name__}",
        remedy=f"run the same command again: it resumes after the {part.size >> 20} MiB that are here",
    )


class _Part:
    """A partial download, with a file beside it that records the server's validator."""

    def __init__(self, url: str, sums: Sums, directory: Path) -> None:
        self.url = url
        name = hashlib.sha256(f"{url}\n{sums.sha256}{sums.md5}".encode()).hexdigest()[:24]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / f"{name}.tar"
        self._note = directory / f"{name}.json"
        self.validator = self._read()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _read(self) -> str:
        try:
            return str(json.loads(self._note.read_text())["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            self.path.unlink(missing_ok=True)
            return ""

    def begin(self, validator: str) -> None:
        """Discard the partial content and start over."""
        self.validator = validator
        self.path.unlink(missing_ok=True)
        self._note.write_text(json.dumps({"url": self.url, "validator": validator}))

    def open(self) -> IO[bytes]:
        """Open for appending, without following a link that somebody put in its place."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(self.path, flags, 0o600), "ab")


async def _fetch(http: aiohttp.ClientSession, part: _Part, report: Report, limit: int) -> None:
    """Make one request. Returns when the file is complete."""
    headers = {"Accept-Encoding": "identity"}
    if part.size and part.validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    try:
        async with http.get(part.url, headers=headers, max_redirects=5) as response:
            if response.status == 416 and response.headers.get("Content-Range") == f"bytes */{part.size}":
                return
            total = _accept(part, response, limit)
            await _receive(part, response, total, report, limit)
    except aiohttp.ClientSSLError as error:
        remedy = "on a network that inspects TLS, set SSL_CERT_FILE to its authority's certificates"
        raise ImageTransferError(f"{_shown(part.url)} is not trusted: {error.os_error}", remedy=remedy) from error
    except (aiohttp.InvalidURL, aiohttp.RedirectClientError, aiohttp.ClientResponseError, ValueError) as error:
        # aiohttp's own messages contain the whole URL.
        kind = type(error).__name__
        raise ImageTransferError(f"cannot download {_shown(part.url)}: {kind}", remedy=_ADDRESS) from error


def _accept(part: _Part, response: aiohttp.ClientResponse, limit: int) -> int:
    """Prepare the part for this response, and return the whole file's size (0 = unknown)."""
    length = response.content_length or 0
    if response.status == 206:
        begins = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if begins is None or int(begins[1]) != part.size:
            raise ImageTransferError("the server sent a different range than requested")
        total = part.size + length
    elif response.status == 200:
        part.begin(_validator(response))
        total = length
    else:
        raise ImageTransferError(f"{_shown(part.url)} answered with status {response.status}", remedy=_ADDRESS)
    if total > limit:
        raise ImageTransferError(f"the file is larger than {limit >> 30} GiB", remedy=_ADDRESS)
    if length > shutil.disk_usage(part.path.parent).free - _SPARE_DISK:
        raise ImageTransferError(f"no space for {length >> 20} MiB in {part.path.parent}", remedy="make some")
    return total


def _validator(response: aiohttp.ClientResponse) -> str:
    """The validator that later proves the file unchanged: a strong ETag, else the date (RFC 9110 section 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


async def _receive(part: _Part, response: aiohttp.ClientResponse, total: int, report: Report, limit: int) -> None:
    done, reported = part.size, 0.0
    with part.open() as file:
        async for chunk in response.content.iter_chunked(_CHUNK):
            done += len(chunk)
            if done > (total or limit):
                raise ImageTransferError("the server sends more than it announced", remedy=_ADDRESS)
            await asyncio.to_thread(file.write, chunk)
            if (now := time.monotonic()) - reported > _REPORT_SECONDS:
                report(Progress("downloading", done, total))
                reported = now
    if total and done < total:
        raise aiohttp.ClientPayloadError(f"{total - done} bytes are missing")
    report(Progress("downloading", done, total))


def _shown(url: str) -> str:
    """A URL without the password or signature that it may contain."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


# ---- saving ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """A saved archive: its path, checksums, size, and the image that it contains."""

    path: Path
    sums: Sums
    size: int
    image: ImageFacts


async def save(
    engine: ImageStore, image: str, path: Path, *, manifest: bytes = b"", report: Report = lambda _: None
) -> Saved:
    """Write the image to `path`, and its checksums beside it in the formats of sha256sum and md5sum.

    Compresses if `path` ends in `.gz`. Leaves none of these files on failure.
    """
    facts = await engine.image(image)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        size = await _write(engine, image, temporary, report, compress=path.suffix == ".gz")
        sums = await sums_of(temporary, report)
        temporary.replace(path)
    except OSError as error:
        raise ImageTransferError(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    for name, content in _beside(path, facts, sums, size, manifest):
        name.write_bytes(content)
    return Saved(path, sums, size, facts)


def _beside(path: Path, facts: ImageFacts, sums: Sums, size: int, manifest: bytes) -> Iterable[tuple[Path, bytes]]:
    for name in _SUM:
        yield path.with_name(f"{path.name}.{name}"), f"{getattr(sums, name)}  {path.name}\n".encode()
    about = {"image": facts.image, "id": facts.image_id, "size": size, "tmpnb_py": __version__}
    about |= {"file": path.name, "sha256": sums.sha256, "md5": sums.md5}
    yield path.with_name(f"{path.name}.json"), json.dumps(about, indent=2).encode() + b"\n"
    if manifest:
        yield path.with_name(f"{path.name}.workshops.toml"), manifest


async def _write(engine: ImageStore, image: str, path: Path, report: Report, *, compress: bool) -> int:
    """Write the archive and return its size on disk."""
    done = 0
    with path.open("xb") as raw, _maybe_compressed(raw, compress=compress) as file:
        async with aclosing(engine.save_image(image)) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
                done += len(chunk)
                report(Progress("saving", done))
    return (await asyncio.to_thread(path.stat)).st_size


def _maybe_compressed(raw: IO[bytes], *, compress: bool) -> IO[bytes] | gzip.GzipFile:
    # No time and no name in the header, so that the same image has the same checksum.
    return gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0, filename="") if compress else raw
