"""The relay: `tmpnb-py relay`, on every node. It obeys holders of the secret, and keeps nothing that it would miss.

What it knows is in the node's engine, so a relay that starts anew goes on where the last one was: connections break
and are made again, notebooks do not notice.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any, ClassVar

import pydantic
import structlog

from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.swarm.link import lines, tls, wire
from tmpnb_py.engines.swarm.link.door import Door
from tmpnb_py.engines.swarm.link.frames import FrameError
from tmpnb_py.engines.swarm.link.lines import Connection, RelayAwayError
from tmpnb_py.engines.swarm.link.stream import Stream
from tmpnb_py.engines.swarm.link.streams import Streams
from tmpnb_py.engines.swarm.link.wire import Event, Notebook, Question
from tmpnb_py.engines.swarm.parcels.parcel import Parcel, parcel_of
from tmpnb_py.engines.swarm.relay.node import NodeEngine
from tmpnb_py.engines.swarm.relay.through import Through

log = structlog.get_logger(__name__)

_RECONNECT_SECONDS = 1.0
_IDLE_SECONDS = 120.0  # the orchestrator closes its spare connections earlier
_ANSWER_SECONDS = 40.0
_LINGER_SECONDS = 5.0
_WATCHER_EVENTS = 10_000
_MOST_CONNECTIONS = 500  # to one notebook; each may hold two windows and what the sockets hold


class _Watcher:
    """One orchestrator's queue. Whoever does not keep up is cut off, and lists anew when it comes back."""

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.queue: asyncio.Queue[Event] = asyncio.Queue(_WATCHER_EVENTS)


class Relay:
    """Serves orchestrators on one address."""

    def __init__(self, node: NodeEngine, contexts: tls.Contexts) -> None:
        self._node = node
        self._contexts = contexts
        self._watchers: set[_Watcher] = set()
        self._tasks = Tasks()
        self._through: collections.Counter[Notebook] = collections.Counter()  # connections by notebook

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[int]:
        """Serve until the block ends; yields the port."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
        door = Door(listener, self._contexts, self._accept, "relay")
        bound = listener.getsockname()[1]
        self._tasks.start("relay-events", self._follow())
        door.open()
        try:
            yield bound
        finally:
            await door.close()
            await self._tasks.close()
            await self._node.close()

    async def _follow(self) -> None:
        """Hand the engine's events on, for ever."""
        while True:
            try:
                async with aclosing(self._node.events()) as events:
                    async for pool, event in events:
                        self._tell(pool, event)
            except EngineError as error:
                log.warning("engine_events_lost", error=error.message)
                self._tell("", Event(event="again"))  # what ends with the engine, nobody tells
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _tell(self, pool: str, event: Event) -> None:
        for watcher in self._watchers:
            if pool in ("", watcher.pool):
                with contextlib.suppress(asyncio.QueueFull):  # the watching side ends at a full queue
                    watcher.queue.put_nowait(event)

    async def _accept(self, peer: Connection) -> None:
        try:
            await self._serve(*peer)
        except (OSError, RelayAwayError, pydantic.ValidationError) as error:
            log.info("relay_connection_lost", error=type(error).__name__)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                line = await lines.read_line(reader)
            if not line:
                return
            question = Question.model_validate_json(line)
            if question.do == "watch":
                await self._watch(question, writer)
                return
            if question.do == "load":
                await self._load(question, reader, writer)
                return
            if question.do == "streams":
                await self._stream(writer)
                return
            writer.write(lines.line_of(await self._answer(question)))
            await writer.drain()

    async def _answer(self, question: Question) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return {"ok": await self._operations[question.do](self, question)}
        except TimeoutError:
            return wire.refusal_of(EngineDownError("the node's engine did not answer in time"))
        except EngineError as error:
            return wire.refusal_of(error)

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        """Let streams to notebooks be opened on this connection from here on."""
        writer.write(lines.line_of({"ok": {}}))
        lost = asyncio.Event()
        streams = Streams(self._wanted, lost=lost.set)
        streams.take_over(writer)
        try:
            await lost.wait()
        finally:
            streams.close()

    def _wanted(self, stream: Stream) -> None:
        try:
            notebook = Notebook.model_validate_json(stream.wanted)
        except pydantic.ValidationError as error:
            raise FrameError("not a notebook") from error
        self._tasks.start("relay-through", self._put_through(notebook, stream))

    async def _put_through(self, notebook: Notebook, stream: Stream) -> None:
        """Connect a stream to its notebook, until either ends."""
        with self._counted(notebook) as is_too_many:
            try:
                if is_too_many:
                    raise BlockingIOError(errno.EAGAIN, "a notebook has too many connections")
                through = await self._node.connect(notebook.pool, notebook.id, lambda: Through(stream))
            except OSError as error:  # which the other side raises, as if it had dialled the notebook itself
                stream.refuse(error.errno or errno.ECONNREFUSED)
            except EngineError as error:
                log.debug("notebook_unreachable", id=notebook.id, error=error.message)
                stream.refuse(errno.ECONNREFUSED)
            else:
                await through.until_ended()
            finally:
                stream.refuse(errno.ECONNABORTED)  # means nothing, unless a mistake of ours left it unanswered

    @contextlib.contextmanager
    def _counted(self, notebook: Notebook) -> Iterator[bool]:
        """Whether it is one too many: what one visitor's notebook does not take must not fill our memory."""
        self._through[notebook] += 1
        try:
            yield self._through[notebook] > _MOST_CONNECTIONS
        finally:
            self._through[notebook] -= 1
            if not self._through[notebook]:
                del self._through[notebook]

    async def _load(self, asked: Question, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a layer of an image: it follows our "go on", and our answer follows it, or comes before its end."""
        try:
            parcel = _parcel_of(asked)
            async with self._node.images.turn(parcel, asked.layer):
                writer.write(lines.line_of({"ok": {}}))
                await writer.drain()
                async with aclosing(lines.read_exactly(reader, asked.size)) as content:
                    await self._node.images.add(parcel, asked.layer, asked.size, content)
            answer: dict[str, Any] = {"ok": {}}
            log.info("layer_loaded", image=asked.image, layer=asked.layer, size=asked.size)
        except EngineError as error:
            answer = wire.refusal_of(error)
        writer.write(lines.line_of(answer))
        await writer.drain()
        with contextlib.suppress(TimeoutError):  # else what was not read would reset the connection before it is read
            async with asyncio.timeout(_LINGER_SECONDS):
                while await reader.read(lines.LIMIT):
                    pass

    async def _watch(self, question: Question, writer: asyncio.StreamWriter) -> None:
        watcher = _Watcher(question.pool)
        self._watchers.add(watcher)
        try:
            writer.write(lines.line_of({"ok": {}}))
            while not watcher.queue.full():
                event = Event(event="alive")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wire.HEARTBEAT_SECONDS):
                        event = await watcher.queue.get()
                writer.write(lines.line_of(event))
                await writer.drain()
        finally:
            self._watchers.discard(watcher)

    # --- operations

    async def _hello(self, _: Question) -> dict[str, Any]:
        return (await self._node.hello()).model_dump()

    async def _take(self, asked: Question) -> dict[str, Any]:
        await self._node.take(asked.pool, asked.id)
        return {}

    async def _ready(self, asked: Question) -> dict[str, Any]:
        await self._node.ready(asked.pool, asked.id, asked.cpu_quota, asked.tolerated)
        return {}

    async def _remove(self, asked: Question) -> dict[str, Any]:
        await self._node.remove(asked.pool, asked.id)
        return {}

    async def _ended(self, asked: Question) -> dict[str, Any]:
        return await self._node.ended(asked.pool, asked.id)

    async def _inventory(self, asked: Question) -> dict[str, Any]:
        return {"ids": await self._node.inventory(asked.pool)}

    async def _logs(self, asked: Question) -> dict[str, Any]:
        return {"lines": await self._node.logs(asked.pool, asked.id, asked.lines)}

    async def _cpu(self, asked: Question) -> dict[str, Any]:
        return {"seconds": await self._node.cpu_seconds(asked.pool, asked.ids)}

    async def _usage(self, asked: Question) -> dict[str, Any]:
        return await self._node.usage(asked.pool, asked.id)

    async def _has_image(self, asked: Question) -> dict[str, Any]:
        return {"there": await self._node.images.has(asked.image), **self._node.pulls.told(asked.image)}

    async def _pull(self, asked: Question) -> dict[str, Any]:
        if "@" not in asked.image:
            raise EngineError("only what a registry has can be pulled")
        await self._node.pulls.want(asked.image, asked.auth)
        return await self._has_image(asked)

    async def _layers(self, asked: Question) -> dict[str, Any]:
        return {"have": await self._node.images.have(_parcel_of(asked))}

    async def _prune(self, asked: Question) -> dict[str, Any]:
        return await self._node.images.prune(frozenset(asked.keep))

    _operations: ClassVar[dict[str, Callable[[Relay, Question], Awaitable[dict[str, Any]]]]] = {
        "hello": _hello,
        "take": _take,
        "ready": _ready,
        "remove": _remove,
        "ended": _ended,
        "inventory": _inventory,
        "logs": _logs,
        "usage": _usage,
        "cpu": _cpu,
        "has_image": _has_image,
        "layers": _layers,
        "prune": _prune,
        "pull": _pull,
    }


def _parcel_of(asked: Question) -> Parcel:
    return parcel_of(asked.image, asked.config, asked.documents)
