"""`docker service update` of the stack's own services, under load: what is lost, as docs/swarm.md has it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.e2e.traffic import Traffic
from tests.swarm import test_stack
from tests.swarm.test_stack import PORT, Stack, ask, until, updated

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(900)]
RESTART = 1012

service_image = test_stack.service_image
stack = test_stack.stack


@contextlib.asynccontextmanager
async def crowds_of(
    stack: Stack, session: dict[str, str], what: str, *, claimants: int
) -> AsyncIterator[list[Traffic]]:
    """A crowd at each node's front end, also two seconds longer; at the end it is printed what became of it."""
    crowds = [Traffic(PORT, session, host=node.address) for node in stack.swarm.nodes]
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as load:
        for crowd in crowds:
            await load.enter_async_context(crowd.of(30, workers=6, websockets=10, claimants=claimants))
        yield crowds
        await asyncio.sleep(2)
    for crowd in crowds:
        print(
            f"\n{what}, {crowd.host}, {time.monotonic() - began:.0f} s: {dict(crowd.answered)} answers, slowest "
            f"{crowd.slowest:.1f} s, {len(crowd.claimed)} claims, {crowd.echoes} echoes, closed {crowd.closed}; "
            f"failed {len(crowd.failed)}: {[one[:110] for one in crowd.failed[:6]]}"
        )


def of_notebooks(crowd: Traffic) -> list[str]:
    """The requests to notebooks that failed."""
    return [one for one in crowd.failed if "/user/" in one]


async def test_updates_under_load(stack: Stack) -> None:
    addresses = [node.address for node in stack.swarm.nodes]

    async def is_up(ready: int = 0) -> bool:
        found = [await ask("GET", f"http://{address}:{PORT}/api/stats") for address in addresses]
        return all(status == 200 and stats["available"] >= ready for status, stats in found)

    await until(stack, functools.partial(is_up, 3))
    _, session = await ask("POST", f"http://{addresses[0]}:{PORT}/api/spawn?wait=60")

    # The orchestrator: open notebooks go on through every front end, and who asks for one waits.
    async with crowds_of(stack, session, "orchestrator", claimants=1) as crowds:
        await updated(stack, "orchestrator")
        await until(stack, is_up)
        before = [crowd.echoes for crowd in crowds]
    for crowd, echoes in zip(crowds, before, strict=True):
        assert not of_notebooks(crowd), stack.report()
        assert crowd.closed == []
        assert crowd.echoes > echoes
    claimed = [one for crowd in crowds for one in crowd.claimed]
    assert len(set(claimed)) == len(claimed)
    assert await _is_alive(addresses[0], session)

    # Front ends, one after the other: each refuses newcomers while it is away, and closes its WebSockets.
    async with crowds_of(stack, session, "front", claimants=0) as crowds:
        await updated(stack, "front")
        await until(stack, is_up)
    for crowd in crowds:
        assert crowd.closed == [RESTART] * 10
        assert crowd.answered[200] > 100
    assert await _is_alive(addresses[0], session)

    # The relays: notebooks of the node answer 503 until its relay is back.
    async with crowds_of(stack, session, "relay", claimants=0):
        await updated(stack, "relay")
        await until(stack, is_up)
    assert await _is_alive(addresses[0], session)


async def _is_alive(address: str, session: dict[str, str]) -> bool:
    headers = {"Authorization": f"token {session['token']}"}
    url = f"http://{address}:{PORT}{session['url']}api"
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as response:
        return response.status == 200
