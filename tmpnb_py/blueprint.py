"""Today's configuration of a pool's containers: the operator's settings put together with what the image is.

Asked by the reconciler at each listing, so that an image rebuilt under the same name rolls the pool over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from tmpnb_py.engines.base import Engine
from tmpnb_py.models import ContainerConfig, Egress, ImageFacts, Transport
from tmpnb_py.settings import Settings

_ARGUMENTS = "--ServerApp.base_url={base_path} --IdentityProvider.token={token} --ServerApp.allow_remote_access=True"
_START = {
    Transport.SOCKET: "exec start-notebook.sh --ServerApp.sock={socket} " + _ARGUMENTS,
    Transport.PORT: "exec start-notebook.sh --ServerApp.ip={ip} --ServerApp.port={port} " + _ARGUMENTS,
}
_START |= dict.fromkeys((Transport.ADDRESS, Transport.HOST), _START[Transport.PORT])
_WARNINGS = {
    Transport.PORT: (
        "notebooks_reach_the_host",
        "over ports a notebook can call services of this machine; an image that supports {socket} has no network",
    ),
    Transport.ADDRESS: (
        "notebooks_share_a_network",
        "on docker_network notebooks reach each other and this machine, unless that network prevents it",
    ),
    Transport.HOST: ("notebooks_share_the_host", "host_network keeps nothing apart: use it with people you trust"),
}

_log = structlog.get_logger(__name__)


class Blueprint:
    """Resolves settings into a `ContainerConfig`."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        pool_size: Callable[[], int] | None = None,
        on_image: Callable[[ImageFacts], Awaitable[None]] | None = None,
        static_url: Callable[[ImageFacts], Awaitable[str]] | None = None,
    ) -> None:
        """`pool_size` tells today's size (it may change at run time); `on_image` is told the image each time;
        `static_url` says where its notebooks find the static files that they share.
        """
        self._on_image = on_image
        self._static_url = static_url
        self._engine = engine
        self._settings = settings
        self._pool_size = pool_size or (lambda: settings.pool_size)
        self._prepared: tuple[Egress, Transport] | None = None

    def configure(self, settings: Settings) -> None:
        """Resolve these settings from now on; containers of another configuration are replaced."""
        self._settings = settings
        self._prepared = None

    async def resolve(self) -> ContainerConfig:
        """What a container started now looks like. Raises `EngineError` (`ImageMissingError` among them)."""
        settings = self._settings
        image = await self._engine.image(settings.image)
        if self._on_image is not None:
            await self._on_image(image)
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
            tmp_size=settings.tmp_bytes,
            shm_size=settings.shm_bytes,
            use_tokens=settings.use_tokens,
            container_port=settings.container_port,
            container_ip=settings.container_ip,
            user=settings.container_user,
            network=self._network,
            cpu_shares=settings.cpu_shares,
            mounts=settings.host_directories,
            extra_hosts=settings.extra_hosts,
            static_url=await self._static_url(image) if self._static_url is not None else "",
        )

    async def capacity(self) -> int:
        """How many containers there may be: the option, or what fits the engine's memory (decision 1)."""
        settings = self._settings
        info = await self._engine.info()
        fitting = info.memory // settings.mem_limit
        pool_size = self._pool_size()
        if pool_size > fitting:
            _log.warning(
                "pool_larger_than_memory",
                pool_size=pool_size,
                mem_limit_mib=settings.mem_limit >> 20,
                engine_memory_mib=info.memory >> 20,
                fitting=fitting,
                hint="containers that all use their limit would be killed: lower pool_size or mem_limit",
            )
        if settings.max_containers is not None:
            return settings.max_containers
        return max(pool_size, fitting)

    async def _transport(self, image: ImageFacts) -> Transport:
        settings = self._settings
        if "{socket}" in (settings.command or "") or settings.transport == "socket":
            return Transport.SOCKET
        if settings.host_network:
            return Transport.HOST
        if settings.transport != "auto":
            return Transport(settings.transport)
        if settings.docker_network is not None:
            return Transport.ADDRESS
        if "{port}" in (settings.command or ""):
            return Transport.PORT
        return await self._engine.choose_transport(image)

    @property
    def _network(self) -> str:
        """The operator's choice of a network; "" leaves it to the engine."""
        return "host" if self._settings.host_network else self._settings.docker_network or ""

    async def _prepare(self, egress: Egress, transport: Transport) -> None:
        if self._prepared == (egress, transport):
            return
        await self._engine.prepare(egress, transport, self._network)
        self._prepared = (egress, transport)
        _log.info("transport_chosen", transport=transport.value, egress=egress.value, network=self._network)
        if transport in _WARNINGS:
            event, hint = _WARNINGS[transport]
            _log.warning(event, hint=hint)
