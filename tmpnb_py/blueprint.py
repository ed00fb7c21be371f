"""Today's configuration of a pool's containers: the operator's settings put together with what the image is.

Asked by the reconciler at each listing, so that an image rebuilt under the same name rolls the pool over.
"""

from __future__ import annotations

import structlog

from tmpnb_py.engines.base import Engine
from tmpnb_py.models import ContainerConfig, Egress, ImageFacts, Transport
from tmpnb_py.settings import Settings

_ARGUMENTS = "--ServerApp.base_url={base_path} --IdentityProvider.token={token} --ServerApp.allow_remote_access=True"
_START = {
    Transport.SOCKET: "start-notebook.sh --ServerApp.sock={socket} " + _ARGUMENTS,
    Transport.PORT: "start-notebook.sh --ServerApp.ip={ip} --ServerApp.port={port} " + _ARGUMENTS,
}

_log = structlog.get_logger(__name__)


class Blueprint:
    """Resolves settings into a `ContainerConfig`."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._prepared: tuple[Egress, Transport] | None = None

    async def resolve(self) -> ContainerConfig:
        """What a container started now looks like. Raises `EngineError` (`ImageMissingError` among them)."""
        settings = self._settings
        image = await self._engine.image(settings.image)
        transport = await self._transport(image)
        await self._prepare(settings.egress, transport)
        return ContainerConfig(
            image=image,
            command=settings.command or _START[transport],
            transport=transport,
            egress=settings.egress,
            mem_limit=settings.mem_limit,
            cpu_quota=settings.cpu_quota,
            pids_limit=settings.pids_limit,
            home_size=settings.home_size,
            use_tokens=settings.use_tokens,
        )

    async def capacity(self) -> int:
        """How many containers there may be: the option, or what fits the engine's memory (decision 1)."""
        settings = self._settings
        info = await self._engine.info()
        fitting = info.memory // settings.mem_limit
        if settings.pool_size > fitting:
            _log.warning(
                "pool_larger_than_memory",
                pool_size=settings.pool_size,
                mem_limit_mib=settings.mem_limit >> 20,
                engine_memory_mib=info.memory >> 20,
                fitting=fitting,
                hint="containers that all use their limit would be killed: lower pool_size or mem_limit",
            )
        if settings.max_containers is not None:
            return settings.max_containers
        return max(settings.pool_size, fitting)

    async def _transport(self, image: ImageFacts) -> Transport:
        command = self._settings.command or ""
        if "{socket}" in command:
            return Transport.SOCKET
        if "{port}" in command:
            return Transport.PORT
        if self._settings.transport != "auto":
            return Transport(self._settings.transport)
        return await self._engine.choose_transport(image)

    async def _prepare(self, egress: Egress, transport: Transport) -> None:
        if self._prepared == (egress, transport):
            return
        await self._engine.prepare(egress, transport)
        self._prepared = (egress, transport)
        _log.info("transport_chosen", transport=transport.value, egress=egress.value)
        if transport is Transport.PORT:
            _log.warning(
                "notebooks_reach_the_host",
                hint="over ports a notebook can call services of this machine at its network's gateway; "
                "an image that supports {socket} has no network at all",
            )
