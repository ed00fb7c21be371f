"""Rigs: what the contract suite needs of an engine beyond its protocol, for the fake one and for Docker."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import aiodocker
import aiohttp

from tests import engine_support
from tests.engine_support import docker
from tmpnb_py.core.host_names import new_session_name
from tmpnb_py.core.models import (
    Address,
    ContainerConfig,
    ContainerSpec,
    Egress,
    ImageFacts,
    State,
    Transport,
)
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.docker.options import LABEL_ID, LABEL_POOL, LABEL_PROJECT, PROJECT, name_of
from tmpnb_py.engines.fake import FakeContainer, FakeEngine, FakeHost
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.http import http_session

MIB = 1024 * 1024


def new_id() -> str:
    """A container's id, as the reconciler makes them."""
    return secrets.token_hex(16)


def spec_of(image: ImageFacts, command: str, **changes: Any) -> ContainerSpec:
    """A container to be started, small."""
    config = ContainerConfig(
        image=image,
        command=command,
        transport=Transport.SOCKET,
        egress=Egress.NONE,
        mem_limit=(512 if "NOTEBOOK_RUNTIME" in os.environ else 128) * MIB,
        cpu_quota=50_000,
        pids_limit=1024 if "NOTEBOOK_RUNTIME" in os.environ else 64,
        home_size=16 * MIB,
        tmp_size=8 * MIB,
        shm_size=12 * MIB,
        runtime=os.environ.get("NOTEBOOK_RUNTIME", ""),
    )
    return ContainerSpec(new_id(), "secret0token", dataclasses.replace(config, **changes), new_session_name())


async def fetch(address: Address | None, path: str, data: str | None = None) -> Any:
    """The JSON at `path` of a notebook server; retried for a minute, until it listens."""
    assert address is not None
    deadline = time.monotonic() + 60
    while True:
        try:
            return await _fetch_once(address, path, data)
        except (aiohttp.ClientConnectionError, OSError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def _fetch_once(address: Address, path: str, data: str | None) -> Any:
    endpoint = Endpoint(address)
    try:
        method = "GET" if data is None else "POST"
        async with (
            http_session(endpoint, "", seconds=60) as session,
            session.request(method, path, data=data) as response,
        ):
            assert response.status == 200
            return await response.json()
    finally:
        endpoint.close()


class Rig(Protocol):
    """One engine's machine, for one test."""

    missing_image: str

    def engine(self, pool: str) -> Engine:
        """A new engine object, as a restarted orchestrator makes one."""

    async def spec(self, engine: Engine, **changes: Any) -> ContainerSpec:
        """A container that will answer."""

    async def exits(self, engine: Engine) -> ContainerSpec:
        """A container that will end at once with status 7."""

    async def unstartable(self, engine: Engine) -> ContainerSpec:
        """A container that the engine will refuse to start."""

    async def files(self, engine: Engine) -> tuple[ImageFacts, str]:
        """An image and a directory in it with the files a ("one") and sub/b ("two"), and with a link."""

    async def die(self, pool: str, container_id: str) -> None:
        """Let the container die."""

    async def foreign(self) -> None:
        """Make a container that has nothing to do with this program."""

    async def ready_ones(self, engine: Engine) -> list[str]:
        """Many containers that are marked READY, of which nobody asks more than to be claimed."""

    async def scramble(self, pool: str, container_id: str) -> bool:
        """Make a container's durable state undecidable; False where that cannot happen."""

    async def break_events(self) -> None:
        """Cut every event stream."""

    async def go_down(self) -> None:
        """From now on the engine does not answer."""

    async def remains(self, pool: str) -> list[str]:
        """What is left of the pool on the machine."""

    async def close(self) -> None:
        """Clean up after the test."""


class FakeRig:
    """The engine in memory."""

    missing_image = "missing"

    def __init__(self) -> None:
        self.host = FakeHost()

    def engine(self, pool: str) -> Engine:
        return FakeEngine(self.host, pool=pool)

    async def spec(self, engine: Engine, **changes: Any) -> ContainerSpec:
        self.host.start_behaviour = "ok"
        return spec_of(await engine.image("fake"), "serve", **changes)

    async def exits(self, engine: Engine) -> ContainerSpec:
        spec = await self.spec(engine)
        self.host.start_behaviour = "exits"
        return spec

    async def unstartable(self, engine: Engine) -> ContainerSpec:
        return spec_of(ImageFacts("missing", "sha256:missing"), "serve")

    async def files(self, engine: Engine) -> tuple[ImageFacts, str]:
        self.host.files["fake"] = {"/srv/files/a": b"one", "/srv/files/sub/b": b"two", "/etc/passwd": b""}
        return await engine.image("fake"), "/srv/files"

    async def die(self, pool: str, container_id: str) -> None:
        await FakeEngine(self.host, pool=pool).kill(container_id)

    async def foreign(self) -> None:
        pass

    async def scramble(self, pool: str, container_id: str) -> bool:
        return False

    async def ready_ones(self, engine: Engine) -> list[str]:
        specs = [await self.spec(engine) for _ in range(1000)]
        for spec in specs:
            self.host.containers[engine.pool, spec.id] = FakeContainer(  # type: ignore[attr-defined]
                engine.pool,  # type: ignore[attr-defined]
                spec,
                time.time(),
                self.host.directory,
                State.READY,
            )
        return [spec.id for spec in specs]

    async def break_events(self) -> None:
        self.host.break_events()

    async def go_down(self) -> None:
        self.host.down = True

    async def remains(self, pool: str) -> list[str]:
        directory = self.host.directory / pool
        files = [str(path) for path in directory.iterdir()] if directory.exists() else []
        return files + [container for one, container in self.host.containers if one == pool]

    async def close(self) -> None:
        await self.host.close()


class Forwarder:
    """Stands in front of the real engine's socket, to cut its connections and take it down."""

    def __init__(self, path: Path, engine: Path = engine_support.ENGINE_SOCKET) -> None:
        self.path = path
        self._engine = engine
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def close(self) -> None:
        """Stop listening and cut every connection. The socket's file stays, as that of a dead engine does."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        engine_reader, engine_writer = await asyncio.open_unix_connection(self._engine)
        self._writers |= {writer, engine_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, engine_writer))
                group.create_task(self._pump(engine_reader, writer))
        finally:
            self._writers -= {writer, engine_writer}
            self._tasks.discard(task)

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class ServerImageRig:
    """What rigs have in common whose containers run the tests' own server, from an image of a real engine."""

    missing_image = "tmpnb-py-test/missing:never"
    image: str

    async def spec(self, engine: Engine, **changes: Any) -> ContainerSpec:
        by_port = changes.get("transport") is Transport.PORT
        command = engine_support.SERVER_COMMAND_PORT if by_port else engine_support.SERVER_COMMAND_SOCKET
        return spec_of(await engine.image(self.image), changes.pop("command", command), **changes)

    async def exits(self, engine: Engine) -> ContainerSpec:
        return await self.spec(engine, command="echo bye; exit 7")

    async def unstartable(self, engine: Engine) -> ContainerSpec:
        return await self.spec(engine, mem_limit=1)

    async def files(self, engine: Engine) -> tuple[ImageFacts, str]:
        return await engine.image(self.image), "/srv/files"


class DockerRig(ServerImageRig):
    """The real engine, behind a forwarder."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.directory = Path(tempfile.mkdtemp(prefix="tmpnb-test-"))
        self.forwarder = Forwarder(self.directory / "docker.sock")
        self.engines: list[DockerEngine] = []
        self.pools: set[str] = set()
        self.others: list[str] = []

    def engine(self, pool: str, *, call_timeout: float = 10.0) -> DockerEngine:
        host = f"unix://{self.forwarder.path}"
        run = self.directory / "run"
        engine = DockerEngine(pool=pool, runtime_dir=run, docker_host=host, call_timeout=call_timeout)
        self.engines.append(engine)
        self.pools.add(pool)
        return engine

    async def die(self, pool: str, container_id: str) -> None:
        await asyncio.to_thread(docker, "kill", docker_id(pool, container_id))

    async def foreign(self) -> None:
        name = f"tmpnb-test-foreign-{new_id()[:8]}"
        self.others.append(name)
        await asyncio.to_thread(docker, "create", "--name", name, self.image, "true")

    async def scramble(self, pool: str, container_id: str) -> bool:
        await asyncio.to_thread(docker, "rename", docker_id(pool, container_id), f"scrambled-{container_id[:8]}")
        return True

    async def ready_ones(self, engine: Engine) -> list[str]:
        (pool,) = self.pools
        ids = [new_id() for _ in range(100)]
        async with aiodocker.Docker() as client:
            for one in ids:
                body: dict[str, Any] = {
                    "Image": self.image,
                    "Cmd": ["true"],
                    "Labels": {LABEL_PROJECT: PROJECT, LABEL_POOL: pool, LABEL_ID: one},
                    "HostConfig": {"NetworkMode": "none"},
                }
                await client.containers.create(body, name=name_of(pool, one, State.READY))
        return ids

    async def break_events(self) -> None:
        self.forwarder.cut()

    async def go_down(self) -> None:
        await self.forwarder.close()

    async def remains(self, pool: str) -> list[str]:
        """Containers, networks and directories. Volumes are counted by the test that makes one."""
        sockets = self.directory / "run" / "sockets" / pool
        directories = [str(path) for path in sockets.iterdir()] if sockets.exists() else []
        return directories + await asyncio.to_thread(_containers, pool)

    async def close(self) -> None:
        await self.forwarder.close()
        for engine in self.engines:
            await engine.close()
        await asyncio.to_thread(self._clean)
        for pool in self.pools:
            if await asyncio.to_thread(docker, "network", "ls", "-q", "--filter", f"label=org.tmpnb.pool={pool}"):
                engine = DockerEngine(pool=pool, runtime_dir=self.directory / "run")
                await engine.open()
                await engine.remove_networks()  # their firewall goes with them
                await engine.close()
        shutil.rmtree(self.directory)

    def _clean(self) -> None:
        left = [one for pool in self.pools for one in _containers(pool)] + self.others
        if left:
            docker("rm", "--force", "--volumes", *left, check=False)  # Docker 28: "removal is already in progress"


def _containers(pool: str) -> list[str]:
    """Docker's ids of everything that belongs to a pool, probes included."""
    labels = ("org.tmpnb.pool", "org.tmpnb.probe", "org.tmpnb.manager")
    return [
        one
        for label in labels
        for one in docker("ps", "--all", "--quiet", "--filter", f"label={label}={pool}").split()
    ]


def docker_id(pool: str, container_id: str) -> str:
    """Docker's own id of a container."""
    labels = [f"label=org.tmpnb.pool={pool}", f"label=org.tmpnb.id={container_id}"]
    return docker("ps", "-aq", "--no-trunc", *[part for label in labels for part in ("--filter", label)])
