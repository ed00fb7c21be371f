"""Who manages a pool, wherever in the swarm: a config object that the manager keeps renewing.

Its name exists once, and each renewal names the version that it follows, so two cannot both have it. Whoever finds it
watches whether it is renewed, by a clock of its own: clocks of other machines are not compared. One that is not
renewed for `LEASE_SECONDS` is taken over; its manager sees that at its next renewal, and stops managing.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any

import structlog

from tmpnb_py.core.errors import EngineError, PoolLockedError
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.services import is_conflict, manager_name

log = structlog.get_logger(__name__)

LEASE_SECONDS = 12.0
_RENEW_SECONDS = 3.0
_LOOK_SECONDS = 0.5
_LABEL_RENEWED = "org.tmpnb.renewed"


class Lease:
    """One pool's lease."""

    def __init__(self, api: EngineApi, pool: str) -> None:
        self._api = api
        self._pool = pool
        self._holder = secrets.token_hex(8)
        self._tasks = Tasks()
        self._renewing: asyncio.Task[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process has it, as far as it knows."""
        return self._renewing is not None and not self._renewing.done()

    async def take(self, on_lost: Callable[[], None]) -> None:
        """Take it. Raises `PoolLockedError` where another manager is alive."""
        if self.is_held:
            return
        try:
            await self._api.call("POST", "configs/create", body=self._spec(1))
        except RefusedError as error:
            if error.status != 409 and "already exists" not in error.message and "conflicts" not in error.message:
                raise
            await self._take_over()
        self._renewing = self._tasks.start(f"lease of {self._pool}", self._renew(on_lost))

    async def release(self) -> None:
        """Give it back, if we have it."""
        task, self._renewing = self._renewing, None
        if task is None:
            return
        held = not task.done()
        await self._tasks.close()
        if held:
            with contextlib.suppress(EngineError):
                await self._api.call("DELETE", f"configs/{manager_name(self._pool)}")

    async def _take_over(self) -> None:
        found = await self._read()
        until = time.monotonic() + LEASE_SECONDS
        while found is not None:
            if time.monotonic() > until:
                await self._write(found, 1)
                log.warning("pool_taken_over", pool=self._pool, hint="its manager has not been heard of")
                return
            await asyncio.sleep(_LOOK_SECONDS)
            again = await self._read()
            if again is not None and again["Version"]["Index"] != found["Version"]["Index"]:
                raise self._locked()
            found = again
        try:  # its holder has given it back meanwhile
            await self._api.call("POST", "configs/create", body=self._spec(1))
        except RefusedError as error:
            raise self._locked() from error

    def _locked(self) -> PoolLockedError:
        return PoolLockedError(
            f'the pool "{self._pool}" of this swarm is managed by another tmpnb-py',
            remedy="stop that one, or give this one another name with --pool-name",
        )

    async def _renew(self, on_lost: Callable[[], None]) -> None:
        """Renew until it is lost: taken over, or not renewed for so long that somebody may."""
        last, count = time.monotonic(), 1
        while time.monotonic() - last < LEASE_SECONDS - _RENEW_SECONDS:
            await asyncio.sleep(_RENEW_SECONDS)
            count += 1
            try:
                async with asyncio.timeout(_RENEW_SECONDS):
                    found = await self._read()
                    if found is None or self._holder_of(found) != self._holder:
                        break
                    await self._write(found, count)
                last = time.monotonic()
            except PoolLockedError:
                break
            except (EngineError, TimeoutError) as error:
                log.warning("lease_not_renewed", pool=self._pool, error=str(error) or "no answer in time")
        log.error("pool_lost", pool=self._pool, hint="another manager may have it now")
        on_lost()

    async def _read(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._api.call("GET", f"configs/{manager_name(self._pool)}")
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def _write(self, found: dict[str, Any], count: int) -> None:
        path = f"configs/{found['ID']}/update"
        spec = {**found["Spec"], "Labels": self._spec(count)["Labels"]}
        try:
            await self._api.call("POST", path, params={"version": str(found["Version"]["Index"])}, body=spec)
        except RefusedError as error:
            if is_conflict(error.message):
                raise self._locked() from error
            raise

    @staticmethod
    def _holder_of(found: dict[str, Any]) -> str:
        return str((found["Spec"].get("Labels") or {}).get(docker.LABEL_HOLDER, ""))

    def _spec(self, count: int) -> dict[str, Any]:
        return {
            "Name": manager_name(self._pool),
            "Labels": {
                docker.LABEL_PROJECT: docker.PROJECT,
                docker.LABEL_MANAGER: self._pool,
                docker.LABEL_HOLDER: self._holder,
                _LABEL_RENEWED: str(count),
            },
            "Data": "Lg==",  # Swarm wants some
        }
