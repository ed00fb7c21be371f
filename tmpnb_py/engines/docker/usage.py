"""Measure containers and images by the engine's own figures. Used by the Docker engine and a swarm's relays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.core.models import Usage
from tmpnb_py.engines import cpu_time
from tmpnb_py.engines.docker.streams import OpenStream

_LARGEST_ANSWER = 4 * 1024 * 1024
# Docker 20.10 answers with the next of its measurements, which it makes once a second: many have to be asked at once.
# Each takes 10 ms of the engine's CPU time.
_STATS_AT_ONCE = 25
_HANGING = 2  # of those may hang while the engine counts as alive
_STATS_SECONDS = 5.0
# one-shot leaves out the second that the engine otherwise waits to compute a rate.
_ONE_SHOT = {"stream": "false", "one-shot": "true"}


async def read_usage(open_stream: OpenStream, docker_id: str, *, seconds: float) -> Usage:
    """Measure what a running container uses. Raises `EngineError`."""
    stats = await _get(open_stream, f"containers/{docker_id}/stats", _ONE_SHOT, seconds)
    inspected = await _get(open_stream, f"containers/{docker_id}/json", {"size": "1"}, seconds)
    return usage_of(stats, inspected)


async def read_cpu_seconds(open_stream: OpenStream, docker_ids: Mapping[str, str]) -> dict[str, float]:
    """CPU seconds by our ids, of which `docker_ids` names the engine's; without what does not answer.

    Asks the engine only for those whose control group this process does not see. Raises `EngineDownError`.
    """
    found = {one: cpu_time.of_docker(docker_id) for one, docker_id in docker_ids.items()}
    hidden = [one for one, seconds in found.items() if seconds is None]
    for first in range(0, len(hidden), _STATS_AT_ONCE):
        some = hidden[first : first + _STATS_AT_ONCE]
        paths = [f"containers/{docker_ids[one]}/stats" for one in some]
        asked = (_get(open_stream, path, _ONE_SHOT, _STATS_SECONDS) for path in paths)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        down = [error for error in failed if isinstance(error, EngineDownError)]  # or that one container hangs
        for error in (*down[_HANGING:], *(one for one in failed if not isinstance(one, EngineError))):
            raise error
        found |= {one: _cpu_seconds(told) for one, told in zip(some, answers, strict=True) if isinstance(told, dict)}
    return {one: seconds for one, seconds in found.items() if seconds is not None}


async def read_image_size(open_stream: OpenStream, image: str, *, seconds: float) -> int:
    """Size of an image on disk in bytes, including shared layers. Raises `EngineError`."""
    return int((await _get(open_stream, f"images/{image}/json", {}, seconds)).get("Size") or 0)


def usage_of(stats: Mapping[str, Any], inspected: Mapping[str, Any]) -> Usage:
    """Interpret Docker's figures as the docker command does. Pure."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    # cgroup v1 and v2 name the hierarchy's totals differently.
    cache = int(details.get("total_inactive_file", details.get("inactive_file", 0)))
    return Usage(
        memory=max(0, int(memory.get("usage") or 0) - cache),
        cpu_seconds=_cpu_seconds(stats),
        disk=int(inspected.get("SizeRw") or 0),
    )


def _cpu_seconds(stats: Mapping[str, Any]) -> float:
    cpu = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    return int(cpu.get("total_usage") or 0) / 1e9


async def _get(open_stream: OpenStream, path: str, params: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """Ask for one object. Raises `EngineError`; what is read within the stream and not understood is that, too."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    data = bytearray()
    async with open_stream("GET", path, params=params, timeout=timeout) as response:
        while len(data) < _LARGEST_ANSWER and (chunk := await response.content.read(_LARGEST_ANSWER)):
            data += chunk
        if not data:  # so Docker answers for a container that ends meanwhile
            raise EngineError(f"the Docker engine said nothing ({path})")
        found = json.loads(data)
        if not isinstance(found, dict):
            raise ValueError(f"{path} is no object")
        return found
