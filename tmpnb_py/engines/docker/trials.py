"""Short-lived helper containers that test or set something up.

They have no pool label, so they are never listed as notebooks; another label identifies those that a crashed
orchestrator left. Used by the Docker engine only.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from tmpnb_py.core.errors import EngineError, NoSuchContainerError
from tmpnb_py.engines.docker.options import LABEL_PROBE, LABEL_PROJECT, PROJECT
from tmpnb_py.engines.docker.streams import OpenStream, post, read_log

_LINES = 20
_POLL_SECONDS = 0.1
SLOW = "check that the engine is not overloaded"
NO_PROGRAM = (126, 127)  # a shell's exit status for a program that it cannot run or find
# Jupyter's images have a Python, under different names.
_PYTHON = 'exec "$(command -v python3 || command -v python)" -I -S -B -c "$@"'


class EndedError(EngineError):
    """A container ended that should keep running."""


class NoPythonError(EndedError):
    """The image has no Python that its containers can run."""


class Calling(Protocol):
    """Yields aiodocker's client for a bounded time. Translates failures into `EngineError`."""

    def __call__(self, doing: str, seconds: float | None = None) -> AbstractAsyncContextManager[Any]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A started container, by its name. `warnings` are the engine's own about it."""

    name: str
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """A finished container's output and exit status."""

    lines: tuple[str, ...]
    status: int
    warnings: tuple[str, ...] = ()


def python(module: Path, argument: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a container's body that runs a file's source in the image's own Python, with a JSON argument."""
    return {"Entrypoint": ["/bin/sh", "-c", _PYTHON, "sh"], "Cmd": [module.read_text(), json.dumps(argument)]}


def facts(lines: tuple[str, ...]) -> dict[str, Any] | None:
    """The JSON object that a container printed; None if there is none (yet)."""
    for line in lines:
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                found: dict[str, Any] = json.loads(line)
                return found
    return None


class Trials:
    """Runs helper containers. Each call is bounded by `seconds`, and leaves nothing behind."""

    def __init__(
        self,
        calling: Calling,
        stream: OpenStream,
        remove: Callable[[str], Awaitable[None]],
        pool: str,
        *,
        seconds: float,
    ) -> None:
        """`remove` kills and removes a container by its name."""
        self._calling = calling
        self._remove = remove
        self._stream = stream
        self._pool = pool
        self._seconds = seconds

    @contextlib.asynccontextmanager
    async def running(self, body: Mapping[str, Any]) -> AsyncIterator[Running]:
        """Start a container; remove it on exit."""
        name = f"tmpnb.{self._pool}.probe{secrets.token_hex(8)}"
        labels = {LABEL_PROJECT: PROJECT, LABEL_PROBE: self._pool}
        try:
            made = await self._create(name, {**body, "Labels": labels})
            async with self._calling("start a probe", self._seconds) as docker:
                await docker.containers.container(name).start()
            yield Running(name, tuple(made.get("Warnings") or ()))
        finally:
            with contextlib.suppress(NoSuchContainerError):
                await self._remove(name)

    async def _create(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a container directly, as aiodocker's own call drops the engine's warnings."""
        return await post(self._stream, "containers/create", body, seconds=self._seconds, params={"name": name})

    async def run(self, body: Mapping[str, Any]) -> Ended:
        """Run a container to its end. Raises `NoPythonError` if the image has no Python."""
        async with self.running(body) as probe:
            async with self._calling("wait for a probe", self._seconds) as docker:
                status = int((await docker.containers.container(probe.name).wait())["StatusCode"])
            lines = await self.lines(probe)
        if status in NO_PROGRAM:
            raise NoPythonError("the image has no python3")
        return Ended(lines, status, probe.warnings)

    async def lines(self, probe: Running) -> tuple[str, ...]:
        """Return the output so far."""
        return await read_log(self._stream, probe.name, lines=_LINES, seconds=self._seconds)

    async def status(self, probe: Running) -> int | None:
        """Return the exit status; None while it runs."""
        async with self._calling("inspect a probe") as docker:
            state = (await docker.containers.container(probe.name).show())["State"]
            return None if state["Running"] else int(state["ExitCode"])

    async def first_facts(self, probe: Running) -> dict[str, Any]:
        """Wait for the facts that a running container prints.

        Raises `EndedError` if it ends without printing any, `NoPythonError` if the image has no Python, and
        `EngineError` after too long.
        """
        try:
            async with asyncio.timeout(self._seconds):
                while (found := await self._facts_now(probe)) is None:  # noqa: ASYNC110 - its events are the engine's
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise EngineError(f"a probe printed nothing for {self._seconds:g} s", remedy=SLOW) from error
        return found

    async def _facts_now(self, probe: Running) -> dict[str, Any] | None:
        status = await self.status(probe)
        lines = await self.lines(probe)
        if (found := facts(lines)) is not None or status is None:
            return found
        if status in NO_PROGRAM:
            raise NoPythonError("the image has no python3")
        raise EndedError(f"a probe ended with status {status}: {' '.join(lines[-1:])}")

    async def address(self, probe: Running) -> str:
        """Return the IPv4 address; "" if there is none."""
        async with self._calling("inspect a probe") as docker:
            settings = (await docker.containers.container(probe.name).show())["NetworkSettings"]
            networks = (settings.get("Networks") or {}).values()
            return next((str(one["IPAddress"]) for one in networks if one.get("IPAddress")), "")
