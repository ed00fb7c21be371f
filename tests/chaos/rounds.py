"""Rounds: visitors come, one fault happens, and then everything has to be as it should be."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

from tests.chaos import truth
from tests.chaos.faults import CATALOGUE, containers, engine, here, managers, process, resources
from tests.chaos.stage import Stage
from tests.chaos.table import Table

_PATIENCE = 75.0  # seconds that visitors have after the fault: an engine is tried again after 60 s at most
_LONG = 15.0  # seconds until all is as it should be that want to be explained
_FAULT_SECONDS = 150.0

__all__ = ["CATALOGUE", "containers", "engine", "here", "managers", "play", "process", "resources"]


async def play(stage: Stage, name: str, seed: int, table: Table, *, row: str = "") -> list[str]:
    """One round of the fault `name`. Returns what went wrong, which the table has, too, in the row of that name."""
    stage.random.seed(f"{name} {seed}")
    stage.begin_round()
    visitors, noted = stage.visitors, table.rows[row or name]
    before, wrongs, took = visitors.counts.copy(), [], 0.0
    busy = asyncio.ensure_future(visitors.busy(stage.random.randint(2, 4)))
    try:
        async with asyncio.timeout(_FAULT_SECONDS):
            await CATALOGUE[name].harm(stage)
    except (AssertionError, TimeoutError, OSError) as error:
        wrongs.append(f"{type(error).__name__}: {error}")
    finally:
        visitors.until = time.monotonic() + _PATIENCE
        await busy
    if not wrongs and not visitors.wrongs:
        took, left = await truth.settle(stage)
        wrongs += left
        await stage.end_fragile()
    wrongs += visitors.wrongs
    if wrongs or took > _LONG:  # pytest shows it
        print(f"{name}, seed {seed}{stage.noted}", *stage.trail, stage.service.report(), sep="\n")
    _write(f"{name}, seed {seed}{stage.noted}: {took:.1f} s, {wrongs or 'well'}")
    noted.rounds += 1
    noted.counts += visitors.counts - before
    noted.recoveries.append(took)
    noted.wrongs += [f"{name}, seed {seed}{stage.noted}: {one}" for one in wrongs]
    return wrongs


def _write(line: str) -> None:
    """A long run takes hours: CHAOS_LOG names a file that has a line for each round."""
    if path := os.environ.get("CHAOS_LOG"):
        with Path(path).open("a") as file:
            file.write(f"{line}\n")


def some_seed() -> int:
    """A seed to begin with where none was given."""
    return random.SystemRandom().randrange(10**6) if "CI" not in os.environ else 16
