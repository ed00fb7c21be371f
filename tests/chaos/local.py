"""The stage of the local engine: notebooks are processes of this machine."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import local_support
from tests.chaos.stage import Stage
from tests.e2e.service import ADMIN_TOKEN, Service
from tmpnb_py.engines.local import cgroup
from tmpnb_py.engines.local import process as local_process
from tmpnb_py.engines.local.launch import handle


class LocalStage(Stage):
    """Without a Docker engine. `engine` stands for none."""

    runtime_disk = "16m"

    def notebook_options(self) -> list[str]:
        """The stand-in server in a sandbox."""
        return ["--engine=local", f"--command={local_support.server_command()}"]

    def environment(self) -> dict[str, str]:
        return {"CHAOS_ORDERS": str(self.orders), "HOME": str(self.deployment.directory)}

    def command_options(self) -> list[str]:
        return ["--engine=local"]

    def operators_environment(self) -> dict[str, str]:
        return {"HOME": str(self.deployment.directory)}

    def launch(self, *options: str, env: Mapping[str, str], wrapper: Sequence[str]) -> Service:
        arguments = ["--ip=127.0.0.1", "--log-format=json", "--log-level=debug"]
        arguments += [f"--pool-name={self.deployment.pool}", f"--runtime-dir={self.runtime_dir}"]
        arguments += [f"--state-dir={self.deployment.directory / 'state'}", *options]
        return Service(arguments, {"ADMIN_AUTH_TOKEN": ADMIN_TOKEN, **env}, wrapper)

    def make_images(self) -> None:
        """There are none."""

    @property
    def _records(self) -> Path:
        return self.runtime_dir / "local" / self.deployment.pool / "containers"

    def containers(self) -> dict[str, str]:
        """By the records on disk whose process runs."""
        found = {}
        for one in self._records.iterdir() if self._records.is_dir() else ():
            with contextlib.suppress(OSError):
                found[one.name] = "claimed" if (one / "claim").exists() else (one / "state").read_text()
        return found

    def _ids(self) -> set[str]:
        return {str(event["id"]) for service in self._services for event in service.found("starting")}

    def orphans(self) -> list[str]:
        """Processes, control groups and directories of notebooks that there are not."""
        found = []
        for one in self._ids() - self.containers().keys():
            found += [f"process {it.pid} of {one}" for it in local_process.marked("TMPNB_BASE_PATH", f"/user/{one}/")]
            name = handle(self.deployment.pool, one)
            places = (*cgroup.find().named(name), f"{tempfile.gettempdir()}/{name}")
            found += [path for path in places if Path(path).exists()]
        return found

    def strange_children(self, children: Sequence[str]) -> list[str]:
        """Those that have ended, and that nobody has waited for; notebooks are children, too."""
        found = []
        for one in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    found.append(one)
        return found

    def sweep(self) -> None:
        ids = self._ids()
        super().sweep()
        for one in ids:
            local_process.end(None, lambda one=one: local_process.marked("TMPNB_BASE_PATH", f"/user/{one}/"), 10)  # type: ignore[misc]
            name = handle(self.deployment.pool, one)
            cgroup.remove(cgroup.find().named(name))
            shutil.rmtree(f"{tempfile.gettempdir()}/{name}", ignore_errors=True)
