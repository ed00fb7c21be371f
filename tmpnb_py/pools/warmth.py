"""Waits for the warm kernels of containers that start, and finds out what is warm in those that were there before.

A container becomes ready when its kernels are, within `start_timeout`, and without those that fail. Visitors never
wait for it: as soon as somebody wants a container, one whose server answers is ready, and what becomes warm in it
later is noted later. Nothing that a container answers keeps it from being handed out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from tmpnb_py.core.errors import FailureClass, LackError, StartFailedError
from tmpnb_py.core.models import ImageFacts, State
from tmpnb_py.core.tasks import Tasks, event_or_time
from tmpnb_py.core.warm import WarmKernel, WarmState
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.questions import NoAnswerError, warm_states
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.health import Health

_FIRST_INTERVAL = 0.03
_LAST_INTERVAL = 0.25
_IMPATIENT = 5.0  # seconds for each container, once kernels were not ready in time: the pool has to fill all the same
_ASKED_AT_ONCE = 8  # containers that were there before


class WarmChoice(Protocol):
    """Which kernels a pool's containers have warm (`workshops.warming`)."""

    @property
    def because(self) -> str:
        """Why these, or none; for people."""

    async def kernels(self, image: ImageFacts) -> tuple[WarmKernel, ...]:
        """What a container of the image is to have warm. Raises `EngineError`."""


class NothingWarm:
    """No kernel is warm."""

    because = ""

    async def kernels(self, image: ImageFacts) -> tuple[WarmKernel, ...]:  # noqa: ARG002
        """None."""
        return ()


class Warmth:
    """Of one pool. `is_wanted` says whether visitors want a container at once."""

    def __init__(self, health: Health, tasks: Tasks, is_wanted: Callable[[], bool]) -> None:
        self._health = health
        self._tasks = tasks
        self._is_wanted = is_wanted
        self._is_late = False  # the last time there was something that was not ready in time
        self._asking = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def wait(
        self,
        container: Container,
        endpoint: Endpoint,
        kernels: Sequence[WarmKernel],
        *,
        deadline: float,
        died: asyncio.Event,
    ) -> bool:
        """Wait until the kernels of a container that starts are ready or have failed, or until somebody wants it.

        `deadline` is monotonic; what is not ready then has failed. Returns whether all is known: else call `watch`
        once the container is ready. Raises `StartFailedError` once `died` is set.
        """
        interval = _FIRST_INTERVAL
        states: tuple[WarmState, ...] = ()
        if self._is_late:
            deadline = min(deadline, time.monotonic() + _IMPATIENT)
        while time.monotonic() < deadline:
            states = await _asked(container, endpoint, kernels) or states
            if states and all(one.is_settled for one in states):
                self._is_late = False
                break
            if self._is_wanted():
                self._note(container, states, is_settled=False)
                return False
            if await event_or_time(died, interval):
                message = "the container exited while its kernels were started (warm_kernels)"
                raise StartFailedError(message, FailureClass.EXITS_AT_ONCE)
            interval = min(_LAST_INTERVAL, interval * 1.3)
        else:
            self._is_late = True
        self._note(container, states or tuple(WarmState(one.name) for one in kernels), is_settled=True)
        return True

    def watch(self, container: Container, kernels: Sequence[WarmKernel], seconds: float) -> None:
        """Note what is warm in a ready container, in the background, for so many seconds or until it is claimed."""
        if kernels and container.state is State.READY and container.endpoint is not None:
            self._tasks.start(f"warm-{container.id}", self._watch(container, container.endpoint, kernels, seconds))

    async def _watch(
        self, container: Container, endpoint: Endpoint, kernels: Sequence[WarmKernel], seconds: float
    ) -> None:
        deadline, interval = time.monotonic() + seconds, _FIRST_INTERVAL
        states: tuple[WarmState, ...] = ()
        while container.state is State.READY and container.endpoint is endpoint:
            async with self._asking:
                states = await _asked(container, endpoint, kernels) or states
            is_over = time.monotonic() >= deadline
            if is_over or (states and all(one.is_settled for one in states)):
                if container.state is State.READY:  # else its visitor may have ended kernels
                    self._note(container, states or tuple(WarmState(one.name) for one in kernels), is_settled=True)
                return
            await asyncio.sleep(interval)
            interval = min(_LAST_INTERVAL, interval * 1.3)

    def _note(self, container: Container, states: Sequence[WarmState], *, is_settled: bool) -> None:
        container.warm = frozenset(one.name for one in states if one.is_ready)
        for one in states:
            if one.is_ready:
                self._health.warm_kernel_ready(one.name)
            elif is_settled:
                problem = one.problem or "it was not ready in time (start_timeout)"
                self._health.warm_kernel_failed(one.name, problem, container.id, time.monotonic())


async def _asked(container: Container, endpoint: Endpoint, kernels: Sequence[WarmKernel]) -> tuple[WarmState, ...]:
    """How far the kernels are; () if the server did not answer."""
    try:
        return await warm_states(endpoint, container.path, container.token, [one.name for one in kernels])
    except (NoAnswerError, LackError):
        return ()
