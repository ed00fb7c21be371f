"""Kernels that are ready before visitors come: from the option to the container, over a crash and a reload."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.jupyter import Notebook
from tests.e2e.service import SECONDS, WARM, Deployment, Service

pytestmark = pytest.mark.engine


async def is_warm(service: Service, seconds: float = SECONDS, **expected: int) -> None:
    """Wait until each kernel is ready in so many ready notebooks, and there are no others."""
    found: dict[str, int] = {}
    deadline = time.monotonic() + seconds
    async with service.http(admin=True) as client:
        while found != expected:
            assert time.monotonic() < deadline, f"{found}{service.report()}"
            async with client.get("/api/pool") as response:
                status: dict[str, Any] = await response.json()
            found = {one["kernel"]: one["ready"] for one in status["warm"]}
            await asyncio.sleep(0.05)


async def test_what_is_warm_outlives_a_crash_and_a_change_renews_it(
    deployment: Deployment, small: list[str], tmp_path: Path
) -> None:
    config = tmp_path / "t.toml"
    config.write_text('warm_kernels = ["ir", "julia"]\n')
    options = [*small, f"--config={config}", "--pool-size=1"]
    env = {"TMPNB_WARM_KERNELS": ""}  # which would win over the file
    first = deployment.start(*options, env=env)
    await first.ready(1)
    assert (await first.event("warm_kernels_unsupported"))["kernels"] == ["julia"]
    await is_warm(first, ir=1)
    (before,) = deployment.containers()
    first.kill()

    service = deployment.start(*options, env=env)
    await service.ready(1)
    assert list(deployment.containers()) == [before], "it is the configuration that it was"
    await is_warm(service, ir=1)
    assert "ir, in " in await service.command("status")
    config.write_text('warm_kernels = ["python3", "ir"]\n')
    service.signal(signal.SIGHUP)
    renewed = await service.event("ready", count=2)
    assert renewed["id"] != before
    await is_warm(service, python3=1, ir=1)
    async with service.http() as client:
        await service.spawn(client)


async def test_by_default_the_first_workshops_kernel_is_there_before_its_visitor(
    deployment: Deployment, workshop_image: str
) -> None:
    service = deployment.start(f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0", WARM)
    await is_warm(service, python3=1)
    async with service.http() as client:
        notebook = Notebook.of(client, await service.spawn(client, "lab/tree/introduction-to-python"))
        assert await notebook.call("GET", "api/kernels") == []
        assert (await notebook.call("GET", "api/status"))["kernels"] == 0
        kernel_id = await notebook.new_kernel()
        assert [one["id"] for one in await notebook.call("GET", "api/kernels")] == [kernel_id]
        assert await notebook.run("print(6 * 7)", kernel_id) == "42\n"
        (warm,) = (await notebook.call("GET", "api/tmpnb/warm"))["kernels"]
        assert (warm["name"], warm["state"]) == ("python3", "taken")
        async with client.get("/metrics") as response:
            assert 'tmpnb_warm_claims_total{outcome="warm"} 1.0' in await response.text()
