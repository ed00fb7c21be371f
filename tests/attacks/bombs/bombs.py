"""What a hostile visitor lets loose inside of a notebook, to hurt the others on the machine. Run as a cell there.

So it imports nothing of ours. Each bomb is a function that takes all it can get for about `SECONDS`, and goes on
where it is refused something. What it holds it holds until it returns, and then leaves nothing behind. The notebook's
limits hold all the while: what is measured is what they let through.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import platform
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

SECONDS = 6.0

HOME = os.path.expanduser("~")
BOMBS: dict[str, Callable[[], Any]] = {}

_libc = ctypes.CDLL(None, use_errno=True)
_column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
_CALLS = {
    "inotify_init1": (294, 26), "inotify_add_watch": (254, 27), "timer_create": (222, 107), "mq_open": (240, 180),
    "add_key": (248, 217), "timerfd_create": (283, 85), "timerfd_settime": (286, 86), "rt_sigqueueinfo": (129, 138),
    "msgget": (68, 186), "semget": (64, 190), "shmget": (29, 194), "mlock": (149, 228), "io_setup": (206, 0),
    "memfd_create": (319, 279),
}  # fmt: skip


def bomb(function: Callable[[], Any]) -> Callable[[], Any]:
    BOMBS[function.__name__] = function
    return function


def call(name: str, *arguments: Any) -> int:
    """A system call by its number; raises `OSError`."""
    values = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    _libc.syscall.restype = ctypes.c_long
    done = int(_libc.syscall(ctypes.c_long(_CALLS[name][_column]), *values))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def until_the_end() -> Iterator[int]:
    """Count up until the time is over."""
    deadline, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline:
        yield count
        count += 1


def in_children(count: int, action: Callable[[], Any]) -> str:
    """Do something in so many processes at once, or as many as may be; end them when the time is over."""
    children = []
    for _ in range(count):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            with contextlib.suppress(BaseException):
                os.setpgid(0, 0)
                action()
            os._exit(0)
        children.append(pid)
    time.sleep(SECONDS)
    for pid in children:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    for pid in children:
        with contextlib.suppress(OSError):
            os.waitpid(pid, 0)
    return f"{len(children)} processes"


def as_many(make: Callable[[], Any]) -> list[Any]:
    """What can be made of something, until it is refused three times or the time is over."""
    made, refused = [], 0
    for _ in until_the_end():
        try:
            made.append(make())
        except (OSError, MemoryError):
            refused += 1
            if refused > 3:
                break
            time.sleep(0.05)
    return made


def holding(make: Callable[[], Any], processes: int = 16) -> str:
    """Have several processes make as many of something as they can, and keep them."""

    def hold() -> None:
        kept = as_many(make)
        time.sleep(SECONDS)
        del kept

    return in_children(processes, hold)


def spin() -> None:
    while True:
        pass


# --- processors and processes


@bomb
def burners() -> str:
    return in_children(64, spin)


@bomb
def burners_with_priority() -> str:
    def hurry() -> None:
        for priority in (-20, -1):
            with contextlib.suppress(OSError):
                os.nice(priority)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
        spin()

    return in_children(64, hurry)


@bomb
def fork_bomb() -> str:
    def fork() -> None:
        for _ in until_the_end():
            with contextlib.suppress(OSError):
                os.fork()

    return in_children(1, fork)


@bomb
def processes_that_come_and_go() -> str:
    def churn() -> None:
        while True:
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)

    return in_children(8, churn)


@bomb
def huge_arguments() -> str:
    def execute() -> None:
        words = ["x" * 100_000] * 15
        while True:
            subprocess.run(["/bin/true", *words], check=False)

    return in_children(8, execute)


@bomb
def threads() -> str:
    def many() -> None:
        started = 0
        with contextlib.suppress(RuntimeError):
            for started in range(10_000):  # noqa: B007
                threading.Thread(target=time.sleep, args=(SECONDS,), daemon=True).start()
        time.sleep(SECONDS)

    return in_children(4, many)


@bomb
def switches() -> str:
    """Two processes that wake each other all the time, many times over."""

    def play() -> None:
        one, other = os.pipe(), os.pipe()
        if os.fork() == 0:
            one, other = other, one
        else:
            os.write(one[1], b"x")
        while True:
            os.read(other[0] if one[1] > other[1] else one[0], 1)
            os.write(one[1] if one[1] > other[1] else other[1], b"x")

    return in_children(8, play)


@bomb
def signals() -> str:
    """Real-time signals that nobody takes: they are counted per user."""

    def pile() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(34, 64))
        info = (ctypes.c_int * 32)(34, 0, -1)
        for _ in until_the_end():
            with contextlib.suppress(OSError):
                call("rt_sigqueueinfo", os.getpid(), 34, info)
        time.sleep(SECONDS)

    return in_children(8, pile)


# --- memory


@bomb
def memory() -> str:
    def eat() -> None:
        kept = []
        while True:
            kept.append(bytearray(os.urandom(1 << 16)) * 64)

    return in_children(4, eat)


@bomb
def memory_again_and_again() -> str:
    """Faults of pages that are given back at once."""

    def churn() -> None:
        while True:
            with mmap.mmap(-1, 32 << 20) as area:
                for offset in range(0, 32 << 20, 4096):
                    area[offset] = 1

    return in_children(4, churn)


@bomb
def locked_memory() -> str:
    def lock() -> None:
        kept = []
        while True:
            area = mmap.mmap(-1, 1 << 20)
            address = ctypes.addressof(ctypes.c_char.from_buffer(area))
            call("mlock", address, 1 << 20)
            kept.append(area)

    return in_children(8, lock)


@bomb
def anonymous_files() -> str:
    def make() -> int:
        handle = call("memfd_create", b"x", 0)
        os.write(handle, b"x" * (1 << 20))
        return handle

    return holding(make)


# --- files


def fill(directory: str) -> None:
    block = os.urandom(1 << 20)
    with tempfile.TemporaryDirectory(dir=directory) as place:
        for index in until_the_end():
            try:
                with open(f"{place}/{index % 4096}", "wb", buffering=0) as file:
                    while True:
                        file.write(block)
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(f"{place}/{index % 4096}", 0)


@bomb
def a_full_home() -> str:
    return in_children(2, lambda: fill(HOME))


@bomb
def a_full_tmp() -> str:
    return in_children(2, lambda: fill("/tmp"))


@bomb
def a_full_dev_shm() -> str:
    return in_children(2, lambda: fill("/dev/shm"))


@bomb
def a_million_files() -> str:
    """Empty ones, in every place that can be written."""

    def litter(directory: str) -> None:
        with tempfile.TemporaryDirectory(dir=directory) as place:
            for index in until_the_end():
                with contextlib.suppress(OSError):
                    if index % 1000 == 0:
                        os.mkdir(f"{place}/{index}")
                    os.close(os.open(f"{place}/{index // 1000 * 1000}/{index}", os.O_CREAT | os.O_WRONLY))

    for directory in ("/tmp", "/dev/shm"):
        if os.fork() == 0:
            litter(directory)
            os._exit(0)
    litter(HOME)
    with contextlib.suppress(OSError):
        while True:
            os.waitpid(-1, 0)
    return "littered"


@bomb
def names_that_there_are_not() -> str:
    """The kernel remembers each of them."""

    def look() -> None:
        for index in until_the_end():
            os.path.exists(f"{HOME}/{os.getpid()}-{index}-{'x' * 200}")

    return in_children(8, look)


@bomb
def synchronised_writes() -> str:
    def write() -> None:
        with tempfile.NamedTemporaryFile(dir=HOME) as file:
            while True:
                file.seek(0)
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())

    return in_children(8, write)


@bomb
def synchronising_the_machine() -> str:
    """sync(2) writes out what everybody has written."""

    def sync() -> None:
        while True:
            os.sync()

    return in_children(8, sync)


@bomb
def reading_the_image() -> str:
    """Everything that there is to read, from the disk if need be."""

    def read() -> None:
        while True:
            for top, _, names in os.walk("/usr"):
                for name in names:
                    with contextlib.suppress(OSError), open(f"{top}/{name}", "rb", buffering=0) as file:
                        with contextlib.suppress(OSError):
                            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                        while file.read(1 << 20):
                            pass

    return in_children(4, read)


@bomb
def the_log() -> str:
    """What process 1 of the container prints, the engine writes to its disk."""

    def flood() -> None:
        line = b"flood " * 2000 + b"\n"
        with open("/proc/1/fd/1", "wb", buffering=0) as log:
            while True:
                log.write(line)

    return in_children(4, flood)


@bomb
def the_log_in_short_lines() -> str:
    def flood() -> None:
        lines = b"x\n" * 5000
        with open("/proc/1/fd/1", "wb", buffering=0) as log:
            while True:
                log.write(lines)

    return in_children(4, flood)


# --- what the kernel counts per process, per user, or for the whole machine


def raise_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@bomb
def open_files() -> str:
    raise_limit()
    return holding(lambda: os.open("/dev/null", os.O_RDONLY))


@bomb
def pipes() -> str:
    """Full ones: beyond a number of pages per user, everybody's new pipes are small."""

    def make() -> tuple[int, int]:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(OSError):
            while os.write(writer, b"x" * 4096):
                pass
        return reader, writer

    return holding(make)


@bomb
def unix_sockets() -> str:
    """Full ones."""

    def make() -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        pair[0].setblocking(False)
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
        with contextlib.suppress(OSError):
            while pair[0].send(b"x" * 65536):
                pass
        return pair

    return holding(make)


@bomb
def descriptors_under_way() -> str:
    """Sent over sockets and never received: they are counted per user."""

    def make() -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        pair[0].setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                socket.send_fds(pair[0], [b"x"], [0] * 200)
        return pair

    return holding(make, 4)


@bomb
def sockets_of_every_kind() -> str:
    raise_limit()
    kinds = [(socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET6, socket.SOCK_STREAM), (socket.AF_NETLINK, 3)]
    state = iter(range(1 << 30))
    return holding(lambda: socket.socket(*kinds[next(state) % 3]))


@bomb
def datagrams_on_loopback() -> str:
    """Each from another port: what tracks connections has an entry for each."""

    def send() -> None:
        while True:
            for port in range(1024, 60_000):
                with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.sendto(b"x", ("127.0.0.1", port))

    return in_children(8, send)


@bomb
def inotify_instances() -> str:
    return holding(lambda: call("inotify_init1", 0))


@bomb
def inotify_watches() -> str:
    def watch() -> None:
        handle = call("inotify_init1", 0)
        for top, _, names in os.walk("/usr"):
            for name in names:
                with contextlib.suppress(OSError):
                    call("inotify_add_watch", handle, f"{top}/{name}".encode(), 0xFFF)
        time.sleep(SECONDS)

    return in_children(4, watch)


@bomb
def epoll_watches() -> str:
    raise_limit()

    def watch() -> None:
        ends = [end for _ in range(300) for end in os.pipe()]
        kept = []
        for _ in until_the_end():
            poll = select.epoll()
            for end in ends:
                with contextlib.suppress(OSError):
                    poll.register(end, select.EPOLLIN)
            kept.append(poll)
        time.sleep(SECONDS)

    return in_children(8, watch)


@bomb
def timers() -> str:
    """As many as may be, each going off all the time."""

    def start() -> None:
        now = (ctypes.c_long * 4)(0, 1, 0, 1)
        for _ in until_the_end():
            with contextlib.suppress(OSError):
                timer = call("timerfd_create", 1, 0)
                call("timerfd_settime", timer, 0, now, None)
        time.sleep(SECONDS)

    raise_limit()
    return in_children(8, start)


@bomb
def posix_timers() -> str:
    """They are counted per user, as signals are."""
    event = (ctypes.c_int * 16)(0, 0, 0, 1)  # SIGEV_NONE

    def make() -> int:
        timer = ctypes.c_int()
        call("timer_create", 1, event, ctypes.byref(timer))
        return timer.value

    return holding(make)


@bomb
def message_queues() -> str:
    """POSIX ones: their bytes are counted per user."""
    state = iter(range(1 << 30))

    def make() -> int:
        return call("mq_open", f"tmpnb-{os.getpid()}-{next(state)}".encode(), os.O_CREAT | os.O_RDWR, 0o600, None)

    return holding(make)


@bomb
def system_v_objects() -> str:
    def make() -> tuple[int, ...]:
        return call("msgget", 0, 0o1600), call("semget", 0, 250, 0o1600), call("shmget", 0, 1 << 16, 0o1600)

    return holding(make)


@bomb
def keys() -> str:
    """They are counted per user: 200 of them, 20,000 bytes."""
    state = iter(range(1 << 30))
    return holding(lambda: call("add_key", b"user", f"tmpnb-{next(state)}".encode(), b"x" * 100, 100, -3), 2)


@bomb
def pseudo_terminals() -> str:
    """The kernel has so many for all containers together."""
    raise_limit()
    return holding(os.openpty, 4)


@bomb
def asynchronous_io() -> str:
    """Contexts of it are counted for the whole machine (fs.aio-max-nr)."""
    context = ctypes.c_long()

    def make() -> int:
        context.value = 0
        call("io_setup", 4096, ctypes.byref(context))
        return context.value

    return holding(make)


@bomb
def file_locks() -> str:
    def lock() -> None:
        with tempfile.TemporaryFile(dir=HOME) as file:
            file.truncate(1 << 30)
            for index in until_the_end():
                with contextlib.suppress(OSError):
                    os.lockf(file.fileno(), os.F_LOCK, 1)
                    os.lseek(file.fileno(), 2 * index, os.SEEK_SET)
            time.sleep(SECONDS)

    return in_children(4, lock)


@bomb
def mappings() -> str:
    """Each page one of its own."""

    def map_all() -> None:
        protections = iter(until_the_end())
        kept = as_many(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ << next(protections) % 2))
        time.sleep(SECONDS)
        del kept

    return in_children(8, map_all)


def main(name: str) -> None:
    print("begun", flush=True)
    gc.disable()
    try:
        print(BOMBS[name]())
    except (OSError, MemoryError) as error:
        print("refused", error, file=sys.stdout)
