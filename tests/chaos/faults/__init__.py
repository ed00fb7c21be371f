"""The catalogue of faults: named functions, each of which does its harm to a `Stage` and then ends it.

A fault returns when nothing hinders the service any more; whether all is as it should be then is seen by `truth`.
While it happens, visitors come and go. What a fault may take is said by the session's `may_end`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

Harm = Callable[["Stage"], Awaitable[None]]


@dataclasses.dataclass(frozen=True)
class Fault:
    """`rounds` is how many a long run has, `cheap` whether each run has one; `engines` is where it can happen."""

    name: str
    harm: Harm
    rounds: int
    cheap: bool
    engines: tuple[str, ...]


CATALOGUE: dict[str, Fault] = {}


def fault(*, rounds: int = 5, cheap: bool = False, engines: tuple[str, ...] = ("docker",)) -> Callable[[Harm], Harm]:
    """Put a function into the catalogue, under its own name."""

    def put(harm: Harm) -> Harm:
        name = harm.__name__
        CATALOGUE[name] = Fault(name, harm, rounds, cheap, engines)
        return harm

    return put
