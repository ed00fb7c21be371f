"""Forwards connections on a notebook's loopback to the web proxy's Unix socket, as clients know proxies by a port.

An engine runs this file's source in the notebook, beside its server and as its user. So it imports only the standard
library and must run on Python 3.8. Nothing depends on it but this notebook's own way to the web: a visitor who ends
it, or connects to the socket directly, gains nothing.

Copying is done here, and no descriptor is passed on to the service: whoever has the other copy of one could make the
service's reads block.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time

_PIECE = 1 << 16
_BACKLOG = 128
_AGAIN_SECONDS = 0.05
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class End:
    """One end of a connection, and what is to be sent to it. The other end is read while that is empty."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.other = self
        self.waiting = b""
        self.has_ended = False
        self.events = 0


class Forwarder:
    """Joins each connection to `port` with one to the socket at `path`.

    While the service takes no more, no further ones are accepted, and those that are open go on.
    """

    def __init__(self, port: int, path: str) -> None:
        self._path = path
        self._pending: socket.socket | None = None
        self._poll = selectors.DefaultSelector()
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind(("127.0.0.1", port))
        self._server.listen(_BACKLOG)
        self._server.setblocking(False)

    def run(self) -> None:
        """Forward for ever."""
        self._poll.register(self._server, _READ)
        while True:
            for key, events in self._poll.select(None if self._pending is None else _AGAIN_SECONDS):
                if key.data is None:
                    self._accept()
                elif key.data.events:  # else it was closed in this round
                    self._move(key.data, events)
            if self._pending is not None and self._join(self._pending):
                self._pending = None
                self._poll.register(self._server, _READ)

    def _accept(self) -> None:
        try:
            sock = self._server.accept()[0]
        except OSError:
            time.sleep(_AGAIN_SECONDS)  # no free descriptor, say
            return
        if not self._join(sock):
            self._pending = sock
            self._poll.unregister(self._server)

    def _join(self, sock: socket.socket) -> bool:
        """Connect to the service for it. False if that takes no more for now."""
        upstream = socket.socket(socket.AF_UNIX)
        upstream.setblocking(False)
        try:
            upstream.connect(self._path)
        except OSError as error:
            upstream.close()
            if isinstance(error, BlockingIOError):
                return False
            sock.close()  # the service is being restarted
            return True
        sock.setblocking(False)
        near, far = End(sock), End(upstream)
        near.other, far.other = far, near
        self._watch(near)
        self._watch(far)
        return True

    def _watch(self, end: End) -> None:
        events = (0 if end.has_ended or end.other.waiting else _READ) | (_WRITE if end.waiting else 0)
        if events == end.events:
            return
        if not end.events:
            self._poll.register(end.sock, events, end)
        elif not events:
            self._poll.unregister(end.sock)
        else:
            self._poll.modify(end.sock, events, end)
        end.events = events

    def _move(self, end: End, events: int) -> None:
        try:
            if events & _WRITE:
                self._flush(end)
            if events & _READ:
                data = end.sock.recv(_PIECE)
                end.has_ended = not data
                end.other.waiting = data
                self._flush(end.other)
        except BlockingIOError:
            pass
        except OSError:
            self._close(end)
            return
        if end.has_ended and end.other.has_ended and not end.waiting and not end.other.waiting:
            self._close(end)
            return
        self._watch(end)
        self._watch(end.other)

    def _flush(self, end: End) -> None:
        with contextlib.suppress(BlockingIOError):
            if end.waiting:
                end.waiting = end.waiting[end.sock.send(end.waiting) :]
        if not end.waiting and end.other.has_ended:
            end.sock.shutdown(socket.SHUT_WR)

    def _close(self, end: End) -> None:
        for one in (end, end.other):
            if one.events:
                self._poll.unregister(one.sock)
                one.events = 0
            one.sock.close()


if __name__ == "__main__":
    Forwarder(int(sys.argv[1]), sys.argv[2]).run()
