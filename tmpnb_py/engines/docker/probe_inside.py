"""Inspects a container from inside: its privileges, its limits, and what it reaches.

The Docker and the Swarm engine run this file's source, with one JSON argument, as a notebook's command. So it imports
only the standard library and must run on Python 3.8. It ends by itself after a while, so that a crashed orchestrator
leaves nothing running.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

ANSWER = "tmpnb "
_LIFETIME_SECONDS = 60
_PR_GET_NO_NEW_PRIVS = 39  # prctl(2)
_FILES = {
    "memory": ("memory/memory.limit_in_bytes", "memory.max"),
    "swap": ("memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
    "processes": ("pids/pids.max", "pids.max"),
}


def privileges() -> dict[str, Any]:
    with open("/proc/self/status") as file:  # noqa: PTH123 - Python 3.8's standard library is enough
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    if "NoNewPrivs" not in fields:  # gVisor's kernel does not write it there, but tells whoever asks
        fields["NoNewPrivs"] = str(ctypes.CDLL(None).prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))
    return {key: fields.get(key, "") for key in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")}


def limits() -> dict[str, int | None]:
    """The limits in bytes and numbers; None for no limit. Skips unreadable ones.

    "all memory" is what the kernel says the machine has.
    """
    found: dict[str, int | None] = {}
    for name, places in _FILES.items():
        for place in places:
            try:
                with open("/sys/fs/cgroup/" + place) as file:  # noqa: PTH123
                    text = file.read().strip()
            except OSError:
                continue
            number = int(text) if text.isdecimal() else None
            found[name] = None if number is None or number >= 1 << 60 else number
            memory = found.get("memory")
            if name == "swap" and place.startswith("memory/") and number is not None and memory:
                found[name] = max(0, number - memory)  # cgroup v1 counts memory and swap together
            break
    with open("/proc/meminfo") as file:  # noqa: PTH123
        found["all memory"] = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemTotal:"))
    return found


def gateway() -> str:
    """The address of the default route's next hop; "" if there is none."""
    with open("/proc/net/route") as file:  # noqa: PTH123
        for line in list(file)[1:]:
            words = line.split()
            if words[1] == "00000000" and words[2] != "00000000":
                return socket.inet_ntoa(bytes.fromhex(words[2])[::-1])
    return ""


def attempt(targets: list[tuple[str, int]], seconds: float) -> dict[str, str]:
    """Try a TCP connection to each target. Results: "connected", "silent", or the name of an error."""
    results: dict[str, str] = {}
    waiting: dict[int, tuple[str, socket.socket]] = {}
    poll = select.poll()
    for host, port in targets:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            probe = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            code = probe.connect_ex((host, port))
        except OSError as error:
            results[host] = errno.errorcode.get(error.errno or 0, "error")
            continue
        if code == errno.EINPROGRESS:
            waiting[probe.fileno()] = host, probe
            poll.register(probe, select.POLLOUT)
        else:
            results[host] = errno.errorcode.get(code, "connected")
            probe.close()
    until = time.monotonic() + seconds
    while waiting and time.monotonic() < until:
        for number, _ in poll.poll(1000 * max(0.0, until - time.monotonic())):
            poll.unregister(number)
            host, probe = waiting.pop(number)
            code = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            results[host] = errno.errorcode.get(code, "connected")
            probe.close()
    for host, probe in waiting.values():
        results[host] = "silent"
        probe.close()
    return results


def reached(path: str) -> str:
    """Connect to a Unix socket. Results: "connected", or the name of an error."""
    with socket.socket(socket.AF_UNIX) as probe:
        code = probe.connect_ex(path)
    return errno.errorcode.get(code, "error") if code else "connected"


def may_write(directory: str) -> bool:
    """Whether files can be created in a directory, even if its mode must be changed first."""
    with contextlib.suppress(OSError):
        os.chmod(directory, 0o777)  # noqa: PTH101, S103
    try:
        place = os.path.join(directory, "probe")  # noqa: PTH118
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
        os.unlink(place)  # noqa: PTH108
    except OSError:
        return False
    return True


def look(asked: dict[str, Any]) -> dict[str, Any]:
    hop = gateway()
    targets = [(hop if host == "gateway" else host, port) for host, port in asked["attempts"]]
    facts = privileges()
    facts["limits"] = limits()
    facts["gateway"] = hop
    facts["web"] = reached(asked["web"]) if asked.get("web") else ""
    facts["attempts"] = attempt([target for target in targets if target[0]], asked["seconds"])
    return facts


def main(argument: str) -> None:
    """Print the facts as JSON; then serve on `socket` (a path) or `listen` (a port), if one is given.

    `attempts`: pairs of address and port, tried for `seconds`; the address "gateway" is the default route's. `web` is
    a Unix socket to connect to, "" for none.
    With `late` nothing is printed, and each connection is told the facts as they are then.
    """
    asked = json.loads(argument)
    signal.alarm(_LIFETIME_SECONDS)
    server = None
    if asked["socket"]:
        server = socket.socket(socket.AF_UNIX)
        server.bind(asked["socket"])
        os.chmod(asked["socket"], 0o666)  # noqa: PTH101, S103
    elif asked["listen"]:
        server = socket.socket()
        server.bind(("", asked["listen"]))
    if server is not None:
        server.listen()
    late = asked.get("late", False)
    if not late:
        print(json.dumps(look(asked)), flush=True)
    while server is not None:
        connection = server.accept()[0]
        word = "open" if asked["socket"] and may_write(os.path.dirname(asked["socket"])) else "sealed"  # noqa: PTH120
        told = json.dumps({"directory": word, **look(asked)}) if late else word
        with contextlib.suppress(OSError):  # whoever asked may have gone
            connection.sendall((ANSWER + told).encode())
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
