"""An image that does not work must not spin, and says why: in public only the class, to the operator everything."""

from __future__ import annotations

import dataclasses
import time

import pytest

from tests.e2e.service import Deployment, Service

pytestmark = pytest.mark.engine

SECRET = "d0gs0and0cats"


@dataclasses.dataclass(frozen=True)
class Broken:
    """A way to be broken, its public class, and how often it may be tried in `SECONDS`."""

    options: tuple[str, ...]
    cause: str
    most: int
    least: int = 2


WAYS = {
    "exits at once": Broken(
        (f"--command=echo tomato; echo 'http://x/?token={SECRET}' {{token}} $(printf '\\033[31mred') >&2; exit 3",),
        "exits at once",
        6,
    ),
    "never answers": Broken(("--command=echo tomato; sleep 1000", "--start-timeout=3s"), "does not answer", 5),
    "refused by the engine": Broken(("--image=tmpnb-py-test/server@sha256:" + "0" * 64,), "image missing", 0, 0),
    "missing": Broken(("--image=tmpnb-py-test/missing:never",), "image missing", 0, 0),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_a_broken_image_backs_off_and_is_explained(
    deployment: Deployment, small: list[str], way: Broken
) -> None:
    began = time.time()
    service = deployment.start(*small, *way.options, "--pool-size=4", "--start-concurrency=4")
    # The fourth failure comes after delays of 0.5, 1 and 2 s, each at least three quarters of that.
    failures = [await service.event("start_failed", count=number, cause=way.cause) for number in (1, 2, 3, 4)]
    assert time.time() - began > 2.5
    assert way.least <= deployment.creations_since(began) <= way.most
    assert all(failure["retry_in"] > 0 for failure in failures)

    async with service.http() as client:
        async with client.get("/readyz") as response:
            answer = await response.json()
            assert (response.status, answer["cause"]) == (503, way.cause)
            assert int(response.headers["Retry-After"]) > 0
        async with client.get("/healthz") as response:
            assert response.status == 200
        async with client.post("/api/spawn") as response:
            answer = await response.json()
            assert (response.status, answer["status"], answer["cause"]) == (503, "unavailable", way.cause)
        public = ""
        for path in ("/", "/spawn", "/readyz", "/api/stats", "/metrics"):
            async with client.get(path) as response:
                public += await response.text()
    assert (await service.stats())["cause"] == way.cause
    assert "No notebook can be started at the moment." in public
    assert "tomato" not in public
    await _check_operators_view(service, way)


async def _check_operators_view(service: Service, way: Broken) -> None:
    async with service.http(admin=True) as admin, admin.get("/api/status") as response:
        failure = (await response.json())["failure"]
    assert failure["cause"] == way.cause
    assert failure["message"]
    assert SECRET not in str(failure) + str(service.events)
    if way.least:
        assert "tomato" in failure["log_lines"]
    if way.cause == "exits at once":
        assert [line for line in failure["log_lines"] if "http" in line] == [
            "http://x/?token=[removed] [removed] red"
        ]
        assert "tomato" in service.found("start_failed")[-1]["log_lines"]


async def test_an_image_that_appears_is_used(deployment: Deployment, small: list[str]) -> None:
    name = f"tmpnb-py-test/appears:{deployment.pool}"
    service = deployment.start(*small, f"--image={name}", "--pool-size=1")
    await service.event("start_failed", cause="image missing")
    deployment.docker("tag", "tmpnb-py-test/server", name)
    try:
        assert (await service.ready(1))["cause"] is None
        async with service.http() as client, client.get("/readyz") as response:
            assert response.status == 200
    finally:
        service.stop()
        deployment.docker("rmi", name)
