"""A notebook server of the image with warm kernels, started by hand, and used as a client uses it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests import engine_support
from tests.e2e.jupyter import Notebook

_START_SECONDS = 180.0
_HARDENED = (
    "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "256",
    "--tmpfs", "/tmp:rw,noexec,nosuid,nodev,size=128m",
    "--tmpfs", "/home/jovyan:rw,exec,nosuid,nodev,uid=1000,gid=1000,mode=0700,size=256m",
    "--memory", "512m", "--memory-swap", "512m", "--ulimit", "nofile=4096",
)  # fmt: skip


class Server:
    """A running container, and its server as `notebook`."""

    def __init__(self, container: str, notebook: Notebook) -> None:
        self.container = container
        self.notebook = notebook

    def shell(self, command: str) -> str:
        """What a shell command prints in the container."""
        return engine_support.docker("exec", self.container, "sh", "-c", command)

    async def states(self) -> list[dict[str, Any]]:
        """The warm kernels, as the service asks for them."""
        told = await self.notebook.call("GET", "api/tmpnb/warm")
        kernels: list[dict[str, Any]] = told["kernels"]
        return kernels

    async def state(self, name: str) -> str:
        """The state of one of them."""
        return str(next(one["state"] for one in await self.states() if one["name"] == name))

    async def new_session(self, name: str, path: str = "x.ipynb") -> dict[str, Any]:
        """What JupyterLab does when it opens a notebook."""
        body = {"path": path, "type": "notebook", "name": path.rpartition("/")[2], "kernel": {"name": name}}
        answer: dict[str, Any] = await self.notebook.call("POST", "api/sessions", body, status=201)
        return answer


@contextlib.asynccontextmanager
async def server(
    image: str,
    kernels: Mapping[str, Sequence[str]] | None,
    *,
    unused_seconds: float = 600,
    cpus: str = "2",
    options: Sequence[str] = (),
) -> AsyncIterator[Server]:
    """A server, when no kernel is starting any more. `kernels` None: without any."""
    token, name = secrets.token_hex(16), f"tmpnb-warm-{secrets.token_hex(6)}"
    directory = Path(tempfile.mkdtemp(prefix="tmpnb-warm-"))
    directory.chmod(0o777)
    told = json.dumps({"kernels": kernels, "unused_seconds": unused_seconds})
    environment = [] if kernels is None else ["--env", f"TMPNB_WARM_KERNELS={told}"]
    command = ["start-notebook.sh", "--ServerApp.sock=/run/tmpnb/server.sock", "--ServerApp.base_url=/user/x/"]
    place = ["--network", "none", "--hostname", "tmpnb", "--volume", f"{directory}:/run/tmpnb"]
    arguments = ["--detach", "--name", name, *place, *_HARDENED, "--cpus", cpus, *environment]
    try:
        engine_support.docker("run", *arguments, *options, image, *command, f"--IdentityProvider.token={token}")
        connector = aiohttp.UnixConnector(str(directory / "server.sock"))
        async with aiohttp.ClientSession("http://localhost", connector=connector) as client:
            found = Server(name, Notebook(client, "x", token))
            async with asyncio.timeout(_START_SECONDS):
                await _until_ready(found, asks=kernels is not None)
            yield found
    except BaseException:
        print(engine_support.docker("logs", name, check=False)[-4000:])
        raise
    finally:
        engine_support.docker("rm", "--force", "--volumes", name, check=False)
        shutil.rmtree(directory)


async def _until_ready(found: Server, *, asks: bool) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError, AssertionError):
            await found.notebook.call("GET", "api/status")
            if not asks or all(one["state"] != "starting" for one in await found.states()):
                return
        await asyncio.sleep(0.1)
