"""What puts load on a proxy: one thread round epoll, so that the proxy and not its client is what is measured.

    python -m tests.benchmarks.load {echo|download|upload|latency|idle} TARGET … [options]

A TARGET is `PORT/path` on 127.0.0.1 or `unix:SOCKET:/path`. Prints one JSON object. Run by `proxy.py` as a process of
its own, on a processor of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import select
import socket
import statistics
import sys
import time

_SIZE = 100 * 1024 * 1024
_MESSAGE = 200
_BLOCK = bytearray(1 << 18)
_ZEROS = memoryview(bytes(1 << 18))


def connect(target: str) -> tuple[socket.socket, str]:
    """A connection to a target, and the path to ask for."""
    if target.startswith("unix:"):
        _, name, path = target.split(":", 2)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(name)
        return sock, path
    port, _, path = target.partition("/")
    sock = socket.create_connection(("127.0.0.1", int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock, "/" + path


def read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """The head of an answer, and what came with it."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = sock.recv(65536)
        if not more:
            raise ConnectionError(f"closed after {received!r}")
        received += more
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def websocket(target: str) -> socket.socket:
    """An open WebSocket."""
    sock, path = connect(target)
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    head, rest = read_head(sock)
    if b" 101 " not in head or rest:
        raise ConnectionError(f"no upgrade: {head!r}")
    return sock


def echo(target: str, connections: int, seconds: float) -> dict[str, float]:
    """Round trips of masked text frames, one under way on each connection."""
    message = b"\x81\xfe" + _MESSAGE.to_bytes(2, "big") + b"\0\0\0\0" + b"x" * _MESSAGE
    socks = {sock.fileno(): sock for sock in (websocket(target) for _ in range(connections))}
    poll = select.epoll()
    missing = dict.fromkeys(socks, len(message))
    sent_at: dict[int, float] = {}
    times: list[float] = []
    for number, sock in socks.items():
        sock.setblocking(False)
        poll.register(number, select.EPOLLIN)
        sent_at[number] = time.perf_counter()
        sock.send(message)
    began = now = time.perf_counter()
    while now - began < seconds:
        for number, _ in poll.poll(1.0):
            received = socks[number].recv(65536)
            if not received:
                raise ConnectionError("the WebSocket was closed")
            missing[number] -= len(received)
            if missing[number] <= 0:
                now = time.perf_counter()
                times.append(now - sent_at[number])
                missing[number] = len(message)
                sent_at[number] = now
                socks[number].send(message)
    times.sort()
    return {"per_second": len(times) / (now - began), "p99_ms": times[int(len(times) * 0.99)] * 1000}


def download(target: str, connections: int) -> dict[str, float]:
    """MB/s of files of 100 MiB, so many at a time."""
    began = time.perf_counter()
    poll, left = select.epoll(), {}
    for _ in range(connections):
        sock, path = connect(target)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, rest = read_head(sock)
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if b" 200 " not in head or length is None or int(length[1]) != _SIZE:
            raise ConnectionError(f"unexpected: {head!r}")
        left[sock.fileno()] = (sock, _SIZE - len(rest))
        poll.register(sock, select.EPOLLIN)
    while left:
        for number, _ in poll.poll(10.0):
            sock, missing = left[number]
            count = sock.recv_into(_BLOCK)
            if count == 0:
                raise ConnectionError("closed in the midst of a file")
            left[number] = (sock, missing - count)
            if missing == count:
                poll.unregister(number)
                del left[number]
    return {"mb_per_second": connections * _SIZE / 1e6 / (time.perf_counter() - began)}


def upload(target: str, connections: int) -> dict[str, float]:
    """MB/s of bodies of 100 MiB, so many at a time."""
    began = time.perf_counter()
    poll, left = select.epoll(), {}
    for _ in range(connections):
        sock, path = connect(target)
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {_SIZE}\r\n\r\n".encode())
        sock.setblocking(False)
        left[sock.fileno()] = (sock, _SIZE)
        poll.register(sock, select.EPOLLOUT)
    while left:
        for number, event in poll.poll(10.0):
            sock, missing = left[number]
            if missing:
                left[number] = (sock, missing - sock.send(_ZEROS[:missing]))
                if left[number][1] == 0:
                    poll.modify(number, select.EPOLLIN)
            elif event & select.EPOLLIN:
                sock.setblocking(True)
                head, _ = read_head(sock)
                if b" 200 " not in head:
                    raise ConnectionError(f"unexpected: {head!r}")
                poll.unregister(number)
                del left[number]
    return {"mb_per_second": connections * _SIZE / 1e6 / (time.perf_counter() - began)}


def latency(targets: list[str], seconds: float) -> dict[str, float]:
    """The median of one small GET at a time in microseconds, the targets in turn."""
    opened = {target: connect(target) for target in targets}
    times: dict[str, list[float]] = {target: [] for target in targets}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for target in targets:
            sock, path = opened[target]
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            for _ in range(50):
                began = time.perf_counter()
                sock.sendall(request)
                received = _answer(sock)
                times[target].append((time.perf_counter() - began) * 1e6)
                if not received.startswith(b"HTTP/1.1 200"):
                    raise ConnectionError(f"unexpected from {target}: {received!r}")
                if b"onnection: close" in received:  # as configurable-http-proxy says each time
                    sock.close()
                    sock, path = opened[target] = connect(target)
    return {target: statistics.median(values) for target, values in times.items()}


def _answer(sock: socket.socket) -> bytes:
    """A small answer, in however many pieces it comes."""
    received = sock.recv(65536)
    while not received.partition(b"\r\n\r\n")[2].endswith((b"}", b"0\r\n\r\n")):
        more = sock.recv(65536)
        if not more:
            break
        received += more
    return received


def idle(targets: list[str], connections: int) -> None:
    """Open so many WebSockets, the targets in turn, say so, and hold them until standard input ends."""
    held = [websocket(targets[number % len(targets)]) for number in range(connections)]
    print(json.dumps({"open": len(held)}), flush=True)
    sys.stdin.read()


def main() -> None:
    parser = argparse.ArgumentParser(description="Put load on a proxy on loopback.")
    parser.add_argument("kind", choices=("echo", "download", "upload", "latency", "idle"))
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    first = options.targets[0]
    if options.kind == "idle":
        idle(options.targets, options.connections)
        return
    result = {
        "echo": lambda: echo(first, options.connections, options.seconds),
        "download": lambda: download(first, options.connections),
        "upload": lambda: upload(first, options.connections),
        "latency": lambda: latency(options.targets, options.seconds),
    }[options.kind]()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
