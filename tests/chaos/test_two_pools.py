"""Two services with a pool each, on one engine, in one runtime directory: what harms one is nothing to the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos import rounds, truth
from tests.chaos.stage import Stage, staged
from tests.chaos.table import Table
from tests.e2e.own_engine import own_engine_on_small_disk

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.engine, pytest.mark.long]

# All that happens to one of them; not what happens to the engine, to the images of both, or to their directory.
FAULTS = (
    "kill_9", "sigterm", "sighup_storm", "sigstop_for_seconds", "a_task_raises",
    "containers_are_killed", "containers_are_paused", "a_container_runs_out_of_memory", "a_container_hangs",
    "engine_answers_500", "engine_answers_nonsense", "engine_is_slow", "engine_cuts_calls", "event_stream_is_cut",
    "calls_succeed_after_we_gave_up", "engine_socket_is_away",
    "a_second_manager", "two_starts_at_once", "the_hold_is_removed", "a_successor_takes_the_pool",
    "descriptors_are_gone", "memory_is_gone", "the_clock_steps",
)  # fmt: skip


class Neighbour(Stage):
    """A pool beside that of `other`."""

    def __init__(self, other: Stage, *, seed: int) -> None:
        super().__init__(other.engine, seed=seed)
        self._other = other
        self.neighbours, other.neighbours = {other.deployment.pool}, {self.deployment.pool}

    @property
    def runtime_dir(self) -> Path:
        return self._other.runtime_dir

    def mount(self) -> None:
        """It is the other's."""

    def unmount(self) -> None:
        """It is the other's."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pools(server_image: str, seed: int) -> AsyncIterator[tuple[Stage, Stage]]:
    with own_engine_on_small_disk(server_image, 32 * 2**20) as engine:
        harmed = Stage(engine, seed=seed)
        async with staged(harmed), staged(Neighbour(harmed, seed=seed)) as spared:
            for one in (harmed, spared):
                assert (await truth.settle(one))[1] == []
            yield harmed, spared


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_harms_one_pool_is_nothing_to_the_other(
    fault: str, pools: tuple[Stage, Stage], table: Table, seed: int, pytestconfig: pytest.Config
) -> None:
    harmed, spared = pools
    for number in range(pytestconfig.getoption("--rounds") or 2):
        process, errors = spared.service.pid, _errors(spared)
        spared.begin_round()
        spared.visitors.patient_with, spared.visitors.never_away = frozenset({429}), True
        before = spared.visitors.counts.copy()
        harm = asyncio.ensure_future(
            rounds.play(harmed, fault, seed + number, table, row=f"{fault} (beside another)")
        )
        while not harm.done():
            await spared.visitors.busy(3)
        wrongs = [*await harm, *spared.visitors.wrongs, *(await truth.settle(spared))[1]]
        row = table.rows["the other pool"]
        row.rounds += 1
        row.counts += spared.visitors.counts - before
        row.wrongs += wrongs
        assert wrongs == []
        assert (spared.service.pid, spared.has_ended) == (process, False)
        assert _errors(spared) == errors


def _errors(stage: Stage) -> list[object]:
    return [one for one in stage.service.events if one.get("level") in ("error", "critical")]
