"""The bridges of containers that need a network (see `docker_options.network_body`).

Used by the Docker engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from tmpnb_py.engines.docker_host import RefusedError
from tmpnb_py.engines.docker_options import network_body, network_name
from tmpnb_py.errors import EngineError
from tmpnb_py.models import Egress, Transport


class Calling(Protocol):
    """Yields aiodocker's client for a bounded time; what goes wrong leaves as an `EngineError`."""

    def __call__(self, doing: str, seconds: float | None = None) -> AbstractAsyncContextManager[Any]: ...


class Networks:
    """Makes a pool's networks when they are first needed, and removes them."""

    def __init__(self, calling: Calling, pool: str, labels: Sequence[str]) -> None:
        self._calling = calling
        self._pool = pool
        self._filters = {"label": list(labels)}
        self._lock = asyncio.Lock()

    async def prepare(self, egress: Egress, transport: Transport, network: str = "") -> None:
        """Make the network that such containers need, if any. Concurrent calls make it once.

        `network` is one that the operator named: it is never made. Raises `EngineError` where it does not exist.
        """
        if network:
            await self._need(network)
            return
        name = network_name(self._pool, egress, transport)
        if name == "none":
            return
        async with self._lock:
            if name in {network["Name"] for network in await self._list()}:
                return
            try:
                async with self._calling("make a network") as docker:
                    await docker.networks.create(network_body(self._pool, name, egress))
            except RefusedError as error:
                if error.status != 409:  # 409: another process just made it
                    raise
            # Docker allows two networks of one name, and then refuses to use either. Whoever raced keeps the
            # oldest.
            same = sorted(
                (one for one in await self._list() if one["Name"] == name),
                key=lambda one: (one["Created"], one["Id"]),
            )
            for surplus in same[1:]:
                await self._delete(surplus["Id"])

    async def _need(self, network: str) -> None:
        if network == "host":
            return
        async with self._calling("list the networks") as docker:
            known = {str(one["Name"]) for one in await docker.networks.list()}
        if network not in known:
            raise EngineError(
                f"the engine has no network {network}",
                remedy=f"make it (docker network create {network}), or name another one with docker_network",
            )

    async def remove(self) -> None:
        """Remove the networks, but those that containers still use."""
        for network in await self._list():
            await self._delete(network["Id"])

    async def _delete(self, network_id: str) -> None:
        try:
            async with self._calling("remove a network") as docker:
                await (await docker.networks.get(network_id)).delete()
        except RefusedError as error:
            if error.status not in (403, 404):  # 403: "has active endpoints"
                raise

    async def _list(self) -> list[dict[str, Any]]:
        async with self._calling("list the networks") as docker:
            networks: list[dict[str, Any]] = await docker.networks.list(filters=self._filters)
        return networks
