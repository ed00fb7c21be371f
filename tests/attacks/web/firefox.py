"""Debian's Firefox by WebDriver BiDi (W3C), as far as these tests need it: open, ask, cookies, close.

Firefox speaks the protocol itself, over one WebSocket (`--remote-debugging-port`); no driver is in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.engine_support import skip_or_fail
from tests.ports import free_ports

_SECONDS = 60.0
# Windows may be opened by scripts; nothing is asked of Mozilla.
_PREFERENCES: dict[str, object] = {
    "dom.disable_open_during_load": False,
    "dom.popup_maximum": 100,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "browser.startup.page": 0,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}


class BrowserError(Exception):
    """Firefox answered with an error."""


class Firefox:
    """One browser with an empty profile."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol. Raises `BrowserError`."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        async with asyncio.timeout(_SECONDS):
            while True:
                message = json.loads(await self._socket.receive_str())
                if message.get("id") == self._number:
                    break
        if "error" in message:
            raise BrowserError(f"{method}: {message['error']}: {message.get('message')}")
        return dict(message["result"])

    async def tab(self) -> str:
        """Open a tab. Returns its handle."""
        return str((await self.call("browsingContext.create", type="tab"))["context"])

    async def tabs(self) -> list[str]:
        """The handles of all tabs and windows."""
        return [str(one["context"]) for one in (await self.call("browsingContext.getTree"))["contexts"]]

    async def close(self, tab: str) -> None:
        """Close a tab."""
        await self.call("browsingContext.close", context=tab)

    async def goto(self, tab: str, url: str) -> None:
        """Load a page, to its end."""
        await self.call("browsingContext.navigate", context=tab, url=url, wait="complete")

    async def ask(self, tab: str, expression: str) -> Any:
        """The value of an expression in a page, awaited: text, a number or nothing."""
        result = await self.call(
            "script.evaluate", expression=expression, target={"context": tab}, awaitPromise=True, userActivation=True
        )
        if result["type"] == "exception":
            raise BrowserError(str(result["exceptionDetails"].get("text")))
        return result["result"].get("value")

    async def until(self, tab: str, condition: str, seconds: float = 20.0) -> bool:
        """Whether a condition comes to hold in a page."""
        for _ in range(round(seconds / 0.2)):
            with contextlib.suppress(BrowserError):
                if await self.ask(tab, condition):
                    return True
            await asyncio.sleep(0.2)
        return False

    async def cookies(self) -> list[dict[str, Any]]:
        """All cookies of the browser."""
        return list((await self.call("storage.getCookies"))["cookies"])

    async def restore(self, cookies: list[dict[str, Any]]) -> None:
        """Put these cookies in place of all others."""
        await self.call("storage.deleteCookies")
        for one in cookies:
            kept = {name: value for name, value in one.items() if name != "size"}
            await self.call("storage.setCookie", cookie=kept)


@contextlib.asynccontextmanager
async def firefox(*, resolves_all: bool = True) -> AsyncIterator[Firefox]:
    """A fresh Firefox, ended as a whole. Skips (in CI: fails) where there is none.

    `resolves_all`: every name leads to this machine.
    """
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        skip_or_fail("Firefox is not installed")
    assert program is not None
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="tmpnb-firefox-", ignore_cleanup_errors=True) as profile:
        here = {"network.dns.forceResolve": "127.0.0.1"} if resolves_all else {}
        lines = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in (_PREFERENCES | here).items()
        )
        (Path(profile) / "user.js").write_text("".join(lines))
        process = await asyncio.create_subprocess_exec(
            program, "--headless", "--no-remote", "--profile", profile, f"--remote-debugging-port={port}",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession() as http, await _connected(http, port) as socket:
                browser = Firefox(socket)
                capabilities = {"alwaysMatch": {"acceptInsecureCerts": True}}
                await browser.call("session.new", capabilities=capabilities)
                yield browser
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _connected(http: aiohttp.ClientSession, port: int) -> aiohttp.ClientWebSocketResponse:
    async with asyncio.timeout(_SECONDS):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                return await http.ws_connect(f"http://127.0.0.1:{port}/session", max_msg_size=0)
            await asyncio.sleep(0.2)
