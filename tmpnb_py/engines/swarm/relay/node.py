"""What a relay does on its own node, by the node's engine: all that a service cannot say of a notebook.

It touches only containers that are tasks of this program's services, found by their labels. Calls may run at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import aiohttp

from tmpnb_py.core.errors import EngineError, NoSuchContainerError
from tmpnb_py.core.models import Protection
from tmpnb_py.engines import isolation
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker.streams import json_lines, read_log
from tmpnb_py.engines.docker.usage import read_cpu_seconds, read_usage
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.link.wire import Event, Hello
from tmpnb_py.engines.swarm.naming import filters, is_of_notebook, labels_of
from tmpnb_py.engines.swarm.relay import processes
from tmpnb_py.engines.swarm.relay.images import NodeImages
from tmpnb_py.engines.swarm.relay.pulls import NodePulls

P = TypeVar("P", bound=asyncio.BaseProtocol)

_SWARM_TASK = "com.docker.swarm.task.id"
_SEALED = 0o555
_REMOVE_SECONDS = 20.0
_AGAIN_SECONDS = 0.1
_SECONDS = 10.0
_PING_SECONDS = 1.0
_EVENTS = ["start", "die", "destroy"]
_PLACE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NodeEngine:
    """One node's notebooks."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api
        self.images = NodeImages(api)
        self.pulls = NodePulls(api, self.images)
        self._places: dict[tuple[str, str], str] = {}  # the directories of their sockets

    async def close(self) -> None:
        """Stop what goes on in the background. The engine's connection is its owner's."""
        await self.pulls.close()

    async def hello(self) -> Hello:
        """Who this node is. Raises `EngineError` where its engine is in no swarm."""
        info = await self._api.call("GET", "info")
        node = (info.get("Swarm") or {}).get("NodeID")
        if not node:
            raise EngineError("this engine is in no swarm", remedy="docker swarm init, or docker swarm join")
        return Hello(node=node, name=str(info.get("Name", ""))[:256], limits=isolation.limits_of(info))

    # --- one notebook

    async def take(self, pool: str, container_id: str) -> None:
        """Take a container off every network. It goes on running; one that has ended is left alone."""
        inspected = await self._inspect(pool, container_id)
        if not inspected["State"]["Running"]:
            return
        docker_id = inspected["Id"]
        for network in inspected["NetworkSettings"]["Networks"]:
            body = {"Container": docker_id, "Force": True}
            await self._api.call("POST", f"networks/{network}/disconnect", body=body)
        if left := (await self._inspect(pool, container_id))["NetworkSettings"]["Networks"]:
            raise EngineError(f"a notebook cannot be taken off its network: {', '.join(left)}")

    async def ready(
        self, pool: str, container_id: str, cpu_quota: int, tolerated: Collection[Protection] = ()
    ) -> None:
        """Seal the socket's directory, put limits of swap and CPU into force, and see that nothing is missing.

        Raises `EngineError` for what is not in force and not tolerated: such a notebook is not to become ready.
        """
        inspected = await self._inspect(pool, container_id)
        if networks := inspected["NetworkSettings"]["Networks"]:
            raise EngineError(f"a notebook is on a network: {', '.join(networks)}")
        with self._opened(inspected) as place:
            try:
                os.fchmod(place, _SEALED)
            except OSError as error:
                raise EngineError(
                    f"a notebook's directory cannot be sealed: {error}",
                    remedy="give the relay the capability FOWNER, as swarm.yaml does",
                ) from error
        if limits := _limits(inspected["HostConfig"], cpu_quota):  # in one call: each makes the engine run runc
            await self._api.call("POST", f"containers/{inspected['Id']}/update", body=limits)
        see_to(processes.status_of(int(inspected["State"]["Pid"]), str(inspected["Id"])), tolerated)

    async def remove(self, pool: str, container_id: str) -> None:
        """Kill and remove, with volumes. What is gone is no error; what is being made is waited for."""
        self._places.pop((pool, container_id), None)
        labels = {**labels_of(pool), docker.LABEL_ID: container_id}
        async with asyncio.timeout(_REMOVE_SECONDS):
            while True:
                for listed in await self._listed(labels):
                    with contextlib.suppress(EngineError):  # Swarm removes it, too
                        await self._api.call(
                            "DELETE", f"containers/{listed['Id']}", params={"force": "1", "v": "1"},
                            seconds=_REMOVE_SECONDS,
                        )  # fmt: skip
                volumes = await self._volumes(labels)
                for volume in volumes:
                    with contextlib.suppress(EngineError):
                        await self._api.call("DELETE", f"volumes/{volume['Name']}")
                if not await self._listed(labels) and not volumes:
                    return
                await asyncio.sleep(_AGAIN_SECONDS)

    async def ended(self, pool: str, container_id: str) -> dict[str, Any]:
        """How a container ended."""
        inspected = await self._inspect(pool, container_id)
        found = docker.exit_of(inspected)
        running = bool(inspected["State"]["Running"])
        return {"running": running, "status": found.status, "out_of_memory": found.out_of_memory}

    async def logs(self, pool: str, container_id: str, lines: int) -> tuple[str, ...]:
        """The last lines of a container's output."""
        inspected = await self._inspect(pool, container_id)
        return await read_log(self._api.stream, inspected["Id"], lines=lines, seconds=_SECONDS)

    async def usage(self, pool: str, container_id: str) -> dict[str, Any]:
        """What a container takes."""
        inspected = await self._inspect(pool, container_id)
        found = await read_usage(self._api.stream, inspected["Id"], seconds=_SECONDS)
        return {"memory": found.memory, "cpu_seconds": found.cpu_seconds, "disk": found.disk}

    async def cpu_seconds(self, pool: str, container_ids: Sequence[str]) -> dict[str, float]:
        """CPU seconds of those of the containers that are here."""
        listed = {
            (one["Labels"] or {}).get(docker.LABEL_ID, ""): one["Id"] for one in await self._listed(labels_of(pool))
        }
        return await read_cpu_seconds(self._api.stream, {one: listed[one] for one in container_ids if one in listed})

    async def inventory(self, pool: str) -> list[str]:
        """The ids of a pool that have a container or a volume here."""
        found = {(one["Labels"] or {}).get(docker.LABEL_ID, "") for one in await self._listed(labels_of(pool))}
        found |= {one["Labels"].get(docker.LABEL_ID, "") for one in await self._volumes(labels_of(pool))}
        return sorted(one for one in found if docker.is_id(one))

    # --- its socket

    async def connect(self, pool: str, container_id: str, factory: Callable[[], P]) -> P:
        """A connection to a notebook's server. Raises `EngineError` where there is none, and dialling's `OSError`."""
        source = self._places.get((pool, container_id))
        if source is None:
            source = _source(await self._inspect(pool, container_id))
            self._places[pool, container_id] = source
        try:
            place = _place(source)
        except EngineError:
            self._places.pop((pool, container_id), None)
            raise
        try:  # a handle, so that what is dialled is what was looked at: until it is sealed, others may write there
            handle = os.open(docker.SOCKET_NAME, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
        finally:
            os.close(place)
        try:
            if not stat.S_ISSOCK(os.fstat(handle).st_mode):
                raise EngineError("what should be a notebook's socket is none")
            loop = asyncio.get_running_loop()
            return (await loop.create_unix_connection(factory, f"/proc/self/fd/{handle}"))[1]
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _opened(self, inspected: Mapping[str, Any]) -> Iterator[int]:
        """The directory of its socket, which is a volume of its own. Raises `EngineError`."""
        place = _place(_source(inspected))
        try:
            if os.stat("..", dir_fd=place).st_dev == os.fstat(place).st_dev:
                raise EngineError(
                    "a notebook's socket is not to be seen from the relay",
                    remedy="mount the engine's volumes into the relay with propagation rslave, as swarm.yaml does",
                )
            yield place
        finally:
            os.close(place)

    # --- all of them

    async def events(self) -> AsyncGenerator[tuple[str, Event], None]:
        """What happens to containers: (pool, event), ("", "again") first. Raises `EngineError` when it breaks."""
        params = {
            "filters": json.dumps({
                "type": ["container"], "event": _EVENTS, "label": [f"{docker.LABEL_PROJECT}={docker.PROJECT}"],
            }),
            "since": str(int(time.time()) - 1),
        }  # fmt: skip
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS)
        async with self._api.stream("GET", "events", params=params, timeout=timeout) as response:
            yield "", Event(event="again")
            async with aclosing(json_lines(response)) as lines:
                async for line in lines:
                    actor = line.get("Actor") or {}
                    attributes = actor.get("Attributes") or {}
                    container_id = str(attributes.get(docker.LABEL_ID, ""))
                    if _SWARM_TASK in attributes and is_of_notebook(str(attributes.get("name")), attributes):
                        pool = str(attributes.get(docker.LABEL_POOL, ""))
                        yield pool, await self._event(str(line.get("Action")), container_id, str(actor.get("ID")))

    async def _event(self, action: str, container_id: str, docker_id: str) -> Event:
        if action == "start":
            return Event(event="started", id=container_id)
        if action == "die":
            with contextlib.suppress(EngineError):  # inspecting waits until the engine has written down how it ended
                found = docker.exit_of(await self._api.call("GET", f"containers/{docker_id}/json"))
                return Event(
                    event="died", id=container_id, status=found.status, out_of_memory=found.out_of_memory,
                    engine_stops=not await self._api.takes_connections(_PING_SECONDS),
                )  # fmt: skip
        return Event(event="gone", id=container_id)

    async def _listed(self, labels: Mapping[str, str]) -> list[Mapping[str, Any]]:
        listed = await self._api.call("GET", "containers/json", params={"all": "1", **filters(labels)})
        return [
            one
            for one in listed
            if _SWARM_TASK in (one["Labels"] or {})
            and any(is_of_notebook(name, one["Labels"]) for name in one["Names"] or ())
        ]

    async def _volumes(self, labels: Mapping[str, str]) -> list[Mapping[str, Any]]:
        listed = (await self._api.call("GET", "volumes", params=filters(labels)))["Volumes"] or ()
        return [one for one in listed if is_of_notebook(str(one["Name"]), one["Labels"])]

    async def _inspect(self, pool: str, container_id: str) -> dict[str, Any]:
        listed = await self._listed({**labels_of(pool), docker.LABEL_ID: container_id})
        if not listed:
            raise NoSuchContainerError("the node has no such container")
        found: dict[str, Any] = await self._api.call("GET", f"containers/{listed[0]['Id']}/json")
        return found


def see_to(fields: Mapping[str, str], tolerated: Collection[Protection]) -> None:
    """Raise `EngineError` for what a notebook lacks, but for what its operator goes without on purpose."""
    if Protection.PRIVILEGES not in tolerated:
        if fields.get("NoNewPrivs") != "1":
            text = f"{isolation.NO_NEW_PRIVILEGES} for notebooks on this node"
            raise EngineError(text, remedy=isolation.NO_NEW_PRIVILEGES_IN_SERVICES)
        if int(fields.get("CapBnd") or "1", 16):
            raise EngineError("notebooks keep capabilities on this node", remedy="update its Docker engine")
    if Protection.SECCOMP not in tolerated and fields.get("Seccomp") != "2":
        raise EngineError("no seccomp filter is in force on this node", remedy="use an engine with seccomp")


def _limits(config: Mapping[str, Any], cpu_quota: int) -> dict[str, int]:
    """What is left to limit: services cannot say that there is no swap, and CPU only once its server has started."""
    memory = int(config.get("Memory") or 0)
    found = {} if memory == config.get("MemorySwap") else {"Memory": memory, "MemorySwap": memory}
    return found | (docker.cpu_limit(cpu_quota) if cpu_quota else {})


def _place(source: str) -> int:
    """A descriptor of the directory of a notebook's socket."""
    try:
        return os.open(source, _PLACE)
    except OSError as error:
        raise EngineError(f"a notebook's directory cannot be opened: {error}") from error


def _source(inspected: Mapping[str, Any]) -> str:
    if not inspected["State"]["Running"]:
        raise EngineError("the notebook has ended")
    mounts = inspected.get("Mounts") or ()
    source = next((str(one["Source"]) for one in mounts if one.get("Destination") == docker.SOCKET_DIRECTORY), "")
    if not source:
        raise EngineError("the container has no directory for a socket")
    return source
