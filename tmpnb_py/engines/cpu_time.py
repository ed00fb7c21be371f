"""CPU seconds of containers, read from their control groups. Used by engines; any thread, or the event loop.

Reading takes 20 microseconds for each container and costs the engine nothing; asking Docker 20.10 for it costs
that 10 milliseconds. The files are the kernel's: cpuacct.usage in version 1 (nanoseconds), cpu.stat in version 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")

_DOCKER_ID = re.compile(r"[0-9a-f]{64}")
_TREES = ("cpuacct", "")  # version 1, and 2


def of_docker(docker_id: str, mount: Path = MOUNT) -> float | None:
    """CPU seconds of a container of this machine's Docker; None where this process does not see its group.

    An id is random and as long as a key, so a group of that name is that container's, whosever engine was asked.
    """
    if not _DOCKER_ID.fullmatch(docker_id):
        return None
    names = (f"docker/{docker_id}", f"system.slice/docker-{docker_id}.scope")  # by the engine's cgroup driver
    return of_groups(mount / tree / name for tree in _TREES for name in names)


def of_groups(groups: Iterable[Path]) -> float | None:
    """CPU seconds of the first of these groups that counts them, ended processes included; None if none does."""
    for group in groups:
        try:
            return int((group / "cpuacct.usage").read_bytes()) / 1e9
        except (OSError, ValueError):
            pass
        try:
            facts = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
            return int(facts["usage_usec"]) / 1e6
        except (OSError, ValueError, KeyError):
            pass
    return None
