"""A Docker engine of a test's own, which may be stopped and started at will. The machine's own is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.engine_support import docker, mount_in_memory, skip_or_fail

_SECONDS = 60.0


_WITHOUT_NETWORKS = ("--bridge=none", "--iptables=false")


class OwnEngine:
    """A dockerd with its data in a directory that goes away with it.

    It has a network namespace of its own and makes no networks there; or it is in the given one, and does.
    """

    def __init__(self, directory: Path, *, namespace: str = "", options: Sequence[str] = ()) -> None:
        # A namespace: `--bridge=none` removes the docker0 of whatever namespace it is in.
        self._enter = ("nsenter", f"--net={namespace}") if namespace else ("unshare", "--net")
        self._options = (*(() if namespace else _WITHOUT_NETWORKS), *options)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = directory / "docker.sock"
        self.host = f"unix://{self.socket}"
        self.disk: Path | None = None  # a small one, with all its data, where a test gives it one
        self.keep_containers(keep=False)

    @property
    def pid(self) -> int:
        """The process id of dockerd."""
        assert self._process is not None
        return self._process.pid

    def keep_containers(self, *, keep: bool) -> None:
        """Whether containers go on while it is stopped ("live-restore"). A running one is told."""
        (self._directory / "daemon.json").write_text(json.dumps({"live-restore": keep}))
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        """Start it and wait until it answers."""
        directory = self._directory
        with (directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._enter, "dockerd",
                    "--data-root", str(directory / "data"), "--exec-root", str(directory / "exec"),
                    "--pidfile", str(directory / "pid"),
                    "--config-file", str(directory / "daemon.json"), "--host", self.host, "--storage-driver=overlay2",
                    *self._options,
                ],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _SECONDS
        while not docker("--host", self.host, "version", "--format", "{{.Server.Version}}", check=False):
            if self._process.poll() is not None or time.monotonic() > deadline:
                lines = (directory / "log").read_text(errors="replace").splitlines()[-8:]
                skip_or_fail("a Docker engine of one's own does not start here: " + "\n".join(lines))
            time.sleep(0.05)

    def stop(self) -> None:
        """As `systemctl stop docker` does it: the containers end with it."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # its session is its own
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """`kill -9`, of its containerd too; the containers go on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        pid = self._directory / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(pid.read_text()), signal.SIGKILL)
        pid.unlink(missing_ok=True)  # where nobody waits for it, it seems to go on

    def load(self, image: str) -> None:
        """Copy an image over from the machine's engine."""
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        subprocess.run(["docker", "--host", self.host, "load"], stdin=saved.stdout, check=True, capture_output=True)
        assert saved.stdout is not None
        saved.stdout.close()
        assert saved.wait() == 0


@contextlib.contextmanager
def own_engine_on_small_disk(image: str, size: int) -> Iterator[OwnEngine]:
    """A running engine with this image, on whose disk `size` bytes are free beside it. Needs root.

    It is the disk of all its data: what is mounted below, an engine that starts unmounts.
    """
    if os.geteuid() != 0:
        skip_or_fail("only root can start a Docker engine")
    with own_engine(in_memory=True) as engine:
        engine.load(image)
        engine.disk = engine.socket.parent / "data"
        whole = shutil.disk_usage(engine.disk).used + size
        subprocess.run(["mount", "-o", f"remount,size={whole}", engine.disk], check=True)
        yield engine


@contextlib.contextmanager
def own_engine(*, namespace: str = "", options: Sequence[str] = (), in_memory: bool = False) -> Iterator[OwnEngine]:
    """A running engine; at the end it is stopped and its directory removed. `in_memory`: with all its data."""
    directory = Path(tempfile.mkdtemp(prefix="tmpnb-dockerd-"))
    directory.chmod(0o711)  # users of containers are others where they are remapped
    engine = OwnEngine(directory, namespace=namespace, options=options)
    try:
        if in_memory:
            (directory / "data").mkdir()
            mount_in_memory(directory / "data", "mode=711")
        engine.start()
        yield engine
    finally:
        engine.stop()
        if in_memory:
            subprocess.run(["umount", "--lazy", directory / "data"], check=False, capture_output=True)
        # What dockerd mounts to hold its network namespace outlives it.
        subprocess.run(["umount", directory / "exec" / "netns" / "default"], check=False, capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)
