"""What a notebook server says of itself when it is asked. Pure values."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What the notebook server answered: is any kernel busy, and when did each kernel and terminal last speak.

    The server belongs to the visitor, so the times may be lies; those in the future are cut to now by `decide`.
    """

    busy: bool
    kernels: tuple[float, ...] = ()
    terminals: tuple[float, ...] = ()
