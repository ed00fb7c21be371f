"""The Swarm engine: one service per notebook, on whichever node has room.

Built by the composition root, as the other engines are. The manager's API makes, marks, lists and removes services;
the relays do on each node what services cannot say (`relays`; `relay/` there). Everything durable is in Swarm's
services (`records`): what is kept here is a cache of where each notebook runs.

A node that lacks the image, or whose relay does not answer, is given no notebooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from tmpnb_py.core import boot_clock
from tmpnb_py.core.errors import (
    ContainerHangsError,
    EngineDownError,
    EngineError,
    ImageMissingError,
    NoSuchContainerError,
)
from tmpnb_py.core.models import (
    Address,
    ContainerConfig,
    ContainerSpec,
    Egress,
    EndReason,
    EngineInfo,
    Exit,
    Gap,
    ImageFacts,
    NodeStatus,
    Observed,
    Protection,
    RelayedAddress,
    State,
    Transport,
    Usage,
)
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.base import WebDoors
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.endings import NODE_GRACE, Endings
from tmpnb_py.engines.swarm.fleet import Fleet, see_that_it_manages
from tmpnb_py.engines.swarm.followers import Followers
from tmpnb_py.engines.swarm.images.holders import Holders
from tmpnb_py.engines.swarm.images.swarm_images import SwarmImages
from tmpnb_py.engines.swarm.lease import Lease
from tmpnb_py.engines.swarm.leftovers import remove_leftovers
from tmpnb_py.engines.swarm.link import tls
from tmpnb_py.engines.swarm.link.lines import RelayAwayError
from tmpnb_py.engines.swarm.link.wire import Event, Question, cpu_seconds_of
from tmpnb_py.engines.swarm.looks import Looks
from tmpnb_py.engines.swarm.records import NotebookExistsError, Records
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.engines.swarm.services import Node, Task

log = structlog.get_logger(__name__)

P = TypeVar("P", bound=asyncio.BaseProtocol)

_RELAYS_SECONDS = 8.0
_TRIES = 8
_SWEEP_SECONDS = 60.0
_CALL_SECONDS = 10.0
_SOON = 0.1
_TOLERABLE = frozenset((Protection.PRIVILEGES, Protection.SECCOMP))


@dataclasses.dataclass(frozen=True, slots=True)
class Swarm:
    """Where the relays are (`host:port`), what they share with us, and where notebooks may be placed."""

    relays: tuple[str, ...]
    secret: Path
    constraints: tuple[str, ...] = ()
    node_grace: float = NODE_GRACE  # seconds that sessions of a lost node are kept


class SwarmEngine(SwarmImages):
    """Starts, marks, lists and removes the notebooks of one pool in a swarm. `start_timeout` is in seconds."""

    name = "swarm"
    shares_network = False
    stores_images = True
    sees_isolation = True

    def __init__(
        self,
        *,
        pool: str,
        runtime_dir: Path,
        swarm: Swarm,
        docker_host: str | None = None,
        start_timeout: float = 40.0,
    ) -> None:
        relays = Relays(swarm.relays, tls.Contexts(swarm.secret), pool, self._hear)
        super().__init__(EngineApi(docker_host, seconds=_CALL_SECONDS), pool, relays, runtime_dir)
        self._constraints = swarm.constraints
        self._start_timeout = start_timeout
        self._lease = Lease(self._api, pool)
        self._endings = Endings(self._relays, pool, swarm.node_grace)
        self._followers = Followers(self._api, pool)
        self._alarm: asyncio.TimerHandle | None = None
        self._holders = Holders(self._relays)
        self._records = Records(self._api, pool)
        self._fleet = Fleet(self._api, self._relays, pool)
        self._looks = Looks(
            self._api, self._relays, pool, lambda name: self._placed(name, asyncio.Event()), self._list_again
        )
        self._today = ""  # the id of the image that notebooks are started from
        self._claimant = secrets.token_hex(4)
        self._nodes: dict[str, Node] = {}  # as last listed
        self._where: dict[str, str] = {}  # the node of each notebook
        self._quotas: dict[str, int] = {}  # of notebooks that are starting
        self._starting: dict[str, asyncio.Event] = {}
        self._tasks = Tasks()

    # --- connection

    def serve_web(self, doors: WebDoors) -> None:
        """No-op: notebooks of a swarm reach nothing."""

    async def open(self) -> None:
        """See that a manager answers, and wait a moment for the relays of its nodes."""
        await self._api.open()
        info = await self._api.call("GET", "info")
        see_that_it_manages(info.get("Swarm") or {})
        await self._list_nodes()
        self._relays.open()
        await self._relays.wait_for(frozenset(one.id for one in self._nodes.values() if one.usable), _RELAYS_SECONDS)
        self._tell_absent()
        if not len(self._tasks):
            self._tasks.start(f"sweep of {self._pool}", self._sweep())

    def _tell_absent(self) -> None:
        for node in self._nodes.values():
            if node.usable and node.id not in self._relays.nodes:
                log.warning("node_unused", node=node.name, hint="no relay answers there, so it gets no notebooks")

    async def release(self) -> None:
        """Give the lease back. The relays' connections stay."""
        await self._lease.release()

    async def close(self) -> None:
        """Give back every connection and the lease. Notebooks stay."""
        self._wake_up_in(None)
        await self._lease.release()
        await self._looks.close()
        await self._tasks.close()
        await self._pulls.close()
        await self._relays.close()
        await self._api.close()

    async def hold(self, image: str, on_lost: Callable[[], None]) -> None:  # noqa: ARG002 - no image is needed
        """Be the pool's only manager in this swarm. Raises `PoolLockedError`."""
        try:
            await self._lease.take(on_lost)
        except RefusedError as error:
            raise EngineDownError(f"the swarm's managers do not agree: {error}", remedy="docker node ls") from error

    @property
    def term(self) -> int:
        """Swarm's own version of the lease: the same number everywhere."""
        return self._lease.term

    async def info(self) -> EngineInfo:
        """Memory and CPUs of all nodes that take notebooks, and this manager's version.

        Memory that notebooks have on other nodes (paused ones, say) counts, too, as those notebooks do.
        """
        version = await self._api.call("GET", "version")
        nodes = {one.id: one for one in await self._list_nodes() if one.usable}
        placed = [one for one in await self._fleet.placed() if not one.is_leaving]
        elsewhere = sum(one.memory for one in placed if one.node not in nodes)
        memory = sum(one.memory for one in nodes.values()) + elsewhere
        return EngineInfo(self.name, str(version["Version"]), memory, sum(one.cpus for one in nodes.values()))

    async def _list_nodes(self) -> Sequence[Node]:
        self._nodes = services.nodes_of(await self._api.call("GET", "nodes"))
        self._endings.nodes_are(self._nodes.values())
        self._wake_up_in(self._endings.next_in())
        return list(self._nodes.values())

    def _wake_up_in(self, seconds: float | None) -> None:
        """Have the pool listed again when sessions of a lost node end."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None
        if seconds is not None:
            self._alarm = asyncio.get_running_loop().call_later(seconds + _SOON, self._followers.tell, "")

    # --- what is to be started

    async def choose_transport(self, config: ContainerConfig) -> Transport:
        """SOCKET where the image supports it: the relays reach nothing else."""
        return Transport.SOCKET if config.image.supports_socket else Transport.PORT

    async def prepare(self, config: ContainerConfig) -> tuple[Gap, ...]:
        """See that notebooks can be so in a swarm, and look from inside at nodes that may be given any."""
        self._today = config.image.image_id
        _refuse_networks(config)
        self._lease.see_that_it_is_kept()
        with_image = await self._holders.of(config.image, self._nodes)
        if "@" in self._today:
            self._pulls.want(self._today)
            if not with_image:
                raise self._pulls.nowhere()
        nodes = [one for one in self._nodes.values() if one.usable and one.id in with_image]
        return await self._looks.gaps(config, [one for one in nodes if services.matches(one, self._constraints)])

    # --- notebooks

    async def start(self, spec: ContainerSpec) -> Address:
        """Create a service, wait until its task runs, and have its relay take it off the network.

        On any error nothing is left behind.
        """
        self._lease.see_that_it_is_kept()
        _refuse_networks(spec.config)
        if not self._looks.have_begun:
            await self.prepare(spec.config)
        avoid = await self._nodes_to_avoid(spec.config.image)
        init = self._wants_init(spec.config.image)
        body = services.service_body(self._pool, spec, init=init, constraints=self._constraints, avoid=avoid)
        started = self._starting[spec.id] = asyncio.Event()
        try:
            await self._records.create(spec.id, body)
            return await self._started(spec, started)
        except NotebookExistsError:
            raise
        except BaseException:
            with contextlib.suppress(EngineError):  # what was made although the answer got lost goes, too
                await self.remove(spec.id)
            raise
        finally:
            self._starting.pop(spec.id, None)

    async def _nodes_to_avoid(self, image: ImageFacts) -> set[str]:
        """Nodes on which a notebook could not become ready, or would lack what keeps it apart."""
        usable = await self._holders.of(image, self._nodes)
        if not usable:
            raise ImageMissingError(
                f"no node that a relay answers from has the image {image.image}",
                remedy="tmpnb-py image push-nodes brings it to them; docker service ps tells whether relays run",
            )
        fit = usable & self._looks.good()
        if not fit:
            raise self._looks.why_none()
        return self._nodes.keys() - fit

    async def _started(self, spec: ContainerSpec, started: asyncio.Event) -> Address:
        node = await self._placed(naming.name_of(self._pool, spec.id), started)
        self._where[spec.id] = node
        self._quotas[spec.id] = spec.config.cpu_quota
        await self._relays.of(node).ask(Question(do="take", pool=self._pool, id=spec.id))
        return self._address_of(spec.id)

    async def _placed(self, name: str, started: asyncio.Event) -> str:
        hint = self._holders.who_lacks_it
        return await self._records.placed(name, started, seconds=self._start_timeout, hint=hint)

    def _address_of(self, container_id: str) -> Address:
        """Its node, whose relay puts connections through, from here and from front ends."""
        return RelayedAddress(self._where.get(container_id, ""), container_id, partial(self._dial, container_id))

    async def _dial(self, container_id: str, factory: Callable[[], P]) -> P:
        return await self._relays.dial(self._where.get(container_id, ""), self._pool, container_id, factory)

    async def mark_ready(self, container_id: str) -> None:
        """Have the relay seal the socket's directory and look whether all is in force, then make READY durable.

        What is somebody's stays theirs, whoever claimed it: it never returns to the pool. Raises `EngineError` then.
        """
        self._lease.see_that_it_is_kept()
        where = await self._node_of(container_id)
        quota = self._quotas.get(container_id, 0)
        tolerated = tuple(sorted(self._looks.lacks(where) & _TOLERABLE))  # their operator has agreed to it
        await self._relays.of(where).ask(
            Question(do="ready", pool=self._pool, id=container_id, cpu_quota=quota, tolerated=tolerated)
        )
        self._quotas.pop(container_id, None)
        for _ in range(_TRIES):
            service = await self._records.read(container_id)
            if services.marks_of(_state_of(service), 0.0).state is State.CLAIMED:  # by who has taken the pool over
                raise EngineError("the notebook has been claimed meanwhile")
            if await self._records.set_state(service, State.READY.value):
                return
        raise EngineError("others kept changing the notebook's service")

    async def claim(self, container_id: str, unix_time: float) -> bool:
        """Make CLAIMED and its time durable, if nobody has changed the service since it was seen to be READY."""
        self._lease.see_that_it_is_kept()
        mine = services.claimed(unix_time, self._claimant)
        stamp = boot_clock.stamp()
        for _ in range(_TRIES):
            service = await self._records.read(container_id)
            state = _state_of(service)
            if state != State.READY:
                return services.is_claimed_by(state, mine)
            self._see_that_it_is_reached(container_id)
            if await self._records.set_state(service, docker.stamped(mine, stamp)):
                return True
        raise EngineError("others kept changing the notebook's service")

    def _see_that_it_is_reached(self, container_id: str) -> None:
        """Nobody is given a notebook whose machine is out of reach just now. Raises `ContainerHangsError`."""
        node = self._where.get(container_id, "")
        if node and node not in self._relays.nodes:
            raise ContainerHangsError("the relay of the notebook's node does not answer")

    async def list(self) -> list[Observed]:
        """Every notebook of this pool, in three calls however many there are."""
        before = set(self._where)
        (found, by_service), _ = await asyncio.gather(self._records.list(), self._list_nodes())
        self._where |= {one: by_service[at["ID"]].node for one, at in found.items() if at["ID"] in by_service}
        # What has been started since managers were asked is not in their answer.
        kept = set(found) | set(self._starting) | (set(self._where) - before)
        self._where = {one: node for one, node in self._where.items() if one in kept}
        self._endings.keep(kept)
        return [await self._observed(one, service, by_service.get(service["ID"])) for one, service in found.items()]

    async def _observed(self, container_id: str, service: Mapping[str, Any], task: Task | None) -> Observed:
        state = _state_of(service)
        ended = await self._endings.of(container_id, state, task)
        has_address = ended is None and task is not None and bool(task.container)
        address = self._address_of(container_id) if has_address else None
        return services.observed_of(service, address=address, ended=ended)

    async def remove(self, container_id: str) -> None:
        """Remove the service, and have its relay remove container and volumes at once. What is gone is no error."""
        if not docker.is_id(container_id):
            raise EngineError(f"not a container id: {container_id!r}")
        self._lease.see_that_it_is_kept()
        node = self._where.get(container_id)
        if node is None:
            with contextlib.suppress(NoSuchContainerError):
                node = await self._node_of(container_id)
        await self._records.delete(container_id)
        if node and node in self._relays.nodes:
            with contextlib.suppress(RelayAwayError):  # it will be swept when it is back
                await self._relays.of(node).ask(Question(do="remove", pool=self._pool, id=container_id))
        for known in (self._where, self._quotas):
            known.pop(container_id, None)
        self._endings.forget(container_id)
        if node in self._nodes and not self._nodes[node].usable:  # its memory does not become free for another one
            self._followers.tell("")

    async def remove_pool(self) -> None:
        """Remove what is left of the pool on the nodes, and of its pins."""
        await self._remove_leftovers()
        await self._pins.forget()

    async def nodes(self) -> tuple[NodeStatus, ...]:
        """The swarm's nodes by name, with the pool's notebooks."""
        return await self._fleet.nodes(self._today, self._looks.verdict)

    async def pause_node(self, node: str, *, paused: bool) -> NodeStatus:
        """Swarm's `pause` (its `drain` ends tasks at once), or `active` again."""
        changed = await self._fleet.pause(node, paused=paused)
        await self._list_nodes()
        for found in await self.nodes():
            if found.id == changed:
                return found
        raise EngineError(f"the node {node} has left the swarm")

    async def usage(self, container_id: str) -> Usage:
        """What a running notebook takes."""
        node = await self._node_of(container_id)
        found = await self._relays.of(node).ask(Question(do="usage", pool=self._pool, id=container_id))
        try:
            return Usage(int(found["memory"]), float(found["cpu_seconds"]), int(found["disk"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RelayAwayError("the relay's answer is none") from error

    async def cpu_seconds(self, container_ids: Sequence[str]) -> Mapping[str, float]:
        """CPU seconds so far, as the relays of the containers' nodes read them; without those of silent relays."""
        by_node: dict[str, list[str]] = {}
        for one in container_ids:
            if node := self._where.get(one):
                by_node.setdefault(node, []).append(one)
        questions = {
            node: Question(do="cpu", pool=self._pool, ids=tuple(ids))
            for node, ids in by_node.items()
            if node in self._relays.nodes
        }
        found: dict[str, float] = {}
        for node, question in questions.items():
            with contextlib.suppress(EngineError):  # relays of an earlier version do not know the question
                found |= cpu_seconds_of(await self._relays.of(node).ask(question), question.ids)
        return found

    async def logs(self, container_id: str, *, lines: int) -> tuple[str, ...]:
        """The last lines of output, raw, at most 64 KiB."""
        node = await self._node_of(container_id)
        question = Question(do="logs", pool=self._pool, id=container_id, lines=max(0, min(lines, 10_000)))
        found = (await self._relays.of(node).ask(question)).get("lines")
        return tuple(str(one) for one in found) if isinstance(found, list) else ()

    async def _node_of(self, container_id: str) -> str:
        """Where a notebook runs. Raises `NoSuchContainerError`."""
        if not self._where.get(container_id):
            self._where[container_id] = await self._records.node_of(container_id)
        return self._where[container_id]

    # --- events

    def _hear(self, node: str, event: Event) -> None:
        """What a relay tells."""
        if event.event == "started":
            if event.id in self._starting:
                self._starting[event.id].set()
            return
        if event.event == "died":
            reason = EndReason.ENGINE_RESTARTED if event.engine_stops and not event.out_of_memory else None
            self._endings.died(event.id, Exit(event.status, out_of_memory=event.out_of_memory, reason=reason))
        if event.event == "again":
            self._holders.forget(node)
            self._pulls.forget(node)
            self._looks.forget(node)
            self._endings.was_away(node)
        self._followers.tell("" if event.event == "again" else event.id)

    def events(self) -> AsyncGenerator[str, None]:
        """Ids of notebooks that died or went; "" after every (re)connect to the manager or a relay."""
        return self._followers.events()

    def _list_again(self) -> None:
        self._followers.tell("")

    # --- leftovers

    async def _sweep(self) -> None:
        """Now and then remove what nodes have of notebooks that are no services any more."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            with contextlib.suppress(EngineError):
                if self._lease.is_held:
                    self._lease.see_that_it_is_kept()
                    await self._remove_leftovers()

    async def _remove_leftovers(self) -> None:
        await remove_leftovers(
            self._api,
            self._relays,
            self._pool,
            starting=lambda: self._starting,
            looking=lambda: self._looks.probes,
        )


def _refuse_networks(config: ContainerConfig) -> None:
    """Raise `EngineError` for notebooks that cannot be so in a swarm."""
    if config.transport is not Transport.SOCKET:
        raise EngineError(
            "in a swarm notebooks are reached over Unix sockets only",
            remedy="use an image that supports them (label org.tmpnb.socket) and a command with {socket}",
        )
    if config.egress is not Egress.NONE or config.network or config.extra_hosts:
        raise EngineError(
            "in a swarm notebooks have no network",
            remedy="leave out --egress, --docker-network and --extra-hosts",
        )


def _state_of(service: Mapping[str, Any]) -> str:
    return str((service["Spec"].get("Labels") or {}).get(services.LABEL_STATE, ""))
