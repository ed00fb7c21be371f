"""A clock that outlives the process and cannot be set: seconds since the machine's boot, with the boot's id.

Durations measured with it stay right when the wall clock is corrected. The engines write its stamps down, and read
them after a restart.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

PATTERN = r"[0-9]{1,12}-[0-9a-f]{8}"
_STAMP = re.compile(PATTERN)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def stamp() -> str:
    """This moment as `<seconds since boot>-<8 digits of the boot's id>`; "" where the system does not tell."""
    try:
        boot_id = _BOOT_ID.read_text()[:8]
    except OSError:
        return ""
    made = f"{int(time.clock_gettime(time.CLOCK_BOOTTIME))}-{boot_id}"
    return made if _STAMP.fullmatch(made) else ""


def seconds_since(then: str) -> float | None:
    """Seconds since a stamp was made; None if it is invalid, or from another boot or machine."""
    now = stamp()
    if not now or not _STAMP.fullmatch(then):
        return None
    (began, boot_id), (ends, this_boot) = then.split("-"), now.split("-")
    return max(0.0, float(ends) - float(began)) if boot_id == this_boot else None
