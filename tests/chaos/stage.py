"""What the faults happen to: a service with an engine of its own, its visitors, and ways to harm each of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import aiohttp

from tests.chaos.unsteady import Unsteady
from tests.chaos.visitors import Visitors
from tests.e2e.own_engine import OwnEngine
from tests.e2e.service import ADMIN_TOKEN, Deployment, Service
from tests.engine_support import SERVER_COMMAND_SOCKET, SERVER_IMAGE, docker, mount_in_memory
from tests.ports import free_ports

POOL_SIZE = 2
CAPACITY = 9
_ENTRY = Path(__file__).with_name("entry.py")
_FILES = ("lock", "line")  # of each pool
_SECONDS = 60.0


class Stage:
    """One pool with its service, in round after round. `directory` is removed at the end."""

    runtime_disk = "4m"

    def __init__(self, engine: OwnEngine | None, *, seed: int) -> None:
        host = engine.host if engine else "unix:///nowhere"
        self._engine = engine
        self.random = random.Random(seed)
        self.deployment = Deployment(f"chaos{secrets.token_hex(3)}", docker_host=host)
        self.unsteady = Unsteady(self.deployment.directory / "engine.sock", Path(host.removeprefix("unix://")))
        self.visitors = Visitors("", self.random)
        self.port, self.admin_port = free_ports(2)
        self.image, self.other_image, self.flaky_image = "chaos:now", "chaos:other", "chaos:flaky"
        self.kept_image = "chaos:kept"  # what `image` was, while it is another
        self._services: list[Service] = []
        self._claims_before = (0, 0)  # answered and cut off when this process began
        self.explained_claims = 0  # of those that were cut off
        self.noted = ""
        self.trail: list[str] = []  # what was wrong at each look
        self.left_since: dict[str, float] = {}  # what belongs to nothing, and since when it has been seen
        self.leave = 0.0  # seconds that it may be there
        self.neighbours: set[str] = set()  # other pools with the same runtime directory
        self.fragile: set[str] = set()  # containers that would not outlive a restart of the service

    @property
    def engine(self) -> OwnEngine:
        """The Docker engine, where there is one."""
        assert self._engine is not None
        return self._engine

    @property
    def has_engine(self) -> bool:
        """Whether there is a Docker engine."""
        return self._engine is not None

    # --- the service

    @property
    def runtime_dir(self) -> Path:
        """On a small disk of its own."""
        return self.deployment.directory / "run"

    @property
    def elsewhere(self) -> Path:
        """Another one, for another manager."""
        return self.deployment.directory / "elsewhere"

    @property
    def service(self) -> Service:
        """The process that runs now, or ran last."""
        return self._services[-1]

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return not Path(f"/proc/{self.service.pid}").exists()

    @property
    def url(self) -> str:
        """The visitors' address."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def claims_of_this_process(self) -> tuple[int, int]:
        """How many claims were answered by this process, and how many may have been made though cut off."""
        answered, cut_off = self._claims_before
        return self.visitors.counts["claims"] - answered, self.visitors.unanswered - cut_off

    @property
    def unexplained_claims(self) -> int:
        """How many claims that were cut off may have been made without anybody having seen the notebook."""
        return self.visitors.unanswered - self.explained_claims

    @property
    def ended_before(self) -> set[str]:
        """Containers that earlier processes had begun to end."""
        return {str(one["id"]) for service in self._services[:-1] for one in service.found("removing")}

    def begin_round(self) -> None:
        """Forget what was said of the last one."""
        self.noted, self.trail = "", []
        self.visitors.begin_round()

    def note(self, what: str) -> None:
        """What the fault does this time, for the reader of what went wrong."""
        self.noted += f" ({what})"

    def options(self) -> list[str]:
        """Those of the service."""
        return [
            f"--port={self.port}", f"--admin-port={self.admin_port}",
            f"--pool-size={POOL_SIZE}", f"--max-containers={CAPACITY}",
            "--start-concurrency=2", "--start-timeout=15s",
            "--cull-timeout=0", "--cull-disconnected=2h", "--cull-unvisited=2h", "--cull-max=3h",
            *self.notebook_options(),
        ]  # fmt: skip

    def notebook_options(self) -> list[str]:
        """What notebooks are: the stand-in server, which starts in a quarter of a second."""
        return [f"--image={self.image}", f"--command={SERVER_COMMAND_SOCKET}", "--mem-limit=64m", "--cpu-quota=0"]

    def environment(self) -> dict[str, str]:
        """That of the service."""
        return {"DOCKER_HOST": self.unsteady.host, "CHAOS_ORDERS": str(self.orders)}

    def command_options(self) -> list[str]:
        """Those of commands that have to find the pool."""
        return []

    def operators_environment(self) -> dict[str, str]:
        """That of whoever runs another `tmpnb-py` here."""
        return {"DOCKER_HOST": self.engine.host}

    @property
    def orders(self) -> Path:
        """The pipe of `entry.py`."""
        return self.deployment.directory / "orders"

    def start(self, *options: str, env: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()) -> Service:
        """Start the service anew; `options` come last and win."""
        entry = [*wrapper, sys.executable, "-P", str(_ENTRY)]
        environ = {"TMPNB_CONFIG": str(self._configuration), **self.environment(), **(env or {})}
        service = self.launch(*self.options(), *options, env=environ, wrapper=entry)
        self._services.append(service)
        self._claims_before = (self.visitors.counts["claims"], self.visitors.unanswered)
        return service

    def configure(self, options: str) -> None:
        """Write the configuration file, which the service reads as it starts and at SIGHUP."""
        self._configuration.write_text(options)

    @property
    def _configuration(self) -> Path:
        return self.deployment.directory / "tmpnb-py.toml"

    def choose(self, service: Service) -> None:
        """Of several that were started, this is the one."""
        self._services.remove(service)
        self._services.append(service)

    def launch(self, *options: str, env: Mapping[str, str], wrapper: Sequence[str]) -> Service:
        """Start a process of the pool."""
        return self.deployment.start(*options, cleanup=False, env=env, wrapper=wrapper)

    async def start_anew(self, *, options: Sequence[str] = (), env: Mapping[str, str] | None = None) -> None:
        """`kill -9` it, start it again and wait until it answers."""
        self.kill()
        self.start(*options, env=env)
        await self.answers()

    def order(self, order: str) -> None:
        """Tell the service's test build what to do; nobody, where it has ended."""
        with os.fdopen(os.open(self.orders, os.O_RDWR | os.O_NONBLOCK), "w") as pipe:  # waits for no reader
            pipe.write(f"{order}\n")

    def kill(self) -> None:
        """`kill -9`."""
        with contextlib.suppress(ProcessLookupError):
            self.service.kill()

    async def ended(self, seconds: float = _SECONDS) -> int:
        """Wait for the service's end; returns its exit code."""
        return await asyncio.to_thread(self.service.wait, seconds)

    async def revive(self) -> None:
        """What systemd's Restart= does: start it again if it has ended."""
        if self.has_ended:
            self.start()
            await self.answers()

    async def answers(self, seconds: float = _SECONDS, *, restart: bool = False) -> None:
        """Wait until the service answers; with `restart` it is started again where it ends, as systemd does."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as http:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(f"{self.url}api/stats", timeout=aiohttp.ClientTimeout(total=2)) as answer:
                        if answer.status == 200:
                            return
                assert restart or not self.has_ended, f"the service has ended{self.service.report()}"
                if self.has_ended:
                    self.start()
                await asyncio.sleep(0.05)

    async def ask(self, path: str, *, admin: bool = False, method: str = "GET") -> aiohttp.ClientResponse:
        """One request to the service, its answer read to the end."""
        base = f"http://127.0.0.1:{self.admin_port}" if admin else self.url.rstrip("/")
        headers = {"Authorization": f"token {ADMIN_TOKEN}"} if admin else {}
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as http,
            http.request(method, f"{base}{path}") as answer,
        ):
            await answer.read()
            return answer

    async def sleep(self, least: float, most: float) -> None:
        """For a time of this round's seed."""
        await asyncio.sleep(self.random.uniform(least, most))

    # --- the engine and its containers

    def containers(self) -> dict[str, str]:
        """The state (`starting`, `ready`, `claimed`) of each container of the pool that the engine has."""
        prefix = f"tmpnb.{self.deployment.pool}."
        found = self.deployment.containers().items()
        return {one: name.removeprefix(prefix).rpartition(".")[2].partition("-")[0] for one, name in found}

    def docker_ids(self, state: str = "") -> dict[str, str]:
        """Docker's ids of the containers in a state, by ours."""
        ids = {one: self.deployment.docker_id(one) for one, at in self.containers().items() if at.startswith(state)}
        return {one: docker_id for one, docker_id in ids.items() if docker_id}  # some may have gone meanwhile

    def orphans(self) -> list[str]:
        """What the engine and the firewall have of the pool beside notebooks and the one hold."""
        found = [one for one in self.deployment.remains() if not one.startswith(("process ", "container ", "/"))]
        for label, most in (("org.tmpnb.probe", 0), ("org.tmpnb.manager", 1)):
            ids = self.deployment.docker("ps", "-aq", "--filter", f"label={label}={self.deployment.pool}").split()
            found += [f"{label} {one}" for one in ids[most:]]
        return found

    def strange_children(self, children: Sequence[str]) -> list[str]:
        """Those of the service's child processes that should not be there."""
        return list(children)

    def strange_files(self) -> list[str]:
        """What is in the runtime directory and should not be."""
        pool = self.deployment.pool
        pools = {pool, *self.neighbours}
        known = {".tmpnb-py", "sockets", "static", "local"} | {f"{one}.{kind}" for one in pools for kind in _FILES}
        strange = [one.name for one in self.runtime_dir.iterdir() if one.name not in known]
        sockets = self.runtime_dir / "sockets"
        if sockets.exists():
            ours = {one.name for one in (sockets / pool).iterdir()} if (sockets / pool).exists() else set()
            strange += [f"sockets/{one.name}" for one in sockets.iterdir() if one.name not in {".hosts", *pools}]
            strange += [f"sockets/{pool}/{one}" for one in ours - self.containers().keys()]
        elsewhere = self.elsewhere / "sockets" / pool
        if elsewhere.exists():
            strange += [str(one) for one in elsewhere.iterdir() if one.name not in self.containers()]
        return strange

    def docker(self, *arguments: str, check: bool = True) -> str:
        """What the docker command says of the stage's engine."""
        return docker("--host", self.engine.host, *arguments, check=check)

    def observe(self) -> None:
        """Have the service look at the engine at once."""
        self.service.signal(signal.SIGHUP)

    async def end_fragile(self) -> None:
        """End what the next round could not rely on."""
        fragile, self.fragile = self.fragile, set()
        for session in [one for one in self.visitors.sessions.values() if one.id in fragile]:
            await self.visitors.end(session)
        if fragile:
            await self.ask("/api/pool", admin=True, method="DELETE")
            await asyncio.sleep(0.2)

    # --- the beginning and the end

    def make_images(self) -> None:
        """The stand-in server's, one that is another, and one of which every second does not start."""
        self.docker("tag", SERVER_IMAGE, self.image)
        fails = "import sys; sum(map(ord, sys.argv[2])) % 2 and sys.exit(3)"
        for name, line in (
            (self.other_image, "LABEL other=1"),
            (self.flaky_image, f"RUN sed -i '1i {fails}' /server.py"),
        ):
            context = self.deployment.directory / name.partition(":")[2]
            context.mkdir()
            (context / "Dockerfile").write_text(f"FROM {SERVER_IMAGE}\n{line}\n")
            self.docker("build", "--network=none", "--tag", name, str(context))

    def mount(self) -> None:
        """Give the runtime directory a small disk."""
        self.runtime_dir.mkdir(mode=0o700)
        mount_in_memory(self.runtime_dir, f"size={self.runtime_disk},mode=700")

    def unmount(self) -> None:
        """Take it away again."""
        subprocess.run(["umount", "--lazy", self.runtime_dir], check=False, capture_output=True)

    def sweep(self) -> None:
        """End everything by force."""
        for service in self._services[-3:]:
            with contextlib.suppress(ProcessLookupError, AssertionError):
                os.kill(service.pid, signal.SIGCONT)
                service.kill()
        self.unmount()
        if self._engine is not None:
            with contextlib.suppress(AssertionError):  # an engine that is gone has nothing
                self.deployment._sweep()
        shutil.rmtree(self.deployment.directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def staged(stage: Stage) -> AsyncIterator[Stage]:
    """The stage with its service running; at the end nothing is left of it."""
    try:
        stage.make_images()
        stage.mount()
        os.mkfifo(stage.orders)
        stage.configure("")
        stage.unsteady.open()
        stage.visitors.url = stage.url
        await stage.visitors.open()
        stage.start()
        await stage.answers()
        yield stage
    finally:
        await stage.visitors.close()
        await asyncio.to_thread(stage.sweep)
        stage.unsteady.close()
