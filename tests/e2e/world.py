"""A small internet in network namespaces: an engine's machine, and a world that it reaches over one wire.

Nothing leaves this computer. The world has an address of the public internet (TEST-NET-2), a cloud's metadata
service, and a company's server that is also its name server; the machine has a public, a private and a bridge's
address.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PUBLIC, METADATA, COMPANY = "198.51.100.9", "169.254.169.254", "10.98.0.2"
HOST_PUBLIC, HOST_PRIVATE = "203.0.113.1", "10.97.0.1"
PORT = 8080

# Answers TCP on PORT, and (asked for a name) UDP on 53 with PUBLIC.
SERVERS = f"""
import socket, struct, sys, threading
def names():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(({COMPANY!r}, 53))
    while True:
        query, client = server.recvfrom(512)
        end = 12
        while query[end]:
            end += query[end] + 1
        question = query[12:end + 5]
        wanted = struct.unpack(">H", question[-4:-2])[0] == 1
        answer = b"\\xc0\\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton({PUBLIC!r}) if wanted else b""
        server.sendto(query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(wanted), 0, 0) + question + answer, client)
if sys.argv[1:] == ["names"]:
    threading.Thread(target=names, daemon=True).start()
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("", {PORT}))
server.listen()
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""


class World:
    """Both namespaces, while they exist: `machine` is the path of the engine's, `elsewhere` of the world's."""

    def __init__(self, name: str) -> None:
        self._machine, self._world = f"{name}m", f"{name}w"
        self.machine = f"/run/netns/{self._machine}"
        self.elsewhere = f"/run/netns/{self._world}"
        self._servers: list[subprocess.Popen[bytes]] = []

    def build(self) -> None:
        """Make the namespaces, the wire, the addresses and the servers."""
        for name in (self._machine, self._world):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", self._machine, "link", "add", "wire", "type", "veth", "peer", "wire", "netns", self._world)
        self._address(self._machine, "wire", f"{HOST_PUBLIC}/24")
        self._address(self._world, "wire", "203.0.113.2/24")
        self._address(self._machine, "lo", f"{HOST_PRIVATE}/32")
        for address in (PUBLIC, METADATA, COMPANY):
            self._address(self._world, "lo", f"{address}/32")
        _run("ip", "-n", self._machine, "route", "add", "default", "via", "203.0.113.2")
        self._serve(self._machine)
        self._serve(self._world, "names")

    def _address(self, namespace: str, device: str, address: str) -> None:
        _run("ip", "-n", namespace, "address", "add", address, "dev", device)
        _run("ip", "-n", namespace, "link", "set", device, "up")

    def _serve(self, namespace: str, *arguments: str) -> None:
        command = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-c", SERVERS, *arguments]
        server = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._servers.append(server)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"

    def nft(self, *arguments: str) -> str:
        """What nft says on the engine's machine."""
        return _run("nsenter", f"--net={self.machine}", "nft", *arguments)

    def tear_down(self) -> None:
        """Remove all of it."""
        for server in self._servers:
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
        for name in (self._machine, self._world):
            for _ in range(50):  # an engine's last processes may still be in it
                if not Path(f"/run/netns/{name}").exists():
                    break
                subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
                time.sleep(0.1)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def world() -> Iterator[World]:
    """The namespaces, removed at the end."""
    made = World(f"tmpnb{secrets.token_hex(3)}")
    try:
        made.build()
        yield made
    finally:
        made.tear_down()
