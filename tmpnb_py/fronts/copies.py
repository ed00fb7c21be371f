"""A front end's side of the shared static files: keeps its mirror as the orchestrator's are, for ever.

The orchestrator answers on a connection of its own (`file_server`). Whatever does not have the checksum that it is
listed with ends the connection, and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pydantic
import structlog

from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines.swarm.link import lines
from tmpnb_py.engines.swarm.link.lines import Connection
from tmpnb_py.fronts import wire
from tmpnb_py.fronts.wire import Ask, Content, Listed, Offer, Offers, Part
from tmpnb_py.shared_files.mirror import Mirror, checked
from tmpnb_py.shared_files.shared import Content as Copy
from tmpnb_py.shared_files.tree import MAX_FILES, MAX_SIZE, SharedFile, Tree

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 30.0

M = TypeVar("M", bound=pydantic.BaseModel)


class CopyError(EngineError):
    """The orchestrator sent what is not the file that it listed."""


class Copies:
    """Keeps a mirror up to date."""

    def __init__(self, connect: Callable[[], Awaitable[Connection | None]], mirror: Mirror) -> None:
        """`connect` waits for the orchestrator; None where that has no files to give. Raises `OSError`."""
        self._connect = connect
        self._mirror = mirror
        self._have: dict[str, int] = {}  # how many forms of each tree were looked at
        self._refused: set[str] = set()

    async def run(self) -> None:
        """Look again and again."""
        while True:
            stream = None
            try:
                stream = await self._connect()
                if stream is not None:
                    await self._follow(stream)
            except (OSError, EngineError, pydantic.ValidationError) as error:
                log.debug("files_away", error=str(error) or type(error).__name__)
            finally:
                if stream is not None:
                    stream[1].close()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _follow(self, stream: Connection) -> None:
        while True:
            offers = (await _asked(stream, Ask(do="trees"), Offers)).trees
            self._mirror.offered(offer.tree for offer in offers)
            for offer in offers:
                is_new = self._have.get(offer.tree) != offer.forms or not self._mirror.has(offer.tree)
                if is_new and offer.tree not in self._refused:
                    await self._copy(stream, offer, {one.tree for one in offers})
            self._refused &= {offer.tree for offer in offers}
            await asyncio.sleep(_LOOK_SECONDS)

    async def _copy(self, stream: Connection, offer: Offer, offered: set[str]) -> None:
        """Take over a tree with all forms of its contents that are not here yet."""
        began = time.monotonic()
        listed = [one async for one in _listed(stream, offer.tree)]
        tree = Tree({one.name: SharedFile(one.sha256, one.size) for one in listed})
        if not listed or sum(one.size for one in listed) > MAX_SIZE:
            return  # it was removed meanwhile
        if tree.digest != offer.tree:
            raise CopyError("a list of files that is not what its digest says")
        fresh: dict[str, dict[str, Copy]] = {}
        for one in listed:
            entry = SharedFile(one.sha256, one.size)
            there = {*self._mirror.forms(entry), *fresh.get(one.sha256, {})}
            for form in one.forms:
                if form not in there and (content := await _content(stream, entry, form)):
                    fresh.setdefault(one.sha256, {})[form] = content
            if not there and one.sha256 not in fresh:
                return  # lost, and being taken from the image again: the next look comes soon
        if not self._mirror.put(tree, fresh, offered=offered):
            self._refused.add(offer.tree)
            log.warning("files_not_mirrored", tree=tree.digest, hint="no room; only the orchestrator serves them")
            return
        self._have[offer.tree] = offer.forms
        self._have = {digest: forms for digest, forms in self._have.items() if digest in offered}
        size, duration = round(self._mirror.used / 2**20, 1), round(time.monotonic() - began, 2)
        log.info("files_mirrored", tree=tree.digest, files=len(tree.files), size_mib=size, duration=duration)


async def _asked(stream: Connection, ask: Ask | None, answer: type[M]) -> M:
    reader, writer = stream
    async with asyncio.timeout(_ANSWER_SECONDS):
        if ask is not None:
            writer.write(lines.line_of(ask))
            await writer.drain()
        line = await lines.read_line(reader)
    if not line:
        raise ConnectionResetError("the orchestrator has hung up")
    return answer.model_validate_json(line)


async def _listed(stream: Connection, digest: str) -> AsyncIterator[Listed]:
    part, count = await _asked(stream, Ask(do="tree", tree=digest), Part), 0
    while True:
        for one in part.files:
            count += 1
            yield one
        if not part.more:
            return
        if count > MAX_FILES or not part.files:
            raise CopyError("too many files")
        part = await _asked(stream, None, Part)


async def _content(stream: Connection, entry: SharedFile, form: wire.Coding) -> Copy | None:
    """A content in one form, checked; None where it cannot be had at present."""
    answer = await _asked(stream, Ask(do="content", sha256=entry.sha256, coding=form), Content)
    if not answer.is_there:
        return None
    body = b"".join([chunk async for chunk in lines.read_exactly(stream[0], answer.size)])
    try:
        return await asyncio.to_thread(checked, entry, form, body)
    except ValueError as error:
        raise CopyError(str(error)) from error
