"""The real `tmpnb-py serve` as a process, on a real engine, with its log read while it runs.

A `Deployment` is what outlives a process: the pool's name and the runtime directory. `ended()` sees to it that
nothing of it is left, whatever the test did.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.engine_support import docker

PROGRAM = str(Path(sys.executable).parent / "tmpnb-py")
SECONDS = 60.0  # for whatever takes a second on an idle machine
WARM = "--warm-kernels=auto"  # for a deployment whose notebooks are as an operator has them by default
ADMIN_TOKEN = "operators0secret"

Event = dict[str, Any]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without options of ours in it."""
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("TMPNB_")}
    foreign.pop("ADMIN_AUTH_TOKEN", None)
    return {**foreign, **(extra or {})}


def run_to_the_end(
    *arguments: str, env: Mapping[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """A `tmpnb-py` that is expected to end by itself."""
    return subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=120, env=environment(env), **more
    )


class Service:
    """One process. Its log is read by a thread, so that whoever waits for an event is woken by it."""

    def __init__(
        self,
        arguments: list[str],
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        *,
        command: str = "serve",
        pass_fds: Sequence[int] = (),
    ) -> None:
        """`wrapper` is a command that becomes the service, as env(1) does; it inherits `pass_fds`."""
        self._process = subprocess.Popen(
            [*wrapper, PROGRAM, command, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(env),
            pass_fds=pass_fds,
        )
        self._events: list[Event] = []
        self._other_lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Whoever has the lock finds a line either in the lists or still in the pipe."""
        assert self._process.stderr is not None
        log, something, left, read = self._process.stderr.fileno(), select.poll(), b"", b"x"
        something.register(log, select.POLLIN)
        while read:
            something.poll()
            with self._changed:
                read = os.read(log, 65536)
                left = self._take(left + (read or b"\n"))
                self._changed.notify_all()
        self._process.wait()
        with self._changed:
            self._process.stderr.close()
            self._changed.notify_all()

    def _take(self, read: bytes) -> bytes:
        """Sort lines; returns the beginning of the next one."""
        *lines, rest = read.split(b"\n")
        for line in filter(None, lines):
            text = line.decode(errors="replace").rstrip()
            try:
                self._events.append(json.loads(text))
            except ValueError:
                self._other_lines.append(text)
        return rest

    def _is_behind(self) -> bool:
        """Whether there is something in the pipe that has not been read."""
        assert self._process.stderr is not None
        count = bytearray(4)
        if not self._process.stderr.closed:
            fcntl.ioctl(self._process.stderr.fileno(), termios.FIONREAD, count)
        return any(count)

    def _catch_up(self) -> None:
        """What was logged before an answer came, or a process ended, is there to be found when that is seen."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_behind())

    # --- what it said

    @property
    def events(self) -> list[Event]:
        """The lines of the log so far, in order."""
        self._catch_up()
        return self._events

    @property
    def other_lines(self) -> list[str]:
        """What it has printed beside them."""
        self._catch_up()
        return self._other_lines

    def found(self, event: str, **fields: Any) -> list[Event]:
        """The log's events of this kind so far, in order."""
        wanted = {"event": event, **fields}
        return [one for one in list(self.events) if wanted.items() <= one.items()]

    def wait_until(self, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Look again at each line of the log; fails when the process ends first, or the time is over."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"it did not happen within {seconds:g} s{self.report()}"
                assert self._reader.is_alive(), f"the service has ended{self.report()}"
                self._changed.wait(left)

    def wait_for(self, event: str, *, count: int = 1, seconds: float = SECONDS, **fields: Any) -> Event:
        """The `count`-th such event, waited for."""
        self.wait_until(lambda: len(self.found(event, **fields)) >= count, seconds)
        return self.found(event, **fields)[count - 1]

    async def event(self, event: str, *, count: int = 1, seconds: float = SECONDS, **fields: Any) -> Event:
        """`wait_for` for tests that have something else going on meanwhile."""
        return await asyncio.to_thread(self.wait_for, event, count=count, seconds=seconds, **fields)

    def report(self) -> str:
        """The end of the log, for a failed test's message."""
        lines = [json.dumps(event) for event in self.events[-40:]] + self.other_lines[-40:]
        return "\n--- log\n" + "\n".join(lines)

    # --- where it listens

    @property
    def url(self) -> str:
        """The visitors' address, with a slash at the end."""
        return str(self.wait_for("listening")["url"]).replace("localhost", "127.0.0.1")

    @property
    def admin_url(self) -> str:
        """The operator's address."""
        return str(self.wait_for("listening")["admin"])

    @contextlib.asynccontextmanager
    async def http(self, *, admin: bool = False) -> AsyncIterator[aiohttp.ClientSession]:
        """A program's client: no cookies, no redirects followed unless asked for."""
        headers = {"Authorization": f"token {ADMIN_TOKEN}"} if admin else {}
        async with aiohttp.ClientSession(
            base_url=self.admin_url if admin else self.url,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=SECONDS),
            headers=headers,
        ) as client:
            yield client

    async def admin(self, method: str, path: str, body: object = None) -> Any:
        """What the operator's API answers; an error fails the test."""
        async with self.http(admin=True) as client, client.request(method, path, json=body) as response:
            answer = await response.json()
            assert response.status < 400, answer
            return answer

    async def stats(self) -> dict[str, Any]:
        """`GET /api/stats`."""
        async with self.http() as client, client.get("/api/stats") as response:
            assert response.status == 200
            return dict(await response.json())

    async def stats_when(
        self, condition: Callable[[dict[str, Any]], bool], seconds: float = SECONDS
    ) -> dict[str, Any]:
        """The stats once they fulfil a condition, asked again and again."""
        async with self.http() as client:
            deadline = time.monotonic() + seconds
            while True:
                async with client.get("/api/stats") as response:
                    stats = dict(await response.json())
                if condition(stats):
                    return stats
                assert time.monotonic() < deadline, f"{stats}{self.report()}"
                await asyncio.sleep(0.05)

    async def ready(self, count: int) -> dict[str, Any]:
        """Wait until so many notebooks are ready and nothing is under way."""
        return await self.stats_when(
            lambda stats: (stats["available"], stats["starting"], stats["removing"]) == (count, 0, 0)
        )

    async def spawn(self, client: aiohttp.ClientSession, path: str | None = None) -> dict[str, Any]:
        """`POST /api/spawn`, waiting in line if need be."""
        body = None if path is None else {"path": path}
        async with client.post("/api/spawn?wait=60", json=body) as response:
            answer = dict(await response.json())
            assert response.status == 200, f"{response.status} {answer}{self.report()}"
            return answer

    async def command(self, *arguments: str) -> str:
        """What a command of the operator's prints, which has to succeed."""
        port = f"--admin-port={self.admin_url.rstrip('/').rpartition(':')[2]}"
        env = {"ADMIN_AUTH_TOKEN": ADMIN_TOKEN}
        done = await asyncio.to_thread(run_to_the_end, *arguments, port, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # --- its end

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it, or a process that has its log, has not ended."""
        return self._reader.is_alive()

    def signal(self, number: int) -> None:
        """Send a signal to this very process."""
        self._process.send_signal(number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Wait for its end; returns the exit code."""
        self._reader.join(seconds)
        assert not self._reader.is_alive(), f"it did not end within {seconds:g} s{self.report()}"
        return int(self._process.returncode)

    def stop(self) -> int:
        """SIGTERM, and wait."""
        if self._reader.is_alive():
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """As a crash does it; also what a failed test ends with."""
        self._process.kill()
        self.wait()


class Front(Service):
    """A front end as a process."""

    @property
    def url(self) -> str:
        return str(self.wait_for("front_listening")["url"])

    @property
    def admin_url(self) -> str:
        return str(self.wait_for("front_listening")["admin"])


class Deployment:
    """A pool with its runtime directory, in which services are started one after the other.

    With `tables` it is several pools, which a file has: each is called `<pool>.<table>` in the engine.
    """

    def __init__(self, pool: str, *, docker_host: str = "", tables: Sequence[str] = ()) -> None:
        self.pool = pool
        self._names = [pool, *(f"{pool}.{one}" for one in tables)]
        self.directory = Path(tempfile.mkdtemp(prefix="tmpnb-e2e-"))
        self._docker_host = docker_host
        self._services: list[Service] = []

    def start(
        self, *options: str, cleanup: bool = True, env: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()
    ) -> Service:
        """Start a service; `options` come last and win.

        Its notebooks have no warm kernels unless a test asks for them (`WARM`): each takes a third of a CPU second.
        """
        arguments = ["--ip=127.0.0.1", "--port=0", "--admin-port=0", "--log-format=json", "--log-level=debug"]
        arguments += [f"--pool-name={self.pool}", f"--runtime-dir={self.directory / 'run'}"]
        arguments += [f"--state-dir={self.directory / 'state'}"]
        arguments += ["--cleanup-on-exit"] if cleanup else []
        host = {"DOCKER_HOST": self._docker_host} if self._docker_host else {}
        environ = {"ADMIN_AUTH_TOKEN": ADMIN_TOKEN, "TMPNB_WARM_KERNELS": "none", **host, **(env or {})}
        service = Service([*arguments, *options], environ, wrapper)
        self._services.append(service)
        return service

    def start_front(self, *options: str, env: Mapping[str, str] | None = None) -> Front:
        """Start a front end of the service."""
        arguments = ["--ip=127.0.0.1", "--port=0", "--admin-port=0", "--log-format=json", "--log-level=debug"]
        front = Front([*arguments, *options], env, command="front")
        self._services.append(front)
        return front

    def docker(self, *arguments: str) -> str:
        """The docker command, on this deployment's engine."""
        return docker(*(["--host", self._docker_host] if self._docker_host else []), *arguments)

    def containers(self, *filters: str, table: str = "") -> dict[str, str]:
        """The ids (ours) of the pool's containers, or of a table's, with their names, as the engine lists them."""
        lines = self.docker(
            "ps", "-a", "--filter", f"label=org.tmpnb.pool={self.pool}{table and '.'}{table}",
            *[part for one in filters for part in ("--filter", one)],
            "--format", '{{.Label "org.tmpnb.id"}} {{.Names}}',
        )  # fmt: skip
        return dict(line.split(" ", 1) for line in lines.splitlines())

    def docker_id(self, container_id: str) -> str:
        """Docker's own id of a container."""
        label = f"label=org.tmpnb.id={container_id}"
        return self.docker(
            "ps", "-aq", "--no-trunc", "--filter", f"label=org.tmpnb.pool={self.pool}", "--filter", label
        )

    def creations_since(self, unix_time: float) -> int:
        """How many containers of the pool the engine has created since then."""
        events = self.docker(
            "events", "--since", f"{unix_time:.3f}", "--until", f"{time.time():.3f}",
            "--filter", "type=container", "--filter", "event=create", "--filter", f"label=org.tmpnb.pool={self.pool}",
        )  # fmt: skip
        return len(events.splitlines())

    def remains(self) -> list[str]:
        """What is left of the pool: processes, containers, probes, networks, socket directories."""
        left = [f"process {one.pid}" for one in self._services if Path(f"/proc/{one.pid}").exists()]
        for name in self._names:
            for label in ("org.tmpnb.pool", "org.tmpnb.probe", "org.tmpnb.manager"):
                found = self.docker("ps", "-aq", "--filter", f"label={label}={name}")
                left += [f"container {one}" for one in found.split()]
            networks = self.docker("network", "ls", "-q", "--filter", f"label=org.tmpnb.pool={name}")
            left += [f"network {one}" for one in networks.split()]
            left += [f"firewall {one}" for one in _tables(name)]
            left += [str(path) for path in (self.directory / "run").glob(f"sockets/{name}")]
        return left

    def _sweep(self) -> None:
        """End everything by force."""
        for service in self._services:
            with contextlib.suppress(ProcessLookupError):
                service.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        for one in self.remains():
            kind, _, name = one.partition(" ")
            if kind == "container":
                self.docker("rm", "--force", "--volumes", name)
            elif kind == "network":
                self.docker("network", "rm", name)
            elif kind == "firewall":
                subprocess.run(["nft", "delete", "table", "inet", name], check=False)

    def check(self) -> None:
        """Stop what runs and see that nothing is left, and that nothing unexpected or secret was logged."""
        for service in self._services:
            service.stop()
        assert self.remains() == []
        for service in self._services:
            assert not service.other_lines, service.report()
            assert not service.found("action_failed"), service.report()
            assert [one for one in service.events if "exception" in one] == []

    @contextlib.contextmanager
    def ended(self) -> Iterator[Deployment]:
        """Run a test in it; afterwards nothing is left, and it is an error where something was."""
        try:
            yield self
            self.check()
        finally:
            self._sweep()


def _tables(pool: str) -> list[str]:
    """The firewall's tables of a pool on this machine, as far as they can be seen."""
    if shutil.which("nft") is None or os.geteuid() != 0:
        return []
    listed = subprocess.run(["nft", "list", "tables", "inet"], capture_output=True, text=True, check=False).stdout
    return [line.split()[-1] for line in listed.splitlines() if line.split()[-1].startswith(f"tmpnb-{pool}-")]


@contextlib.contextmanager
def run_service(pool: str, *options: str) -> Iterator[Service]:
    """A service for some tests, with a pool and a directory of its own; at its end nothing is left."""
    with Deployment(pool).ended() as deployment:
        yield deployment.start(*options)
