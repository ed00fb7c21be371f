"""Finds, watches and kills processes that outlive their starter, without ever mistaking one for another.

Used by the local engine; synchronous, from any thread. A process id alone identifies nothing, because the kernel
reuses it. So a process is remembered with its start time and its boot, and signals go through a pidfd
(pidfd_open(2)): the descriptor is opened first and the start time compared afterwards, so the signalled process is
the compared one, or already gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tmpnb_py.engines.local import seccomp

_PROC = Path("/proc")
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
_ROUND_SECONDS = 0.2
_KEYCTL_JOIN_SESSION_KEYRING = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine. `started` is in clock ticks since boot (proc(5), stat, field 22)."""

    pid: int
    started: int
    boot_id: str


@functools.cache
def boot_id() -> str:
    """The id of the machine's current boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> tuple[int, int]:
    """Read a process's parent and start time. Raises `ProcessLookupError`."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"no process {pid}") from None
    fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and parentheses
    return int(fields[1]), int(fields[19])


def parent_of(pid: int) -> int:
    """A process's parent; 0 where that is not to be seen from here."""
    with contextlib.suppress(OSError):
        return _stat(pid)[0]
    return 0


def identify(pid: int) -> Process:
    """The process that has this id now. Raises `ProcessLookupError`."""
    return Process(pid, _stat(pid)[1], boot_id())


def open_process(process: Process) -> int | None:
    """Open a pidfd, which the caller closes; None if the process is gone, even if its id was reused."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (ProcessLookupError, ValueError):
        return None
    with contextlib.suppress(ProcessLookupError):
        if identify(process.pid) == process and not has_ended(descriptor):
            return descriptor
    reap(descriptor)
    os.close(descriptor)
    return None


def is_alive(process: Process) -> bool:
    """Whether the process runs. A zombie does not."""
    descriptor = open_process(process)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def has_ended(descriptor: int, seconds: float = 0.0) -> bool:
    """Whether the process behind a pidfd has ended, waiting up to `seconds`."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def reap(descriptor: int) -> None:
    """Collect the exit status of an ended child, so that it is no zombie. No-op if it is not our child."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)


def _processes() -> Iterator[int]:
    with os.scandir(_PROC) as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield int(entry.name)


def descendants(root: Process) -> list[Process]:
    """Children, their children and so on, except those whose parent has died."""
    return families([root])[0][1:]


def families(roots: Sequence[Process]) -> list[list[Process]]:
    """Each root with its `descendants`; a process that is below two of them is the first one's. Reads /proc once."""
    children: dict[int, list[tuple[int, int]]] = {}
    for pid in _processes():
        with contextlib.suppress(ProcessLookupError):
            parent, started = _stat(pid)
            children.setdefault(parent, []).append((pid, started))
    return [_family(root, children) for root in roots]


def _family(root: Process, children: dict[int, list[tuple[int, int]]]) -> list[Process]:
    """Takes the family out of `children`: a process that has got a descendant's number is no endless loop."""
    found = [root]
    for one in found:
        found += [Process(pid, started, root.boot_id) for pid, started in children.pop(one.pid, ())]
    return found


def memory(one: Process) -> int:
    """Memory in bytes, with shared pages divided among their users (PSS); 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in (_PROC / str(one.pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(one: Process) -> float:
    """CPU time so far, including ended children; 0 if it is gone."""
    with contextlib.suppress(OSError):
        fields = (_PROC / str(one.pid) / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def marked(name: str, ending: str) -> list[Process]:
    """Processes whose initial environment has `name` with a value that ends in `ending`, as far as visible."""
    wanted = re.compile(rb"\0%b=[^\0]*%b\0" % (re.escape(name.encode()), re.escape(ending.encode())))
    boot = boot_id()
    found = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            if wanted.search(b"\0" + (_PROC / str(pid) / "environ").read_bytes()):
                found.append(Process(pid, _stat(pid)[1], boot))
    return found


def end(root: Process | None, more: Callable[[], Iterable[Process]], seconds: float) -> bool:
    """Kill `root`, its descendants and all that `more` finds. Returns whether none was left in time.

    The root is stopped first, so that it starts no child between the listing and the kill.
    """
    deadline = time.monotonic() + seconds
    while True:
        targets = set(more())
        if root is not None and _signal(root, signal.SIGSTOP):
            targets |= {root, *descendants(root)}
        descriptors = [one for one in map(open_process, targets) if one is not None]
        if not descriptors:
            return True
        if time.monotonic() >= deadline:
            _close(descriptors)
            return False
        _kill(descriptors, min(deadline, time.monotonic() + _ROUND_SECONDS))


def _signal(process: Process, number: signal.Signals) -> bool:
    descriptor = open_process(process)
    if descriptor is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)
    os.close(descriptor)
    return True


def _kill(descriptors: list[int], deadline: float) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    for descriptor in descriptors:
        if has_ended(descriptor, max(0.0, deadline - time.monotonic())):
            reap(descriptor)
    _close(descriptors)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def keep_descriptors() -> None:
    """Keep child processes from inheriting the descriptors that this one inherited, except standard streams.

    Python's own descriptors are never inherited (PEP 446), but those left open by a shell or a service manager are.
    """
    for path in (_PROC / "self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
            if int(path.name) > 2:
                os.set_inheritable(int(path.name), False)


def _take_fresh_keyring() -> None:
    """Give this thread, and the process that it starts next, an empty session keyring (keyrings(7)).

    Otherwise all notebooks would share the keyring and keys of the session that started this service.
    """
    if machine := seccomp.machine():
        call = ctypes.c_long(seccomp.number("keyctl", machine))
        ctypes.CDLL(None).syscall(call, _KEYCTL_JOIN_SESSION_KEYRING, None)  # fails where the kernel has no keyrings


def _spawn(argv: list[str], environ: Mapping[str, str], *descriptors: int) -> int:
    """Start a process in a new session, with `descriptors` numbered from 0."""
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(descriptors)]
    return os.posix_spawn(
        argv[0], argv, environ, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_DEFAULT_SIGNALS
    )


def start(argv: list[str], environ: Mapping[str, str], *, output: int, place: int) -> None:
    """Run a program that leaves a background process; the directory `place` is descriptor 3. Raises `OSError`."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        _, status = os.waitpid(_spawn(argv, environ, output, nowhere, nowhere, place), 0)
    finally:
        os.close(nowhere)
    if status:
        raise ChildProcessError(f"it ended with status {os.waitstatus_to_exitcode(status)}")


class Held:
    """A started process that waits for `go()`; `cancel()`, or our death, ends it instead.

    So its record is written before it does anything: nothing runs without a record.
    """

    def __init__(self, argv: list[str], environ: Mapping[str, str], *, log: int, status: int) -> None:
        """Start in a new session, with `log` as output and `status` as descriptor 3. Raises `OSError`."""
        theirs, self._ours = os.pipe()
        try:
            _take_fresh_keyring()
            pid = _spawn(argv, environ, theirs, log, log, status)
        except BaseException:
            os.close(self._ours)
            raise
        finally:
            os.close(theirs)
        self.process = identify(pid)  # our child: its id is not reused until it is reaped

    def go(self) -> None:
        """Let the process run."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._ours, b"go\n")
        self.cancel()

    def cancel(self) -> None:
        """End the process, unless `go` was called."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1
