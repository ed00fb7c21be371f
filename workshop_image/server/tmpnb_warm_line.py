"""A conversation with a kernel that nobody else talks to yet.

It has two subscriptions to what the kernel publishes, and proves that both are effective: messages that are published
before a subscription has reached the kernel are lost, which is why Jupyter Server "nudges" a kernel for each new
WebSocket. Whoever gets the kernel gets the two as well, emptied of what was said here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from jupyter_client.session import Session

if TYPE_CHECKING:
    from jupyter_client.ioloop.manager import AsyncIOLoopKernelManager
    from zmq.eventloop.zmqstream import ZMQStream

_SUBSCRIPTIONS = 2  # the server's own, by which it knows what is busy, and the first client's
_RETRY = 0.2  # seconds
_LONGEST_TEXT = 20_000  # characters of what a kernel prints


@dataclasses.dataclass
class Answer:
    """What a kernel replied, and what it printed."""

    content: dict[str, Any]
    text: str


class _Question:
    def __init__(self, streams: int) -> None:
        self.reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.ends = [asyncio.get_running_loop().create_future() for _ in range(streams)]
        self.text = ""
        self.closed: dict[str, Any] = {}


class Line:
    """A line to one kernel. Used by one task at a time."""

    def __init__(self, manager: AsyncIOLoopKernelManager) -> None:
        self._session, *self._readers = (
            # A session for each stream, as one takes the same message twice for a replay.
            Session(config=manager.session.config, key=manager.session.key)
            for _ in range(1 + _SUBSCRIPTIONS)
        )
        self._shell = manager.connect_shell(identity=self._session.bsession)
        self._published = [manager.connect_iopub() for _ in range(_SUBSCRIPTIONS)]
        self._questions: dict[str, _Question] = {}
        self.listen()

    def listen(self) -> None:
        """Read what arrives."""
        self._shell.on_recv(self._on_reply)
        for number, stream in enumerate(self._published):
            stream.on_recv(lambda parts, number=number: self._on_published(number, parts))

    async def first_contact(self) -> dict[str, Any]:
        """Ask until the kernel answers and both subscriptions are effective. Returns its `kernel_info_reply`."""
        while True:
            asked = self._send("kernel_info_request", {})
            question = self._questions[asked]
            info = await question.reply
            # All that came before this question has been read when its end has been.
            done, _ = await asyncio.wait(question.ends, timeout=_RETRY)
            del self._questions[asked]
            if len(done) == len(question.ends):
                return info

    async def ask(self, kind: str, content: dict[str, Any]) -> Answer:
        """Ask one thing, and return when nothing more will be heard of it."""
        asked = self._send(kind, content)
        question = self._questions[asked]
        try:
            reply = await question.reply
            await asyncio.wait(question.ends)
        finally:
            del self._questions[asked]
        return Answer(reply, question.text)

    async def open(self, target: str, data: dict[str, Any]) -> dict[str, Any]:
        """Open a comm, and return the data with which the kernel closes it; empty if it does not. No reply comes."""
        asked = self._send("comm_open", {"comm_id": target, "target_name": target, "data": data})
        question = self._questions[asked]
        try:
            await asyncio.wait(question.ends)
        finally:
            del self._questions[asked]
        return question.closed

    async def execute(self, code: str, *, silent: bool, expressions: dict[str, str] | None = None) -> Answer:
        """Run code that leaves no trace in the kernel's history and does not count."""
        content = {
            "code": code,
            "silent": silent,
            "store_history": False,
            "user_expressions": expressions or {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        return await self.ask("execute_request", content)

    def hand_over(self) -> list[ZMQStream]:
        """The subscriptions, for those who listen from now on. The line is closed."""
        self._close_shell()
        for stream in self._published:
            stream.stop_on_recv()
        published, self._published = self._published, []
        return published

    def close(self) -> None:
        """End the conversation."""
        self._close_shell()
        for stream in self._published:
            stream.close()
        self._published = []

    def _close_shell(self) -> None:
        if not self._shell.closed():
            self._shell.close()

    def _send(self, kind: str, content: dict[str, Any]) -> str:
        message = self._session.msg(kind, content)
        asked: str = message["header"]["msg_id"]
        self._questions[asked] = _Question(len(self._published))
        self._session.send(self._shell, message)
        return asked

    def _read(self, session: Session, parts: list[bytes]) -> tuple[dict[str, Any], _Question | None]:
        with contextlib.suppress(ValueError):  # wrongly signed, or malformed
            message = session.deserialize(session.feed_identities(parts)[1])
            return message, self._questions.get(message["parent_header"].get("msg_id", ""))
        return {}, None

    def _on_reply(self, parts: list[bytes]) -> None:
        message, question = self._read(self._session, parts)
        if question and not question.reply.done():
            question.reply.set_result(message["content"])

    def _on_published(self, number: int, parts: list[bytes]) -> None:
        message, question = self._read(self._readers[number], parts)
        if question is None:
            return
        content = message["content"]
        if message["msg_type"] == "status" and content.get("execution_state") == "idle":
            if not question.ends[number].done():
                question.ends[number].set_result(None)
        elif message["msg_type"] == "comm_close":
            question.closed = content.get("data") or {}
        elif message["msg_type"] == "stream" and number == 0:
            question.text = (question.text + str(content.get("text", "")))[-_LONGEST_TEXT:]
