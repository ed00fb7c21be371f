"""GroupLimits on a whole notebook by control groups, if this user may create them.

Used by the local engine; synchronous, from any thread. Supports both versions. In version 1 each controller has a
tree of its own. In version 2 there is one tree, in which a group with processes cannot delegate controllers to child
groups (cgroups(7), "no internal processes"): there a notebook's group is a sibling of the orchestrator's, as systemd
delegates it to a user's session.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tmpnb_py.core.units import CPU_PERIOD, cpu_per_period

MOUNT = Path("/sys/fs/cgroup")

_UNIFIED = "unified"
_NEEDED = ("memory", "pids")
_REMOVE_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class GroupLimits:
    """Memory in bytes, processes and threads, CPU in microseconds per 100 ms; 0 = no limit (except memory)."""

    memory: int
    pids: int
    cpu: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Cgroups:
    """Where notebooks' groups are created: a directory per controller (v1), or one called "unified" (v2)."""

    parents: Mapping[str, Path]

    @property
    def limit_memory(self) -> bool:
        """Whether a control group limits memory; else resource limits must."""
        return bool({"memory", _UNIFIED} & self.parents.keys())

    @property
    def limit_pids(self) -> bool:
        """Whether a control group limits the number of processes."""
        return bool({"pids", _UNIFIED} & self.parents.keys())

    def make(self, name: str, limits: GroupLimits) -> tuple[str, ...]:
        """Create a notebook's groups with all limits but CPU. Raises `OSError`, leaving nothing behind."""
        made: list[Path] = []
        try:
            for controller, parent in self.parents.items():
                path = parent / name
                path.mkdir(exist_ok=True)
                made.append(path)
                for file, value in _limits(controller, limits).items():
                    _set(path / file, value)
        except OSError:
            remove(map(str, made))
            raise
        return tuple(map(str, made))

    def named(self, name: str) -> tuple[str, ...]:
        """The paths of the groups of this name, whether they exist or not."""
        return tuple(str(parent / name) for parent in self.parents.values())


def find(own: str | None = None, mount: Path = MOUNT) -> Cgroups:
    """Find where this process may create groups. `own` is the text of /proc/self/cgroup."""
    text = Path("/proc/self/cgroup").read_text() if own is None else own
    parents: dict[str, Path] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            unified = _unified(mount, path)
            if unified is not None:
                return Cgroups({_UNIFIED: unified})
        for controller in controllers.split(","):
            place = mount / controller / path.lstrip("/")
            if controller in ("memory", "pids", "cpu", "cpuacct") and _writable(place):
                parents[controller] = place
    return Cgroups(parents)


def _unified(mount: Path, path: str) -> Path | None:
    own = mount / path.lstrip("/")
    for place in (own, own.parent):
        if place.is_relative_to(mount) and _writable(place) and _delegates(place):
            return place
    return None


def _delegates(place: Path) -> bool:
    """Whether child groups get the controllers; enables them if possible."""
    with contextlib.suppress(OSError):
        missing = set(_NEEDED) - set((place / "cgroup.subtree_control").read_text().split())
        if missing and not missing - set((place / "cgroup.controllers").read_text().split()):
            _set(place / "cgroup.subtree_control", " ".join(f"+{one}" for one in sorted(missing)))
            missing.clear()
        return not missing
    return False


def _writable(place: Path) -> bool:
    return os.access(place, os.W_OK) and os.access(place / "cgroup.procs", os.W_OK)


def _limits(controller: str, limits: GroupLimits) -> dict[str, str]:
    pids = str(limits.pids or "max")
    match controller:
        case "memory":
            return {"memory.limit_in_bytes": str(limits.memory), "memory.memsw.limit_in_bytes": str(limits.memory)}
        case "pids":
            return {"pids.max": pids}
        case "unified":
            return {"memory.max": str(limits.memory), "memory.swap.max": "0", "pids.max": pids}
    return {}


def limit_cpu(groups: Iterable[str], quota: int) -> None:
    """Limit a running notebook to its share of CPU. Raises `OSError`."""
    for group in map(Path, groups):
        if not quota:
            continue
        if (group / "cpu.cfs_quota_us").exists():
            _set(group / "cpu.cfs_period_us", str(CPU_PERIOD))
            _set(group / "cpu.cfs_quota_us", str(cpu_per_period(quota)))
        elif (group / "cpu.max").exists():
            _set(group / "cpu.max", f"{cpu_per_period(quota)} {CPU_PERIOD}")


def out_of_memory(groups: Iterable[str]) -> bool:
    """Whether the kernel killed a process in these groups for lack of memory."""
    for group in map(Path, groups):
        for file in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, ValueError):
                facts = dict(line.split() for line in (group / file).read_text().splitlines())
                if int(facts.get("oom_kill", 0)) > 0:
                    return True
    return False


def members(groups: Iterable[str]) -> set[int]:
    """Ids of the processes in the groups."""
    found: set[int] = set()
    for group in groups:
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (Path(group) / "cgroup.procs").read_text().split() if pid != "0"}
    return found


def remove(groups: Iterable[str], seconds: float = _REMOVE_SECONDS) -> Sequence[str]:
    """Remove groups that are empty or about to be. Returns those that remain; missing ones count as removed."""
    left = []
    deadline = time.monotonic() + seconds
    for group in groups:
        while True:
            try:
                Path(group).rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() >= deadline:
                    left.append(group)
                    break
                time.sleep(0.01)  # a killed process leaves its group a moment after it was waited for
            else:
                break
    return left


def _set(path: Path, value: str) -> None:
    """Write one of the kernel's files. No-op if this kernel lacks it (swap accounting, say)."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # never O_CREAT: only the kernel creates these files
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
