"""Measured figures of the workshop image. Pure; for plans when nothing can be measured.

Sources, on Debian 12 with Docker 20.10 and two otherwise idle cores: `python -m tests.benchmarks.image` (one
container, hardened as the service starts it) and `python -m tests.benchmarks.class_of 10 30 100` (a class: everybody
opens an R notebook, loads the tidyverse and draws, at moments spread over a minute).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from tmpnb_py.core.units import MIB

IMAGE_SIZE = 1300 * 1000 * 1000  # bytes; the target `minimal` has 350 MB
START_SECONDS = 0.60  # from the start to the first answer, by socket (by port 0.79)
START_CPU = 0.45  # CPU seconds for that; a stock JupyterLab takes 1.37
READY_MEMORY = 48 * MIB  # bytes, by control group; a stock JupyterLab takes 65


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """CPU seconds of a kernel's start; memory of the whole container then, and at most in a workshop."""

    start_cpu: float
    memory_started: int
    memory_workshop: int


KERNELS: Mapping[str, Kernel] = MappingProxyType({
    "python3": Kernel(0.32, 87 * MIB, 180 * MIB),  # Introduction to Python
    "ir": Kernel(0.65, 140 * MIB, 396 * MIB),  # Graphics with ggplot2; 249 MiB in Introduction to R
    "octave": Kernel(0.66, 106 * MIB, 138 * MIB),  # Introduction to Octave
    "bash": Kernel(0.34, 88 * MIB, 103 * MIB),  # The shell for data work
    "gnuplot": Kernel(0.43, 98 * MIB, 101 * MIB),  # one plot
})  # fmt: skip

# Measured on the machine, including the container's shim in the engine.
HOST_READY_MEMORY = 48 * MIB
HOST_WORKING_MEMORY = 231 * MIB  # with the tidyverse loaded and a plot drawn
HOST_DISK = 220 * 1024  # bytes in the engine's directory, without logs
CLICK_TO_PLOT_CPU = 1.9  # kernel, tidyverse, plot
