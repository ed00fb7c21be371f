"""Memory use, and free space for files.

Home and /tmp of a notebook are in memory, so both limits count.
"""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")

_SPARE = 32 * 1024 * 1024  # bytes reserved for the server itself
_FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def room(directory: str) -> int:
    """Bytes that may be written into a directory; may be negative."""
    there = os.statvfs(directory)
    free = there.f_bavail * there.f_frsize
    memory = memory_left()
    return free if memory is None else min(free, memory - _SPARE)


def memory_left(cgroup: Path = CGROUP) -> int | None:
    """Bytes of memory until this container's limit; None if there is none, or it is not visible."""
    found = memory(cgroup)
    return None if found is None else found[1] - found[0]


def memory(cgroup: Path = CGROUP) -> tuple[int, int] | None:
    """Used bytes of memory, and the limit; None if there is none, or it is not visible."""
    for most, used in _FILES:
        try:
            limit, now = (cgroup / most).read_text().strip(), int((cgroup / used).read_text())
            stat = (cgroup / used).with_name("memory.stat").read_text().split()
        except (OSError, ValueError):
            continue
        if not limit.isdecimal() or int(limit) > 1 << 60:
            return None
        numbers = dict(zip(stat[::2], stat[1::2], strict=False))
        # The kernel frees its cache of files when memory is needed.
        cached = numbers.get("total_inactive_file", numbers.get("inactive_file", "0"))
        return max(now - int(cached), 0), int(limit)
    return None
