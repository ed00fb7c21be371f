"""Relays on the nodes of a test's swarm, each a process of its machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.swarm.nodes import Node, Swarm, running_swarm, until
from tmpnb_py.engines.swarm.link.wire import PORT

_PROGRAM = str(Path(sys.executable).parent / "tmpnb-py")


def make_secret(path: Path) -> Path:
    """A key and its certificate, as docs/swarm.md makes them."""
    certificate = path.with_suffix(".crt")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "36500", "-subj", "/CN=tmpnb-relay", "-keyout", path, "-out", certificate,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + certificate.read_text())
    certificate.unlink()
    return path


class RelaysOfNodes:
    """A relay on each node, as a process of that machine."""

    def __init__(self, swarm: Swarm) -> None:
        self.swarm = swarm
        self.secret = make_secret(swarm.directory / "relay.pem")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, node: Node) -> None:
        command = [_PROGRAM, "relay", f"--secret={self.secret}", f"--ip={node.address}", "--log-format=json"]
        with (node.directory / "relay.log").open("ab") as log:
            environment = ["env", f"DOCKER_HOST={node.host}"]
            self._processes[node.name] = node.inside(*environment, *command, log=log.fileno())

    def wait(self, node: Node) -> None:
        """Until its relay takes connections."""
        log = node.directory / "relay.log"
        until(lambda: _listens(node), f"the relay of {node.name} does not start", self._processes[node.name], log)

    def stop(self, node: Node) -> None:
        process = self._processes.pop(node.name, None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def processes(self) -> list[int]:
        """The processes from which all of the nodes, and of the relays, descend."""
        return [*self.swarm.processes(), *(one.pid for one in self._processes.values())]

    @property
    def pids(self) -> tuple[int, ...]:
        """The relays' processes, by their numbers out here."""
        children = (Path(f"/proc/{one.pid}/task/{one.pid}/children") for one in self._processes.values())
        return tuple(int(number) for path in children for number in path.read_text().split())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{node.address}:{PORT}" for node in self.swarm.nodes)


def _listens(node: Node) -> bool:
    try:
        socket.create_connection((node.address, PORT), timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def relays_of(swarm: Swarm) -> Iterator[RelaysOfNodes]:
    """A relay on each node, which listens; ended afterwards."""
    relays = RelaysOfNodes(swarm)
    for node in swarm.nodes:
        relays.start(node)
    try:
        for node in swarm.nodes:
            relays.wait(node)
        yield relays
    finally:
        for node in swarm.nodes:
            relays.stop(node)


@contextlib.contextmanager
def swarm_with_relays(*images: str, **of_swarm: Any) -> Iterator[RelaysOfNodes]:
    """Nodes that have the images, with relays."""
    with running_swarm(**of_swarm) as swarm:
        swarm.load(*images)
        with relays_of(swarm) as relays:
            yield relays
