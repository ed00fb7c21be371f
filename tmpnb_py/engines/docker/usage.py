"""Measure containers and images by the engine's own figures. Used by the Docker engine, for `doctor`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from tmpnb_py.core.models import Usage
from tmpnb_py.engines.docker.streams import OpenStream

_LARGEST_ANSWER = 4 * 1024 * 1024


async def read_usage(open_stream: OpenStream, docker_id: str, *, seconds: float) -> Usage:
    """Measure what a running container uses. Raises `EngineError`."""
    # one-shot leaves out the second that the engine otherwise waits to compute a rate.
    stats = await _get(open_stream, f"containers/{docker_id}/stats", {"stream": "false", "one-shot": "true"}, seconds)
    inspected = await _get(open_stream, f"containers/{docker_id}/json", {"size": "1"}, seconds)
    return usage_of(stats, inspected)


async def read_image_size(open_stream: OpenStream, image: str, *, seconds: float) -> int:
    """Size of an image on disk in bytes, including shared layers. Raises `EngineError`."""
    return int((await _get(open_stream, f"images/{image}/json", {}, seconds)).get("Size") or 0)


def usage_of(stats: Mapping[str, Any], inspected: Mapping[str, Any]) -> Usage:
    """Interpret Docker's figures as the docker command does. Pure."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    # cgroup v1 and v2 name the hierarchy's totals differently.
    cache = int(details.get("total_inactive_file", details.get("inactive_file", 0)))
    cpu = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    return Usage(
        memory=max(0, int(memory.get("usage") or 0) - cache),
        cpu_seconds=int(cpu.get("total_usage") or 0) / 1e9,
        disk=int(inspected.get("SizeRw") or 0),
    )


async def _get(open_stream: OpenStream, path: str, params: Mapping[str, str], seconds: float) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=seconds)
    data = bytearray()
    async with open_stream("GET", path, params=params, timeout=timeout) as response:
        while len(data) < _LARGEST_ANSWER and (chunk := await response.content.read(_LARGEST_ANSWER)):
            data += chunk
    found: dict[str, Any] = json.loads(data)
    return found
