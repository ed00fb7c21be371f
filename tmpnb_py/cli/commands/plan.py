"""What a number of people at once need, from what one notebook takes. Pure; used by `doctor --plan`."""

from __future__ import annotations

import dataclasses
import math

from tmpnb_py.cli.commands import sizing
from tmpnb_py.core.languages import PYTHON
from tmpnb_py.core.units import GIB, MIB

# Of a person who reads and runs cells, averaged over an hour; an assumption (docs/sizing.md says how to check it).
WORKING_CPU = 0.05
# A page's load beside the kernel's start: JupyterLab's first requests, each answered by the notebook server.
OPENING_CPU = 0.3
# What importing numpy, pandas and matplotlib and holding small data adds to a kernel that has just started.
WORK_MARGIN = 100 * MIB
OPENING_SECONDS = 60.0  # in which everybody has clicked
SYSTEM_MEMORY = GIB  # operating system, engine and tmpnb-py
LOG_SIZE = MIB  # what the engine keeps of each container's log
ENGINE_DISK = 16 * 1024  # of each container's own files in the engine


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What one notebook takes: bytes, seconds and CPU seconds. `measured` is False for the defaults below."""

    start_seconds: float
    start_cpu: float
    memory_ready: int
    memory_working: int
    kernel_cpu: float
    image: int
    disk: int
    measured: bool = True


# Measured with the workshop image and its Python kernel (tmpnb_py.cli.commands.sizing says where and how).
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
    """What the engine's machine has."""

    memory: int
    cpus: int


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The needs: bytes, CPUs, and the seconds that this machine takes to start all notebooks beforehand.

    `memory` is for people who work with small data, `memory_full` for the case that everybody uses their limit.
    """

    people: int
    ready: int
    memory: int
    memory_full: int
    cpus: int
    disk: int
    fill_seconds: float | None


def plan_for(people: int, *, ready: int, mem_limit: int, figures: Figures, machine: Machine | None) -> Plan:
    """What `people` at once need while `ready` more notebooks wait for the next ones."""
    working = min(figures.memory_working + WORK_MARGIN, mem_limit)
    waiting = min(figures.memory_ready, mem_limit)
    opening = people * (figures.kernel_cpu + OPENING_CPU + figures.start_cpu) / OPENING_SECONDS
    fill = None if machine is None else (people + ready) * max(figures.start_cpu, 0.01) / max(1, machine.cpus)
    return Plan(
        people=people,
        ready=ready,
        memory=SYSTEM_MEMORY + people * working + ready * waiting,
        memory_full=SYSTEM_MEMORY + people * mem_limit + ready * waiting,
        cpus=max(1, math.ceil(max(opening, people * WORKING_CPU))),
        disk=figures.image + (people + ready) * (figures.disk + LOG_SIZE + ENGINE_DISK),
        fill_seconds=fill,
    )
