"""How a session ended, as visitors are told: on our pages, by the API, and by the scripts that ask it."""

from __future__ import annotations

from collections.abc import Mapping

from tmpnb_py.core.models import EndReason

ENDED: Mapping[EndReason, str] = {
    EndReason.IDLE: "Nobody had used it for a while.",
    EndReason.UNVISITED: "It was not opened in time.",
    EndReason.TOO_OLD: "It had reached the longest time that a notebook may run here.",
    EndReason.OUT_OF_MEMORY: "It needed more memory than a notebook has here.",
    EndReason.CRASHED: "Its server stopped unexpectedly.",
    EndReason.UNREACHABLE: "The service had lost the way to it.",
    EndReason.ENGINE_RESTARTED: "The machine it ran on was restarted.",
    EndReason.ENDED_BY_OWNER: "You ended it.",
    EndReason.ENDED_BY_OPERATOR: "The people who run this service ended it.",
}


def how_it_ended(reason: EndReason | None) -> str:
    """That a session has ended, and why as far as that is known."""
    why = "" if reason is None else ENDED.get(reason, "")
    return f"This notebook has ended. {why}".rstrip()
