"""A front end's side: finds the orchestrator, hears the routes, reports, and dials it for what visitors want of it.

The orchestrator's addresses come from names and are looked up again and again: in a swarm it starts anew on another
node. Whoever answers has to hold the stack's secret (`tls`). One connection is for routes and reports; it is made
anew for ever, and goes on where the last one ended.

All that is believed comes from one orchestrator at a time, and never from one that has been followed by another: its
term is lower (`wire.Told`), as it may be for seconds after the network between two machines is whole again.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence

import pydantic
import structlog

from tmpnb_py.core.errors import EngineError, SettingsError
from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.engines.swarm.link import lines, tls
from tmpnb_py.engines.swarm.link.dial import Address, StrangerError, addresses_of, dial
from tmpnb_py.engines.swarm.link.lines import Connection
from tmpnb_py.engines.swarm.link.tls import Contexts
from tmpnb_py.fronts import wire
from tmpnb_py.fronts.table import Table
from tmpnb_py.fronts.wire import Hello, Report, Stamp, Told

log = structlog.get_logger(__name__)

_BACK_OFF = (0.1, 2.0)  # seconds; up to half as long again, so that not all front ends come at once
_STEADY_SECONDS = 5.0  # for which a connection has to last for the next one to be tried without a pause
_LATEST_SECONDS = 60.0  # for which an orchestrator with a lower term is refused, after the last one was heard of
_REPORT_SECONDS = 1.0
_PATIENCE = 5.0  # with an orchestrator that does not know its notebooks yet, where there is another one
_LINES_AT_ONCE = 50


class OutdatedError(EngineError):
    """What answers is not the orchestrator any more, and does not know it yet."""


class Link:
    """The way to the orchestrator. `up` is set while it is connected.

    `lost` is called when it has fallen silent, `options` with what it tells of those that are shared.
    """

    def __init__(
        self,
        names: Sequence[str],
        contexts: Contexts,
        table: Table,
        *,
        options: Callable[[Mapping[str, str]], None],
        lost: Callable[[], None],
    ) -> None:
        self._names = names
        self._contexts = contexts
        self._table = table
        self._options = options
        self._lost = lost
        self._id = secrets.token_hex(16)
        self._address: Address | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tells = False  # whether the orchestrator knows all notebooks, and so what reports are about
        self._has_files = False
        self._term, self._term_at = 0, -math.inf  # the highest one, and when it was told last
        self.up = asyncio.Event()
        self.knows = asyncio.Event()  # set for good once all routes have been told
        self.losses = 0

    async def run(self) -> None:
        """Keep the connection, for ever."""
        pause = _BACK_OFF[0]
        while True:
            addresses = await self._addresses()
            for address in addresses:
                began = time.monotonic()
                was_up = await self._follow(address, others=len(addresses) > 1)
                if was_up and time.monotonic() - began >= _STEADY_SECONDS:
                    pause = _BACK_OFF[0]
            await asyncio.sleep(pause * random.uniform(1.0, 1.5))  # noqa: S311 - nobody has to guess it
            pause = min(2 * pause, _BACK_OFF[1])

    async def _addresses(self) -> list[Address]:
        """All addresses of the names; none where the resolver does not know them (yet)."""
        return list(dict.fromkeys([address for name in self._names for address in await addresses_of(name)]))

    async def _follow(self, address: Address, *, others: bool) -> bool:
        """Follow the orchestrator at an address until it is lost; False where none answered.

        One that does not get to know the notebooks may not be the one that manages them: `others` are tried then.
        """
        writer = None
        try:
            reader, writer = await self._dial(address)
            hello = Hello(
                do="routes",
                front=self._id,
                name=socket.gethostname()[:256],
                epoch=self._table.epoch,
                seq=self._table.seq,
            )
            writer.write(lines.line_of(hello))
            self._table.begin()
            self._writer, self._tells, self._has_files = writer, False, tls.spoken(writer) in wire.WITH_TERMS
            await self._hear(address, reader, _PATIENCE if others else math.inf)
        except TimeoutError:
            if self.up.is_set():
                self._lost()
        except OutdatedError:
            log.warning("orchestrator_outdated", address=address[0], hint="the one that has taken over is looked for")
        except (OSError, EngineError, pydantic.ValidationError, SettingsError) as error:
            log.debug("orchestrator_away", address=address[0], error=str(error) or type(error).__name__)
        finally:
            was_up = self.up.is_set()
            self._address, self._writer, self._tells = None, None, False
            self.up.clear()
            if writer is not None:
                writer.close()
        if was_up:
            self.losses += 1
            log.warning("orchestrator_lost", sessions=len(self._table), hint="open notebooks go on; claims wait")
        return was_up

    async def _hear(self, address: Address, reader: asyncio.StreamReader, patience: float) -> None:
        began, count = time.monotonic(), 0
        while self._tells or time.monotonic() - began < patience:
            async with asyncio.timeout(wire.SILENCE_SECONDS):
                line = await lines.read_line(reader)
            if not line:
                return
            if (count := count + 1) % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)  # many may have come together
            told = Told.model_validate_json(line)
            self._see_that_it_is_the_latest(told)
            if told.event == "options":
                self._options(told.options)
            elif told.event != "wait":
                self._table.hear(told, time.monotonic())
            if not self.up.is_set():
                self._address = address
                self.up.set()
                log.info("orchestrator_found", address=address[0])
            if told.event == "alive" and not self._tells:
                self._table.forget_told()  # it may have begun anew since
                self._tells = True
                self.knows.set()

    def _see_that_it_is_the_latest(self, told: Told) -> None:
        """Raises `OutdatedError` where another orchestrator has taken over from this one."""
        tells = told.event in ("snapshot", "alive")
        if not tells and not told.term:
            return  # a change of what it has told, or it has just started
        now = time.monotonic()
        if told.term < self._term and now - self._term_at < _LATEST_SECONDS:
            raise OutdatedError("another orchestrator has taken over from this one")
        self._term, self._term_at = told.term, now

    # --- reports

    async def report(self) -> None:
        """Report what visitors do, once a second, for ever. What cannot be told now is kept in the table."""
        while True:
            await self.report_once()
            await asyncio.sleep(_REPORT_SECONDS)

    async def report_once(self) -> None:
        """Report all that is new, at least that this front end is there."""
        writer = self._writer
        if writer is None:
            return
        try:
            await _report(writer, ())
            for part in self._table.parts() if self._tells else ():
                if stamps := tuple(self._table.news(part, time.monotonic())):
                    await _report(writer, stamps)
                await asyncio.sleep(0)
        except OSError:  # the connection is made anew, and then all is told again
            writer.close()

    # --- visitors

    async def forward(self) -> Connection:
        """A connection on which a visitor is passed on. Raises `OSError`."""
        address = self._address
        if address is None:
            raise ConnectionRefusedError("the orchestrator is away")
        stream = await self._dial(address)
        stream[1].write(lines.line_of(Hello(do="forward")))
        return stream

    async def files(self) -> Connection | None:
        """A connection on which shared files are asked for, once the orchestrator is there. None where that is an
        older one that has none to give. Raises `OSError`."""
        await self.up.wait()
        address = self._address
        if address is None or not self._has_files:
            return None
        stream = await self._dial(address)
        stream[1].write(lines.line_of(Hello(do="files")))
        return stream

    async def wait_up(self, seconds: float) -> None:
        """Wait until the orchestrator is there. Raises `ConnectionRefusedError` where it does not come in time."""
        if not self.up.is_set() and not await event_or_time(self.up, max(0.0, seconds)):
            raise ConnectionRefusedError("the orchestrator is away")

    async def _dial(self, address: Address) -> Connection:
        try:
            return await dial(address, self._contexts)
        except TimeoutError as error:
            raise ConnectionRefusedError("the orchestrator does not answer") from error
        except StrangerError:
            log.warning("orchestrator_refused", address=address[0], hint="it does not have the secret of front ends")
            raise


async def _report(writer: asyncio.StreamWriter, stamps: tuple[Stamp, ...]) -> None:
    writer.write(lines.line_of(Report(stamps=stamps)))
    await lines.drained(writer)
