"""Uses a notebook server as a browser would: kernels, files, running code. For `image check`, `doctor` and tests.

Images are untrusted, so answers are bounded in size and time. Failures raise `NotebookError`. Several tasks may share
a client, but only one task at a time may use a kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp

from tmpnb_py.core.models import ContainerSpec
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.http import http_session

_CALL_SECONDS = 30.0
_LARGEST = 64 * 1024 * 1024
_LARGEST_TEXT = 20_000


class NotebookError(Exception):
    """The server did not answer in time, or not like a notebook server."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The result of running code: the MIME types of its outputs, the text, and the error ("" for none)."""

    shown: tuple[str, ...] = ()
    text: str = ""
    error: str = ""

    @property
    def has_plot(self) -> bool:
        """Whether an output is a picture: an image, or a plotly chart."""
        return any(kind.startswith(("image/", "application/vnd.plotly")) for kind in self.shown)


class NotebookClient:
    """A client of one container's server."""

    def __init__(self, http: aiohttp.ClientSession, base_path: str) -> None:
        self._http = http
        self._base = base_path

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Call Jupyter's API and return the answer's JSON."""
        try:
            async with (
                asyncio.timeout(_CALL_SECONDS),
                self._http.request(method, self._base + path, json=body) as answer,
            ):
                data = bytearray()
                async for chunk in answer.content.iter_any():
                    data += chunk
                    if len(data) > _LARGEST:
                        raise NotebookError(f"{path} answered with more than {_LARGEST >> 20} MiB")
            if not answer.ok:
                raise NotebookError(f"{path} answered with status {answer.status}")
            return json.loads(data) if data else None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotebookError(f"{path}: {error or type(error).__name__}") from error

    async def status_of(self, path: str) -> int:
        """The HTTP status of a page, after redirects."""
        try:
            async with asyncio.timeout(_CALL_SECONDS), self._http.get(self._base + path) as answer:
                return answer.status
        except (aiohttp.ClientError, OSError) as error:
            raise NotebookError(f"{path}: {error or type(error).__name__}") from error

    async def kernels(self) -> dict[str, str]:
        """The available kernels: display names by name, the default first."""
        answer = await self.call("GET", "api/kernelspecs")
        try:
            specs = {str(name): str(one["spec"]["display_name"]) for name, one in answer["kernelspecs"].items()}
            return dict(sorted(specs.items(), key=lambda item: (item[0] != answer["default"], item[0])))
        except (AttributeError, KeyError, TypeError) as error:
            raise NotebookError("api/kernelspecs returned an unexpected answer") from error

    async def language(self, kernel: str) -> str:
        """The language of a kernel."""
        answer = await self.call("GET", f"api/kernelspecs/{quote(kernel, safe='')}")
        try:
            return str(answer["spec"]["language"])
        except (KeyError, TypeError) as error:
            raise NotebookError(f"api/kernelspecs/{kernel} returned an unexpected answer") from error

    async def file(self, path: str) -> Any:
        """A file's or notebook's content, or a directory's entries."""
        answer = await self.call("GET", f"api/contents/{quote(path)}")
        try:
            return answer["content"]
        except (KeyError, TypeError) as error:
            raise NotebookError(f"api/contents/{path} returned an unexpected answer") from error

    @contextlib.asynccontextmanager
    async def kernel(self, name: str, *, path: str = "") -> AsyncIterator[Kernel]:
        """Start a kernel that works in the directory of `path`; end it on exit."""
        started = await self.call("POST", "api/kernels", {"name": name, "path": path})
        kernel_id = str(started["id"])
        try:
            async with self.attached(kernel_id) as kernel:
                yield kernel
        finally:
            with contextlib.suppress(NotebookError):
                await self.call("DELETE", f"api/kernels/{kernel_id}")

    @contextlib.asynccontextmanager
    async def attached(self, kernel_id: str) -> AsyncIterator[Kernel]:
        """Connect to a running kernel, which keeps running on exit."""
        channels = f"{self._base}api/kernels/{kernel_id}/channels?session_id={secrets.token_hex(8)}"
        try:
            async with self._http.ws_connect(channels, max_msg_size=_LARGEST) as socket:
                yield Kernel(socket)
        except aiohttp.ClientError as error:
            raise NotebookError(f"cannot connect to the kernel {kernel_id}: {error}") from error


class Kernel:
    """Jupyter's messaging over one WebSocket (jupyter-client, "Messaging in Jupyter")."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def until_idle(self, *, seconds: float) -> bool:
        """Wait until the kernel reports that it is idle, as it does to every new client. False after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                async for message in self._socket:
                    if message.type is aiohttp.WSMsgType.TEXT and _is_idle(json.loads(message.data)):
                        return True
        except (TimeoutError, ValueError):
            pass
        return False

    async def run(self, code: str, *, seconds: float) -> Outcome:
        """Run code to its end, for at most `seconds`. Raises `NotebookError` if it does not end."""
        message_id = secrets.token_hex(16)
        shown: list[str] = []
        text: list[str] = []
        error = ""
        try:
            async with asyncio.timeout(seconds):
                await self._socket.send_json(_request(code, message_id))
                async for kind, content in self._answers(message_id):
                    if kind in ("display_data", "execute_result"):
                        shown += [str(one) for one in content.get("data", {})]
                        text.append(str(content.get("data", {}).get("text/plain", "")))
                    elif kind == "stream":
                        text.append(str(content.get("text", "")))
                    elif kind == "error":
                        error = f"{content.get('ename', '')}: {content.get('evalue', '')}".strip(": ") or "error"
        except TimeoutError:
            raise NotebookError(f"the code did not end within {seconds:g} s") from None
        return Outcome(tuple(shown), "".join(text)[:_LARGEST_TEXT], error)

    async def _answers(self, message_id: str) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """Yield the kernel's messages about a request until it has replied and is idle again, in either order."""
        waiting = {"status", "execute_reply"}
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            value = json.loads(message.data)
            if value.get("parent_header", {}).get("msg_id") != message_id:
                continue
            kind, content = value.get("msg_type"), value.get("content", {})
            yield kind, content
            if kind == "execute_reply" or (kind == "status" and content.get("execution_state") == "idle"):
                waiting.discard(kind)
            if not waiting:
                return
        raise NotebookError(
            "the kernel's connection was closed: the kernel may have been killed for using too much memory"
        )


def _is_idle(message: Any) -> bool:
    try:
        return bool(message["header"]["msg_type"] == "status" and message["content"]["execution_state"] == "idle")
    except (LookupError, TypeError):
        return False


def _request(code: str, message_id: str) -> dict[str, object]:
    header = {"msg_id": message_id, "username": "", "session": message_id, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
    return {
        "header": {**header, "msg_type": "execute_request"},
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }


@contextlib.asynccontextmanager
async def notebook_client(endpoint: Endpoint, spec: ContainerSpec) -> AsyncIterator[NotebookClient]:
    """A client for a started container."""
    async with http_session(endpoint, spec.token) as http:
        yield NotebookClient(http, spec.base_path)
