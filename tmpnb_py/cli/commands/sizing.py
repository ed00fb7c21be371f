"""Measured figures of the workshop image. Pure; for plans when nothing can be measured.

Sources, on Debian 12 with Docker 20.10 and two otherwise idle cores: `python -m tests.benchmarks.image` (one
container, hardened as the service starts it) and `python -m tests.benchmarks.class_of 10 30 100` (a class: everybody
opens an R notebook, loads the tidyverse and draws, at moments spread over a minute).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tmpnb_py.core.languages import LANGUAGES, KernelCost
from tmpnb_py.core.units import MIB

IMAGE_SIZE = 1300 * 1000 * 1000  # bytes; the target `minimal` has 350 MB
START_SECONDS = 0.60  # from the start to the first answer, by socket (by port 0.79)
START_CPU = 0.45  # CPU seconds for that; a stock JupyterLab takes 1.37
READY_MEMORY = 48 * MIB  # bytes, by control group; a stock JupyterLab takes 65


KERNELS: Mapping[str, KernelCost] = MappingProxyType({one.kernel: one.cost for one in LANGUAGES if one.cost})

# Measured on the machine, including the container's shim in the engine.
HOST_READY_MEMORY = 48 * MIB
HOST_WORKING_MEMORY = 231 * MIB  # with the tidyverse loaded and a plot drawn
HOST_DISK = 220 * 1024  # bytes in the engine's directory, without logs
CLICK_TO_PLOT_CPU = 1.9  # kernel, tidyverse, plot
