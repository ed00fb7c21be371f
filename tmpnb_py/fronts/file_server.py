"""The orchestrator's side of the shared static files: answers what a front end asks, to keep copies of them.

Each connection asks one question at a time, so a front end that asks without end waits for its answers, which take
no more of the event loop than any others' reports; and one that takes them slowly is hung up on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import cast

from tmpnb_py.engines.swarm.link import lines
from tmpnb_py.engines.swarm.link.lines import Connection
from tmpnb_py.fronts import wire
from tmpnb_py.fronts.reports import Turns
from tmpnb_py.fronts.wire import Ask, Content, Listed, Offer, Offers, Part
from tmpnb_py.shared_files.shared import SharedFiles
from tmpnb_py.shared_files.tree import Tree

_PATIENCE_SECONDS = 60.0  # with one that asks nothing
_PIECE = 256 * 1024
_MOST_READS = 4  # at a time: the disk and the threads are others', too

_Forms = tuple[wire.Coding, ...]


class FileServer:
    """Serves the shared files of all pools."""

    def __init__(self, shared: Sequence[SharedFiles], turns: Turns) -> None:
        self._shared = shared
        self._turns = turns
        self._reading = asyncio.Semaphore(_MOST_READS)

    async def serve(self, connection: Connection) -> None:
        """Answer until the front end hangs up. Raises `OSError`, `EngineError` or `ValidationError`."""
        reader, writer = connection
        while True:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                line = await lines.read_line(reader)
            if not line:
                return
            ask = Ask.model_validate_json(line)
            await asyncio.sleep(0)  # many questions may have come together
            if ask.do == "trees":
                await _write(writer, lines.line_of(await self._offers()))
            elif ask.do == "tree":
                await self._list(writer, ask.tree)
            else:
                await self._copy(writer, ask)

    async def _offers(self) -> Offers:
        offers = []
        for shared, tree in self._trees():
            forms, entries = 0, tuple(tree.files.values())
            for start in range(0, len(entries), wire.FILES_IN_PART):
                async with self._turns.taken():  # the first time each is looked for on the disk
                    forms += sum(len(shared.forms(entry)) for entry in entries[start : start + wire.FILES_IN_PART])
            offers.append(Offer(tree=tree.digest, forms=forms))
        return Offers(trees=tuple(offers[: wire.MOST_TREES]))

    def _trees(self) -> Iterable[tuple[SharedFiles, Tree]]:
        return [(shared, tree) for shared in self._shared for tree in shared.trees if tree.files]

    async def _list(self, writer: asyncio.StreamWriter, digest: str) -> None:
        """All files of a tree, in parts; none of one that is not there any more."""
        files = [
            (shared, name, entry)
            for shared, tree in self._trees()
            if tree.digest == digest
            for name, entry in tree.files.items()
        ]
        for start in range(0, max(1, len(files)), wire.FILES_IN_PART):
            end = start + wire.FILES_IN_PART
            async with self._turns.taken():
                listed = tuple(
                    Listed(name=name, sha256=entry.sha256, size=entry.size, forms=cast(_Forms, shared.forms(entry)))
                    for shared, name, entry in files[start:end]
                )
                line = lines.line_of(Part(files=listed, more=end < len(files)))
            await _write(writer, line)

    async def _copy(self, writer: asyncio.StreamWriter, ask: Ask) -> None:
        body = b""
        for shared in self._shared:
            if any(ask.sha256 in tree.contents for tree in shared.trees):
                try:
                    async with self._reading:
                        body = await shared.copied(ask.sha256, ask.coding)
                except OSError:  # lost: it is taken from the image again
                    continue
                break
        else:
            await _write(writer, lines.line_of(Content(is_there=False)))
            return
        await _write(writer, lines.line_of(Content(size=len(body))))
        for start in range(0, len(body), _PIECE):
            await _write(writer, body[start : start + _PIECE])


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await lines.drained(writer)
