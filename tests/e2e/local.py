"""`tmpnb-py serve --engine local` as a process, run as three kinds of user would: see `KINDS`."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import local_support
from tests.e2e.service import ADMIN_TOKEN, Front, Service
from tmpnb_py.engines.local import cgroup
from tmpnb_py.engines.local import process as local_process
from tmpnb_py.engines.local.launch import handle

USER = 4242  # a number that nobody has
# With a sandbox as whoever runs the tests (in CI root), with one as an ordinary user, and without one.
KINDS = ("sandboxed", "ordinary", "unprotected")


class LocalDeployment:
    """A pool with its runtime directory, in which services are started one after the other."""

    def __init__(self, pool: str, kind: str) -> None:
        local_support.need_jupyterlab()
        self.pool = pool
        self.kind = kind
        self.directory = Path(tempfile.mkdtemp(prefix="tmpnb-e2e-"))
        self._prefix: list[str] = []
        self._services: list[Service] = []
        if kind != "unprotected":
            local_support.need_sandbox()
        if kind == "ordinary":
            os.chown(self.directory, USER, USER) if os.geteuid() == 0 else None
            self._prefix = local_support.ordinary_user(USER)

    @property
    def runtime_dir(self) -> Path:
        return self.directory / "run"

    def start(
        self, *options: str, cleanup: bool = True, wrapper: Sequence[str] = (), pass_fds: Sequence[int] = ()
    ) -> Service:
        """Start a service; `options` come last and win."""
        arguments = ["--engine=local", "--ip=127.0.0.1", "--port=0", "--admin-port=0", "--log-format=json"]
        arguments += [f"--pool-name={self.pool}", f"--runtime-dir={self.runtime_dir}", "--pool-size=1"]
        arguments += [f"--state-dir={self.directory / 'state'}"]
        arguments += ["--cleanup-on-exit"] if cleanup else []
        # Where bubblewrap is not on the PATH, it is not installed.
        path = {"PATH": str(Path(sys.executable).parent)} if self.kind == "unprotected" else {}
        environ = {"ADMIN_AUTH_TOKEN": ADMIN_TOKEN, "HOME": str(self.directory), **path}
        service = Service([*arguments, *options], environ, wrapper=[*wrapper, *self._prefix], pass_fds=pass_fds)
        self._services.append(service)
        return service

    def start_front(self, *options: str) -> Front:
        """Start a front end of the service, as the same user."""
        arguments = ["--ip=127.0.0.1", "--port=0", "--admin-port=0", "--log-format=json", "--log-level=debug"]
        front = Front([*arguments, *options], wrapper=self._prefix, command="front")
        self._services.append(front)
        return front

    def _ids(self) -> set[str]:
        return {str(event["id"]) for service in self._services for event in service.found("starting")}

    def processes(self, container_id: str) -> list[local_process.Process]:
        """What runs in a notebook."""
        return local_process.marked("TMPNB_BASE_PATH", f"/user/{container_id}/")

    def remains(self) -> list[str]:
        """What is left of the pool: processes, records, sockets, directories, mounts and control groups."""
        left = [f"process {one.pid}" for one in self._services if Path(f"/proc/{one.pid}").exists()]
        groups = cgroup.find()
        for container_id in self._ids():
            left += [f"process {one.pid} of {container_id}" for one in self.processes(container_id)]
            name = handle(self.pool, container_id)
            paths = [*groups.named(name), f"{tempfile.gettempdir()}/{name}"]
            left += [path for path in paths if Path(path).exists()]
        left += [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.directory) in line
        ]
        return left + [str(path) for path in self.runtime_dir.glob("*/*") if path.name == self.pool]

    @contextlib.contextmanager
    def ended(self) -> Iterator[LocalDeployment]:
        """Run a test in it; afterwards nothing is left, and it is an error where something was."""
        try:
            yield self
            for service in self._services:
                service.stop()
                assert not service.other_lines, service.report()
                assert not service.found("action_failed"), service.report()
            left = self.remains()
            assert left == [], (left, *(service.report() for service in self._services))
        finally:
            self._sweep()

    def _sweep(self) -> None:
        for service in self._services:
            with contextlib.suppress(ProcessLookupError):
                service.kill()
        for container_id in self._ids():
            name = handle(self.pool, container_id)
            local_process.end(None, lambda one=container_id: self.processes(one), 10)  # type: ignore[misc]
            cgroup.remove(cgroup.find().named(name))
            shutil.rmtree(f"{tempfile.gettempdir()}/{name}", ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)
