"""A class on a booking: is everything ready when it begins, and does anybody in it wait?

    python -m tests.benchmarks.booked_class [--people 60] [--drop-ins 20] [--seconds 60]

Two pools of the stand-in server (tests/images). The class is booked in one of them, to begin in one or two minutes;
then everybody clicks at moments spread over the time, while drop-in visitors come to the other pool.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import random
import secrets
import sys
import time
from typing import Any

import aiohttp

from tests.benchmarks import rig
from tests.e2e.service import Deployment, Service
from tests.engine_support import SERVER_COMMAND_SOCKET, SERVER_IMAGE, build_server_image

_TABLES = """\
[pools.python]
pool_size = 4
[pools.r]
pool_size = 2
"""


async def _admin(service: Service, method: str, path: str, body: object = None) -> Any:
    async with service.http(admin=True) as client, client.request(method, path, json=body) as response:
        return await response.json()


async def _click(client: aiohttp.ClientSession, wish: dict[str, str], at: float) -> tuple[str, float]:
    await asyncio.sleep(at)
    began = time.monotonic()
    async with client.post("/api/tickets", json=wish) as response:
        answer = await response.json()
    return str(answer.get("status")), time.monotonic() - began


async def measure(service: Service, people: int, drop_ins: int, seconds: float) -> None:
    """Print the figures."""
    await service.event("listening")
    while not (await _admin(service, "GET", "/api/pool?pool=r")).get("ready"):
        await asyncio.sleep(0.5)
    begins = datetime.datetime.now().astimezone().replace(second=0, microsecond=0) + datetime.timedelta(minutes=2)
    ends = begins + datetime.timedelta(minutes=20)
    wish = {"when": f"{begins:%Y-%m-%d %H:%M}-{ends:%H:%M}", "people": people, "pool": "r", "for_class": True}
    made = await _admin(service, "POST", "/api/bookings", wish)
    if "class_url" not in made:
        sys.exit(f"not measured: {made.get('message')}")
    ready_at = 0.0
    while time.time() < begins.timestamp():
        ready = (await _admin(service, "GET", "/api/pool?pool=r"))["ready"]
        ready_at = ready_at or (time.time() if ready >= people else 0.0)
        await asyncio.sleep(0.5)
    early = f"{begins.timestamp() - ready_at:.0f} s before it begins" if ready_at else f"not in time: {ready}"
    print(f"{people} ready: {early}")
    chance, key = random.Random(1), made["class_url"].rpartition("/")[2]
    async with service.http() as client:
        answers = await asyncio.gather(
            *(_click(client, {"class_key": key}, chance.uniform(0.5, seconds)) for _ in range(people)),
            *(_click(client, {"pool": "python"}, chance.uniform(0.5, seconds)) for _ in range(drop_ins)),
        )
    for name, some in (("class", answers[:people]), ("drop-in visitors", answers[people:])):
        waits = sum(status != "ready" for status, _ in some)
        taken = sorted(took for _, took in some)
        times = f"median {taken[len(taken) // 2]:.3f} s, most {taken[-1]:.3f} s"
        print(f"{name}: {len(some)} clicks, {waits} waits, {times}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--drop-ins", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    chosen = parser.parse_args()
    rig.need()
    build_server_image()
    with Deployment(f"bench{secrets.token_hex(3)}").ended() as deployment:
        config = deployment.directory / "config.toml"
        config.write_text(_TABLES)
        service = deployment.start(
            f"--config={config}", f"--image={SERVER_IMAGE}", f"--command={SERVER_COMMAND_SOCKET}", "--mem-limit=64m",
            f"--max-containers={chosen.people + chosen.drop_ins + 10}", "--log-level=info",
        )  # fmt: skip
        asyncio.run(measure(service, chosen.people, chosen.drop_ins, chosen.seconds))


if __name__ == "__main__":
    main()
