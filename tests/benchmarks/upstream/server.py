"""Echoes WebSockets byte by byte, swallows uploads and sends any number of bytes; one thread, standard library only.

python3 server.py SOCKET

GET …/bytes/N           N bytes                 GET …/slowly/N     N bytes, a MiB each 2 ms
POST …                  swallows the body       POST …/slowly      swallows a MiB each 2 ms
an upgrade              echoes                  anything else      200
"""

from __future__ import annotations

import base64
import hashlib
import re
import select
import socket
import sys
import time

BLOCK = bytearray(1 << 20)
ZEROS = memoryview(bytes(1 << 20))
PAUSE = 0.002
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Connection:
    """`left` bytes of a body are to be swallowed (below 0: none), `due` are to be sent."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.head = b""
        self.left = -1
        self.due = 0
        self.slowly = False
        self.echoes = False

    def readable(self) -> bool:
        """False once the connection is of no further use."""
        count = self.sock.recv_into(BLOCK)
        if count == 0:
            return False
        if self.slowly:
            time.sleep(PAUSE * count / len(BLOCK))
        if self.echoes:
            self.sock.send(memoryview(BLOCK)[:count])
        elif self.left >= 0:
            self.swallow(count)
        else:
            self.head += BLOCK[:count]
            if b"\r\n\r\n" in self.head:
                self.answer()
        return True

    def swallow(self, count: int) -> None:
        self.left -= count
        if self.left <= 0:
            self.left, self.slowly = -1, False
            self.sock.send(OK)

    def answer(self) -> None:
        head, _, rest = self.head.partition(b"\r\n\r\n")
        self.head = b""
        line = head.split(b"\r\n", 1)[0]
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", head)
        wanted = re.search(rb"/(bytes|slowly)/(\d+)", line)
        self.slowly = b"/slowly" in line
        if key:
            digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            self.echoes = True
            self.sock.send(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
            )
        elif length:
            self.left = int(length[1])
            self.swallow(len(rest))
        elif wanted:
            self.due = int(wanted[2])
            self.sock.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.due)
        else:
            self.slowly = False
            self.sock.send(OK)

    def writable(self) -> None:
        self.due -= self.sock.send(ZEROS[: self.due])
        if self.slowly:
            time.sleep(PAUSE)


def main() -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(1024)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    connections: dict[int, Connection] = {}
    while True:
        for number, event in poll.poll():
            connection = connections.get(number)
            if connection is None:
                sock = listener.accept()[0]
                sock.setblocking(False)
                connections[sock.fileno()] = Connection(sock)
                poll.register(sock, select.EPOLLIN)
                continue
            try:
                alive = connection.readable() if event & ~select.EPOLLOUT else True
                if event & select.EPOLLOUT:
                    connection.writable()
                poll.modify(number, select.EPOLLIN | (select.EPOLLOUT if connection.due else 0))
            except BlockingIOError:
                continue
            except OSError:
                alive = False
            if not alive:
                poll.unregister(number)
                connections.pop(number).sock.close()


if __name__ == "__main__":
    main()
