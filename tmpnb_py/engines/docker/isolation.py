"""Sets up the isolation of a pool's containers, and verifies it from inside one instead of trusting it.

An engine may accept an option without applying it, a kernel may lack a control group, somebody else may reset the
firewall. So a container made exactly like a notebook is started, and reports its privileges and what it can reach.
Used by the Docker engine only; calls may run concurrently.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import structlog

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerConfig, Egress, Gap, Protection, SocketAddress, Transport
from tmpnb_py.engines import isolation, web_socket
from tmpnb_py.engines.docker import addresses_inside, options, probe_inside
from tmpnb_py.engines.docker.fence import Fence, FenceError, wish_of
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.docker.networks import Networks
from tmpnb_py.engines.docker.probe import asked
from tmpnb_py.engines.docker.trials import Calling, EndedError, NoPythonError, Running, Trials, facts, python
from tmpnb_py.engines.sockets import SocketDirectories

log = structlog.get_logger(__name__)

_INSIDE, _ADDRESSES = Path(probe_inside.__file__), Path(addresses_inside.__file__)
_ADDRESSES_SECONDS = 300.0  # a machine seldom gets another address
_FENCE_SECONDS = 60.0  # how long a flushed firewall may stay open
_AGAIN_SECONDS = 60.0  # until missing protections are checked again: the operator may have fixed or accepted them
# The kernel sends one address six refusals at once and then one per second, and repeats a SYN after 1, 3 and 7 s. If
# a container with the same address was refused just before, it takes this long until all refusals have arrived.
_CONNECT_SECONDS = 9.0
_SOCKET_SECONDS = 10.0  # counted from when the container listens
_SPARE_IMAGES = 3
_NEIGHBOUR_PORT = 8888  # above 1024: the probe has no privileges
# The engine's messages for a directory that does not exist where its containers run.
_ELSEWHERE = (
    "bind source path does not exist",
    "mounts denied",
    "is not shared from the host",
    'type "bind": stat ',  # a rootless engine may not look into the directory
)
_OPEN_DIRECTORY = Gap(
    Protection.DISK,
    "visitors can write into their socket's directory, and so fill this machine's disk: they run with the uid of "
    "the user that this service runs as",
    "run the service as another user, or set another uid with --container-user",
)


@dataclasses.dataclass(frozen=True, slots=True)
class SocketTrial:
    """The result of trying a socket: whether it reached us, why not, and whether its directory stayed sealed.

    `has_python`: whether the image can run the probe at all.
    """

    reaches: bool
    why: str = ""
    sealed: bool = True
    has_python: bool = True
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Verdict:
    """The protections that a configuration's containers lack. Expires at `until` (monotonic seconds)."""

    digest: str
    gaps: tuple[Gap, ...]
    until: float


class Isolation:
    """Prepares a pool's networks, and verifies its containers' isolation."""

    def __init__(
        self, calling: Calling, trials: Trials, networks: Networks, sockets: SocketDirectories, pool: str
    ) -> None:
        self._calling = calling
        self._trials = trials
        self._networks = networks
        self._sockets = sockets
        self._pool = pool
        self._fence = Fence(trials)
        self._lock = asyncio.Lock()
        self._no_socket = ""  # why notebooks get ports instead
        self._sockets_tried: dict[str, SocketTrial] = {}  # by key of the last configuration
        self._verified: _Verdict | None = None  # for the last configuration
        self._fenced: dict[str, float] = {}  # when each network's fence was last verified
        self._image = ""  # with which the last fence was installed
        self._unfenced: tuple[float, FenceError] | None = None  # when installing it last failed
        self._addresses_due = 0.0

    def forget(self) -> None:
        """Forget all results: the engine may be another one."""
        self._sockets_tried.clear()
        self._verified = None
        self._fenced.clear()
        self._unfenced = None
        self._addresses_due = 0.0
        self._fence.forget()

    # --- socket or port

    async def socket_works(self, config: ContainerConfig) -> bool:
        """Whether such a container's socket reaches us, and its directory stays sealed.

        Tested once per configuration. Raises `EngineError` if the test was inconclusive.
        """
        async with self._lock:
            with contextlib.suppress(FenceError):  # `prepare` reports it
                await self._make_network(config)
            known = config.digest in self._sockets_tried
            trial = await self._socket_trial(config)
            self._no_socket = why = trial.why or ("" if trial.sealed else _OPEN_DIRECTORY.text)
            if why and not known:
                log.warning(
                    "socket_unusable", image=config.image.image, reason=why, hint="notebooks get ports instead"
                )
            return not why

    async def _socket_trial(self, config: ContainerConfig) -> SocketTrial:
        if config.digest not in self._sockets_tried:
            self._sockets_tried = {config.digest: await self._try_socket(config)}
        return self._sockets_tried[config.digest]

    async def _try_socket(self, config: ContainerConfig) -> SocketTrial:
        try:
            async with self._socket_probe(config) as (probe, address):
                seen = await self._trials.first_facts(probe)
                if await asked(address, _SOCKET_SECONDS) is None:
                    return SocketTrial(False, "a socket created in a container does not reach this process")
                self._sockets.seal(Path(address.directory).name)
                answer = await asked(address, _SOCKET_SECONDS)
                return SocketTrial(True, sealed=answer == "sealed", facts=seen, warnings=probe.warnings)
        except NoPythonError as error:
            return SocketTrial(False, error.message, has_python=False)
        except EndedError as error:
            return SocketTrial(False, error.message)
        except RefusedError as error:
            if _is_elsewhere(error):
                return SocketTrial(False, f"the engine does not see this machine's directories: {error.message}")
            raise

    @contextlib.asynccontextmanager
    async def _socket_probe(self, config: ContainerConfig) -> AsyncIterator[tuple[Running, SocketAddress]]:
        targets = isolation.forbidden(config, fenced=options.is_fenced(config)) if not _is_left_open(config) else []
        async with self._probe_directory() as source:
            body = options.trial_body(self._pool, config, socket_source=source)
            body |= python(_INSIDE, _errand(targets, socket=options.SOCKET_PATH))
            async with self._trials.running(body) as probe:
                yield probe, SocketAddress(source, options.SOCKET_NAME)

    @contextlib.asynccontextmanager
    async def _probe_directory(self) -> AsyncIterator[str]:
        """A socket directory like a notebook's, for a probe."""
        probe_id = f"probe{secrets.token_hex(8)}"
        source = self._sockets.create(probe_id)
        try:
            yield str(source)
        finally:
            await asyncio.to_thread(self._sockets.remove, probe_id)

    # --- isolation

    async def prepare(self, config: ContainerConfig) -> tuple[Gap, ...]:
        """See `Engine.prepare`."""
        async with self._lock:
            try:
                network = await self._make_network(config)
            except FenceError as error:
                return (
                    Gap(Protection.NETWORK, f"the notebooks' network is not closed: {error.message}", error.remedy),
                )
            seen = self._verified
            if seen is None or seen.digest != config.digest or time.monotonic() > seen.until:
                if seen is not None and seen.digest == config.digest:
                    self._sockets_tried.clear()  # those results may be out of date, too
                gaps = await self._verify(config, has_network=network is not None)
                serious = any(gap.protection for gap in gaps)
                until = time.monotonic() + _AGAIN_SECONDS if serious else math.inf
                self._verified = seen = _Verdict(config.digest, gaps, until)
            return seen.gaps

    async def machines_addresses(self, config: ContainerConfig) -> Sequence[str]:
        """The addresses of the engine's machine; () if they were looked up a short time ago, or cannot be.

        An image without Python is reported as a missing protection in any case.
        """
        if time.monotonic() < self._addresses_due:
            return ()
        try:
            ended = await self._trials.run(self._fence.looking(config.image.image_id) | python(_ADDRESSES, {}))
        except NoPythonError:
            return ()
        found = (facts(ended.lines) or {}).get("addresses")
        if not found:
            raise EngineError(f"the addresses of the engine's machine are not known: {' '.join(ended.lines[-1:])}")
        self._addresses_due = time.monotonic() + _ADDRESSES_SECONDS
        return [str(one) for one in found]

    async def make_network(self, config: ContainerConfig) -> None:
        """Create such a container's network and fence again, after something else removed it."""
        async with self._lock:
            await self._make_network(config)

    async def _make_network(self, config: ContainerConfig) -> dict[str, Any] | None:
        network = await self._networks.prepare(config)
        if network is not None and options.is_fenced(config):
            await self._keep_fenced(network, config)
        return network

    async def _keep_fenced(self, network: dict[str, Any], config: ContainerConfig) -> None:
        name, wish = str(network["Name"]), wish_of(config, options.bridge_of(network))
        key = f"{name} {wish}"
        seen = self._fenced.get(key)
        if seen is not None and time.monotonic() - seen < _FENCE_SECONDS:
            return
        if self._unfenced is not None and time.monotonic() - self._unfenced[0] < _AGAIN_SECONDS:
            raise self._unfenced[1]
        try:
            changed = await self._fence.put_up(name, wish, config.image.image_id)
        except FenceError as error:
            self._unfenced = time.monotonic(), error
            raise
        self._image = config.image.image_id
        if changed and seen is not None:
            log.warning("fence_restored", network=name, hint="something else removed this service's firewall rules")
        self._fenced = {key: time.monotonic()}

    async def _verify(self, config: ContainerConfig, *, has_network: bool) -> tuple[Gap, ...]:
        """Start a container just like a notebook, and return the protections that it lacks."""
        async with self._calling("info") as docker:
            info = await docker.system.info()
        try:
            seen, gaps = await self._look(config)
            if has_network:
                gaps += await self._look_at_neighbours(config)
            if config.egress is Egress.WEB:
                await self._see_that_it_reaches_the_proxy(config)
        except NoPythonError:
            return (isolation.NO_PYTHON,)
        own_kernel = options.has_own_kernel(config.runtime, info)
        found = [*isolation.gaps_of(config, seen, isolation.limits_of(info), own_kernel=own_kernel), *gaps]
        if not _is_left_open(config):
            found += isolation.reached(seen, config)
        if self._no_socket and config.transport is Transport.PORT:
            found.append(Gap(None, f"notebooks get ports instead of sockets: {self._no_socket}"))
        return tuple(found)

    async def _look(self, config: ContainerConfig) -> tuple[dict[str, Any], list[Gap]]:
        if config.transport is Transport.SOCKET:
            trial = await self._socket_trial(config)
            if not trial.has_python:
                raise NoPythonError(trial.why)
            if not trial.reaches:
                raise EngineError(
                    f"cannot reach notebooks over sockets: {trial.why}", remedy="choose --transport port"
                )
            return trial.facts, [*isolation.told(trial.warnings), *(() if trial.sealed else (_OPEN_DIRECTORY,))]
        targets = [] if _is_left_open(config) else isolation.forbidden(config, fenced=options.is_fenced(config))
        return await self._ask(config, targets)

    async def _see_that_it_reaches_the_proxy(self, config: ContainerConfig) -> None:
        """Raise `EngineError` where a container's connection to a socket of ours does not get here.

        So it is where the engine runs elsewhere, and with runtimes that keep such sockets from containers.
        """
        async with self._probe_directory() as source:
            body = options.trial_body(self._pool, config, socket_source=source)
            try:
                with contextlib.closing(web_socket.listen(source)):
                    ended = await self._trials.run(body | python(_INSIDE, _errand([], web=options.WEB_PATH)))
            except RefusedError as error:
                if _is_elsewhere(error):
                    raise _no_way_to_the_proxy("the engine does not see this machine's directories") from error
                raise
        result = (facts(ended.lines) or {}).get("web", " ".join(ended.lines[-1:]))
        if result != "connected":
            raise _no_way_to_the_proxy(str(result))

    async def _ask(self, config: ContainerConfig, targets: list[tuple[str, int]]) -> tuple[dict[str, Any], list[Gap]]:
        ended = await self._trials.run(options.trial_body(self._pool, config) | python(_INSIDE, _errand(targets)))
        found = facts(ended.lines)
        if found is None:
            last = " ".join(ended.lines[-1:])
            raise EngineError(f"the isolation probe ended with: {last}")
        return found, list(isolation.told(ended.warnings))

    async def _look_at_neighbours(self, config: ContainerConfig) -> list[Gap]:
        """Check whether one container on the network can reach another."""
        body = options.trial_body(self._pool, config) | python(_INSIDE, _errand([], listen=_NEIGHBOUR_PORT))
        async with self._trials.running(body) as listening:
            await self._trials.first_facts(listening)
            address = await self._trials.address(listening)
            if not address:
                return []
            seen, _ = await self._ask(config, [(address, _NEIGHBOUR_PORT)])
            return list(isolation.neighbours(seen, address))

    # --- removal

    async def remove_networks(self) -> None:
        """Remove the pool's networks and their fences, except those that containers still use."""
        for network in await self._networks.remove():
            self._fenced.clear()
            label = (network.get("Labels") or {}).get(options.LABEL_IMAGE)
            if label or self._image:  # networks of earlier versions have no fence unless this process installed one
                await self._take_down(str(network["Name"]), [self._image, str(label or "")])

    async def _take_down(self, table: str, images: Sequence[str]) -> None:
        """Remove a table with the first image that works, as some may have been removed meanwhile."""
        problem = "no image is left that could do it"
        for image in dict.fromkeys([*filter(None, images), *await self._own_images()]):
            try:
                await self._fence.take_down(table, image)
            except EngineError as error:
                problem = error.message
            else:
                return
        hint = f"nft delete table inet {table}, as root on the engine's machine"
        log.warning("fence_left", network=table, error=problem, hint=hint)

    async def _own_images(self) -> list[str]:
        """A few images that were built for this program, and so have Python."""
        async with self._calling("list the images") as docker:
            listed = await docker.images.list(filters={"label": [options.IMAGE_SOCKET]})
            return [str(image["Id"]) for image in listed[:_SPARE_IMAGES]]


def _is_elsewhere(error: RefusedError) -> bool:
    """Whether the engine refuses a container as it runs on another machine, without this one's directories."""
    return any(words in error.message for words in _ELSEWHERE)


def _is_left_open(config: ContainerConfig) -> bool:
    """Whether the operator chose what such containers reach."""
    return bool(config.network) or config.is_open


def _no_way_to_the_proxy(reason: str) -> EngineError:
    return EngineError(
        f"notebooks do not reach the web proxy of this service, which is a Unix socket: {reason}",
        remedy="run the service on the engine's machine (in a container: with the runtime directory shared under the "
        "same path), with a runtime that lets containers use such sockets; or choose another --egress",
    )


def _errand(targets: list[tuple[str, int]], *, socket: str = "", listen: int = 0, web: str = "") -> dict[str, Any]:
    return {"socket": socket, "listen": listen, "web": web, "attempts": targets, "seconds": _CONNECT_SECONDS}
