"""Three machines in one: a Docker Swarm whose nodes are network namespaces, each with a Docker engine of its own.

A node is a process that holds namespaces for mounts, processes, the host name and the network; its engine runs in
them. Killing that process is a power cut: engine, containers and mounts go at once. The switch between the nodes is a
namespace of its own, because this machine's firewall would drop bridged frames otherwise. The kernel needs no ip_vs:
nothing here uses virtual addresses or the ingress mesh.

The engines are this machine's, or newer ones (`tests.engines.roots`), or some of each.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.engine_support import docker, run_docker, skip_or_fail
from tests.engines import roots

_SECONDS = 90.0
_PROGRAMS = ("dockerd", "ip", "nsenter", "openssl", "setpriv", "unshare")

# Which Docker a node has: this machine's (Debian 12: 20.10), or Debian's newest, also with containerd's image store.
OWN, NEWER, CONTAINERD = "own", "28", "28-containerd"


class SwarmError(AssertionError):
    """The swarm does not come up."""


class Node:
    """One machine of the swarm. `host` is its engine's address, `address` its own on the switch."""

    def __init__(
        self, directory: Path, number: int, network: tuple[str, str], version: str, options: Sequence[str]
    ) -> None:
        namespace, address = network
        self.name = f"node{number}"
        self.version = version
        self.directory = directory / self.name
        self.directory.mkdir()
        self.address = address
        self.host = f"unix://{self.directory}/docker.sock"
        self.root = self.directory / "data"
        self._namespace = namespace
        self.options = options
        self._machine: subprocess.Popen[bytes] | None = None
        self._engine: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "docker.sock"

    def docker(self, *arguments: str, check: bool = True, seconds: float = 60) -> str:
        """The docker command on this node."""
        return run_docker(self.command(*arguments), check=check, seconds=seconds)

    def command(self, *arguments: str) -> list[str]:
        """The docker command that belongs to this node's engine."""
        number = self._engine_number() if self.version != OWN else ""
        enter = ["nsenter", "--target", number, "--mount", "--root", "--wd=/"] if number else []
        return [*enter, "docker", "--host", self.host, *arguments]

    def processes(self) -> list[int]:
        """The numbers, out here, of the processes from which all others of this machine descend."""
        return [int(number) for number in (self._init(), self._engine_number()) if number]

    def _engine_number(self) -> str:
        """The number of the engine's process, "" where none runs."""
        if self._engine is None or self._engine.poll() is not None:
            return ""
        number = str(self._engine.pid)  # nsenter, which has forked for the namespace of processes
        for _ in range(4):
            children = Path(f"/proc/{number}/task/{number}/children")
            found = children.read_text().split() if children.exists() else []
            if not found:
                return ""
            number = found[0]
            with contextlib.suppress(OSError):
                if Path(f"/proc/{number}/comm").read_text() == "dockerd\n":
                    return number
        return ""

    def start(self) -> None:
        """Switch the machine on, and its engine."""
        # Where Docker is on a machine of its own: /var/lib/docker and /run/docker.sock, which are not this machine's.
        script = (
            f"hostname {self.name} && while umount --lazy /var/lib/docker 2>/dev/null; do :; done; "
            f"mount --bind {self.root} /var/lib/docker && "
            "mount --make-shared /var/lib/docker && mount -t tmpfs tmpfs /run && "
            "exec sleep infinity"
        )
        self.root.mkdir(exist_ok=True)
        Path("/var/lib/docker").mkdir(exist_ok=True)
        self._machine = subprocess.Popen(
            [
                "setpriv", "--pdeathsig", "KILL",  # whatever ends the tests switches the machines off
                "nsenter", f"--net=/run/netns/{self._namespace}",
                "unshare", "--mount", "--propagation", "private", "--uts", "--pid", "--mount-proc", "--fork",
                "--kill-child", "sh", "-c", script,
            ],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        until(self._is_on, f"{self.name} did not start")
        self.start_engine()

    def start_engine(self) -> None:
        """Start the engine alone."""
        self.socket.unlink(missing_ok=True)
        command = [
            "dockerd", "--host", self.host, "--host", "unix:///run/docker.sock",
            "--cgroup-parent", f"/{self._namespace}", *self.options,
        ]  # fmt: skip
        is_containerd = self.version == CONTAINERD
        command.append("--feature=containerd-snapshotter=true" if is_containerd else "--storage-driver=overlay2")
        if self.version != OWN:
            script = f'{roots.script(self.directory, roots.newest())} && exec "$@"'
            command = ["unshare", "--mount", "--propagation=unchanged", "sh", "-c", script, "sh", *command]
        with (self.directory / "log").open("ab") as log:
            self._engine = self.inside(*command, log=log.fileno())

    def stop_engine(self) -> None:
        """Stop the engine, and so its containers, and wait for that."""
        assert self._engine is not None
        (engine,) = Path(f"/proc/{self._engine.pid}/task/{self._engine.pid}/children").read_text().split()
        os.kill(int(engine), signal.SIGTERM)  # not nsenter, which ends with it
        self._engine.wait(timeout=60)

    def wait(self) -> None:
        """Until the engine answers."""
        until(self._answers, f"the engine of {self.name} does not start", self._engine, self.directory / "log")

    def _answers(self) -> bool:
        return bool(self.docker("version", "--format", "{{.Server.Version}}", check=False))

    def inside(self, *command: str, log: int) -> subprocess.Popen[bytes]:
        """A process on this machine, which dies with it at the latest."""
        enter = ["nsenter", "--target", self._init(), "--mount", "--uts", "--net", "--pid"]
        return subprocess.Popen(
            [*enter, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def _init(self) -> str:
        """The number, out here, of the machine's first process."""
        assert self._machine is not None
        children = Path(f"/proc/{self._machine.pid}/task/{self._machine.pid}/children")
        return children.read_text().strip() if children.exists() else ""

    def _is_on(self) -> bool:
        number = self._init()
        return bool(number) and Path(f"/proc/{number}/comm").read_text() == "sleep\n"

    def power_off(self) -> None:
        """The machine and everything on it is gone at once; what is on its disk stays."""
        if self._machine is not None:
            self.unplug()  # first: else the kernel says good-bye for it to all that it was connected to
        for process in (self._machine, self._engine):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._machine = self._engine = None

    def unplug(self, *, plugged: bool = False) -> None:
        """Take the machine off the network, or put it back."""
        _run("ip", "-n", self._namespace, "link", "set", "eth0", "up" if plugged else "down", check=False)
        if plugged:  # the kernel has forgotten it
            gateway = f"{self.address.rpartition('.')[0]}.1"
            _run("ip", "-n", self._namespace, "route", "replace", "default", "via", gateway, check=False)

    def add_address(self, last: int) -> str:
        """One more address of this machine on the switch, which ends with that number."""
        address = f"{self.address.rpartition('.')[0]}.{last}"
        _run("ip", "-n", self._namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        return address

    def hide_from(self, address: str, *, hidden: bool) -> None:
        """Send nothing to another machine, or do so again."""
        verb = "add" if hidden else "del"
        _run("ip", "-n", self._namespace, "route", verb, "blackhole", f"{address}/32", check=hidden)


class Swarm:
    """A running swarm. `nodes[0]` is its manager, or the first of `managers`."""

    def __init__(
        self, directory: Path, *, versions: Sequence[str], managers: int = 1, options: Sequence[str]
    ) -> None:
        self._prefix = f"tsw{secrets.token_hex(3)}"
        self._net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
        self._managers = managers
        self.directory = directory
        self.nodes = [
            Node(directory, number, (f"{self._prefix}-{number}", f"{self._net}.{10 + number}"), version, options)
            for number, version in enumerate(versions, 1)
        ]

    @property
    def manager(self) -> Node:
        return self.nodes[0]

    def start(self) -> None:
        """Bring the machines up, each with an engine that is in no swarm."""
        self._wire()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait()

    def join(self) -> None:
        """Make a swarm of them."""
        first = self.nodes[0]
        first.docker("swarm", "init", "--advertise-addr", first.address, "--default-addr-pool", f"{_POOL}")
        for number, node in enumerate(self.nodes[1:], 2):
            role = "manager" if number <= self._managers else "worker"
            token = first.docker("swarm", "join-token", "--quiet", role)
            node.docker("swarm", "join", "--advertise-addr", node.address, "--token", token, f"{first.address}:2377")
        until(lambda: self.ready() == len(self.nodes), "the nodes do not find each other")

    def processes(self) -> list[int]:
        """The processes from which all of all nodes descend."""
        return [number for node in self.nodes for number in node.processes()]

    def ready(self) -> int:
        """How many nodes the manager believes in."""
        return self.manager.docker("node", "ls", "--format", "{{.Status}}", check=False).split().count("Ready")

    def part(self, alone: Node, *, parted: bool = True) -> None:
        """Cut the network between one node and all others, or mend it. This machine still reaches all of them."""
        for node in self.nodes:
            if node is not alone:
                node.hide_from(alone.address, hidden=parted)
                alone.hide_from(node.address, hidden=parted)

    def _wire(self) -> None:
        """A switch, a cable from it to each node, and one to this machine."""
        switch = f"{self._prefix}-0"
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        _ip("link", "add", self._prefix, "type", "veth", "peer", "name", "host", "netns", switch)
        _ip("-n", switch, "link", "set", "host", "master", "br0", "up")
        _ip("addr", "add", f"{self._net}.1/24", "dev", self._prefix)
        _ip("link", "set", self._prefix, "up")
        for number, node in enumerate(self.nodes, 1):
            namespace = f"{self._prefix}-{number}"
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", switch, "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("-n", switch, "link", "set", f"p{number}", "master", "br0", "up")
            _ip("-n", namespace, "addr", "add", f"{node.address}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
            _ip("-n", namespace, "route", "add", "default", "via", f"{self._net}.1")
            enter = ("nsenter", f"--net=/run/netns/{namespace}")
            _run(*enter, "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def load(self, *images: str, nodes: Sequence[Node] = ()) -> None:
        """Copy images of this machine's engine to these nodes, or to every one."""
        if not images:
            return
        archive = self.directory / "images.tar"
        docker("save", "--output", str(archive), *images)
        loads = [
            subprocess.Popen(node.command("load", "--quiet", "--input", str(archive)), stdout=subprocess.DEVNULL)
            for node in nodes or self.nodes
        ]
        assert [one.wait() for one in loads] == [0] * len(loads)
        archive.unlink()

    def stop(self) -> None:
        """Everything off, and nothing left."""
        for node in self.nodes:
            node.power_off()
        _run("ip", "link", "del", self._prefix, check=False)
        for number in range(len(self.nodes) + 1):
            _run("ip", "netns", "del", f"{self._prefix}-{number}", check=False)
        _remove_cgroups(self._prefix)


_POOL = "10.180.0.0/16"


@contextlib.contextmanager
def running_swarm(
    *,
    count: int = 3,
    managers: int = 1,
    version: str = OWN,
    options: Sequence[str] = ("--no-new-privileges",),
    joined: bool = True,
) -> Iterator[Swarm]:
    """A swarm, which is gone afterwards. `version` is the nodes' Docker, or that of each, with commas between them.

    Without `joined` the machines are up, and in no swarm yet.
    Skips (in CI: fails) where this machine cannot have one.
    """
    versions = version.split(",") if "," in version else [version] * count
    versions = versions[:count]
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        skip_or_fail(f"a swarm of one's own needs root and {', '.join(missing or _PROGRAMS)}")
    directory = Path(tempfile.mkdtemp(prefix="tsw-"))
    # In memory: emptying a disk of three engines' layers takes longer than any test.
    _run("mount", "-t", "tmpfs", "-o", "size=8g,mode=0755", "tmpfs", str(directory))
    if set(versions) != {OWN}:
        roots.newest()
    swarm = Swarm(directory, versions=versions, managers=managers, options=options)
    try:
        try:
            swarm.start()
            if joined:
                swarm.join()
        except (SwarmError, subprocess.CalledProcessError) as error:
            skip_or_fail(f"a swarm does not start here: {error}")
        yield swarm
    finally:
        swarm.stop()
        _run("umount", "--lazy", str(directory), check=False)
        shutil.rmtree(directory, ignore_errors=True)


def until(
    holds: Callable[[], bool], complaint: str, process: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    """Wait until it holds; raises `SwarmError` with the log's end after a time, or when the process ends."""
    deadline = time.monotonic() + _SECONDS
    while not holds():
        if (process is not None and process.poll() is not None) or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()[-8:] if log is not None else []
            raise SwarmError("\n".join([complaint, *lines]))
        time.sleep(0.05)


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _remove_cgroups(prefix: str) -> None:
    """What the engines' containers leave; a group goes when its last process has."""
    root = Path("/sys/fs/cgroup")
    for top in [*root.glob(f"{prefix}-*"), *root.glob(f"*/{prefix}-*")]:
        deadline = time.monotonic() + 3
        while top.exists() and time.monotonic() < deadline:
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()
            time.sleep(0.05)


if __name__ == "__main__":  # a swarm to try things on, until its input ends
    with running_swarm() as tried:
        tried.load(*os.environ.get("IMAGES", "").split())
        for node in tried.nodes:
            print(node.name, node.address, node.host, flush=True)
        input()
