"""One manager per pool, enforced by the engine itself: managers on all machines compete for the same hold.

A manager creates a container with a fixed name, which the engine grants only once. The container only waits for its
standard input, which is the manager's connection. When the manager ends in any way, the kernel closes the connection,
the engine closes the input, and the container ends and removes itself (0.1 s after `kill -9`, measured). So there is
no lease that would delay the next start, and no clock, file or namespace that both sides must share.

An upgrade leaves no gap: the old process renames its container, with which everybody is still refused but its own
child, and that removes it once it has the name.

Used by the Docker engine only; one call of `take` at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from tmpnb_py.core.errors import EngineDownError, EngineError, PoolLockedError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.docker import options
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.docker.trials import Calling
from tmpnb_py.engines.local import process as local_process

# The hold of a manager that has just ended is gone after a tenth of this; on a very busy machine, after half of it.
_LEAVING_SECONDS = 2.0
_START_SECONDS = 30.0
_POLL_SECONDS = 0.05
_REMOVAL_SECONDS = 10.0  # usually a tenth of it; a longer one hangs
_RETRY_SECONDS = 60.0  # an engine that is shutting down refuses, too
_CONFLICT = 409

log = structlog.get_logger(__name__)


class Hold:
    """The hold on one pool. `remove` removes a container by Docker's id, and succeeds if it is already gone."""

    def __init__(self, calling: Calling, pool: str, remove: Callable[[str], Awaitable[None]]) -> None:
        self._calling = calling
        self._pool = pool
        self._remove = remove
        self._name = options.holder_name(pool)
        self._leaving = f"{self._name}.leaving"
        self._me = {**identity(), "hold": secrets.token_hex(8)}
        self._container = ""
        self._stream: Any = None
        self._tasks = Tasks()
        self._watching: asyncio.Task[None] | None = None
        self._unfit: dict[str, float] = {}  # images that cannot run such a container, and when to retry

    @property
    def is_held(self) -> bool:
        """Whether this manager holds the pool."""
        return self._watching is not None and not self._watching.done()

    async def take(self, image_id: str, on_lost: Callable[[], None]) -> None:
        """Hold the pool until `release` or this process's end. Calls `on_lost` if the hold is lost before.

        Raises `PoolLockedError` if another manager has it. Does not fail if the engine cannot run such a container:
        claims are safe without the hold.
        """
        if self.is_held or time.monotonic() < self._unfit.get(image_id, 0.0):
            return
        await self.release()
        try:
            await self._take(image_id)
        except EngineDownError:
            raise
        except EngineError as error:
            self._is_unfit(image_id, error)
            return
        self._watching = self._tasks.start("hold", self._watch(image_id, on_lost))

    def _is_unfit(self, image_id: str, error: EngineError) -> None:
        self._unfit[image_id] = time.monotonic() + _RETRY_SECONDS
        log.warning("pool_unguarded", pool=self._pool, error=error.message, hint="do not start a second service")

    async def _take(self, image_id: str) -> None:
        deadline = time.monotonic() + _LEAVING_SECONDS
        while not await self._made(image_id):
            holder, patient = await self._holder(self._name), time.monotonic() < deadline
            if holder is not None and self._has_ended(holder, patient=patient):
                await self._clear_away(holder)
            elif patient:
                await asyncio.sleep(_POLL_SECONDS)
            elif holder is None:
                raise EngineError(f"the engine reserves the name {self._name} for a container that it does not list")
            else:
                raise self._locked_by(holder)
        try:
            await self._see_who_leaves()
            await self._connect()
        except BaseException:
            with contextlib.suppress(EngineError):
                await self.release()
            raise

    def _locked_by(self, holder: Mapping[str, Any]) -> PoolLockedError:
        return PoolLockedError(
            f'the pool "{self._pool}" is managed by another tmpnb-py, {_who(holder)}',
            remedy="Stop that one first, or give this one a pool of its own with --pool-name.",
        )

    async def _see_who_leaves(self) -> None:
        """Raise `PoolLockedError` where another process than this one is to follow a manager."""
        holder = await self._holder(self._leaving)
        if holder is None:
            return
        if not self._is_followed_by_us(holder) and not self._has_ended(holder, patient=False):
            raise self._locked_by(holder)
        with contextlib.suppress(EngineError):  # it ends with its manager
            await self._clear_away(holder)

    def _is_followed_by_us(self, holder: Mapping[str, Any]) -> bool:
        """Whether its manager is this process itself, or the one that has started it as its successor."""
        process = _visible(_claimant(holder))
        return process is not None and process.pid in (os.getpid(), os.getppid()) and not _is_gone(process)

    async def _made(self, image_id: str) -> bool:
        """Create the container. Returns False if the name is taken."""
        body = options.holder_body(self._pool, image_id, json.dumps(self._me))
        try:
            async with self._calling("hold the pool") as docker:
                self._container = (await docker.containers.create(body, name=self._name)).id
        except RefusedError as error:
            if error.status != _CONFLICT:
                raise
            return False
        return True

    async def _connect(self) -> None:
        """Attach before it starts, so that the container never outlives the connection."""
        async with self._calling("hold the pool") as docker:
            self._stream = docker.containers.container(self._container).attach(stdin=True, stdout=True)
            await self._stream.__aenter__()

    async def _holder(self, name: str) -> Mapping[str, Any] | None:
        """The container of a name from the engine's list, as listing does not wait for a container's lock."""
        filters = json.dumps({"label": [f"{options.LABEL_MANAGER}={self._pool}"]})
        async with self._calling("see which manager holds the pool") as docker:
            found = [options.entry_of(one) for one in await docker.containers.list(all=True, filters=filters)]
        return next((one for one in found if f"/{name}" in one["Names"]), None)

    async def _clear_away(self, holder: Mapping[str, Any]) -> None:
        """Remove the hold of a manager that has ended. If it hangs, that is no evidence against the engine."""
        try:
            async with asyncio.timeout(_REMOVAL_SECONDS):
                await self._remove(str(holder["Id"]))
        except (EngineDownError, TimeoutError) as error:
            raise EngineError(f"the pool's previous hold, the container {self._name}, cannot be removed") from error

    def _has_ended(self, holder: Mapping[str, Any], *, patient: bool) -> bool:
        """Whether the manager that created the container has certainly ended, although the container exists.

        That happens when an engine is restarted under its containers. A container that is still not started after a
        while, created by a process that is not visible from here, was left by a crash between two calls.
        """
        told = _claimant(holder)
        if holder["State"] in ("exited", "dead") or told == self._me:  # our own earlier one
            return True
        if (process := _visible(told)) is not None:
            return _is_gone(process)
        return holder["State"] == "created" and not patient

    async def _watch(self, image_id: str, on_lost: Callable[[], None]) -> None:
        """Start the container without making anybody wait, as the name is held already. Then read until it ends.

        It prints nothing, and ends only when somebody removes it or the engine stops.
        """
        try:
            async with self._calling("hold the pool", _START_SECONDS) as docker:
                await docker.containers.container(self._container).start()
            with contextlib.suppress(Exception):  # for any reason
                while await self._stream.read_out() is not None:
                    pass
        except RefusedError as error:
            self._is_unfit(image_id, error)
            with contextlib.suppress(EngineError):
                await self._remove(self._container)
            return
        except EngineError as error:
            log.info("hold_not_started", pool=self._pool, error=error.message)
        log.warning("hold_lost", pool=self._pool, hint="it is acquired again, unless another manager has it")
        on_lost()

    async def hand_on(self) -> None:
        """Let the process that follows have the pool, or this one again, and nobody else. No-op if it is not held."""
        self._watching = None
        await self._tasks.close()
        if not self._container:
            return
        try:
            async with self._calling("hand on the pool") as docker:
                container: Any = docker.containers.container(self._container)
                await container.rename(self._leaving)
        except EngineError:
            await self.release()

    async def release(self) -> None:
        """Let another manager have the pool. No-op if it is not held."""
        self._watching = None
        await self._tasks.close()
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(Exception):  # the connection may be gone
                await stream.close()
        container, self._container = self._container, ""
        if container:
            with contextlib.suppress(EngineError, TimeoutError):
                async with asyncio.timeout(_LEAVING_SECONDS):  # if this fails, it ends with its connection
                    await self._remove(container)


def identity() -> dict[str, Any]:
    """This process's identity, for managers that see the same processes, and readable for people who do not."""
    me = local_process.identify(os.getpid())
    return {
        "pid": me.pid,
        "started": me.started,
        "boot_id": me.boot_id,
        "pid_namespace": _pid_namespace(),
        "host": socket.gethostname(),
        "user": os.geteuid(),
    }


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _claimant(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        told = json.loads(holder["Labels"][options.LABEL_HOLDER])
    except (ValueError, LookupError, TypeError):
        return {}
    return told if isinstance(told, dict) else {}


def _visible(told: Mapping[str, Any]) -> local_process.Process | None:
    """The manager's process, if it would be visible from here while running; None if unknown."""
    try:
        process = local_process.Process(int(told["pid"]), int(told["started"]), str(told["boot_id"]))
    except (LookupError, ValueError, TypeError):
        return None
    here = process.boot_id == local_process.boot_id() and told.get("pid_namespace") == _pid_namespace() != ""
    return process if here else None


def _who(holder: Mapping[str, Any]) -> str:
    told = _claimant(holder)
    return (
        f"process {told.get('pid')} on {told.get('host')} (uid {told.get('user')})"
        if told
        else "about which nothing more is known"
    )


def _is_gone(process: local_process.Process) -> bool:
    """Whether the process has certainly ended. Of other users' processes only the existence may be visible."""
    try:
        os.close(os.pidfd_open(process.pid))
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    try:
        return local_process.identify(process.pid) != process
    except OSError:
        return False
