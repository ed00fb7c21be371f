"""Rounds of each fault: one of each cheap one in every run, the long run's number with `--long`, or `--rounds`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.chaos import rounds
from tests.chaos.conftest import Theatre
from tests.chaos.table import Table

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _faults(engine: str, cheap: Sequence[str]) -> list[object]:
    return [
        pytest.param(name, marks=[pytest.mark.timeout(7200), *([] if name in cheap else [pytest.mark.long])])
        for name, fault in rounds.CATALOGUE.items()
        if engine in fault.engines
    ]


_CHEAP = [name for name, fault in rounds.CATALOGUE.items() if fault.cheap]


@pytest.mark.engine
@pytest.mark.parametrize("fault", _faults("docker", _CHEAP))
async def test_nobody_is_hurt_and_nothing_lost(
    fault: str, theatre: Theatre, table: Table, seed: int, pytestconfig: pytest.Config
) -> None:
    assert await _wrongs(fault, theatre, table, seed, pytestconfig) == []


@pytest.mark.parametrize("fault", _faults("local", ["kill_9"]))
async def test_nor_with_the_local_engine(
    fault: str, local_theatre: Theatre, table: Table, seed: int, pytestconfig: pytest.Config
) -> None:
    row = f"{fault} (local engine)"
    assert await _wrongs(fault, local_theatre, table, seed, pytestconfig, row=row) == []


async def _wrongs(
    fault: str, theatre: Theatre, table: Table, seed: int, config: pytest.Config, *, row: str = ""
) -> list[str]:
    """What goes wrong in as many rounds as this run has."""
    count = config.getoption("--rounds")
    count = count or (rounds.CATALOGUE[fault].rounds if config.getoption("--long") else 1)
    wrongs: list[str] = []
    for number in range(count):
        found = await rounds.play(await theatre.stage(), fault, seed + number, table, row=row)
        if found:
            await theatre.clear()
        wrongs += found
    return wrongs
