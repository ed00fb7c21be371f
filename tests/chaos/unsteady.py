"""A Unix socket between the service and its engine that delays, cuts, refuses or garbles chosen calls.

It knows just enough of HTTP to see which request it passes on. An engine's client sends the next request of a
connection only when it has the last answer, so all that the engine says goes back as it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import random
import re
import threading
from pathlib import Path

_REFUSAL = b'{"message":"an injected failure"}'
_NONSENSE = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n[{"Id": nul}]',
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nnull",
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"x": [1, 2]}',
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
    b"\x00\xff\x16\x03garbage\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"",
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What happens to calls that match `call` (a pattern for "METHOD path"), with a `chance` for each.

    `action`: `delay` (by `seconds`, then as usual), `late` (the engine is asked at once, and its answer held back for
    `seconds`), `refuse` (500), `nonsense`, `cut` (no answer, and the engine is not asked), `unanswered` (the engine
    is asked, and the connection cut before its answer).
    """

    call: str
    action: str
    seconds: float = 0.0
    chance: float = 1.0


class Unsteady:
    """The socket at `path`, which leads to the engine's at `engine`. It runs in a thread of its own."""

    def __init__(self, path: Path, engine: Path) -> None:
        self.host = f"unix://{path}"
        self.rules: tuple[Rule, ...] = ()
        self.clock = 0  # seconds by which all times that the engine tells are off
        self.met = 0  # calls that a rule was applied to
        self.random = random.Random(0)
        self._path, self._engine = path, engine
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.StreamWriter, str] = {}  # to clients, with the call that they are at
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    # --- what the driver calls, from its own thread

    def open(self) -> None:
        """Listen."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def shut(self) -> None:
        """Listen no more, remove the socket and cut what is open."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()

    def cut(self, call: str = "") -> int:
        """Cut the connections that are at a call that matches; returns how many."""
        return asyncio.run_coroutine_threadsafe(self._cut(call), self._loop).result()

    def close(self) -> None:
        """End all of it."""
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- in its thread

    async def _open(self) -> None:
        self._server = await asyncio.start_unix_server(self._accepted, self._path)

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._path.unlink(missing_ok=True)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self, call: str) -> int:
        found = [writer for writer, at in self._links.items() if re.search(call, at)]
        for writer in found:
            writer.transport.abort()
        return len(found)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._links[writer] = ""
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _Link(self, reader, writer).run()
        finally:
            self._tasks.discard(task)
            del self._links[writer]
            writer.transport.abort()

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the engine."""
        return await asyncio.open_unix_connection(self._engine)

    def rule_for(self, call: str, writer: asyncio.StreamWriter) -> Rule | None:
        """What happens to this call."""
        self._links[writer] = call
        for rule in self.rules:
            if re.search(rule.call, call) and self.random.random() < rule.chance:
                self.met += 1
                return rule
        return None


_UNIX_TIME = re.compile(rb'(?<="Created":)[0-9]{10}|(?<="timeNano":)[0-9]{10}|(?<="time":)[0-9]{10}')
_DATE = re.compile(rb'(?<=At":")20[0-9-]{8}T[0-9:]{8}|(?<="Created":")20[0-9-]{8}T[0-9:]{8}')


def _told_at_another_time(answer: bytes, seconds: int) -> bytes:
    """Part of an answer with each time in it moved; its length stays."""
    moved = datetime.timedelta(seconds=seconds)
    answer = _UNIX_TIME.sub(lambda found: str(int(found[0]) + seconds).encode(), answer)
    return _DATE.sub(
        lambda found: (datetime.datetime.fromisoformat(found[0].decode()) + moved).isoformat().encode(), answer
    )


class _Link:
    """One connection of the service's."""

    def __init__(self, owner: Unsteady, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._owner, self._reader, self._writer = owner, reader, writer
        self._flows = asyncio.Event()  # answers pass
        self._flows.set()

    async def run(self) -> None:
        onwards, engine = await self._owner.dial()
        answers = asyncio.ensure_future(self._answers(onwards))
        try:
            await self._requests(engine)
            if not self._flows.is_set():  # given up by the service; the engine is to finish it
                await asyncio.sleep(30)
        finally:
            answers.cancel()
            engine.close()
            await asyncio.gather(answers, return_exceptions=True)

    async def _answers(self, onwards: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await onwards.read(65536):
                await self._flows.wait()
                self._writer.write(_told_at_another_time(data, self._owner.clock) if self._owner.clock else data)
                await self._writer.drain()
        self._writer.close()

    async def _requests(self, engine: asyncio.StreamWriter) -> None:
        while True:
            head = await self._reader.readuntil(b"\r\n\r\n")
            method, path, *_ = head.split(b"\r\n", 1)[0].decode().split(" ")
            call = f"{method} {re.sub(r'^/v[0-9.]+', '', path)}"
            rule = self._owner.rule_for(call, self._writer)
            size = re.search(rb"(?im)^content-length: *(\d+)", head)
            body = await self._reader.readexactly(int(size[1])) if size else b""
            if rule is not None and not await self._applied(rule, call):
                return
            engine.write(head + body)
            await engine.drain()
            if rule is not None and rule.action == "unanswered":
                await asyncio.sleep(0.5)
                return
            if rule is not None and rule.action == "late":
                asyncio.get_running_loop().call_later(rule.seconds, self._flows.set)
            if re.search(rb"(?im)^(upgrade|transfer-encoding):", head):  # from here on anything passes
                while data := await self._reader.read(65536):
                    engine.write(data)
                    await engine.drain()
                return

    async def _applied(self, rule: Rule, call: str) -> bool:
        """Do what comes before the engine is asked. Returns whether it is."""
        if rule.action == "delay":
            await asyncio.sleep(rule.seconds)
        elif rule.action in ("late", "unanswered"):
            self._flows.clear()
        else:
            if rule.action == "refuse":
                self._writer.write(
                    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(_REFUSAL), _REFUSAL)
                )
            elif rule.action == "nonsense":
                # A success that is none is no nonsense where success has no content: it is a lie.
                pool = [one for one in _NONSENSE if b" 20" not in one] if "/rename" in call else _NONSENSE
                self._writer.write(self._owner.random.choice(pool))
            await self._writer.drain()
            self._writer.close()
            return False
        return True
