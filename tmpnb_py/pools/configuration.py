"""The current configuration of a pool's containers: the operator's options combined with what the image says.

The reconciler resolves it at each listing, so that an image rebuilt under the same name rolls the pool over.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Awaitable, Callable, Sequence

import structlog

from tmpnb_py.core.errors import ImageMissingError, UnprotectedError
from tmpnb_py.core.models import CA_BUNDLE, ContainerConfig, Egress, Gap, ImageFacts, Mount, Transport
from tmpnb_py.engines.base import Engine
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.warmth import NothingWarm, WarmChoice

_ARGUMENTS = "--ServerApp.base_url={base_path} --ServerApp.allow_remote_access=True"
_SHOWN = " --IdentityProvider.token={token}"
_START = {
    Transport.SOCKET: "exec start-notebook.sh --ServerApp.sock={socket} " + _ARGUMENTS,
    Transport.PORT: "exec start-notebook.sh --ServerApp.ip={ip} --ServerApp.port={port} " + _ARGUMENTS,
}
_START |= dict.fromkeys((Transport.ADDRESS, Transport.HOST), _START[Transport.PORT])
_WARNINGS = {
    Transport.ADDRESS: (
        "notebooks_share_a_network",
        "on docker_network notebooks reach each other and this machine, unless that network prevents it",
    ),
    Transport.HOST: ("notebooks_share_the_host", "host_network keeps nothing apart: use it with people you trust"),
}

# Whose number visitors get where this service has that of the image's user: they could undo what it does to the
# directory of their socket. The group is the image's.
_SERVICE_AS_VISITOR, _ANOTHER_USER = 1000, "1001:1000"
_GROUP = 1000

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Capacity:
    """How many containers a pool may have by itself, and the engine's CPUs and memory (bytes)."""

    limit: int
    cpus: int
    memory: int


@dataclasses.dataclass(frozen=True, slots=True)
class ImageWork:
    """What others do with the image of a pool, at each listing.

    `learn` is told it. `static_url` says where its notebooks find the static files that they share, and `warm` which
    kernels are started in them before visitors come. `on_missing` is called where the engine does not have it.
    """

    learn: Callable[[ImageFacts], Awaitable[None]] | None = None
    static_url: Callable[[ImageFacts], Awaitable[str]] | None = None
    on_missing: Callable[[], None] | None = None
    warm: WarmChoice = dataclasses.field(default_factory=NothingWarm)


class PoolConfiguration:
    """Resolves settings into a `ContainerConfig`."""

    def __init__(
        self,
        engine: Engine,
        options: LiveOptions,
        *,
        pool_size: Callable[[], int] | None = None,
        max_containers: Callable[[], int | None] | None = None,
        images: ImageWork | None = None,
    ) -> None:
        """`pool_size` and `max_containers` tell today's (they may change at run time)."""
        self._images = images or ImageWork()
        self._engine = engine
        self._options = options
        self._pool_size = pool_size or (lambda: options.current.base_size)
        self._max_containers = max_containers or (lambda: options.current.max_containers)
        self._prepared: tuple[Settings | None, str] = (None, "")
        self.gaps: tuple[Gap, ...] = ()

    async def resolve(self) -> ContainerConfig:
        """What a container started now looks like. Raises `EngineError` (`ImageMissingError` among them)."""
        try:
            return await self._resolve(self._options.current)
        except ImageMissingError:
            if self._images.on_missing is not None:
                self._images.on_missing()
            raise

    async def _resolve(self, settings: Settings) -> ContainerConfig:
        image = await self._engine.image(settings.image)
        if self._images.learn is not None:
            await self._images.learn(image)
        config = await self._with_transport(settings, image)
        await self._prepare(settings, config)
        url = await self._images.static_url(image) if self._images.static_url is not None else ""
        return dataclasses.replace(config, static_url=url, warm=await self._images.warm.kernels(image))

    async def transport(self, image: ImageFacts) -> Transport:
        """The way to a container of the image that would be taken now."""
        return (await self._with_transport(self._options.current, image)).transport

    async def capacity(self) -> Capacity:
        """How many containers there may be: the option, or what fits the engine's memory (decision 1)."""
        settings = self._options.current
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
        if (most := self._max_containers()) is not None:
            return Capacity(most, info.cpus, info.memory)
        return Capacity(max(pool_size, fitting), info.cpus, info.memory)

    async def _with_transport(self, settings: Settings, image: ImageFacts) -> ContainerConfig:
        if "{socket}" in (settings.command or "") or settings.transport == "socket":
            return _config(settings, image, Transport.SOCKET)
        if settings.host_network:
            return _config(settings, image, Transport.HOST)
        if settings.transport != "auto":
            return _config(settings, image, Transport(settings.transport))
        if settings.docker_network is not None:
            return _config(settings, image, Transport.ADDRESS)
        if "{port}" in (settings.command or ""):
            return _config(settings, image, Transport.PORT)
        config = _config(settings, image, Transport.SOCKET)
        transport = await self._engine.choose_transport(config)
        return config if transport is Transport.SOCKET else _config(settings, image, transport)

    async def _prepare(self, settings: Settings, config: ContainerConfig) -> None:
        """Raises `UnprotectedError` where something serious is missing that the operator did not agree to."""
        self.gaps = await self._engine.prepare(config)
        refused = [gap for gap in self.gaps if gap.protection and gap.protection not in settings.accept_missing]
        if refused:
            raise unprotected(refused)
        prepared_for, digest = self._prepared
        if prepared_for is settings and digest == config.digest:
            return
        self._prepared = (settings, config.digest)
        transport = config.transport
        _log.info("transport_chosen", transport=transport.value, egress=config.egress.value, network=config.network)
        for gap in self.gaps:
            _log.warning("protection_missing", protection=gap.protection or "other", reason=gap.text, hint=gap.remedy)
        if transport in _WARNINGS:
            event, hint = _WARNINGS[transport]
            _log.warning(event, hint=hint)


def _start(settings: Settings, image: ImageFacts, transport: Transport) -> str:
    """The start line of an image, without the token where its server takes that from the environment.

    Every user of the machine can read a command line. Images without our labels may have a configuration that sets
    another token, or none, over the one of the environment; and without a token Jupyter would make one up.
    """
    from_environment = image.supports_socket and settings.use_tokens
    return _START[transport] + ("" if from_environment else _SHOWN)


def _config(settings: Settings, image: ImageFacts, transport: Transport) -> ContainerConfig:
    user, users = visitors_users(settings, image)
    return ContainerConfig(
        image=image,
        command=settings.command or _start(settings, image, transport),
        transport=transport,
        egress=settings.egress,
        egress_allow=tuple(map(str, settings.egress_allow)),
        mem_limit=settings.mem_limit,
        cpu_quota=settings.cpu_quota,
        pids_limit=settings.pids_limit,
        home_size=settings.home_size,
        tmp_size=settings.tmp_bytes,
        shm_size=settings.shm_bytes,
        use_tokens=settings.use_tokens,
        container_port=settings.container_port,
        container_ip=settings.container_ip,
        user=user,
        users=users,
        network=_network(settings),
        cpu_shares=settings.cpu_shares,
        mounts=_mounts(settings),
        extra_hosts=settings.extra_hosts,
        base_url=settings.base_url,
        runtime=settings.runtime or "",
    )


def _mounts(settings: Settings) -> tuple[Mount, ...]:
    authorities = (
        (Mount(settings.notebook_ca_bundle, CA_BUNDLE, read_only=True),) if settings.notebook_ca_bundle else ()
    )
    return (*settings.host_directories, *authorities)


def visitors_users(settings: Settings, image: ImageFacts) -> tuple[str, int]:
    """The visitors' first user, and how many there are.

    Never this service's own, if the image makes the home for any user. Directories of the host belong to somebody, so
    with them there is one user for all.
    """
    own = os.geteuid()
    movable = image.supports_socket and image.supports_read_only and image.home
    if not movable or "container_user" in settings.model_fields_set:
        return settings.container_user, 1
    if image.users is not None and not settings.host_directories:
        first, last = image.users
        first = own + 1 if first <= own < last else first
        return f"{first}:{_GROUP}", last - first + (own != last)
    return (_ANOTHER_USER if own == _SERVICE_AS_VISITOR else settings.container_user), 1


def _network(settings: Settings) -> str:
    """The operator's choice of a network; "" leaves it to the engine."""
    return "host" if settings.host_network else settings.docker_network or ""


def has_network(settings: Settings, *, shared: bool) -> bool:
    """Whether notebooks may reach anything. `shared`: they have the machine's network in any case."""
    named = settings.docker_network is not None or settings.host_network
    return shared or named or settings.egress is not Egress.NONE


def unprotected(gaps: Sequence[Gap]) -> UnprotectedError:
    """The error for protections that are missing, with what to do about each and how to go without."""
    names = ",".join(dict.fromkeys(str(gap.protection) for gap in gaps))
    remedies = "; ".join(dict.fromkeys(gap.remedy for gap in gaps if gap.remedy))
    return UnprotectedError(
        f"notebooks would not be kept apart: {'; '.join(gap.text for gap in gaps)}",
        remedy=f"{remedies}; to go without: --accept-missing {names}",
    )
