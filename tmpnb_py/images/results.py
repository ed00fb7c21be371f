"""What checking an image found out: pure values, and advice for the operator."""

from __future__ import annotations

import dataclasses
import json

from tmpnb_py.core.models import ImageFacts, Transport
from tmpnb_py.core.warm import WarmKernel


@dataclasses.dataclass(frozen=True, slots=True)
class KernelTrial:
    """One kernel: the seconds of its start and of a cell, and CPU seconds and memory after each.

    CPU seconds count from the kernel's start; memory is that of the whole container in bytes.
    """

    name: str
    title: str
    start_seconds: float = 0.0
    start_cpu_seconds: float = 0.0
    start_memory: int = 0
    cell_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: int = 0
    drew: bool = False
    problem: str = ""
    runs: bool = False  # True even if it could not draw


@dataclasses.dataclass(frozen=True, slots=True)
class NotebookTrial:
    """A notebook that was run from top to bottom: the number of cells and plots, and the problems."""

    path: str
    cells: int = 0
    plots: int = 0
    seconds: float = 0.0
    problems: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ServerTrial:
    """One container: its transport, what it used until its first answer, and its kernels and notebooks.

    `classic`: it has the interface of before JupyterLab. `messages`: its JupyterLab shows what operator and teacher
    tell everybody.
    """

    transport: Transport
    ready_seconds: float = 0.0
    ready_cpu_seconds: float = 0.0
    ready_memory: int = 0
    kernels: tuple[KernelTrial, ...] = ()
    notebooks: tuple[NotebookTrial, ...] = ()
    classic: bool = False
    messages: bool = False
    problem: str = ""
    remedy: str = ""
    log_lines: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether it answered and every kernel and notebook ran. Plots are not required."""
        bad = [one for one in self.kernels if not one.runs] + [one for one in self.notebooks if one.problems]
        return not self.problem and not bad


@dataclasses.dataclass(frozen=True, slots=True)
class WarmTrial:
    """A container with a kernel started ahead: seconds until both were ready, and the container's memory in bytes."""

    kernel: WarmKernel
    seconds: float = 0.0
    memory: int = 0
    problem: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """What an image lacks, and the remedy. `serious` if visitors could not be served."""

    text: str
    remedy: str
    serious: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class CheckReport:
    """All results for an image. `size` is in bytes."""

    image: ImageFacts
    size: int
    workshops: int
    trials: tuple[ServerTrial, ...]
    advice: tuple[Advice, ...]
    warm: tuple[WarmTrial, ...] = ()

    @property
    def works(self) -> bool:
        """Whether it can serve visitors."""
        return any(trial.works for trial in self.trials) and not any(one.serious for one in self.advice)


def as_json(report: CheckReport) -> str:
    """The report as JSON for programs."""
    return json.dumps(dataclasses.asdict(report) | {"works": report.works}, indent=2, ensure_ascii=False)
