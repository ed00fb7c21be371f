"""Rounds of each fault: one of each cheap one in every run, the long run's number with `--long`, or `--rounds`."""

from __future__ import annotations

import pytest

from tests.chaos import rounds
from tests.chaos.conftest import Theatre
from tests.chaos.table import Table

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

_FAULTS = [
    pytest.param(name, marks=[pytest.mark.timeout(3600), *([] if fault.cheap else [pytest.mark.long])])
    for name, fault in rounds.CATALOGUE.items()
    if "docker" in fault.engines
]


@pytest.mark.parametrize("fault", _FAULTS)
async def test_nobody_is_hurt_and_nothing_lost(
    fault: str, theatre: Theatre, table: Table, seed: int, pytestconfig: pytest.Config
) -> None:
    count = pytestconfig.getoption("--rounds")
    count = count or (rounds.CATALOGUE[fault].rounds if pytestconfig.getoption("--long") else 1)
    wrongs = []
    for number in range(count):
        found = await rounds.play(await theatre.stage(), fault, seed + number, table)
        if found:
            await theatre.clear()
        wrongs += found
    assert not wrongs, "\n".join(wrongs)
