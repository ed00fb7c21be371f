"""What the neighbour of a bomb does: a cell that is timed, and one thing of each kind that a notebook may need.

Sent into a kernel as source code, so it imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)


def work() -> None:
    """A cell's work: some computing, a small file, a little memory. Takes a few milliseconds."""
    sum(index * index for index in range(80_000))
    with tempfile.TemporaryFile(dir=os.path.expanduser("~")) as file:
        file.write(b"x" * 65536)
        file.flush()
        os.fsync(file.fileno())
    bytearray(4 << 20)


def _checked(done: int) -> int:
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def _inotify() -> None:
    os.close(_checked(_libc.inotify_init()))


def _queue() -> None:
    name = f"/tmpnb-{os.getpid()}".encode()
    os.close(_checked(_libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None)))
    _libc.mq_unlink(name)


def _terminal() -> None:
    for end in os.openpty():
        os.close(end)


def _sent_descriptor() -> None:
    one, other = socket.socketpair()
    with one, other:
        socket.send_fds(one, [b"x"], [0])
        _, handles, _, _ = socket.recv_fds(other, 1, 1)
        os.close(handles[0])


def _pipe() -> None:
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
    os.close(reader)
    os.close(writer)
    if size < 65536:
        raise OSError(f"of {size} bytes only")


def _epoll() -> None:
    with select.epoll() as poll:
        reader, writer = os.pipe()
        poll.register(reader, select.EPOLLIN)
        os.close(reader)
        os.close(writer)


def _timer() -> None:
    event, timer = (ctypes.c_int * 16)(0, 0, 0, 1), ctypes.c_void_p()
    _checked(_libc.timer_create(1, event, ctypes.byref(timer)))
    _libc.timer_delete(timer)


def _signal() -> None:
    pid = os.fork()  # it would end a kernel, whose other threads take it
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, [40])
        os._exit(_libc.sigqueue(os.getpid(), 40, None) != 0)
    if os.waitpid(pid, 0)[1]:
        raise OSError("it is refused")


def _program() -> None:
    subprocess.run(["/bin/true"], check=True)


def _memory() -> None:
    bytearray(32 << 20)


def _file() -> None:
    for place in (os.path.expanduser("~"), "/tmp", "/dev/shm"):
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x" * (1 << 20))
            file.flush()


def _asynchronous_io() -> None:
    context = ctypes.c_long()
    number = {"x86_64": 206, "aarch64": 0}[os.uname().machine]
    _checked(_libc.syscall(number, 128, ctypes.byref(context)))
    _libc.syscall(number + 1, context)


NEEDS: dict[str, Callable[[], Any]] = {
    "inotify": _inotify, "message queue": _queue, "terminal": _terminal, "descriptor sent": _sent_descriptor,
    "pipe": _pipe, "epoll": _epoll, "timer": _timer, "signal": _signal, "program": _program, "memory": _memory,
    "file": _file, "asynchronous io": _asynchronous_io,
}  # fmt: skip


def lacking() -> dict[str, str]:
    """What cannot be had now, and why."""
    found = {}
    for name, action in NEEDS.items():
        try:
            action()
        except OSError as error:
            found[name] = str(error)
    return found
