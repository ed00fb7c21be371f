"""The rig of the local engine, with and without a sandbox."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from tests import local_support
from tests.contract.rigs import new_id, spec_of
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.core.models import ContainerSpec, ImageFacts, State, Transport
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.local import cgroup
from tmpnb_py.engines.local import process as local_process
from tmpnb_py.engines.local.engine import LocalEngine
from tmpnb_py.engines.local.launch import handle
from tmpnb_py.engines.local.record import NotebookRecord, RecordStore
from tmpnb_py.engines.local.sandbox import Sandbox


def _zombies() -> list[str]:
    """Children of ours that have ended and that nobody has waited for."""
    children = [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
    return [pid for pid in children if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"]


class LocalRig:
    """Processes of this machine."""

    missing_image = "tmpnb-py-test/missing:never"

    def __init__(self, sandbox: Sandbox | None) -> None:
        self.sandbox = sandbox
        self.directory = Path(tempfile.mkdtemp(prefix="tmpnb-test-"))
        self.engines: list[LocalEngine] = []
        self.pools: set[str] = set()
        self.specs: list[ContainerSpec] = []

    def engine(self, pool: str, *, runtime_dir: Path | None = None) -> LocalEngine:
        engine = LocalEngine(
            pool=pool,
            runtime_dir=runtime_dir or self.directory / "run",
            workshop_directory=workshop_directory(),
            sandbox=self.sandbox,
        )
        self.engines.append(engine)
        self.pools.add(pool)
        return engine

    async def spec(self, engine: Engine, **changes: Any) -> ContainerSpec:
        command = changes.pop("command", local_support.server_command())
        spec = spec_of(await engine.image("local"), command, **changes)
        self.specs.append(spec)
        return spec

    async def exits(self, engine: Engine) -> ContainerSpec:
        return await self.spec(engine, command="echo bye; exit 7")

    async def unstartable(self, engine: Engine) -> ContainerSpec:
        return await self.spec(engine, transport=Transport.PORT)

    async def files(self, engine: Engine) -> tuple[ImageFacts, str]:
        directory = self.directory / "files"
        (directory / "sub").mkdir(parents=True)
        (directory / "a").write_text("one")
        (directory / "sub" / "b").write_text("two")
        (directory / "link").symlink_to("/etc/passwd")
        return await engine.image("local"), str(directory)

    def records(self, pool: str) -> RecordStore:
        return RecordStore(self.directory / "run" / "local" / pool / "containers")

    def record(self, pool: str, container_id: str) -> NotebookRecord:
        record = self.records(pool).read(container_id)
        assert record is not None
        return record

    async def die(self, pool: str, container_id: str) -> None:
        os.kill(self.record(pool, container_id).process.pid, signal.SIGKILL)

    async def foreign(self) -> None:
        (self.directory / "run" / "local" / "other").mkdir(parents=True, exist_ok=True)

    async def ready_ones(self, engine: Engine) -> list[str]:
        (pool,) = self.pools
        records = self.records(pool)
        ids = [new_id() for _ in range(1000)]
        process = local_process.Process(1 << 22, 1, "of no boot")  # none that could be killed
        for one in ids:  # as `RecordStore` writes them, without waiting for the disk 3,000 times
            path = records.path(one)
            path.mkdir()
            record = NotebookRecord(one, "", "", time.time(), process, sandboxed=False)
            (path / "container.json").write_text(json.dumps(dataclasses.asdict(record)))
            (path / "state").write_text(State.READY)
        return ids

    async def scramble(self, pool: str, container_id: str) -> bool:
        (self.records(pool).path(container_id) / "state").write_text("\0")
        return True

    async def break_events(self) -> None:
        """Nothing can break; listeners are told to list after each `open`."""
        for engine in self.engines:
            await engine.open()

    async def go_down(self) -> None:
        shutil.rmtree(self.directory / "run")
        (self.directory / "run").touch()

    async def remains(self, pool: str) -> list[str]:
        """RecordStore, directories, processes and control groups."""
        return await asyncio.to_thread(self._remains, pool)

    def _remains(self, pool: str) -> list[str]:
        run = self.directory / "run"
        places = (run / "local" / pool / "containers", run / "sockets" / pool)
        found = [str(path) for place in places if place.exists() for path in place.iterdir()]
        for spec in self.specs:
            found += map(str, local_process.marked("TMPNB_BASE_PATH", spec.base_path))
            name = handle(pool, spec.id)
            groups = cgroup.find().named(name)
            found += [path for path in (*groups, f"{tempfile.gettempdir()}/{name}") if Path(path).exists()]
        return found + [f"zombie {pid}" for pid in _zombies()]

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()
        await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        for spec in self.specs:
            local_process.end(None, lambda one=spec: local_process.marked("TMPNB_BASE_PATH", one.base_path), 10)  # type: ignore[misc]
            for pool in self.pools:
                name = handle(pool, spec.id)
                cgroup.remove(cgroup.find().named(name))
                shutil.rmtree(f"{tempfile.gettempdir()}/{name}", ignore_errors=True)
        shutil.rmtree(self.directory)
