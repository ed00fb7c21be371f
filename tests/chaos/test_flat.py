"""10,000 claims and endings: memory, descriptors, tasks and threads of the service are what they were."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

import pytest

from tests.e2e.inprocess import Rig, running

_CLAIMS = 10_000
_WARM = 1_000
_AT_ONCE = 4
_GROWTH = 24 * 2**20  # bytes that 9,000 more may leave behind; the service remembers how the last 10,000 ended


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_after_ten_thousand_claims_nothing_has_grown() -> None:
    async with running(pool_size=8, max_containers=24, start_concurrency=8, log_level="error") as rig:
        await _claims(rig, _WARM)
        before = await _quiet(rig)
        await _claims(rig, _CLAIMS - _WARM)
        after = await _quiet(rig)
    print(f"(memory, descriptors, tasks, threads) after {_WARM}: {before}, after {_CLAIMS}: {after}")
    assert after[0] - before[0] < _GROWTH, (before, after)
    for less, more in zip(before[1:], after[1:], strict=True):
        assert more <= less + 4, (before, after)


async def _claims(rig: Rig, count: int) -> None:
    async def visitor(visits: int) -> None:
        for _ in range(visits):
            session = await rig.spawn("?wait=60")
            headers = {"Authorization": f"token {session['token']}"}
            async with rig.client.get(f"{session['url']}api", headers=headers) as response:
                assert response.status == 200
            async with rig.client.delete(f"/api/sessions/{session['id']}", headers=headers) as response:
                assert response.status == 200

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(visitor(count // _AT_ONCE))


async def _quiet(rig: Rig) -> tuple[int, int, int, int]:
    """Bytes, descriptors, tasks and threads once the pool is full and nothing is under way."""
    await rig.until(lambda: len(rig.pool) == rig.pool.size)
    await rig.ready(rig.pool.size)
    await asyncio.sleep(1)
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return pages * 4096, descriptors, len(asyncio.all_tasks()), threading.active_count()
