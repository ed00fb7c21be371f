"""The service as a test build: `entry.py PROGRAM ARGUMENT ...` is `tmpnb-py ARGUMENT ...`, with faults to be had.

It reads orders, one a line, from the named pipe CHAOS_ORDERS:

* `raise PATTERN STEPS KIND`: at its STEPS-th step from now on, a task whose name matches raises KIND;
* `clock SECONDS`: the wall clock is off by so much from now on (no other clock is).

Nothing of this is in the product: the tasks are made by a task factory of the event loop, and `time.time` is replaced
before the product is imported. (The kernel's time namespaces have no wall clock, and what replaces the clock of a
whole process, faketime, would replace the monotonic one that asyncio lives by, too.)
"""

from __future__ import annotations

import asyncio
import collections.abc
import fnmatch
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any

_PATIENCE = 1.5  # seconds after which a task that takes no step is woken to raise

_KINDS: dict[str, Callable[[], BaseException]] = {
    "bug": lambda: RuntimeError("injected"),
    "lookup": lambda: KeyError("injected"),
    "memory": MemoryError,
    "io": lambda: OSError(5, "injected"),
}


class _Orders:
    """What is to be raised where; only ever touched by the event loop's thread."""

    def __init__(self) -> None:
        self.pattern = ""
        self.steps = 0
        self.kind = "bug"

    def concerns(self, task: asyncio.Task[Any] | None) -> bool:
        return bool(self.pattern) and task is not None and fnmatch.fnmatchcase(task.get_name(), self.pattern)

    def due(self) -> BaseException | None:
        """Whether this step of a task that is concerned is the one; then the order is carried out."""
        self.steps -= 1
        if self.steps > 0:
            return None
        self.pattern = ""
        return _KINDS[self.kind]()


_orders = _Orders()


class _Interruptible(collections.abc.Coroutine[Any, Any, Any]):
    """A coroutine that raises where the orders say so."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self._has_begun = False  # what has not, cannot raise
        self.woken = False  # by a cancellation of ours, to raise

    def send(self, value: Any) -> Any:
        begun, self._has_begun = self._has_begun, True
        if begun and _orders.pattern and _orders.concerns(asyncio.current_task()) and (error := _orders.due()):
            return self._work.throw(error)
        return self._work.send(value)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        if self.woken:
            self.woken = False
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            return self._work.throw(_KINDS[_orders.kind]())
        return self._work.throw(kind if value is None else value)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()


def _loop_factory(make: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[], asyncio.AbstractEventLoop]:
    def factory() -> asyncio.AbstractEventLoop:
        loop = make()
        loop.set_task_factory(lambda loop, work, **more: asyncio.Task(_Interruptible(work), loop=loop, **more))
        threading.Thread(target=_listen, args=(loop,), daemon=True).start()
        return loop

    return factory


def _listen(loop: asyncio.AbstractEventLoop) -> None:
    # For reading and writing: a pipe without a writer would have ended.
    with os.fdopen(os.open(os.environ["CHAOS_ORDERS"], os.O_RDWR), "r") as pipe:
        for line in pipe:
            verb, *words = line.split()
            if verb == "clock":
                _clock.offset = float(words[0])
            elif verb == "raise":
                loop.call_soon_threadsafe(_order, loop, words)


def _order(loop: asyncio.AbstractEventLoop, words: Sequence[str]) -> None:
    _orders.pattern, steps, _orders.kind = words
    _orders.steps = int(steps)
    loop.call_later(_PATIENCE, _wake, loop, _orders.pattern)


def _wake(loop: asyncio.AbstractEventLoop, pattern: str) -> None:
    if _orders.pattern != pattern:
        return
    for task in asyncio.all_tasks(loop):
        work = task.get_coro()
        if _orders.concerns(task) and isinstance(work, _Interruptible):
            _orders.pattern = ""
            work.woken = True
            task.cancel()
            return


class _Clock:
    """The wall clock, off by `offset` seconds."""

    def __init__(self) -> None:
        self.offset = float(os.environ.get("CHAOS_CLOCK", "0"))
        self._true = time.time

    def __call__(self) -> float:
        return self._true() + self.offset


_clock = _Clock()
time.time = _clock

if __name__ == "__main__":
    from tmpnb_py.cli import main as command_line
    from tmpnb_py.engines.docker import leftovers
    from tmpnb_py.engines.docker.engine import DockerEngine

    # An engine that does not answer is given up sooner, so that a round takes seconds.
    leftovers._OLD_SECONDS, leftovers._SWEEP_SECONDS = 20.0, 10.0
    defaults = DockerEngine.__init__.__kwdefaults__
    assert defaults is not None
    defaults.update(call_timeout=3.0, start_timeout=8.0)
    command_line._loop_factory = functools.partial(_loop_factory, command_line._loop_factory())
    sys.argv = sys.argv[1:]
    command_line.main()
