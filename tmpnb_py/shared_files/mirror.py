"""A copy of shared files in memory, bounded in bytes: what a front end serves while the orchestrator is away.

Contents are kept once, in the forms that the orchestrator has them in, and each is checked against its checksum
before it is kept. A tree is served from the moment that it is whole. One that is not offered any more goes on being
served (a notebook may still name it) until its room is needed. Everything runs on one event loop; `web/static.py`
serves it.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import weakref
import zlib
from collections.abc import Collection, Iterable, Mapping

import brotli

from tmpnb_py.shared_files.shared import Content, Found
from tmpnb_py.shared_files.store import LostFileError
from tmpnb_py.shared_files.tree import SharedFile, Tree

LIMIT = 64 * 1024 * 1024  # bytes of all contents; JupyterLab and the classic interface have 16 MB, compressed
_CODINGS = ("br", "gzip")

Forms = Mapping[str, Mapping[str, Content]]  # by checksum, then by form


class Mirror:
    """Trees of shared files. The one offered last is evicted last."""

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._trees: dict[str, Tree] = {}
        self._contents: dict[str, dict[str, Content]] = {}
        self._plain: weakref.WeakValueDictionary[str, Content] = weakref.WeakValueDictionary()
        self.used = 0

    def __len__(self) -> int:
        """How many trees are served."""
        return len(self._trees)

    def has(self, digest: str) -> bool:
        """Whether this tree is served."""
        return digest in self._trees

    def forms(self, entry: SharedFile) -> Collection[str]:
        """In which forms a content is there."""
        return self._contents.get(entry.sha256, {}).keys()

    # --- keeping

    def offered(self, digests: Iterable[str]) -> None:
        """These trees are in use, the most important one first; the others go first when room is needed."""
        for digest in reversed(tuple(digests)):
            if digest in self._trees:
                self._trees[digest] = self._trees.pop(digest)

    def put(self, tree: Tree, fresh: Forms, *, offered: Collection[str]) -> bool:
        """Serve a tree, all of whose contents are here or in `fresh`, which are checked (`checked`).

        Others that are not `offered` are evicted for it. False where there is no room even so.
        """
        if any(sha256 not in self._contents and not fresh.get(sha256) for sha256 in tree.contents):
            raise ValueError("a tree that is not whole")
        needed = sum(len(content.body) for forms in fresh.values() for content in forms.values())
        for digest in tuple(self._trees):
            if self.used + needed > self._limit and digest not in offered:
                self._evict(digest, kept=tree.contents)
        if self.used + needed > self._limit:
            return False
        for sha256, forms in fresh.items():
            self._contents.setdefault(sha256, {}).update(forms)
        self._trees[tree.digest] = tree
        self.used = sum(len(one.body) for forms in self._contents.values() for one in forms.values())
        return True

    def _evict(self, digest: str, *, kept: Collection[str]) -> None:
        tree = self._trees.pop(digest)
        for sha256 in tree.contents.difference(kept, *(other.contents for other in self._trees.values())):
            for content in self._contents.pop(sha256, {}).values():
                self.used -= len(content.body)

    # --- serving (as `SharedFiles`)

    def find(self, digest: str, name: str) -> Found | None:
        """Look a file up by its URL."""
        tree = self._trees.get(digest)
        entry = tree.files.get(name) if tree is not None else None
        if entry is None:
            return None
        forms = self._contents[entry.sha256]
        return Found(name, entry, tuple(coding for coding in _CODINGS if coding in forms))

    async def content(self, found: Found, coding: str) -> Content:
        """A file in one form ("" is uncompressed). Raises `LostFileError` for one that was just evicted."""
        forms = self._contents.get(found.entry.sha256, {})
        if coding in forms:
            return forms[coding]
        if coding or not forms:
            raise LostFileError("evicted")
        content = self._plain.get(found.entry.sha256)
        if content is None:
            form, packed = next(iter(forms.items()))
            body = await asyncio.to_thread(unpacked, packed.body, form, found.entry.size)
            content = self._plain.setdefault(found.entry.sha256, Content(body))
        return content

    async def size(self, found: Found, coding: str) -> int:
        """The size of a file in one form. Raises `LostFileError` for one that was just evicted."""
        return len((await self.content(found, coding)).body) if coding else found.entry.size

    async def taken_again(self, _: Found) -> bool:
        """What was evicted does not come back: the orchestrator has it."""
        return False


def checked(entry: SharedFile, form: str, body: bytes) -> Content:
    """A content that has this checksum once it is unpacked. Raises `ValueError` for any other."""
    if hashlib.sha256(unpacked(body, form, entry.size)).hexdigest() != entry.sha256:
        raise ValueError("a content with another checksum")
    return Content(body)


def unpacked(body: bytes, form: str, size: int) -> bytes:
    """Decompress, never to more than `size` bytes. Raises `ValueError` for what is longer, or damaged."""
    try:
        if form == "gzip":
            plain = _gunzipped(body, size)
        elif form == "br":
            plain = _unbrotlied(body, size)
        else:
            plain = body
    except (zlib.error, gzip.BadGzipFile, brotli.error) as error:
        raise ValueError("a damaged content") from error
    if len(plain) != size:
        raise ValueError("a content of another length")
    return plain


def _gunzipped(body: bytes, size: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    plain = decompressor.decompress(body, size + 1)  # which takes 0 as no limit
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("a content of another length, or with something behind it")
    return plain


def _unbrotlied(body: bytes, size: int) -> bytes:
    decompressor, parts, left = brotli.Decompressor(), [], size + 1
    data = body
    while left > 0 and not decompressor.is_finished():
        part = decompressor.process(data, output_buffer_limit=left)
        if not part and not data:
            break
        parts.append(part)
        left -= len(part)
        data = b""
    if not decompressor.is_finished():
        raise ValueError("a content of another length")
    return b"".join(parts)
