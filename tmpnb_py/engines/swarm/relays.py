"""The orchestrator's side of the relays: which there are, on which node each is, and what it says.

Their addresses come from names (`tasks.relay` in a stack: Docker's resolver answers with one address per relay) and
are looked up again and again, as nodes come and go. Which node a relay is on it says itself: it has proved to hold
the secret by then. A link that is silent for ten seconds is cut, and made anew in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import pydantic
import structlog

from tmpnb_py.core.errors import AwayError, EngineError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.isolation import EngineLimits
from tmpnb_py.engines.swarm.link import lines, tls, wire
from tmpnb_py.engines.swarm.link.dial import Address, StrangerError, addresses_of, dial
from tmpnb_py.engines.swarm.link.lines import Connection, RelayAwayError
from tmpnb_py.engines.swarm.link.streams import Streams
from tmpnb_py.engines.swarm.link.wire import Event, Hello, Notebook, Question

log = structlog.get_logger(__name__)

_LOOK_UP_SECONDS = 2.0
_BACK_OFF = (0.2, 2.0)
_ANSWER_SECONDS = 45.0  # longer than a relay lets its engine think
_SPARE = 4
_MOST_TROUBLE = 500

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Link:
    """One relay's address, with connections to it. `node` is "" while it does not answer."""

    def __init__(self, address: Address, contexts: tls.Contexts, pool: str) -> None:
        self.address = address
        self._contexts = contexts
        self._pool = pool
        self._spare: list[Connection] = []
        self._open: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()
        self._streams: Streams | None = None
        self.node = ""
        self.name = ""
        self.limits = EngineLimits()

    async def watch(self, told: Callable[[Link, Event], None]) -> None:
        """Follow the relay until it is lost. The first thing told is that events may have been missed."""
        reader, writer = await self._dial()
        try:
            hello = Hello.model_validate(await _ask((reader, writer), Question(do="hello")))
            self._streams = await self._streams_to_notebooks(writer)
            await _ask((reader, writer), Question(do="watch", pool=self._pool))
            self.node, self.name, self.limits = hello.node, hello.name, hello.limits
            told(self, Event(event="again"))
            while True:
                async with asyncio.timeout(wire.SILENCE_SECONDS):
                    line = await lines.read_line(reader)
                if not line:
                    return
                event = Event.model_validate_json(line)
                if event.event != "alive":
                    told(self, event)
        finally:
            writer.close()

    async def _streams_to_notebooks(self, watching: asyncio.StreamWriter) -> Streams:
        """A connection for streams. With it the one that is watched on is lost: the relay has two, or none."""
        connection = await self._dial()
        try:
            await _ask(connection, Question(do="streams"))
        except BaseException:
            connection[1].close()
            raise
        streams = Streams(lost=watching.transport.abort)
        streams.take_over(connection[1])
        return streams

    def lose(self) -> None:
        """Forget who it was, and cut what is open: nothing will come from a node without power, not even an end."""
        self.node, self._streams = "", None
        for writer in list(self._open):
            writer.transport.abort()
        self._spare.clear()

    async def ask(self, question: Question) -> dict[str, Any]:
        """The relay's answer. Raises `RelayAwayError`, and `EngineError` for what it could not do."""
        connection, answer = await self._exchange(question)
        if len(self._spare) < _SPARE and self.node:
            self._spare.append(connection)
        else:
            connection[1].close()
        return answer

    async def begin(self, question: Question) -> Connection:
        """A connection on which the question is answered, and more follows. Raises as `ask`."""
        return (await self._exchange(question))[0]

    async def dial(self, notebook: Notebook, factory: Callable[[], P]) -> P:
        """A connection to a notebook. Raises `OSError` as its socket would, and `AwayError` without a relay."""
        if self._streams is None:
            raise AwayError("the relay does not answer")
        return await self._streams.open(notebook.model_dump_json().encode(), factory)

    async def _exchange(self, question: Question) -> tuple[Connection, dict[str, Any]]:
        """One question; asked again over a new connection where a kept one has ended. (All may be asked twice.)"""
        while True:
            kept = bool(self._spare)
            connection = self._spare.pop() if kept else await self._dial()
            try:
                return connection, await _ask(connection, question)
            except RelayAwayError:
                connection[1].close()
                if not kept:
                    raise
            except BaseException:
                connection[1].close()
                raise

    async def _dial(self) -> Connection:
        host = self.address[0]
        try:
            connection = await dial(self.address, self._contexts)
        except ssl.SSLCertVerificationError as error:
            raise RelayAwayError(f"what answers at {host} does not have the relays' secret") from error
        except StrangerError as error:
            raise RelayAwayError(
                f"what answers at {host} does not have the relays' secret, or is another version"
            ) from error
        except OSError as error:  # TimeoutError and ssl.SSLError are such
            raise RelayAwayError(f"the relay at {host} does not answer: {error or type(error).__name__}") from error
        self._open.add(connection[1])
        return connection


async def _ask(connection: Connection, question: Question) -> dict[str, Any]:
    reader, writer = connection
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            writer.write(lines.line_of(question))
            await writer.drain()
            return wire.answer_of(await lines.read_line(reader))
    except OSError as error:
        raise RelayAwayError(f"the relay does not answer: {error or type(error).__name__}") from error


class Relays:
    """All relays. `told` hears of every event, with the node's id."""

    def __init__(
        self, names: Sequence[str], contexts: tls.Contexts, pool: str, told: Callable[[str, Event], None]
    ) -> None:
        self._names = names
        self._contexts = contexts
        self._pool = pool
        self._told = told
        self._links: dict[Address, asyncio.Task[None]] = {}
        self._by_node: dict[str, Link] = {}
        self._lost_at: dict[str, float] = {}  # monotonic seconds
        self._troubles: dict[Address, str] = {}
        self._unresolved: list[str] = []
        self._tasks = Tasks()
        self._changed = asyncio.Event()

    def open(self) -> None:
        """Begin to look for them, unless that has been begun."""
        if not len(self._tasks):
            self._tasks.start("relays", self._look_up())

    async def close(self) -> None:
        """Give back every connection."""
        await self._tasks.close()
        self._links.clear()
        self._by_node.clear()

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes whose relays answer."""
        return frozenset(self._by_node)

    @property
    def trouble(self) -> str:
        """Why relays do not answer, as far as that shows: which one is whose is not known before it does."""
        unresolved = [f"{name} is the name of nothing" for name in self._unresolved]
        return "; ".join(dict.fromkeys([*unresolved, *self._troubles.values()]))[:_MOST_TROUBLE]

    def absent_for(self, node: str) -> float:
        """Since how many seconds a node's relay has not answered; 0 for one that does, or never did."""
        return time.monotonic() - self._lost_at[node] if node in self._lost_at else 0.0

    def of(self, node: str) -> Link:
        """A node's relay. Raises `RelayAwayError`."""
        try:
            return self._by_node[node]
        except KeyError:
            raise RelayAwayError(
                "the relay of the notebook's node does not answer",
                remedy="docker service ps <stack>_relay tells why",
            ) from None

    async def dial(self, node: str, pool: str, container_id: str, factory: Callable[[], P]) -> P:
        """A connection to a notebook by its node's relay. Raises `OSError`, and `AwayError` where that is away."""
        link = self._by_node.get(node)
        if link is None:
            raise AwayError("the relay of the notebook's node does not answer")
        return await link.dial(Notebook(pool=pool, id=container_id), factory)

    async def wait_for(self, nodes: frozenset[str], seconds: float) -> None:
        """Wait until the relays of these nodes answer; not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not nodes <= self._by_node.keys():
                    self._changed.clear()
                    await self._changed.wait()

    async def ask_all(
        self, question: Question, nodes: Collection[str] | None = None
    ) -> dict[str, dict[str, Any] | EngineError]:
        """What each relay answers, by node; only those of `nodes`, if they are given."""
        links = {node: link for node, link in self._by_node.items() if nodes is None or node in nodes}
        answers = await asyncio.gather(*(link.ask(question) for link in links.values()), return_exceptions=True)
        found: dict[str, dict[str, Any] | EngineError] = {}
        for node, answer in zip(links, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, EngineError):
                raise answer
            found[node] = answer
        return found

    async def _look_up(self) -> None:
        while True:
            answers = [set(await addresses_of(name)) for name in self._names]
            self._unresolved = [name for name, found in zip(self._names, answers, strict=True) if not found]
            found: set[Address] = set().union(*answers)
            for gone in self._links.keys() - found if all(answers) else ():  # a resolver that fails has no say
                self._links.pop(gone).cancel()
                self._troubles.pop(gone, None)
            for new in found - self._links.keys():
                self._links[new] = self._tasks.start(f"relay {new[0]}", self._keep(new))
            await asyncio.sleep(_LOOK_UP_SECONDS)

    async def _keep(self, address: Address) -> None:
        """Keep a link to one relay, for ever."""
        link, pause = Link(address, self._contexts, self._pool), _BACK_OFF[0]
        while True:
            try:
                await link.watch(self._hear)
            except (OSError, EngineError, pydantic.ValidationError) as error:
                self._troubles[address] = str(error) or type(error).__name__
                log.debug("relay_away", address=address[0], error=self._troubles[address])
            finally:
                was = link.node
                self._drop(link)
            if was:
                log.warning("relay_lost", node=link.name)
                pause = _BACK_OFF[0]
            await asyncio.sleep(pause)
            pause = min(2 * pause, _BACK_OFF[1])

    def _drop(self, link: Link) -> None:
        if self._by_node.get(link.node) is link:
            del self._by_node[link.node]
            self._lost_at[link.node] = time.monotonic()
        link.lose()

    def _hear(self, link: Link, event: Event) -> None:
        if self._by_node.get(link.node) is not link:
            self._by_node[link.node] = link
            self._troubles.pop(link.address, None)
            self._lost_at.pop(link.node, None)
            self._changed.set()
            log.info("relay_found", node=link.name)
        self._told(link.node, event)
