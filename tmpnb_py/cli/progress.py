"""Progress of image builds and transfers: one live line on a terminal, else a line per step."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tmpnb_py.core.units import format_duration


class Step(Protocol):
    """The displayed values of a build step: its number and total, its text, and the seconds so far."""

    @property
    def index(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def seconds(self) -> float: ...


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal that something is under way; nothing elsewhere."""
    console = _console(None)
    with console.status(text) if console.is_terminal else contextlib.nullcontext():
        yield


def _console(stream: TextIO | None) -> Console:
    return Console(file=sys.stderr if stream is None else stream, highlight=False, markup=False, emoji=False)


class BuildProgress:
    """Shows a build's progress on standard error. A context manager; call `report` with each step."""

    def __init__(self, tag: str, stream: TextIO | None = None) -> None:
        self._tag = tag
        self._console = _console(stream)
        self._began = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("layer {task.completed}/{task.total}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(f"building {tag}", total=None)

    def __enter__(self) -> BuildProgress:
        self._bar.start()
        return self

    def report(self, step: Step) -> None:
        """Show a step."""
        text = " ".join(step.text.split())
        if self._console.is_terminal:
            self._bar.update(self._task, completed=step.index, total=step.total or None, description=text)
        else:
            took = f" ({format_duration(round(step.seconds, 1))})" if step.seconds >= 0.1 else ""
            self._line(f"[{step.index}/{step.total}] {text}{took}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if kind is None:
            self._line(f"built {self._tag} in {format_duration(max(1, round(time.monotonic() - self._began)))}")

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


class Transferred(Protocol):
    """The displayed values of a transfer: the phase, and bytes done of the total (0 = unknown)."""

    @property
    def doing(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...


class TransferProgress:
    """Shows a transfer's progress; without a terminal, a line per phase. A context manager; call `report`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = _console(stream)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._doing = ""

    def __enter__(self) -> TransferProgress:
        self._bar.start()
        return self

    def report(self, progress: Transferred) -> None:
        """Show the progress."""
        if progress.doing != self._doing:
            self._doing = progress.doing
            self._bar.reset(self._task, total=progress.total or None, description=progress.doing)
            if not self._console.is_terminal:
                size = f" {progress.total >> 20} MiB" if progress.total else ""
                self._console.print(f"{progress.doing}{size}", soft_wrap=True)
        self._bar.update(self._task, completed=progress.done)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
