"""Jupyter Server's kernel manager, with kernels that are started before anybody asks for one.

The first request for such a kernel (from whichever client: they all come to `start_kernel`) gets the started one, if
that can become what a new one would be; else a new one is started, as ever. Until then it is in no list: not in those
of kernels and sessions, not in the server's status, not in what is culled. `tmpnb_warm` is the extension that begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import time
from collections.abc import Mapping
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tmpnb_warm_kernel import WarmKernel
from tmpnb_warm_languages import RefusedError, language_of

_LONGEST_PROBLEM = 500  # characters
_LONGEST_WAIT = 60.0  # seconds for a kernel that is just being started, before another one is


class State(enum.Enum):
    """Of a kernel. TAKEN and ENDED are final."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    TAKEN = "taken"
    ENDED = "ended"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The kernels that are started early, with the packages that they load.

    Those that nobody has taken end `unused_seconds` after a first kernel was asked for.
    """

    packages: Mapping[str, tuple[str, ...]]
    unused_seconds: float


@dataclasses.dataclass(eq=False)
class Warm:
    """One of them. It is handed over if there is a `manager`, also one that FAILED to load its packages."""

    name: str
    packages: tuple[str, ...]
    state: State = State.STARTING
    problem: str = ""
    seconds: float = 0.0
    manager: WarmKernel | None = None
    is_begun: bool = False
    is_settled: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    def told(self) -> dict[str, object]:
        """For programs that ask."""
        return {
            "name": self.name,
            "state": self.state.value,
            "problem": self.problem,
            "seconds": round(self.seconds, 3),
        }


class WarmKernels(AsyncMappingKernelManager):
    """All kernels of the server."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._wanted = Wanted({}, 0.0)
        self._warm: list[Warm] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_in_use = False

    # --- starting

    def expect(self, wanted: Wanted) -> None:
        """Take note of the kernels to be started; from now on they are said to be starting."""
        self._wanted = wanted
        self._warm = [Warm(name, packages) for name, packages in wanted.packages.items()]

    async def warm_up(self) -> None:
        """Begin to start them, one after the other: a notebook has a part of a processor."""
        self._tasks["start"] = asyncio.create_task(self._warm_up(), name="start warm kernels")

    async def _warm_up(self) -> None:
        for warm in self._warm:
            if self._is_in_use:  # nobody waits for what they have not asked for
                warm.state = State.ENDED
                continue
            began, warm.is_begun = time.monotonic(), True
            await self._start(warm, warm.packages)
            if warm.problem and warm.packages:
                # A plain one: `library()` in a cell then says itself what is wrong, as in any kernel, and what was
                # loaded of the packages is not there.
                await self._start(warm, ())
            warm.seconds = time.monotonic() - began
            warm.state = State.FAILED if warm.problem else State.READY
            warm.is_settled.set()
        for warm in self._warm:  # what one kernel makes in the home when it starts is no change for the others
            if warm.manager and not self._is_in_use:
                warm.manager.note_startup_files()

    async def _start(self, warm: Warm, packages: tuple[str, ...]) -> None:
        manager: WarmKernel | None = None
        try:
            manager, _, kernel_id = super().pre_start_kernel(warm.name, {})
            language = language_of(manager.kernel_spec)
            if language is None:
                raise RefusedError("it is not known how such a kernel becomes that of a notebook")
            await manager.start_early(kernel_id, language)
            if not self._is_in_use:  # else a visitor waits, who may not need them
                await manager.load(packages)
            manager.note_startup_files()
            warm.manager = manager
        except asyncio.CancelledError:
            if manager is not None:
                await _end_kernel(manager)
            raise
        except Exception as error:  # noqa: BLE001 - a kernel can fail in any way, and the notebook is ready without
            self.log.warning("the kernel %s is not warm: %s", warm.name, error)
            warm.problem = warm.problem or (str(error) or type(error).__name__)[:_LONGEST_PROBLEM]
            if manager is not None:
                await _end_kernel(manager)

    def warm_states(self) -> list[dict[str, object]]:
        """Each kernel's name, state, problem and the seconds that it took to start."""
        return [warm.told() for warm in self._warm]

    # --- handing over

    def pre_start_kernel(self, kernel_name: str | None, kwargs: dict[str, Any]) -> tuple[Any, str, str]:
        """What Jupyter starts a kernel with: a started one, if there is one that can become it."""
        name = kernel_name or self.default_kernel_name
        for warm in self._warm:
            manager = warm.manager
            if manager is None or warm.name != name:
                continue
            if not manager.runs():
                self._give_up(warm, "the kernel has died")
            elif manager.can_become(kwargs):
                warm.manager, warm.state = None, State.TAKEN
                kwargs.pop("kernel_id", None)
                return manager, name, manager.kernel_id
        return super().pre_start_kernel(kernel_name, kwargs)

    def _give_up(self, warm: Warm, problem: str) -> None:
        manager, warm.manager = warm.manager, None
        warm.state, warm.problem = State.ENDED, problem
        if manager is not None:
            self._tasks[f"end {warm.name}"] = asyncio.create_task(_end_kernel(manager), name="end a warm kernel")

    async def _async_start_kernel(self, **wanted: Any) -> str:
        if self._warm and not self._is_in_use:
            self._is_in_use = True
            self._tasks["unused"] = asyncio.create_task(self._end_unused(), name="end unused warm kernels")
        await self._wait_for(wanted.get("kernel_name") or self.default_kernel_name)
        kernel_id: str = await super()._async_start_kernel(**wanted)
        manager = self._kernels.get(kernel_id)
        if getattr(manager, "was_handed_over", False) and manager.execution_state == "starting":
            manager.execution_state = "idle"  # it has answered; a new one says so when its first client asks
        return kernel_id

    start_kernel = _async_start_kernel  # type: ignore[assignment]

    async def _wait_for(self, name: str) -> None:
        """Wait for a kernel that is just being started: two at once would take longer."""
        with contextlib.suppress(TimeoutError):
            for warm in self._warm:
                if warm.name == name and warm.is_begun and warm.state is State.STARTING:
                    await asyncio.wait_for(warm.is_settled.wait(), _LONGEST_WAIT)

    # --- ending

    async def _end_unused(self) -> None:
        await asyncio.sleep(self._wanted.unused_seconds)
        await self._end_all()

    async def _end_all(self) -> None:
        if start := self._tasks.pop("start", None):
            start.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await start
        for warm in self._warm:
            manager, warm.manager = warm.manager, None
            if manager is not None:
                await _end_kernel(manager)
            if manager is not None or warm.state is State.STARTING:
                warm.state = State.ENDED
            warm.is_settled.set()

    async def _async_shutdown_all(self, now: bool = False) -> None:
        if unused := self._tasks.pop("unused", None):
            unused.cancel()
        await self._end_all()
        await super()._async_shutdown_all(now=now)

    shutdown_all = _async_shutdown_all


async def _end_kernel(manager: WarmKernel) -> None:
    with contextlib.suppress(Exception):  # whatever it is: nobody has seen the kernel
        await manager.shutdown_kernel(now=True)
