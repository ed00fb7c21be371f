"""What the engine tells of itself and its machine (`GET /info`), in our words. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from tmpnb_py.core.models import EngineInfo

_CONFINEMENT = {"apparmor": "AppArmor", "selinux": "SELinux", "seccomp": "seccomp"}


def of_info(name: str, info: Mapping[str, Any], now: float) -> EngineInfo:
    """The engine's answer at `now` (seconds since 1970). What an engine leaves out is not held against it."""
    said = _security(info.get("SecurityOptions") or ())
    return EngineInfo(
        name,
        str(info["ServerVersion"]),
        int(info["MemTotal"]),
        int(info["NCPU"]),
        ahead=_ahead(str(info.get("SystemTime") or ""), now),
        data_root=str(info.get("DockerRootDir") or ""),
        shortcomings=tuple(map(str, info.get("Warnings") or ())),
        confinement=tuple(words for option, words in _CONFINEMENT.items() if option in said),
        forwards=info.get("IPv4Forwarding") is not False,
    )


def _security(options: Any) -> set[str]:
    """The names in lines such as "name=seccomp,profile=default"."""
    return {
        field.partition("=")[2] for line in options for field in str(line).split(",") if field.startswith("name=")
    }


def _ahead(told: str, now: float) -> float:
    """How many seconds the engine's clock is ahead; 0 for a time that cannot be read."""
    try:  # nine digits of a second are more than Python 3.11 reads
        return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", told)).timestamp() - now
    except ValueError:
        return 0.0
