"""Brings an image from the manager's engine to the nodes that lack it, over their relays.

Layer by layer, and only those that a node does not have: what has arrived stays, and whoever pushes again goes on
there. At most a few nodes at once; of an image only chunks are in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import NodeTransfer
from tmpnb_py.engines.swarm.link import lines, wire
from tmpnb_py.engines.swarm.link.lines import RelayAwayError
from tmpnb_py.engines.swarm.link.wire import BusyError, Question
from tmpnb_py.engines.swarm.parcels.archive import Archive
from tmpnb_py.engines.swarm.relays import Link, Relays

_AT_ONCE = 3
_CHUNK = 1024 * 1024
_BUSY_SECONDS = 1.0

Report = Callable[[NodeTransfer], None]


@contextlib.asynccontextmanager
async def spooled(content: AsyncGenerator[bytes, None], directory: Path, image: str) -> AsyncGenerator[Archive, None]:
    """What the engine saves of `image`, in a file without a name in `directory`. Raises `EngineError`."""
    try:
        await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            async with aclosing(content) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
            file.flush()
            yield await asyncio.to_thread(Archive, file, image)
    except OSError as error:
        raise EngineError(
            f"the image cannot be kept in {directory} while it is sent: {error}",
            remedy="the option runtime-dir names a directory with room for one image",
        ) from error


class Push:
    """One image to some nodes."""

    def __init__(self, relays: Relays, archive: Archive, report: Report) -> None:
        self._relays = relays
        self._archive = archive
        self._report = report
        self._parcel = archive.parcel
        self._few = asyncio.Semaphore(_AT_ONCE)

    async def to(self, node: str, name: str) -> NodeTransfer:
        """Bring it to one node. What goes wrong is told, not raised: other nodes go on."""
        total = sum(size for _, size in self._archive.layers)
        told = NodeTransfer(name, 0, len(self._archive.layers), sent=0, size=total)
        async with self._few:
            try:
                async with aclosing(self._bring(node, told)) as steps:
                    async for told in steps:
                        self._report(told)
            except EngineError as error:
                told = dataclasses.replace(told, error=error.message)
                self._report(told)
        return told

    async def _bring(self, node: str, told: NodeTransfer) -> AsyncGenerator[NodeTransfer, None]:
        """Bring it to one node; yields how far it is. What somebody else brings meanwhile is waited for."""
        link = self._relays.of(node)
        if await self._is_there(link):
            yield dataclasses.replace(told, layers=told.of, done=True)
            return
        told = dataclasses.replace(told, layers=await self._have(link))
        yield told
        while not told.done:
            # Where another image has all of its layers, the documents alone are sent.
            count = min(told.layers + 1, told.of)
            place = self._archive.layers[count - 1] if told.layers < told.of else (0, 0)
            try:
                await self._send(link, count, place)
                told = dataclasses.replace(told, layers=count, sent=told.sent + place[1], done=count == told.of)
            except BusyError:
                await asyncio.sleep(_BUSY_SECONDS)
                is_there, before = await self._is_there(link), told
                told = dataclasses.replace(
                    told, layers=told.of if is_there else await self._have(link), done=is_there
                )
                if told == before:
                    continue
            yield told

    async def _is_there(self, link: Link) -> bool:
        return (await link.ask(Question(do="has_image", image=self._parcel.id))).get("there") is True

    async def _have(self, link: Link) -> int:
        """How many of its layers the node has."""
        have = (await link.ask(Question(do="layers", **self._parcel.question()))).get("have")
        if not isinstance(have, int) or not 0 <= have <= len(self._archive.layers):
            raise RelayAwayError("the relay's answer is none")
        return have

    async def _send(self, link: Link, count: int, place: tuple[int, int]) -> None:
        question = Question(do="load", layer=count, size=place[1], **self._parcel.question())
        reader, writer = await link.begin(question)
        try:
            async with asyncio.TaskGroup() as group:
                pouring = group.create_task(self._pour(writer, place))
                answer = await lines.read_line(reader)  # before all is sent, it is a refusal
                pouring.cancel()
        except ExceptionGroup as errors:
            raise RelayAwayError(f"the relay was lost: {errors.exceptions[0]}") from errors
        finally:
            writer.close()
        wire.answer_of(answer)

    async def _pour(self, writer: asyncio.StreamWriter, place: tuple[int, int]) -> None:
        offset, left = place
        while left:
            chunk = await asyncio.to_thread(os.pread, self._archive.number, min(_CHUNK, left), offset)
            if not chunk:
                raise RelayAwayError("the file with the image has become shorter")
            offset, left = offset + len(chunk), left - len(chunk)
            try:
                writer.write(chunk)
                await writer.drain()
            except OSError:  # the reading side says why
                return
