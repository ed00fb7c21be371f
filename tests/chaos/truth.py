"""What has to be true after each fault: `wrongs` lists what is not.

The engine is what is believed, and the visitors: what the service says of itself has to agree with them.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import aiohttp

from tests.chaos.stage import POOL_SIZE, Stage

_SECONDS = 75.0  # in which all has to be as it should be: an engine's pause between tries is 60 s at most
_LEFT_SECONDS = 45.0  # after which the test build has removed what a crash left: it tells by its age (see `entry.py`)
_FILES = 60  # that a service with nothing to do has open at most
_THREADS = 40
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{([^}]*)\})? ([0-9.e+-]+)$", re.MULTILINE)


async def settle(stage: Stage, *, leave: float = _LEFT_SECONDS) -> tuple[float, list[str]]:
    """Wait until all is as it should be. Returns after how many seconds, and what is still wrong then.

    What a crash left may be there for `leave` seconds, which this does not wait for.
    """
    began = time.monotonic()
    stage.leave = leave
    while True:
        wrongs = await look(stage)
        took = time.monotonic() - began
        if not stage.trail or not stage.trail[-1].endswith(str(wrongs)):
            stage.trail.append(f"{took:.1f} s: {wrongs}")
        if not wrongs or took > _SECONDS:
            return took, wrongs
        await asyncio.sleep(0.2)


async def look(stage: Stage) -> list[str]:
    """What is wrong now."""
    if stage.has_ended:
        return [f"the service has ended{stage.service.report()}"]
    try:
        async with asyncio.timeout(20):
            wrongs = await _sessions(stage)
            stats = await (await stage.ask("/api/stats")).json()
            metrics = _read(await (await stage.ask("/metrics")).text())
            return [*wrongs, *await _engine(stage, stats)] or [*_books(stage, metrics), *_machine(stage)]
    except (aiohttp.ClientError, TimeoutError, AssertionError) as error:
        return [f"it cannot be looked at: {type(error).__name__} {error}"]


async def _engine(stage: Stage, stats: dict[str, object]) -> list[str]:
    """The pool is full again, every session has its container, and the engine has nothing else."""
    containers = await asyncio.to_thread(stage.containers)
    claimed = {one for one, state in containers.items() if state == "claimed"}
    ready = {one for one, state in containers.items() if state == "ready"}
    wrongs = []
    if (stats["available"], stats["starting"], stats["removing"]) != (POOL_SIZE, 0, 0) or stats["cause"]:
        wrongs.append(f"the pool is not full: {stats}")
    if len(ready) != POOL_SIZE or len(containers) != len(ready) + len(claimed):
        wrongs.append(f"the engine has {containers}")
    if missing := stage.visitors.sessions.keys() - claimed:
        wrongs.append(f"sessions without a claimed container: {missing}")
    if strangers := claimed - stage.visitors.sessions.keys():
        wrongs += await _unknown(stage, strangers)
    return wrongs + [f"left behind: {one}" for one in await asyncio.to_thread(_left_behind, stage)]


def _left_behind(stage: Stage) -> list[str]:
    """What is there without belonging to anything, and has been for long."""
    now, found = time.monotonic(), [*stage.orphans(), *(f"the file {one}" for one in stage.strange_files())]
    stage.left_since = {one: stage.left_since.get(one, now) for one in found}
    return [one for one in found if now - stage.left_since[one] >= stage.leave]


async def _unknown(stage: Stage, strangers: set[str]) -> list[str]:
    """Claims whose visitors were never answered, and ends that a crash cut off before the engine was told.

    They would end as nobody comes, in time; now the operator ends them.
    """
    cut_off = strangers & stage.ended_before
    if len(strangers - cut_off) > stage.unexplained_claims:
        return [f"claimed, and nobody's: {strangers}, with {stage.unexplained_claims} claims that were cut off"]
    for one in strangers:
        await stage.ask(f"/api/sessions/{one}", admin=True, method="DELETE")
    stage.explained_claims += len(strangers - cut_off)
    return [f"claims that nobody was told: {strangers}"]


def _read(text: str) -> dict[str, float]:
    return {f"{name}{{{labels}}}" if labels else name: float(value) for name, labels, value in _SAMPLE.findall(text)}


def _books(stage: Stage, metrics: dict[str, float]) -> list[str]:
    """Gauges say what is, counters what happened since this process began."""
    sessions = len(stage.visitors.sessions)
    answered, cut_off = stage.claims_of_this_process
    counted = metrics['tmpnb_claims_total{outcome="hit"}'] + metrics['tmpnb_claims_total{outcome="waited"}']
    told = {name: len(stage.service.found(name)) for name in ("session_ended", "removing")}
    removals = sum(value for name, value in metrics.items() if name.startswith("tmpnb_ended_containers_total"))
    expected = {
        'tmpnb_containers{state="ready"}': POOL_SIZE,
        'tmpnb_containers{state="claimed"}': sessions,
        'tmpnb_containers{state="starting"}': 0,
        'tmpnb_containers{state="removing"}': 0,
        "tmpnb_pool_size": POOL_SIZE,
        "tmpnb_engine_up": 1,
        "tmpnb_accepting": 1,
        "tmpnb_waiting": 0,
        "tmpnb_proxy_websockets": 0,
        "tmpnb_session_duration_seconds_count": told["session_ended"],
    }
    wrongs = [
        f"{name} is {metrics.get(name)}, not {value}" for name, value in expected.items() if metrics[name] != value
    ]
    if not answered <= counted <= answered + cut_off:
        wrongs.append(f"{counted} claims counted, {answered} answered, {cut_off} cut off")
    if removals != told["removing"]:
        wrongs.append(f"{removals} ends counted, {told['removing']} logged")
    return wrongs


def _machine(stage: Stage) -> list[str]:
    """No descriptors, threads or processes of the service pile up."""
    process = Path(f"/proc/{stage.service.pid}")
    files = len(list((process / "fd").iterdir()))
    threads = len(list((process / "task").iterdir()))
    children = [one for task in (process / "task").iterdir() for one in (task / "children").read_text().split()]
    wrongs = [f"{files} open files"] * (files > _FILES) + [f"{threads} threads"] * (threads > _THREADS)
    wrongs += [f"the processes {stage.strange_children(children)}"] * bool(stage.strange_children(children))
    return wrongs


async def _sessions(stage: Stage) -> list[str]:
    """Each is its visitor's, under its URL."""
    visitors = stage.visitors
    visitors.until = time.monotonic() + 5
    sessions = list(visitors.sessions.values())
    came = await asyncio.gather(*(visitors.come_back(one) for one in sessions))
    return [f"{one.id} does not answer" for one, answers in zip(sessions, came, strict=True) if not answers]
