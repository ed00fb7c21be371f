"""Modules of ours as processes of their own: how each one is started. Pure.

Such a process does the same work as this one would, so it must run the same code: `-P` keeps the working directory,
which may be anybody's, off the places where Python looks for modules. And it needs no secret of ours.
"""

from __future__ import annotations

import os
import sys

_INHERITED = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH")


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line of a module."""
    return (sys.executable, "-P", "-m", module, *arguments)


def environment() -> dict[str, str]:
    """What it inherits of our environment: no tokens."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}
