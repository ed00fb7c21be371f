"""The first requests of notebooks come to them in turn, as a crowd's are answered sooner one after the other."""

from __future__ import annotations

import asyncio

from tests.integration import proxy_support
from tests.integration.proxy_support import Rig, Server, Wire, answering, request, response, soon
from tests.waiting import until
from tmpnb_py.core.turns import Turns

rig = proxy_support.rig

_NEVER = 1e6  # seconds


class Held:
    """A notebook's server that answers when it is told to."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.server: Server

    @classmethod
    async def of(cls, rig: Rig) -> Held:
        held = cls()
        held.server = await rig.server(held.script)
        return held

    async def script(self, wire: Wire) -> None:
        while not wire.reader.at_eof():
            await wire.request()
            await self.may_answer.wait()
            await wire.send(response())


async def _begun(rig: Rig, server: Server) -> Wire:
    client = await rig.client()
    await client.send(request(server, method="POST", path="api/sessions"))
    return client


async def test_first_requests_come_in_turn_and_later_ones_at_once(rig: Rig) -> None:
    await rig.start()
    rig.proxy.turns = turns = Turns(1, _NEVER)
    one, two = await Held.of(rig), await Held.of(rig)
    first = await _begun(rig, one.server)
    await until(lambda: one.server.heard == 1)
    second = await _begun(rig, two.server)
    await until(lambda: turns.waiting == 1)
    another = await _begun(rig, one.server)  # of a notebook that has had its turn
    await until(lambda: one.server.heard == 2)
    assert two.server.accepted == 0
    one.may_answer.set()
    assert (await first.response()).status == (await another.response()).status == 200
    await until(lambda: two.server.heard == 1)
    two.may_answer.set()
    assert (await second.response()).status == 200
    third = await rig.server(answering(response()))
    assert (await rig.ask(third)).status == 200  # whose turn comes at once, as none is left


async def test_a_notebook_that_hangs_holds_the_others_up_for_a_moment(rig: Rig) -> None:
    await rig.start()
    rig.proxy.turns = Turns(1, 0.001)
    hanging = await Held.of(rig)
    await _begun(rig, hanging.server)
    await until(lambda: hanging.server.heard == 1)
    assert (await rig.ask(await rig.server(answering(response())))).status == 200


async def test_a_visitor_who_leaves_gives_up_the_turn(rig: Rig) -> None:
    await rig.start()
    rig.proxy.turns = turns = Turns(1, _NEVER)
    one, two, three = [await Held.of(rig) for _ in range(3)]
    first = await _begun(rig, one.server)
    await until(lambda: one.server.heard == 1)
    waiting = await _begun(rig, two.server)
    await until(lambda: turns.waiting == 1)
    last = await _begun(rig, three.server)
    await until(lambda: turns.waiting == 2)
    waiting.reset()
    await until(lambda: turns.waiting == 1)
    first.reset()
    await until(lambda: three.server.heard == 1)
    assert two.server.accepted == 0
    three.may_answer.set()
    assert (await soon(last.response())).status == 200


async def test_a_server_that_cannot_be_reached_gives_up_the_turn(rig: Rig) -> None:
    await rig.start()
    rig.proxy.turns = Turns(1, _NEVER)
    gone = await rig.server(answering(response()))
    await gone.stop()
    assert (await rig.ask(gone)).status == 502
    assert (await rig.ask(await rig.server(answering(response())))).status == 200
