"""The bridges of containers that need a network (see `options.network_body`). Used by the Docker engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerConfig
from tmpnb_py.engines.docker import options
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.docker.trials import Calling

_ATTEMPTS = 12
_BETWEEN_ATTEMPTS = 0.25  # seconds; a busy engine took more than one to create a bridge with its firewall rules


class Networks:
    """Creates a pool's networks when they are first needed, and removes them."""

    def __init__(self, calling: Calling, pool: str, labels: Sequence[str]) -> None:
        self._calling = calling
        self._pool = pool
        self._filters = {"label": list(labels)}
        self._lock = asyncio.Lock()

    async def prepare(self, config: ContainerConfig) -> dict[str, Any] | None:
        """Create the network that such containers need, if any. Concurrent calls create it once.

        Returns our network as the engine lists it. Never creates a network that the operator named: raises
        `EngineError` if that does not exist.
        """
        name = options.network_name(self._pool, config)
        if config.network:
            await self._need(name)
        if config.network or name == "none":
            return None
        async with self._lock:
            return await self._found_or_created(name, options.network_body(self._pool, name, config))

    async def _found_or_created(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the network of that name, created if there is none.

        Another process may be creating it now. The engine then refuses ours because the bridge's name is taken, for a
        moment before it lists theirs. So a refusal is final only if it lasts.
        """
        refused: RefusedError | None = None
        for _ in range(_ATTEMPTS):
            if found := await self._oldest(name):
                return found
            if refused is not None:
                await asyncio.sleep(_BETWEEN_ATTEMPTS)
            try:
                async with self._calling("create a network") as docker:
                    await docker.networks.create(body)
                refused = None
            except RefusedError as error:
                refused = error
        if found := await self._oldest(name):
            return found
        if refused is not None:
            raise refused
        raise EngineError(
            f"the network {name} was created, and is gone", remedy="find out what else removes networks"
        )

    async def _oldest(self, name: str) -> dict[str, Any] | None:
        """The network of that name, or None.

        Docker allows two of one name, and then refuses to use either: racing processes keep the oldest.
        """
        same = sorted(
            (one for one in await self._list() if one["Name"] == name),
            key=lambda one: (one["Created"], one["Id"]),
        )
        for surplus in same[1:]:
            await self._delete(surplus["Id"])
        return same[0] if same else None

    async def _need(self, network: str) -> None:
        if network == "host":
            return
        async with self._calling("list the networks") as docker:
            known = {str(one["Name"]) for one in await docker.networks.list()}
        if network not in known:
            raise EngineError(
                f"the engine has no network {network}",
                remedy=f"create it (docker network create {network}), or name another one with docker_network",
            )

    async def remove(self) -> list[dict[str, Any]]:
        """Remove the networks that no container uses. Returns the removed ones."""
        return [network for network in await self._list() if await self._delete(network["Id"])]

    async def _delete(self, network_id: str) -> bool:
        try:
            async with self._calling("remove a network") as docker:
                await (await docker.networks.get(network_id)).delete()
        except RefusedError as error:
            if error.status not in (403, 404):  # 403: "has active endpoints"
                raise
            return error.status == 404
        return True

    async def _list(self) -> list[dict[str, Any]]:
        async with self._calling("list the networks") as docker:
            networks: list[dict[str, Any]] = await docker.networks.list(filters=self._filters)
        return networks
