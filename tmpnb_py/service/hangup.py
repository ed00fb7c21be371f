"""SIGHUP: either the terminal that the service was started in is gone, or the operator wants a reload.

The kernel sends one signal for both, so we look at the terminal. If it is gone, the service ends as after SIGTERM.
If it is there, or never was (systemd, a container), the service reloads. Started with nohup, the service outlives its
terminal, and each SIGHUP is a reload.

The command line makes the handler before anything else, because an unhandled SIGHUP kills; `serve` uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator

# A shell that loses its terminal sends SIGHUP to its jobs. A process that gets none within so many seconds was left
# running on purpose (a background job of a shell that ended); a later SIGHUP comes from an operator.
_TOLD_WITHIN = 5.0


class Hangup:
    """Handles SIGHUP of this process."""

    def __init__(self) -> None:
        """Catch the signal from now on; one that comes before `handled` is handled there. Main thread only."""
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._terminal = None if nohup else _terminal()
        self._came_early = False
        signal.signal(signal.SIGHUP, self._early)

    def _early(self, *_: object) -> None:
        self._came_early = True

    @contextlib.contextmanager
    def handled(self, *, stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
        """Call `stop` or `reload` at each signal. Afterwards the signal is ignored: the process is ending."""
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
        """Whether the terminal is gone, or this process's session has lost it (its leader has ended)."""
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
        """Forget the terminal if it goes without a signal to us."""
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
