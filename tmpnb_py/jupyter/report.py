"""A notebook server's answer to the reaper's questions. Pure values."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Whether any kernel is busy, and when each kernel and terminal was last active.

    The server belongs to the visitor, so the times may be lies; `decide` cuts future ones to now.
    """

    busy: bool
    kernels: tuple[float, ...] = ()
    terminals: tuple[float, ...] = ()
