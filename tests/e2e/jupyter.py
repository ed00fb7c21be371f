"""What a JupyterLab in a browser does, done by a program: kernels, terminals and contents, through the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

ANSWER_SECONDS = 90.0


@dataclasses.dataclass(frozen=True)
class Notebook:
    """One session, used with its token."""

    client: aiohttp.ClientSession
    id: str
    token: str

    @classmethod
    def of(cls, client: aiohttp.ClientSession, spawned: dict[str, Any]) -> Notebook:
        return cls(client, spawned["id"], spawned["token"])

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}

    def url(self, path: str) -> str:
        return f"/user/{self.id}/{path}"

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """An API call with a JSON answer."""
        data = None if body is None else io.BytesIO(json.dumps(body).encode())
        async with self.client.request(method, self.url(path), data=data, headers=self.headers) as response:
            text = await response.text()
            assert response.status == status, f"{method} {path}: {response.status} {text[:500]}"
            return json.loads(text) if response.ok and text else None

    async def new_kernel(self) -> str:
        return str((await self.call("POST", "api/kernels", {"name": "python3"}, status=201))["id"])

    @contextlib.asynccontextmanager
    async def kernel(self, kernel_id: str) -> AsyncIterator[Kernel]:
        """The kernel's channels."""
        path = self.url(f"api/kernels/{kernel_id}/channels?session_id={secrets.token_hex(8)}")
        async with self.client.ws_connect(path, headers=self.headers, max_msg_size=0) as socket:
            yield Kernel(socket)

    async def run(self, code: str, kernel_id: str | None = None) -> str:
        """What a cell prints, in a kernel of its own unless one is named."""
        async with self.kernel(kernel_id or await self.new_kernel()) as kernel:
            return await kernel.run(code)


class Kernel:
    """Jupyter's messaging over one WebSocket (jupyter-client, "Messaging in Jupyter")."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, code: str, *, allow_stdin: bool = False) -> str:
        """An execute_request; returns its id."""
        message_id = secrets.token_hex(16)
        header = {"msg_id": message_id, "username": "", "session": message_id, "version": "5.3"}
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "allow_stdin": allow_stdin,
            "stop_on_error": True,
        }
        await self._socket.send_json(
            {
                "header": {**header, "msg_type": "execute_request"},
                "parent_header": {},
                "metadata": {},
                "content": content,
                "channel": "shell",
                "buffers": [],
            }
        )
        return message_id

    async def messages(self, message_id: str) -> AsyncIterator[dict[str, Any]]:
        """What the kernel says about a request."""
        async for message in self._socket:
            assert message.type is aiohttp.WSMsgType.TEXT, message
            value = json.loads(message.data)
            if value["parent_header"].get("msg_id") == message_id:
                yield value

    async def until_busy(self, message_id: str) -> None:
        """Wait until the kernel works on the request."""
        async with asyncio.timeout(ANSWER_SECONDS):
            async for message in self.messages(message_id):
                if message["msg_type"] == "execute_input":
                    return
        raise AssertionError("the WebSocket was closed")

    async def run(self, code: str) -> str:
        """Run a cell to its end; returns what it printed and its value. An error raises."""
        message_id, output = await self.send(code), ""
        async with asyncio.timeout(ANSWER_SECONDS):
            async for message in self.messages(message_id):
                kind, content = message["msg_type"], message["content"]
                if kind == "stream":
                    output += content["text"]
                elif kind == "execute_result":
                    output += content["data"]["text/plain"]
                elif kind == "error":
                    raise AssertionError("\n".join(content["traceback"]))
                elif kind == "status" and content["execution_state"] == "idle":
                    return output
        raise AssertionError("the WebSocket was closed")
