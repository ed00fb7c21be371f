"""What SIGHUP means: the terminal that the service was started in is gone, or the operator wants a reload.

The kernel sends the same signal for both, so the terminal itself is looked at. Where it is gone, the service ends as
after SIGTERM; where it is there, or where there never was one (systemd, a container), the service reloads. Started
with nohup it outlives its terminal, and each SIGHUP is a reload.

Made by the command line before anything else, because a signal without a handler kills; used by `serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator

# A shell that is told of its terminal's end tells its jobs so. Whoever hears nothing for so long was left running on
# purpose (a background job of a shell that ended), and a later signal is an operator's.
_TOLD_WITHIN = 5.0


class Hangup:
    """The process's SIGHUP from now on."""

    def __init__(self) -> None:
        """Catch the signal; one that comes before `handled` waits for it. Main thread only."""
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._terminal = None if nohup else _terminal()
        self._came_early = False
        signal.signal(signal.SIGHUP, self._early)

    def _early(self, *_: object) -> None:
        self._came_early = True

    @contextlib.contextmanager
    def handled(self, *, stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
        """Call `stop` or `reload` at each signal; afterwards it is ignored, as the process is ending."""
        loop = asyncio.get_running_loop()

        def received() -> None:
            (stop if self._is_terminal_gone() else reload)()

        loop.add_signal_handler(signal.SIGHUP, received)
        if self._came_early:
            loop.call_soon(received)
        try:
            with self._watched():
                yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _is_terminal_gone(self) -> bool:
        """Whether the terminal has ended, or this process's session has lost it (its leader has ended)."""
        if self._terminal is None:
            return False
        poll = select.poll()
        poll.register(self._terminal, 0)  # what is always told: errors and the hang-up
        if poll.poll(0):
            return True
        again = _terminal()
        if again is not None:
            os.close(again)
        return again is None

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Forget a terminal that ended without a signal to us."""
        if self._terminal is None:
            yield
            return
        loop = asyncio.get_running_loop()
        with select.epoll() as ended:
            ended.register(self._terminal, 0)  # not its input, which is not ours to read

            def hung_up() -> None:
                loop.remove_reader(ended.fileno())
                loop.call_later(_TOLD_WITHIN, self._forget_terminal)

            loop.add_reader(ended.fileno(), hung_up)
            try:
                yield
            finally:
                loop.remove_reader(ended.fileno())
        self._forget_terminal()

    def _forget_terminal(self) -> None:
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None


def _terminal() -> int | None:
    """This process's controlling terminal (see tty(4)); None where it has none."""
    try:
        return os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
