"""`doctor --through`: visit the service at its public address, as a browser does, through whatever is in front of it.

It takes one notebook, which it ends again. What answers there may be anybody's: of its answers only what is looked
for is read, bounded and in time, and nothing of it is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tmpnb_py.cli.commands.findings import Finding, Grade
from tmpnb_py.jupyter.client import NotebookClient, NotebookError

_SECONDS = 30.0
_SOON = 5.0  # seconds within which what is sent at once arrives, unless somebody keeps it
_LARGEST = 64 * 1024
_PROXY = "Compare the proxy's configuration with the examples in docs/operating.md"


class _WrongError(Exception):
    """What was found keeps visitors out; the rest cannot be looked at."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.finding = Finding(Grade.FAIL, "proxy", text, remedy)


async def visit(url: str, *, token: str | None = None) -> list[Finding]:
    """What keeps visitors at `url` from their notebooks. `token` is the API's, where it demands one."""
    found: list[Finding] = []
    try:
        async with _Visit(url, token) as one:
            await one.arrive()
            found += [finding async for finding in one.use()]
    except _WrongError as wrong:
        found.append(wrong.finding)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        said = str(error) or "no answer in time"
        remedy = "See that the name resolves and the proxy runs."
        found.append(Finding(Grade.FAIL, "proxy", f"{url}: {said}", remedy))
    well = f"a visitor of {url.rstrip('/')} gets a notebook, and a kernel answers"
    return found or [Finding(Grade.OK, "proxy", well)]


class _Visit:
    """One visitor's clients: of the service, and of the notebook."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url.rstrip("/")
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        given = {"Authorization": f"token {token}"} if token else {}
        self._http = aiohttp.ClientSession(
            headers={"Origin": self._origin, **given}, timeout=aiohttp.ClientTimeout(total=_SECONDS), trust_env=False
        )

    async def __aenter__(self) -> _Visit:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def _asked(self, method: str, path: str) -> tuple[int, Any]:
        """The status, and the JSON of an answer that has some."""
        async with self._http.request(method, self._url + path, allow_redirects=False) as answer:
            text = await answer.content.read(_LARGEST)
            return answer.status, json.loads(text) if answer.content_type == "application/json" else None

    async def arrive(self) -> None:
        """See that it is this service that answers, by the name that the visitor uses."""
        status, told = await self._asked("GET", "/healthz")
        if status != 200 or not isinstance(told, dict) or told.get("status") != "ok":
            raise _WrongError(f"{self._url} is not tmpnb-py's (/healthz: {status})", f"{_PROXY}, or the address.")
        status, _ = await self._asked("GET", "/api/stats")
        if status == 421:
            host = urlsplit(self._url).hostname
            raise _WrongError(
                f"{self._url} answers 421 to its name", f'Add allowed_hosts = ["{host}"] to the options.'
            )

    async def use(self) -> AsyncIterator[Finding]:
        """Take a notebook, use it as a page does, and end it."""
        status, told = await self._asked("POST", "/api/spawn?wait=20")
        if status == 403:
            raise _WrongError(
                f"{self._url} takes its own pages for another site's (403)", f"{_PROXY}: it must pass on Host."
            )
        if status != 200 or not isinstance(told, dict):
            text = f"{self._url} gave no notebook (status {status})"
            yield Finding(Grade.WARN, "proxy", text, "Try again when one is ready: tmpnb-py status.")
            return
        base, session, token = _where(told, self._origin), str(told["id"]), str(told["token"])
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(base))
        headers = {"Origin": origin, "Authorization": f"token {token}"}
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
            try:
                async for finding in self._kernel(NotebookClient(http, base)):
                    yield finding
                if not await _comes_at_once(http, f"{self._url}/api/sessions/{session}/messages"):
                    text = "what the service sends bit by bit comes late, or at the end: the proxy keeps it back"
                    yield Finding(Grade.WARN, "proxy", text, f"{_PROXY}: it must not buffer answers.")
            finally:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.delete(f"{self._url}/api/sessions/{session}"):
                        pass

    async def _kernel(self, notebook: NotebookClient) -> AsyncIterator[Finding]:
        """Whether a kernel can be started, and talked to over a WebSocket."""
        try:
            kernel = str((await notebook.call("POST", "api/kernels", {}))["id"])
            async with notebook.attached(kernel) as attached:
                if await attached.until_idle(seconds=_SECONDS):
                    return
            text, remedy = "a kernel's WebSocket opens, and nothing comes over it", f"{_PROXY}: it must not buffer."
        except NotebookError as error:
            text, remedy = _why(error)
        yield Finding(Grade.FAIL, "proxy", text, remedy)


def _where(told: dict[str, Any], origin: str) -> str:
    """The notebook's address, which may have a host of its own."""
    return str(told["session_url"] or origin + str(told["url"]))


def _why(error: NotebookError) -> tuple[str, str]:
    cause = error.__cause__
    if isinstance(cause, aiohttp.WSServerHandshakeError) and cause.status == 403:
        return "Jupyter refuses the WebSocket as another site's (403)", f"{_PROXY}: it must pass on Host unchanged."
    if isinstance(cause, aiohttp.WSServerHandshakeError):
        text = f'no WebSocket comes through (status {cause.status}): kernels stay at "Connecting…"'
        return text, f"{_PROXY}: it must pass on Upgrade and Connection over HTTP/1.1."
    return f"no kernel can be started through it: {error}", f"{_PROXY}."


async def _comes_at_once(http: aiohttp.ClientSession, url: str) -> bool:
    """Whether the beginning of a stream that goes on arrives before its end."""
    try:
        async with asyncio.timeout(_SOON), http.get(url) as answer:
            return bool(await answer.content.readany())
    except TimeoutError:
        return False
