"""What the benchmarks of the whole service share: a real `tmpnb-py serve`, its API, figures, and a clean end.

Everything listens on loopback, has a pool name of its own and a temporary runtime directory; whatever happens,
`serving` and `sweep` leave no process, container or network behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.ports import free_ports
from tmpnb_py.engines.local import process as local_process

IMAGE = "tmpnb-py-workshops:latest"
LABEL_POOL = "org.tmpnb.pool"
_POLL_SECONDS = 0.02
_STOP_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


class MissingError(Exception):
    """Something that a measurement needs is not on this machine; the table says so."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. `aim` is empty where none was set."""

    what: str
    value: str
    aim: str = ""
    met: bool | None = None
    note: str = ""


def need(*programs: str, images: Sequence[str] = (), engine: bool = True) -> None:
    """End with status 1 and one line unless all this is there; a benchmark calls it before anything else.

    An engine that hangs is given five seconds. `images` are those that nothing here builds.
    """
    missing = [f"{one} is not installed" for one in programs if shutil.which(one) is None]
    if engine or images:
        missing += _missing_in_engine(images)
    if missing:
        sys.exit(f"not measured: {'; '.join(missing)}")


def _missing_in_engine(images: Sequence[str]) -> list[str]:
    try:
        _ask_docker("version", "--format", "{{.Server.Version}}")
    except (OSError, subprocess.SubprocessError) as error:
        return [f"no Docker engine answers: {(getattr(error, 'stderr', '') or str(error)).strip()}"]
    listed = _ask_docker("image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").split()
    return [f"the engine has no image {one} (tmpnb-py image build makes ours)" for one in images if one not in listed]


def _ask_docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=5)
    return done.stdout


def as_json(rows: Sequence[Row]) -> str:
    """For programs."""
    return json.dumps([dataclasses.asdict(row) for row in rows], indent=1)


def as_table(rows: Sequence[Row]) -> str:
    """For people."""
    cells = [("what", "measured", "aim", "", "note")]
    marks = {None: "", True: "met", False: "MISSED"}
    cells += [(row.what, row.value, row.aim, marks[row.met], row.note) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * len(max(lines, key=len)), *lines[1:]])


@dataclasses.dataclass(frozen=True)
class Service:
    """A running `tmpnb-py serve`."""

    port: int
    pid: int
    pool: str
    log: Path
    runtime_dir: Path
    began: float  # time.time() just before the process was started

    async def api(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """One request on a connection of its own."""
        return await request(self.port, method, path, body)

    async def stats(self) -> dict[str, Any]:
        """The pool in numbers."""
        status, body = await self.api("GET", "/api/stats")
        if status != 200:
            raise RuntimeError(f"/api/stats answered {status}: {self.last_words()}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def until_ready(self, count: int) -> None:
        """Wait for so many ready containers; the caller bounds the time."""
        while (await self.stats())["available"] < count:
            await asyncio.sleep(_POLL_SECONDS)

    async def until_full(self, count: int) -> None:
        """Wait until so many containers are ready and nothing is under way; the caller bounds the time."""
        while True:
            stats = await self.stats()
            if stats["available"] >= count and not stats["starting"] and not stats["removing"]:
                return
            await asyncio.sleep(_POLL_SECONDS)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of one name, with `at` as a unix time."""
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event.get("event") == name:
                    found.append(event)
        return found

    def last_words(self) -> str:
        """The end of the log."""
        return self.log.read_text()[-1500:]


async def request(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """One HTTP request to loopback, read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.read(-1)
    finally:
        writer.close()
    head_bytes, _, content = answer.partition(b"\r\n\r\n")
    return int(head_bytes.split(b" ", 2)[1]), content


@contextlib.asynccontextmanager
async def serving(
    *arguments: str, pool_size: int, prefix: Sequence[str] = (), checkout: Path | None = None
) -> AsyncIterator[Service]:
    """`tmpnb-py serve` with options for loopback, a pool of its own and a free port; ended with its containers.

    `checkout` is another one's directory, with the environment that its program runs in at `.venv`.
    """
    pool, port = f"bench{secrets.token_hex(4)}", free_ports(1)[0]
    directory = Path(tempfile.mkdtemp(prefix="tmpnb-bench-"))
    log = directory / "log"
    python = sys.executable if checkout is None else str(checkout / ".venv" / "bin" / "python")
    command = [*prefix, python, "-m", "tmpnb_py", "serve", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--admin-port=0", f"--pool-name={pool}", f"--pool-size={pool_size}", "--log-format=json"]
    command += [f"--runtime-dir={directory / 'run'}", "--cleanup-on-exit", "--shutdown-timeout=1s", *arguments]
    began = time.time()
    try:
        with log.open("wb") as stream:
            process = await asyncio.create_subprocess_exec(*command, stderr=stream, cwd=checkout)
        try:
            service = Service(port, process.pid, pool, log, directory / "run", began)
            await _listening(service, process)
            yield service
        finally:
            await end(process)
    finally:
        await asyncio.shield(sweep(pool))
        shutil.rmtree(directory, ignore_errors=True)


async def _listening(service: Service, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"tmpnb-py serve ended with {process.returncode}: {service.last_words()}")
            with contextlib.suppress(OSError):
                await service.api("GET", "/healthz")
                return
            await asyncio.sleep(0.01)


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, a bounded wait, SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except (TimeoutError, asyncio.CancelledError):
            process.kill()
            await process.wait()
            raise


async def sweep(pool: str) -> None:
    """Remove whatever containers and networks of a pool are left."""
    label = f"label={LABEL_POOL}={pool}"
    if left := (await docker("ps", "--all", "--quiet", "--filter", label)).split():
        await docker("rm", "--force", "--volumes", *left)
    if networks := (await docker("network", "ls", "--quiet", "--filter", label)).split():
        await docker("network", "rm", *networks)


async def docker(*arguments: str) -> str:
    """What the docker command prints. Raises `RuntimeError` with its complaint."""
    return await run("docker", *arguments)


async def run(*command: str, seconds: float = 120.0) -> str:
    """What a program prints on standard output; bounded in time."""
    if shutil.which(command[0]) is None:
        raise MissingError(f"{command[0]} is not installed")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} …: {(errors or output).decode()[-1000:]}")
    return output.decode().strip()


async def image_id(image: str = IMAGE) -> str:
    """The image under the id that it has now: one rebuilt meanwhile would roll the pool over in a measurement.

    Raises `MissingError` where the engine does not have it.
    """
    try:
        return await docker("image", "inspect", "--format", "{{.Id}}", image)
    except RuntimeError as error:
        raise MissingError(f"the engine has no image {image} (tmpnb-py image build makes ours): {error}") from error


def on_processor(number: int) -> list[str]:
    """What goes before a command that is to run on one processor only; nothing where there is no choice."""
    can_choose = shutil.which("taskset") is not None and (os.cpu_count() or 1) > number
    return ["taskset", "--cpu-list", str(number)] if can_choose else []


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, all its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_seconds_of_trees(roots: Iterable[int]) -> float:
    """CPU time of these processes and all that descend from them, those that have ended and were waited for, too."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            number = int(path.parent.name)
            children.setdefault(int(fields[1]), []).append(number)
            ended, own = sum(map(int, fields[13:15])) / _TICKS, sum(map(int, fields[11:13])) / _TICKS
            used[number] = ended + max(own, _by_the_nanosecond(path.parent))
    found: set[int] = set()
    left = list(roots)
    while left:
        number = left.pop()
        if number not in found:
            found.add(number)
            left += children.get(number, [])
    return sum(used.get(number, 0.0) for number in found)


def _by_the_nanosecond(process: Path) -> float:
    """CPU seconds of a process's living threads: /proc/<pid>/stat rounds a notebook's small processes to nothing."""
    found = 0
    for path in process.glob("task/*/schedstat"):
        with contextlib.suppress(OSError):
            found += int(path.read_text().split()[0])
    return found / 1e9


def memory_mib(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process in MiB."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            sizes[name] = int(rest.split()[0]) / 1024
    return sizes["Rss"], sizes["Pss"]


def available_memory() -> int:
    """Bytes of memory that the machine could still give away."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo does not tell what is available")


def busy_seconds() -> float:
    """CPU seconds that the machine has spent since it started: engine, kernel and all (proc(5), stat)."""
    user, nice, system, _, _, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICKS


async def containers(pool: str) -> list[str]:
    """The engine's ids of a pool's running containers."""
    return (await docker("ps", "--quiet", "--no-trunc", "--filter", f"label={LABEL_POOL}={pool}")).split()


async def container_pss(docker_id: str) -> int:
    """PSS in bytes of a container's processes (without the engine's shim)."""
    root = local_process.identify(int(await docker("inspect", "--format", "{{.State.Pid}}", docker_id)))
    return sum(map(local_process.memory, [root, *local_process.descendants(root)]))


async def container_memory(docker_ids: Sequence[str]) -> list[float]:
    """MiB that containers are charged for, as `docker stats` says: files in memory count, clean cache does not."""
    told = await docker("stats", "--no-stream", "--format", "{{.MemUsage}}", *docker_ids)
    found = [re.match(r"([0-9.]+)([KMG])iB", line) for line in told.splitlines()]
    return [float(one[1]) * {"K": 1 / 1024, "M": 1.0, "G": 1024.0}[one[2]] for one in found if one]


def p95(values: Sequence[float]) -> float:
    """The 95th percentile, nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * 95 // 100) - 1)]


def spread(values: Sequence[float], unit: str, digits: int) -> str:
    """Median, p95 and maximum in one cell."""
    numbers = (statistics.median(values), p95(values), max(values))
    return " / ".join(f"{number:.{digits}f}" for number in numbers) + f" {unit}"
