"""A request that is under way in a notebook for as long as a test wants it to be."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

import aiohttp

from tests.e2e.service import Deployment

_CODE = """
import os, time
open({asked!r}, "w").close()
while not os.path.exists({go!r}): time.sleep(0.01)
print("done")
"""


class Held:
    """It has come to the stand-in server, which answers it when it is told to."""

    def __init__(self, deployment: Deployment, client: aiohttp.ClientSession, spawned: Mapping[str, str]) -> None:
        self._deployment = deployment
        self._container = deployment.docker_id(spawned["id"])
        self._asked, self._go = (f"/tmp/{secrets.token_hex(8)}" for _ in range(2))
        self.answer = asyncio.create_task(self._ask(client, f"{spawned['url']}exec"))

    @classmethod
    async def of(cls, deployment: Deployment, client: aiohttp.ClientSession, spawned: Mapping[str, str]) -> Held:
        """Ask, and wait until the question is there."""
        held = cls(deployment, client, spawned)
        await held._shell(f"until [ -e {held._asked} ]; do sleep 0.01; done")
        return held

    async def let_go(self) -> None:
        """Have it answered: `done`, and the end of the line."""
        await self._shell(f"touch {self._go}")

    async def _ask(self, client: aiohttp.ClientSession, url: str) -> str:
        async with client.post(url, data=_CODE.format(asked=self._asked, go=self._go)) as response:
            return str(await response.json())

    async def _shell(self, script: str) -> None:
        await asyncio.to_thread(self._deployment.docker, "exec", self._container, "sh", "-c", script)
