"""Estimates what a number of simultaneous people need, from one notebook's figures. Pure; for `doctor --plan`."""

from __future__ import annotations

import dataclasses
import math

from tmpnb_py.cli.commands import sizing
from tmpnb_py.core.languages import PYTHON
from tmpnb_py.core.units import GIB, MIB

# CPUs of a person who reads and runs cells, averaged over an hour. Assumed (docs/sizing.md tells how to check it).
WORKING_CPU = 0.05
# CPU seconds of opening JupyterLab besides the kernel's start: its first requests to the notebook server.
OPENING_CPU = 0.3
# Memory that numpy, pandas, matplotlib and small data add to a new kernel.
WORK_MARGIN = 100 * MIB
OPENING_SECONDS = 60.0  # within which everybody clicks
SYSTEM_MEMORY = GIB  # operating system, engine and tmpnb-py
LOG_SIZE = MIB  # the engine's limit for each container's log
ENGINE_DISK = 16 * 1024  # the engine's own files per container


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What one notebook uses in bytes, seconds and CPU seconds. `measured` is False for the defaults below."""

    start_seconds: float
    start_cpu: float
    memory_ready: int
    memory_working: int
    kernel_cpu: float
    image: int
    disk: int
    measured: bool = True


# Measured with the workshop image and its Python kernel (see tmpnb_py.cli.commands.sizing).
DEFAULTS = Figures(
    start_seconds=sizing.START_SECONDS,
    start_cpu=sizing.START_CPU,
    memory_ready=sizing.READY_MEMORY,
    memory_working=sizing.KERNELS[PYTHON.kernel].memory_started,
    kernel_cpu=sizing.KERNELS[PYTHON.kernel].start_cpu,
    image=sizing.IMAGE_SIZE,
    disk=0,
    measured=False,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """The resources of the engine's machine."""

    memory: int
    cpus: int


@dataclasses.dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The needs in bytes and CPUs, and the seconds in which this machine starts all notebooks beforehand.

    `memory` is for people who work with small data, `memory_full` if everybody uses their whole limit.
    """

    people: int
    ready: int
    memory: int
    memory_full: int
    cpus: int
    disk: int
    fill_seconds: float | None


def plan_for(
    people: int, *, ready: int, mem_limit: int, figures: Figures, machine: Machine | None, is_warm: bool = False
) -> CapacityPlan:
    """Estimate what `people` simultaneous people need, with `ready` more notebooks waiting for others.

    `is_warm`: each of these has a kernel started before its visitor comes.
    """
    working = min(figures.memory_working + WORK_MARGIN, mem_limit)
    waiting = min(figures.memory_working if is_warm else figures.memory_ready, mem_limit)
    start_cpu = max(figures.start_cpu, 0.01) + (figures.kernel_cpu if is_warm else 0)
    opening = people * (figures.kernel_cpu + OPENING_CPU + figures.start_cpu) / OPENING_SECONDS
    fill = None if machine is None else (people + ready) * start_cpu / max(1, machine.cpus)
    return CapacityPlan(
        people=people,
        ready=ready,
        memory=SYSTEM_MEMORY + people * working + ready * waiting,
        memory_full=SYSTEM_MEMORY + people * mem_limit + ready * waiting,
        cpus=max(1, math.ceil(max(opening, people * WORKING_CPU))),
        disk=figures.image + (people + ready) * (figures.disk + LOG_SIZE + ENGINE_DISK),
        fill_seconds=fill,
    )
