"""Warm kernels: kernels that a notebook's server starts before its visitor comes. Pure.

The service tells a container by an environment variable which ones to start, with the packages that are loaded in
each; the container tells how far they are (`jupyter.questions`), and the pool notes which are ready (`pools.warmth`).
Names come from an operator, a manifest or an image. All are held to the patterns here, as they become code in a
kernel, a label of a metric and a line on a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable

VARIABLE = "TMPNB_WARM_KERNELS"
AUTO = "auto"  # for the option: the first workshop's kernel, where there is memory for it
NONE = "none"  # in a manifest, too: nothing is started for this workshop
KERNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PACKAGE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[.-][A-Za-z0-9_]+)*")
LONGEST_PACKAGE = 64
MOST_KERNELS = 8
MOST_PACKAGES = 32  # of one kernel

_UNUSED_SECONDS = 60  # after the first kernel was taken, those end that nobody took


@dataclasses.dataclass(frozen=True, slots=True)
class WarmKernel:
    """A kernel's name, and the packages that are loaded (not attached) in it."""

    name: str
    packages: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.packages)})" if self.packages else self.name


@dataclasses.dataclass(frozen=True, slots=True)
class WarmState:
    """How far a container is with one: whether it is ready, or why it will not be ("" while it is starting)."""

    name: str
    is_ready: bool = False
    problem: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.is_ready or bool(self.problem)


def is_kernel(name: str) -> bool:
    """Whether a kernel can be called so."""
    return KERNEL.fullmatch(name) is not None


def is_package(name: str) -> bool:
    """Whether a package of R, a module of Python or the like can be called so."""
    return len(name) <= LONGEST_PACKAGE and PACKAGE.fullmatch(name) is not None


def read_label(label: str) -> tuple[str, ...]:
    """The kernels that an image's server can start before a visitor comes, from its label."""
    return tuple(dict.fromkeys(name for name in label[:4096].split() if is_kernel(name)))[:MOST_KERNELS]


def told(kernels: Iterable[WarmKernel]) -> str:
    """What a container is told in `VARIABLE`, the one to be started first at first; "" for none."""
    wanted = {one.name: list(one.packages) for one in kernels}
    if not wanted:
        return ""
    return json.dumps({"kernels": wanted, "unused_seconds": _UNUSED_SECONDS})
