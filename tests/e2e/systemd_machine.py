"""A machine on which systemd is the first process: Debian 12 with Docker, in namespaces of its own.

Its files are an overlay over a root that mmdebstrap has made once. Its systemd, Debian's, is told that it is in a
container, and then mounts, starts and supervises as on any machine, with a journal, D-Bus and Docker's own units.
Needs root and control groups of version 1, or of both.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import debian_root
from tests.engine_support import skip_or_fail
from tests.quickstart import copy_of_repository

_SYSTEM = "systemd,systemd-sysv,dbus,iptables,iproute2,ca-certificates,procps"
_PACKAGES = f"{_SYSTEM},docker.io,python3,python3-venv,git,jq,mmdebstrap"  # what documents ask for
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_CONTROLLERS = "cpu cpuacct cpuset memory devices freezer blkio pids"
CLONE = "/root/tmpnb-py"
_SECONDS = 1800.0
_CLONE_NEWNET = 0x40000000  # sched.h

# $1 is the machine's directory, $2 its root below the overlay, $3 its name, $4 the controllers.
_ENTER_GROUPS = """
set -e
for one in $4 systemd unified; do
    group=/sys/fs/cgroup/$one/$3
    mkdir "$group"
    if [ $one = cpuset ]; then
        for what in cpus mems; do cat /sys/fs/cgroup/cpuset/cpuset.$what > "$group/cpuset.$what"; done
        echo 1 > "$group/cgroup.clone_children"
    fi
    echo $$ > "$group/cgroup.procs"
done
exec unshare --cgroup --mount --propagation private --uts --ipc --pid --net --fork --kill-child sh -c "$5" sh "$@"
"""
_BOOT = """
set -e
root=$1/root
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
for one in $4; do
    mkdir "$root/sys/fs/cgroup/$one"
    mount -t cgroup -o $one cgroup "$root/sys/fs/cgroup/$one"
done
mkdir "$root/sys/fs/cgroup/systemd"
mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for one in null zero full random urandom tty; do
    touch "$root/dev/$one"
    mount --bind /dev/$one "$root/dev/$one"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for one in dev/shm run tmp; do mount -t tmpfs tmpfs "$root/$one"; done
mkdir -p "$root/var/lib/docker"
mount --bind "$1/docker" "$root/var/lib/docker"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
hostname "$3"
cd "$root"
mkdir -p old
pivot_root . old
umount --lazy /old
cd /
exec env --ignore-environment container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
"""


class Machine:
    """The machine, switched on. `directory` is on a disk, as Docker's overlays cannot be upon others."""

    def __init__(self, directory: Path) -> None:
        self._way_out: subprocess.Popen[bytes] | None = None
        self.name = f"machine{secrets.token_hex(4)}"
        for one in ("root", "upper", "work", "docker"):
            (directory / one).mkdir()
        self._console = directory / "console"
        self._outside = Path("/proc/thread-self/ns/net").open()  # noqa: SIM115  (until `off`)
        arguments = [str(directory), str(debian_root.root("debian-systemd", "bookworm", _PACKAGES)), self.name]
        with self._console.open("wb") as console:
            self._holder = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", _ENTER_GROUPS, "sh", *arguments, _CONTROLLERS, _BOOT],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip

    def wait(self) -> None:
        """Until all is up. Skips (in CI: fails) where it does not come up."""
        deadline, state = time.monotonic() + 60, ""
        while state != "running":
            if self._holder.poll() is not None or time.monotonic() > deadline:
                told = self._console.read_text(errors="replace")[-1000:]
                skip_or_fail(f"systemd does not come up here ({state}): {told}")
            time.sleep(0.1)
            state = self.run("systemctl is-system-running").stdout.strip() if self._first() else ""

    def _first(self) -> int:
        """The number, out here, of the machine's first process; 0 while there is none."""
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        found = children.read_text().split() if children.exists() else []
        return int(found[0]) if found else 0

    def run(
        self, command: str, *, outside: bool = False, stdin: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A line of shell, as root. `outside`: with this machine's network, as the other one leads nowhere."""
        network = f"--net=/proc/{os.getpid()}/fd/{self._outside.fileno()}" if outside else "--net"
        spaces = ["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", network, "--wd=/"]
        # Its files are not this machine's.
        given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        given.pop("PIP_FIND_LINKS", None)
        given |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        given |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        return subprocess.run(
            ["nsenter", "--target", str(self._first()), *spaces, "sh", "-c", f"cd {CLONE} 2>/dev/null; {command}"],
            stdin=stdin, capture_output=True, text=True, check=False, timeout=_SECONDS, env=given,
        )  # fmt: skip

    def must(self, command: str, *, outside: bool = False, code: int = 0) -> str:
        """What a command prints that ends so."""
        done = self.run(command, outside=outside)
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-20000:]}"
        return done.stdout.strip()

    def path(self, inside: str) -> Path:
        """A file of this machine, as it is reached from out here."""
        return Path(f"/proc/{self._first()}/root{inside}")

    def clone(self) -> Path:
        """This checkout, where commands are run."""
        return copy_of_repository(self.path(CLONE))

    def load(self, image: str) -> None:
        """Copy an image over from the engine out here."""
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        assert saved.stdout is not None
        loaded = self.run("docker load", stdin=saved.stdout.fileno())
        saved.stdout.close()
        assert (saved.wait(), loaded.returncode) == (0, 0), loaded.stderr

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Have this thread's sockets in the machine's network."""
        enter = _entering()
        with Path("/proc/thread-self/ns/net").open() as own, Path(f"/proc/{self._first()}/ns/net").open() as theirs:
            enter(theirs.fileno())
            try:
                yield
            finally:
                enter(own.fileno())

    def connect(self) -> None:
        """Give it a way to the internet, as a router does; from there nobody reaches it."""
        if shutil.which("slirp4netns") is None:
            skip_or_fail("slirp4netns is not installed, which gives a machine a way to the internet")
        ready, told = os.pipe()
        arguments = ["--configure", "--mtu=1500", "--disable-host-loopback", f"--ready-fd={told}"]
        self._way_out = subprocess.Popen(
            ["slirp4netns", *arguments, str(self._first()), "tap0"],
            pass_fds=(told,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(told)
        with os.fdopen(ready, "rb") as end:
            if not end.read(1):
                skip_or_fail("slirp4netns does not work here")

    def journal(self, more: str = "") -> str:
        """What the service, and systemd of it, have said."""
        return self.must(f"journalctl --unit=tmpnb-py --no-pager --output=cat {more}")

    def off(self) -> None:
        """As the plug does it."""
        if self._way_out is not None:
            self._way_out.kill()
            self._way_out.wait()
        self._holder.kill()
        self._holder.wait()
        self._outside.close()
        for one in (*_CONTROLLERS.split(), "systemd", "unified"):
            deadline = time.monotonic() + 10
            while (group := _CONTROL_GROUPS / one / self.name).exists() and time.monotonic() < deadline:
                _remove(group)
                time.sleep(0.05)


def _entering() -> Callable[[int], None]:
    setns = ctypes.CDLL(None, use_errno=True).setns  # os.setns comes with Python 3.12

    def enter(descriptor: int) -> None:
        if setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    return enter


def _remove(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):  # processes of it are still ending
            Path(directory).rmdir()


@contextlib.contextmanager
def machine(directory: Path) -> Iterator[Machine]:
    """A machine that is up; at the end nothing is left of it, nor of its directory."""
    if os.geteuid() != 0 or not (_CONTROL_GROUPS / "systemd").is_dir():
        skip_or_fail("systemd needs to be root's, and control groups of version 1 (or of both)")
    one = Machine(directory)
    try:
        one.wait()
        yield one
    finally:
        one.off()
        shutil.rmtree(directory, ignore_errors=True)
